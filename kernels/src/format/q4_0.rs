//! Q4_0: 32 weights, 4 bits and one scale; `w = d * (q - 8)`.
//!
//! | bytes  | field    | content                                                |
//! |--------|----------|--------------------------------------------------------|
//! | 0..2   | `d`      | f16                                                    |
//! | 2..18  | `qs[16]` | byte j: element j in the low nibble, j + 16 in the high |
//!
//! Source: ggml `block_q4_0`; gguf-py `Q4_0`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::search::{inverse, signed_extreme};

/// Bytes of a block.
pub(super) const BYTES: usize = 18;
const D: usize = 0;
const QS: usize = 2;

pub(super) struct Q4_0;

impl Block32<BYTES> for Q4_0 {
    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        let mut q = [0; 32];
        for j in 0..16 {
            q[j] = (block[QS + j] & 15) as i8 - 8;
            q[j + 16] = (block[QS + j] >> 4) as i8 - 8;
        }
        Weights32 {
            d: half_at(block, D),
            m: 0.0,
            q,
        }
    }

    /// The signed extreme becomes -8, so that all 16 levels are used on its side.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let d = signed_extreme(x) / -8.0;
        let id = inverse(d);
        // Truncation after + 8.5 is gguf-py's rounding; the conversion saturates.
        let level = |v: f32| ((v * id + 8.5) as u8).min(15);
        let mut block = [0; BYTES];
        put_half(&mut block, D, d);
        for j in 0..16 {
            block[QS + j] = level(x[j]) | (level(x[j + 16]) << 4);
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
