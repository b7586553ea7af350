//! Q4_K: 256 weights in 8 sub-blocks of 32, 4 bits; `w = (d * scale) * q - dmin * min`.
//!
//! | bytes   | field        | content                                                         |
//! |---------|--------------|-----------------------------------------------------------------|
//! | 0..2    | `d`          | f16                                                             |
//! | 2..4    | `dmin`       | f16                                                             |
//! | 4..16   | `scales[12]` | 8 scales and 8 minima of 6 bits: [`unpack_scales`]              |
//! | 16..144 | `qs[128]`    | byte 32 c + l: elements 64 c + l (low nibble), 64 c + 32 + l (high) |
//!
//! Source: ggml `block_q4_K`; gguf-py `Q4_K`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::search::{AffineSearch, affine_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 144;
const D: usize = 0;
const DMIN: usize = 2;
const SCALES: usize = 4;
const QS: usize = 16;

pub(super) struct Q4K;

/// Scales and minima (0..=63) of Q4_K and Q5_K from the 12 bytes at `at`, each repeated for both
/// halves of its sub-block.
///
/// Bytes 0 to 3: scales 0 to 3, with the upper two bits of scales 4 to 7 on top. Bytes 4 to 7:
/// minima likewise. Bytes 8 to 11: the lower 4 bits of scales 4 to 7, and minima on top.
#[inline(always)]
pub(super) fn unpack_scales<const N: usize>(block: &[u8; N], at: usize) -> ([i8; 16], [i8; 16]) {
    let (mut scales, mut mins) = ([0; 16], [0; 16]);
    for s in 0..4 {
        let (a, b, c) = (block[at + s], block[at + 4 + s], block[at + 8 + s]);
        for half in 0..2 {
            scales[2 * s + half] = (a & 63) as i8;
            mins[2 * s + half] = (b & 63) as i8;
            scales[2 * s + 8 + half] = ((c & 15) | (a >> 6 << 4)) as i8;
            mins[2 * s + 8 + half] = ((c >> 4) | (b >> 6 << 4)) as i8;
        }
    }
    (scales, mins)
}

/// The inverse of [`unpack_scales`], from one value per sub-block.
#[inline(always)]
pub(super) fn pack_scales<const N: usize>(
    scales: [u8; 8],
    mins: [u8; 8],
    block: &mut [u8; N],
    at: usize,
) {
    for s in 0..4 {
        block[at + s] = scales[s] | (scales[s + 4] >> 4 << 6);
        block[at + 4 + s] = mins[s] | (mins[s + 4] >> 4 << 6);
        block[at + 8 + s] = (scales[s + 4] & 15) | (mins[s + 4] << 4);
    }
}

impl Block256<BYTES> for Q4K {
    const HAS_MIN: bool = true;

    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let (scales, mins) = unpack_scales(block, SCALES);
        let mut q = [0; 256];
        for c in 0..4 {
            for l in 0..32 {
                q[64 * c + l] = (block[QS + 32 * c + l] & 15) as i8;
                q[64 * c + 32 + l] = (block[QS + 32 * c + l] >> 4) as i8;
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
            top: 15.0,
            scale_top: 63.0,
            first: -1.0,
            step: 0.1,
            steps: 20,
        };
        let best = affine_superblock::<32, 8>(x, search);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        put_half(&mut block, DMIN, best.dmin);
        pack_scales(best.scales, best.mins, &mut block, SCALES);
        for c in 0..4 {
            for l in 0..32 {
                block[QS + 32 * c + l] =
                    best.levels[64 * c + l] | (best.levels[64 * c + 32 + l] << 4);
            }
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
