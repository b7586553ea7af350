//! Keys, and random bytes for them and for nonces. A key is overwritten when it goes, is never copied
//! but on purpose, and is shown to no log.

use super::VaultError;
use zeroize::Zeroizing;

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;

/// A key, on the heap so that moving it leaves no copy behind.
#[derive(Clone)]
pub(crate) struct Key(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl Key {
    /// A key that `fill` writes.
    pub(crate) fn filled<E>(
        fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>,
    ) -> Result<Key, E> {
        let mut key = Key(Box::default());
        fill(&mut key.0)?;
        Ok(key)
    }

    /// A key from the operating system's random numbers.
    pub(crate) fn random() -> Result<Key, VaultError> {
        Key::filled(|bytes| fill_random(bytes))
    }

    /// A copy of these bytes; `None` if they are not as many as a key has.
    pub(crate) fn of(bytes: &[u8]) -> Option<Key> {
        let mut key = Key(Box::default());
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

fn fill_random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|e| VaultError::Random(e.to_string()))
}
