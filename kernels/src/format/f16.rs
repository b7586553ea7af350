//! F16: IEEE binary16, little-endian; a "block" is one element of 2 bytes.
//!
//! Reading is exact. Writing rounds to nearest, ties to even; too large becomes infinite.

use super::block::Float;

/// Bytes of one element.
pub(super) const BYTES: usize = 2;

pub(super) struct F16;

impl Float<BYTES> for F16 {
    fn decode(bytes: &[u8; BYTES]) -> f32 {
        half::f16::from_le_bytes(*bytes).to_f32()
    }

    fn encode(x: f32) -> [u8; BYTES] {
        half::f16::from_f32(x).to_le_bytes()
    }
}
