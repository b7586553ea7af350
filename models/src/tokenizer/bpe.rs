//! Byte-level BPE: the merge rules of a vocabulary, in flat arrays sorted for lookup by pair of ids
//! (12 bytes a rule; no hash table, no strings). Rules come in as pairs of byte strings in the order
//! of their rank; a word goes in as bytes and comes out as token ids.

use super::{
    TokenizerError,
    merge::{Joined, Merger, NO_TOKEN, Pairs, Symbol},
    vocab::Vocab,
};

/// The merge rules.
pub(super) struct Bpe {
    /// The rules whose left token is `t` are `rules[starts[t]..starts[t + 1]]`.
    starts: Vec<u32>,
    /// Sorted by right token within one left token, each pair once.
    rules: Vec<Rule>,
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: [u32; 256],
    unk: Option<u32>,
    /// Whether a word that is a token is that token, even if the merges would not form it.
    whole_words: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    right: u32,
    rank: u32,
    id: u32,
}

/// Collects rules before they are sorted.
pub(super) struct BpeBuilder {
    /// Left token and rule, by ascending rank.
    rules: Vec<(u32, Rule)>,
    joined: Vec<u8>,
}

impl BpeBuilder {
    /// Room for `n_rules`.
    pub(super) fn with_capacity(n_rules: usize) -> Self {
        Self {
            rules: Vec::with_capacity(n_rules),
            joined: Vec::new(),
        }
    }

    /// Adds the rule of rank `index`, whose two halves `write` appends to a buffer, returning the
    /// length of the first.
    ///
    /// # Errors
    /// If a half or the whole is not in the vocabulary. A rule around a control token is left out:
    /// plain text must not become one.
    pub(super) fn push(
        &mut self,
        vocab: &Vocab,
        index: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Option<usize>,
    ) -> Result<(), TokenizerError> {
        let bad = |why| TokenizerError::BadMerge { index, why };
        self.joined.clear();
        let middle = write(&mut self.joined).ok_or(bad("it is not two pieces"))?;
        let (left, right) = self
            .joined
            .split_at_checked(middle)
            .ok_or(bad("it is not two pieces"))?;
        if left.is_empty() || right.is_empty() {
            return Err(bad("one of its pieces is empty"));
        }
        let rank = u32::try_from(index).map_err(|_| bad("there are too many"))?;
        let ids = [left, right, self.joined.as_slice()].map(|piece| {
            let reserved = || vocab.reserved_id(piece).map(|_| None);
            vocab.plain_id(piece).map(Some).or_else(reserved)
        });
        match ids {
            [Some(Some(left)), Some(Some(right)), Some(Some(id))] => {
                self.rules.push((left, Rule { right, rank, id }));
                Ok(())
            }
            [None, _, _] => Err(bad("its left piece is not a token")),
            [_, None, _] => Err(bad("its right piece is not a token")),
            [_, _, None] => Err(bad("what it makes is not a token")),
            _ => Ok(()),
        }
    }

    /// Sorts the rules for lookup.
    pub(super) fn build(self, vocab: &Vocab, unk: Option<u32>, whole_words: bool) -> Bpe {
        // Counting sort by left token; it keeps the order of ranks within one.
        let mut starts = vec![0u32; vocab.len() + 1];
        for &(left, _) in &self.rules {
            if let Some(count) = starts.get_mut(left as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut rules = vec![
            Rule {
                right: NO_TOKEN,
                rank: 0,
                id: NO_TOKEN
            };
            self.rules.len()
        ];
        for &(left, rule) in &self.rules {
            if let Some(at) = next.get_mut(left as usize) {
                if let Some(slot) = rules.get_mut(*at as usize) {
                    *slot = rule;
                }
                *at += 1;
            }
        }
        for bounds in starts.windows(2) {
            if let &[start, end] = bounds
                && let Some(same_left) = rules.get_mut(start as usize..end as usize)
            {
                // Equal pairs stay in the order of their ranks, and a search finds the first.
                same_left.sort_unstable_by_key(|rule| (rule.right, rule.rank));
            }
        }
        let mut byte_tokens = [NO_TOKEN; 256];
        for (byte, token) in (0u8..=255).zip(&mut byte_tokens) {
            *token = vocab.plain_id(&[byte]).unwrap_or(NO_TOKEN);
        }
        Bpe {
            starts,
            rules,
            byte_tokens,
            unk,
            whole_words,
        }
    }
}

impl Bpe {
    /// Appends the tokens of one word, which starts at byte `offset` of its piece of text.
    pub(super) fn encode_word(
        &self,
        vocab: &Vocab,
        word: &[u8],
        offset: usize,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if self.whole_words
            && let Some(id) = vocab.plain_id(word)
        {
            out.push(id);
            return Ok(());
        }
        merger.clear();
        for &byte in word {
            let token = self
                .byte_tokens
                .get(byte as usize)
                .copied()
                .unwrap_or(NO_TOKEN);
            merger.push(token, 1);
        }
        for symbol in merger.merge(word, self) {
            let id = if symbol.id == NO_TOKEN {
                self.unk
            } else {
                Some(symbol.id)
            };
            let offset = offset + symbol.start as usize;
            out.push(id.ok_or(TokenizerError::Unrepresentable { offset })?);
        }
        Ok(())
    }
}

impl Pairs for Bpe {
    fn joined(&self, _word: &[u8], left: &Symbol, right: &Symbol) -> Option<Joined> {
        let start = *self.starts.get(left.id as usize)? as usize;
        let end = *self.starts.get(left.id as usize + 1)? as usize;
        let rules = self.rules.get(start..end)?;
        let at = rules.partition_point(|rule| rule.right < right.id);
        let rule = rules.get(at).filter(|rule| rule.right == right.id)?;
        Some(Joined {
            rank: rule.rank,
            id: rule.id,
        })
    }
}
