//! What a vault keeps of a conversation. After each change the conversation is compared with what the
//! vault has of it, and the difference is added: so what commands do to it need not know of vaults, and what
//! could not be written is tried again the next time.
//!
//! The vault's file is opened, and the passphrase asked for, before the process gives up the right to open
//! anything; from then on it is only added to.

use super::conversation::Conversation;
use super::saved;
use super::settings::Settings;
use super::snapshots::{Snapshots, Written};
use crate::commands::vault::{NewVault, unlock};
use crate::store::Store;
use crate::vault::{
    Access, Begin, ConversationId, Entry, Finding, History, Now, Passphrase, PassphraseArgs, Set,
    SnapshotError, Talk, Vault, VaultError, VaultName, Vaults, now,
};
use anyhow::bail;
use clap::Args;
use hob::{Engine, Message, Session, SessionOptions};
use serde_json::Value;
use std::path::PathBuf;

/// Which vault keeps the conversation, if any.
#[derive(Args)]
#[command(next_help_heading = "Keeping")]
pub(super) struct KeepArgs {
    /// Keep the conversation in this vault, encrypted; a missing one is made [default: $HOB_VAULT, else nothing is kept]
    #[arg(long, value_name = "NAME")]
    vault: Option<String>,
    /// Keep nothing, whatever $HOB_VAULT says
    #[arg(long, conflicts_with = "vault")]
    no_vault: bool,
    /// Go on with the conversation of this number (`hob vault show NAME` lists them)
    #[arg(long, value_name = "ID", conflicts_with = "load")]
    conversation: Option<ConversationId>,
    /// Go on with the conversation that was written to last
    #[arg(long = "continue", conflicts_with_all = ["conversation", "load"])]
    latest: bool,
    /// Compare the vault with this anchor, a file kept elsewhere, and note in it what was seen: an older
    /// copy of the vault is refused
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// Keep what was said only, and not the model's keys and values of it: less is written, and a
    /// conversation that is gone on with is read again
    #[arg(long)]
    no_snapshots: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A vault that is to be opened, and what was read before the process closed what it had open.
pub(super) struct Wanted {
    name: VaultName,
    given: Option<Passphrase>,
}

/// An open vault, and what it has of the conversation.
pub(super) struct Kept {
    vault: Vault,
    /// The conversation's number, once it has begun in the vault.
    id: Option<ConversationId>,
    /// The number of the next one.
    next: ConversationId,
    /// The conversation as the vault has it.
    talk: Talk,
    snapshots: Snapshots,
}

impl KeepArgs {
    /// The vault that is wanted, and its passphrase, if a file has it.
    pub(super) fn wanted(&self) -> anyhow::Result<Option<Wanted>> {
        let set = std::env::var("HOB_VAULT")
            .ok()
            .filter(|name| !name.is_empty());
        let name = match self.no_vault {
            true => None,
            false => self.vault.clone().or(set),
        };
        let Some(name) = name else {
            if self.conversation.is_some() || self.latest || self.anchor.is_some() {
                bail!(
                    "which vault? `--vault NAME` says it; `hob vault list` shows those there are"
                );
            }
            return Ok(None);
        };
        Ok(Some(Wanted {
            name: VaultName::new(&name)?,
            given: self.passphrase.given()?,
        }))
    }

    /// Opens the vault, or makes it. What it has of the conversation is in [`Kept::talk()`].
    pub(super) fn open(&self, wanted: Wanted) -> anyhow::Result<Kept> {
        let Wanted { name, given } = wanted;
        let vaults = Vaults::make(Store::open()?.root())?;
        if !vaults.has(&name)? {
            if self.conversation.is_some() || self.latest {
                return Err(vaults.missing(&name).into());
            }
            let mut vault = NewVault::ask(vaults, &name, given)?.make()?;
            if let Some(anchor) = &self.anchor
                && vault.set_anchor(anchor)?
            {
                eprintln!("hob: {}", Finding::NewAnchor);
            }
            return self.kept(vault, None, Talk::default(), &History::default());
        }
        let closed = vaults.open(&name, Access::Write)?;
        let (opened, mut history) = unlock(closed, given, self.anchor.as_deref())?;
        let id = match self.latest {
            true => history.latest(),
            false => self.conversation,
        };
        let talk = match id {
            Some(id) => history.remove(id).ok_or(VaultError::NoConversation(id))?,
            None if self.latest => bail!("the vault {} has no conversation yet", name.as_str()),
            None => Talk::default(),
        };
        self.kept(opened.vault, id, talk, &history)
    }

    /// What keeps a conversation, given the vault's others.
    fn kept(
        &self,
        vault: Vault,
        id: Option<ConversationId>,
        talk: Talk,
        others: &History,
    ) -> anyhow::Result<Kept> {
        let snapshots = match self.no_snapshots {
            true => Snapshots::none(),
            false => match vault.slots(talk.snapshot.as_ref(), others) {
                Ok(slots) => Snapshots::new(slots),
                Err(why) => {
                    eprintln!("hob: there will be no snapshots of the conversation: {why}");
                    Snapshots::none()
                }
            },
        };
        let next = others.next_id().max(id.map_or(1, |id| id + 1));
        Ok(Kept {
            vault,
            id,
            next,
            talk,
            snapshots,
        })
    }
}

impl Kept {
    /// The conversation that the vault had, if one is gone on with.
    pub(super) fn talk(&self) -> Option<&Talk> {
        self.id.map(|_| &self.talk)
    }

    /// Tokens of the conversation's last snapshot.
    pub(super) fn snapshot_tokens(&self) -> Option<u64> {
        Some(self.talk.snapshot.as_ref()?.tokens)
    }

    /// What to call it.
    pub(super) fn place(&self) -> String {
        let name = self.vault.name().as_str();
        match self.id {
            Some(id) => format!("conversation {id} of the vault {name}"),
            None => format!("the vault {name}"),
        }
    }

    /// Adds what has changed.
    pub(super) fn keep(
        &mut self,
        conversation: &Conversation,
        set: &Set,
        model: &str,
    ) -> Result<(), VaultError> {
        // Nobody has said anything.
        if self.id.is_none() && conversation.messages().is_empty() {
            return Ok(());
        }
        self.add(conversation, set, model)
    }

    /// What follows is another conversation, which begins as this one says.
    pub(super) fn begin_another(
        &mut self,
        conversation: &Conversation,
        set: &Set,
        model: &str,
    ) -> Result<(), VaultError> {
        // One in which nothing was said yet is gone on with.
        if self.talk.messages.is_empty() {
            return self.keep(conversation, set, model);
        }
        let _ = self.settle(true);
        self.snapshots.another_conversation();
        self.id = None;
        self.talk = Talk::default();
        self.add(conversation, set, model)
    }

    /// The conversation's session, as it was when its last snapshot was written; `None` if there is none.
    pub(super) fn resume(
        &mut self,
        engine: &Engine,
        options: SessionOptions,
    ) -> Option<Result<Session, SnapshotError>> {
        self.snapshots
            .read(self.talk.snapshot.as_ref()?, engine, options)
    }

    /// An answer is finished, for which all but so many of the session's first tokens were new: a snapshot
    /// may be due.
    pub(super) fn answered(&mut self, session: &Session, first: usize) {
        self.snapshots.only_first(first);
        self.snapshots.answered(session);
    }

    /// The conversation ends here, for this time: writes what is worth it.
    pub(super) fn leave(&mut self, session: &Session) -> Result<(), SnapshotError> {
        self.settle(true)?;
        self.snapshots.only_first(session.tokens().len());
        let last = self.snapshots.last(session);
        self.record(last)
    }

    /// Notes a snapshot in the vault that was being written and is finished, or waits for that.
    pub(super) fn settle(&mut self, wait: bool) -> Result<(), SnapshotError> {
        let finished = self.snapshots.finished(wait);
        self.record(finished)
    }

    fn record(&mut self, finished: Option<(Written, usize)>) -> Result<(), SnapshotError> {
        let Some(((slot, written), tokens)) = finished else {
            return Ok(());
        };
        let recorded = match (written, self.id) {
            (Ok(at), Some(id)) => self.write(id, Entry::Snapshot(at)).map_err(Into::into),
            (Ok(_), None) => Err(SnapshotError::Missing),
            (Err(e), _) => Err(e),
        };
        match recorded {
            Ok(()) => self.snapshots.recorded(slot, tokens),
            Err(_) => self.snapshots.failed(slot),
        }
        recorded
    }

    fn add(
        &mut self,
        conversation: &Conversation,
        set: &Set,
        model: &str,
    ) -> Result<(), VaultError> {
        let to = Now {
            system: conversation.system(),
            messages: conversation.messages(),
            forgotten: conversation.forgotten(),
            set,
        };
        let id = match self.id {
            Some(id) => id,
            None => {
                let begin = Begin {
                    time: now(),
                    model: model.to_owned(),
                };
                let id = self.next;
                self.write(id, Entry::Begin(begin))?;
                (self.id, self.next) = (Some(id), id + 1);
                id
            }
        };
        for change in self.talk.changes(&to) {
            self.write(id, change)?;
        }
        Ok(())
    }

    fn write(&mut self, id: ConversationId, entry: Entry) -> Result<(), VaultError> {
        let before = self.vault.records();
        let written = self.vault.append(id, &entry);
        // An anchor that could not be written does not undo the record.
        if self.vault.records() > before {
            self.talk.apply(entry);
        }
        written
    }
}

/// A conversation, as a vault has it.
pub(super) fn conversation(talk: &Talk) -> Conversation {
    let messages = talk
        .messages
        .iter()
        .map(|said| Message::from_fields(said.message.clone()));
    let mut conversation = Conversation::new(talk.system.clone(), messages.collect());
    conversation.set_forgotten(usize::try_from(talk.forgotten).unwrap_or(usize::MAX));
    conversation
}

/// A conversation of a vault in the form that `/save` writes.
pub(crate) fn talk_document(talk: &Talk) -> Value {
    saved::document(&conversation(talk), talk.model())
}

/// What the user set beyond what model and program have by themselves.
pub(super) fn set(settings: &Settings, base: &Settings, think: Option<bool>) -> Set {
    let differs = |name: &String| settings.get(name) != base.get(name);
    let names = Settings::names().into_iter().filter(differs);
    Set {
        parameters: names
            .map(|name| (name.clone(), settings.get(&name)))
            .collect(),
        stop: settings.stop.clone(),
        think,
    }
}
