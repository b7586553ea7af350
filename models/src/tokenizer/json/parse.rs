//! The parts of a `tokenizer.json` as they are written: read in place, without copies of the strings
//! that need none.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// A model of merges.
#[derive(Deserialize)]
pub(super) struct BpeModel<'a> {
    #[serde(borrow)]
    pub(super) vocab: Entries<'a>,
    #[serde(borrow)]
    pub(super) merges: Vec<Merge<'a>>,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
}

/// A model of longest pieces.
#[derive(Deserialize)]
pub(super) struct WordPieceModel<'a> {
    #[serde(borrow)]
    pub(super) vocab: Entries<'a>,
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) max_input_chars_per_word: Option<usize>,
}

/// A model of pieces with scores.
#[derive(Deserialize)]
pub(super) struct UnigramModel<'a> {
    #[serde(borrow)]
    pub(super) vocab: Vec<Scored<'a>>,
    pub(super) unk_id: Option<u32>,
    #[serde(default)]
    pub(super) byte_fallback: bool,
}

/// A piece and its score.
#[derive(Deserialize)]
pub(super) struct Scored<'a>(#[serde(borrow)] pub(super) Text<'a>, pub(super) f64);

/// The fields of an object in their order, without a map.
pub(super) struct Entries<'a>(pub(super) Vec<(Cow<'a, str>, u32)>);

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
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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
pub(super) enum Merge<'a> {
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
    /// Its two pieces.
    pub(super) fn halves(&self) -> Option<(&str, &str)> {
        match self {
            Self::Pair(left, right) => Some((left, right)),
            Self::Joined(both) => both.split_once(' '),
        }
    }
}
