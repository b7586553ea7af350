//! SentencePiece's BPE, as Llama 2, Mistral and Gemma use it: no list of merges, any two neighbours
//! whose concatenation is a piece may be joined, the highest score first, leftmost among equals
//! (`bpe_model.cc` of SentencePiece). Scores come in from the file, texts as [`Chars`] takes them, and
//! token ids go out.

use super::{
    TokenizerError,
    chars::Chars,
    merge::{Joined, Merger, Pairs, Symbol},
    vocab::Vocab,
};

/// What the vocabulary alone does not say.
pub(super) struct Spm {
    /// For each token its score, turned into a rank: smaller is better.
    ranks: Vec<u32>,
    chars: Chars,
}

impl Spm {
    /// `scores` has one entry for each token.
    pub(super) fn new(scores: &[f32], chars: Chars) -> Self {
        Self {
            ranks: scores.iter().map(|&score| rank(score)).collect(),
            chars,
        }
    }

    /// Appends the tokens of `text`, in which spaces stand for `▁`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.chars
            .encode(vocab, text, 0, &SpmPairs { spm: self, vocab }, merger, out)
    }
}

struct SpmPairs<'a> {
    spm: &'a Spm,
    vocab: &'a Vocab,
}

impl Pairs for SpmPairs<'_> {
    fn joined(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<Joined> {
        let start = left.start as usize;
        let end = start + left.len as usize + right.len as usize;
        let id = self.vocab.plain_id(word.get(start..end)?)?;
        Some(Joined {
            rank: *self.spm.ranks.get(id as usize)?,
            id,
        })
    }
}

/// A number that orders as the scores do, the highest score first; equal scores have equal ranks.
/// A score that is not a number is the lowest of all.
fn rank(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    let bits = (score + 0.0).to_bits(); // + 0.0: minus zero equals zero
    // IEEE 754 numbers order as sign-magnitude integers.
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_order_as_scores_do() {
        let descending = [
            f32::INFINITY,
            1e9,
            1.0,
            1e-40,
            0.0,
            -1e-40,
            -1.0,
            -1e9,
            f32::NEG_INFINITY,
        ];
        for two in descending.windows(2) {
            assert!(rank(two[0]) < rank(two[1]), "{two:?}");
        }
        assert_eq!(rank(0.0), rank(-0.0));
        assert!(rank(f32::NAN) > rank(f32::NEG_INFINITY));
    }
}
