//! Quantizing activations on ARM64. Equal to the scalar definition in [`super`] bit for bit.

use std::arch::aarch64::*;

use super::{ActFormat, Scale};

/// The parts of a row from `x`; see [`super::quantize`].
#[target_feature(enable = "neon")]
pub(super) fn quantize(
    format: ActFormat,
    x: &[f32],
    q: &mut [i8],
    d: &mut [f32],
    sums: &mut [i32],
) {
    if format == ActFormat::Q8x32 {
        blocks::<32>(x, q, d, Scale::of_32);
    } else {
        blocks::<256>(x, q, d, Scale::of_256);
    }
    for (sum, q) in sums.iter_mut().zip(q.chunks_exact(format.sum_block())) {
        *sum = 0;
        for q in q.as_chunks::<16>().0 {
            // SAFETY: `q` is 16 bytes.
            *sum += i32::from(vaddlvq_s8(unsafe { vld1q_s8(q.as_ptr()) }));
        }
    }
}

/// Scales and quants of blocks of N.
#[target_feature(enable = "neon")]
#[inline]
fn blocks<const N: usize>(x: &[f32], q: &mut [i8], d: &mut [f32], scale: fn(f32) -> Scale) {
    let blocks = x.as_chunks::<N>().0.iter().zip(q.as_chunks_mut::<N>().0);
    for ((x, q), d) in blocks.zip(d) {
        let scale = scale(signed_extreme(x));
        *d = scale.d;
        for (x, q) in x.as_chunks::<16>().0.iter().zip(q.as_chunks_mut::<16>().0) {
            quantize_16(x, q, scale);
        }
    }
}

/// As [`super::signed_extreme`].
#[target_feature(enable = "neon")]
#[inline]
fn signed_extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let (mut signed, mut unsigned) = (vdupq_n_s32(0), vdupq_n_u32(0));
    for x in x.as_chunks::<4>().0 {
        // SAFETY: `x` is four floats.
        let v = unsafe { vld1q_f32(x.as_ptr()) };
        signed = vmaxq_s32(signed, vreinterpretq_s32_f32(v));
        unsigned = vmaxq_u32(unsigned, vreinterpretq_u32_f32(v));
    }
    super::signed_extreme_of(x, vmaxvq_s32(signed).cast_unsigned(), vmaxvq_u32(unsigned))
}

/// 16 quants.
#[target_feature(enable = "neon")]
#[inline]
fn quantize_16(x: &[f32; 16], q: &mut [i8; 16], scale: Scale) {
    if scale.inverse == 0.0 {
        *q = [0; 16];
        return;
    }
    let part = |i: usize| {
        // SAFETY: i is 0, 4, 8 or 12: four floats from there on are within the 16.
        let v = unsafe { vld1q_f32(x.as_ptr().add(i)) };
        vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(v, scale.inverse)))
    };
    let low = vmovn_s16(vcombine_s16(part(0), part(4)));
    let high = vmovn_s16(vcombine_s16(part(8), part(12)));
    // SAFETY: `q` is 16 bytes.
    unsafe { vst1q_s8(q.as_mut_ptr(), vcombine_s8(low, high)) }
}
