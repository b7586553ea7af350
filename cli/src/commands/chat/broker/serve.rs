//! The broker itself: a process that answers what [`super::Ask`] can ask, until nobody asks any more.

use super::{Ask, editor, saved};
use crate::stdio;
use crate::wire::{receive, send};
use anyhow::{Context, anyhow};
use clap::Args;
use hob::privacy::{self, Mode, memory};
use rustyline::completion::FilenameCompleter;
use serde_json::{Value, json};
#[cfg(unix)]
use std::sync::{Arc, atomic::AtomicBool};

/// Started by `hob chat`, for its files.
#[derive(Args)]
pub(crate) struct BrokerArgs {
    /// Without confinement, as the conversation is
    #[arg(long)]
    no_sandbox: bool,
}

/// Answers on standard output what is asked on standard input.
pub(crate) fn run(args: &BrokerArgs) -> anyhow::Result<()> {
    // Ctrl-C is meant for the answer that is being written, or for the editor, which does not inherit
    // this.
    #[cfg(unix)]
    signal_hook::flag::register(
        signal_hook::consts::SIGINT,
        Arc::new(AtomicBool::new(false)),
    )
    .context("cannot set Ctrl-C aside")?;
    memory::guard();
    if !args.no_sandbox {
        let what = "cannot confine the process that opens files for this conversation";
        privacy::shed().context(what)?;
        // What this system lacks, the conversation has told.
        privacy::confine(Mode::Broker).context(what)?;
    }
    let (mut from, mut to) = (stdio::Input, stdio::Output);
    while let Some(ask) = receive(&mut from).context("cannot read what is asked")? {
        let answer = answer(ask).map_err(|e| crate::terminal::chain(&e));
        send(&mut to, &answer).context("cannot answer")?;
    }
    Ok(())
}

fn answer(ask: Ask) -> anyhow::Result<Value> {
    Ok(match ask {
        Ask::Save {
            path,
            overwrite,
            model,
            document,
        } => {
            // Written anew from what it says, so that nothing else can be written.
            let conversation = saved::parse(document).map_err(|why| anyhow!(why))?;
            saved::save(&conversation, &model, &path, overwrite)?;
            Value::Null
        }
        Ask::Load { path } => {
            let path = saved::path(&path);
            let conversation = saved::load(&path)?;
            json!((path, saved::document(&conversation, "")))
        }
        Ask::Edit { text } => json!(editor::edit(&text)?),
        Ask::Complete { line, at } => {
            let found = FilenameCompleter::new().complete_path(&line, at);
            let (start, names) = found.context("cannot list that folder")?;
            let pairs = names.into_iter().map(|n| (n.display, n.replacement));
            json!((start, pairs.collect::<Vec<_>>()))
        }
    })
}
