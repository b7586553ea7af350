//! IQ4_XS: 256 weights in 8 sub-blocks of 32, 4 bits into the levels of IQ4_NL;
//! `w = (d * (scale - 32)) * level[q]`.
//!
//! | bytes   | field         | content                                                     |
//! |---------|---------------|-------------------------------------------------------------|
//! | 0..2    | `d`           | f16                                                         |
//! | 2..4    | `scales_h`    | u16: bits 2s, 2s + 1 are the upper two bits of scale s      |
//! | 4..8    | `scales_l[4]` | byte s / 2: lower 4 bits of scale s, even s in the low nibble |
//! | 8..136  | `qs[128]`     | byte 16s + j: elements j (low) and j + 16 (high) of sub-block s |
//!
//! Source: ggml `block_iq4_xs`; gguf-py `IQ4_XS`.

use super::block::{Block256, Weights256, half_at, nan_scale, put_half};
use super::search::{IQ4_LEVELS, Iq4, symmetric_superblock};

/// Bytes of a block.
pub(super) const BYTES: usize = 136;
const D: usize = 0;
const SCALES_H: usize = 2;
const SCALES_L: usize = 4;
const QS: usize = 8;

pub(super) struct Iq4Xs;

impl Block256<BYTES> for Iq4Xs {
    fn unpack(block: &[u8; BYTES]) -> Weights256 {
        let mut scales = [0; 16];
        let mut q = [0; 256];
        for s in 0..8 {
            let low = (block[SCALES_L + s / 2] >> (4 * (s % 2))) & 15;
            let high = (block[SCALES_H + s / 4] >> (2 * (s % 4))) & 3;
            let scale = (low | (high << 4)) as i8 - 32;
            scales[2 * s] = scale;
            scales[2 * s + 1] = scale;
            for j in 0..16 {
                let byte = block[QS + 16 * s + j];
                q[32 * s + j] = IQ4_LEVELS[usize::from(byte & 15)];
                q[32 * s + 16 + j] = IQ4_LEVELS[usize::from(byte >> 4)];
            }
        }
        Weights256 {
            d: half_at(block, D),
            dmin: 0.0,
            scales,
            mins: [0; 16],
            q,
        }
    }

    fn quantize(x: &[f32; 256]) -> [u8; BYTES] {
        let best = symmetric_superblock::<Iq4, 32, 8>(x, 32.0);
        let mut block = [0; BYTES];
        put_half(&mut block, D, best.d);
        for s in 0..8 {
            let scale = (best.scales[s] + 32) as u8;
            block[SCALES_L + s / 2] |= (scale & 15) << (4 * (s % 2));
            block[SCALES_H + s / 4] |= (scale >> 4) << (2 * (s % 4));
            for j in 0..16 {
                block[QS + 16 * s + j] =
                    best.codes[32 * s + j] | (best.codes[32 * s + 16 + j] << 4);
            }
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
