//! The vocabulary: for each token its bytes and its kind, in flat arrays, with an index from bytes
//! to token. Pieces go in once, in the order of their ids, already as the bytes that they stand for
//! (byte-level characters decoded, `▁` a space); nothing is changed afterwards. It does not know
//! how a text becomes tokens.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::TokenizerError;

/// What a token is, by the numbers of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// The token for text that has none.
    Unknown,
    /// Steers the model, has no text of its own: `<s>`, `<|im_end|>`.
    Control,
    /// Text that is always one token, whatever the merges say.
    UserDefined,
    /// Never produced.
    Unused,
    /// A single byte, for text without a piece: `<0x0A>`.
    Byte,
}

impl TokenKind {
    /// The kind with the number `value` in `tokenizer.ggml.token_type`.
    pub(super) fn from_gguf(id: usize, value: i32) -> Result<Self, TokenizerError> {
        Ok(match value {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            found => return Err(TokenizerError::BadTokenType { id, found }),
        })
    }

    /// Whether it is found in text before anything else is done to it.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Unknown | Self::UserDefined)
    }

    /// Whether text outside of trusted spans may become this token.
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined)
    }
}

/// Tokens by id, and ids by text.
pub(super) struct Vocab {
    /// The bytes of all pieces, one after the other.
    bytes: Vec<u8>,
    /// Where each piece ends in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<TokenKind>,
    /// Tokens that plain text may become. Seeded at random: a vocabulary cannot be made to collide.
    plain: HashTable<u32>,
    /// All others: control, unknown, unused and byte tokens.
    reserved: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Vocab {
    /// An empty vocabulary with room for `n_tokens`.
    pub(super) fn with_capacity(n_tokens: usize, n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
            ends: Vec::with_capacity(n_tokens),
            kinds: Vec::with_capacity(n_tokens),
            plain: HashTable::with_capacity(n_tokens),
            reserved: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Adds the next token; `write` appends its bytes.
    pub(super) fn push(
        &mut self,
        kind: TokenKind,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TokenizerError> {
        write(&mut self.bytes);
        let too_large = |what, found| TokenizerError::TooLarge {
            what,
            found,
            limit: u32::MAX as usize,
        };
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| too_large("the vocabulary's text", self.bytes.len()))?;
        let id = u32::try_from(self.ends.len())
            .map_err(|_| too_large("the number of tokens", self.ends.len()))?;
        let start = self.ends.last().map_or(0, |&end| end as usize);
        self.ends.push(end);
        self.kinds.push(kind);

        let Self {
            bytes,
            ends,
            plain,
            reserved,
            hasher,
            ..
        } = self;
        let table = if kind.is_plain() { plain } else { reserved };
        let piece = bytes.get(start..).unwrap_or_default();
        if piece.is_empty() {
            return Ok(()); // reachable by its id only
        }
        let slot = table.entry(
            hasher.hash_one(piece),
            |&other| piece_of(bytes, ends, other) == piece,
            |&other| hasher.hash_one(piece_of(bytes, ends, other)),
        );
        // Of several tokens with one text the last is meant, as in the reference implementations.
        slot.insert(id);
        Ok(())
    }

    /// The number of tokens.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes that a token stands for; empty for an id out of range.
    pub(super) fn piece(&self, id: u32) -> &[u8] {
        piece_of(&self.bytes, &self.ends, id)
    }

    /// What a token is; `None` for an id out of range.
    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The token that plain text with these bytes may become.
    pub(super) fn plain_id(&self, piece: &[u8]) -> Option<u32> {
        self.find(&self.plain, piece)
    }

    /// Whether `id` is what [`Self::plain_id`] finds for these bytes, if they have one token only.
    /// Faster than to find it.
    pub(super) fn is_plain_id_of(&self, id: u32, piece: &[u8]) -> bool {
        self.kind(id).is_some_and(TokenKind::is_plain) && self.piece(id) == piece
    }

    /// The token with these bytes that plain text never becomes.
    pub(super) fn reserved_id(&self, piece: &[u8]) -> Option<u32> {
        self.find(&self.reserved, piece)
    }

    fn find(&self, table: &HashTable<u32>, piece: &[u8]) -> Option<u32> {
        table
            .find(self.hasher.hash_one(piece), |&id| self.piece(id) == piece)
            .copied()
    }

    /// Whether some piece of text has a space after another character, so that it joins words.
    pub(super) fn joins_words(&self) -> bool {
        self.kinds().any(|(id, kind)| {
            let piece = self.piece(id);
            let joins = |at: usize| at > 0 && piece.get(at - 1) != Some(&b' ');
            kind == TokenKind::Normal && memchr::memchr_iter(b' ', piece).any(joins)
        })
    }

    /// All ids with their kinds, ascending.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (u32, TokenKind)> + '_ {
        (0u32..).zip(self.kinds.iter().copied())
    }
}

fn piece_of<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let Some(&end) = ends.get(id) else { return &[] };
    let start = id
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .map_or(0, |&end| end);
    bytes.get(start as usize..end as usize).unwrap_or_default()
}
