//! `hob vault rm`, `passwd` and `rekey`: what changes or ends what a passphrase opens.

use super::{VaultRef, unlock};
use crate::vault::{Access, ConversationId, Cost, Passphrase, VaultError};
use anyhow::bail;
use clap::Args;
use hob::privacy::Mode;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "\
The conversations that stay are copied into a new file under a new key, and the old key is destroyed: what
was erased cannot be read again from this disk, passphrase or not. Copies of the file that were made
before (backups) still have it.")]
pub(super) struct RmArgs {
    #[command(flatten)]
    vault: VaultRef,
    /// The numbers of conversations, as `hob vault show` lists them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<ConversationId>,
    /// Erase the whole vault; its passphrase is not needed
    #[arg(long)]
    all: bool,
    /// Erase without asking
    #[arg(long, short)]
    yes: bool,
}

#[derive(Args)]
#[command(after_help = "\
Copies of the file from before still open with the old passphrase; and put in place of the new header, their
header would still open this vault, too. `hob vault rekey` ends that for all that is written after it.")]
pub(super) struct PasswdArgs {
    #[command(flatten)]
    vault: VaultRef,
    /// Read the new passphrase from the first line of this file [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
The passphrase stays. Messages that were taken back (/undo, /retry, /edit) are not copied, nor are
snapshots, which are made again when a conversation is gone on with.")]
pub(super) struct RekeyArgs {
    #[command(flatten)]
    vault: VaultRef,
}

pub(super) fn rm(args: &RmArgs) -> anyhow::Result<()> {
    let name = &args.vault.name;
    if args.all {
        let found = args.vault.open(Access::Write)?;
        found.begun.confine(&Mode::Broker.into())?;
        if !args.yes && !ask(&format!("Erase the vault {name}, with all that is in it?"))? {
            bail!("nothing was erased");
        }
        found.closed.delete()?;
        eprintln!("hob: erased the vault {name}");
        return Ok(());
    }
    let (opened, mut history) = args.vault.read(Access::Write, Mode::Broker)?;
    let mut ids = args.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    for id in &ids {
        history.remove(*id).ok_or(VaultError::NoConversation(*id))?;
    }
    let what = match ids[..] {
        [id] => format!("conversation {id}"),
        _ => format!("{} conversations", ids.len()),
    };
    if !args.yes && !ask(&format!("Erase {what} of the vault {name}?"))? {
        bail!("nothing was erased");
    }
    let kept: Vec<_> = history.snapshots().collect();
    opened
        .vault
        .rekey(&opened.master, history.into_entries(), &kept)?;
    eprintln!("hob: erased {what}, and the key that it was under");
    Ok(())
}

pub(super) fn passwd(args: &PasswdArgs) -> anyhow::Result<()> {
    let new = args.new_passphrase_file.as_deref();
    let new = new.map(Passphrase::of_file).transpose()?;
    let found = args.vault.open(Access::Write)?;
    let (opened, _) = unlock(found.closed, found.given, args.vault.anchor.as_deref())?;
    let name = opened.vault.name().as_str();
    let new = match new {
        Some(new) => new,
        None => Passphrase::ask_twice(&format!("New passphrase of the vault {name}: "))?,
    };
    found.begun.confine(&Mode::Broker.into())?;
    opened
        .vault
        .change_passphrase(&opened.master, new.bytes(), Cost::measured()?)?;
    eprintln!(
        "hob: the passphrase of {name} is changed. Copies of the file from before still open with the old one; if someone may \
         have both, `hob vault rekey {name}` too"
    );
    Ok(())
}

pub(super) fn rekey(args: &RekeyArgs) -> anyhow::Result<()> {
    let (opened, mut history) = args.vault.read(Access::Write, Mode::Broker)?;
    // Their keys are in the old file.
    history.forget_snapshots();
    let vault = opened
        .vault
        .rekey(&opened.master, history.into_entries(), &[])?;
    let (name, n) = (vault.name().as_str(), vault.records());
    eprintln!("hob: {name} is under a new key, with {n} records");
    Ok(())
}

fn ask(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is nobody to ask: `--yes` erases without asking");
    }
    let mut err = std::io::stderr().lock();
    write!(
        err,
        "{} It cannot be brought back. [y/N] ",
        crate::terminal::Plain(what)
    )?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
