//! `hob privacy`: proves what confinement promises, by trying.
//!
//! Sinks on this machine wait for data. A child process without confinement tries every attempt of
//! [`hob::privacy::attempts`], and must succeed, or the attempt proves nothing; a child confined as
//! `hob run` is tries them again, on its first thread and on one that it starts later, and must fail;
//! children with one layer each tell which layer refuses, on a thread from before confinement too. The
//! same for the other modes. The children are this program, started again with `--probe`. Nothing leaves
//! the machine: all sinks are local.

#[cfg(target_os = "linux")]
mod judge;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod prove;
#[cfg(target_os = "linux")]
mod show;
#[cfg(target_os = "linux")]
mod sinks;

use crate::terminal::PlainJson;
use clap::Args;
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "\
Exit code 0: all that was tried was refused. 1: something was not, or could not be proven.

From outside, without trusting this program:
  strace -f -e trace=%network hob run \"Hello\"       no network call
  strace -f -o calls hob run \"Hello\"                after the last seccomp(): no open, socket or exec
  sha256sum \"$(command -v hob)\"                     the program that you run
  sha256sum MODEL.gguf                              the model, to compare with its maker's page")]
pub(crate) struct PrivacyArgs {
    /// The model whose hash is checked [default: the default model, if it is in the store]
    model: Option<std::path::PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Show every attempt with its verdict, and what happened on each thread
    #[arg(long)]
    all: bool,
    /// Hash the model whatever its size
    #[arg(long)]
    verify: bool,
    /// Try only what `hob run` may do
    #[arg(long)]
    run: bool,
    /// Try only what `hob chat` may do
    #[arg(long)]
    chat: bool,
    /// Try only what the helper of `hob chat` may do, which opens files for /save, /load and /edit
    #[arg(long)]
    broker: bool,
    /// Try only what a program may do that confines itself to serve others (for users of the library)
    #[arg(long)]
    serve: bool,
    /// Try only what the process may do that packs a model for the store, and so parses it
    #[arg(long)]
    pack: bool,
    /// Test the test: allow each forbidden system call in turn, and show that it is noticed
    #[arg(long, conflicts_with_all = ["all", "verify", "without", "permit"])]
    mutations: bool,
    /// Do not have processes crash to see whether they leave dumps
    #[arg(long)]
    no_crash: bool,
    /// For tests: leave out a layer, which the report must notice
    #[arg(long, hide = true, value_name = "LAYER")]
    without: Option<String>,
    /// For tests: permit a system call, which the report must notice
    #[arg(long, hide = true, value_name = "CALL")]
    permit: Option<String>,
    /// What a child does, in JSON
    #[arg(long, hide = true, value_name = "SPEC", exclusive = true)]
    probe: Option<String>,
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &PrivacyArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "hob does not confine itself on {} yet: nothing but its own code keeps data here",
        std::env::consts::OS
    )
}

#[cfg(target_os = "linux")]
pub(crate) fn run(args: &PrivacyArgs) -> anyhow::Result<ExitCode> {
    use hob::privacy::Mode;
    if let Some(spec) = &args.probe {
        probe::run(spec)?;
        return Ok(ExitCode::SUCCESS);
    }
    let asked = [args.run, args.chat, args.broker, args.serve, args.pack];
    let mut modes: Vec<Mode> = Mode::ALL
        .into_iter()
        .zip(asked)
        .filter(|m| m.1)
        .map(|m| m.0)
        .collect();
    if modes.is_empty() {
        modes.extend([Mode::Run, Mode::Chat]);
        if !args.mutations {
            modes.push(Mode::Broker);
        }
    }
    let good = match args.mutations {
        true => {
            let found = prove::mutations(&modes)?;
            show::mutations(&found, args.json)?;
            found.iter().all(|m| m.is_good())
        }
        false => {
            let proof = prove::prove(&prove::Question {
                modes,
                without: args.without.as_deref(),
                permit: args.permit.as_deref(),
                crash: !args.no_crash,
                model: args.model.as_deref(),
                verify: args.verify,
            })?;
            match args.json {
                true => println!("{:#}", PlainJson(&show::json(&proof))),
                false => print!("{}", show::text(&proof, args.all)),
            }
            proof.is_proven()
        }
    };
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
