//! `hob vault export`: conversations in the form that `/save` writes and `/load` reads.

use super::VaultRef;
use super::unlock::salvage;
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
    /// Write what can still be read of a vault that is damaged or was tampered with: all before the first
    /// record that is not as it was written
    #[arg(long)]
    salvage: bool,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    // A file cannot be opened before its content is known: it appears whole or not at all.
    let rules = match args.out {
        Some(_) => Mode::Broker,
        None => Mode::Run,
    };
    let history = match args.salvage {
        true => {
            let found = args.vault.open(Access::Read)?;
            let history = salvage(found.closed, found.given)?;
            found.begun.confine(&rules.into())?;
            history
        }
        false => args.vault.read(Access::Read, rules)?.1,
    };
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
