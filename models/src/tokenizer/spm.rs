//! SentencePiece's BPE, as Llama 2, Mistral and Gemma use it: no list of merges, any two neighbours
//! whose concatenation is a piece may be joined, the highest score first, leftmost among equals
//! (`bpe_model.cc` of SentencePiece). Characters without a piece become byte tokens. A text comes in
//! with plain spaces (the `▁` of the files is a space in hob's vocabulary) and leaves as token ids.

use super::{
    TokenizerError,
    merge::{Joined, Merger, NO_TOKEN, Pairs, Symbol},
    vocab::{TokenKind, Vocab},
};

/// What the vocabulary alone does not say.
pub(super) struct Spm {
    /// For each token its score, turned into a rank: smaller is better.
    ranks: Vec<u32>,
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: [u32; 256],
    unk: Option<u32>,
    /// Whether some piece has a space after another character, so that words may be joined.
    joins_words: bool,
}

impl Spm {
    /// `scores` has one entry for each token, `byte_tokens` the token of each byte.
    pub(super) fn new(
        vocab: &Vocab,
        scores: &[f32],
        byte_tokens: [u32; 256],
        unk: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        if scores.len() != vocab.len() {
            return Err(TokenizerError::LengthMismatch {
                what: "tokenizer.ggml.scores",
                found: scores.len(),
                expected: vocab.len(),
            });
        }
        let joins_words = vocab.kinds().any(|(id, kind)| {
            kind == TokenKind::Normal
                && vocab
                    .piece(id)
                    .windows(2)
                    .any(|two| matches!(two, [a, b' '] if *a != b' '))
        });
        Ok(Self {
            ranks: scores.iter().map(|&s| rank(s)).collect(),
            byte_tokens,
            unk,
            joins_words,
        })
    }

    /// Appends the tokens of `text`, in which spaces stand for `▁`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if self.joins_words {
            return self.encode_word(vocab, text, 0, merger, out);
        }
        // No piece crosses the border between a character and a space after it: the words are
        // independent, and short words merge faster than one long text.
        let mut start = 0;
        let bytes = text.as_bytes();
        for end in memchr::memchr_iter(b' ', bytes) {
            if end > start && bytes.get(end - 1) != Some(&b' ') {
                let word = text.get(start..end).unwrap_or_default();
                self.encode_word(vocab, word, start, merger, out)?;
                start = end;
            }
        }
        self.encode_word(
            vocab,
            text.get(start..).unwrap_or_default(),
            start,
            merger,
            out,
        )
    }

    fn encode_word(
        &self,
        vocab: &Vocab,
        word: &str,
        offset: usize,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        merger.clear();
        let mut buffer = [0; 4];
        for c in word.chars() {
            let piece = c.encode_utf8(&mut buffer).as_bytes();
            merger.push(
                vocab.plain_id(piece).unwrap_or(NO_TOKEN),
                piece.len() as u32,
            );
        }
        let pairs = SpmPairs { spm: self, vocab };
        let word = word.as_bytes();
        for symbol in merger.merge(word, &pairs) {
            if symbol.id != NO_TOKEN {
                out.push(symbol.id);
                continue;
            }
            let start = symbol.start as usize;
            let bytes = word
                .get(start..start + symbol.len as usize)
                .unwrap_or_default();
            let tokens = bytes.iter().map(|&b| {
                self.byte_tokens
                    .get(b as usize)
                    .copied()
                    .filter(|&token| token != NO_TOKEN)
            });
            if tokens.clone().all(|token| token.is_some()) {
                out.extend(tokens.flatten());
            } else {
                let offset = offset + start;
                out.push(self.unk.ok_or(TokenizerError::Unrepresentable { offset })?);
            }
        }
        Ok(())
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
