//! The first 4096 bytes of a packed file, and a few more. Bytes enter and a checked [`Preamble`] leaves, or the reverse.
//!
//! | bytes    | content                                                        |
//! |----------|----------------------------------------------------------------|
//! | 0..8     | [`MAGIC`]                                                      |
//! | 8..12    | u32: version of this container                                 |
//! | 12..16   | u32: version of the tile layout                                |
//! | 16..24   | u64: length of the original file                               |
//! | 24..28   | u32: kind of the original file: 1 GGUF, 2 safetensors          |
//! | 28       | u8: 1 if the SHA-256 of the original is known, else 0          |
//! | 29       | u8: the shift, below 64                                        |
//! | 30..32   | zeros                                                          |
//! | 32..64   | SHA-256 of the original, or zeros                              |
//! | 64..96   | SHA-256 of bytes 0..64                                         |
//! | 96..4096 | zeros, and as many more as the shift says                      |
//!
//! Integers are little-endian. GGUF aligns tensors to 32 bytes, and kernels read lines of 64: the shift
//! moves the original so that most of its weights start at a line.

use std::path::Path;

use hob_kernels::pack::LAYOUT_VERSION;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, Text};
use crate::files::Kind;

/// First bytes of a packed file. The high byte and the line ends show damage by text tools, as PNG's do.
pub const MAGIC: [u8; 8] = *b"\x89HOB\r\n\x1a\n";
/// Length of the preamble without its shift.
pub const PREAMBLE_BYTES: usize = 4096;
/// Version of the container: of the preamble, and of which tensors are packed.
pub const CONTAINER_VERSION: u32 = 2;

/// A shift is below this: the bytes of a line.
pub const MAX_SHIFT: u8 = 64;

/// What a packed file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Kind of the original file; never [`Kind::Packed`].
    pub kind: Kind,
    /// Length of the original file in bytes.
    pub original_bytes: u64,
    /// SHA-256 of the original file, if it was computed.
    pub sha256: Option<[u8; 32]>,
    /// Bytes, below [`MAX_SHIFT`], by which the original starts later than [`PREAMBLE_BYTES`].
    pub shift: u8,
}

impl Preamble {
    /// Where the original starts: the length of the preamble.
    pub fn len(shift: u8) -> usize {
        PREAMBLE_BYTES + usize::from(shift)
    }

    /// The preamble's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind: u32 = match self.kind {
            Kind::Gguf => 1,
            Kind::Safetensors => 2,
            Kind::Packed => 0, // refused by every reader; the packer does not pack what is packed
        };
        let mut out = Vec::with_capacity(Preamble::len(self.shift));
        out.extend(MAGIC);
        out.extend(CONTAINER_VERSION.to_le_bytes());
        out.extend(LAYOUT_VERSION.to_le_bytes());
        out.extend(self.original_bytes.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend([u8::from(self.sha256.is_some()), self.shift, 0, 0]);
        out.extend(self.sha256.unwrap_or_default());
        out.extend(Sha256::digest(&out));
        out.resize(Preamble::len(self.shift), 0);
        out
    }

    /// Reads the preamble of the packed file `bytes`; `path` is for messages.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Preamble> {
        let wrong = |field: &str, problem: String| {
            Err(Error::malformed(
                path,
                format!("packed file: {field}"),
                problem,
            ))
        };
        let Some((preamble, rest)) = bytes.split_at_checked(PREAMBLE_BYTES) else {
            return wrong(
                "preamble",
                format!(
                    "needs {PREAMBLE_BYTES} bytes, and the file has {}",
                    bytes.len()
                ),
            );
        };
        let part = |start: usize, len: usize| preamble.get(start..start + len).unwrap_or(&[]); // within 4096
        let u32_at = |at| part(at, 4).try_into().map_or(0, u32::from_le_bytes); // four bytes
        let u64_at = |at| part(at, 8).try_into().map_or(0, u64::from_le_bytes); // eight bytes
        if part(0, 8) != MAGIC {
            return wrong("magic", format!("is {:?}", Text::bytes(part(0, 8))));
        }
        let remedy = "import the model again with this version of hob";
        if u32_at(8) != CONTAINER_VERSION {
            return wrong(
                "version",
                format!(
                    "is {}, and this hob reads {CONTAINER_VERSION}; {remedy}",
                    u32_at(8)
                ),
            );
        }
        if u32_at(12) != LAYOUT_VERSION {
            return wrong(
                "layout version",
                format!(
                    "is {}, and this hob reads {LAYOUT_VERSION}; {remedy}",
                    u32_at(12)
                ),
            );
        }
        if part(64, 32) != Sha256::digest(part(0, 64)).as_slice() {
            return wrong(
                "checksum",
                format!("does not match the preamble; it is damaged, {remedy}"),
            );
        }
        let shift = part(29, 1).first().copied().unwrap_or(0);
        if shift >= MAX_SHIFT {
            return wrong(
                "shift",
                format!("is {shift}, and {MAX_SHIFT} or more never is"),
            );
        }
        let Some((shifted, rest)) = rest.split_at_checked(usize::from(shift)) else {
            return wrong(
                "shift",
                format!("is {shift}, and {} bytes follow", rest.len()),
            );
        };
        let mut padding = part(96, PREAMBLE_BYTES - 96).iter().chain(shifted);
        if let Some(at) = padding.position(|&b| b != 0) {
            return wrong("padding", format!("byte {} is not zero; {remedy}", 96 + at));
        }
        let kind = match u32_at(24) {
            1 => Kind::Gguf,
            2 => Kind::Safetensors,
            other => {
                return wrong(
                    "kind",
                    format!("is {other}; 1 is GGUF and 2 is safetensors"),
                );
            }
        };
        let sha256 = <[u8; 32]>::try_from(part(32, 32)).unwrap_or_default(); // 32 bytes
        let sha256 = match u32_at(28) & 0xffff_00ff {
            0 if sha256 == [0; 32] => None,
            1 => Some(sha256),
            other => {
                return wrong(
                    "flags",
                    format!("are {other}, which does not fit the SHA-256 beside them"),
                );
            }
        };
        let original_bytes = u64_at(16);
        if original_bytes != rest.len() as u64 {
            let problem = format!(
                "is {original_bytes}, but {} bytes follow; it was cut short, {remedy}",
                rest.len()
            );
            return wrong("original length", problem);
        }
        match Kind::of(rest) {
            Some(found) if found == kind => Ok(Preamble {
                kind,
                original_bytes,
                sha256,
                shift,
            }),
            found => {
                let found = found.map_or("something else", Kind::name);
                wrong("kind", format!("is {}, but {found} follows", kind.name()))
            }
        }
    }
}
