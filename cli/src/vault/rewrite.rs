//! Changes that make old bytes useless: another passphrase, another key, conversations erased.
//!
//! What is erased is not overwritten in place, which a disk may not do; the survivors are copied under a
//! new key into a new file, and the old key is destroyed: the headers of the old file are overwritten.

use super::VaultError;
use super::entry::{ConversationId, Entry, SnapshotId};
use super::file::{Vault, now};
use super::header::{Header, Master};
use super::kdf::{Cost, derive};
use super::secret::{Key, random};

impl Vault {
    /// Changes the passphrase. Killed on the way, the old one or the new one opens the vault, or both;
    /// done, the new one alone. An older copy of the header still opens with the old one, and so do the
    /// records: [`Vault::rekey`] ends that.
    pub(crate) fn change_passphrase(
        &self,
        master: &Master,
        passphrase: &[u8],
        cost: Cost,
    ) -> Result<(), VaultError> {
        if passphrase.is_empty() {
            return Err(VaultError::EmptyPassphrase);
        }
        let salt = random()?;
        let kek = derive(passphrase, &salt, cost)?;
        let old = &master.header;
        let new = Header::wrap(old.id, old.epoch + 1, cost, salt, &kek, &master.dek)?;
        let place = self.place_of(old)?;
        self.write_header(1 - place, new.slot())?;
        self.write_header(place, new.slot())
    }

    /// Copies these entries into a new file under a new key, puts it in this one's place and destroys the
    /// old key. Snapshots that are not among `snapshots` are deleted. Killed on the way, the vault is
    /// as before or as after.
    pub(crate) fn rekey(
        self,
        master: &Master,
        survivors: impl IntoIterator<Item = (ConversationId, Entry)>,
        snapshots: &[SnapshotId],
    ) -> Result<Vault, VaultError> {
        let old = &master.header;
        let dek = Key::random()?;
        let header = Header::wrap(old.id, old.epoch + 1, old.cost, old.salt, &master.kek, &dek)?;
        let Vault {
            vaults,
            name,
            // Open, and so locked, until the new file has its place.
            file: _old_file,
            head,
            anchor,
            ..
        } = self;
        let lock = vaults.lock()?;
        let mut new = Vault::begin(vaults, &name, &header, &dek, head.generation)?;
        for (conversation, entry) in survivors {
            new.put(conversation, &entry)?;
        }
        new.finish(now())?;
        new.vaults.publish(&name, true)?;
        drop(lock);
        new.vaults.keep_snapshots(&name, snapshots)?;
        if let Some(anchor) = anchor {
            anchor.update(&new.id, &new.head)?;
            new.anchor = Some(anchor);
        }
        Ok(new)
    }
}
