//! A session's state as bytes: written by [`Session::save`], made a session again by [`Engine::restore`].
//! What follows has the bits of a session that read all tokens, and none of them is read again.
//!
//! | bytes  | content                                                          |
//! |--------|------------------------------------------------------------------|
//! | 0..8   | `hobstate`                                                       |
//! | 8..12  | u32: version of this form                                        |
//! | 12..16 | u32: element type of keys and values: 0 f32, 1 f16, 2 q8_0       |
//! | 16..48 | [`Fingerprint`] of the engine                                    |
//! | 48..56 | u64: tokens                                                      |
//! | 56..64 | u64: logits: 0, or as many as the vocabulary has tokens          |
//! | 64..   | token ids, u32 each; logits, f32 each; then keys and values      |
//!
//! Everything is little-endian. Keys and values are as they lie in memory, layer by layer and page by
//! page ([`KvCache::held`]), of the tokens held and of no other: the bytes depend on the tokens and on
//! nothing else, so nothing of what a session has forgotten is in them.
//!
//! The bytes are untrusted when they are read: damaged ones are refused, or make other keys and values,
//! and so other answers. There is no checksum, because a state contains its conversation and belongs into
//! something encrypted and authenticated, which detects any change.

mod buffer;

use crate::engine::{Engine, Inner};
use crate::lower::Loaded;
use crate::session::{Session, SessionOptions};
use buffer::{Ahead, Gather};
use hob_kernels::kv::KvElem;
use hob_kernels::private::{Content, PrivateVec};
use hob_kernels::program::KvCache;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

const MAGIC: [u8; 8] = *b"hobstate";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Weights are hashed in pieces of so many bytes, each by one thread.
const PIECE_BYTES: usize = 1 << 20;

/// What keys and values depend on, besides the tokens: the model's weights and plan, the definition of
/// the numbers, the element type of the cache. Engines with equal fingerprints compute equal bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Its bytes: a SHA-256.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a state was not written, or not made a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes could not be read or written.
    #[error("a session's state could not be read or written: {0}")]
    Io(io::Error),
    /// The bytes end before the state does.
    #[error("the session's state is cut short")]
    Truncated,
    /// The bytes are something else.
    #[error("this is not the state of a session")]
    NotAState,
    /// Another version of hob wrote it.
    #[error(
        "the session's state has version {found}, and this hob reads version {VERSION}; read the conversation again"
    )]
    Version {
        /// The state's.
        found: u32,
    },
    /// The cache of the session that was saved had another element type.
    #[error(
        "the session's state holds keys and values as {found}, and this engine as {wanted}; load the model with `kv` {found}, or read the conversation again"
    )]
    KvType {
        /// The state's; untrusted.
        found: String,
        /// The engine's.
        wanted: &'static str,
    },
    /// It belongs to another model, or its numbers were computed by another definition.
    #[error(
        "the session's state is of another model, or of a hob that computes other numbers; read the conversation again"
    )]
    OtherModel,
    /// More tokens than the session may hold.
    #[error(
        "the session's state has {tokens} tokens, and the context is {context}; give a larger context"
    )]
    Context {
        /// In the state.
        tokens: u64,
        /// The session's limit.
        context: usize,
    },
    /// A field that no session writes.
    #[error("the session's state is damaged: {0}")]
    Malformed(&'static str),
    /// No memory for the keys and values.
    #[error(
        "out of memory for {0} bytes of keys and values; close other programs, or read a shorter conversation"
    )]
    Memory(u64),
    /// A session that ran out of memory before has lost keys and values.
    #[error(
        "the session lost keys and values when memory ran out; read the conversation in a new one"
    )]
    Lost,
}

impl From<io::Error> for StateError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => StateError::Truncated,
            _ => StateError::Io(e),
        }
    }
}

impl Engine {
    /// What the engine's numbers depend on. Without [`Engine::identify`] the first call reads all weights,
    /// on the engine's threads.
    pub fn fingerprint(&self) -> Fingerprint {
        *self.inner.fingerprint.get_or_init(|| {
            let identity = match self.inner.identity.get() {
                Some(given) => Sha256::new().chain_update([1]).chain_update(given),
                None => Sha256::new()
                    .chain_update([0])
                    .chain_update(crate::engine::on_threads(self.inner.threads, || {
                        weights_digest(&self.inner)
                    })),
            };
            fingerprint(&self.inner, identity.finalize().into())
        })
    }

    /// Names the model by a digest of its files (SHA-256, say) that the caller vouches for, so that
    /// [`Engine::fingerprint`] need not read the weights. States saved under one name are not restored
    /// under another, or under none. `false`, and nothing is changed, if the fingerprint is known
    /// already.
    pub fn identify(&self, digest: [u8; 32]) -> bool {
        self.inner.fingerprint.get().is_none() && self.inner.identity.set(digest).is_ok()
    }

    /// Makes a session of a state that [`Session::save`] wrote. Its next token, and all that follow, have
    /// the bits of a session that read the tokens. Exactly the state's bytes are read.
    ///
    /// # Errors
    /// The state is not one, is cut short, or is of another model, element type or version; it has more
    /// tokens than `options` has room for; or memory is short, which is taken only as bytes arrive.
    pub fn restore(
        &self,
        mut from: impl Read,
        options: SessionOptions,
    ) -> Result<Session, StateError> {
        let mut bytes = [0; HEADER_BYTES];
        from.read_exact(&mut bytes)?;
        let header = Header::check(&bytes, self, options.context)?;
        let kv_bytes = KvCache::held_bytes(&self.inner.layouts, header.tokens);
        let values = (header.tokens as u64).saturating_add(header.logits as u64);
        let rest = values.saturating_mul(4).saturating_add(kv_bytes);
        let mut from = Ahead::new(from, rest);
        let vocab = self.model().hparams.vocab;
        let no_memory = || StateError::Memory(rest);
        let (mut tokens, mut has_room) = (PrivateVec::new(Content::Tokens), true);
        read_values(&mut from, header.tokens, |bytes| {
            let id = u32::from_le_bytes(bytes);
            has_room &= tokens.extend(&[id]);
            id < vocab
        })?
        .ok_or(StateError::Malformed("a token is not in the vocabulary"))?;
        let mut logits = PrivateVec::new(Content::Logits);
        read_values(&mut from, header.logits, |bytes| {
            let logit = f32::from_le_bytes(bytes);
            has_room &= logits.extend(&[logit]);
            !logit.is_nan()
        })?
        .ok_or(StateError::Malformed("a logit is not a number"))?;
        has_room.then_some(()).ok_or_else(no_memory)?;
        let layouts = self.inner.layouts.clone();
        let cache = KvCache::filled(layouts, header.tokens, |part| from.read(part))?;
        let cache = cache.ok_or_else(no_memory)?;
        Ok(Session::with_state(
            self.inner.clone(),
            options,
            cache,
            tokens,
            logits,
        ))
    }
}

impl Session {
    /// Writes the session's state: tokens, logits, keys and values. [`Engine::restore`] reads it.
    ///
    /// # Errors
    /// `to` fails, or the session lost keys and values when memory ran out.
    pub fn save(&self, to: impl Write) -> Result<(), StateError> {
        let (engine, cache, logits) = (self.engine(), self.cache(), self.logits());
        let tokens = self.tokens();
        let parts = cache.held(tokens.len()).ok_or(StateError::Lost)?;
        let mut to = Gather::new(to);
        let header = Header {
            tokens: tokens.len(),
            logits: logits.len(),
        };
        to.write(&header.to_bytes(&engine))?;
        for id in tokens {
            to.write(&id.to_le_bytes())?;
        }
        for logit in logits {
            to.write(&logit.to_le_bytes())?;
        }
        for part in parts {
            to.write(part)?;
        }
        Ok(to.flush()?)
    }

    /// Bytes that [`Session::save`] writes.
    pub fn state_bytes(&self) -> u64 {
        let values = self.tokens().len() + self.logits().len();
        let kv = KvCache::held_bytes(self.cache().layouts(), self.tokens().len());
        (HEADER_BYTES + 4 * values) as u64 + kv
    }
}

/// What a state's first bytes say of those that follow.
struct Header {
    tokens: usize,
    logits: usize,
}

impl Header {
    fn to_bytes(&self, engine: &Engine) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(kv_code(engine.inner.kv).to_le_bytes());
        out.extend(engine.fingerprint().as_bytes());
        out.extend((self.tokens as u64).to_le_bytes());
        out.extend((self.logits as u64).to_le_bytes());
        out
    }

    /// Reads a header for a session of `engine` of at most `context` tokens.
    fn check(
        bytes: &[u8; HEADER_BYTES],
        engine: &Engine,
        context: usize,
    ) -> Result<Header, StateError> {
        let part = |start: usize, len: usize| bytes.get(start..start + len).unwrap_or(&[]); // within 64
        let u32_at = |at| part(at, 4).try_into().map_or(0, u32::from_le_bytes); // four bytes
        let u64_at = |at| part(at, 8).try_into().map_or(0, u64::from_le_bytes); // eight bytes
        if part(0, 8) != MAGIC {
            return Err(StateError::NotAState);
        }
        if u32_at(8) != VERSION {
            return Err(StateError::Version { found: u32_at(8) });
        }
        let (found, wanted) = (u32_at(12), engine.inner.kv);
        if found != kv_code(wanted) {
            let known = KvElem::ALL.into_iter().find(|e| kv_code(*e) == found);
            return Err(StateError::KvType {
                found: known.map_or_else(|| format!("type {found}"), |e| e.name().to_owned()),
                wanted: wanted.name(),
            });
        }
        if part(16, 32) != engine.fingerprint().as_bytes() {
            return Err(StateError::OtherModel);
        }
        let tokens = match usize::try_from(u64_at(48)) {
            Ok(tokens) if tokens <= context => tokens,
            _ => {
                return Err(StateError::Context {
                    tokens: u64_at(48),
                    context,
                });
            }
        };
        let vocab = engine.model().hparams.vocab;
        let logits = match u64_at(56) {
            0 => 0,
            n if n == u64::from(vocab) && tokens > 0 => vocab as usize,
            _ => return Err(StateError::Malformed("its number of logits")),
        };
        Ok(Header { tokens, logits })
    }
}

/// Part of the form: never renumbered.
fn kv_code(elem: KvElem) -> u32 {
    match elem {
        KvElem::F32 => 0,
        KvElem::F16 => 1,
        KvElem::Q8_0 => 2,
    }
}

/// Reads `n` values of four bytes; `None` at the first that `take` refuses.
fn read_values(
    from: &mut Ahead<impl Read>,
    n: usize,
    mut take: impl FnMut([u8; 4]) -> bool,
) -> Result<Option<()>, StateError> {
    let mut bytes = [0; 4096];
    let mut left = n;
    while left > 0 {
        let now = left.min(bytes.len() / 4);
        let bytes = bytes.get_mut(..4 * now).unwrap_or_default(); // `now` is at most its length
        from.read(bytes)?;
        let (values, _) = bytes.as_chunks();
        if !values.iter().all(|value| take(*value)) {
            return Ok(None);
        }
        left -= now;
    }
    Ok(Some(()))
}

/// All that keys and values depend on, given the weights' identity.
fn fingerprint(engine: &Inner, identity: [u8; 32]) -> Fingerprint {
    /// Hashes what is formatted: a plan has no other canonical form than the one that names every field.
    struct Hashed(Sha256);
    impl fmt::Write for Hashed {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0.update(s);
            Ok(())
        }
    }
    let mut hash = Hashed(Sha256::new_with_prefix(b"hob fingerprint\0"));
    for version in [VERSION, hob_kernels::NUMBERS_VERSION] {
        hash.0.update(version.to_le_bytes());
    }
    hash.0.update(identity);
    // Writing to a hash does not fail. Different numbers are formatted differently.
    let _ = write!(hash, "{:?}\0{:?}", engine.layouts, engine.model);
    Fingerprint(hash.0.finalize().into())
}

/// A digest of all weights as the kernels see them.
fn weights_digest(engine: &Inner) -> [u8; 32] {
    use rayon::prelude::*;
    let mut all = Sha256::new();
    for weight in &engine.weights {
        match weight {
            Loaded::Vector(x) => {
                all.update([0]);
                all.update((x.len() as u64).to_le_bytes());
                x.iter().for_each(|x| all.update(x.to_le_bytes()));
            }
            Loaded::Matrix(m) => {
                all.update([1, u8::from(m.packed())]);
                all.update((m.data().len() as u64).to_le_bytes());
                all.update(m.format().name());
                let pieces = m.data().par_chunks(PIECE_BYTES);
                let digests: Vec<_> = pieces.map(Sha256::digest).collect();
                digests.iter().for_each(|digest| all.update(digest));
            }
        }
    }
    all.finalize().into()
}
