//! What the integers and scales of a block mean: weights, and dot products with activations.
//!
//! A format file says how to read a block into [`Weights32`] or [`Weights256`] (or one float), and
//! how to write one; the three modules here say, once for all formats, how these become floats
//! ([`of32::dequantize`]) and dot products ([`of32::dot`]). This is the definition of every kernel.
//! Lengths are checked by the callers in `format/mod.rs`.

/// A format of single floats.
pub(super) trait Float<const BYTES: usize> {
    /// The element, exactly.
    fn decode(bytes: &[u8; BYTES]) -> f32;
    /// The nearest element.
    fn encode(x: f32) -> [u8; BYTES];
}

/// A block of 32 read into integers: `w[i] = d * q[i]`, and `+ m` if the format has a minimum.
pub(super) struct Weights32 {
    pub(super) d: f32,
    /// Zero, and not used, unless [`Block32::HAS_MIN`].
    pub(super) m: f32,
    pub(super) q: [i8; 32],
}

/// A format of blocks of 32 elements.
pub(super) trait Block32<const BYTES: usize> {
    /// Whether there is a term `m`.
    const HAS_MIN: bool = false;
    fn unpack(block: &[u8; BYTES]) -> Weights32;
    /// `x` is finite.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES];
    /// What stands for a block that cannot be quantized: it reads as NaN or infinite.
    fn poison() -> [u8; BYTES];
}

/// A block of 256 read into integers, with scales per 16 (repeated where the format has them per
/// 32): `w[i] = (d * scales[i/16]) * q[i]`, and `- dmin * mins[i/16]` if the format has minima.
pub(super) struct Weights256 {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [i8; 16],
    /// Zero, and not used, unless [`Block256::HAS_MIN`]. So is `dmin`.
    pub(super) mins: [i8; 16],
    pub(super) q: [i8; 256],
}

/// A format of superblocks of 256 elements.
pub(super) trait Block256<const BYTES: usize> {
    /// Whether there are minima.
    const HAS_MIN: bool = false;
    fn unpack(block: &[u8; BYTES]) -> Weights256;
    /// `x` is finite.
    fn quantize(x: &[f32; 256]) -> [u8; BYTES];
    /// What stands for a block that cannot be quantized: it reads as NaN.
    fn poison() -> [u8; BYTES];
}

/// The f16 at `block[at..at + 2]`, as f32. `at` is a constant of the format, within its block.
#[inline(always)]
pub(super) fn half_at<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Writes `x`, rounded to f16, at `block[at..at + 2]`, and returns what will be read.
#[inline(always)]
pub(super) fn put_half<const BYTES: usize>(block: &mut [u8; BYTES], at: usize, x: f32) -> f32 {
    let h = half::f16::from_f32(x);
    [block[at], block[at + 1]] = h.to_le_bytes();
    h.to_f32()
}

/// A block of zero bytes but for a NaN at `at`, its f16 scale.
pub(super) fn nan_scale<const BYTES: usize>(at: usize) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    put_half(&mut block, at, f32::NAN);
    block
}

fn all_finite(x: &[f32]) -> bool {
    // A sum of "is not finite" and not `all`: without an early exit it vectorizes.
    x.iter()
        .map(|v| u32::from(v.to_bits() & 0x7fff_ffff >= 0x7f80_0000))
        .sum::<u32>()
        == 0
}

/// Formats of single floats.
pub(super) mod floats {
    use super::Float;
    use crate::act::ActRow;

    pub(in crate::format) fn dequantize<F: Float<N>, const N: usize>(
        bytes: &[u8],
        out: &mut [f32],
    ) {
        for (w, o) in bytes.as_chunks().0.iter().zip(out) {
            *o = F::decode(w);
        }
    }

    pub(in crate::format) fn quantize<F: Float<N>, const N: usize>(x: &[f32], bytes: &mut [u8]) {
        for (v, w) in x.iter().zip(bytes.as_chunks_mut().0) {
            *w = F::encode(*v);
        }
    }

    /// `acc = fma(w, x, acc)`, k ascending, from 0.0.
    pub(in crate::format) fn dot<F: Float<N>, const N: usize>(row: &[u8], act: ActRow<'_>) -> f32 {
        let ActRow::Floats(x) = act else {
            return f32::NAN; // The caller has compared the activation formats.
        };
        let mut acc = 0.0;
        for (w, x) in row.as_chunks().0.iter().zip(x) {
            acc = F::decode(w).mul_add(*x, acc);
        }
        acc
    }
}

/// Formats of blocks of 32.
pub(super) mod of32 {
    use super::{Block32, all_finite};
    use crate::act::ActRow;

    pub(in crate::format) fn dequantize<B: Block32<N>, const N: usize>(
        blocks: &[u8],
        out: &mut [f32],
    ) {
        for (block, out) in blocks.as_chunks().0.iter().zip(out.as_chunks_mut::<32>().0) {
            let w = B::unpack(block);
            for (o, q) in out.iter_mut().zip(w.q) {
                *o = w.d * f32::from(q);
                if B::HAS_MIN {
                    *o += w.m;
                }
            }
        }
    }

    pub(in crate::format) fn quantize<B: Block32<N>, const N: usize>(x: &[f32], blocks: &mut [u8]) {
        for (x, block) in x.as_chunks().0.iter().zip(blocks.as_chunks_mut().0) {
            *block = if all_finite(x) {
                B::quantize(x)
            } else {
                B::poison()
            };
        }
    }

    /// Per block: `isum = sum(q * a)`; `acc = fma(d * d_a, isum, acc)`; with a minimum then
    /// `acc = fma(m, d_a * sum(a), acc)`.
    pub(in crate::format) fn dot<B: Block32<N>, const N: usize>(
        row: &[u8],
        act: ActRow<'_>,
    ) -> f32 {
        let ActRow::Q8 { q, d, sums, .. } = act else {
            return f32::NAN; // The caller has compared the activation formats.
        };
        let mut acc = 0.0;
        let blocks = row.as_chunks().0.iter().zip(q.as_chunks::<32>().0);
        for ((block, a), (d_a, sum)) in blocks.zip(d.iter().zip(sums)) {
            let w = B::unpack(block);
            let isum: i32 =
                w.q.iter()
                    .zip(a)
                    .map(|(&q, &a)| i32::from(q) * i32::from(a))
                    .sum();
            acc = (w.d * d_a).mul_add(isum as f32, acc);
            if B::HAS_MIN {
                acc = w.m.mul_add(d_a * *sum as f32, acc);
            }
        }
        acc
    }
}

/// Formats of superblocks of 256.
pub(super) mod of256 {
    use super::{Block256, all_finite};
    use crate::act::ActRow;

    pub(in crate::format) fn dequantize<B: Block256<N>, const N: usize>(
        blocks: &[u8],
        out: &mut [f32],
    ) {
        for (block, out) in blocks
            .as_chunks()
            .0
            .iter()
            .zip(out.as_chunks_mut::<256>().0)
        {
            let w = B::unpack(block);
            let subs = out
                .as_chunks_mut::<16>()
                .0
                .iter_mut()
                .zip(w.q.as_chunks::<16>().0);
            for ((out, q), (scale, min)) in subs.zip(w.scales.into_iter().zip(w.mins)) {
                let (d, m) = (w.d * f32::from(scale), w.dmin * f32::from(min));
                for (o, q) in out.iter_mut().zip(q) {
                    *o = d * f32::from(*q);
                    if B::HAS_MIN {
                        *o -= m;
                    }
                }
            }
        }
    }

    pub(in crate::format) fn quantize<B: Block256<N>, const N: usize>(
        x: &[f32],
        blocks: &mut [u8],
    ) {
        for (x, block) in x.as_chunks().0.iter().zip(blocks.as_chunks_mut().0) {
            *block = if all_finite(x) {
                B::quantize(x)
            } else {
                B::poison()
            };
        }
    }

    /// Per block: `isum = sum(scale * sum(q * a))`; `acc = fma(d * d_a, isum, acc)`; with minima
    /// then `msum = sum(min * sum(a))`; `acc = fma(-(dmin * d_a), msum, acc)`.
    ///
    /// |isum| < 2^31: 256 terms of at most 128 * 32 * 128 (Q6_K), or 32 * 127 * 128 (IQ4_XS).
    pub(in crate::format) fn dot<B: Block256<N>, const N: usize>(
        row: &[u8],
        act: ActRow<'_>,
    ) -> f32 {
        let ActRow::Q8 { q, d, sums, .. } = act else {
            return f32::NAN; // The caller has compared the activation formats.
        };
        let mut acc = 0.0;
        let blocks = row.as_chunks().0.iter().zip(q.as_chunks::<256>().0);
        for ((block, a), (d_a, sums)) in blocks.zip(d.iter().zip(sums.as_chunks::<16>().0)) {
            let w = B::unpack(block);
            let (mut isum, mut msum) = (0_i32, 0_i32);
            let subs = w.q.as_chunks::<16>().0.iter().zip(a.as_chunks::<16>().0);
            for ((q, a), (i, sum)) in subs.zip(sums.iter().enumerate()) {
                let sub: i32 = q
                    .iter()
                    .zip(a)
                    .map(|(&q, &a)| i32::from(q) * i32::from(a))
                    .sum();
                isum += i32::from(w.scales[i]) * sub;
                // Sums that the quantizer wrote cannot overflow; others may, and must not panic.
                msum = msum.wrapping_add(i32::from(w.mins[i]).wrapping_mul(*sum));
            }
            acc = (w.d * d_a).mul_add(isum as f32, acc);
            if B::HAS_MIN {
                acc = (-(w.dmin * d_a)).mul_add(msum as f32, acc);
            }
        }
        acc
    }
}
