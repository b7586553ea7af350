//! Q5_K: 256 weights in 8 sub-blocks of 32, 5 bits; `w = (d * scale) * q - dmin * min`.
//!
//! | bytes   | field        | content                                                         |
//! |---------|--------------|-----------------------------------------------------------------|
//! | 0..2    | `d`          | f16                                                             |
//! | 2..4    | `dmin`       | f16                                                             |
//! | 4..16   | `scales[12]` | as in Q4_K: [`unpack_scales`]                                   |
//! | 16..48  | `qh[32]`     | byte l, bit s: the fifth bit of element 32 s + l                |
//! | 48..176 | `qs[128]`    | byte 32 c + l: low 4 bits of elements 64 c + l (low), 64 c + 32 + l |
//!
//! Source: ggml `block_q5_K`; gguf-py `Q5_K`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::q4_k::{pack_scales, unpack_scales};
use super::search::{AffineSearch, affine_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 176;
const D: usize = 0;
const DMIN: usize = 2;
const SCALES: usize = 4;
const QH: usize = 16;
const QS: usize = 48;

pub(super) struct Q5K;

impl Block256<BYTES> for Q5K {
    const HAS_MIN: bool = true;

    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let (scales, mins) = unpack_scales(block, SCALES);
        let mut q = [0; 256];
        for c in 0..4 {
            for l in 0..32 {
                let (low, high) = (block[QS + 32 * c + l], block[QH + l] >> (2 * c));
                q[64 * c + l] = ((low & 15) | ((high & 1) << 4)) as i8;
                q[64 * c + 32 + l] = ((low >> 4) | ((high & 2) << 3)) as i8;
            }
        }
        Weights256 {
            d: half_at(block, D),
            dmin: half_at(block, DMIN),
            scales,
            mins,
            q,
        }
    }

    fn quantize(x: &[f32; 256]) -> [u8; BYTES] {
        let search = AffineSearch {
            top: 31.0,
            scale_top: 63.0,
            first: -0.5,
            step: 0.1,
            steps: 15,
        };
        let best = affine_superblock::<32, 8>(x, search);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        put_half(&mut block, DMIN, best.dmin);
        pack_scales(best.scales, best.mins, &mut block, SCALES);
        for c in 0..4 {
            for l in 0..32 {
                let (a, b) = (best.levels[64 * c + l], best.levels[64 * c + 32 + l]);
                block[QS + 32 * c + l] = (a & 15) | (b << 4);
                block[QH + l] |= ((a >> 4) | (b >> 4 << 1)) << (2 * c);
            }
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
