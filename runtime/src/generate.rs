//! What generation is asked for and what it reports; stop strings across token borders.

use crate::logprob::LogProb;
use crate::sampling::Sampling;
use hob_kernels::private::WipedText;
use hob_models::reasoning::ReasoningSplitter;
use std::fmt;

/// What to generate. Shown without the stop strings, which may be a user's words.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the generation; they are not part of what is reported. Not looked for in
    /// reasoning that is told apart.
    pub stop: Vec<String>,
    /// Report the log-probability of each token and of this many alternatives.
    pub log_probs: Option<usize>,
    /// Go on past end-of-generation tokens (for measuring).
    pub ignore_end: bool,
    /// Tells reasoning from the answer ([`crate::ChatPrompt::reasoning`]): it is reported as
    /// [`Event::Reasoning`]. `None` reports all text as it is.
    pub reasoning: Option<ReasoningSplitter>,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            sampling: Sampling::default(),
            max_tokens: usize::MAX,
            stop: Vec::new(),
            log_probs: None,
            ignore_end: false,
            reasoning: None,
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("sampling", &self.sampling)
            .field("max_tokens", &self.max_tokens)
            .field("stop", &format_args!("{} texts", self.stop.len()))
            .field("log_probs", &self.log_probs)
            .field("ignore_end", &self.ignore_end)
            .field("reasoning", &self.reasoning)
            .finish()
    }
}

/// A piece of progress. Shown without what it says.
pub enum Event<'a> {
    /// A token was chosen.
    Token {
        /// Its id.
        id: u32,
        /// Its log-probability, if asked for.
        logprob: Option<LogProb>,
        /// The most probable tokens, in descending order, if asked for.
        top: &'a [LogProb],
    },
    /// Text is complete up to here: whole characters, and no part of a stop string.
    Text(&'a str),
    /// The same of what the model thinks, if the request tells reasoning apart.
    Reasoning(&'a str),
    /// The context was full and its policy dropped this many tokens.
    Dropped {
        /// How many.
        tokens: usize,
    },
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Token { .. } => f.write_str("Token"),
            Event::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Event::Reasoning(text) => write!(f, "Reasoning({} bytes)", text.len()),
            Event::Dropped { tokens } => write!(f, "Dropped({tokens} tokens)"),
        }
    }
}

/// Why generation ended. Shown without the stop string.
#[derive(Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model chose this end-of-generation token.
    EndOfTurn(u32),
    /// The text reached this stop string.
    Stop(String),
    /// The request's limit of tokens.
    MaxTokens,
    /// No position is left in the session's context.
    ContextFull,
    /// Cancelled, or broken off by the callback.
    Cancelled,
}

impl fmt::Debug for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Finish::EndOfTurn(_) => "EndOfTurn",
            Finish::Stop(_) => "Stop",
            Finish::MaxTokens => "MaxTokens",
            Finish::ContextFull => "ContextFull",
            Finish::Cancelled => "Cancelled",
        })
    }
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Tokens generated, without the end-of-generation token.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// Holds text back while it may yet become a stop string.
pub(crate) struct StopScan<'a> {
    stops: &'a [String],
    held: WipedText,
}

impl<'a> StopScan<'a> {
    pub(crate) fn new(stops: &'a [String]) -> StopScan<'a> {
        StopScan {
            stops,
            held: WipedText::default(),
        }
    }

    /// Takes more text; gives what is safe to show, and the stop string if one was reached.
    pub(crate) fn push(&mut self, text: &str) -> (WipedText, Option<String>) {
        self.held.push_str(text);
        let hit = self
            .stops
            .iter()
            .filter(|s| !s.is_empty())
            .filter_map(|s| self.held.find(s.as_str()).map(|at| (at, s)))
            .min_by_key(|&(at, s)| (at, s.len()));
        if let Some((at, stop)) = hit {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(stop.clone()));
        }
        // The longest end of the held text that begins some stop string.
        let hold = self
            .held
            .char_indices()
            .map(|(i, _)| i)
            .find(|&i| {
                self.held
                    .get(i..)
                    .is_some_and(|tail| self.stops.iter().any(|s| s.starts_with(tail)))
            })
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(hold).unwrap_or_default();
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// The end of the text: what was held back, and `rest`.
    pub(crate) fn finish(&mut self, rest: &str) -> WipedText {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything before the first stop string, whatever the pieces.
    fn oracle(text: &str, stops: &[String]) -> (String, bool) {
        match stops
            .iter()
            .filter(|s| !s.is_empty())
            .filter_map(|s| text.find(s.as_str()))
            .min()
        {
            Some(at) => (text[..at].to_owned(), true),
            None => (text.to_owned(), false),
        }
    }

    proptest! {
        #[test]
        fn text_ends_before_the_first_stop_string(
            pieces in prop::collection::vec("[abé]{0,3}", 0..12),
            stops in prop::collection::vec("[abé]{0,4}", 0..3),
        ) {
            let mut scan = StopScan::new(&stops);
            let (mut shown, mut stopped, mut seen) = (String::new(), false, String::new());
            for p in &pieces {
                seen.push_str(p);
                let (ready, hit) = scan.push(p);
                shown.push_str(&ready);
                if hit.is_some() { stopped = true; break; }
            }
            if !stopped { shown.push_str(&scan.finish("")); }
            prop_assert_eq!((shown, stopped), oracle(&seen, &stops));
        }
    }
}
