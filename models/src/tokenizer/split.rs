//! Pre-tokenizers: how a BPE vocabulary wants text to be cut into words before it merges. Each is
//! known by its name in `tokenizer.ggml.pre` and is one pattern or a short list of them, applied one
//! after the other: what matches is a word, and so is what lies between. Text comes in as `&str`,
//! words go out as byte ranges that cover it.
//!
//! Patterns come from the `tokenizer.json` files of the models, with one change: they end in
//! `\s+(?!\S)|\s+`, and a regular expression with look-ahead must backtrack. Here they end in `\s+`,
//! a pattern of its own, and a match of it that is followed by anything but the end gives its last
//! character back: the same words, found by an automaton in linear time on any text.

use std::ops::Range;

use regex_automata::{Anchored, Input, meta::Regex};

use super::TokenizerError;

/// Contractions, then words with one leading space, numbers, punctuation: OpenAI's GPT-2.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
/// Llama 3: words take any one leading sign, numbers have at most three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Qwen 2 and 3: as Llama 3, but each digit is a word.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Qwen 3.5: marks belong to the letters before them.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+";

/// A pattern of a pre-tokenizer.
enum Stage {
    /// The pattern, and spaces wherever it does not match.
    WithSpaces(&'static str),
    /// The pattern alone.
    Only(&'static str),
}
use Stage::{Only, WithSpaces};

/// A pre-tokenizer, as a name in `tokenizer.ggml.pre` defines it.
struct Pre {
    names: &'static [&'static str],
    stages: &'static [Stage],
    /// Whether a word that is a token is that token, whatever the merges say.
    whole_words: bool,
    /// Whether `<bos>` is added where the file does not say.
    add_bos: bool,
    /// Whether the text is brought into Unicode normal form C first.
    nfc: bool,
}

const PLAIN: Pre = Pre {
    names: &[],
    stages: &[],
    whole_words: false,
    add_bos: false,
    nfc: false,
};

/// All pre-tokenizers that hob has; those of the reference that are missing are refused by name.
static PRES: &[Pre] = &[
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        stages: &[WithSpaces(GPT2)],
        ..PLAIN
    },
    Pre {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        stages: &[Only(r"\p{N}"), WithSpaces(GPT2)],
        ..PLAIN
    },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        stages: &[WithSpaces(LLAMA3)],
        whole_words: true,
        add_bos: true,
        ..PLAIN
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen"],
        stages: &[WithSpaces(QWEN2)],
        nfc: true,
        ..PLAIN
    },
    Pre {
        names: &["qwen35"],
        stages: &[WithSpaces(QWEN35)],
        nfc: true,
        ..PLAIN
    },
];

/// Cuts text into words.
pub(super) struct Splitter {
    stages: Vec<Compiled>,
}

/// What a pre-tokenizer's name says besides how to cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Whether a word that is a token is that token, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether `<bos>` is added where the file does not say.
    pub(super) add_bos: bool,
    /// Whether the text is brought into Unicode normal form C first.
    pub(super) nfc: bool,
}

struct Compiled {
    regex: Regex,
    /// Pattern 1 is `\s+`, whose matches give a character back.
    spaces: bool,
}

impl Splitter {
    /// The pre-tokenizer with this name in `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Result<(Self, Rules), TokenizerError> {
        let pre = PRES
            .iter()
            .find(|pre| pre.names.contains(&name))
            .ok_or_else(|| {
                let known: Vec<_> = PRES.iter().flat_map(|pre| pre.names).copied().collect();
                TokenizerError::UnknownPre {
                    name: name.to_owned(),
                    supported: known.join(", "),
                }
            })?;
        let mut splitter = Self::whole();
        for stage in pre.stages {
            match stage {
                WithSpaces(pattern) => splitter.add(pattern, true)?,
                Only(pattern) => splitter.add(pattern, false)?,
            }
        }
        let &Pre {
            whole_words,
            add_bos,
            nfc,
            ..
        } = pre;
        Ok((
            splitter,
            Rules {
                whole_words,
                add_bos,
                nfc,
            },
        ))
    }

    /// No cuts yet: all of a text is one word.
    pub(super) fn whole() -> Self {
        Self { stages: Vec::new() }
    }

    /// Cuts as GPT-2 does.
    pub(super) fn add_gpt2(&mut self) -> Result<(), TokenizerError> {
        self.add(GPT2, true)
    }

    /// Cuts each digit off, or each run of digits.
    pub(super) fn add_digits(&mut self, individual: bool) -> Result<(), TokenizerError> {
        self.add(if individual { r"\p{N}" } else { r"\p{N}+" }, false)
    }

    /// Cuts as a pattern of a `tokenizer.json` says; `None` if it needs more than a linear-time
    /// automaton.
    pub(super) fn add_pattern(&mut self, pattern: &str) -> Result<Option<()>, TokenizerError> {
        let spaces = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"];
        let body = spaces.iter().find_map(|end| pattern.strip_suffix(end));
        let plain = body.unwrap_or(pattern);
        let beyond = ["(?=", "(?!", "(?<", "(?>", "++", "?+", "*+", "\\G", "\\K"];
        if beyond.iter().any(|syntax| plain.contains(syntax)) {
            return Ok(None);
        }
        self.add(plain, body.is_some()).map(Some)
    }

    fn add(&mut self, pattern: &str, spaces: bool) -> Result<(), TokenizerError> {
        let built = if spaces {
            Regex::new_many(&[pattern, r"\s+"])
        } else {
            Regex::new(pattern)
        };
        let regex = built.map_err(|error| TokenizerError::Pattern {
            what: "pre-tokenizer",
            why: error.to_string(),
        })?;
        self.stages.push(Compiled { regex, spaces });
        Ok(())
    }

    /// Cuts `text` into words; the ranges go into `words`, in order, and cover the text.
    pub(super) fn split(&self, text: &str, words: &mut Vec<Range<usize>>) {
        words.clear();
        if text.is_empty() {
            return;
        }
        words.push(0..text.len());
        let mut before = Vec::new();
        for stage in &self.stages {
            std::mem::swap(words, &mut before);
            words.clear();
            for range in before.drain(..) {
                stage.split(text, range, words);
            }
        }
    }
}

impl Compiled {
    fn split(&self, text: &str, range: Range<usize>, words: &mut Vec<Range<usize>>) {
        // A slice, not a span of the whole: a word of the stage before must not see its neighbours.
        let piece = text.get(range.clone()).unwrap_or_default();
        let mut at = 0;
        while at < piece.len() {
            let input = Input::new(piece).range(at..);
            // Nearly always a word starts where the last one ended: look there first.
            let found = self
                .regex
                .search(&input.clone().anchored(Anchored::Yes))
                .or_else(|| self.regex.search(&input));
            let Some(found) = found.filter(|found| !found.is_empty()) else {
                break;
            };
            let mut end = found.end();
            if self.spaces && found.pattern().as_usize() == 1 && end < piece.len() {
                let matched = piece.get(found.range()).unwrap_or_default();
                let last = matched.chars().next_back().map_or(0, char::len_utf8);
                if matched.len() > last {
                    end -= last;
                }
            }
            if found.start() > at {
                words.push(range.start + at..range.start + found.start());
            }
            words.push(range.start + found.start()..range.start + end);
            at = end;
        }
        if at < piece.len() {
            words.push(range.start + at..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(pre: &str, text: &'t str) -> Vec<&'t str> {
        let mut ranges = Vec::new();
        Splitter::named(pre).unwrap().0.split(text, &mut ranges);
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn spaces_leave_their_last_one_to_the_word_after() {
        assert_eq!(words("gpt-2", "a   b"), ["a", "  ", " b"]);
        assert_eq!(words("gpt-2", "a \n\tb  "), ["a", " \n", "\t", "b", "  "]);
        assert_eq!(words("llama-bpe", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
        assert_eq!(
            words("llama-bpe", "a\tb \u{3000}c"),
            ["a", "\tb", " ", "\u{3000}c"]
        );
    }

    #[test]
    fn digits_group_as_each_pre_tokenizer_says() {
        assert_eq!(words("gpt-2", "x 12345"), ["x", " 12345"]);
        assert_eq!(words("smollm", "x  123"), ["x", "  ", "1", "2", "3"]);
        assert_eq!(words("llama-bpe", "x 12345"), ["x", " ", "123", "45"]);
        assert_eq!(words("qwen2", "x 12"), ["x", " ", "1", "2"]);
    }

    #[test]
    fn every_word_list_covers_its_text() {
        let text =
            "We've  got\r\n\r\n \u{85}3½ l\u{e9}mons, 日本語 \u{1f999}\u{200d}x __ 'Ll\u{17f}  ";
        for pre in PRES.iter().flat_map(|pre| pre.names) {
            assert_eq!(words(pre, text).concat(), text, "{pre}");
            assert!(
                words(pre, text).iter().all(|word| !word.is_empty()),
                "{pre}"
            );
            assert!(words(pre, "").is_empty());
        }
    }

    #[test]
    fn a_long_run_of_spaces_takes_linear_time() {
        let text = format!("{}x", " ".repeat(4_000_000));
        assert_eq!(words("llama-bpe", &text).len(), 2);
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        let error = Splitter::named("nonesuch").err().unwrap();
        assert!(error.to_string().contains("\"nonesuch\""), "{error}");
    }
}
