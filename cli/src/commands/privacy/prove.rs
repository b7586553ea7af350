//! The runs that make a proof, and what they show.

use super::judge::{self, Runs, Verdict};
use super::model::{self, HashedModel};
use super::probe::{self, Answer, Census, Spec, Work};
use super::sinks::{Sinks, core_file_in};
use anyhow::{Context, bail};
use hob::privacy::attempts::{self, Attempt};
use hob::privacy::{Layer, Mode};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What is to be proven.
pub(super) struct Question<'a> {
    pub(super) modes: Vec<Mode>,
    pub(super) without: Option<&'a str>,
    pub(super) permit: Option<&'a str>,
    pub(super) crash: bool,
    pub(super) model: Option<&'a Path>,
    pub(super) verify: bool,
}

/// What became of the attempts in one mode.
pub(super) struct ModeProof {
    pub(super) mode: Mode,
    pub(super) verdicts: Vec<(&'static Attempt, Verdict)>,
    /// Of a process that crashes.
    pub(super) crash: Option<Verdict>,
    pub(super) filter: Answer,
    pub(super) confined: Answer,
    pub(super) census: Census,
}

/// The whole of it.
pub(super) struct Proof {
    pub(super) modes: Vec<ModeProof>,
    /// Received from confined processes.
    pub(super) leaked: u64,
    /// Received from the process without confinement, by the same sinks.
    pub(super) control_bytes: u64,
    /// Of the model that was asked for or is the default; none if there is none.
    pub(super) model: Option<HashedModel>,
}

impl ModeProof {
    /// Every verdict with its attempt's name and words.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &Verdict)> {
        let crash = self.crash.iter().map(|v| (CRASH.0, CRASH.1, v));
        self.verdicts
            .iter()
            .map(|(a, v)| (a.name, a.what, v))
            .chain(crash)
    }

    pub(super) fn is_weak(&self) -> bool {
        self.confined.layers.iter().any(|l| !l.holds) || self.census.is_dumpable
    }

    pub(super) fn bad(&self) -> usize {
        self.all().filter(|(_, _, v)| v.is_bad()).count()
    }
}

impl Proof {
    pub(super) fn is_proven(&self) -> bool {
        let sound = |m: &ModeProof| m.bad() == 0 && !m.is_weak();
        let wrong_model = self.model.as_ref().is_some_and(HashedModel::is_wrong);
        self.leaked == 0 && self.modes.iter().all(sound) && !wrong_model
    }
}

/// The attempt that a process cannot survive: its name and what it is.
pub(super) const CRASH: (&str, &str) =
    ("core-dump", "leave its memory in a core dump, by crashing");

fn attempts_of(
    sinks: &Sinks,
    mode: Mode,
    layers: &[&str],
    permit: Option<&str>,
) -> anyhow::Result<Answer> {
    sinks.put_files()?;
    probe::ask(&Spec {
        permit: permit.map(str::to_owned),
        places: Some(sinks.places().clone()),
        ..Spec::new(Work::Attempts, mode, layers)
    })
}

/// Without confinement; sinks that get nothing then can prove nothing.
fn control(sinks: &Sinks) -> anyhow::Result<(Answer, u64)> {
    let free = attempts_of(sinks, Mode::Run, &[], None)?;
    // Whoever receives may be slower than whoever sent, on a busy machine.
    let deadline = Instant::now() + Duration::from_secs(5);
    while sinks.settled_bytes() == 0 && Instant::now() < deadline {}
    match sinks.settled_bytes() {
        0 => bail!(
            "the sinks received nothing from a process without confinement: nothing can be proven here"
        ),
        bytes => Ok((free, bytes)),
    }
}

/// Answers the question, by trying.
pub(super) fn prove(question: &Question<'_>) -> anyhow::Result<Proof> {
    let all: Vec<&str> = Layer::ALL
        .into_iter()
        .map(Layer::name)
        .filter(|&name| question.without != Some(name))
        .collect();
    if let Some(name) = question.without
        && all.len() == Layer::ALL.len()
    {
        bail!("there is no layer {name}: {}", all.join(", "));
    }
    let model = model::hash(question.model, question.verify)?;
    let sinks = Sinks::new()?;
    let (free, control_bytes) = control(&sinks)?;
    let dumps = match question.crash {
        true => Some(crash_verdict(&sinks, Mode::Run, &[])?),
        false => None,
    };
    let mut alone = Vec::new();
    for &mode in &question.modes {
        let filter = attempts_of(&sinks, mode, &[Layer::SystemCalls.name()], question.permit)?;
        let files = attempts_of(&sinks, mode, &[Layer::Files.name()], None)?;
        alone.push((mode, filter, files));
    }
    let before = sinks.settled_bytes();
    let mut modes = Vec::new();
    for (mode, filter, files) in alone {
        let confined = attempts_of(&sinks, mode, &all, question.permit)?;
        let runs = Runs {
            loopback: sinks.places().loopback,
            free: &free,
            filter: &filter,
            files: &files,
            confined: &confined,
        };
        let census = probe::ask(&Spec {
            model: model.as_ref().map(|m| m.path.clone()),
            // Once, of a model that is loaded in a moment; and never by the helper, which parses none.
            load: modes.is_empty()
                && mode != Mode::Broker
                && model.as_ref().is_some_and(|m| m.is_quick),
            ..Spec::new(Work::Census, mode, &all)
        });
        let crash = match dumps {
            None => None,
            Some(false) => Some(Verdict::Unavailable(probe::Outcome::NOT_TRIED)),
            // A layer that is left out is seen among the layers.
            Some(true) => Some(match crash_verdict(&sinks, mode, &all)? {
                true => Verdict::NotRefused,
                false => Verdict::Refused(vec![Layer::Undumpable.name()]),
            }),
        };
        modes.push(ModeProof {
            mode,
            verdicts: judge::all(mode, &runs),
            crash,
            census: census?,
            filter,
            confined,
        });
    }
    let leaked = sinks.settled_bytes() - before;
    Ok(Proof {
        modes,
        leaked,
        control_bytes,
        model,
    })
}

/// Has a process crash; whether the system wrote its memory down.
fn crash_verdict(sinks: &Sinks, mode: Mode, layers: &[&str]) -> anyhow::Result<bool> {
    let folder = sinks.crashes();
    let mut child = probe::command(&Spec::new(Work::Crash, mode, layers))?
        .current_dir(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start a process to crash")?;
    let status = child.wait()?;
    if status.signal().is_none() {
        bail!("the process that was to crash ended otherwise ({status})");
    }
    Ok(core_file_in(&folder) || status.core_dumped())
}

/// What became of the test when one forbidden call was allowed.
pub(super) struct Mutation {
    pub(super) mode: Mode,
    pub(super) call: &'static str,
    /// The attempts that were not refused any more.
    pub(super) noticed_by: Vec<&'static str>,
    /// Why that could not be seen here, if it could not.
    pub(super) excuse: Option<String>,
}

impl Mutation {
    pub(super) fn is_good(&self) -> bool {
        !self.noticed_by.is_empty() || self.excuse.is_some()
    }
}

/// Allows each forbidden call in turn, in each mode.
pub(super) fn mutations(modes: &[Mode]) -> anyhow::Result<Vec<Mutation>> {
    let sinks = Sinks::new()?;
    let (free, _) = control(&sinks)?;
    let all = Layer::ALL.map(Layer::name);
    let mut found = Vec::new();
    for &mode in modes {
        let files = attempts_of(&sinks, mode, &[Layer::Files.name()], None)?;
        for (call, _) in attempts::calls() {
            let mine = |a: &&Attempt| a.call.is_some_and(|(name, _)| name == call);
            // What the mode is meant to leave cannot be missed.
            if attempts::all().filter(mine).all(|a| a.left.contains(&mode)) {
                continue;
            }
            let child = |layers: &[&str]| attempts_of(&sinks, mode, layers, Some(call));
            let (filter, confined) = (child(&[Layer::SystemCalls.name()])?, child(&all)?);
            let verdicts = judge::all(
                mode,
                &Runs {
                    loopback: sinks.places().loopback,
                    free: &free,
                    filter: &filter,
                    files: &files,
                    confined: &confined,
                },
            );
            let bad = verdicts.iter().filter(|(_, v)| v.is_bad());
            let noticed_by: Vec<_> = bad.map(|(a, _)| a.name).collect();
            let untried = verdicts.iter().find(|(a, v)| mine(a) && !v.is_tried());
            let excuse = match untried {
                _ if !noticed_by.is_empty() => None,
                Some((_, verdict)) => Some(verdict.words()),
                // On the list as it is: another layer decides.
                None => attempts::all()
                    .filter(mine)
                    .all(|a| a.left.contains(&mode) || a.one_layer.contains(&mode))
                    .then(|| "its list has it".into()),
            };
            found.push(Mutation {
                mode,
                call,
                noticed_by,
                excuse,
            });
        }
    }
    Ok(found)
}
