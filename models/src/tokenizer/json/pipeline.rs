//! The normalizer and the pre-tokenizer of a `tokenizer.json`, part by part, as a [`Pipeline`]. A part
//! that hob does not have is refused by name: leaving one out would give other tokens.

use base64::Engine;
use serde_json::Value;

use super::{kind, parts, refuse};
use crate::tokenizer::{
    SPM_SPACE, TokenizerError,
    bounded::Bounded,
    build::{self, PUNCTUATION},
    charsmap::Charsmap,
    normalize::{Bert, Normalizer},
    pipeline::{Pipeline, Prefix},
    pre,
    split::{Behavior, Stage, backtracks},
};

/// The pipeline, and whether it turns text into GPT-2's alphabet of bytes.
pub(super) struct Read {
    pub(super) pipeline: Pipeline,
    pub(super) byte_level: bool,
}

/// Reads both parts.
pub(super) fn read(normalizer: &Value, pre_tokenizer: &Value) -> Result<Read, TokenizerError> {
    let mut read = Read {
        pipeline: Pipeline::new(),
        byte_level: false,
    };
    for part in parts(normalizer, "normalizers") {
        read.add_normalizer(part)?;
    }
    for part in parts(pre_tokenizer, "pretokenizers") {
        read.add_pre_tokenizer(part)?;
    }
    Ok(read)
}

/// Most normalizers. The models known in 2026 have at most eight.
const MAX_NORMALIZERS: usize = 32;

/// The pattern of a part: a text, or a regular expression.
enum Pattern<'a> {
    Text(&'a str),
    Regex(&'a str),
}

fn pattern(part: &Value) -> Option<Pattern<'_>> {
    let get = |key| part.get("pattern")?.get(key)?.as_str();
    get("String")
        .map(Pattern::Text)
        .or_else(|| get("Regex").map(Pattern::Regex))
}

/// A regular expression for a text.
fn literal(text: &str) -> String {
    text.chars()
        .map(|c| format!("\\x{{{:x}}}", u32::from(c)))
        .collect()
}

fn behavior(part: &Value) -> Option<Behavior> {
    Some(match part.get("behavior").and_then(Value::as_str)? {
        "Isolated" => Behavior::Isolated,
        "Removed" => Behavior::Removed,
        "MergedWithPrevious" => Behavior::MergedWithPrevious,
        "MergedWithNext" => Behavior::MergedWithNext,
        "Contiguous" => Behavior::Contiguous,
        _ => return None,
    })
}

impl Read {
    fn add_normalizer(&mut self, part: &Value) -> Result<(), TokenizerError> {
        let text = |key| part.get(key).and_then(Value::as_str);
        let flag = |key, default| part.get(key).and_then(Value::as_bool).unwrap_or(default);
        let not_supported = || {
            refuse(format!(
                "normalizer {:?} is not supported as it is set up",
                kind(part)
            ))
        };
        let step = match kind(part) {
            "NFC" => Normalizer::Nfc,
            "NFD" => Normalizer::Nfd,
            "NFKC" => Normalizer::Nfkc,
            "NFKD" => Normalizer::Nfkd,
            "Nmt" => Normalizer::Nmt,
            "Lowercase" => Normalizer::Lowercase,
            "StripAccents" => Normalizer::StripAccents,
            "Strip" => Normalizer::Strip {
                left: flag("strip_left", true),
                right: flag("strip_right", true),
            },
            "Prepend" if text("prepend") == Some(SPM_SPACE) => {
                self.pipeline.set_prefix(Prefix::Always);
                return Ok(());
            }
            "Prepend" => Normalizer::Prepend(text("prepend").ok_or_else(not_supported)?.to_owned()),
            "Replace" => {
                let content = text("content").ok_or_else(not_supported)?;
                let pattern = match pattern(part).ok_or_else(not_supported)? {
                    Pattern::Text(" ") if content == SPM_SPACE => {
                        self.pipeline.spm_spaces = true;
                        return Ok(());
                    }
                    Pattern::Text(text) => literal(text),
                    Pattern::Regex(regex) => regex.to_owned(),
                };
                if backtracks(&pattern) {
                    return Err(not_supported());
                }
                let regex = Bounded::new(&[&pattern], "normalizer")?;
                Normalizer::Replace(Box::new(regex), content.to_owned())
            }
            "BertNormalizer" => {
                let lowercase = flag("lowercase", true);
                Normalizer::Bert(Bert {
                    clean: flag("clean_text", true),
                    space_chinese: flag("handle_chinese_chars", true),
                    strip_accents: flag("strip_accents", lowercase),
                    lowercase,
                })
            }
            "Precompiled" => {
                let encoded = text("precompiled_charsmap").ok_or_else(not_supported)?;
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(encoded)
                    .map_err(|_| refuse("precompiled_charsmap is not base64"))?;
                if bytes.is_empty() {
                    return Ok(());
                }
                Normalizer::Graphemes(Charsmap::new(&bytes)?)
            }
            other => return Err(refuse(format!("normalizer {other:?} is not supported"))),
        };
        if self.pipeline.normalizers.len() == MAX_NORMALIZERS {
            return Err(TokenizerError::TooLarge {
                what: "the number of normalizers",
                found: MAX_NORMALIZERS + 1,
                limit: MAX_NORMALIZERS,
            });
        }
        self.pipeline.normalizers.push(step);
        Ok(())
    }

    fn add_pre_tokenizer(&mut self, part: &Value) -> Result<(), TokenizerError> {
        let flag = |key, default| part.get(key).and_then(Value::as_bool).unwrap_or(default);
        let text = |key| part.get(key).and_then(Value::as_str);
        let not_supported = || {
            refuse(format!(
                "pre-tokenizer {:?} is not supported as it is set up",
                kind(part)
            ))
        };
        let is_ascii = |regex: &str| regex.is_ascii() && !regex.contains('\\');
        let plain = pattern(part).is_some_and(|p| matches!(p, Pattern::Regex(r) if is_ascii(r)));
        if self.byte_level && !plain {
            // It would see bytes as letters and signs.
            return Err(not_supported());
        }
        let spm_spaces = self.pipeline.spm_spaces;
        let splitter = &mut self.pipeline.splitter;
        let add = match kind(part) {
            "ByteLevel" => {
                if flag("add_prefix_space", true) {
                    if splitter.cuts() {
                        return Err(not_supported());
                    }
                    self.pipeline.set_prefix(Prefix::UnlessSpace);
                }
                self.byte_level = true;
                if flag("use_regex", true) {
                    let splitter = &mut self.pipeline.splitter;
                    splitter.add(Stage::WithSpaces(pre::GPT2))?;
                }
                return Ok(());
            }
            "Digits" if flag("individual_digits", false) => {
                return splitter.add(Stage::Only(r"\p{N}"));
            }
            "Digits" => return splitter.add(Stage::Only(r"\p{N}+")),
            "BertPreTokenizer" => return build::add_bert_words(splitter),
            "WhitespaceSplit" => return splitter.add(Stage::Dropped(r"\s+")),
            "Whitespace" => splitter.add_pattern(r"\w+|[^\w\s]+", Behavior::Removed, true)?,
            "Punctuation" => {
                let behavior = match part.get("behavior") {
                    None => Behavior::Isolated,
                    Some(_) => behavior(part).ok_or_else(not_supported)?,
                };
                splitter.add_pattern(PUNCTUATION, behavior, false)?
            }
            "CharDelimiterSplit" => {
                let delimiter = literal(text("delimiter").ok_or_else(not_supported)?);
                splitter.add_pattern(&delimiter, Behavior::Removed, false)?
            }
            "Split" => {
                let behavior = behavior(part).ok_or_else(not_supported)?;
                let pattern = match pattern(part).ok_or_else(not_supported)? {
                    // Spaces are `▁` by now: it cuts nothing.
                    Pattern::Text(" ") if spm_spaces => return Ok(()),
                    Pattern::Text(text) if spm_spaces => literal(&text.replace(SPM_SPACE, " ")),
                    Pattern::Text(text) => literal(text),
                    Pattern::Regex(regex) => regex.to_owned(),
                };
                splitter.add_pattern(&pattern, behavior, flag("invert", false))?
            }
            "Metaspace" if text("replacement") == Some(SPM_SPACE) => {
                return self.add_metaspace(part);
            }
            _ => return Err(not_supported()),
        };
        add.ok_or_else(not_supported)
    }

    fn add_metaspace(&mut self, part: &Value) -> Result<(), TokenizerError> {
        let flag = |key| part.get(key).and_then(Value::as_bool).unwrap_or(true);
        let scheme = part.get("prepend_scheme").and_then(Value::as_str);
        let default = if flag("add_prefix_space") {
            "always"
        } else {
            "never"
        };
        let pipeline = &mut self.pipeline;
        pipeline.spm_spaces = true;
        let prefix = match scheme.unwrap_or(default) {
            "never" => None,
            "first" => Some(Prefix::FirstUnlessSpace),
            _ => Some(Prefix::UnlessSpace),
        };
        match prefix {
            None => {}
            Some(Prefix::UnlessSpace) if pipeline.splitter.cuts() => {
                pipeline.prefix_words = true;
                pipeline.adds_space = true;
            }
            Some(prefix) => pipeline.set_prefix(prefix),
        }
        if flag("split") {
            let added = pipeline
                .splitter
                .add_pattern(" ", Behavior::MergedWithNext, false)?;
            added.ok_or_else(|| refuse("pre-tokenizer \"Metaspace\" is not supported"))?;
        }
        Ok(())
    }
}
