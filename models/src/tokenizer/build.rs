//! Building a tokenizer from what a GGUF file declares ([`TokenizerSource`]): every array is checked
//! against the others here, so that what leaves holds together.

use super::{
    Model, Prefix, SPM_SPACE, TokenKind, Tokenizer, TokenizerError, TokenizerSource,
    bpe::{Bpe, Start},
    byte_level,
    chars::Chars,
    merge::NO_TOKEN,
    special::{self, Specials},
    split::Splitter,
    spm::Spm,
    vocab::Vocab,
};

/// What a tokenizer is put together from, whatever file it comes from.
pub(super) struct Parts {
    pub(super) vocab: Vocab,
    pub(super) model: Model,
    pub(super) prefix: Prefix,
    pub(super) strips: special::Strips,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    /// Tokens besides `eos` that are named as ends.
    pub(super) ends: Vec<u32>,
    pub(super) pad: Option<u32>,
    pub(super) unk: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
}

impl Parts {
    /// The tokenizer.
    pub(super) fn assemble(self) -> Result<Tokenizer, TokenizerError> {
        let named = self.eos.into_iter().chain(self.ends);
        Ok(Tokenizer {
            specials: Specials::new(&self.vocab, self.strips)?,
            ends: special::end_tokens(&self.vocab, named),
            vocab: self.vocab,
            model: self.model,
            bos: self.bos,
            eos: self.eos,
            pad: self.pad,
            unk: self.unk,
            add_bos: self.add_bos,
            add_eos: self.add_eos,
            prefix: self.prefix,
        })
    }
}

/// See [`Tokenizer::new`].
pub(super) fn from_source(source: &TokenizerSource<'_>) -> Result<Tokenizer, TokenizerError> {
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
    let mut prefix = Prefix::Never;
    let model = if is_spm {
        if source.add_space_prefix.unwrap_or(true) {
            prefix = Prefix::Always;
        }
        let byte_tokens = byte_tokens(&vocab, |id| source.tokens.get(id as usize).copied());
        let chars = Chars::new(&vocab, byte_tokens, unk, false);
        Model::Spm(Spm::new(&vocab, &source.scores, chars)?)
    } else {
        let (splitter, rules) = Splitter::named(source.pre.ok_or(TokenizerError::MissingPre)?)?;
        add_bos_default = rules.add_bos;
        let start = Start::bytes(&vocab, unk);
        let bpe = Bpe::new(
            &vocab,
            &source.merges,
            split_merge,
            start,
            rules.whole_words,
        )?;
        Model::Bpe {
            nfc: rules.nfc,
            spm_spaces: false,
            splitter,
            bpe,
        }
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
    let ends = [eot, eom].into_iter().flatten().collect();
    let strips = special::Strips::new();
    Parts {
        vocab,
        model,
        prefix,
        strips,
        bos,
        eos,
        ends,
        pad,
        unk,
        add_bos,
        add_eos,
    }
    .assemble()
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
pub(super) fn append_spm(text: &str, out: &mut Vec<u8>) {
    let mut parts = text.split(SPM_SPACE);
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        out.push(b' ');
        out.extend_from_slice(part.as_bytes());
    }
}

/// The byte that a byte token such as `<0x0A>` stands for.
pub(super) fn byte_value(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2 && !hex.starts_with('+'))
        .then(|| u8::from_str_radix(hex, 16).ok())
        .flatten()
}

/// For each byte its byte token, or [`NO_TOKEN`]; `text_of` is a token's text in the file.
pub(super) fn byte_tokens<'a>(
    vocab: &Vocab,
    text_of: impl Fn(u32) -> Option<&'a str>,
) -> [u32; 256] {
    let mut tokens = [NO_TOKEN; 256];
    for (id, kind) in vocab.kinds() {
        if kind == TokenKind::Byte
            && let Some(byte) = text_of(id).and_then(byte_value)
            && let Some(slot) = tokens.get_mut(byte as usize)
        {
            *slot = id;
        }
    }
    tokens
}
