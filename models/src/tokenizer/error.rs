//! What can go wrong with a tokenizer: a vocabulary that does not hold together (found while
//! loading), or a text that it cannot represent. No error holds any part of a text that was to be
//! tokenized: a prompt must not reach a log by way of its error.

use thiserror::Error;

use crate::{error::Text, gguf::GgufError};

/// Why a tokenizer could not be built, or a text not be encoded.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file's metadata lacks a key or has another type there.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// `tokenizer.ggml.model` names a kind of tokenizer that hob does not have.
    #[error(
        "tokenizer model {:?} is not supported (supported: {supported}); convert the model with one of these, or use another file",
        Text::str(name)
    )]
    UnknownModel {
        /// The name found.
        name: String,
        /// The names that hob knows.
        supported: &'static str,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that hob does not have.
    #[error(
        "pre-tokenizer {:?} is not supported (supported: {supported}); with any other text would be split wrongly, so the model is refused",
        Text::str(name)
    )]
    UnknownPre {
        /// The name found.
        name: String,
        /// The names that hob knows.
        supported: String,
    },
    /// No tokens at all.
    #[error("the vocabulary is empty (tokenizer.ggml.tokens has no entry); the file is damaged")]
    EmptyVocabulary,
    /// Two arrays that must have one entry for each token have different lengths.
    #[error("{what} has {found} entries, but the vocabulary has {expected}; the file is damaged")]
    LengthMismatch {
        /// The array's name.
        what: &'static str,
        /// Its number of entries.
        found: usize,
        /// The number of tokens.
        expected: usize,
    },
    /// More data than 32-bit indices reach.
    #[error("{what} is too large: {found}, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The largest size allowed.
        limit: usize,
    },
    /// A merge rule that is not two pieces of the vocabulary whose concatenation is a third.
    #[error("merge {index} is malformed: {why}; the file is damaged or was converted wrongly")]
    BadMerge {
        /// Its index in `tokenizer.ggml.merges`, which is its rank.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `tokenizer.ggml.token_type` has a value that is not defined.
    #[error("token {id} has type {found}, defined are 1 to 6; the file is damaged")]
    BadTokenType {
        /// The token.
        id: usize,
        /// The type found.
        found: i32,
    },
    /// A special token's id is not in the vocabulary.
    #[error(
        "{name} is token {id}, but the vocabulary has {vocab_size} tokens; the file is damaged"
    )]
    SpecialOutOfRange {
        /// The metadata key's last part, such as `bos_token_id`.
        name: &'static str,
        /// The id found.
        id: u32,
        /// The number of tokens.
        vocab_size: usize,
    },
    /// The vocabulary asks for a token to be added that it does not name.
    #[error("{flag} is set, but {name} is not given; the file is damaged")]
    SpecialMissing {
        /// The flag that is set.
        flag: &'static str,
        /// The id that is missing.
        name: &'static str,
    },
    /// The kind of tokenizer needs a token for what has none, and the file names none.
    #[error(
        "a tokenizer of the kind {model:?} needs an unknown token, and unknown_token_id is not given; the file is damaged"
    )]
    UnknownMissing {
        /// The kind.
        model: &'static str,
    },
    /// SentencePiece's character map is shorter than it says.
    #[error(
        "the character map (precompiled_charsmap) is cut off: it has {found} bytes, fewer than it says; the file is damaged"
    )]
    BadCharsmap {
        /// Its size in bytes.
        found: usize,
    },
    /// `tokenizer.json` or `tokenizer_config.json` could not be understood.
    #[error("{file}: {why}")]
    Json {
        /// Which of the two files.
        file: &'static str,
        /// What is wrong, and where.
        why: String,
    },
    /// A pattern of the vocabulary could not be compiled or ran out of its budget.
    #[error("{what}: {why}")]
    Pattern {
        /// Which pattern.
        what: &'static str,
        /// What happened.
        why: String,
    },
    /// Normalizers would make a text much longer than it is.
    #[error(
        "the model's normalizers make this text longer than {limit} bytes: the tokenizer is damaged or hostile; use another model file"
    )]
    Grows {
        /// The most that it may become, in bytes.
        limit: usize,
    },
    /// The text holds a character for which the vocabulary has no token.
    #[error(
        "the vocabulary has no token for the character at byte {offset} of a piece of the text, and no unknown token; the text cannot be represented"
    )]
    Unrepresentable {
        /// Where, in bytes from the start of the piece between special tokens.
        offset: usize,
    },
    /// The text is longer than 32-bit positions reach.
    #[error("the text has {found} bytes, the limit is {limit}; split it")]
    TextTooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
}
