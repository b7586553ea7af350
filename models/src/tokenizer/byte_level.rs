//! GPT-2's printable alphabet: each of the 256 byte values is written as one printable character,
//! so that a byte-level BPE vocabulary can be stored as text. Bytes 33..=126, 161..=172 and
//! 174..=255 stand for themselves; the 68 others are, in ascending order, U+0100..=U+0143
//! (`bytes_to_unicode` of OpenAI's GPT-2 `encoder.py`). Vocabularies come in with text in this
//! alphabet, and go out as the bytes themselves: nothing after loading knows the alphabet.

/// Whether a byte is written as the character with its own number.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, 33..=126 | 161..=172 | 174..=255)
}

/// For each character below U+0144: its byte, or 256 if it is not in the alphabet.
static BYTE_OF_CHAR: [u16; 0x144] = byte_of_char();

const fn byte_of_char() -> [u16; 0x144] {
    let mut table = [256; 0x144];
    let mut byte = 0usize;
    let mut next = 0x100;
    while byte < 256 {
        if is_printable(byte as u8) {
            table[byte] = byte as u16;
        } else {
            table[next] = byte as u16;
            next += 1;
        }
        byte += 1;
    }
    table
}

/// Appends the bytes that `text` stands for to `out`. A character that is not in the alphabet
/// stands for its own UTF-8 bytes (some vocabularies hold such tokens, unreachable from text).
pub(super) fn append_bytes(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len());
    for c in text.chars() {
        match BYTE_OF_CHAR.get(c as usize) {
            Some(&byte) if byte < 256 => out.push(byte as u8),
            _ => {
                let mut buffer = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection_with_the_bytes() {
        let mut seen = [0; 256];
        for entry in BYTE_OF_CHAR {
            if entry < 256 {
                seen[entry as usize] += 1;
            }
        }
        assert_eq!(seen, [1; 256]);
    }

    #[test]
    fn known_characters_stand_for_known_bytes() {
        let mut out = Vec::new();
        append_bytes("\u{120}the\u{10a}\u{e9}\u{143}", &mut out);
        assert_eq!(out, b" the\n\xe9\xad");
        out.clear();
        append_bytes("\u{2581} x", &mut out);
        assert_eq!(out, "\u{2581} x".as_bytes());
    }
}
