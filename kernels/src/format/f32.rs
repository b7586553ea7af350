//! F32: `[f32; 1]`, little-endian; a "block" is one element of 4 bytes.

use super::block::Float;

/// Bytes of one element.
pub(super) const BYTES: usize = 4;

pub(super) struct F32;

impl Float<BYTES> for F32 {
    fn decode(bytes: &[u8; BYTES]) -> f32 {
        f32::from_le_bytes(*bytes)
    }

    fn encode(x: f32) -> [u8; BYTES] {
        x.to_le_bytes()
    }
}
