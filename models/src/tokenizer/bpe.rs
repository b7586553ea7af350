//! Byte-pair encoding by a list of merges, in flat arrays sorted for lookup by pair of ids (12 bytes
//! a rule; no hash table, no strings). Merges come in as pairs of byte strings in the order of their
//! rank; a word goes in and comes out as token ids. Words merge from bytes (GPT-2 and its heirs) or
//! from characters (SentencePiece vocabularies that Hugging Face turned into merges).

use super::{
    TokenizerError,
    chars::Chars,
    merge::{Joined, Merger, NO_TOKEN, Pairs, Symbol},
    vocab::Vocab,
};

/// The merge rules.
pub(super) struct Bpe {
    /// The rules whose left token is `t` are `rules[starts[t]..starts[t + 1]]`.
    starts: Vec<u32>,
    /// Sorted by right token within one left token, each pair once.
    rules: Vec<Rule>,
    start: Start,
    /// Whether a word that is a token is that token, even if the merges would not form it.
    whole_words: bool,
}

/// What a word's symbols are before any merge.
pub(super) enum Start {
    /// Its bytes.
    Bytes {
        /// The token of each byte, or [`NO_TOKEN`].
        tokens: [u32; 256],
        /// What stands for a byte without a token.
        unk: Option<u32>,
    },
    /// Its characters.
    Chars(Chars),
}

impl Start {
    /// Bytes, by the tokens that `vocab` has for them.
    pub(super) fn bytes(vocab: &Vocab, unk: Option<u32>) -> Self {
        let mut tokens = [NO_TOKEN; 256];
        for (byte, token) in (0u8..=255).zip(&mut tokens) {
            *token = vocab.plain_id(&[byte]).unwrap_or(NO_TOKEN);
        }
        Self::Bytes { tokens, unk }
    }
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    right: u32,
    rank: u32,
    id: u32,
}

/// Fewer merges than this are not worth a thread.
const MERGES_PER_THREAD: usize = 20_000;
/// More threads than this gain nothing.
const MAX_THREADS: usize = 4;

/// Turns merges, in the order of their ranks, into rules and the left token of each. `split` appends
/// the bytes of both halves of a merge to a buffer and returns the length of the first.
///
/// # Errors
/// If a half or the whole is not in the vocabulary. A rule around a control token is left out: plain
/// text must not become one.
fn resolve<M: Sync>(
    vocab: &Vocab,
    merges: &[M],
    split: impl Fn(&M, &mut Vec<u8>) -> Option<usize> + Sync,
) -> Result<Vec<(u32, Rule)>, TokenizerError> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = threads
        .min(MAX_THREADS)
        .min(merges.len() / MERGES_PER_THREAD);
    if threads < 2 {
        return resolve_from(vocab, 0, merges, &split);
    }
    let per_thread = merges.len().div_ceil(threads);
    let (vocab, split) = (&vocab, &split);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..)
            .step_by(per_thread)
            .zip(merges.chunks(per_thread))
            .map(|(first, part)| {
                let work = move || resolve_from(vocab, first, part, split);
                let thread = std::thread::Builder::new().spawn_scoped(scope, work);
                (thread, move || resolve_from(vocab, first, part, split))
            })
            .collect();
        let mut rules = Vec::with_capacity(merges.len());
        for (thread, again) in parts {
            // Without a thread, or after one that was lost, the work is done here.
            let part = thread.ok().and_then(|thread| thread.join().ok());
            rules.extend(part.unwrap_or_else(again)?);
        }
        Ok(rules)
    })
}

fn resolve_from<M>(
    vocab: &Vocab,
    first: usize,
    merges: &[M],
    split: &impl Fn(&M, &mut Vec<u8>) -> Option<usize>,
) -> Result<Vec<(u32, Rule)>, TokenizerError> {
    let mut rules = Vec::with_capacity(merges.len());
    let mut joined = Vec::new();
    let mut last = 0;
    for (index, merge) in (first..).zip(merges) {
        let bad = |why| TokenizerError::BadMerge { index, why };
        joined.clear();
        let middle = split(merge, &mut joined).ok_or(bad("it is not two pieces"))?;
        let (left, right) = joined
            .split_at_checked(middle)
            .ok_or(bad("it is not two pieces"))?;
        if left.is_empty() || right.is_empty() {
            return Err(bad("one of its pieces is empty"));
        }
        let rank = u32::try_from(index).map_err(|_| bad("there are too many"))?;
        let find = |piece: &[u8]| {
            let reserved = || vocab.reserved_id(piece).map(|_| None);
            vocab.plain_id(piece).map(Some).or_else(reserved)
        };
        // Most vocabularies number their tokens in the order of the merges that make them.
        let next = [last, last + 1]
            .into_iter()
            .find(|&id| vocab.is_plain_id_of(id, &joined));
        let id = next.map(Some).or_else(|| find(&joined));
        match (find(left), find(right), id) {
            (Some(Some(left)), Some(Some(right)), Some(Some(id))) => {
                rules.push((left, Rule { right, rank, id }));
                last = id;
            }
            (None, _, _) => return Err(bad("its left piece is not a token")),
            (_, None, _) => return Err(bad("its right piece is not a token")),
            (_, _, None) => return Err(bad("what it makes is not a token")),
            _ => {}
        }
    }
    Ok(rules)
}

impl Bpe {
    /// The rules of `merges`, which are in the order of their ranks; see [`resolve`] for `split` and
    /// errors. With `whole_words`, a word that is a token is that token, whatever the merges say.
    pub(super) fn new<M: Sync>(
        vocab: &Vocab,
        merges: &[M],
        split: impl Fn(&M, &mut Vec<u8>) -> Option<usize> + Sync,
        start: Start,
        whole_words: bool,
    ) -> Result<Self, TokenizerError> {
        let by_rank = resolve(vocab, merges, split)?;
        // Counting sort by left token; it keeps the order of ranks within one.
        let mut starts = vec![0u32; vocab.len() + 1];
        for &(left, _) in &by_rank {
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
            by_rank.len()
        ];
        for &(left, rule) in &by_rank {
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
        Ok(Self {
            starts,
            rules,
            start,
            whole_words,
        })
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
        if self.whole_words
            && let Some(id) = vocab.plain_id(word.as_bytes())
        {
            out.push(id);
            return Ok(());
        }
        let (tokens, unk) = match &self.start {
            Start::Bytes { tokens, unk } => (tokens, unk),
            Start::Chars(chars) => return chars.encode(vocab, word, self, merger, out),
        };
        merger.clear();
        for &byte in word.as_bytes() {
            merger.push(tokens.get(byte as usize).copied().unwrap_or(NO_TOKEN), 1);
        }
        for symbol in merger.merge(word.as_bytes(), self) {
            let id = if symbol.id == NO_TOKEN {
                *unk
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
