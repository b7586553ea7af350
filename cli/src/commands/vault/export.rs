//! `hob vault export`: conversations in the form that `/save` writes and `/load` reads.

use super::{VaultRef, confine};
use crate::commands::chat::{save_json, talk_document};
use crate::vault::{Access, ConversationId, VaultError};
use clap::Args;
use hob::privacy::Mode;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "\
One conversation is written in the form that /save has, and `hob chat --load FILE` goes on with it; without ID,
all of them, as an array of these. The output is NOT encrypted.

Example:
  hob vault export diary 3 --out garden.json")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    vault: VaultRef,
    /// The number of a conversation [default: all]
    id: Option<ConversationId>,
    /// Write a file, for this user's eyes only, instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, short, requires = "out")]
    force: bool,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let (_opened, history) = args.vault.read(Access::Read)?;
    confine(if args.out.is_some() {
        Mode::Broker
    } else {
        Mode::Run
    })?;
    let document = match args.id {
        Some(id) => talk_document(history.get(id).ok_or(VaultError::NoConversation(id))?),
        None => Value::from_iter(history.talks().map(|(_, talk)| talk_document(talk))),
    };
    let Some(path) = &args.out else {
        let document = crate::terminal::PlainJson(&document);
        writeln!(std::io::stdout().lock(), "{document:#}")?;
        return Ok(());
    };
    save_json(&document, path, args.force, "--force")?;
    eprintln!(
        "hob: written to {}, NOT encrypted: whoever can read the file can read what was said",
        crate::terminal::Plain(&path.display().to_string())
    );
    Ok(())
}
