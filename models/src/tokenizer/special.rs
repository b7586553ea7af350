//! Special tokens: finding them in text, and knowing what they are for. A text with its trusted
//! ranges goes in; pieces of plain text and tokens come out. A control token is found only inside of
//! a trusted range, so that what a user or a document says cannot end a turn or start another.

use std::{collections::BTreeSet, ops::Range};

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::{
    TokenizerError,
    vocab::{TokenKind, Vocab},
};

/// Texts that end a generation wherever they are a token (llama.cpp, `llama-vocab.cpp`).
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<end_of_utterance>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];
/// Texts that do so only as a control token: elsewhere they are markup.
const END_CONTROLS: &[&str] = &["</s>", "<eos>"];

/// Most bytes of all special tokens of one kind: what finds them takes some 40 bytes of memory for each.
/// Of the models known in 2026 those with tokens for images and sounds have most, about 2 MB.
const MAX_BYTES: usize = 8 << 20;
/// Most bytes of one. The text is looked at that often, at worst.
const MAX_PIECE: usize = 1024;

/// Names between angle brackets that steer a model although some vocabularies call them text.
const CONTROL_NAMES: &[&str] = &[
    "bos",
    "eos",
    "pad",
    "unk",
    "mask",
    "think",
    "answer",
    "image",
    "audio",
    "video",
    "system",
    "user",
    "assistant",
    "tool",
    "tools",
];

/// Whether a text ends a generation wherever it is a token, even one marked as normal text.
pub(super) fn always_ends(text: &str) -> bool {
    END_TEXTS.contains(&text)
}

/// Whether a token that its vocabulary calls text (user-defined) steers the model by its looks:
/// `<|...|>`, `[INST]`, `<start_of_turn>`, `<think>`; but not markup such as `<table>`.
pub(super) fn looks_like_control(text: &str) -> bool {
    if always_ends(text) {
        return true;
    }
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return !inner.is_empty()
            && inner
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "_/ ".contains(c))
            && inner.chars().any(|c| c.is_ascii_uppercase());
    }
    let Some(inner) = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
    else {
        return false;
    };
    let bar = ['|', '\u{ff5c}'];
    if inner.starts_with(bar) || inner.ends_with(bar) {
        return true;
    }
    let name = inner.strip_prefix('/').unwrap_or(inner);
    CONTROL_NAMES.contains(&name)
        || (name.contains(['_', '-'])
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)))
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text without special tokens.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

/// Special tokens that take the white space before or after them with them.
pub(super) type Strips = std::collections::BTreeMap<u32, Strip>;

/// Which white space a special token takes with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    pub(super) before: bool,
    pub(super) after: bool,
}

/// Finds special tokens: leftmost first, the longest of those that start at one place.
pub(super) struct Specials {
    /// All special tokens, for trusted text.
    all: Option<Matcher>,
    /// Those that any text may become: user-defined ones.
    plain: Option<Matcher>,
    strips: Strips,
}

struct Matcher {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    id: u32,
}

impl Specials {
    /// Those of a vocabulary.
    pub(super) fn new(vocab: &Vocab, strips: Strips) -> Result<Self, TokenizerError> {
        use TokenKind::{Control, Unknown, UserDefined};
        let with_kind = |wanted: &[TokenKind]| {
            let ids = vocab
                .kinds()
                .filter(|(_, kind)| wanted.contains(kind))
                .map(|(id, _)| id);
            Matcher::new(
                vocab,
                ids.filter(|&id| !vocab.piece(id).is_empty()).collect(),
            )
        };
        Ok(Self {
            all: with_kind(&[Control, Unknown, UserDefined])?,
            plain: with_kind(&[UserDefined])?,
            strips,
        })
    }

    /// Cuts `text` into plain text and special tokens. `trusted` holds ranges of `text`, ascending,
    /// not overlapping, and not touching each other.
    pub(super) fn segments(&self, text: &str, trusted: &[Range<usize>]) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut at = 0;
        let mut trusted = trusted.iter().peekable();
        let mut in_trusted: Option<Found> = None;
        let mut anywhere: Option<Found> = None;
        let mut anywhere_left = true;
        loop {
            // Each search goes on from where it stopped, unless a longer match has covered that.
            if anywhere.is_none_or(|found| found.start < at) && anywhere_left {
                anywhere = find(&self.plain, text, at..text.len());
                anywhere_left = anywhere.is_some();
            }
            if in_trusted.is_none_or(|found| found.start < at) {
                in_trusted = None;
                while let Some(range) = trusted.peek() {
                    in_trusted = find(&self.all, text, at.max(range.start)..range.end);
                    if in_trusted.is_some() {
                        break;
                    }
                    trusted.next();
                }
            }
            let best = [in_trusted, anywhere.filter(|_| anywhere_left)]
                .into_iter()
                .flatten()
                .min_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
            let Some(best) = best else { break };
            let strip = self.strips.get(&best.id);
            let mut before = text.get(at..best.start).unwrap_or_default();
            if strip.is_some_and(|strip| strip.before) {
                before = before.trim_end();
            }
            if !before.is_empty() {
                segments.push(Segment::Text(at..at + before.len()));
            }
            segments.push(Segment::Token(best.id));
            at = best.end;
            if strip.is_some_and(|strip| strip.after) {
                let after = text.get(at..).unwrap_or_default();
                at += after.len() - after.trim_start().len();
            }
        }
        if at < text.len() {
            segments.push(Segment::Text(at..text.len()));
        }
        segments
    }
}

fn find(matcher: &Option<Matcher>, text: &str, range: Range<usize>) -> Option<Found> {
    let matcher = matcher.as_ref()?;
    if range.start >= range.end {
        return None;
    }
    let found = matcher.automaton.find(Input::new(text).range(range))?;
    let id = *matcher.ids.get(found.pattern().as_usize())?;
    Some(Found {
        start: found.start(),
        end: found.end(),
        id,
    })
}

impl Matcher {
    fn new(vocab: &Vocab, ids: Vec<u32>) -> Result<Option<Self>, TokenizerError> {
        if ids.is_empty() {
            return Ok(None);
        }
        let lengths = ids.iter().map(|&id| vocab.piece(id).len());
        let too_large = |what, found, limit| Err(TokenizerError::TooLarge { what, found, limit });
        let total: usize = lengths.clone().sum();
        if total > MAX_BYTES {
            return too_large("the text of all special tokens", total, MAX_BYTES);
        }
        match lengths.max() {
            Some(longest) if longest > MAX_PIECE => {
                return too_large("the text of a special token", longest, MAX_PIECE);
            }
            _ => {}
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| vocab.piece(id)))
            .map_err(|error| TokenizerError::Pattern {
                what: "special tokens",
                why: error.to_string(),
            })?;
        Ok(Some(Self { automaton, ids }))
    }
}

/// The tokens that end a generation: those named by the file, and those with a well-known text.
pub(super) fn end_tokens(vocab: &Vocab, named: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
    let mut ends: BTreeSet<u32> = named.into_iter().collect();
    let id_of = |text: &str| vocab.reserved_id(text.as_bytes());
    ends.extend(
        END_TEXTS
            .iter()
            .chain(END_CONTROLS)
            .filter_map(|text| id_of(text)),
    );
    // In the Harmony format (gpt-oss) and Solar Open's, <|end|> ends a message, not the turn.
    let has = |text: &str| id_of(text).is_some();
    let ends_messages =
        (has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>"));
    if let Some(end) = id_of("<|end|>").filter(|_| ends_messages) {
        ends.remove(&end);
    }
    ends
}
