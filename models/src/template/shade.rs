//! Telling the text of messages from the template's, through whatever the template does to it. Before
//! rendering, each character of a message that is not white space is replaced by a private-use
//! character that occurs nowhere in the input (its shade); afterwards shades are replaced by what
//! they stand for, and mark it as not trusted. So a mark is part of the character: trimming, cutting
//! and joining cannot lose it, and text that holds private-use characters itself is shaded like any
//! other. White space stays, for templates trim it.

use std::collections::{HashMap, HashSet};

use minijinja::{Value, value::Object};

use crate::tokenizer::Span;

/// Where templates find the shade: not a name that a template can write.
pub(super) const SHADE_KEY: &str = "hob shade";

/// Characters without which no control token can be written, in vocabularies known today.
const MARKUP: [char; 8] = ['<', '>', '|', '[', ']', '\u{ff5c}', '{', '}'];

/// The shades of one rendering.
#[derive(Debug)]
pub(super) struct Shade {
    shades: HashMap<char, char>,
    meanings: HashMap<char, char>,
    /// Private-use characters that occur in the input.
    taken: HashSet<char>,
    next: u32,
    seen_bytes: usize,
}

impl Object for Shade {}

/// Planes 15 and 16 are for private use; their last two characters are not characters.
fn is_private(c: char) -> bool {
    c >= '\u{f0000}'
}

impl Shade {
    /// `visit` shows all text that goes into the rendering.
    pub(super) fn new(visit: impl FnOnce(&mut dyn FnMut(&str))) -> Self {
        let mut taken = HashSet::new();
        let mut seen_bytes = 0;
        visit(&mut |text| {
            seen_bytes += text.len();
            taken.extend(text.chars().filter(|&c| is_private(c)));
        });
        let mut shade = Self {
            shades: HashMap::new(),
            meanings: HashMap::new(),
            taken,
            next: 0xf0000,
            seen_bytes,
        };
        // First of all those that matter most, should a text exhaust the private-use characters.
        for c in MARKUP.into_iter().chain('!'..='~') {
            shade.of(c);
        }
        shade
    }

    /// How much text goes into the rendering, in bytes.
    pub(super) fn seen_bytes(&self) -> usize {
        self.seen_bytes
    }

    /// The shade of a character; the character itself once there are no more.
    fn of(&mut self, c: char) -> char {
        if let Some(&shade) = self.shades.get(&c) {
            return shade;
        }
        while let Some(shade) = char::from_u32(self.next).filter(|_| self.next <= 0x10fffd) {
            self.next += 1;
            if !self.taken.contains(&shade) && shade as u32 & 0xfffe != 0xfffe {
                self.shades.insert(c, shade);
                self.meanings.insert(shade, c);
                return shade;
            }
        }
        c
    }

    /// The shade of a character that has one.
    pub(super) fn existing(&self, c: char) -> char {
        self.shades.get(&c).copied().unwrap_or(c)
    }

    /// What a character stands for, and whether it is a shade.
    pub(super) fn meaning(&self, c: char) -> (char, bool) {
        match self.meanings.get(&c) {
            Some(&meaning) => (meaning, true),
            None => (c, false),
        }
    }

    /// Shades a text, but for white space and the `exempt` strings.
    pub(super) fn whole(&mut self, text: &str, exempt: &[String]) -> String {
        let mut out = String::with_capacity(4 * text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let marker = exempt
                .iter()
                .filter(|marker| rest.starts_with(marker.as_str()));
            if let Some(marker) = marker.max_by_key(|marker| marker.len()) {
                out.push_str(marker);
                rest = rest.get(marker.len()..).unwrap_or_default();
                continue;
            }
            out.push(if c.is_whitespace() { c } else { self.of(c) });
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        out
    }

    /// Shades only what control tokens are written with: for text that templates compare.
    pub(super) fn markup(&mut self, text: &str) -> String {
        text.chars()
            .map(|c| {
                if MARKUP.contains(&c) || is_private(c) {
                    self.of(c)
                } else {
                    c
                }
            })
            .collect()
    }

    /// Shades the markup in all strings of a JSON value.
    pub(super) fn json(&mut self, value: &serde_json::Value) -> Value {
        use serde_json::Value as Json;
        match value {
            Json::String(text) => Value::from(self.markup(text)),
            Json::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Json::Object(fields) => Value::from_pairs(
                fields
                    .iter()
                    .map(|(key, value)| (self.markup(key), self.json(value))),
            ),
            Json::Null => Value::from(()),
            Json::Bool(flag) => Value::from(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(signed), _, _) => Value::from(signed),
                (_, Some(unsigned), _) => Value::from(unsigned),
                (_, _, float) => Value::from(float.unwrap_or(f64::NAN)),
            },
        }
    }

    /// The spans of a rendered text: shades back to what they stand for.
    pub(super) fn spans(&self, rendered: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for c in rendered.chars() {
            let (meaning, shaded) = self.meaning(c);
            match spans.last_mut() {
                Some(last) if last.trusted != shaded => last.text.push(meaning),
                _ => spans.push(Span {
                    text: String::from(meaning),
                    trusted: !shaded,
                }),
            }
        }
        // White space between two words of a message is the message's.
        let mut joined: Vec<Span> = Vec::new();
        for span in spans {
            if let [.., before, space] = joined.as_mut_slice()
                && !span.trusted
                && space.text.chars().all(char::is_whitespace)
            {
                before.text.push_str(&std::mem::take(&mut space.text));
                before.text.push_str(&span.text);
                joined.pop();
            } else {
                joined.push(span);
            }
        }
        joined
    }

    /// A text of the template for people to read, with text of messages left out.
    pub(super) fn censor(&self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            if !self.meanings.contains_key(&c) {
                out.push(c);
            } else if !out.ends_with('\u{2026}') {
                out.push('\u{2026}');
            }
        }
        out
    }
}

/// Shows all strings of a JSON value.
pub(super) fn see_json(key: &str, value: &serde_json::Value, see: &mut dyn FnMut(&str)) {
    see(key);
    match value {
        serde_json::Value::String(text) => see(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| see_json("", item, see)),
        serde_json::Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| see_json(key, value, see));
        }
        _ => {}
    }
}
