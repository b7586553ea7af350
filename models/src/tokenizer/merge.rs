//! Merging: a word starts as a row of small symbols, and neighbours are joined, best pair first and
//! leftmost among equals, until no pair can be. Byte-pair encoding (BPE) and SentencePiece's BPE
//! differ only in what makes a pair good, which is what [`Pairs`] says. O(n log n) in the length of
//! the word, however hostile.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A part of the word that is one token, or (SentencePiece) a character without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// The token, or [`NO_TOKEN`].
    pub(super) id: u32,
    /// Where it starts in the word, in bytes.
    pub(super) start: u32,
    /// Its length in bytes; 0 once it was joined to its left neighbour.
    pub(super) len: u32,
    prev: u32,
    next: u32,
}

/// A symbol without a token. Vocabularies are limited to fewer tokens than this.
pub(super) const NO_TOKEN: u32 = u32::MAX;
const NO_SYMBOL: u32 = u32::MAX;

/// A pair that may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joined {
    /// Smaller is better.
    pub(super) rank: u32,
    /// The token that the pair becomes.
    pub(super) id: u32,
}

/// Which neighbours may be joined, and how good that is.
pub(super) trait Pairs {
    /// What `left` and `right`, neighbours in `word`, may become.
    fn joined(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<Joined>;
}

/// A candidate; ordered by rank, then from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    right: u32,
    id: u32,
    /// The length of the two together: it has changed if either was joined to another meanwhile.
    len: u32,
}

/// Working memory, kept from word to word.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Starts a new word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Appends a symbol of `len` bytes to the word.
    pub(super) fn push(&mut self, id: u32, len: u32) {
        let start = self.symbols.last().map_or(0, |last| last.start + last.len);
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let prev = index.checked_sub(1).unwrap_or(NO_SYMBOL);
        self.symbols.push(Symbol {
            id,
            start,
            len,
            prev,
            next: NO_SYMBOL,
        });
    }

    /// Joins what can be joined, and returns the symbols that are left, in order.
    pub(super) fn merge(
        &mut self,
        word: &[u8],
        pairs: &impl Pairs,
    ) -> impl Iterator<Item = Symbol> {
        for left in 1..self.symbols.len() as u32 {
            self.propose(word, pairs, left - 1, left);
        }
        while let Some(Reverse(best)) = self.queue.pop() {
            let (Some(&left), Some(&right)) = (
                self.symbols.get(best.left as usize),
                self.symbols.get(best.right as usize),
            ) else {
                continue; // cannot be: symbols are never removed
            };
            if left.len == 0 || right.len == 0 || left.len + right.len != best.len {
                continue; // one of them has been joined to another since
            }
            if let Some(symbol) = self.symbols.get_mut(best.left as usize) {
                *symbol = Symbol {
                    id: best.id,
                    len: best.len,
                    next: right.next,
                    ..left
                };
            }
            if let Some(symbol) = self.symbols.get_mut(best.right as usize) {
                symbol.len = 0;
            }
            if let Some(symbol) = self.symbols.get_mut(right.next as usize) {
                symbol.prev = best.left;
            }
            self.propose(word, pairs, left.prev, best.left);
            self.propose(word, pairs, best.left, right.next);
        }
        self.symbols.iter().copied().filter(|symbol| symbol.len > 0)
    }

    fn propose(&mut self, word: &[u8], pairs: &impl Pairs, left: u32, right: u32) {
        let (Some(a), Some(b)) = (
            self.symbols.get(left as usize),
            self.symbols.get(right as usize),
        ) else {
            return; // no neighbour on that side
        };
        if let Some(Joined { rank, id }) = pairs.joined(word, a, b) {
            self.queue.push(Reverse(Candidate {
                rank,
                left,
                right,
                id,
                len: a.len + b.len,
            }));
        }
    }
}
