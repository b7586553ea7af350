//! Q6_K: 256 weights in 16 sub-blocks of 16, 6 bits; `w = (d * scale) * (q - 32)`.
//!
//! | bytes    | field        | content                                                        |
//! |----------|--------------|----------------------------------------------------------------|
//! | 0..128   | `ql[128]`    | byte 64 h + l: low 4 bits of elements 128 h + l (low nibble) and 128 h + 64 + l |
//! | 128..192 | `qh[64]`     | byte 32 h + l: upper 2 bits of elements 128 h + l, + 32, + 64, + 96, from bit 0 up |
//! | 192..208 | `scales[16]` | i8                                                             |
//! | 208..210 | `d`          | f16                                                            |
//!
//! Source: ggml `block_q6_K`; gguf-py `Q6_K`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::search::{Whole, symmetric_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 210;
const QL: usize = 0;
const QH: usize = 128;
const SCALES: usize = 192;
const D: usize = 208;

pub(super) struct Q6K;

impl Block256<BYTES> for Q6K {
    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let mut w = Weights256 {
            d: half_at(block, D),
            dmin: 0.0,
            scales: [0; 16],
            mins: [0; 16],
            q: [0; 256],
        };
        for (s, scale) in w.scales.iter_mut().enumerate() {
            *scale = block[SCALES + s] as i8;
        }
        for (i, q) in w.q.iter_mut().enumerate() {
            let (half, j) = (i / 128, i % 128);
            let low = (block[QL + 64 * half + j % 64] >> (4 * (j / 64))) & 15;
            let high = (block[QH + 32 * half + j % 32] >> (2 * (j / 32))) & 3;
            *q = (low | (high << 4)) as i8 - 32;
        }
        w
    }

    fn quantize(x: &[f32; 256]) -> [u8; BYTES] {
        let best = symmetric_superblock::<Whole<32>, 16, 16>(x, 128.0);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        for (s, scale) in best.scales.into_iter().enumerate() {
            block[SCALES + s] = scale as u8;
        }
        for (i, code) in best.codes.into_iter().enumerate() {
            let (half, j) = (i / 128, i % 128);
            block[QL + 64 * half + j % 64] |= (code & 15) << (4 * (j / 64));
            block[QH + 32 * half + j % 32] |= (code >> 4) << (2 * (j / 32));
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
