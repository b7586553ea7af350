//! Vaults: conversations that are kept, encrypted, because their user asked for it.
//!
//! A vault is one file that is only ever added to. A passphrase opens it (`kdf`, `header`); each record is
//! a change to a conversation (`entry`), encrypted and chained to the one before (`record`), and a head
//! vouches for their number (`head`); `file` opens, checks and adds, `rewrite` erases and changes keys,
//! `place` is the only way to the files, `anchor` notices that a whole file was rolled back, and `history`
//! plays the entries back into conversations. `snapshot` and `slots` keep a session's keys and values in
//! files of their own. Who asks for passphrases is `passphrase`.
//!
//! In: a passphrase, and what was said. Out: the same conversations again, or an error that says what was
//! found: never a part of them in silence. Nothing here knows models or terminals (but `passphrase`).

mod anchor;
mod entry;
mod error;
mod file;
mod head;
mod header;
mod history;
mod kdf;
mod passphrase;
mod place;
mod record;
mod rewrite;
mod seal;
mod secret;
mod slots;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use entry::{Begin, ConversationId, Entry, Set, SnapshotRef};
pub(crate) use error::VaultError;
pub(crate) use file::{Finding, Opened, Vault, now};
pub(crate) use header::Master;
pub(crate) use history::{History, Now, Talk, text};
pub(crate) use kdf::Cost;
pub(crate) use passphrase::{Passphrase, PassphraseArgs};
pub(crate) use place::{Access, Closed, VaultName, Vaults, missing};
pub(crate) use slots::{Slot, Slots};
pub(crate) use snapshot::SnapshotError;
