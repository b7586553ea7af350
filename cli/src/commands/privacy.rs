//! `hob privacy`: proves what confinement promises, by trying.
//!
//! Sinks on this machine wait for data. A child process without confinement tries every attempt of
//! [`hob::privacy::attempts`], and must succeed, or the attempt proves nothing; a child confined as
//! `hob run` is tries them again, on its first thread and on one that it starts later, and must fail;
//! children with one layer each tell which layer refuses. The children are this program, started
//! again with `--probe`. Nothing leaves the machine: all sinks are local.

#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod sinks;

use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "\
Exit code 0: all that was tried was refused. 1: something was not, or could not be tried.

From outside, without trusting this program:
  strace -f -e trace=%network hob run \"Hello\"       no network call
  strace -f -o calls hob run \"Hello\"                after the last seccomp(): no open, socket or exec
  sha256sum \"$(command -v hob)\"                     the program that you run")]
pub(crate) struct PrivacyArgs {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Try what a conversation (`hob chat`) may do: files and programs stay open to it, for /save, /load
    /// and /edit
    #[arg(long)]
    chat: bool,
    /// The layers that a probe enters, and where its sinks are
    #[arg(long, hide = true, value_name = "LAYERS")]
    probe: Option<String>,
    #[arg(long, hide = true, num_args = 4, value_names = ["TCP", "UDP", "ABSTRACT", "FOLDER"])]
    sinks: Vec<String>,
    /// For tests: leave out a layer, which the report must notice
    #[arg(long, hide = true, value_name = "LAYER")]
    without: Option<String>,
    /// For tests: permit a system call, which the report must notice
    #[arg(long, hide = true, value_name = "CALL")]
    permit: Option<String>,
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &PrivacyArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "hob does not confine itself on {} yet: nothing but its own code keeps data here",
        std::env::consts::OS
    )
}

#[cfg(target_os = "linux")]
pub(crate) use linux::run;

#[cfg(target_os = "linux")]
mod linux {
    use super::probe::{self, Outcome, Tried};
    use super::sinks::Sinks;
    use super::{ExitCode, PrivacyArgs};
    use anyhow::{Context, bail};
    use hob::privacy::attempts::{self, Attempt, Kind};
    use hob::privacy::{Layer, Mode};
    use serde_json::json;
    use std::process::{Command, Stdio};

    /// Attempts that any Linux lets an unconfined program do: if one of these fails there, the test is
    /// broken, not the attempt impossible.
    const CONTROLS: [&str; 14] = [
        "tcp",
        "udp",
        "inherited",
        "inherited-send",
        "inherited-connect",
        "unix",
        "unix-abstract",
        "read-file",
        "write-file",
        "delete-file",
        "fork",
        "exec",
        "new-code",
        "signal",
    ];

    /// What became of an attempt.
    enum Verdict {
        Refused(&'static str),
        /// Also without confinement.
        FailsAnyway(Outcome),
        /// As it must be for a conversation.
        Left,
        NotRefused,
        /// The filter of system calls lets it through, and only Landlock holds.
        NotFiltered,
        /// It failed, but not because somebody refused it.
        Unproven(Outcome),
        /// It should have succeeded without confinement.
        ControlFailed(Outcome),
    }

    impl Verdict {
        fn is_bad(&self) -> bool {
            !matches!(
                self,
                Verdict::Refused(_) | Verdict::FailsAnyway(_) | Verdict::Left
            )
        }

        fn words(&self) -> String {
            match self {
                Verdict::Refused(by) => format!("refused by {by}"),
                Verdict::FailsAnyway(e) => format!("would fail anyway here ({e})"),
                Verdict::Left => "left to a conversation, for /save, /load and /edit".into(),
                Verdict::NotRefused => "NOT REFUSED".into(),
                Verdict::NotFiltered => "NOT REFUSED by seccomp: one layer of two".into(),
                Verdict::Unproven(e) => format!("NOT PROVEN: it failed by itself ({e})"),
                Verdict::ControlFailed(e) => {
                    format!("NOT PROVEN: without confinement it failed, too ({e})")
                }
            }
        }
    }

    /// What a confined process answers to an attempt that it refuses.
    fn is_refusal(name: &str, outcome: Outcome) -> bool {
        matches!(outcome.0, libc_errno::EPERM | libc_errno::EACCES)
            || (name.starts_with("inherited") && outcome.0 == libc_errno::EBADF)
    }

    /// Error numbers of Linux, the same on every architecture that hob knows.
    mod libc_errno {
        pub(super) const EPERM: i32 = 1;
        pub(super) const EBADF: i32 = 9;
        pub(super) const EACCES: i32 = 13;
    }

    fn judge(Attempt { name, kind, .. }: Attempt, chat: bool, runs: &Runs) -> Verdict {
        let outcomes = |run: &[Tried]| {
            let tried = run.iter().find(|t| t.name == name);
            tried.map_or([Outcome::NOT_TRIED; 2], |t| [t.first, t.later])
        };
        let control = outcomes(&runs.free)[0];
        if !control.happened() {
            return match CONTROLS.contains(&name) {
                true => Verdict::ControlFailed(control),
                false => Verdict::FailsAnyway(control),
            };
        }
        let confined = outcomes(&runs.confined);
        let files_are_left = matches!(kind, Kind::Files | Kind::Programs) || name == "signal";
        if chat && files_are_left && confined.iter().all(|o| o.happened()) {
            return Verdict::Left;
        }
        if confined.iter().any(|o| o.happened()) {
            return Verdict::NotRefused;
        }
        if let Some(&odd) = confined.iter().find(|&&o| !is_refusal(name, o)) {
            return Verdict::Unproven(odd);
        }
        // Each layer by itself, or one would hide that the other has a hole.
        let refuses = |run| outcomes(run).iter().all(|&o| is_refusal(name, o));
        match (refuses(&runs.filter), refuses(&runs.files)) {
            (true, true) => Verdict::Refused("seccomp and Landlock"),
            (true, false) => Verdict::Refused("seccomp"),
            (false, _) if name == "inherited" => Verdict::Refused("closing what was open"),
            (false, _) => Verdict::NotFiltered,
        }
    }

    /// The same attempts under different confinement.
    struct Runs {
        free: Vec<Tried>,
        filter: Vec<Tried>,
        files: Vec<Tried>,
        confined: Vec<Tried>,
    }

    pub(crate) fn run(args: &PrivacyArgs) -> anyhow::Result<ExitCode> {
        if let Some(layers) = &args.probe {
            let mode = if args.chat { Mode::Broker } else { Mode::Run };
            probe::run(mode, layers, &args.sinks, args.permit.as_deref())?;
            return Ok(ExitCode::SUCCESS);
        }
        let sinks = Sinks::new()?;
        let all: Vec<&str> = Layer::ALL
            .into_iter()
            .map(Layer::name)
            .filter(|&name| args.without.as_deref() != Some(name))
            .collect();
        if let Some(name) = &args.without
            && all.len() == Layer::ALL.len()
        {
            bail!("there is no layer {name}: {}", all.join(", "));
        }
        let child = |layers: &str, permit: Option<&str>| try_all(&sinks, args.chat, layers, permit);
        let free = child("", None)?.0;
        if sinks.settled_bytes() == 0 {
            bail!(
                "the sinks received nothing from a process without confinement: nothing can be proven here"
            );
        }
        let filter = child(Layer::SystemCalls.name(), args.permit.as_deref())?.0;
        let files = child(Layer::Files.name(), None)?.0;
        let before = sinks.settled_bytes();
        let (confined, layers) = child(&all.join(","), args.permit.as_deref())?;
        let leaked = sinks.settled_bytes() - before;
        let runs = Runs {
            free,
            filter,
            files,
            confined,
        };
        let verdicts: Vec<(Attempt, Verdict)> = attempts::ALL
            .iter()
            .map(|&attempt| (attempt, judge(attempt, args.chat, &runs)))
            .collect();
        let bad = verdicts.iter().filter(|(_, v)| v.is_bad()).count();
        let refused = verdicts
            .iter()
            .filter(|(_, v)| matches!(v, Verdict::Refused(_)))
            .count();
        let weak = layers.iter().any(|l| !l.holds);
        let proven = bad == 0 && leaked == 0 && !weak;

        if args.json {
            let attempts: Vec<_> = verdicts
                .iter()
                .map(|(a, v)| json!({"name": a.name, "what": a.what, "refused": matches!(v, Verdict::Refused(_)), "verdict": v.words()}))
                .collect();
            let layers: Vec<_> = layers
                .iter()
                .map(|l| json!({"name": l.name, "holds": l.holds, "how": l.how}))
                .collect();
            let report = json!({"proven": proven, "attempts": attempts, "layers": layers, "bytes_leaked": leaked});
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            match proven {
                true if args.chat => println!(
                    "Nothing can leave by a network or another program's socket: all {refused} attempts were refused,\nand nothing arrived anywhere. Files are left to a conversation."
                ),
                true => println!(
                    "Nothing can leave: all {refused} attempts that would work without confinement were refused,\nand nothing arrived anywhere."
                ),
                false => println!(
                    "NOT PROVEN: {bad} of {} attempts were not shown to be refused, {leaked} bytes arrived{}.",
                    verdicts.len(),
                    if weak { ", and a layer is missing" } else { "" }
                ),
            }
            println!();
            let width = verdicts
                .iter()
                .map(|(a, _)| a.what.len())
                .max()
                .unwrap_or(0);
            for (attempt, verdict) in &verdicts {
                println!("  {:width$}  {}", attempt.what, verdict.words());
            }
            println!();
            for layer in &layers {
                let mark = if layer.holds { "holds" } else { "MISSING" };
                println!("  {:12}  {mark}: {}", layer.name, layer.how);
            }
            println!();
            let command = if args.chat { "hob chat" } else { "hob run" };
            println!(
                "Tried in a process confined as `{command}` is, on its first thread and on a later one. Not"
            );
            println!(
                "covered: what is typed as an argument or shown on the screen, and whoever is root."
            );
            println!("`hob privacy --help` says how to check from outside.");
        }
        Ok(match proven {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// Has a child try everything.
    fn try_all(
        sinks: &Sinks,
        chat: bool,
        layers: &str,
        permit: Option<&str>,
    ) -> anyhow::Result<(Vec<Tried>, Vec<probe::LayerState>)> {
        sinks.put_file()?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command
            .args(["privacy", "--probe", layers, "--sinks"])
            .args(sinks.places())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if chat {
            command.arg("--chat");
        }
        if let Some(call) = permit {
            command.args(["--permit", call]);
        }
        let out = command.output().context("cannot start the probe")?;
        if !out.status.success() {
            bail!("the probe with layers `{layers}` failed ({})", out.status);
        }
        probe::read(&out.stdout)
    }
}
