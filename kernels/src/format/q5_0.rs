//! Q5_0: 32 weights, 5 bits and one scale; `w = d * (q - 16)`.
//!
//! | bytes  | field    | content                                                          |
//! |--------|----------|------------------------------------------------------------------|
//! | 0..2   | `d`      | f16                                                              |
//! | 2..6   | `qh`     | u32: bit i is the fifth bit of element i                         |
//! | 6..22  | `qs[16]` | byte j: low 4 bits of element j in the low nibble, j + 16 in the high |
//!
//! Source: ggml `block_q5_0`; gguf-py `Q5_0`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::search::{inverse, signed_extreme};

/// Bytes of a block.
pub(super) const BYTES: usize = 22;
const D: usize = 0;
const QH: usize = 2;
const QS: usize = 6;

pub(super) struct Q5_0;

impl Block32<BYTES> for Q5_0 {
    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        Weights32 {
            d: half_at(block, D),
            m: 0.0,
            q: unpack_levels(block, QH, QS).map(|q| q as i8 - 16),
        }
    }

    /// The signed extreme becomes -16, so that all 32 levels are used on its side.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let d = signed_extreme(x) / -16.0;
        let id = inverse(d);
        // Truncation after + 16.5 is gguf-py's rounding; the conversion saturates.
        let levels = x.map(|v| ((v * id + 16.5) as u8).min(31));
        let mut block = [0; BYTES];
        put_half(&mut block, D, d);
        pack_levels(levels, &mut block, QH, QS);
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}

/// The 32 levels (0..=31) of a block with `qh` and `qs` at these offsets (Q5_0 and Q5_1).
#[inline(always)]
pub(super) fn unpack_levels<const N: usize>(block: &[u8; N], qh: usize, qs: usize) -> [u8; 32] {
    let mut q = [0; 32];
    for j in 0..16 {
        q[j] = (block[qs + j] & 15) | (((block[qh + j / 8] >> (j % 8)) & 1) << 4);
        q[j + 16] = (block[qs + j] >> 4) | (((block[qh + 2 + j / 8] >> (j % 8)) & 1) << 4);
    }
    q
}

/// The inverse of [`unpack_levels`], into zero bytes.
#[inline(always)]
pub(super) fn pack_levels<const N: usize>(q: [u8; 32], block: &mut [u8; N], qh: usize, qs: usize) {
    for j in 0..16 {
        block[qs + j] = (q[j] & 15) | (q[j + 16] << 4);
        block[qh + j / 8] |= (q[j] >> 4) << (j % 8);
        block[qh + 2 + j / 8] |= (q[j + 16] >> 4) << (j % 8);
    }
}
