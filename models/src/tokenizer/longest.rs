//! RWKV's World tokenizer: at each place the longest piece that the text begins with. Pieces are any
//! bytes, which its files write as Python would (`\n`, `\xe4`); a text goes in and token ids come out.

use super::{TokenizerError, prefixes::Prefixes, vocab::Vocab};

/// What the vocabulary alone does not say.
pub(super) struct Longest {
    prefixes: Prefixes,
    /// What stands for a byte that begins no piece.
    unk: Option<u32>,
}

impl Longest {
    pub(super) fn new(vocab: &Vocab, unk: Option<u32>) -> Self {
        Self {
            prefixes: Prefixes::new(vocab),
            unk,
        }
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let offset = text.len() - rest.len();
            let longest = self.prefixes.of(vocab, rest).last();
            let unknown = || TokenizerError::Unrepresentable { offset };
            let (len, id) = match longest {
                Some(found) => found,
                None => (1, self.unk.ok_or_else(unknown)?),
            };
            out.push(id);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Appends the bytes that a piece with escapes stands for: `\t`, `\n`, `\r`, `\x` with two hexadecimal
/// digits; any other character after a backslash is itself.
pub(super) fn append_unescaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match escape {
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b'x' => {
                let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                if let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    out.push(byte);
                    rest = rest.get(2..).unwrap_or_default();
                }
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        let mut out = Vec::new();
        append_unescaped("a\\n\\xe4\\xbD\\\\\\'é\\", &mut out);
        assert_eq!(out, b"a\n\xe4\xbd\\'\xc3\xa9");
        out.clear();
        append_unescaped("\\xg1\\x", &mut out);
        assert_eq!(out, b"g1");
    }
}
