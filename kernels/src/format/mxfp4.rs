//! MXFP4: 32 weights, 4-bit floats (E2M1) with a power of two; `w = 2^(e - 128) * level[q]`, where
//! the levels are doubled to be whole.
//!
//! | bytes  | field    | content                                                |
//! |--------|----------|--------------------------------------------------------|
//! | 0      | `e`      | u8: the E8M0 exponent, bias 127                        |
//! | 1..17  | `qs[16]` | byte j: element j in the low nibble, j + 16 in the high |
//!
//! A nibble is sign, two exponent bits, one mantissa bit. `e` = 255 is a NaN in the OCP
//! specification, but 2^127 to ggml, and so here.
//! Source: ggml `block_mxfp4`; gguf-py `MXFP4`; OCP Microscaling Formats (MX) 1.0.

use super::block::{Block32, Weights32};

/// Bytes of a block.
pub(super) const BYTES: usize = 17;
const E: usize = 0;
const QS: usize = 1;

/// Twice the value of every E2M1 number.
const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) struct Mxfp4;

/// 2^(e - 128), subnormal for e < 2.
fn power(e: u8) -> f32 {
    match e {
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        _ => f32::from_bits((u32::from(e) - 1) << 23),
    }
}

/// The nibble nearest to `v`; of two equally near the smaller magnitude, and never -0.
fn nibble(v: f32) -> u8 {
    const MIDDLES: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];
    let magnitude: u8 = MIDDLES.iter().map(|m| u8::from(v.abs() > *m)).sum();
    if v < 0.0 && magnitude > 0 {
        magnitude | 8
    } else {
        magnitude
    }
}

impl Block32<BYTES> for Mxfp4 {
    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        let mut q = [0; 32];
        for j in 0..16 {
            q[j] = LEVELS[usize::from(block[QS + j] & 15)];
            q[j + 16] = LEVELS[usize::from(block[QS + j] >> 4)];
        }
        Weights32 {
            d: power(block[E]),
            m: 0.0,
            q,
        }
    }

    /// The exponent that ggml takes puts the largest magnitude into [4, 8) of levels up to 6: it may
    /// be clipped. The next larger one never clips but is coarser. The better of both is kept.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let amax = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        // The biased exponent of amax, less 2 as levels reach 2^2.
        let least = ((amax.to_bits() >> 23) as i32 - 2).clamp(0, 254);
        let mut best = (f32::INFINITY, [0; BYTES]);
        for e in [least as u8, (least as u8).saturating_add(1).min(254)] {
            let d = power(e);
            // d >= 2^-128 and d <= 2^126: the inverse is exact and finite.
            let id = 1.0 / d;
            let mut block = [0; BYTES];
            block[E] = e;
            let mut error = 0.0;
            let mut code = |v: f32| {
                let nibble = nibble(v * id);
                // In units of d, so that it neither overflows nor vanishes.
                let difference = f32::from(LEVELS[usize::from(nibble)]) - v * id;
                // Relative to the smaller of both units.
                let unit = if e as i32 == least { 1.0 } else { 4.0 };
                error += unit * difference * difference;
                nibble
            };
            for j in 0..16 {
                block[QS + j] = code(x[j]) | (code(x[j + 16]) << 4);
            }
            if error < best.0 {
                best = (error, block);
            }
        }
        best.1
    }

    /// There is no NaN: the largest exponent and levels, which are infinite.
    fn poison() -> [u8; BYTES] {
        let mut block = [0x77; BYTES];
        block[E] = 255;
        block
    }
}
