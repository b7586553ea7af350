//! Building a tokenizer from `tokenizer.json`, the format of Hugging Face's `tokenizers`: byte-level
//! BPE (Llama 3, Qwen, SmolLM, GPT-2) and SentencePiece vocabularies written as BPE (Llama 2,
//! Mistral, Gemma). The pipeline that the file describes is read part by part, and a part that hob
//! does not have is refused by name: leaving one out would give other tokens.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    Model, Prefix, SPM_SPACE, TokenKind, Tokenizer, TokenizerError,
    bpe::{Bpe, Start},
    build::{self, Parts},
    byte_level,
    chars::Chars,
    special::{self, Strip, Strips},
    split::Splitter,
    vocab::Vocab,
};

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

#[derive(Deserialize)]
struct BpeModel<'a> {
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// The fields of an object in their order, without a map.
struct Entries<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    entries.push((token, id));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Str;
        impl<'de> Visitor<'de> for Str {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Str)
    }
}

/// A merge: `"a b"`, or `["a", "b"]` since version 0.20.
enum Merge<'a> {
    Joined(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: a string or a pair of strings")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge<'de>, A::Error> {
                let missing = || de::Error::custom("a merge has two pieces");
                let Text(left) = seq.next_element()?.ok_or_else(missing)?;
                let Text(right) = seq.next_element()?.ok_or_else(missing)?;
                Ok(Merge::Pair(left, right))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Merge<'_> {
    fn halves(&self) -> Option<(&str, &str)> {
        match self {
            Self::Pair(left, right) => Some((left, right)),
            Self::Joined(both) => both.split_once(' '),
        }
    }
}

/// What the normalizer and the pre-tokenizer say.
struct Pipeline {
    byte_level: bool,
    spm_spaces: bool,
    nfc: bool,
    prefix: Prefix,
    splitter: Splitter,
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
    let Kind { kind } = serde_json::from_str(file.model.get()).map_err(malformed(FILE))?;
    if let Some(kind) = kind.filter(|kind| kind != "BPE") {
        return Err(TokenizerError::UnknownModel {
            name: kind,
            supported: "BPE",
        });
    }
    let model: BpeModel<'_> = serde_json::from_str(file.model.get()).map_err(malformed(FILE))?;
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
    let mut pipeline = Pipeline {
        byte_level: false,
        spm_spaces: false,
        nfc: false,
        prefix: Prefix::Never,
        splitter: Splitter::whole(),
    };
    pipeline.read_normalizer(&file.normalizer)?;
    pipeline.read_pre_tokenizer(&file.pre_tokenizer)?;
    if pipeline.byte_level == pipeline.spm_spaces {
        return Err(refuse(
            "the vocabulary is neither byte-level nor SentencePiece's",
        ));
    }

    let (vocab, texts) = read_vocab(&model, &file.added_tokens, pipeline.byte_level)?;
    let unk = model
        .unk_token
        .as_deref()
        .and_then(|unk| id_of(&vocab, unk));
    let start = if pipeline.byte_level {
        Start::bytes(&vocab, unk)
    } else {
        let byte_tokens =
            build::byte_tokens(&vocab, |id| texts.get(id as usize).copied().flatten());
        Start::Chars(Chars::new(&vocab, byte_tokens, unk, model.fuse_unk))
    };
    let byte_level = pipeline.byte_level;
    let split = |merge: &Merge<'_>, out: &mut Vec<u8>| {
        let (left, right) = merge.halves()?;
        append(left, byte_level, out);
        let middle = out.len();
        append(right, byte_level, out);
        Some(middle)
    };
    let bpe = Bpe::new(&vocab, &model.merges, split, start, model.ignore_merges)?;
    let strips: Strips = file
        .added_tokens
        .iter()
        .filter(|added| added.lstrip || added.rstrip)
        .map(|added| {
            (
                added.id,
                Strip {
                    before: added.lstrip,
                    after: added.rstrip,
                },
            )
        })
        .collect();

    let named = |key: &str| {
        let token = config.get(key)?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        id_of(&vocab, text)
    };
    let (first, last) = template_tokens(&file.post_processor, &vocab);
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let bos = named("bos_token").or(first);
    let eos = named("eos_token").or(last);
    let has_template = contains_type(&file.post_processor, "TemplateProcessing");
    let added = |wanted: Option<u32>, found: Option<u32>, key: &str| {
        if has_template {
            found.is_some() && found == wanted
        } else {
            flag(key) == Some(true) && wanted.is_some()
        }
    };
    Parts {
        add_bos: added(bos, first, "add_bos_token"),
        add_eos: added(eos, last, "add_eos_token"),
        pad: named("pad_token"),
        model: Model::Bpe {
            nfc: pipeline.nfc,
            spm_spaces: pipeline.spm_spaces,
            splitter: pipeline.splitter,
            bpe,
        },
        prefix: pipeline.prefix,
        ends: Vec::new(),
        vocab,
        strips,
        bos,
        eos,
        unk,
    }
    .assemble()
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

fn contains_type(value: &Value, wanted: &str) -> bool {
    parts(value, "processors")
        .iter()
        .any(|part| kind(part) == wanted)
}

/// A pattern of a `Replace` or `Split`: a string or a regular expression.
fn pattern(value: &Value) -> (Option<&str>, Option<&str>) {
    let pattern = value.get("pattern");
    let get = |key| pattern?.get(key)?.as_str();
    (get("String"), get("Regex"))
}

impl Pipeline {
    fn read_normalizer(&mut self, normalizer: &Value) -> Result<(), TokenizerError> {
        for part in parts(normalizer, "normalizers") {
            let content = part.get("content").and_then(Value::as_str);
            let prepend = part.get("prepend").and_then(Value::as_str);
            match kind(part) {
                "NFC" => self.nfc = true,
                "Prepend" if prepend == Some(SPM_SPACE) => self.prefix = Prefix::Always,
                "Replace" if pattern(part).0 == Some(" ") && content == Some(SPM_SPACE) => {
                    self.spm_spaces = true;
                }
                other => return Err(refuse(format!("normalizer {other:?} is not supported"))),
            }
        }
        Ok(())
    }

    fn read_pre_tokenizer(&mut self, pre_tokenizer: &Value) -> Result<(), TokenizerError> {
        for part in parts(pre_tokenizer, "pretokenizers") {
            let flag = |key, default| part.get(key).and_then(Value::as_bool).unwrap_or(default);
            let text = |key| part.get(key).and_then(Value::as_str);
            let not_supported = || {
                refuse(format!(
                    "pre-tokenizer {:?} is not supported as it is set up",
                    kind(part)
                ))
            };
            match kind(part) {
                "ByteLevel" if !flag("add_prefix_space", true) => {
                    self.byte_level = true;
                    if flag("use_regex", true) {
                        self.splitter.add_gpt2()?;
                    }
                }
                "Digits" => self.splitter.add_digits(flag("individual_digits", false))?,
                "Split" => match pattern(part) {
                    // Spaces are `▁` by now: it cuts nothing.
                    (Some(" "), None) if self.spm_spaces => {}
                    (None, Some(regex)) => {
                        let covers = regex.ends_with(r"|\s+") || regex.ends_with(r"|\s+(?!\S)");
                        let is_plain = match (text("behavior"), flag("invert", false)) {
                            (Some("Isolated"), _) => true,
                            // All text matches, so nothing is removed.
                            (Some("Removed"), true) => covers,
                            _ => false,
                        };
                        let added = if is_plain {
                            self.splitter.add_pattern(regex)?
                        } else {
                            None
                        };
                        added.ok_or_else(not_supported)?;
                    }
                    _ => return Err(not_supported()),
                },
                "Metaspace" if text("replacement") == Some(SPM_SPACE) => {
                    self.spm_spaces = true;
                    let legacy = if flag("add_prefix_space", true) {
                        "always"
                    } else {
                        "never"
                    };
                    self.prefix = match text("prepend_scheme").unwrap_or(legacy) {
                        "never" => self.prefix,
                        "first" => Prefix::FirstUnlessSpace,
                        _ => Prefix::UnlessSpace,
                    };
                    if flag("split", true) {
                        self.splitter
                            .add_pattern(" [^ ]*")?
                            .ok_or_else(not_supported)?;
                    }
                }
                _ => return Err(not_supported()),
            }
        }
        Ok(())
    }
}

/// The special tokens that a `TemplateProcessing` puts before and after a text.
fn template_tokens(post_processor: &Value, vocab: &Vocab) -> (Option<u32>, Option<u32>) {
    let parts = parts(post_processor, "processors");
    let template = parts.iter().find(|part| kind(part) == "TemplateProcessing");
    let single = template
        .and_then(|part| part.get("single"))
        .and_then(Value::as_array);
    let Some(single) = single else {
        return (None, None);
    };
    let token = |piece: Option<&Value>| {
        let text = piece?.get("SpecialToken")?.get("id")?.as_str()?;
        id_of(vocab, text)
    };
    (token(single.first()), token(single.last()))
}

fn id_of(vocab: &Vocab, text: &str) -> Option<u32> {
    vocab
        .reserved_id(text.as_bytes())
        .or_else(|| vocab.plain_id(text.as_bytes()))
}

fn append(text: &str, byte_level: bool, out: &mut Vec<u8>) {
    if byte_level {
        byte_level::append_bytes(text, out);
    } else {
        build::append_spm(text, out);
    }
}

/// The vocabulary, and each token's text in the file.
fn read_vocab<'a>(
    model: &'a BpeModel<'_>,
    added: &'a [Added],
    byte_level: bool,
) -> Result<(Vocab, Vec<Option<&'a str>>), TokenizerError> {
    let Entries(entries) = &model.vocab;
    let ids = entries
        .iter()
        .map(|&(_, id)| id)
        .chain(added.iter().map(|added| added.id));
    let Some(last) = ids.max() else {
        return Err(TokenizerError::EmptyVocabulary);
    };
    // Ids have gaps at times, but a file must not claim more tokens than it could hold.
    let limit = 2 * (entries.len() + added.len()) + 65_536;
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
        if let Some(slot) = texts.get_mut(*id as usize) {
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
        let byte = if model.byte_fallback {
            build::byte_value(text)
        } else {
            None
        };
        let kind = match by_id.get(&id) {
            Some(added) if added.special || special::looks_like_control(text) => TokenKind::Control,
            // Runs of `▁` (Gemma): merges make them of the text's spaces.
            Some(_) if !byte_level && text.contains(SPM_SPACE) => TokenKind::Normal,
            Some(_) => TokenKind::UserDefined,
            None if text.is_empty() => TokenKind::Unused,
            None if byte.is_some() => TokenKind::Byte,
            None => TokenKind::Normal,
        };
        vocab.push(kind, |out| match (kind, byte) {
            (TokenKind::Byte, Some(byte)) => out.push(byte),
            (TokenKind::Normal, _) => append(text, byte_level, out),
            _ => out.extend_from_slice(text.as_bytes()),
        })?;
    }
    Ok((vocab, texts))
}
