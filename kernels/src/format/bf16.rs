//! BF16: the upper 16 bits of an f32, little-endian; a "block" is one element of 2 bytes.
//!
//! Reading is exact. Writing rounds to nearest, ties to even, and keeps a NaN a (quiet) NaN.

use super::block::Float;

/// Bytes of one element.
pub(super) const BYTES: usize = 2;

pub(super) struct BF16;

impl Float<BYTES> for BF16 {
    fn decode(bytes: &[u8; BYTES]) -> f32 {
        half::bf16::from_le_bytes(*bytes).to_f32()
    }

    fn encode(x: f32) -> [u8; BYTES] {
        half::bf16::from_f32(x).to_le_bytes()
    }
}
