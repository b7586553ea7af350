//! Regular expressions of a model's files, which are hostile input: searched by an automaton that is built
//! as it is needed, so in time linear in what a search looks at, and with all that a text's searches look
//! at counted. A pattern goes in, matches come out, or an error when the pattern is one that reads on and
//! on for each match (`.*x|.` on a text without `x` is quadratic in any engine), or makes the automaton
//! explode. What the bounds are does not depend on the machine, so neither does the error.

use std::sync::Arc;

use regex_automata::hybrid::{BuildError, dfa, regex};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Input, Match};

use super::TokenizerError;

/// Longest pattern, in bytes. The longest of the models known in 2026 has under 4 KB.
const MAX_PATTERN: usize = 1 << 14;
/// Largest automaton before it is made deterministic, in bytes. Of hob's own patterns, which are those of
/// nearly all models, the largest has 334 KiB.
const MAX_NFA: usize = 2 << 20;
/// Memory of the deterministic one. Those of hob's own patterns never fill it, whatever the text.
const CACHE: usize = 16 << 20;
/// How often that memory may be emptied and filled again before the pattern is given up.
const CLEARS: usize = 4;

/// What one text's searches may look at in all, in bytes: this much, and [`EACH`] for each of its own.
/// Honest patterns look at each byte two or three times.
const ANY: usize = 1 << 24;
const EACH: usize = 64;

/// What is left for one text.
pub(super) struct Effort(usize);

impl Effort {
    /// That of a text of so many bytes.
    pub(super) fn of(len: usize) -> Effort {
        Effort(ANY.saturating_add(len.saturating_mul(EACH)))
    }

    /// What is left, in bytes.
    pub(super) fn left(&self) -> usize {
        self.0
    }
}

type Caches = Pool<regex::Cache, Box<dyn Fn() -> regex::Cache + Send + Sync>>;

/// Patterns to search for; the first that matches at a place counts.
pub(super) struct Bounded {
    regex: Arc<regex::Regex>,
    caches: Caches,
    /// Whose pattern it is, for messages.
    what: &'static str,
}

impl Bounded {
    /// Compiles patterns; `what` is whose they are.
    ///
    /// # Errors
    /// They are malformed, too large, or need a word's border as Unicode defines it (`\b`).
    pub(super) fn new(patterns: &[&str], what: &'static str) -> Result<Self, TokenizerError> {
        let refused = |why: String| TokenizerError::Pattern { what, why };
        if let Some(long) = patterns.iter().find(|p| p.len() > MAX_PATTERN) {
            let found = long.len();
            return Err(refused(format!(
                "the pattern has {found} bytes, and at most {MAX_PATTERN} are read; use another model file"
            )));
        }
        let dfa = dfa::Config::new()
            .cache_capacity(CACHE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CLEARS))
            .minimum_bytes_per_state(Some(64));
        let regex = regex::Builder::new()
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_NFA)))
            .dfa(dfa)
            .build_many(patterns)
            .map_err(|e| refused(reason(&e)))?;
        let regex = Arc::new(regex);
        let made = Arc::clone(&regex);
        Ok(Self {
            caches: Pool::new(Box::new(move || made.create_cache())),
            regex,
            what,
        })
    }

    /// The leftmost match in `input`, with its pattern.
    ///
    /// # Errors
    /// The effort is used up, or the automaton explodes.
    pub(super) fn search(
        &self,
        input: &Input<'_>,
        effort: &mut Effort,
    ) -> Result<Option<Match>, TokenizerError> {
        let mut cache = self.caches.get();
        let seen = |cache: &regex::Cache| {
            let (forward, reverse) = cache.as_parts();
            [forward, reverse].map(|c| (c.search_total_len(), c.clear_count()))
        };
        let before = seen(&cache);
        let found = self.regex.try_search(&mut cache, input);
        let spent = before.iter().zip(seen(&cache)).map(|(before, after)| {
            match after.1.saturating_sub(before.1) {
                0 => after.0.saturating_sub(before.0),
                // Counting began anew, and states are dear.
                clears => after.0.saturating_add(clears.saturating_mul(CACHE / 4)),
            }
        });
        effort.0 = effort.0.saturating_sub(spent.sum());
        match found {
            Ok(found) if effort.0 > 0 => Ok(found),
            _ => Err(TokenizerError::Pattern {
                what: self.what,
                why: "the pattern takes too long on this text: it reads ahead again and again; shorten the text, or use another model file".to_owned(),
            }),
        }
    }
}

/// What is wrong with a pattern, on one line and without the pattern: it may be long, and is hostile.
fn reason(error: &BuildError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // The parser shows the pattern first, and says what is wrong in a last line.
    let text = innermost.to_string();
    let last = text.lines().next_back().unwrap_or_default();
    let why = last.strip_prefix("error: ").unwrap_or(last);
    format!(
        "the pattern cannot be used: {}; use another model file",
        why.chars().take(200).collect::<String>().escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leftmost_match_is_found_and_what_it_took_is_counted() {
        let regex = Bounded::new(&["b+", r"\s+"], "test").unwrap();
        let text = "aab  bbb";
        let mut effort = Effort::of(text.len());
        let all = effort.left();
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(next) = regex
            .search(&Input::new(text).range(at..), &mut effort)
            .unwrap()
        {
            found.push((next.pattern().as_usize(), next.range()));
            at = next.end();
        }
        assert_eq!(found, [(0, 2..3), (1, 3..5), (0, 5..8)]);
        let spent = all - effort.left();
        assert!((text.len()..10 * text.len()).contains(&spent), "{spent}");
    }
}
