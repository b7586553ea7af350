//! Keys, and random bytes for them and for nonces. A key lies in memory made for secrets
//! ([`hob::privacy::secret`]), is overwritten when it goes, and is shown to no log.

use super::VaultError;
use hob::privacy::secret::SecretBytes;
use std::sync::Arc;

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;

/// A key. A clone is the same bytes in the same place.
#[derive(Clone)]
pub(crate) struct Key(Arc<SecretBytes>);

impl Key {
    /// A key that `fill` writes.
    pub(crate) fn filled(
        fill: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), VaultError>,
    ) -> Result<Key, VaultError> {
        let mut bytes = SecretBytes::zeroed(KEY_BYTES)?;
        if let Some(bytes) = bytes.first_chunk_mut() {
            fill(bytes)?;
        }
        Ok(Key(Arc::new(bytes)))
    }

    /// A key from the operating system's random numbers.
    pub(crate) fn random() -> Result<Key, VaultError> {
        Key::filled(|bytes| fill_random(bytes))
    }

    /// A copy of these bytes.
    pub(crate) fn of(bytes: &[u8; KEY_BYTES]) -> Result<Key, VaultError> {
        Key::filled(|key| {
            *key = *bytes;
            Ok(())
        })
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        // It was made with so many.
        self.0.first_chunk().expect("a key has 32 bytes")
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
