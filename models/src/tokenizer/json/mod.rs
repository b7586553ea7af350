//! Building a tokenizer from `tokenizer.json`, the format of Hugging Face's `tokenizers`: BPE of bytes
//! (Llama 3, Qwen, SmolLM, GPT-2) and of characters (Llama 2, Mistral, Gemma), WordPiece (BERT) and
//! Unigram (T5, XLM-RoBERTa). The pipeline that the file describes is read part by part, and a part
//! that hob does not have is refused by name: leaving one out would give other tokens.

mod parse;
mod pipeline;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Model, SPM_SPACE, TokenKind, Tokenizer, TokenizerError,
    bpe::{Bpe, Start, Whole},
    build::{self, Parts},
    byte_level,
    chars::Chars,
    merge::NO_TOKEN,
    special::{self, Specials, Strip, Strips},
    unigram::{Order, Unigram},
    vocab::Vocab,
    wordpiece::{self, WordPiece},
};
use parse::{BpeModel, Merge, Text, UnigramModel, WordPieceModel};

const FILE: &str = "tokenizer.json";

/// An error about `tokenizer.json`.
fn refuse(why: impl Into<String>) -> TokenizerError {
    TokenizerError::Json {
        file: FILE,
        why: why.into(),
    }
}

fn malformed(file: &'static str) -> impl Fn(serde_json::Error) -> TokenizerError {
    // serde quotes what it found; escaped and cut, it cannot steer a terminal or flood it.
    move |error| {
        let why: String = error.to_string().chars().take(200).collect();
        TokenizerError::Json {
            file,
            why: why.escape_debug().to_string(),
        }
    }
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// How the file writes the pieces of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing<'a> {
    /// Bytes, in GPT-2's printable alphabet.
    Bytes,
    /// Characters, with `▁` for a space.
    Characters,
    /// Characters as they are.
    Plain,
    /// Words, and what continues them with this before it.
    Words(&'a str),
}

impl Writing<'_> {
    fn append(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Bytes => byte_level::append_bytes(text, out),
            Self::Characters => build::append_spm(text, out),
            Self::Plain => out.extend_from_slice(text.as_bytes()),
            Self::Words(continuing) => match text.strip_prefix(continuing) {
                Some(rest) if !rest.is_empty() => out.extend_from_slice(rest.as_bytes()),
                _ => {
                    out.push(b' ');
                    out.extend_from_slice(text.as_bytes());
                }
            },
        }
    }
}

/// See [`Tokenizer::from_tokenizer_json`].
pub(super) fn from_json(
    json: &[u8],
    tokenizer_config: Option<&[u8]>,
) -> Result<Tokenizer, TokenizerError> {
    let file: File<'_> = serde_json::from_slice(json).map_err(malformed(FILE))?;
    let config: Value = match tokenizer_config {
        Some(config) => {
            serde_json::from_slice(config).map_err(malformed("tokenizer_config.json"))?
        }
        None => Value::Null,
    };
    let mut read = pipeline::read(&file.normalizer, &file.pre_tokenizer)?;
    let writing = if read.byte_level {
        Writing::Bytes
    } else if read.pipeline.spm_spaces {
        Writing::Characters
    } else {
        Writing::Plain
    };
    let model = file.model.get();
    let Kind { kind } = serde_json::from_str(model).map_err(malformed(FILE))?;
    let (vocab, model, unk) = match kind.as_deref() {
        None | Some("BPE") => read_bpe(model, &file.added_tokens, writing)?,
        Some("WordPiece") => {
            read.pipeline.adds_space = true;
            read_wordpiece(model, &file.added_tokens)?
        }
        Some("Unigram") => read_unigram(model, &file.added_tokens, writing)?,
        Some(kind) => {
            return Err(TokenizerError::UnknownModel {
                name: kind.to_owned(),
                supported: "BPE, WordPiece, Unigram",
            });
        }
    };
    let strips: Strips = file
        .added_tokens
        .iter()
        .filter(|added| added.lstrip || added.rstrip)
        .map(|added| {
            let (before, after) = (added.lstrip, added.rstrip);
            (added.id, Strip { before, after })
        })
        .collect();

    let specials = Specials::new(&vocab, strips)?;
    let named = |key: &str| {
        let token = config.get(key)?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        id_of(&vocab, text)
    };
    let ends = template_tokens(&file.post_processor, &vocab)?;
    let [first, last] = ends.unwrap_or_default();
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let bos = named("bos_token").or(first);
    let eos = named("eos_token").or(last);
    // What the post-processor adds counts, if there is one that adds anything.
    let added = |found: Option<u32>, named: Option<u32>, key: &str| match ends {
        Some(_) => found.is_some(),
        None => flag(key) == Some(true) && named.is_some(),
    };
    Parts {
        add_bos: added(first, bos, "add_bos_token"),
        add_eos: added(last, eos, "add_eos_token"),
        // A text may begin and end with other tokens than those called so (BERT's).
        bos: first.or(bos),
        eos: last.or(eos),
        add_sep: false,
        sep: named("sep_token"),
        pad: named("pad_token"),
        pipeline: read.pipeline,
        ends: eos.into_iter().collect(),
        caveat: None,
        vocab,
        model,
        specials,
        unk,
    }
    .assemble()
}

/// A vocabulary, what makes tokens of words, and the unknown token.
type ReadModel = (Vocab, Model, Option<u32>);

fn read_bpe(
    model: &str,
    added: &[Added],
    writing: Writing<'_>,
) -> Result<ReadModel, TokenizerError> {
    let model: BpeModel<'_> = serde_json::from_str(model).map_err(malformed(FILE))?;
    for (name, affix) in [
        (
            "continuing_subword_prefix",
            &model.continuing_subword_prefix,
        ),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if affix.as_ref().is_some_and(|affix| !affix.is_empty()) {
            return Err(refuse(format!("model.{name} is not supported")));
        }
    }
    let entries = model.vocab.0.iter().map(|(text, id)| (text.as_ref(), *id));
    let (vocab, texts) = read_vocab(entries, added, writing, model.byte_fallback)?;
    let unk = model.unk_token.as_deref();
    let unk = unk.and_then(|unk| id_of(&vocab, unk));
    let start = if writing == Writing::Bytes {
        Start::bytes(&vocab, unk)
    } else {
        let bytes = build::byte_tokens(&vocab, |id| texts.get(id as usize).copied().flatten());
        Start::Chars(Chars::new(&vocab, bytes, unk, model.fuse_unk))
    };
    let split = |merge: &Merge<'_>, out: &mut Vec<u8>| {
        let (left, right) = merge.halves()?;
        writing.append(left, out);
        let middle = out.len();
        writing.append(right, out);
        Some(middle)
    };
    let whole = if model.ignore_merges {
        Whole::Words
    } else {
        Whole::Never
    };
    let bpe = Bpe::new(&vocab, &model.merges, split, start, whole)?;
    Ok((vocab, Model::Bpe(bpe), unk))
}

fn read_wordpiece(model: &str, added: &[Added]) -> Result<ReadModel, TokenizerError> {
    let model: WordPieceModel<'_> = serde_json::from_str(model).map_err(malformed(FILE))?;
    let entries = model.vocab.0.iter().map(|(text, id)| (text.as_ref(), *id));
    let continuing = model.continuing_subword_prefix.as_deref().unwrap_or("##");
    let (vocab, _) = read_vocab(entries, added, Writing::Words(continuing), false)?;
    let unk = model.unk_token.as_deref().unwrap_or("[UNK]");
    let missing = TokenizerError::UnknownMissing { model: "WordPiece" };
    // As a plain token it has the space of a word before it.
    let unk = id_of(&vocab, unk).or_else(|| vocab.plain_id(format!(" {unk}").as_bytes()));
    let unk = unk.ok_or(missing)?;
    let longest = model.max_input_chars_per_word;
    let longest = longest.unwrap_or(wordpiece::LONGEST_WORD);
    let pieces = WordPiece::new(&vocab, unk, longest);
    Ok((vocab, Model::WordPiece(pieces), Some(unk)))
}

fn read_unigram(
    model: &str,
    added: &[Added],
    writing: Writing<'_>,
) -> Result<ReadModel, TokenizerError> {
    let model: UnigramModel<'_> = serde_json::from_str(model).map_err(malformed(FILE))?;
    let pieces = model.vocab.iter().map(|scored| {
        let Text(text) = &scored.0;
        text.as_ref()
    });
    let (vocab, texts) = read_vocab(pieces.zip(0..), added, writing, model.byte_fallback)?;
    let unk = model.unk_id.filter(|&id| (id as usize) < vocab.len());
    let bytes = if model.byte_fallback {
        build::byte_tokens(&vocab, |id| texts.get(id as usize).copied().flatten())
    } else {
        [NO_TOKEN; 256]
    };
    let mut scores: Vec<f32> = model.vocab.iter().map(|scored| scored.1 as f32).collect();
    scores.resize(vocab.len(), 0.0);
    let unigram = Unigram::new(&vocab, scores, unk, bytes, Order::Forward);
    Ok((vocab, Model::Unigram(unigram), unk))
}

/// The parts of a `Sequence`, or the one part that is there.
fn parts<'v>(value: &'v Value, list: &str) -> Vec<&'v Value> {
    match value.get(list).and_then(Value::as_array) {
        Some(parts) if kind(value) == "Sequence" => parts
            .iter()
            .flat_map(|part| self::parts(part, list))
            .collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or("?")
}

/// The special tokens that the post-processor puts before and after a text; `None` if it is of no kind
/// that does.
fn template_tokens(
    post_processor: &Value,
    vocab: &Vocab,
) -> Result<Option<[Option<u32>; 2]>, TokenizerError> {
    for part in parts(post_processor, "processors") {
        match kind(part) {
            "TemplateProcessing" => {
                let single = part.get("single").and_then(Value::as_array);
                let Some(single) = single else { continue };
                let token = |piece: &Value| {
                    let text = piece.get("SpecialToken")?.get("id")?.as_str()?;
                    id_of(vocab, text)
                };
                let text = single
                    .iter()
                    .position(|piece| piece.get("Sequence").is_some());
                let (before, after) = single.split_at(text.unwrap_or(single.len()));
                let after = after.get(1..).unwrap_or_default();
                if before.len() > 1 || after.len() > 1 {
                    return Err(refuse(
                        "a post-processor that puts several tokens before or after a text is not supported",
                    ));
                }
                return Ok(Some([
                    before.first().and_then(token),
                    after.last().and_then(token),
                ]));
            }
            "BertProcessing" | "RobertaProcessing" => {
                let token = |key: &str| id_of(vocab, part.get(key)?.get(0)?.as_str()?);
                return Ok(Some([token("cls"), token("sep")]));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn id_of(vocab: &Vocab, text: &str) -> Option<u32> {
    vocab
        .reserved_id(text.as_bytes())
        .or_else(|| vocab.plain_id(text.as_bytes()))
}

/// The vocabulary, and each token's text in the file.
fn read_vocab<'a>(
    entries: impl Iterator<Item = (&'a str, u32)> + Clone,
    added: &'a [Added],
    writing: Writing<'_>,
    byte_fallback: bool,
) -> Result<(Vocab, Vec<Option<&'a str>>), TokenizerError> {
    let ids = entries
        .clone()
        .map(|(_, id)| id)
        .chain(added.iter().map(|added| added.id));
    let Some(last) = ids.max() else {
        return Err(TokenizerError::EmptyVocabulary);
    };
    // Ids have gaps at times, but a file must not claim more tokens than it could hold.
    let limit = 2 * (entries.clone().count() + added.len()) + 65_536;
    let n_tokens = last as usize + 1;
    if n_tokens > limit {
        return Err(TokenizerError::TooLarge {
            what: "the highest token id",
            found: last as usize,
            limit,
        });
    }
    let mut texts: Vec<Option<&str>> = vec![None; n_tokens];
    for (text, id) in entries {
        if let Some(slot) = texts.get_mut(id as usize) {
            *slot = Some(text);
        }
    }
    let by_id: HashMap<u32, &Added> = added.iter().map(|added| (added.id, added)).collect();
    for added in added {
        if added.single_word {
            return Err(refuse(
                "added tokens that match whole words only are not supported",
            ));
        }
        if let Some(slot) = texts.get_mut(added.id as usize) {
            *slot = Some(&added.content);
        }
    }
    let n_bytes = texts.iter().flatten().map(|text| text.len()).sum();
    let mut vocab = Vocab::with_capacity(n_tokens, n_bytes);
    for (id, text) in (0u32..).zip(&texts) {
        let text = text.unwrap_or_default();
        let byte = if byte_fallback {
            build::byte_value(text)
        } else {
            None
        };
        let kind = match by_id.get(&id) {
            Some(added) if added.special || special::looks_like_control(text) => TokenKind::Control,
            // Runs of `▁` (Gemma): merges make them of the text's spaces.
            Some(_) if writing == Writing::Characters && text.contains(SPM_SPACE) => {
                TokenKind::Normal
            }
            Some(_) => TokenKind::UserDefined,
            None if text.is_empty() => TokenKind::Unused,
            None if byte.is_some() => TokenKind::Byte,
            None => TokenKind::Normal,
        };
        vocab.push(kind, |out| match (kind, byte) {
            (TokenKind::Byte, Some(byte)) => out.push(byte),
            (TokenKind::Normal, _) => writing.append(text, out),
            _ => out.extend_from_slice(text.as_bytes()),
        })?;
    }
    Ok((vocab, texts))
}
