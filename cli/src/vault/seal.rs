//! Encryption: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with random nonces, and the keys for each
//! purpose from a vault's one (HKDF-SHA256, RFC 5869).

use super::VaultError;
use super::secret::{Key, random};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 24;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;

/// A tag, which authenticates what it follows.
pub(super) type Tag = [u8; TAG];
/// What makes a vault this one and no other.
pub(super) type VaultId = [u8; 16];

/// Encrypts `text` in place; gives the nonce and the tag. `context` is authenticated with it.
pub(super) fn seal(
    key: &Key,
    context: &[u8],
    text: &mut [u8],
) -> Result<([u8; NONCE], Tag), VaultError> {
    let nonce = random()?;
    Ok((nonce, seal_with(key, &nonce, context, text)?))
}

/// [`seal`], where the nonce had to be chosen before; it must be a random one.
pub(super) fn seal_with(
    key: &Key,
    nonce: &[u8; NONCE],
    context: &[u8],
    text: &mut [u8],
) -> Result<Tag, VaultError> {
    let tag = cipher(key).encrypt_inout_detached(&(*nonce).into(), context, text.into());
    tag.map(Into::into).map_err(|_| VaultError::Seal)
}

/// Decrypts `text` in place; `None` if the text, its context, its nonce or its tag is not what was sealed.
#[must_use]
pub(super) fn open(
    key: &Key,
    nonce: &[u8; NONCE],
    context: &[u8],
    text: &mut [u8],
    tag: &Tag,
) -> Option<()> {
    cipher(key)
        .decrypt_inout_detached(&(*nonce).into(), context, text.into(), &(*tag).into())
        .ok()
}

/// Its copy of the key is overwritten when it goes.
fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

/// The keys of a vault.
pub(super) struct Keys {
    /// Encrypts records.
    pub(super) record: Key,
    /// Encrypts heads.
    pub(super) head: Key,
    /// Shows that it is this key that was unwrapped: no other passphrase's key makes the same.
    pub(super) commitment: Key,
}

impl Keys {
    /// The keys for each purpose, from the vault's one.
    pub(super) fn new(dek: &Key, id: &VaultId) -> Result<Keys, VaultError> {
        let hkdf = Hkdf::<Sha256>::new(Some(id), dek.bytes());
        let key = |purpose: &str| {
            let info = format!("hob vault 1 {purpose}");
            // Only more than 255 hashes of output would be an error.
            Key::filled(|out| {
                hkdf.expand(info.as_bytes(), out)
                    .map_err(|_| VaultError::Seal)
            })
        };
        Ok(Keys {
            record: key("record")?,
            head: key("head")?,
            commitment: key("commitment")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_as_a_whole() {
        let key = Key::random().unwrap();
        let mut text = *b"some words";
        let (nonce, tag) = seal(&key, b"context", &mut text).unwrap();
        assert_ne!(text, *b"some words");
        let opens = |nonce: &[u8; NONCE], context: &[u8], mut text: [u8; 10], tag: &Tag| {
            open(&key, nonce, context, &mut text, tag).map(|()| text)
        };
        assert_eq!(opens(&nonce, b"context", text, &tag), Some(*b"some words"));
        assert_eq!(opens(&nonce, b"Context", text, &tag), None);
        for at in 0..24 {
            let mut other = nonce;
            other[at] ^= 1;
            assert_eq!(opens(&other, b"context", text, &tag), None);
        }
        for at in 0..16 {
            let mut other = tag;
            other[at] ^= 0x80;
            assert_eq!(opens(&nonce, b"context", text, &other), None);
        }
        let keys = Keys::new(&key, &[1; 16]).unwrap();
        let other = Keys::new(&key, &[2; 16]).unwrap();
        let all = [
            &keys.record,
            &keys.head,
            &keys.commitment,
            &other.record,
            &key,
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a.bytes() != b.bytes()));
        }
    }

    /// The draft's own vector (A.3.1).
    #[test]
    fn it_is_xchacha20_poly1305() {
        let hex = |s: &str| -> Vec<u8> {
            (0..s.len() / 2)
                .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let key: Vec<u8> = (0x80..0xa0).collect();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.".to_vec();
        let tag = cipher(&Key::of(&key.try_into().unwrap()).unwrap())
            .encrypt_inout_detached(
                &<[u8; NONCE]>::try_from(&nonce[..]).unwrap().into(),
                &hex("50515253c0c1c2c3c4c5c6c7"),
                text.as_mut_slice().into(),
            )
            .unwrap();
        assert_eq!(text[..16], hex("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(tag[..], hex("c0875924c1c7987947deafd8780acf49"));
    }
}
