//! Cutting text into words before a vocabulary merges within them. A splitter is a list of stages,
//! each of which cuts the words of the one before; text comes in as `&str`, words go out as byte
//! ranges, ascending, that cover it but for what a stage removes.
//!
//! Models name their stages by regular expressions, and those look ahead: they end in
//! `\s+(?!\S)|\s+`, white space but for the last of it where a word follows. An engine with
//! look-ahead must backtrack. Here `\s+` is a pattern of its own, and a match of it that is followed
//! by anything but the end gives its last character back: the same words, found by an automaton in
//! linear time on any text. Digits that are grouped from the right ([`Stage::Thousands`]) are found
//! as runs and then counted.

use std::ops::Range;

use regex_automata::{Anchored, Input};

use super::TokenizerError;
use super::bounded::{Bounded, Effort};

/// A way to cut. What matches is a word, and so is what lies between.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// The pattern, and `\s+(?!\S)|\s+` where it does not match.
    WithSpaces(&'static str),
    /// The same, but white space comes in pieces of 512, 256, ... 4, 2 and 1.
    SteppedSpaces(&'static str),
    /// The pattern alone.
    Only(&'static str),
    /// The pattern alone, which is left out.
    Dropped(&'static str),
    /// Runs of digits that the pattern matches, in groups of three counted from the right.
    Thousands(&'static str),
    /// The same with `\d+`, but only where the run ends a word: `\d{1,3}(?=(?:\d{3})*\b)`.
    ThousandsAtWordEnd,
    /// Only the borders before groups of three: `(?=(\d{3})+(?!\d))`, which matches no character.
    ThousandsBorders,
}

/// What becomes of the matches of a stage. Names and meanings are those of Hugging Face's
/// `SplitDelimiterBehavior`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    /// Each match is a word.
    Isolated,
    /// Matches are left out.
    Removed,
    /// Matches belong to the word before them.
    MergedWithPrevious,
    /// Matches belong to the word after them.
    MergedWithNext,
    /// Neighbouring matches are one word.
    Contiguous,
}

/// Cuts text into words.
pub(super) struct Splitter {
    stages: Vec<Compiled>,
}

struct Compiled {
    regex: Bounded,
    inner: Inner,
    behavior: Behavior,
    /// Whether what lies between the matches is what matches.
    invert: bool,
}

/// What a match consists of.
enum Inner {
    /// It is one word.
    Whole,
    /// If it is of pattern 1, white space, it gives a character back.
    Spaces,
    /// The same, in steps.
    Steps,
    /// Groups of three digits.
    Thousands,
    /// The same, unless this matches what follows.
    ThousandsUnless(Bounded),
    /// The borders before groups of three digits.
    Borders,
}

/// A character of a word, as the engine has it for which models write `\b`.
const WORD: &str = r"[\p{L}\p{M}\p{N}\p{Pc}]";

/// Most stages. The models known in 2026 have at most six.
const MAX_STAGES: usize = 32;
/// Whose patterns they are, for messages.
const WHAT: &str = "pre-tokenizer";

/// The sizes of pieces of white space, in characters, of [`Stage::SteppedSpaces`].
const STEPS: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

impl Splitter {
    /// No cuts yet: all of a text is one word.
    pub(super) fn whole() -> Self {
        Self { stages: Vec::new() }
    }

    /// Cuts in these stages.
    pub(super) fn new(stages: &[Stage]) -> Result<Self, TokenizerError> {
        let mut splitter = Self::whole();
        for &stage in stages {
            splitter.add(stage)?;
        }
        Ok(splitter)
    }

    /// Adds a stage.
    pub(super) fn add(&mut self, stage: Stage) -> Result<(), TokenizerError> {
        let (pattern, inner) = match stage {
            Stage::WithSpaces(pattern) => (pattern, Inner::Spaces),
            Stage::SteppedSpaces(pattern) => (pattern, Inner::Steps),
            Stage::Only(pattern) | Stage::Dropped(pattern) => (pattern, Inner::Whole),
            Stage::Thousands(pattern) => (pattern, Inner::Thousands),
            Stage::ThousandsAtWordEnd => (r"\d+", Inner::ThousandsUnless(compile(WORD)?)),
            Stage::ThousandsBorders => (r"\d+", Inner::Borders),
        };
        let behavior = match stage {
            Stage::Dropped(_) => Behavior::Removed,
            _ => Behavior::Isolated,
        };
        self.add_compiled(pattern, inner, behavior, false)
    }

    /// Whether there is any stage.
    pub(super) fn cuts(&self) -> bool {
        !self.stages.is_empty()
    }

    /// Adds a stage for a pattern of a file, which may end in `\s+(?!\S)|\s+`; `None` if it needs
    /// more than a linear-time automaton.
    pub(super) fn add_pattern(
        &mut self,
        pattern: &str,
        behavior: Behavior,
        invert: bool,
    ) -> Result<Option<()>, TokenizerError> {
        let spaces = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s", r"|\s+(?!\S)"];
        let body = spaces.iter().find_map(|end| pattern.strip_suffix(end));
        let plain = without_possessive(body.unwrap_or(pattern));
        if backtracks(&plain) {
            return Ok(None);
        }
        let inner = if body.is_some() {
            Inner::Spaces
        } else {
            Inner::Whole
        };
        self.add_compiled(&plain, inner, behavior, invert).map(Some)
    }

    fn add_compiled(
        &mut self,
        pattern: &str,
        inner: Inner,
        behavior: Behavior,
        invert: bool,
    ) -> Result<(), TokenizerError> {
        if self.stages.len() == MAX_STAGES {
            return Err(TokenizerError::TooLarge {
                what: "the number of the pre-tokenizer's patterns",
                found: MAX_STAGES + 1,
                limit: MAX_STAGES,
            });
        }
        let regex = match inner {
            Inner::Spaces | Inner::Steps => Bounded::new(&[pattern, r"\s+"], WHAT)?,
            _ => compile(pattern)?,
        };
        self.stages.push(Compiled {
            regex,
            inner,
            behavior,
            invert,
        });
        Ok(())
    }

    /// Cuts `text` into words; the ranges go into `words`, in order.
    ///
    /// # Errors
    /// A pattern takes too long on this text.
    pub(super) fn split(
        &self,
        text: &str,
        words: &mut Vec<Range<usize>>,
    ) -> Result<(), TokenizerError> {
        self.effort_of(text, words).map(|_| ())
    }

    /// [`split`](Self::split), and how much of its effort the stage took that took most.
    pub(super) fn effort_of(
        &self,
        text: &str,
        words: &mut Vec<Range<usize>>,
    ) -> Result<usize, TokenizerError> {
        words.clear();
        if text.is_empty() {
            return Ok(0);
        }
        words.push(0..text.len());
        let mut before = Vec::new();
        let mut most = 0;
        for stage in &self.stages {
            std::mem::swap(words, &mut before);
            words.clear();
            let mut effort = Effort::of(text.len());
            for range in before.drain(..) {
                stage.split(text, range, words, &mut effort)?;
            }
            most = most.max(Effort::of(text.len()).left() - effort.left());
        }
        Ok(most)
    }
}

fn compile(pattern: &str) -> Result<Bounded, TokenizerError> {
    Bounded::new(&[pattern], WHAT)
}

/// A pattern without the possessive quantifiers of the well-known pre-tokenizers (OpenAI's cl100k and
/// its heirs): what follows each of them cannot match what it took, so that giving back would change
/// nothing. (`{1,3}+` is none in the dialect of these files: it is `{1,3}`, once or more.)
fn without_possessive(pattern: &str) -> String {
    let harmless = [
        (r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}"),
        (r"\p{L}++|", r"\p{L}+|"),
        (r"[^\s\p{L}\p{N}]++[\r\n]", r"[^\s\p{L}\p{N}]+[\r\n]"),
        (r"[\r\n]*+|", r"[\r\n]*|"),
    ];
    let mut plain = pattern.to_owned();
    for (possessive, greedy) in harmless {
        plain = plain.replace(possessive, greedy);
    }
    plain
}

/// Whether a pattern has what only an engine that backtracks can do: looking around, atomic groups,
/// possessive quantifiers, `\G` and `\K`.
pub(super) fn backtracks(pattern: &str) -> bool {
    let mut in_class = false;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let starts = |syntax: &[&str]| syntax.iter().any(|syntax| rest.starts_with(syntax));
        match c {
            '\\' if !in_class && starts(&["\\G", "\\K"]) => return true,
            '\\' => {
                let escaped = after.chars().next().map_or(0, char::len_utf8);
                rest = after.get(escaped..).unwrap_or_default();
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            _ if starts(&["(?=", "(?!", "(?<", "(?>", "++", "?+", "*+"]) => return true,
            _ => {}
        }
        rest = after;
    }
    false
}

impl Compiled {
    /// Appends the words of `text[range]`.
    fn split(
        &self,
        text: &str,
        range: Range<usize>,
        words: &mut Vec<Range<usize>>,
        effort: &mut Effort,
    ) -> Result<(), TokenizerError> {
        let first = words.len();
        // Whether the last word pushed was a match.
        let mut was_match = None;
        // A match that waits for the word after it.
        let mut waiting: Option<usize> = None;
        let mut part = |part: Range<usize>, matches| {
            if part.is_empty() {
                return;
            }
            let matches = matches != self.invert;
            let joined = match self.behavior {
                Behavior::Isolated => false,
                Behavior::Removed => {
                    if !matches {
                        words.push(part);
                    }
                    return;
                }
                Behavior::Contiguous => was_match == Some(matches),
                Behavior::MergedWithPrevious => matches && was_match == Some(false),
                Behavior::MergedWithNext => {
                    if matches {
                        if let Some(start) = waiting.replace(part.start) {
                            words.push(start..part.start);
                        }
                    } else {
                        words.push(waiting.take().unwrap_or(part.start)..part.end);
                    }
                    return;
                }
            };
            match words.last_mut() {
                Some(last) if joined => last.end = part.end,
                _ => words.push(part),
            }
            was_match = Some(matches);
        };
        self.find(text, range.clone(), effort, &mut part)?;
        if let Some(start) = waiting {
            words.push(start..range.end);
        }
        debug_assert!(words.len() >= first);
        Ok(())
    }

    /// Hands out the parts of `text[range]` in order, each with whether it matches.
    fn find(
        &self,
        text: &str,
        range: Range<usize>,
        effort: &mut Effort,
        part: &mut impl FnMut(Range<usize>, bool),
    ) -> Result<(), TokenizerError> {
        // A slice, not a span of the whole: a word of the stage before must not see its neighbours.
        let piece = text.get(range.clone()).unwrap_or_default();
        let shift = range.start;
        let mut at = 0;
        let mut from = 0;
        while from < piece.len() {
            let input = Input::new(piece).range(from..);
            // Nearly always a word starts where the last one ended: look there first.
            let here = input.clone().anchored(Anchored::Yes);
            let found = match self.regex.search(&here, effort)? {
                Some(found) => Some(found),
                None => self.regex.search(&input, effort)?,
            };
            let Some(found) = found.filter(|found| !found.is_empty()) else {
                break;
            };
            let matched = piece.get(found.range()).unwrap_or_default();
            let is_space = found.pattern().as_usize() == 1;
            let follows = piece.get(found.end()..).unwrap_or_default();
            from = found.end();
            if let Inner::ThousandsUnless(regex) = &self.inner
                && regex
                    .search(&Input::new(follows).anchored(Anchored::Yes), effort)?
                    .is_some()
            {
                continue; // left to what lies between
            }
            let start = shift + found.start();
            if matches!(self.inner, Inner::Borders) {
                thousands(matched, |word| {
                    // The first group may be too short to have a border before it.
                    let border = found.start() + word.start;
                    let is_three = matched.get(word).is_some_and(|w| w.chars().count() == 3);
                    if border > at && is_three {
                        part(shift + at..shift + border, false);
                        at = border;
                    }
                });
                continue;
            }
            if found.start() > at {
                part(shift + at..start, false);
            }
            let end = match &self.inner {
                Inner::Spaces | Inner::Steps if is_space => {
                    let len = spaces_before(matched, follows);
                    if matches!(self.inner, Inner::Steps) {
                        steps(matched.get(..len).unwrap_or_default(), |word| {
                            part(start + word.start..start + word.end, true);
                        });
                    } else {
                        part(start..start + len, true);
                    }
                    found.start() + len
                }
                Inner::Thousands | Inner::ThousandsUnless(_) => {
                    thousands(matched, |word| {
                        part(start + word.start..start + word.end, true);
                    });
                    found.end()
                }
                _ => {
                    part(start..shift + found.end(), true);
                    found.end()
                }
            };
            at = end;
            from = end;
        }
        if at < piece.len() {
            part(shift + at..range.end, false);
        }
        Ok(())
    }
}

/// The length of white space that is a word of its own: without its last character if another word
/// follows, unless it is that one character.
fn spaces_before(spaces: &str, follows: &str) -> usize {
    let last = spaces.chars().next_back().map_or(0, char::len_utf8);
    if follows.is_empty() || spaces.len() == last {
        spaces.len()
    } else {
        spaces.len() - last
    }
}

/// Cuts `text` into pieces of [`STEPS`] characters, the largest that fits first.
fn steps(text: &str, mut word: impl FnMut(Range<usize>)) {
    let mut left = text.chars().count();
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut start = 0;
    for step in STEPS {
        while left >= step {
            let Some(end) = ends.nth(step - 1) else {
                return; // cannot be: `left` counts them
            };
            word(start..end);
            start = end;
            left -= step;
        }
    }
}

/// Cuts digits into groups of three characters, the first of which may have fewer.
fn thousands(digits: &str, mut word: impl FnMut(Range<usize>)) {
    let count = digits.chars().count();
    let mut start = 0;
    for (index, (at, _)) in digits.char_indices().enumerate() {
        if index > 0 && (count - index).is_multiple_of(3) {
            word(start..at);
            start = at;
        }
    }
    word(start..digits.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut<'t>(splitter: &Splitter, text: &'t str) -> Vec<&'t str> {
        let mut ranges = Vec::new();
        splitter.split(text, &mut ranges).unwrap();
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    fn commas(behavior: Behavior, invert: bool, text: &str) -> Vec<&str> {
        let mut splitter = Splitter::whole();
        splitter
            .add_pattern(",", behavior, invert)
            .unwrap()
            .unwrap();
        cut(&splitter, text)
    }

    #[test]
    fn matches_go_where_the_behavior_says() {
        let text = ",a,,b";
        use Behavior::*;
        assert_eq!(commas(Isolated, false, text), [",", "a", ",", ",", "b"]);
        assert_eq!(commas(Removed, false, text), ["a", "b"]);
        assert_eq!(commas(Removed, true, text), [",", ",", ","]);
        assert_eq!(
            commas(MergedWithPrevious, false, text),
            [",", "a,", ",", "b"]
        );
        assert_eq!(commas(MergedWithNext, false, text), [",a", ",", ",b"]);
        assert_eq!(commas(MergedWithNext, false, "a,"), ["a", ","]);
        assert_eq!(commas(Contiguous, false, text), [",", "a", ",,", "b"]);
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        let splitter = Splitter::new(&[Stage::Thousands("[0-9]+")]).unwrap();
        assert_eq!(
            cut(&splitter, "1234567 12,123"),
            ["1", "234", "567", " ", "12", ",", "123"]
        );
        let splitter = Splitter::new(&[Stage::ThousandsAtWordEnd]).unwrap();
        assert_eq!(cut(&splitter, "x1234-5678x"), ["x", "1", "234", "-5678x"]);
    }

    #[test]
    fn white_space_comes_in_steps() {
        let splitter = Splitter::new(&[Stage::SteppedSpaces("a")]).unwrap();
        let lengths = |text: &str| {
            cut(&splitter, text)
                .iter()
                .map(|w| w.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(&" ".repeat(1035)), [512, 512, 8, 2, 1]);
        assert_eq!(lengths(&format!("{}a", " ".repeat(8))), [4, 2, 1, 1, 1]);
        assert_eq!(lengths(&format!("{}a", " ".repeat(9))), [8, 1, 1]);
    }

    #[test]
    fn what_needs_backtracking_is_refused() {
        let mut splitter = Splitter::whole();
        for pattern in [r"a(?=b)", r"(?<!a)b", r"a++b", r"[a]*+", r"\Ga"] {
            let added = splitter.add_pattern(pattern, Behavior::Isolated, false);
            assert_eq!(added.unwrap(), None, "{pattern}");
        }
        for pattern in [r"[()*+,\-.?+]", r"\++", r"[^\]++]"] {
            let added = Splitter::whole().add_pattern(pattern, Behavior::Isolated, false);
            assert_eq!(added.unwrap(), Some(()), "{pattern}");
        }
        let cl100k = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+";
        let added = splitter.add_pattern(cl100k, Behavior::Isolated, false);
        assert_eq!(added.unwrap(), Some(()));
        assert_eq!(
            cut(&splitter, "It's  1234..\n"),
            ["It", "'s", " ", " ", "1234", "..\n"]
        );
    }
}
