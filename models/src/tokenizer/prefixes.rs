//! All pieces that a text begins with, shortest first: what longest-match and best-path tokenizers
//! ask at every place. The vocabulary's index answers whether some bytes are a piece; a filter of
//! hashed beginnings says when no longer piece can follow. It is two bits a byte of vocabulary or
//! little more, and built in one pass, where a trie of 250,000 pieces would take a second.

use super::vocab::Vocab;

/// Which beginnings the pieces of a vocabulary have.
pub(super) struct Prefixes {
    /// A bit for the hash of each beginning of a piece.
    begins: Vec<u64>,
    /// A bit for the hash of each piece.
    ends: Vec<u64>,
    /// Length of the longest piece in bytes, if it is not longer than [`LONGEST`].
    longest: usize,
}

/// Bits of each filter for each byte of vocabulary: one in four answers is wrong at worst, which
/// costs time and nothing else.
const BITS_PER_BYTE: usize = 4;

/// Longer pieces are not found, in bytes: no vocabulary has any, and one made to hang a reader could.
const LONGEST: usize = 256;

/// The hash of a text with one more byte: every bit of both reaches the upper half, which is used.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

const START: u64 = 0x243f_6a88_85a3_08d3;

fn place(bits: &[u64], hash: u64) -> (usize, u64) {
    // The number of words is a power of two.
    let word = (hash >> 6) as usize & bits.len().wrapping_sub(1);
    (word, 1 << (hash & 63))
}

fn set(bits: &mut [u64], hash: u64) {
    let (word, bit) = place(bits, hash);
    if let Some(word) = bits.get_mut(word) {
        *word |= bit;
    }
}

fn is_set(bits: &[u64], hash: u64) -> bool {
    let (word, bit) = place(bits, hash);
    bits.get(word).is_some_and(|word| word & bit != 0)
}

impl Prefixes {
    /// Those of the tokens that plain text may become.
    pub(super) fn new(vocab: &Vocab) -> Self {
        let plain = || {
            vocab
                .kinds()
                .filter(|(_, kind)| kind.is_plain())
                .map(|(id, _)| vocab.piece(id))
        };
        let n_bytes: usize = plain().map(<[u8]>::len).sum();
        let n_words = (n_bytes * BITS_PER_BYTE / 64).next_power_of_two().max(16);
        let mut begins = vec![0; n_words];
        let mut ends = vec![0; n_words];
        let mut longest = 0;
        for piece in plain() {
            let mut hash = START;
            for &byte in piece {
                hash = step(hash, byte);
                set(&mut begins, hash);
            }
            if !piece.is_empty() {
                set(&mut ends, hash);
            }
            longest = longest.max(piece.len());
        }
        Self {
            begins,
            ends,
            longest: longest.min(LONGEST),
        }
    }

    /// The pieces that `text` begins with, each as its length in bytes and its token, shortest first.
    pub(super) fn of<'a>(
        &'a self,
        vocab: &'a Vocab,
        text: &'a [u8],
    ) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut hash = START;
        text.iter()
            .take(self.longest)
            .enumerate()
            .map_while(move |(at, &byte)| {
                hash = step(hash, byte);
                is_set(&self.begins, hash).then_some((at + 1, hash))
            })
            .filter_map(move |(len, hash)| {
                if !is_set(&self.ends, hash) {
                    return None;
                }
                Some((len, vocab.plain_id(text.get(..len)?)?))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::vocab::TokenKind;

    #[test]
    fn exactly_the_pieces_of_the_vocabulary_are_found() {
        let pieces = ["a", "ab", "abcd", "b", "é", "control"];
        let mut vocab = Vocab::with_capacity(pieces.len(), 0);
        for piece in pieces {
            let kind = if piece == "control" {
                TokenKind::Control
            } else {
                TokenKind::Normal
            };
            vocab
                .push(kind, |out| out.extend_from_slice(piece.as_bytes()))
                .unwrap();
        }
        let prefixes = Prefixes::new(&vocab);
        let of = |text: &str| prefixes.of(&vocab, text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("abcde"), [(1, 0), (2, 1), (4, 2)]);
        assert_eq!(of("abcx"), [(1, 0), (2, 1)]);
        assert_eq!(of("éa"), [(2, 4)]);
        assert_eq!(of("x"), []);
        assert_eq!(of("control"), []);
        assert_eq!(of(""), []);
    }
}
