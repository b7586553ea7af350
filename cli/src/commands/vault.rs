//! `hob vault`: what is kept of conversations, listed, shown, searched, exported and erased; and the
//! passphrases and keys that it is kept under.
//!
//! What shows conversations gives up files and the network once the vault is read, as `hob run` does; what
//! changes vaults gives up the network.

mod change;
mod dates;
mod export;
mod show;
mod unlock;

pub(crate) use unlock::{new_vault, unlock};

use crate::store::Store;
use crate::terminal::{Plain, PlainJson, bytes};
use crate::vault::{
    Access, Closed, Master, Opened, Passphrase, PassphraseArgs, Vault, VaultName, Vaults, missing,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use hob::privacy::{self, Mode};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

#[derive(Args)]
#[command(after_help = "\
A vault keeps conversations encrypted, in one file that only its passphrase opens. `hob chat` keeps
nothing unless it is started with `--vault NAME`.

Examples:
  hob chat --vault diary                    a conversation that is kept (a new vault is made)
  hob chat --vault diary --continue         the same one, gone on with
  hob vault show diary                      the conversations in it
  hob vault search diary \"the garden\"
  hob vault rm diary 3                      erase one, with the key it was under

A forgotten passphrase cannot be found out or reset by anyone.")]
pub(crate) struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Subcommand)]
enum VaultCommand {
    /// List the vaults (no passphrase is needed for that)
    List(ListArgs),
    /// Make an empty vault
    Create(CreateArgs),
    /// List the conversations in a vault, or show one
    Show(show::ShowArgs),
    /// Find a text in the conversations of a vault
    Search(show::SearchArgs),
    /// Write conversations as JSON, NOT encrypted
    Export(export::ExportArgs),
    /// Erase conversations, or a whole vault
    Rm(change::RmArgs),
    /// Change the passphrase
    Passwd(change::PasswdArgs),
    /// Write a vault anew under another key: what was taken back in it is erased, and older copies of
    /// its header no longer open it
    Rekey(change::RekeyArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CreateArgs {
    /// The new vault's name
    name: String,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Which vault, and what opens it.
#[derive(Args)]
struct VaultRef {
    /// The vault's name
    name: String,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Compare with this anchor, a file kept elsewhere, and note in it what was seen: an older copy of the
    /// vault is refused
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

/// Runs `hob vault`.
pub(crate) fn run(args: &VaultArgs) -> anyhow::Result<()> {
    match &args.command {
        VaultCommand::List(args) => list(args),
        VaultCommand::Create(args) => create(args),
        VaultCommand::Show(args) => show::show(args),
        VaultCommand::Search(args) => show::search(args),
        VaultCommand::Export(args) => export::run(args),
        VaultCommand::Rm(args) => change::rm(args),
        VaultCommand::Passwd(args) => change::passwd(args),
        VaultCommand::Rekey(args) => change::rekey(args),
    }
}

impl VaultRef {
    /// Opens the vault's file, in a process that nobody can look into; and the passphrase, if a file has it.
    fn open(&self, access: Access) -> anyhow::Result<(Closed, Option<Passphrase>)> {
        let name = VaultName::new(&self.name)?;
        let given = self.passphrase.given()?;
        privacy::shed().context("cannot protect this process")?;
        let store = Store::open()?;
        let vaults = Vaults::find(store.root())?.ok_or_else(|| missing(&name, [].into_iter()))?;
        Ok((vaults.open(&name, access)?, given))
    }

    /// Opens it and reads all that it has.
    fn read(&self, access: Access) -> anyhow::Result<(Opened, crate::vault::History)> {
        let (closed, given) = self.open(access)?;
        unlock(closed, given, self.anchor.as_deref())
    }
}

/// Gives up what a command does not need any more.
fn confine(mode: Mode) -> anyhow::Result<()> {
    privacy::confine(mode).context("cannot confine this process")?;
    Ok(())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let vaults = Vaults::find(Store::open()?.root())?;
    let found = vaults
        .map(|vaults| vaults.list())
        .transpose()?
        .unwrap_or_default();
    let written = |metadata: &std::fs::Metadata| {
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = found.iter().map(|(name, metadata)| {
            json!({ "name": name.as_str(), "bytes": metadata.len(), "written": written(metadata) })
        });
        writeln!(out, "{:#}", PlainJson(&all.collect::<Value>()))?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "no vaults yet; `hob chat --vault NAME` makes one")?;
        return Ok(());
    }
    let width = found
        .iter()
        .map(|(name, _)| name.as_str().len())
        .max()
        .unwrap_or(0);
    for (name, metadata) in &found {
        writeln!(
            out,
            "{:width$}  {:>9}  written {}",
            Plain(name.as_str()).to_string(),
            bytes(metadata.len()),
            dates::day_and_time(written(metadata)),
        )?;
    }
    Ok(())
}

fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let name = VaultName::new(&args.name)?;
    let given = args.passphrase.given()?;
    privacy::shed().context("cannot protect this process")?;
    let vaults = Vaults::make(Store::open()?.root())?;
    let (_vault, _master): (Vault, Master) = new_vault(vaults, &name, given)?;
    eprintln!("hob: made the vault {}", name.as_str());
    Ok(())
}
