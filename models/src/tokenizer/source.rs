//! A vocabulary as a file declares it, before anything is believed: borrowed strings and numbers,
//! named as in GGUF's `tokenizer.ggml.*` metadata. [`super::Tokenizer::new`] checks them.

use crate::gguf::{Gguf, GgufError};

/// What a tokenizer is built from. `..Default::default()` leaves out what a file does not say.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSource<'a> {
    /// `tokenizer.ggml.model`: `"gpt2"` (byte-level BPE) or `"llama"` (SentencePiece).
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: the name of the pre-tokenizer; required for `"gpt2"`.
    pub pre: Option<&'a str>,
    /// `tokenizer.ggml.tokens`: each token's text; its index is its id.
    pub tokens: Vec<&'a str>,
    /// `tokenizer.ggml.scores`: one for each token; required for `"llama"`.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one for each token, or none at all (then all are normal).
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: two pieces with a space between, by rank; for `"gpt2"`.
    pub merges: Vec<&'a str>,
    /// `tokenizer.ggml.bos_token_id`: begins a text.
    pub bos_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`: ends a text.
    pub eos_id: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: ends a turn.
    pub eot_id: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: ends a message.
    pub eom_id: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`: stands for text without a token.
    pub unk_id: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`: fills rows of a batch.
    pub pad_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; the default depends on the model and pre-tokenizer.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; by default `false`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; by default `true` for `"llama"`.
    pub add_space_prefix: Option<bool>,
}

impl<'a> TokenizerSource<'a> {
    /// What a GGUF file declares.
    ///
    /// # Errors
    /// If a key is missing that is needed, or has another type than it should.
    pub fn from_gguf(gguf: &'a Gguf) -> Result<Self, GgufError> {
        let token = |name| gguf.int(&format!("tokenizer.ggml.{name}_token_id"));
        let optional = |name| match gguf.get(&format!("tokenizer.ggml.{name}_token_id")) {
            // Converters write -1, as signed or unsigned, for "none".
            Some(value) if value.as_int() == Some(-1) => Ok(None),
            _ => token(name),
        };
        let flag = |name| gguf.bool_(&format!("tokenizer.ggml.{name}"));
        let list = |name: &'static str| {
            let strings = gguf.strs(name)?;
            Ok(strings.map_or_else(Vec::new, Iterator::collect))
        };
        Ok(Self {
            model: gguf.str_("tokenizer.ggml.model")?,
            pre: gguf.string("tokenizer.ggml.pre")?,
            tokens: list("tokenizer.ggml.tokens")?,
            scores: gguf
                .f32s("tokenizer.ggml.scores")?
                .map_or_else(Vec::new, Iterator::collect),
            token_types: gguf
                .ints("tokenizer.ggml.token_type")?
                .map_or_else(Vec::new, Iterator::collect),
            merges: list("tokenizer.ggml.merges")?,
            bos_id: optional("bos")?,
            eos_id: optional("eos")?,
            eot_id: optional("eot")?,
            eom_id: optional("eom")?,
            unk_id: optional("unknown")?,
            pad_id: optional("padding")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
        })
    }
}
