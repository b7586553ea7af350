//! Texts that merge from characters, not from bytes: SentencePiece's, and what Hugging Face made of
//! them. A text comes in with plain spaces (the `▁` of the files is a space in hob's vocabulary); a
//! character without a token becomes byte tokens, or the unknown token.

use super::{
    TokenizerError,
    merge::{Merger, NO_TOKEN, Pairs},
    vocab::Vocab,
};

/// What stands for a character without a token.
pub(super) struct Chars {
    /// The token of each byte, or [`NO_TOKEN`].
    byte_tokens: Box<[u32; 256]>,
    unk: Option<u32>,
    /// Whether several unknown characters in a row are one unknown token.
    fuse_unk: bool,
    /// Whether some piece has a space after another character, so that words may be joined.
    joins_words: bool,
}

impl Chars {
    /// `byte_tokens` has the token of each byte, or [`NO_TOKEN`].
    pub(super) fn new(
        vocab: &Vocab,
        byte_tokens: [u32; 256],
        unk: Option<u32>,
        fuse_unk: bool,
    ) -> Self {
        Self {
            byte_tokens: Box::new(byte_tokens),
            unk,
            fuse_unk,
            joins_words: vocab.joins_words(),
        }
    }

    /// Appends the tokens of `text`, joined as `pairs` says. It starts at byte `offset` of its piece
    /// of text.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        offset: usize,
        pairs: &impl Pairs,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut was_unknown = false;
        for (start, word) in words(text, self.joins_words) {
            let at = offset + start;
            self.encode_word(vocab, word, at, pairs, merger, &mut was_unknown, out)?;
        }
        Ok(())
    }

    fn encode_word(
        &self,
        vocab: &Vocab,
        word: &str,
        offset: usize,
        pairs: &impl Pairs,
        merger: &mut Merger,
        was_unknown: &mut bool,
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
        let word = word.as_bytes();
        for symbol in merger.merge(word, pairs) {
            let follows_unknown = std::mem::take(was_unknown);
            if symbol.id != NO_TOKEN {
                out.push(symbol.id);
                continue;
            }
            let start = symbol.start as usize;
            let bytes = word
                .get(start..start + symbol.len as usize)
                .unwrap_or_default();
            let tokens = bytes.iter().map(|&byte| {
                self.byte_tokens
                    .get(byte as usize)
                    .copied()
                    .filter(|&token| token != NO_TOKEN)
            });
            if tokens.clone().all(|token| token.is_some()) {
                out.extend(tokens.flatten());
                continue;
            }
            let offset = offset + start;
            let unk = self.unk.ok_or(TokenizerError::Unrepresentable { offset })?;
            if !(self.fuse_unk && follows_unknown) {
                out.push(unk);
            }
            *was_unknown = true;
        }
        Ok(())
    }
}

/// Cuts a text where no piece can cross, between a character and a space after it, if no piece of the
/// vocabulary `joins_words`: the words are independent, and many short ones are faster than one long
/// text. Each comes with its start.
pub(super) fn words(text: &str, joins_words: bool) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let spaces = (!joins_words).then(|| memchr::memchr_iter(b' ', bytes));
    let borders = spaces
        .into_iter()
        .flatten()
        .filter(move |&at| at > 0 && bytes.get(at - 1) != Some(&b' '));
    let mut start = 0;
    borders.chain([text.len()]).map(move |end| {
        let word = (start, text.get(start..end).unwrap_or_default());
        start = end;
        word
    })
}
