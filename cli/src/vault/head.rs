//! A vault's head, of which the file has two, 512 bytes each: how many records there are, the last one's
//! tag, and when it was written; sealed. They are written in turn, so that one is whole at any moment, and
//! the one with the higher generation counts.

use super::VaultError;
use super::header::{Reader, Writer};
use super::seal::{self, NONCE, TAG, Tag, VaultId};
use super::secret::Key;

/// Bytes of a head.
pub(super) const HEAD: usize = 512;
const TEXT: usize = HEAD - NONCE - TAG;

/// What a head vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Records in the file; one more may follow, whose head was not written any more.
    pub(super) records: u64,
    /// The tag of the last one; zeros if there is none.
    pub(super) last_tag: Tag,
    /// Grows with each head that is written, for as long as the vault exists.
    pub(super) generation: u64,
    /// When it was written, in seconds since 1970 (UTC).
    pub(super) time: u64,
}

fn context(id: &VaultId) -> Vec<u8> {
    [&id[..], b"head"].concat()
}

impl Head {
    pub(super) fn seal(&self, key: &Key, id: &VaultId) -> Result<[u8; HEAD], VaultError> {
        let mut text = [0; TEXT];
        let mut writer = Writer(&mut text);
        writer.put(&self.records.to_le_bytes());
        writer.put(&self.last_tag);
        writer.put(&self.generation.to_le_bytes());
        writer.put(&self.time.to_le_bytes());
        let (nonce, tag) = seal::seal(key, &context(id), &mut text)?;
        let mut slot = [0; HEAD];
        let mut writer = Writer(&mut slot);
        writer.put(&nonce);
        writer.put(&text);
        writer.put(&tag);
        Ok(slot)
    }

    /// `None` if the slot holds no head of this vault.
    pub(super) fn open(slot: &[u8; HEAD], key: &Key, id: &VaultId) -> Option<Head> {
        let mut reader = Reader(slot);
        let nonce = reader.take()?;
        let mut text: [u8; TEXT] = reader.take()?;
        seal::open(key, &nonce, &context(id), &mut text, &reader.take()?)?;
        let mut reader = Reader(&text);
        Some(Head {
            records: u64::from_le_bytes(reader.take()?),
            last_tag: reader.take()?,
            generation: u64::from_le_bytes(reader.take()?),
            time: u64::from_le_bytes(reader.take()?),
        })
    }
}
