//! Q2_K: 256 weights in 16 sub-blocks of 16, 2 bits; `w = (d * scale) * q - dmin * min`.
//!
//! | bytes   | field        | content                                                      |
//! |---------|--------------|--------------------------------------------------------------|
//! | 0..16   | `scales[16]` | byte s: scale s in the low nibble, min s in the high          |
//! | 16..80  | `qs[64]`     | [`two_bits`]                                                 |
//! | 80..82  | `d`          | f16                                                          |
//! | 82..84  | `dmin`       | f16                                                          |
//!
//! Source: ggml `block_q2_K`; gguf-py `Q2_K`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::search::{AffineSearch, affine_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 84;
const SCALES: usize = 0;
const QS: usize = 16;
const D: usize = 80;
const DMIN: usize = 82;

pub(super) struct Q2K;

/// Where element i of 256 is among the 2-bit fields of Q2_K and Q3_K: byte and shift. Each 32 bytes
/// hold 128 elements: byte l has l, l + 32, l + 64, l + 96 from its lowest bits up.
pub(super) const fn two_bits(i: usize) -> (usize, usize) {
    (32 * (i / 128) + i % 32, 2 * (i % 128 / 32))
}

impl Block256<BYTES> for Q2K {
    const HAS_MIN: bool = true;

    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let mut w = Weights256 {
            d: half_at(block, D),
            dmin: half_at(block, DMIN),
            scales: [0; 16],
            mins: [0; 16],
            q: [0; 256],
        };
        for s in 0..16 {
            w.scales[s] = (block[SCALES + s] & 15) as i8;
            w.mins[s] = (block[SCALES + s] >> 4) as i8;
        }
        for (i, q) in w.q.iter_mut().enumerate() {
            let (byte, shift) = two_bits(i);
            *q = ((block[QS + byte] >> shift) & 3) as i8;
        }
        w
    }

    fn quantize(x: &[f32; 256]) -> [u8; BYTES] {
        let search = AffineSearch {
            top: 3.0,
            scale_top: 15.0,
            first: -0.9,
            step: 0.1,
            steps: 18,
        };
        let best = affine_superblock::<16, 16>(x, search);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        put_half(&mut block, DMIN, best.dmin);
        for s in 0..16 {
            block[SCALES + s] = best.scales[s] | (best.mins[s] << 4);
        }
        for (i, level) in best.levels.into_iter().enumerate() {
            let (byte, shift) = two_bits(i);
            block[QS + byte] |= level << shift;
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
