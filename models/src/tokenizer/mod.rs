//! Tokenizers: text to token ids and back. A vocabulary comes in once, from a [`TokenizerSource`]
//! (GGUF) or a `tokenizer.json`, and is checked there; afterwards text goes in and ids come out, or
//! the reverse, and no input makes it panic. Special tokens are recognised in trusted text only: see
//! [`Span`]. This module knows no model, no template and no file format.

mod bounded;
mod bpe;
mod build;
mod byte_level;
mod chars;
mod charsmap;
mod decode;
mod error;
mod json;
mod longest;
mod merge;
mod normalize;
mod pipeline;
mod pre;
mod prefixes;
mod source;
mod special;
mod split;
mod spm;
mod unigram;
mod vocab;
mod wordpiece;

use std::{collections::BTreeSet, ops::Range};

pub use decode::{DecodeOptions, DecodeStream};
pub use error::TokenizerError;
pub use source::TokenizerSource;
pub use vocab::TokenKind;

use crate::gguf::Gguf;
use bpe::Bpe;
use longest::Longest;
use merge::Merger;
use pipeline::{Pipeline, Prefix};
use special::{Segment, Specials};
use spm::Spm;
use unigram::Unigram;
use vocab::Vocab;
use wordpiece::WordPiece;

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
    pipeline: Pipeline,
    model: Model,
    ends: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    sep: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
    caveat: Option<&'static str>,
}

/// How words become tokens.
enum Model {
    Bpe(Bpe),
    Spm(Spm),
    WordPiece(WordPiece),
    Unigram(Unigram),
    Longest(Longest),
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
        build::from_source(source)
    }

    /// Builds a tokenizer from the files of a Hugging Face model: `tokenizer.json`, and
    /// `tokenizer_config.json`, which names the tokens that begin and end a text.
    ///
    /// # Errors
    /// If a file is malformed, or asks for a part that hob does not have (named in the error).
    pub fn from_tokenizer_json(
        json: &[u8],
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        json::from_json(json, tokenizer_config)
    }

    /// Adds tokens that end a generation, such as `eos_token_id` of a `generation_config.json`. Ids
    /// that are not in the vocabulary are left out.
    #[must_use]
    pub fn with_eog(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        let vocab_size = self.vocab_size();
        self.ends
            .extend(ids.into_iter().filter(|&id| (id as usize) < vocab_size));
        self
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
        if options.special && self.add_sep {
            ids.extend(self.sep);
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
        for segment in self.specials.segments(text, trusted) {
            match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text(range) => {
                    let is_first = range.start == 0;
                    let plain = text.get(range).unwrap_or_default();
                    self.encode_plain(plain, is_first, &mut merger, ids)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the tokens of a piece of text between special tokens.
    fn encode_plain(
        &self,
        text: &str,
        is_first: bool,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.pipeline
            .words(text, is_first, |word, offset| match &self.model {
                Model::Bpe(bpe) => bpe.encode_word(&self.vocab, word, offset, merger, ids),
                Model::Spm(spm) => spm.encode(&self.vocab, word, merger, ids),
                Model::WordPiece(pieces) => pieces.encode_word(&self.vocab, word, ids),
                Model::Unigram(unigram) => unigram.encode(&self.vocab, word, ids),
                Model::Longest(longest) => longest.encode(&self.vocab, word, ids),
            })
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

    /// The token that stands between texts, and after a text of BERT's kind.
    pub fn sep(&self) -> Option<u32> {
        self.sep
    }

    /// What a user should know of how the file was read; `None` if all is as it should be.
    pub fn caveat(&self) -> Option<&'static str> {
        self.caveat
    }

    /// The kind of tokenizer, as it is called in the field.
    pub fn model_name(&self) -> &'static str {
        match self.model {
            Model::Bpe(_) => "BPE",
            Model::Spm(_) => "SentencePiece BPE",
            Model::WordPiece(_) => "WordPiece",
            Model::Unigram(_) => "Unigram",
            Model::Longest(_) => "longest match",
        }
    }

    /// Whether a space that is not the text's is added where a text starts.
    fn adds_space(&self) -> bool {
        self.pipeline.adds_space
    }

    /// The bytes of a token as they are shown after others.
    fn shown_piece(&self, id: u32) -> &[u8] {
        let piece = self.vocab.piece(id);
        match self.model {
            Model::WordPiece(_) => wordpiece::tidy(piece),
            _ => piece,
        }
    }
}

/// Shows sizes, not the vocabulary.
impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (model, size) = (self.model_name(), self.vocab.len());
        write!(f, "Tokenizer {{ {model}, {size} tokens }}")
    }
}
