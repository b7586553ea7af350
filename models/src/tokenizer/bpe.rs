//! Byte-pair encoding by a list of merges. A merge joins two pieces of text into a third, so it is a
//! token and the place where it is cut in two: a few numbers in flat arrays, found by way of the
//! vocabulary's own index, so that a list of 300,000 is ready in a few milliseconds. Merges come in
//! as pairs of byte strings in the order of their rank; a word goes in and comes out as token ids.
//! Words merge from bytes (GPT-2 and its heirs) or from characters (SentencePiece vocabularies that
//! Hugging Face turned into merges).

use rayon::prelude::*;

use super::{
    TokenizerError,
    chars::Chars,
    merge::{Joined, Merger, NO_TOKEN, Pairs, Symbol},
    vocab::Vocab,
};

/// The merge rules.
pub(super) struct Bpe {
    /// The rules that make token `t` are `rules[starts[t]..starts[t + 1]]`.
    starts: Vec<u32>,
    /// By left length, then rank, within one token.
    rules: Vec<Rule>,
    start: Start,
    whole: Whole,
}

/// Which words are tokens whatever the merges say, if the vocabulary has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// None.
    Never,
    /// Runs of line breaks.
    Newlines,
    /// All.
    Words,
}

/// What a word's symbols are before any merge.
pub(super) enum Start {
    /// Its bytes.
    Bytes {
        /// The token of each byte, or [`NO_TOKEN`].
        tokens: Box<[u32; 256]>,
        /// What stands for a byte without a token; if nothing does, it is left out, as the reference
        /// implementations do.
        unk: Option<u32>,
    },
    /// Its characters.
    Chars(Chars),
}

impl Start {
    /// Bytes, by the tokens that `vocab` has for them.
    pub(super) fn bytes(vocab: &Vocab, unk: Option<u32>) -> Self {
        let mut tokens = Box::new([NO_TOKEN; 256]);
        for (byte, token) in (0u8..=255).zip(tokens.iter_mut()) {
            *token = vocab.plain_id(&[byte]).unwrap_or(NO_TOKEN);
        }
        Self::Bytes { tokens, unk }
    }
}

/// A way to make a token.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// The length of its left piece, in bytes.
    left: u32,
    rank: u32,
}

/// A rule with the token that it makes.
type Made = (u32, Rule);

/// Merges that one thread resolves at a time.
const CHUNK: usize = 16_384;

/// Turns merges, the first of which has rank `first`, into rules; see [`Bpe::new`].
fn resolve<M>(
    vocab: &Vocab,
    first: usize,
    merges: &[M],
    split: &impl Fn(&M, &mut Vec<u8>) -> Option<usize>,
) -> Result<Vec<Made>, TokenizerError> {
    let mut rules = Vec::with_capacity(merges.len());
    let mut joined = Vec::new();
    let mut last = 0;
    for (index, merge) in (first..).zip(merges) {
        let bad = |why| TokenizerError::BadMerge { index, why };
        joined.clear();
        let middle = split(merge, &mut joined).ok_or(bad("it is not two pieces"))?;
        if middle == 0 || middle >= joined.len() {
            return Err(bad("one of its pieces is empty"));
        }
        let rank = u32::try_from(index).map_err(|_| bad("there are too many"))?;
        // Most vocabularies number their tokens in the order of the merges that make them.
        let next = [last, last + 1]
            .into_iter()
            .find(|&id| vocab.is_plain_id_of(id, &joined));
        match next.or_else(|| vocab.plain_id(&joined)) {
            Some(id) => {
                let left = middle as u32;
                rules.push((id, Rule { left, rank }));
                last = id;
            }
            // Plain text must not become a control token.
            None if vocab.reserved_id(&joined).is_some() => {}
            None => return Err(bad("what it makes is not a token")),
        }
    }
    Ok(rules)
}

impl Bpe {
    /// The rules of `merges`, which are in the order of their ranks. `split` appends the bytes of
    /// both halves of a merge to a buffer and returns the length of the first.
    ///
    /// # Errors
    /// If a merge is not two pieces, or makes no token of the vocabulary. One that makes a control
    /// token is left out, and one whose pieces are no tokens never applies.
    pub(super) fn new<M: Sync>(
        vocab: &Vocab,
        merges: &[M],
        split: impl Fn(&M, &mut Vec<u8>) -> Option<usize> + Sync,
        start: Start,
        whole: Whole,
    ) -> Result<Self, TokenizerError> {
        let parts: Vec<_> = merges
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(index, part)| resolve(vocab, index * CHUNK, part, &split))
            .collect();
        // The first error in the order of ranks, however the threads ran.
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;

        // Counting sort by token; it keeps the order of ranks within one.
        let mut starts = vec![0u32; vocab.len() + 1];
        for &(id, _) in parts.iter().flatten() {
            if let Some(count) = starts.get_mut(id as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut rules = vec![Rule { left: 0, rank: 0 }; sum as usize];
        for &(id, rule) in parts.iter().flatten() {
            if let Some(at) = next.get_mut(id as usize) {
                if let Some(slot) = rules.get_mut(*at as usize) {
                    *slot = rule;
                }
                *at += 1;
            }
        }
        for bounds in starts.windows(2) {
            if let &[start, end] = bounds
                && end - start > 1
                && let Some(same) = rules.get_mut(start as usize..end as usize)
            {
                same.sort_unstable_by_key(|rule| (rule.left, rule.rank));
            }
        }
        Ok(Self {
            starts,
            rules,
            start,
            whole,
        })
    }

    /// The best rule that makes token `id` of a piece of `left` bytes and another.
    fn rank(&self, id: u32, left: u32) -> Option<u32> {
        let start = *self.starts.get(id as usize)? as usize;
        let end = *self.starts.get(id as usize + 1)? as usize;
        let rules = self.rules.get(start..end)?;
        let at = rules.partition_point(|rule| rule.left < left);
        let rule = rules.get(at).filter(|rule| rule.left == left)?;
        Some(rule.rank)
    }

    /// Appends the tokens of one word, which starts at byte `offset` of its piece of text.
    pub(super) fn encode_word(
        &self,
        vocab: &Vocab,
        word: &str,
        offset: usize,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let is_whole = match self.whole {
            Whole::Never => false,
            Whole::Newlines => word.bytes().all(|byte| byte == b'\n'),
            Whole::Words => true,
        };
        if is_whole && let Some(id) = vocab.plain_id(word.as_bytes()) {
            out.push(id);
            return Ok(());
        }
        let pairs = BpePairs { bpe: self, vocab };
        let (tokens, unk) = match &self.start {
            Start::Bytes { tokens, unk } => (tokens, unk),
            Start::Chars(chars) => return chars.encode(vocab, word, offset, &pairs, merger, out),
        };
        merger.clear();
        for &byte in word.as_bytes() {
            merger.push(tokens.get(byte as usize).copied().unwrap_or(NO_TOKEN), 1);
        }
        out.extend(
            merger
                .merge(word.as_bytes(), &pairs)
                .filter_map(|symbol| Some(symbol.id).filter(|&id| id != NO_TOKEN).or(*unk)),
        );
        Ok(())
    }
}

struct BpePairs<'a> {
    bpe: &'a Bpe,
    vocab: &'a Vocab,
}

impl Pairs for BpePairs<'_> {
    fn joined(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<Joined> {
        let start = left.start as usize;
        let end = start + left.len as usize + right.len as usize;
        let id = self.vocab.plain_id(word.get(start..end)?)?;
        let rank = self.bpe.rank(id, left.len)?;
        Some(Joined { rank, id })
    }
}
