//! Opening a vault as a person does: asked for the passphrase, told what was found. All of it goes to
//! standard error.

use super::dates::day_and_time;
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
    let master = master(&closed, given)?;
    let mut history = History::default();
    let opened = closed.read(master, anchor, &mut |id, entry| history.take(id, entry))?;
    tell(&opened);
    Ok((opened, history))
}

/// [`unlock`], for a vault that may be damaged: reads what can be read, and says what is wrong.
pub(super) fn salvage(closed: Closed, given: Option<Passphrase>) -> anyhow::Result<History> {
    let master = master(&closed, given)?;
    let mut history = History::default();
    let (opened, damage) = closed.salvage(master, &mut |id, entry| history.take(id, entry))?;
    tell(&opened);
    match damage {
        Some(damage) => eprintln!(
            "hob: {damage}\nhob: what was read are the records before that; what is missing, nobody can say"
        ),
        None => eprintln!("hob: this vault is whole"),
    }
    Ok(history)
}

fn master(closed: &Closed, given: Option<Passphrase>) -> anyhow::Result<Master> {
    match given {
        Some(passphrase) => Ok(closed.unlock(passphrase.bytes())?),
        None => asked(closed, closed.name().as_str()),
    }
}

fn tell(opened: &Opened) {
    let name = opened.vault.name().as_str();
    let (when, n) = (
        day_and_time((opened.records > 0).then_some(opened.time)),
        opened.records,
    );
    match n {
        0 => eprintln!("hob: the vault {name} is empty"),
        n => eprintln!("hob: the vault {name} was last written {when}, and has {n} records"),
    }
    for finding in &opened.findings {
        eprintln!("hob: {finding}");
    }
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

/// A vault that is to be made.
pub(crate) struct NewVault<'a> {
    vaults: Vaults,
    name: &'a VaultName,
    passphrase: Passphrase,
}

impl NewVault<'_> {
    /// With the passphrase given, or else one that is asked for twice.
    pub(crate) fn ask(
        vaults: Vaults,
        name: &VaultName,
        given: Option<Passphrase>,
    ) -> anyhow::Result<NewVault<'_>> {
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
        Ok(NewVault {
            vaults,
            name,
            passphrase,
        })
    }

    /// Makes it, so that a try of a passphrase costs about a second of this machine.
    pub(crate) fn make(self) -> Result<Vault, VaultError> {
        let (cost, passphrase) = (Cost::measured()?, self.passphrase.bytes());
        Ok(Vault::create(self.vaults, self.name, passphrase, cost)?.0)
    }
}
