//! Tokenizers: text to token ids and back. A vocabulary comes in once, from a [`TokenizerSource`]
//! (GGUF) or a `tokenizer.json`, and is checked there; afterwards text goes in and ids come out, or
//! the reverse, and no input makes it panic. Special tokens are recognised in trusted text only: see
//! [`Span`]. This module knows no model, no template and no file format.

mod bpe;
mod byte_level;
mod decode;
mod error;
mod merge;
mod source;
mod special;
mod split;
mod spm;
mod vocab;

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub use decode::{DecodeOptions, DecodeStream};
pub use error::TokenizerError;
pub use source::TokenizerSource;
pub use vocab::TokenKind;

use crate::gguf::Gguf;
use bpe::Bpe;
use merge::{Merger, NO_TOKEN};
use special::{Segment, Specials};
use split::Splitter;
use spm::Spm;
use vocab::Vocab;

/// Part of a prompt, with where it comes from. Only a template's own text is trusted to hold special
/// tokens; what a user, a document or a tool said is tokenized as the characters that it shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// Whether special tokens are recognised in it.
    pub trusted: bool,
}

/// Shows lengths only: prompts do not belong into logs.
impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { text, trusted } = self;
        write!(f, "Span {{ {} bytes, trusted: {trusted} }}", text.len())
    }
}

/// How a text becomes tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether to add the tokens that the vocabulary wants around a text (`<s>`, `</s>`).
    pub special: bool,
    /// Whether control tokens written in the text become tokens. Only for text from a template or
    /// from someone who may steer the model.
    pub parse_special: bool,
}

/// A vocabulary with what it takes to use it. Immutable: threads may share it.
pub struct Tokenizer {
    vocab: Vocab,
    specials: Specials,
    model: Model,
    ends: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
}

/// How plain text becomes tokens.
enum Model {
    Bpe { splitter: Splitter, bpe: Bpe },
    Spm(Spm),
}

/// What SentencePiece writes for a space.
const SPM_SPACE: &str = "\u{2581}";
/// Longest text, so that 32-bit positions hold and `u32::MAX` stays free.
const MAX_TEXT: usize = u32::MAX as usize - 16;

impl Tokenizer {
    /// Builds a tokenizer from what a file declares.
    ///
    /// # Errors
    /// If the model or its pre-tokenizer is not one that hob has, or the parts do not fit together.
    pub fn new(source: &TokenizerSource<'_>) -> Result<Self, TokenizerError> {
        let is_spm = match source.model {
            "gpt2" => false,
            "llama" => true,
            name => {
                return Err(TokenizerError::UnknownModel {
                    name: name.to_owned(),
                    supported: "gpt2, llama",
                });
            }
        };
        let vocab = read_vocab(source, is_spm)?;
        let special = |name, id: Option<u32>| match id {
            // Converters write -1 for "none".
            None | Some(u32::MAX) => Ok(None),
            Some(id) if (id as usize) < vocab.len() => Ok(Some(id)),
            Some(id) => Err(TokenizerError::SpecialOutOfRange {
                name,
                id,
                vocab_size: vocab.len(),
            }),
        };
        let bos = special("bos_token_id", source.bos_id)?;
        let eos = special("eos_token_id", source.eos_id)?;
        let eot = special("eot_token_id", source.eot_id)?;
        let eom = special("eom_token_id", source.eom_id)?;
        let unk = special("unknown_token_id", source.unk_id)?;
        let pad = special("padding_token_id", source.pad_id)?;

        let mut add_bos_default = is_spm;
        let model = if is_spm {
            Model::Spm(Spm::new(
                &vocab,
                &source.scores,
                spm_byte_tokens(source, &vocab),
                unk,
            )?)
        } else {
            let splitter = Splitter::new(source.pre.ok_or(TokenizerError::MissingPre)?)?;
            add_bos_default = splitter.add_bos;
            let bpe = Bpe::new(
                &vocab,
                &source.merges,
                split_merge,
                unk,
                splitter.whole_words,
            )?;
            Model::Bpe { splitter, bpe }
        };
        let flag = |flag, given: Option<bool>, default, name, id: Option<u32>| match given {
            Some(true) if id.is_none() => Err(TokenizerError::SpecialMissing { flag, name }),
            Some(given) => Ok(given),
            None => Ok(default && id.is_some()),
        };
        let add_bos = flag(
            "add_bos_token",
            source.add_bos,
            add_bos_default,
            "bos_token_id",
            bos,
        )?;
        let add_eos = flag("add_eos_token", source.add_eos, false, "eos_token_id", eos)?;
        Ok(Self {
            specials: Specials::new(&vocab)?,
            ends: special::end_tokens(&vocab, [eos, eot, eom].into_iter().flatten()),
            vocab,
            model,
            bos,
            eos,
            pad,
            unk,
            add_bos,
            add_eos,
            add_space_prefix: is_spm && source.add_space_prefix.unwrap_or(true),
        })
    }

    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// As for [`Self::new`], and if metadata is missing or of the wrong type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::new(&TokenizerSource::from_gguf(gguf)?)
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// If the text is longer than 4 GB, or holds a character that the vocabulary cannot represent.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        if options.special && self.add_bos {
            ids.extend(self.bos);
        }
        let whole = 0..text.len();
        let trusted = if options.parse_special {
            std::slice::from_ref(&whole)
        } else {
            &[]
        };
        self.encode_trusting(text, trusted, &mut ids)?;
        if options.special && self.add_eos {
            ids.extend(self.eos);
        }
        Ok(ids)
    }

    /// The tokens of a rendered template. Text that is not a special token is tokenized as if the
    /// spans were one string; a control token is recognised only where all of it is trusted. Adds
    /// no token of its own: the template writes `<s>` where the model wants it.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn encode_spans(&self, spans: &[Span]) -> Result<Vec<u32>, TokenizerError> {
        let mut text = String::with_capacity(spans.iter().map(|span| span.text.len()).sum());
        let mut trusted: Vec<Range<usize>> = Vec::new();
        for span in spans.iter().filter(|span| !span.text.is_empty()) {
            let start = text.len();
            text.push_str(&span.text);
            match trusted.last_mut() {
                _ if !span.trusted => {}
                Some(last) if last.end == start => last.end = text.len(),
                _ => trusted.push(start..text.len()),
            }
        }
        let mut ids = Vec::new();
        self.encode_trusting(&text, &trusted, &mut ids)?;
        Ok(ids)
    }

    fn encode_trusting(
        &self,
        text: &str,
        trusted: &[Range<usize>],
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if text.len() > MAX_TEXT {
            return Err(TokenizerError::TextTooLong {
                found: text.len(),
                limit: MAX_TEXT,
            });
        }
        let mut merger = Merger::default();
        let mut after_special = true;
        for segment in self.specials.segments(text, trusted) {
            match segment {
                Segment::Token(id) => {
                    ids.push(id);
                    after_special = true;
                }
                Segment::Text(range) => {
                    let plain = text.get(range).unwrap_or_default();
                    self.encode_plain(plain, after_special, &mut merger, ids)?;
                    after_special = false;
                }
            }
        }
        Ok(())
    }

    fn encode_plain(
        &self,
        text: &str,
        after_special: bool,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        match &self.model {
            Model::Bpe { splitter, bpe } => {
                let text = if splitter.nfc {
                    to_nfc(text)
                } else {
                    Cow::Borrowed(text)
                };
                let mut words = Vec::new();
                splitter.split(&text, &mut words);
                for word in words {
                    let bytes = text.as_bytes().get(word.clone()).unwrap_or_default();
                    bpe.encode_word(&self.vocab, bytes, word.start, merger, ids)?;
                }
                Ok(())
            }
            Model::Spm(spm) => {
                let mut text = Cow::Borrowed(text);
                if text.contains(SPM_SPACE) {
                    text = Cow::Owned(text.replace(SPM_SPACE, " "));
                }
                if self.add_space_prefix && after_special {
                    text.to_mut().insert(0, ' ');
                }
                spm.encode(&self.vocab, &text, merger, ids)
            }
        }
    }

    /// The text of tokens that start a text, without control tokens; bytes that are not UTF-8
    /// become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let options = DecodeOptions {
            show_control: false,
            text_start: true,
        };
        let mut stream = self.decode_stream(options);
        let mut text = String::new();
        for &id in ids {
            text.push_str(&stream.push(id));
        }
        text.push_str(&stream.flush());
        text
    }

    /// A decoder for tokens that come one by one.
    pub fn decode_stream(&self, options: DecodeOptions) -> DecodeStream<'_> {
        DecodeStream::new(self, options)
    }

    /// The bytes that a token stands for, not always whole characters; for a control token its
    /// name. `None` if there is no such token.
    pub fn piece(&self, id: u32) -> Option<&[u8]> {
        self.kind(id).map(|_| self.vocab.piece(id))
    }

    /// What a token is; `None` if there is no such token.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.vocab.kind(id)
    }

    /// The token with exactly this text, control tokens included.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        let piece = text.as_bytes();
        self.vocab
            .reserved_id(piece)
            .or_else(|| self.vocab.plain_id(piece))
    }

    /// The number of tokens. A model may have more logits than that: rows of padding.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Whether a token ends a generation: of a text, a turn or a message.
    pub fn is_eog(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// All tokens that end a generation, ascending.
    pub fn eog_tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().copied()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that fills rows of a batch.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// The token for text without one.
    pub fn unk(&self) -> Option<u32> {
        self.unk
    }

    /// The texts of the tokens that begin and end a text, for a template's `bos_token` and
    /// `eos_token`; empty where there is none.
    pub fn bos_eos_text(&self) -> (String, String) {
        let text = |id: Option<u32>| {
            let piece = id.and_then(|id| self.piece(id)).unwrap_or_default();
            String::from_utf8_lossy(piece).into_owned()
        };
        (text(self.bos), text(self.eos))
    }

    /// Whether [`EncodeOptions::special`] begins a text with [`Self::bos`].
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether [`EncodeOptions::special`] ends a text with [`Self::eos`].
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether a space is added before text that starts or follows a special token.
    pub(crate) fn add_space_prefix(&self) -> bool {
        self.add_space_prefix
    }
}

/// Shows sizes, not the vocabulary.
impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let model = match self.model {
            Model::Bpe { .. } => "BPE",
            Model::Spm(_) => "SentencePiece",
        };
        write!(f, "Tokenizer {{ {model}, {} tokens }}", self.vocab.len())
    }
}

/// Appends the bytes of both halves of a merge, and returns the length of the first. It may begin
/// with the space that separates them elsewhere, but not be empty.
fn split_merge(merge: &&str, out: &mut Vec<u8>) -> Option<usize> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + memchr::memchr(b' ', merge.as_bytes().get(first..)?)?;
    byte_level::append_bytes(merge.get(..space)?, out);
    let middle = out.len();
    byte_level::append_bytes(merge.get(space + 1..)?, out);
    Some(middle)
}

/// Reads tokens and their kinds.
fn read_vocab(source: &TokenizerSource<'_>, is_spm: bool) -> Result<Vocab, TokenizerError> {
    let n_tokens = source.tokens.len();
    if n_tokens == 0 {
        return Err(TokenizerError::EmptyVocabulary);
    }
    if n_tokens >= NO_TOKEN as usize {
        let limit = NO_TOKEN as usize - 1;
        return Err(TokenizerError::TooLarge {
            what: "the vocabulary",
            found: n_tokens,
            limit,
        });
    }
    if !source.token_types.is_empty() && source.token_types.len() != n_tokens {
        return Err(TokenizerError::LengthMismatch {
            what: "tokenizer.ggml.token_type",
            found: source.token_types.len(),
            expected: n_tokens,
        });
    }
    let named = [source.bos_id, source.eos_id, source.eot_id, source.eom_id];
    let n_bytes = source.tokens.iter().map(|token| token.len()).sum();
    let mut vocab = Vocab::with_capacity(n_tokens, n_bytes);
    for (id, &text) in source.tokens.iter().enumerate() {
        let kind = match source.token_types.get(id) {
            Some(&value) => TokenKind::from_gguf(id, value)?,
            None => TokenKind::Normal,
        };
        // Some files mark what steers the model as text.
        let is_named = || named.contains(&Some(id as u32));
        let steers = match kind {
            TokenKind::UserDefined => special::looks_like_control(text) || is_named(),
            TokenKind::Normal if source.token_types.is_empty() => {
                special::always_ends(text) || is_named()
            }
            TokenKind::Normal => special::always_ends(text),
            _ => false,
        };
        let kind = if steers { TokenKind::Control } else { kind };
        vocab.push(kind, |out| match kind {
            TokenKind::Byte => match byte_value(text) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(text.as_bytes()),
            },
            TokenKind::Normal | TokenKind::Unused if is_spm => append_spm(text, out),
            TokenKind::Normal | TokenKind::Unused => byte_level::append_bytes(text, out),
            _ => out.extend_from_slice(text.as_bytes()),
        })?;
    }
    Ok(vocab)
}

/// Appends a SentencePiece piece with its `▁` as spaces.
fn append_spm(text: &str, out: &mut Vec<u8>) {
    let mut parts = text.split(SPM_SPACE);
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        out.push(b' ');
        out.extend_from_slice(part.as_bytes());
    }
}

/// The byte that a byte token such as `<0x0A>` stands for.
fn byte_value(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2 && !hex.starts_with('+'))
        .then(|| u8::from_str_radix(hex, 16).ok())
        .flatten()
}

/// For each byte its byte token, or [`NO_TOKEN`].
fn spm_byte_tokens(source: &TokenizerSource<'_>, vocab: &Vocab) -> [u32; 256] {
    let mut tokens = [NO_TOKEN; 256];
    for (id, kind) in vocab.kinds() {
        if kind == TokenKind::Byte
            && let Some(byte) = source
                .tokens
                .get(id as usize)
                .and_then(|text| byte_value(text))
            && let Some(slot) = tokens.get_mut(byte as usize)
        {
            *slot = id;
        }
    }
    tokens
}

/// Unicode normal form C.
fn to_nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.chars().nfc().map(|(c, _)| c).collect()),
    }
}
