//! Unigram tokenizers, as T5 and XLM-RoBERTa use them: each piece has a score, its log probability,
//! and of all ways to cut a text the one with the highest sum is taken (Kudo 2018, "Subword
//! Regularization"; the search is SentencePiece's `unigram_model.cc`). A text comes in as its
//! normalizer made it, with spaces for `▁`, and token ids go out. PLaMo 2 is the same with scores
//! rounded to integers, read from the end, and bytes for what has no piece.

use super::{
    TokenizerError,
    chars::words,
    merge::NO_TOKEN,
    prefixes::Prefixes,
    vocab::{TokenKind, Vocab},
};

/// What the vocabulary alone does not say.
pub(super) struct Unigram {
    prefixes: Prefixes,
    /// One for each token.
    scores: Vec<f32>,
    /// The score of a character that is no piece.
    unknown_score: f64,
    unk: Option<u32>,
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: Box<[u32; 256]>,
    joins_words: bool,
    order: Order,
}

/// How the best path is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// From the start; of equal sums the one with the longer last piece. Unknown characters in a row
    /// are one token.
    Forward,
    /// PLaMo 2's: from the end, scores in ten thousandths; of equal sums the one with the longer
    /// first piece.
    BackwardRounded,
}

/// How much worse an unknown character is than the worst piece (SentencePiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f32 = 10.0;
/// The score of an unknown character, and the bound of scores that count, in PLaMo 2's units.
const PLAMO_UNKNOWN: f64 = -10_000_000.0;
const PLAMO_LOWEST: f64 = -20_000_000.0;
const PLAMO_UNITS: f64 = 1e4;

/// The best way to a place: from `from`, by the token `id`.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    other: u32,
    id: u32,
}

impl Best {
    /// No way leads there.
    const NOWHERE: Best = Best {
        score: f64::NEG_INFINITY,
        other: 0,
        id: NO_TOKEN,
    };
}

impl Unigram {
    /// `scores` has one entry for each token; `byte_tokens` has the token of each byte, or
    /// [`NO_TOKEN`].
    pub(super) fn new(
        vocab: &Vocab,
        scores: Vec<f32>,
        unk: Option<u32>,
        byte_tokens: [u32; 256],
        order: Order,
    ) -> Self {
        let normal = vocab
            .kinds()
            .zip(&scores)
            .filter(|((_, kind), score)| *kind == TokenKind::Normal && score.is_finite());
        let lowest = normal.map(|(_, &score)| score).fold(f32::MAX, f32::min);
        Self {
            prefixes: Prefixes::new(vocab),
            scores,
            unknown_score: match order {
                Order::Forward => f64::from(lowest - UNKNOWN_PENALTY),
                Order::BackwardRounded => PLAMO_UNKNOWN,
            },
            unk,
            byte_tokens: Box::new(byte_tokens),
            joins_words: vocab.joins_words(),
            order,
        }
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut best = Vec::new();
        let mut was_unknown = false;
        for (start, word) in words(text, self.joins_words) {
            match self.order {
                Order::Forward => self.find_forward(vocab, word, &mut best),
                Order::BackwardRounded => self.find_backward(vocab, word, &mut best),
            }
            self.append(word, start, &best, &mut was_unknown, out)?;
        }
        Ok(())
    }

    /// The score of a token as it counts; `None` if it does not.
    fn score(&self, vocab: &Vocab, id: u32) -> Option<f64> {
        let score = f64::from(*self.scores.get(id as usize)?);
        match self.order {
            Order::Forward if vocab.kind(id) == Some(TokenKind::UserDefined) => Some(0.0),
            Order::Forward => Some(score).filter(|score| !score.is_nan()),
            Order::BackwardRounded => {
                let units = (score * PLAMO_UNITS).round();
                Some(units).filter(|&units| units > PLAMO_LOWEST && units.is_finite())
            }
        }
    }

    /// For each end of a piece the best way there, then turned round: for each place the next.
    fn find_forward(&self, vocab: &Vocab, word: &str, best: &mut Vec<Best>) {
        best.clear();
        best.resize(word.len() + 1, Best::NOWHERE);
        if let Some(start) = best.first_mut() {
            start.score = 0.0;
        }
        for (at, c) in word.char_indices() {
            let Some(&Best { score: before, .. }) = best.get(at) else {
                break; // cannot be: `at` is in the word
            };
            let mut improve = |end: usize, id: u32, score: f64| {
                if let Some(champion) = best.get_mut(end)
                    && score > champion.score
                {
                    *champion = Best {
                        score,
                        other: at as u32,
                        id,
                    };
                }
            };
            let mut is_known = false;
            let rest = word.as_bytes().get(at..).unwrap_or_default();
            for (len, id) in self.prefixes.of(vocab, rest) {
                if let Some(score) = self.score(vocab, id) {
                    is_known |= len == c.len_utf8();
                    improve(at + len, id, before + score);
                }
            }
            if !is_known {
                improve(at + c.len_utf8(), NO_TOKEN, before + self.unknown_score);
            }
        }
        // From the end back to the start, each place on the way learns what follows it.
        let mut end = word.len();
        let mut step = best.get(end).copied();
        while let Some(Best { other, id, .. }) = step {
            if end == 0 {
                break;
            }
            let start = other as usize;
            step = best.get(start).copied();
            if let Some(place) = best.get_mut(start) {
                place.other = end as u32;
                place.id = id;
            }
            end = start;
        }
    }

    /// For each place the best way to the end.
    fn find_backward(&self, vocab: &Vocab, word: &str, best: &mut Vec<Best>) {
        best.clear();
        best.resize(word.len() + 1, Best::NOWHERE);
        if let Some(end) = best.last_mut() {
            end.score = 0.0;
        }
        for (at, c) in word.char_indices().rev() {
            let rest = word.as_bytes().get(at..).unwrap_or_default();
            let from = |len: usize| best.get(at + len).map_or(f64::NEG_INFINITY, |b| b.score);
            let next = at + c.len_utf8();
            let mut champion = Best {
                score: from(c.len_utf8()) + self.unknown_score,
                other: next as u32,
                id: NO_TOKEN,
            };
            for (len, id) in self.prefixes.of(vocab, rest) {
                if let Some(score) = self.score(vocab, id) {
                    let score = from(len) + score;
                    // The longer piece wins: they come shortest first.
                    if score >= champion.score {
                        champion = Best {
                            score,
                            other: (at + len) as u32,
                            id,
                        };
                    }
                }
            }
            if let Some(place) = best.get_mut(at) {
                *place = champion;
            }
        }
    }

    /// Appends the tokens of the way from the start of `word`, which is at `offset` of its text.
    fn append(
        &self,
        word: &str,
        offset: usize,
        best: &[Best],
        was_unknown: &mut bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut at = 0;
        while at < word.len() {
            let Some(&Best { other, id, .. }) = best.get(at) else {
                break; // cannot be: every place on the way is in the word
            };
            let end = (other as usize).max(at + 1);
            let follows_unknown = std::mem::take(was_unknown);
            let bytes = word.as_bytes().get(at..end).unwrap_or_default();
            let tokens = bytes.iter().map(|&byte| {
                let token = self.byte_tokens.get(byte as usize).copied();
                token.filter(|&token| token != NO_TOKEN)
            });
            if id != NO_TOKEN {
                out.push(id);
            } else if tokens.clone().all(|token| token.is_some()) {
                out.extend(tokens.flatten());
            } else {
                let offset = offset + at;
                let unk = self.unk.ok_or(TokenizerError::Unrepresentable { offset })?;
                if !follows_unknown {
                    out.push(unk);
                }
                *was_unknown = true;
            }
            at = end;
        }
        Ok(())
    }
}
