//! A vault's header, of which the file has two copies of 4 KiB: what makes it a vault, what a
//! passphrase costs to try, and the vault's key, wrapped under the key that the passphrase gives.
//!
//! ```text
//! 0 magic "hobvault" | version u32 | vault id 16 | epoch u64
//! 36 Argon2id: memory in KiB u32, passes u32, lanes u32, salt 16
//! 64 nonce 24 | commitment 32 | wrapped key 32 + tag 16 | zeros
//! 4064 SHA-256 of the 4064 bytes before
//! ```
//! Numbers are little-endian. All bytes before the hash but the wrapped key are authenticated with it.
//! The hash tells a copy that the disk damaged, or that was written in part, from a wrong passphrase;
//! who tampers with a header can make the hash anew, so that then the two look alike.

use super::VaultError;
use super::kdf::{Cost, derive};
use super::seal::{self, Keys, NONCE, TAG, VaultId};
use super::secret::{KEY_BYTES, Key, random};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a header.
pub(super) const HEADER: usize = 4096;
const MAGIC: &[u8; 8] = b"hobvault";
const VERSION: u32 = 1;
const HASHED: usize = HEADER - 32;
const WRAPPED: std::ops::Range<usize> = 120..120 + KEY_BYTES + TAG;

/// A copy of a header, as it lies in the file.
pub(super) type Slot = [u8; HEADER];

/// What a header says.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) id: VaultId,
    /// Grows with each change of the passphrase: of two headers the one with more is the newer.
    pub(super) epoch: u64,
    pub(super) cost: Cost,
    pub(super) salt: [u8; 16],
    slot: Box<Slot>,
}

/// Why a slot holds no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not begin as one.
    Foreign,
    /// It is of this version.
    Version(u32),
    /// It was one.
    Damaged,
}

/// A vault's key, and what wraps it: what changing the passphrase or the key needs.
pub(crate) struct Master {
    /// The vault's key.
    pub(super) dek: Key,
    /// The passphrase's.
    pub(super) kek: Key,
    pub(super) header: Header,
}

impl Header {
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// A header for this key, which the passphrase's key wraps.
    pub(super) fn wrap(
        id: VaultId,
        epoch: u64,
        cost: Cost,
        salt: [u8; 16],
        kek: &Key,
        dek: &Key,
    ) -> Result<Header, VaultError> {
        let mut slot: Box<Slot> = Box::new([0; HEADER]);
        let mut writer = Writer(&mut slot[..]);
        writer.put(MAGIC);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&id);
        writer.put(&epoch.to_le_bytes());
        for n in [cost.memory_kib, cost.passes, cost.lanes] {
            writer.put(&n.to_le_bytes());
        }
        writer.put(&salt);
        // The nonce belongs to what is authenticated, so it is chosen here.
        let nonce: [u8; NONCE] = random()?;
        writer.put(&nonce);
        writer.put(Keys::new(dek, &id)?.commitment.bytes());
        let mut wrapped = *dek.bytes();
        let tag = seal::seal_with(kek, &nonce, &around(&slot), &mut wrapped)?;
        let mut writer = Writer(slot.get_mut(WRAPPED).unwrap_or_default());
        writer.put(&wrapped);
        writer.put(&tag);
        let hash = Sha256::digest(slot.get(..HASHED).unwrap_or_default());
        Writer(slot.get_mut(HASHED..).unwrap_or_default()).put(&hash);
        Ok(Header {
            id,
            epoch,
            cost,
            salt,
            slot,
        })
    }

    /// Reads a slot. Whether the cost that it states is paid is [`Cost::check`]'s.
    pub(super) fn read(slot: &Slot) -> Result<Header, Fault> {
        let mut reader = Reader(slot);
        if reader.take() != Some(*MAGIC) {
            return Err(Fault::Foreign);
        }
        let version = reader.number();
        if version != Some(VERSION) {
            return Err(match version {
                Some(newer) if newer > VERSION && newer < 1000 => Fault::Version(newer),
                _ => Fault::Damaged,
            });
        }
        let (hashed, hash) = slot.split_at_checked(HASHED).ok_or(Fault::Damaged)?;
        if Sha256::digest(hashed)[..] != *hash {
            return Err(Fault::Damaged);
        }
        let header = (|| {
            Some(Header {
                id: reader.take()?,
                epoch: reader.take().map(u64::from_le_bytes)?,
                cost: Cost {
                    memory_kib: reader.number()?,
                    passes: reader.number()?,
                    lanes: reader.number()?,
                },
                salt: reader.take()?,
                slot: Box::new(*slot),
            })
        })();
        header.ok_or(Fault::Damaged)
    }

    /// Tries a passphrase; `None` if it does not open this header.
    pub(super) fn unwrap(&self, passphrase: &[u8]) -> Result<Option<Master>, VaultError> {
        let kek = derive(passphrase, &self.salt, self.cost)?;
        let mut reader = Reader(self.slot.get(64..).unwrap_or_default());
        let (Some(nonce), Some(commitment)) = (reader.take(), reader.take::<KEY_BYTES>()) else {
            return Ok(None);
        };
        let (Some(wrapped), Some(tag)) = (reader.take::<KEY_BYTES>(), reader.take()) else {
            return Ok(None);
        };
        let dek = Key::filled(|out| {
            *out = wrapped;
            let opened = seal::open(&kek, &nonce, &around(&self.slot), out, &tag);
            opened.ok_or(VaultError::WrongPassphrase)
        });
        let dek = match dek {
            Err(VaultError::WrongPassphrase) => return Ok(None),
            other => other?,
        };
        let own = Keys::new(&dek, &self.id)?.commitment;
        let is_own: bool = own.bytes().ct_eq(&commitment).into();
        let header = self.clone();
        Ok(is_own.then_some(Master { dek, kek, header }))
    }
}

/// What is authenticated with the wrapped key: all of the slot but it and the hash.
fn around(slot: &Slot) -> Vec<u8> {
    let before = slot.get(..WRAPPED.start).unwrap_or_default();
    let after = slot.get(WRAPPED.end..HASHED).unwrap_or_default();
    [before, after].concat()
}

/// Fills a slot from its beginning.
pub(super) struct Writer<'a>(pub(super) &'a mut [u8]);

impl Writer<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.0);
        // Every slot is larger than what is put into it.
        if let Some((here, rest)) = rest.split_at_mut_checked(bytes.len()) {
            here.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

/// Reads a slot from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in super::super) const CHEAP: Cost = Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    fn sample(passphrase: &[u8], epoch: u64) -> (Header, Key) {
        let (salt, dek) = (random().unwrap(), Key::random().unwrap());
        let kek = derive(passphrase, &salt, CHEAP).unwrap();
        let header = Header::wrap([7; 16], epoch, CHEAP, salt, &kek, &dek).unwrap();
        (header, dek)
    }

    #[test]
    fn a_header_opens_with_its_passphrase_alone() {
        let (header, dek) = sample(b"right", 3);
        let read = Header::read(header.slot()).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!((read.id, read.epoch, read.cost), ([7; 16], 3, CHEAP));
        assert_eq!(
            read.unwrap(b"right").unwrap().unwrap().dek.bytes(),
            dek.bytes()
        );
        for wrong in [&b""[..], b"Right", b"right "] {
            assert!(read.unwrap(wrong).unwrap().is_none());
        }
    }

    #[test]
    fn a_flip_anywhere_is_damage_and_with_the_hash_made_anew_opens_nothing() {
        let (header, _) = sample(b"right", 0);
        for at in 0..HEADER {
            let mut slot = *header.slot();
            slot[at] ^= 0x10;
            assert!(Header::read(&slot).is_err(), "byte {at}");
            let hash = Sha256::digest(&slot[..HASHED]);
            slot[HASHED..].copy_from_slice(&hash);
            // What still reads as a header is refused for its cost, or does not open.
            if let Ok(forged) = Header::read(&slot)
                && at < HASHED
                && forged.cost == CHEAP
            {
                assert!(forged.unwrap(b"right").unwrap().is_none(), "byte {at}");
            }
        }
    }
}
