//! Q5_1: 32 weights, 5 bits, a scale and a minimum; `w = d * q + m`.
//!
//! | bytes  | field    | content                                                          |
//! |--------|----------|------------------------------------------------------------------|
//! | 0..2   | `d`      | f16                                                              |
//! | 2..4   | `m`      | f16                                                              |
//! | 4..8   | `qh`     | u32: bit i is the fifth bit of element i                         |
//! | 8..24  | `qs[16]` | byte j: low 4 bits of element j in the low nibble, j + 16 in the high |
//!
//! Source: ggml `block_q5_1`; gguf-py `Q5_1`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::q5_0::{pack_levels, unpack_levels};
use super::search::{inverse, range};

/// Bytes of a block.
pub(super) const BYTES: usize = 24;
const D: usize = 0;
const M: usize = 2;
const QH: usize = 4;
const QS: usize = 8;

pub(super) struct Q5_1;

impl Block32<BYTES> for Q5_1 {
    const HAS_MIN: bool = true;

    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        Weights32 {
            d: half_at(block, D),
            m: half_at(block, M),
            q: unpack_levels(block, QH, QS).map(|q| q as i8),
        }
    }

    /// The smallest weight becomes level 0, the largest level 31.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let (min, max) = range(x);
        let d = (max - min) / 31.0;
        let id = inverse(d);
        let levels = x.map(|v| (((v - min) * id + 0.5) as u8).min(31));
        let mut block = [0; BYTES];
        put_half(&mut block, D, d);
        put_half(&mut block, M, min);
        pack_levels(levels, &mut block, QH, QS);
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
