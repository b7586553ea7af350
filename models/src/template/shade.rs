//! Telling the text of messages from the template's, through whatever the template does to it. Before
//! rendering, each character of a message that is not white space is replaced by a private-use
//! character that occurs nowhere in the input (its shade); afterwards shades are replaced by what
//! they stand for, and mark it as not trusted. So a mark is part of the character: trimming, cutting
//! and joining cannot lose it, and text that holds private-use characters itself is shaded like any
//! other. White space stays. Templates look into messages (`'</think>' in content`): comparing and
//! searching see what shades stand for ([`Shade::plain`]), and answer with truths and positions; what
//! is cut out is cut from the shaded text.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::tokenizer::Span;

/// Characters without which no control token can be written, in vocabularies known today.
const MARKUP: [char; 8] = ['<', '>', '|', '[', ']', '\u{ff5c}', '{', '}'];

/// The first private-use character that may become a shade. Planes 15 and 16 are for private use.
const FIRST: u32 = 0xf0000;
const LAST: u32 = 0x10fffd;

/// The shades of one rendering.
#[derive(Debug)]
pub(super) struct Shade {
    table: RwLock<Table>,
    seen_bytes: usize,
}

#[derive(Debug)]
struct Table {
    shades: HashMap<char, char>,
    /// What the shade `FIRST + i` stands for.
    meanings: Vec<Option<char>>,
    /// Private-use characters that occur in the input.
    taken: HashSet<char>,
    is_exhausted: bool,
}

fn is_private(c: char) -> bool {
    u32::from(c) >= FIRST
}

/// Whether a text holds a private-use character: its first UTF-8 byte is one of these, and no other
/// byte is.
fn may_be_shaded(text: &str) -> bool {
    memchr::memchr2(0xf3, 0xf4, text.as_bytes()).is_some()
}

impl Table {
    fn meaning(&self, c: char) -> Option<char> {
        let index = u32::from(c).checked_sub(FIRST)?;
        self.meanings.get(index as usize).copied().flatten()
    }

    /// The shade of a character; U+FFFD once there are no more.
    fn of(&mut self, c: char) -> char {
        if let Some(&shade) = self.shades.get(&c) {
            return shade;
        }
        loop {
            let next = FIRST.saturating_add(self.meanings.len() as u32);
            let Some(shade) = char::from_u32(next).filter(|_| next <= LAST) else {
                self.is_exhausted = true;
                return char::REPLACEMENT_CHARACTER;
            };
            // The last two characters of a plane are not characters.
            if self.taken.contains(&shade) || next & 0xfffe == 0xfffe {
                self.meanings.push(None);
                continue;
            }
            self.meanings.push(Some(c));
            self.shades.insert(c, shade);
            return shade;
        }
    }
}

impl Shade {
    /// `visit` shows all text that goes into the rendering.
    pub(super) fn new(visit: impl FnOnce(&mut dyn FnMut(&str))) -> Self {
        let mut taken = HashSet::new();
        let mut seen_bytes = 0;
        visit(&mut |text| {
            seen_bytes += text.len();
            if may_be_shaded(text) {
                taken.extend(text.chars().filter(|&c| is_private(c)));
            }
        });
        let mut table = Table {
            shades: HashMap::new(),
            meanings: Vec::new(),
            taken,
            is_exhausted: false,
        };
        for c in MARKUP.into_iter().chain('!'..='~') {
            table.of(c);
        }
        Self {
            table: RwLock::new(table),
            seen_bytes,
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much text goes into the rendering, in bytes.
    pub(super) fn seen_bytes(&self) -> usize {
        self.seen_bytes
    }

    /// Whether the text had more different characters than there are shades: some are lost then.
    pub(super) fn is_exhausted(&self) -> bool {
        self.table().is_exhausted
    }

    /// What a text stands for, shaded or not: for comparing and searching. Never to be written out.
    pub(super) fn plain<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !may_be_shaded(text) {
            return Cow::Borrowed(text);
        }
        let table = self.table();
        let plain = text.chars().map(|c| table.meaning(c).unwrap_or(c));
        Cow::Owned(plain.collect())
    }

    /// Shades a text, but for white space.
    pub(super) fn cover(&self, text: &str) -> String {
        self.cover_where(text, |c| !c.is_whitespace())
    }

    /// Shades only what control tokens are written with: for text that templates build them from, such
    /// as roles.
    pub(super) fn markup(&self, text: &str) -> String {
        self.cover_where(text, |c| MARKUP.contains(&c) || is_private(c))
    }

    fn cover_where(&self, text: &str, is_covered: impl Fn(char) -> bool) -> String {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let cover = |c| if is_covered(c) { table.of(c) } else { c };
        text.chars().map(cover).collect()
    }

    /// Writes each character of a text as `write` makes it of what it stands for; what is made of
    /// shaded characters is shaded again. `write` gives `None` for a character that stays.
    pub(super) fn map(&self, text: &str, mut write: impl FnMut(char) -> Option<String>) -> String {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            let meaning = table.meaning(c);
            match (write(meaning.unwrap_or(c)), meaning) {
                (None, _) => out.push(c),
                (Some(new), None) => out.push_str(&new),
                (Some(new), Some(_)) => out.extend(new.chars().map(|c| table.of(c))),
            }
        }
        out
    }

    /// The spans of a rendered text: shades back to what they stand for.
    pub(super) fn spans(&self, rendered: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let table = self.table();
        for c in rendered.chars() {
            let (meaning, shaded) = match table.meaning(c) {
                Some(meaning) => (meaning, true),
                None => (c, false),
            };
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
        let table = self.table();
        let mut out = String::new();
        for c in text.chars() {
            if table.meaning(c).is_none() {
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
