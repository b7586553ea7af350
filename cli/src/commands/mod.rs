//! One file a command: its arguments, and what it does.

pub(crate) mod bench;
pub(crate) mod bundle;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod kernels;
pub(crate) mod list;
pub(crate) mod logits;
pub(crate) mod path;
pub(crate) mod perplexity;
pub(crate) mod privacy;
pub(crate) mod pull;
pub(crate) mod recommend;
pub(crate) mod rm;
pub(crate) mod roofline;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod synth;
pub(crate) mod template;
pub(crate) mod tokenize;
pub(crate) mod vault;
pub(crate) mod verify;
pub(crate) mod welcome;

use crate::args::{Cli, Command};
use std::process::ExitCode;

/// Runs the chosen command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Some(command) = cli.command else {
        welcome::run()?;
        return Ok(ExitCode::SUCCESS);
    };
    match command {
        Command::Run(args) => return run::run(args),
        Command::Chat(args) => return chat::run(args),
        Command::Pull(args) => pull::run(args)?,
        Command::Import(args) => import::run(args)?,
        Command::List(args) => list::run(&args)?,
        Command::Rm(args) => rm::run(&args)?,
        Command::Verify(args) => return verify::run(&args),
        Command::Vault(args) => vault::run(&args)?,
        Command::Export(args) => export::run(&args)?,
        Command::Bundle(args) => bundle::run(&args)?,
        Command::Cp(args) => cp::run(&args)?,
        Command::Path(args) => path::run(&args)?,
        Command::Show(args) => show::run(&args)?,
        Command::Privacy(args) => return privacy::run(&args),
        Command::Logits(args) => return logits::run(&args),
        Command::Perplexity(args) => perplexity::run(&args)?,
        Command::Bench(args) => bench::run(&args)?,
        Command::Kernels(args) => kernels::run(&args)?,
        Command::Roofline(args) => roofline::run(&args)?,
        Command::Tokenize(args) => tokenize::run(&args)?,
        Command::Synth(args) => synth::run(&args)?,
        Command::Template(args) => return template::run(&args),
        Command::Doctor(args) => return doctor::run(&args),
        Command::Recommend(args) => recommend::run(&args)?,
        Command::Completions(args) => completions::completions(&args)?,
        Command::Man(args) => completions::man(&args)?,
        Command::ChatBroker(args) => chat::run_broker(&args)?,
        Command::PackWorker(args) => crate::workshop::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// As many threads as asked for, else one per core that the system lets this process use.
pub(crate) fn threads(asked: Option<u16>) -> usize {
    asked
        .map_or_else(hob_kernels::pool::cores, usize::from)
        .clamp(1, 256)
}
