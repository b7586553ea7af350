//! Quantizing activations with AVX2, which AVX-512 machines run too. Equal to the scalar definition
//! in [`super`] bit for bit.
//!
//! With intrinsics, as rustc 1.95 makes gathers and byte inserts of the plain loops.

use std::arch::x86_64::*;

use super::{ActFormat, Scale};

/// The parts of a row from `x`; see [`super::quantize`].
#[target_feature(enable = "avx2")]
pub(super) fn quantize(
    format: ActFormat,
    x: &[f32],
    q: &mut [i8],
    d: &mut [f32],
    sums: &mut [i32],
) {
    if format == ActFormat::Q8x32 {
        let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
        for ((x, q), (d, sum)) in blocks.zip(d.iter_mut().zip(sums)) {
            let scale = Scale::of_32(signed_extreme(x));
            *d = scale.d;
            let [a, b] = quantize_32(x, q, scale);
            let s = _mm256_add_epi32(a, b);
            let s = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s));
            let s = _mm_hadd_epi32(s, s);
            *sum = _mm_cvtsi128_si32(_mm_hadd_epi32(s, s));
        }
    } else {
        let blocks = x
            .as_chunks::<256>()
            .0
            .iter()
            .zip(q.as_chunks_mut::<256>().0);
        for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sums.as_chunks_mut::<16>().0)) {
            let scale = Scale::of_256(signed_extreme(x));
            *d = scale.d;
            let pairs = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
            for ((x, q), sums) in pairs.zip(sums.as_chunks_mut::<2>().0) {
                let [a, b] = quantize_32(x, q, scale);
                let s = _mm256_hadd_epi32(a, b);
                let s = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s));
                let s = _mm_hadd_epi32(s, s);
                *sums = [_mm_cvtsi128_si32(s), _mm_extract_epi32::<1>(s)];
            }
        }
    }
}

/// As [`super::signed_extreme`].
#[target_feature(enable = "avx2")]
#[inline]
fn signed_extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let (mut signed, mut unsigned) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for x in x.as_chunks::<8>().0 {
        // SAFETY: `x` is 32 bytes.
        let bits = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        signed = _mm256_max_epi32(signed, bits);
        unsigned = _mm256_max_epu32(unsigned, bits);
    }
    let fold = |v, max: fn(__m128i, __m128i) -> __m128i| {
        let v = max(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
        let v = max(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
        _mm_cvtsi128_si32(max(v, _mm_shuffle_epi32::<0b10_11_00_01>(v))) as u32
    };
    let positive = fold(signed, |a, b| _mm_max_epi32(a, b));
    let negative = fold(unsigned, |a, b| _mm_max_epu32(a, b));
    super::signed_extreme_of(x, positive, negative)
}

/// 32 quants, and lanes that add up to the sums of the first and the second 16.
#[target_feature(enable = "avx2")]
#[inline]
fn quantize_32(x: &[f32; 32], q: &mut [i8; 32], scale: Scale) -> [__m256i; 2] {
    if scale.inverse == 0.0 {
        *q = [0; 32];
        return [_mm256_setzero_si256(); 2];
    }
    let inverse = _mm256_set1_ps(scale.inverse);
    let part = |i: usize| {
        // SAFETY: i is 0, 8, 16 or 24: eight floats from there on are within the 32.
        let v = unsafe { _mm256_loadu_ps(x.as_ptr().add(i)) };
        // Rounds to nearest even: Rust code runs with no other rounding mode.
        _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse))
    };
    let [a, b, c, d] = [part(0), part(8), part(16), part(24)];
    // Packing works within 128-bit halves: the result is a0 b0 c0 d0 a1 b1 c1 d1 in groups of 4.
    let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    // SAFETY: `q` is 32 bytes.
    unsafe {
        _mm256_storeu_si256(
            q.as_mut_ptr().cast(),
            _mm256_permutevar8x32_epi32(bytes, order),
        );
    }
    [_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)]
}
