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

pub(crate) use unlock::{NewVault, unlock};

use crate::confined::{Begun, ConfinementArgs};
use crate::store::Store;
use crate::terminal::{Plain, PlainJson, bytes};
use crate::vault::History;
use crate::vault::{
    Access, Closed, Opened, Passphrase, PassphraseArgs, VaultName, Vaults, missing,
};
use clap::{Args, Subcommand};
use hob::privacy::Mode;
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
    #[command(flatten)]
    confinement: ConfinementArgs,
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
    #[command(flatten)]
    confinement: ConfinementArgs,
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

/// A vault whose file is open, and what opens it, in a process that nobody can look into and that is not yet
/// confined.
struct Found {
    begun: Begun,
    closed: Closed,
    /// The passphrase, if a file has it.
    given: Option<Passphrase>,
}

impl VaultRef {
    fn open(&self, access: Access) -> anyhow::Result<Found> {
        let name = VaultName::new(&self.name)?;
        let given = self.passphrase.given()?;
        let begun = self.confinement.begin()?;
        let store = Store::open()?;
        let vaults = Vaults::find(store.root())?.ok_or_else(|| missing(&name, [].into_iter()))?;
        let closed = vaults.open(&name, access)?;
        Ok(Found {
            begun,
            closed,
            given,
        })
    }

    /// Opens it, reads all that it has, and gives up what these rules do not leave.
    fn read(&self, access: Access, rules: Mode) -> anyhow::Result<(Opened, History)> {
        let Found {
            begun,
            closed,
            given,
        } = self.open(access)?;
        let read = unlock(closed, given, self.anchor.as_deref())?;
        begun.confine(&rules.into())?;
        Ok(read)
    }
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
    let begun = args.confinement.begin()?;
    let vaults = Vaults::make(Store::open()?.root())?;
    let new = NewVault::ask(vaults, &name, given)?;
    begun.confine(&Mode::Broker.into())?;
    new.make()?;
    eprintln!("hob: made the vault {}", name.as_str());
    Ok(())
}
