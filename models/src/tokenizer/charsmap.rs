//! SentencePiece's precompiled character map: which beginnings of a text a normalizer replaces, and
//! by what (`normalizer.cc`; NFKC and some rules of its own, as the model's author chose them). The
//! bytes of a file come in and are checked whenever they are used: any bytes are a map, and none
//! makes it read outside of itself.
//!
//! Format: the size of a trie in bytes (u32, little endian), the trie, and strings that end in a zero
//! byte. The trie is a double array (`darts-clone`) of u32 units: bits 0 to 7 a label, bit 8 whether
//! a value follows, bits 10 to 30 an offset, shifted by eight more bits if bit 9 is set; a value is a
//! unit with bit 31, and says where a string begins.

use super::TokenizerError;

/// The map.
pub(super) struct Charsmap {
    units: Vec<u32>,
    strings: Vec<u8>,
}

impl Charsmap {
    /// Reads the map of a file.
    ///
    /// # Errors
    /// If the bytes are too few for what they say.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let split = bytes.split_first_chunk::<4>().and_then(|(size, rest)| {
            let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
            rest.split_at_checked(size)
        });
        let (trie, strings) = split.ok_or(TokenizerError::BadCharsmap { found: bytes.len() })?;
        let (units, _) = trie.as_chunks::<4>();
        Ok(Self {
            units: units.iter().map(|&unit| u32::from_le_bytes(unit)).collect(),
            strings: strings.to_vec(),
        })
    }

    fn unit(&self, at: u32) -> Option<u32> {
        self.units.get(at as usize).copied()
    }

    /// Longer beginnings are not looked for, in bytes: no map has any, and one made to hang a reader leads
    /// back into itself.
    const LONGEST: usize = 256;

    /// The beginnings of `text` that are replaced, shortest first: the length of each in bytes, and
    /// what replaces it.
    pub(super) fn of<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut node = self.unit(0).map(offset);
        text.iter()
            .take(Self::LONGEST)
            .enumerate()
            .map_while(move |(at, &byte)| {
                let child = node? ^ u32::from(byte);
                let unit = self.unit(child)?;
                if byte == 0 || unit & (1 << 31 | 0xff) != u32::from(byte) {
                    return None;
                }
                let values = child ^ offset(unit);
                node = Some(values);
                let has_value = unit & (1 << 8) != 0;
                Some((at + 1, has_value.then_some(values)))
            })
            .filter_map(|(len, value)| {
                let start = (self.unit(value?)? & !(1 << 31)) as usize;
                let string = self.strings.get(start..)?;
                let end = memchr::memchr(0, string)?;
                Some((len, string.get(..end)?))
            })
    }

    /// The longest beginning of `text` that is replaced.
    pub(super) fn longest<'a>(&'a self, text: &'a [u8]) -> Option<(usize, &'a [u8])> {
        self.of(text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of `a` to `x`, `ab` to `yz`, and nothing else.
    fn map() -> Vec<u8> {
        let mut units = vec![0u32; 1024];
        let node = |label: u8, has_value: bool, offset: u32| {
            u32::from(label) | u32::from(has_value) << 8 | offset << 10
        };
        units[0] = node(0, false, 256);
        let a = 256 ^ u32::from(b'a');
        // The children of `a` are at 512, its value there too.
        units[a as usize] = node(b'a', true, a ^ 512);
        units[512] = 1 << 31;
        let ab = 512 ^ u32::from(b'b');
        units[ab as usize] = node(b'b', true, ab ^ 768);
        units[768] = 1 << 31 | 2;
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(b"x\0yz\0");
        bytes
    }

    #[test]
    fn beginnings_are_replaced() {
        let map = Charsmap::new(&map()).unwrap();
        let of = |text: &'static str| map.of(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("abc"), [(1, &b"x"[..]), (2, b"yz")]);
        assert_eq!(of("ac"), [(1, &b"x"[..])]);
        assert_eq!(of("b"), []);
        assert_eq!(map.longest(b"abc"), Some((2, &b"yz"[..])));
    }

    #[test]
    fn any_bytes_are_read_within_their_bounds() {
        assert!(Charsmap::new(&[]).is_err());
        assert!(Charsmap::new(&[1, 0, 0, 0]).is_err());
        let good = map();
        for at in 0..good.len() {
            for value in [0, 0xff, 0x80] {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Ok(map) = Charsmap::new(&bytes) {
                    for text in ["abab", "a", "\0a", "\u{ff}"] {
                        map.of(text.as_bytes()).count();
                    }
                }
            }
        }
    }
}
