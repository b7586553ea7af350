//! From tokens to text, one token at a time: a stream that never hands out half of a UTF-8
//! character. Ids go in, text comes out as soon as it is certain. Spaces are never tidied up, but for
//! BERT's, whose tokens do not say where there were any: what was encoded comes back as it was.

use super::{TokenKind, Tokenizer};
use hob_kernels::private::wipe_vec;

/// How a [`DecodeStream`] writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Whether control tokens (`<|im_end|>`, `<s>`) are written as their text, or left out.
    pub show_control: bool,
    /// Whether the tokens are the start of a text, before which SentencePiece vocabularies add a
    /// space that is not the text's; it is then left out. `false` for what a model generates.
    pub text_start: bool,
}

/// Decodes tokens as they come. Get one from [`Tokenizer::decode_stream`].
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    options: DecodeOptions,
    /// The start of a character of which bytes are missing: at most 3 bytes.
    partial: Vec<u8>,
    /// Whether the next space is the tokenizer's and not the text's.
    skip_space: bool,
}

/// What was read last does not stay in memory.
impl Drop for DecodeStream<'_> {
    fn drop(&mut self) {
        wipe_vec(&mut self.partial);
    }
}

impl<'t> DecodeStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, options: DecodeOptions) -> Self {
        let skip_space = options.text_start && tokenizer.adds_space();
        Self {
            tokenizer,
            options,
            partial: Vec::new(),
            skip_space,
        }
    }

    /// Adds a token, and returns the text that is complete with it: whole characters only. Bytes
    /// that cannot become a character are replaced by U+FFFD, and so is an id that is not in the
    /// vocabulary.
    pub fn push(&mut self, id: u32) -> String {
        let piece = match self.tokenizer.kind(id) {
            Some(TokenKind::Control) if !self.options.show_control => &[],
            Some(_) => self.tokenizer.shown_piece(id),
            None => "\u{fffd}".as_bytes(),
        };
        let piece = match piece {
            [b' ', rest @ ..] if self.skip_space => rest,
            _ => piece,
        };
        if self.tokenizer.kind(id) != Some(TokenKind::Control) {
            self.skip_space = false;
        }
        self.partial.extend_from_slice(piece);
        self.take_complete()
    }

    /// Ends the text: a character of which bytes are missing becomes U+FFFD.
    pub fn flush(&mut self) -> String {
        let rest = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(&rest).into_owned()
    }

    fn take_complete(&mut self) -> String {
        let mut text = String::with_capacity(self.partial.len());
        let mut incomplete = 0;
        let mut chunks = self.partial.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_become_a_character(invalid) {
                incomplete = invalid.len();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.partial.drain(..self.partial.len() - incomplete);
        text
    }
}

/// Whether more bytes can make a character of these, with which a text ends.
fn may_become_a_character(end: &[u8]) -> bool {
    matches!(std::str::from_utf8(end), Err(error) if error.error_len().is_none())
}
