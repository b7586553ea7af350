//! Q4_1: 32 weights, 4 bits, a scale and a minimum; `w = d * q + m`.
//!
//! | bytes  | field    | content                                                |
//! |--------|----------|--------------------------------------------------------|
//! | 0..2   | `d`      | f16                                                    |
//! | 2..4   | `m`      | f16                                                    |
//! | 4..20  | `qs[16]` | byte j: element j in the low nibble, j + 16 in the high |
//!
//! Source: ggml `block_q4_1`; gguf-py `Q4_1`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::search::{inverse, range};

/// Bytes of a block.
pub(super) const BYTES: usize = 20;
const D: usize = 0;
const M: usize = 2;
const QS: usize = 4;

pub(super) struct Q4_1;

impl Block32<BYTES> for Q4_1 {
    const HAS_MIN: bool = true;

    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        let mut q = [0; 32];
        for j in 0..16 {
            q[j] = (block[QS + j] & 15) as i8;
            q[j + 16] = (block[QS + j] >> 4) as i8;
        }
        Weights32 {
            d: half_at(block, D),
            m: half_at(block, M),
            q,
        }
    }

    /// The smallest weight becomes level 0, the largest level 15.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let (min, max) = range(x);
        let d = (max - min) / 15.0;
        let id = inverse(d);
        let level = |v: f32| (((v - min) * id + 0.5) as u8).min(15);
        let mut block = [0; BYTES];
        put_half(&mut block, D, d);
        put_half(&mut block, M, min);
        for j in 0..16 {
            block[QS + j] = level(x[j]) | (level(x[j + 16]) << 4);
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
