//! From what happened to what it means: the verdict on every attempt in a mode of confinement.

use super::probe::{Answer, Outcome, Tried};
use hob::privacy::Mode;
use hob::privacy::attempts::{self, Attempt, Kind};

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By these, each of which would do alone.
    Refused(Vec<&'static str>),
    /// As it must be in this mode.
    Left,
    /// Not allowed without confinement either.
    FailsAnyway(Outcome),
    /// This system does not have it.
    Unavailable(Outcome),
    NotRefused,
    /// The filter of system calls lets it through, and another layer alone holds.
    OneLayer(&'static str),
    /// It failed, but not because somebody refused it.
    Unproven(Outcome),
    /// It should have succeeded without confinement.
    ControlFailed(Outcome),
    /// What this mode needs does not work in it.
    Broken(Outcome),
}

impl Verdict {
    /// Whether it speaks against confinement.
    pub(super) fn is_bad(&self) -> bool {
        use Verdict::{FailsAnyway, Left, Refused, Unavailable};
        !matches!(self, Refused(_) | Left | FailsAnyway(_) | Unavailable(_))
    }

    /// Whether it could be tried here.
    pub(super) fn is_tried(&self) -> bool {
        !matches!(self, Verdict::FailsAnyway(_) | Verdict::Unavailable(_))
    }

    pub(super) fn words(&self) -> String {
        match self {
            Verdict::Refused(by) => format!("refused by {}", by.join(" and ")),
            Verdict::Left => "left, as needed".into(),
            Verdict::FailsAnyway(e) => format!("would fail anyway here ({e})"),
            Verdict::Unavailable(e) => format!("unavailable here ({e})"),
            Verdict::NotRefused => "NOT refused".into(),
            Verdict::OneLayer(by) => format!("NOT refused by seccomp, only by {by}"),
            Verdict::Unproven(e) => format!("NOT proven: it failed by itself ({e})"),
            Verdict::ControlFailed(e) => {
                format!("NOT proven: it failed without confinement, too ({e})")
            }
            Verdict::Broken(e) => format!("BROKEN: this mode needs it ({e})"),
        }
    }
}

/// The same attempts without confinement, with one layer, and with all.
pub(super) struct Runs<'a> {
    /// Whether there was a network to be tried.
    pub(super) loopback: bool,
    pub(super) free: &'a Answer,
    pub(super) filter: &'a Answer,
    pub(super) files: &'a Answer,
    pub(super) confined: &'a Answer,
}

/// What holds by having been closed, and not by a layer.
const CLOSED: &str = "closing what was open";
const EBADF: i32 = 9;

/// All threads' outcomes of an attempt.
pub(super) fn outcomes(answer: &Answer, name: &str) -> Vec<Outcome> {
    let tried = answer.tried.iter().find(|t| t.name == name);
    let all = |t: &Tried| [Some(t.first), t.earlier, Some(t.later)];
    tried.map_or(vec![Outcome::NOT_TRIED], |t| {
        all(t).into_iter().flatten().collect()
    })
}

pub(super) fn judge(attempt: &Attempt, mode: Mode, runs: &Runs<'_>) -> Verdict {
    let outcomes = |answer| outcomes(answer, attempt.name);
    let control = outcomes(runs.free);
    if let Some(&failed) = control.iter().find(|o| !o.happened()) {
        let required = attempt.required && (runs.loopback || attempt.kind != Kind::Network);
        return match failed {
            failed if required => Verdict::ControlFailed(failed),
            failed if Attempt::is_lack(failed.0) => Verdict::Unavailable(failed),
            failed => Verdict::FailsAnyway(failed),
        };
    }
    let confined = outcomes(runs.confined);
    let is_left = attempt.left.contains(&mode);
    if is_left && confined.iter().all(|o| o.happened()) {
        return Verdict::Left;
    }
    // The helper of a conversation may be refused more than it must be; others need what they are left.
    let fair = |o: &Outcome| o.happened() || attempt.is_refusal(o.0);
    if is_left && mode == Mode::Broker && confined.iter().all(fair) {
        return match confined.iter().any(|o| o.happened()) {
            true => Verdict::Left,
            false => Verdict::Refused(vec!["all layers together"]),
        };
    }
    if is_left && matches!(mode, Mode::Serve | Mode::Pack) {
        let failed = confined.into_iter().find(|o| !o.happened());
        return Verdict::Broken(failed.unwrap_or(Outcome::NOT_TRIED));
    }
    if confined.iter().any(|o| o.happened()) {
        return Verdict::NotRefused;
    }
    if let Some(&odd) = confined.iter().find(|o| !attempt.is_refusal(o.0)) {
        return Verdict::Unproven(odd);
    }
    // Each layer by itself, or one would hide that the other has a hole.
    let refuses = |answer| outcomes(answer).iter().all(|o| attempt.is_refusal(o.0));
    let by_filter = refuses(runs.filter).then_some("seccomp");
    let by_files = refuses(runs.files).then_some("Landlock");
    let by_closing = confined.iter().all(|o| o.0 == EBADF).then_some(CLOSED);
    let by: Vec<_> = [by_filter, by_files, by_closing]
        .into_iter()
        .flatten()
        .collect();
    // A conversation's helper may do most things; a layer that refuses the rest is enough.
    let one_is_enough = attempt.one_layer.contains(&mode) || mode == Mode::Broker;
    match by.first() {
        None => Verdict::OneLayer("all layers together"),
        Some(_) if by_filter.is_some() || one_is_enough => Verdict::Refused(by),
        Some(only) => Verdict::OneLayer(only),
    }
}

/// The verdict on every attempt.
pub(super) fn all(mode: Mode, runs: &Runs<'_>) -> Vec<(&'static Attempt, Verdict)> {
    attempts::all()
        .map(|attempt| (attempt, judge(attempt, mode, runs)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPERM: i32 = 1;
    const ECONNREFUSED: i32 = 111;
    const ENETUNREACH: i32 = 101;
    const EAFNOSUPPORT: i32 = 97;

    fn answer(name: &str, outcomes: [i32; 3]) -> Answer {
        let [first, earlier, later] = outcomes.map(Outcome);
        Answer {
            tried: vec![Tried {
                name: name.to_owned().into(),
                first,
                earlier: Some(earlier),
                later,
            }],
            layers: Vec::new(),
            landlock_abi: 0,
            filter_sha256: None,
            refused_threads: false,
        }
    }

    fn verdict(name: &str, mode: Mode, free: i32, filter: i32, files: i32, all: i32) -> Verdict {
        let of = |errno| answer(name, [errno; 3]);
        let attempt = attempts::all().find(|a| a.name == name).unwrap();
        let (free, filter, files, confined) = (of(free), of(filter), of(files), of(all));
        let runs = Runs {
            loopback: true,
            free: &free,
            filter: &filter,
            files: &files,
            confined: &confined,
        };
        judge(attempt, mode, &runs)
    }

    #[test]
    fn a_failure_is_a_refusal_only_where_it_would_have_succeeded() {
        let run = |free, filter, files, all| verdict("mptcp", Mode::Run, free, filter, files, all);
        assert_eq!(run(0, EPERM, 0, EPERM), Verdict::Refused(vec!["seccomp"]));
        assert_eq!(
            run(0, EPERM, EPERM, EPERM),
            Verdict::Refused(vec!["seccomp", "Landlock"])
        );
        assert_eq!(run(0, 0, EPERM, EPERM), Verdict::OneLayer("Landlock"));
        assert_eq!(run(0, EPERM, 0, 0), Verdict::NotRefused);
        for errno in [ECONNREFUSED, ENETUNREACH, EAFNOSUPPORT] {
            assert_eq!(run(0, EPERM, 0, errno), Verdict::Unproven(Outcome(errno)));
        }
        let lacks = Outcome(EAFNOSUPPORT);
        assert_eq!(
            run(lacks.0, EPERM, EPERM, EPERM),
            Verdict::Unavailable(lacks)
        );
        let refused = Outcome(EPERM);
        assert_eq!(
            run(EPERM, EPERM, EPERM, EPERM),
            Verdict::FailsAnyway(refused)
        );
        // What every system has must have worked.
        assert!(verdict("tcp", Mode::Run, EPERM, EPERM, EPERM, EPERM).is_bad());
        assert!(verdict("tcp", Mode::Run, ENETUNREACH, 1, 1, 1).is_bad());
        assert!(!verdict("mptcp", Mode::Run, ENETUNREACH, 1, 1, 1).is_bad());
    }

    #[test]
    fn one_thread_that_is_not_refused_is_noticed() {
        let (name, all) = ("tcp", [EPERM; 3]);
        let attempt = attempts::all().find(|a| a.name == name).unwrap();
        let (free, refused) = (answer(name, [0; 3]), answer(name, all));
        for thread in 0..3 {
            let mut outcomes = all;
            outcomes[thread] = 0;
            let leaky = answer(name, outcomes);
            let judged = |filter, confined| {
                let runs = Runs {
                    loopback: true,
                    free: &free,
                    filter,
                    files: &refused,
                    confined,
                };
                judge(attempt, Mode::Run, &runs)
            };
            assert_eq!(judged(&refused, &leaky), Verdict::NotRefused);
            assert_eq!(judged(&leaky, &refused), Verdict::OneLayer("Landlock"));
            assert!(!judged(&refused, &refused).is_bad());
        }
    }

    #[test]
    fn modes_leave_what_they_need_and_no_more() {
        let (read, accept) = ("read-model", "accept");
        assert_eq!(verdict(read, Mode::Serve, 0, 0, 0, 0), Verdict::Left);
        assert!(verdict(read, Mode::Serve, 0, 0, 1, 1).is_bad());
        assert!(verdict(read, Mode::Run, 0, 0, 0, 0).is_bad());
        assert_eq!(verdict(accept, Mode::Serve, 0, 0, 0, 0), Verdict::Left);
        assert!(verdict(accept, Mode::Broker, 0, 0, 0, 0).is_bad());
        assert_eq!(verdict("exec", Mode::Broker, 0, 0, 0, 0), Verdict::Left);
        assert!(verdict("exec", Mode::Chat, 0, 0, 0, 0).is_bad());
        assert!(!verdict("inherited", Mode::Run, 0, 0, 0, EBADF).is_bad());
    }
}
