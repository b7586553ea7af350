//! WordPiece, BERT's tokenizer: a word is the longest piece that it begins with, then the longest
//! that the rest begins with, and so on; a word that cannot be cut so is unknown as a whole. Pieces
//! that begin a word begin with a space in hob's vocabulary, others do not. A word comes in as the
//! normalizer and the splitter made it, and token ids go out.

use super::{TokenizerError, prefixes::Prefixes, vocab::Vocab};

/// What the vocabulary alone does not say.
pub(super) struct WordPiece {
    prefixes: Prefixes,
    unk: u32,
    /// Longer words are unknown, in characters.
    longest: usize,
}

/// BERT's own limit (`max_input_chars_per_word`).
pub(super) const LONGEST_WORD: usize = 100;

impl WordPiece {
    pub(super) fn new(vocab: &Vocab, unk: u32, longest: usize) -> Self {
        Self {
            prefixes: Prefixes::new(vocab),
            unk,
            longest,
        }
    }

    /// Appends the tokens of one word.
    pub(super) fn encode_word(
        &self,
        vocab: &Vocab,
        word: &str,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let before = out.len();
        let too_long = word.chars().nth(self.longest).is_some();
        let word = format!(" {word}");
        let mut rest = word.as_bytes();
        while !rest.is_empty() {
            let longest = self.prefixes.of(vocab, rest).last();
            let Some((len, id)) = longest.filter(|_| !too_long) else {
                out.truncate(before);
                out.push(self.unk);
                break;
            };
            out.push(id);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

/// A piece as it is shown after others: without the space before punctuation and the ends of English
/// contractions, as BERT's own decoder has it.
pub(super) fn tidy(piece: &[u8]) -> &[u8] {
    match piece {
        b" ." | b" ?" | b" !" | b" ," | b" n't" | b" 'm" | b" 's" | b" 've" | b" 're" => {
            piece.get(1..).unwrap_or_default()
        }
        _ => piece,
    }
}
