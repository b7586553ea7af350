//! A vocabulary as a file declares it, before anything is believed: borrowed strings and numbers,
//! named as in GGUF's `tokenizer.ggml.*` metadata. [`super::Tokenizer::new`] checks them.

use crate::gguf::{Gguf, GgufError};

/// What a tokenizer is built from. `..Default::default()` leaves out what a file does not say.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSource<'a> {
    /// `tokenizer.ggml.model`: `"gpt2"`, `"gemma4"` or `"whitespace"` (BPE), `"llama"`
    /// (SentencePiece's BPE), `"bert"` (WordPiece), `"t5"` (Unigram), `"rwkv"` (longest match) or
    /// `"plamo2"`.
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: the name of the pre-tokenizer; for `"gpt2"`.
    pub pre: Option<&'a str>,
    /// `general.name` and `general.architecture`: some models' special tokens take white space with
    /// them, which their files do not say.
    pub names: [Option<&'a str>; 2],
    /// `tokenizer.ggml.tokens`: each token's text; its index is its id.
    pub tokens: Vec<&'a str>,
    /// `tokenizer.ggml.scores`: one for each token; required for `"llama"`, `"t5"` and
    /// `"plamo2"`.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one for each token, or none at all (then all are normal).
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: two pieces with a space between, by rank; for BPE.
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
    /// `tokenizer.ggml.seperator_token_id` (so spelt): ends a text of `"bert"`.
    pub sep_id: Option<u32>,
    /// `tokenizer.ggml.cls_token_id`: begins a text of `"bert"`, if there is no `bos_id`.
    pub cls_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; the default depends on the model and pre-tokenizer.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; by default `true` for `"t5"`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; by default `true` for `"llama"`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`: for `"t5"`; by default `false`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`: SentencePiece's character map, for `"t5"`.
    pub charsmap: Vec<u8>,
    /// `tokenizer.ggml.normalizer.lowercase`: for `"bert"` (by default `true`) and `"whitespace"`.
    pub lowercase: Option<bool>,
    /// `tokenizer.ggml.normalizer.strip_accents`: for `"bert"`; by default as `lowercase`.
    pub strip_accents: Option<bool>,
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
        let list = |name| Ok::<_, GgufError>(gguf.str_list(name)?.unwrap_or_default());
        // Two long lists, each of which takes a walk through the file.
        let (tokens, merges) = rayon::join(
            || list("tokenizer.ggml.tokens"),
            || list("tokenizer.ggml.merges"),
        );
        Ok(Self {
            model: gguf.str_("tokenizer.ggml.model")?,
            pre: gguf.string("tokenizer.ggml.pre")?,
            names: [
                gguf.string("general.name")?,
                gguf.string("general.architecture")?,
            ],
            tokens: tokens?,
            scores: gguf
                .f32s("tokenizer.ggml.scores")?
                .map_or_else(Vec::new, Iterator::collect),
            token_types: gguf
                .ints("tokenizer.ggml.token_type")?
                .map_or_else(Vec::new, Iterator::collect),
            merges: merges?,
            bos_id: optional("bos")?,
            eos_id: optional("eos")?,
            eot_id: optional("eot")?,
            eom_id: optional("eom")?,
            unk_id: optional("unknown")?,
            pad_id: optional("padding")?,
            sep_id: optional("seperator")?,
            cls_id: optional("cls")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
            charsmap: gguf
                .ints::<i16>("tokenizer.ggml.precompiled_charsmap")?
                .map_or_else(Vec::new, |bytes| bytes.map(|byte| byte as u8).collect()),
            lowercase: flag("normalizer.lowercase")?,
            strip_accents: flag("normalizer.strip_accents")?,
        })
    }
}
