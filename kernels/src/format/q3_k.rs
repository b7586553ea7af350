//! Q3_K: 256 weights in 16 sub-blocks of 16, 3 bits; `w = (d * (scale - 32)) * (q - 4)`.
//!
//! | bytes    | field        | content                                                        |
//! |----------|--------------|----------------------------------------------------------------|
//! | 0..32    | `hmask[32]`  | byte l, bit b: the third bit of element 32 b + l               |
//! | 32..96   | `qs[64]`     | the lower two bits, as [`two_bits`] says                       |
//! | 96..108  | `scales[12]` | lower 4 bits of scale s: byte s % 8, low nibble for s < 8;     |
//! |          |              | upper 2 bits: byte 8 + s % 4, from bit 2 (s / 4) up            |
//! | 108..110 | `d`          | f16                                                            |
//!
//! Source: ggml `block_q3_K`; gguf-py `Q3_K`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::q2_k::two_bits;
use super::search::{Whole, symmetric_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 110;
const HMASK: usize = 0;
const QS: usize = 32;
const SCALES: usize = 96;
const D: usize = 108;

pub(super) struct Q3K;

impl Block256<BYTES> for Q3K {
    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let mut w = Weights256 {
            d: half_at(block, D),
            dmin: 0.0,
            scales: [0; 16],
            mins: [0; 16],
            q: [0; 256],
        };
        for (s, scale) in w.scales.iter_mut().enumerate() {
            let low = (block[SCALES + s % 8] >> (4 * (s / 8))) & 15;
            let high = (block[SCALES + 8 + s % 4] >> (2 * (s / 4))) & 3;
            *scale = (low | (high << 4)) as i8 - 32;
        }
        for (i, q) in w.q.iter_mut().enumerate() {
            let (byte, shift) = two_bits(i);
            let low = (block[QS + byte] >> shift) & 3;
            let high = (block[HMASK + i % 32] >> (i / 32)) & 1;
            *q = (low | (high << 2)) as i8 - 4;
        }
        w
    }

    fn quantize(x: &[f32; 256]) -> [u8; BYTES] {
        let best = symmetric_superblock::<Whole<4>, 16, 16>(x, 32.0);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        for (s, scale) in best.scales.into_iter().enumerate() {
            let scale = (scale + 32) as u8;
            block[SCALES + s % 8] |= (scale & 15) << (4 * (s / 8));
            block[SCALES + 8 + s % 4] |= (scale >> 4) << (2 * (s / 4));
        }
        for (i, code) in best.codes.into_iter().enumerate() {
            let (byte, shift) = two_bits(i);
            block[QS + byte] |= (code & 3) << shift;
            block[HMASK + i % 32] |= (code >> 2) << (i / 32);
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
