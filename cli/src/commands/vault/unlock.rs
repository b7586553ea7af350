//! Opening a vault as a person does: asked for the passphrase, told what was found. All of it goes to
//! standard error.

use super::dates::day_and_time;
use crate::terminal::Plain;
use crate::vault::{
    Closed, Cost, History, Master, Opened, Passphrase, Vault, VaultError, VaultName, Vaults,
};
use std::path::Path;

/// How often a passphrase may be mistyped.
const TRIES: usize = 3;

/// Unlocks a vault with the passphrase given, or else with one that is asked for; says when it was written
/// last and how many records it has, and whatever else its user should know.
pub(crate) fn unlock(
    closed: Closed,
    given: Option<Passphrase>,
    anchor: Option<&Path>,
) -> anyhow::Result<(Opened, History)> {
    let name = closed.name().as_str().to_owned();
    let master = match given {
        Some(passphrase) => closed.unlock(passphrase.bytes())?,
        None => asked(&closed, &name)?,
    };
    let mut history = History::default();
    let opened = closed.read(master, anchor, &mut |id, entry| history.take(id, entry))?;
    let (when, n) = (
        day_and_time((opened.records > 0).then_some(opened.time)),
        opened.records,
    );
    match n {
        0 => eprintln!("hob: the vault {name} is empty"),
        n => eprintln!("hob: the vault {name} was last written {when}, and has {n} records"),
    }
    for finding in &opened.findings {
        eprintln!("hob: {}", Plain(&finding.to_string()));
    }
    Ok((opened, history))
}

fn asked(closed: &Closed, name: &str) -> anyhow::Result<Master> {
    let mut tried = 1;
    loop {
        let passphrase = Passphrase::ask(&format!("Passphrase of the vault {name}: "))?;
        match closed.unlock(passphrase.bytes()) {
            Err(wrong @ VaultError::WrongPassphrase) if tried < TRIES => {
                eprintln!("hob: {wrong}");
                tried += 1;
            }
            other => return Ok(other?),
        }
    }
}

/// Makes a vault under the passphrase given, or else under one that is asked for twice.
pub(crate) fn new_vault(
    vaults: Vaults,
    name: &VaultName,
    given: Option<Passphrase>,
) -> anyhow::Result<(Vault, Master)> {
    if vaults.has(name)? {
        return Err(VaultError::Exists(name.as_str().to_owned()).into());
    }
    let passphrase = match given {
        Some(passphrase) => passphrase,
        None => {
            let name = name.as_str();
            eprintln!(
                "hob: making the vault {name}. Whoever has its file can try passphrases, so choose one that is hard to \
                 guess; it cannot be found out if you forget it."
            );
            Passphrase::ask_twice(&format!("Passphrase of the new vault {name}: "))?
        }
    };
    let cost = Cost::measured()?;
    Ok(Vault::create(vaults, name, passphrase.bytes(), cost)?)
}
