//! Building a tokenizer from what a GGUF file declares ([`TokenizerSource`]): every array is checked
//! against the others here, so that what leaves holds together. Defaults of what a file leaves out
//! are llama.cpp's (`llama-vocab.cpp`), which writes these files.

use super::{
    Model, Pipeline, Prefix, SPM_SPACE, TokenKind, Tokenizer, TokenizerError, TokenizerSource,
    bpe::{Bpe, Start, Whole},
    byte_level,
    chars::Chars,
    charsmap::Charsmap,
    longest::{self, Longest},
    merge::NO_TOKEN,
    normalize::{Bert, Normalizer, SentencePiece},
    pre::{self, Alphabet, Pre},
    special::{self, Specials, Strip},
    split::{Splitter, Stage},
    spm::Spm,
    unigram::{Order, Unigram},
    vocab::Vocab,
    wordpiece::{self, WordPiece},
};

/// What a tokenizer is put together from, whatever file it comes from.
pub(super) struct Parts {
    pub(super) vocab: Vocab,
    pub(super) pipeline: Pipeline,
    pub(super) model: Model,
    pub(super) specials: Specials,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) sep: Option<u32>,
    /// Tokens besides `eos` that are named as ends.
    pub(super) ends: Vec<u32>,
    pub(super) pad: Option<u32>,
    pub(super) unk: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    /// Whether a text ends with `sep`.
    pub(super) add_sep: bool,
    pub(super) caveat: Option<&'static str>,
}

impl Parts {
    /// The tokenizer.
    pub(super) fn assemble(self) -> Result<Tokenizer, TokenizerError> {
        let named = self.eos.into_iter().chain(self.ends);
        Ok(Tokenizer {
            specials: self.specials,
            ends: special::end_tokens(&self.vocab, named),
            vocab: self.vocab,
            pipeline: self.pipeline,
            model: self.model,
            bos: self.bos,
            eos: self.eos,
            sep: self.sep,
            pad: self.pad,
            unk: self.unk,
            add_bos: self.add_bos,
            add_eos: self.add_eos,
            add_sep: self.add_sep,
            caveat: self.caveat,
        })
    }
}

/// A kind of tokenizer, by its name in `tokenizer.ggml.model`.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Bpe(&'static Pre),
    Spm,
    WordPiece,
    Unigram,
    Rwkv,
    Plamo2,
}

/// How a file writes the pieces of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Bytes, in GPT-2's printable alphabet.
    Bytes,
    /// Characters, with `▁` for a space.
    Characters,
    /// Characters as they are.
    Plain,
    /// Bytes, with escapes as in Python.
    Escaped,
}

/// What stands for a missing `tokenizer.ggml.pre`.
const UNNAMED: &str = "the file names no pre-tokenizer (tokenizer.ggml.pre is missing: it is from before May 2024); \
    the default one is used, which may cut some texts into other tokens than the model was trained on; \
    convert the model again to be sure";

impl Kind {
    fn of(source: &TokenizerSource<'_>) -> Result<(Self, Option<&'static str>), TokenizerError> {
        let kind = match source.model {
            "gpt2" => match source.pre {
                Some(name) => Self::Bpe(Pre::named(name)?),
                None => return Ok((Self::Bpe(Pre::named(pre::DEFAULT)?), Some(UNNAMED))),
            },
            "gemma4" | "whitespace" => Self::Bpe(Pre::named(source.model)?),
            "llama" => Self::Spm,
            "bert" => Self::WordPiece,
            "t5" => Self::Unigram,
            "rwkv" => Self::Rwkv,
            "plamo2" => Self::Plamo2,
            name => {
                return Err(TokenizerError::UnknownModel {
                    name: name.to_owned(),
                    supported: "gpt2, gemma4, whitespace, llama, bert, t5, rwkv, plamo2",
                });
            }
        };
        Ok((kind, None))
    }

    /// What cuts its texts into words.
    fn splitter(self) -> Result<Splitter, TokenizerError> {
        match self {
            Self::Bpe(pre) => pre.splitter(),
            Self::WordPiece => {
                let mut splitter = Splitter::whole();
                add_bert_words(&mut splitter)?;
                Ok(splitter)
            }
            Self::Spm | Self::Unigram | Self::Rwkv | Self::Plamo2 => Ok(Splitter::whole()),
        }
    }

    fn writing(self) -> Writing {
        match self {
            Self::Bpe(pre) => match pre.alphabet {
                Alphabet::Bytes => Writing::Bytes,
                Alphabet::Characters => Writing::Characters,
                Alphabet::Plain => Writing::Plain,
            },
            Self::Spm | Self::WordPiece | Self::Unigram => Writing::Characters,
            Self::Rwkv => Writing::Escaped,
            Self::Plamo2 => Writing::Plain,
        }
    }
}

/// Special tokens where a file does not name them: `[bos, eos, unk, sep, pad]`.
fn default_specials(kind: Kind) -> [Option<u32>; 5] {
    match kind {
        Kind::WordPiece => [Some(101), None, Some(100), Some(102), Some(0)],
        Kind::Unigram => [None, Some(1), Some(2), None, Some(0)],
        Kind::Plamo2 => [Some(1), Some(2), Some(0), None, Some(3)],
        Kind::Spm => [Some(1), Some(2), Some(0), None, None],
        Kind::Bpe(_) | Kind::Rwkv => [None; 5],
    }
}

/// See [`Tokenizer::new`].
pub(super) fn from_source(source: &TokenizerSource<'_>) -> Result<Tokenizer, TokenizerError> {
    let (kind, caveat) = Kind::of(source)?;
    // What takes long is done side by side: patterns are compiled while tokens are indexed.
    let (vocab, splitter) = rayon::join(|| read_vocab(source, kind.writing()), || kind.splitter());
    let (vocab, splitter) = (vocab?, splitter?);
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
    let defaults = default_specials(kind).map(|id| id.filter(|&id| (id as usize) < vocab.len()));
    let [bos, eos, unk, sep, pad] = defaults;
    let bos = special("bos_token_id", source.bos_id)?
        .or(special("cls_token_id", source.cls_id)?)
        .or(bos);
    let eos = special("eos_token_id", source.eos_id)?.or(eos);
    let eot = special("eot_token_id", source.eot_id)?;
    let eom = special("eom_token_id", source.eom_id)?;
    let unk = special("unknown_token_id", source.unk_id)?.or(unk);
    let sep = special("seperator_token_id", source.sep_id)?.or(sep);
    let pad = special("padding_token_id", source.pad_id)?.or(pad);

    let (model, specials) = rayon::join(
        || read_model(source, kind, &vocab, unk, splitter),
        || Specials::new(&vocab, strips(source, &vocab)),
    );
    let ((pipeline, model), specials) = (model?, specials?);
    let flag = |flag, given: Option<bool>, default, name, id: Option<u32>| match given {
        Some(true) if id.is_none() => Err(TokenizerError::SpecialMissing { flag, name }),
        Some(given) => Ok(given),
        None => Ok(default && id.is_some()),
    };
    let (given_bos, bos_default) = match kind {
        Kind::Bpe(pre) => match pre.add_bos {
            Some(default) => (source.add_bos, default),
            // Files of this model say false and mean true.
            None => (None, true),
        },
        Kind::WordPiece => (None, true),
        Kind::Spm => (source.add_bos, true),
        Kind::Unigram | Kind::Rwkv | Kind::Plamo2 => (source.add_bos, false),
    };
    let eos_default = matches!(kind, Kind::Unigram);
    let add_bos = flag("add_bos_token", given_bos, bos_default, "bos_token_id", bos)?;
    let given_eos = source.add_eos.filter(|_| !matches!(kind, Kind::WordPiece));
    let add_eos = flag("add_eos_token", given_eos, eos_default, "eos_token_id", eos)?;
    Parts {
        vocab,
        specials,
        pipeline,
        model,
        bos,
        eos,
        sep,
        ends: [eot, eom].into_iter().flatten().collect(),
        pad,
        unk,
        add_bos,
        add_eos,
        add_sep: sep.is_some() && matches!(kind, Kind::WordPiece),
        caveat,
    }
    .assemble()
}

/// How a text is prepared, and how words become tokens.
fn read_model(
    source: &TokenizerSource<'_>,
    kind: Kind,
    vocab: &Vocab,
    unk: Option<u32>,
    splitter: Splitter,
) -> Result<(Pipeline, Model), TokenizerError> {
    let mut pipeline = Pipeline::new();
    pipeline.splitter = splitter;
    let text_of = |id: u32| source.tokens.get(id as usize).copied();
    let scores = || {
        if source.scores.len() == vocab.len() {
            return Ok(source.scores.clone());
        }
        Err(TokenizerError::LengthMismatch {
            what: "tokenizer.ggml.scores",
            found: source.scores.len(),
            expected: vocab.len(),
        })
    };
    let writing = kind.writing();
    pipeline.spm_spaces = writing == Writing::Characters && !matches!(kind, Kind::WordPiece);
    let model = match kind {
        Kind::Bpe(pre) => {
            if source.lowercase == Some(true) && pre.alphabet == Alphabet::Plain {
                pipeline.normalizers.push(Normalizer::Lowercase);
            }
            let start = match pre.alphabet {
                // The unknown token of these files is often the one that ends a text.
                Alphabet::Bytes => Start::bytes(vocab, None),
                Alphabet::Characters | Alphabet::Plain => {
                    let bytes = byte_tokens(vocab, text_of);
                    Start::Chars(Chars::new(vocab, bytes, unk, false))
                }
            };
            let whole = match (pre.whole_words, pre.whole_newlines) {
                (true, _) => Whole::Words,
                (false, true) => Whole::Newlines,
                (false, false) => Whole::Never,
            };
            let split = split_merge(writing);
            Model::Bpe(Bpe::new(vocab, &source.merges, split, start, whole)?)
        }
        Kind::Spm => {
            if source.add_space_prefix.unwrap_or(true) {
                pipeline.set_prefix(Prefix::Always);
            }
            let chars = Chars::new(vocab, byte_tokens(vocab, text_of), unk, false);
            Model::Spm(Spm::new(&scores()?, chars))
        }
        Kind::WordPiece => {
            let lowercase = source.lowercase.unwrap_or(true);
            pipeline.normalizers.push(Normalizer::Bert(Bert {
                clean: true,
                space_chinese: true,
                strip_accents: source.strip_accents.unwrap_or(lowercase),
                lowercase,
            }));
            pipeline.adds_space = true;
            let unk = unk.ok_or(TokenizerError::UnknownMissing { model: "bert" })?;
            Model::WordPiece(WordPiece::new(vocab, unk, wordpiece::LONGEST_WORD))
        }
        Kind::Unigram => {
            let charsmap = match source.charsmap.as_slice() {
                [] => None,
                bytes => Some(Charsmap::new(bytes)?),
            };
            let add_prefix = source.add_space_prefix.unwrap_or(false);
            let merge_spaces = source.remove_extra_whitespaces.unwrap_or(false);
            pipeline.adds_space = add_prefix || merge_spaces;
            pipeline
                .normalizers
                .push(Normalizer::SentencePiece(SentencePiece {
                    charsmap,
                    add_prefix,
                    merge_spaces,
                }));
            let unk = Some(unk.ok_or(TokenizerError::UnknownMissing { model: "t5" })?);
            let bytes = [NO_TOKEN; 256];
            let unigram = Unigram::new(vocab, scores()?, unk, bytes, Order::Forward);
            Model::Unigram(unigram)
        }
        Kind::Rwkv => Model::Longest(Longest::new(vocab, unk)),
        Kind::Plamo2 => {
            let bytes = byte_tokens(vocab, text_of);
            let unigram = Unigram::new(vocab, scores()?, unk, bytes, Order::BackwardRounded);
            Model::Unigram(unigram)
        }
    };
    Ok((pipeline, model))
}

/// Cuts as BERT does: at white space, which is left out, and around punctuation.
pub(super) fn add_bert_words(splitter: &mut Splitter) -> Result<(), TokenizerError> {
    splitter.add(Stage::Dropped(r"\s+"))?;
    splitter.add(Stage::Only(PUNCTUATION))
}

/// A sign of punctuation, or any ASCII sign.
pub(super) const PUNCTUATION: &str = r"[\p{P}!-/:-@\[-`{-~]";

/// The special tokens that take white space with them, for the models of which that is known and no
/// file says it.
fn strips(source: &TokenizerSource<'_>, vocab: &Vocab) -> special::Strips {
    let [name, architecture] = source
        .names
        .map(|name| name.unwrap_or_default().to_lowercase());
    let pre = source.pre.unwrap_or_default();
    let before = Strip {
        before: true,
        after: false,
    };
    let mask = |text: &str| vocab.reserved_id(text.as_bytes()).map(|id| (id, before));
    let has = |text: &str, names: &[&str]| names.iter().any(|name| text.contains(name));
    if has(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
        || has(&architecture, &["nomic-bert-moe", "jina-bert-v3"])
    {
        return mask("<mask>").into_iter().collect();
    }
    if has(&name, &["modern-bert"]) {
        return mask("[MASK]").into_iter().collect();
    }
    if !has(&name, &["phi-3", "phi3"]) {
        return special::Strips::new();
    }
    let after = Strip {
        before: false,
        after: true,
    };
    let stays: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];
    vocab
        .kinds()
        .filter(|&(id, kind)| kind.is_special() && !stays.contains(&vocab.piece(id)))
        .map(|(id, _)| (id, after))
        .collect()
}

/// What appends the bytes of both halves of a merge, and returns the length of the first. It may begin
/// with the space that separates them elsewhere, but not be empty.
fn split_merge(writing: Writing) -> impl Fn(&&str, &mut Vec<u8>) -> Option<usize> {
    move |merge, out| {
        let first = merge.chars().next()?.len_utf8();
        let space = first + memchr::memchr(b' ', merge.as_bytes().get(first..)?)?;
        writing.append(merge.get(..space)?, out);
        let middle = out.len();
        writing.append(merge.get(space + 1..)?, out);
        Some(middle)
    }
}

impl Writing {
    /// Appends the bytes that a piece stands for.
    fn append(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Bytes => byte_level::append_bytes(text, out),
            Self::Characters => append_spm(text, out),
            Self::Plain => out.extend_from_slice(text.as_bytes()),
            Self::Escaped => longest::append_unescaped(text, out),
        }
    }
}

/// Reads tokens and their kinds.
fn read_vocab(source: &TokenizerSource<'_>, writing: Writing) -> Result<Vocab, TokenizerError> {
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
    // Where a text begins with `<s>`, `</s>` ends it; elsewhere it is markup for struck text.
    let begins_with_s = |id: Option<u32>| {
        let text = source.tokens.get(id? as usize)?;
        (*text == "<s>").then_some(())
    };
    let is_llama = begins_with_s(source.bos_id).is_some();
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
            TokenKind::UserDefined => {
                special::looks_like_control(text) || is_named() || (is_llama && text == "</s>")
            }
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
            TokenKind::Normal | TokenKind::Unused => writing.append(text, out),
            _ => out.extend_from_slice(text.as_bytes()),
        })?;
    }
    Ok(vocab)
}

/// Appends a SentencePiece piece with its `▁` as spaces.
pub(super) fn append_spm(text: &str, out: &mut Vec<u8>) {
    let [first, others @ ..] = SPM_SPACE.as_bytes() else {
        return; // cannot be: it is not empty
    };
    let mut rest = text.as_bytes();
    while let Some(at) = memchr::memchr(*first, rest) {
        let (before, found) = rest.split_at(at);
        out.extend_from_slice(before);
        let after = found.get(1..).unwrap_or_default();
        match after.strip_prefix(others) {
            Some(after) => {
                out.push(b' ');
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest);
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
