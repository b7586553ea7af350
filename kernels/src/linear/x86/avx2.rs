//! AVX2 with FMA and F16C: a vector is half a tile, 8 rows.
//!
//! `vpmaddubsw` multiplies unsigned bytes by signed bytes and adds pairs into *saturating* i16, so
//! only as many of its results are added as cannot reach 2^15 for quants of that many bits. `vpmaddwd`
//! then adds pairs into i32, and multiplies by an integer scale at no cost. 8-bit weights stay
//! signed: their magnitude is multiplied by the activation with the weight's sign.

use core::arch::x86_64::*;

use super::NEVER;
use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::{Simd, TilesFrom};

/// The instruction set, as a type.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

panel_functions!(Avx2, "avx2,fma,f16c,bmi1,bmi2");

/// How many results of `vpmaddubsw` can be added in i16: each is at most `2 * (2^BITS - 1) * 127`
/// (for 8 bits the magnitude is at most 128: 32512). A power of two, or `len`, if that is less.
const fn summands(bits: u32, len: usize) -> usize {
    let n = match bits {
        8 => 1,
        6 => 2,
        5 => 4,
        _ => 8,
    };
    assert!(bits == 8 || n * 2 * ((1 << bits) - 1) * 127 <= i16::MAX as usize);
    if n < len { n } else { len }
}

impl Avx2 {
    /// `acc[t] += (sum of q * a) * scale` with the scale as equal i16 pairs.
    ///
    /// # Safety
    /// As the trait's.
    #[inline(always)]
    unsafe fn add_dot_times<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        q: &[__m256i; LEN],
        a: &[*const u8; C],
        scale: __m256i,
    ) {
        let n = const { summands(BITS, LEN) };
        // Written out: left to itself, the compiler keeps the longest of these loops, and q in memory.
        macro_rules! chunks {
            ($t:ident, $($i:literal)*) => {
                $(if $i < LEN / n {
                    // SAFETY: the caller keeps the trait's contract; LEN is a multiple of n.
                    unsafe {
                        let mut sum = Self::products::<BITS>(q[n * $i], a[$t].add(4 * n * $i));
                        for j in n * $i + 1..n * ($i + 1) {
                            let more = Self::products::<BITS>(q[j], a[$t].add(4 * j));
                            sum = _mm256_add_epi16(sum, more);
                        }
                        acc[$t] = _mm256_add_epi32(acc[$t], _mm256_madd_epi16(sum, scale));
                    }
                })*
            };
        }
        for t in 0..C {
            chunks!(t, 0 1 2 3 4 5 6 7);
        }
    }

    /// As [`Avx2::add_dot_times`], with operands as in [`Simd::add_tile_dot`].
    ///
    /// # Safety
    /// As the trait's.
    #[inline(always)]
    unsafe fn add_tile_dot_times<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        w: *const u8,
        a: *const u8,
        scale: __m256i,
    ) {
        let n = const { summands(BITS, LEN) };
        for first in (0..LEN).step_by(n) {
            // SAFETY: the caller keeps the trait's contract; LEN is a multiple of n.
            unsafe {
                let mut sums = [_mm256_setzero_si256(); C];
                for i in first..first + n {
                    let q = Self::load(w.add(64 * i));
                    for t in 0..C {
                        let products = Self::products::<BITS>(q, a.add(4 * (C * i + t)));
                        sums[t] = match i == first {
                            true => products,
                            false => _mm256_add_epi16(sums[t], products),
                        };
                    }
                }
                for t in 0..C {
                    acc[t] = _mm256_add_epi32(acc[t], _mm256_madd_epi16(sums[t], scale));
                }
            }
        }
    }

    /// Sums of two products, in i16.
    ///
    /// # Safety
    /// As the trait's.
    #[inline(always)]
    unsafe fn products<const BITS: u32>(q: __m256i, a: *const u8) -> __m256i {
        // SAFETY: the caller keeps the trait's contract.
        unsafe {
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            if BITS == 8 {
                _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q))
            } else {
                _mm256_maddubs_epi16(q, a)
            }
        }
    }
}

// SAFETY of every block below: the caller keeps the trait's contract (instruction set, pointers).
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    type I = __m256i;
    type F = __m256;
    type Scale = __m256i;

    const LANES: usize = 8;
    const WIDE_FLOATS: bool = false;
    const TILE_TOKENS: usize = 4;
    // Measured as for AVX-512, on the same machine. Of 8 bits, a tile takes the magnitude of every
    // weight again for each group.
    const TILES_FROM: TilesFrom = TilesFrom {
        four: 32,
        five: 32,
        eight: NEVER,
        superblocks: 16,
    };
    const BIAS8: i32 = 0;
    // Products of wider quants are dearer.
    const TILE_BIAS: Option<i32> = None;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }

    #[inline(always)]
    unsafe fn store(p: *mut u8, a: __m256i) {
        unsafe { _mm256_storeu_si256(p.cast(), a) }
    }

    #[inline(always)]
    unsafe fn load_table(table: &[u8; 16]) -> __m256i {
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn splat_u8(x: u8) -> __m256i {
        unsafe { _mm256_set1_epi8(x as i8) }
    }

    #[inline(always)]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    unsafe fn add_u8(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi8(a, b) }
    }

    #[inline(always)]
    unsafe fn shr(a: __m256i, n: usize) -> __m256i {
        unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(n as i32)) }
    }

    #[inline(always)]
    unsafe fn move_bit(a: __m256i, from: usize, to: usize) -> __m256i {
        unsafe {
            let low = Self::and(Self::shr(a, from), Self::splat_u8(1));
            _mm256_sll_epi32(low, _mm_cvtsi32_si128(to as i32))
        }
    }

    #[inline(always)]
    unsafe fn move_two_bits(a: __m256i, from: usize, to: usize) -> __m256i {
        unsafe {
            let low = Self::and(Self::shr(a, from), Self::splat_u8(3));
            _mm256_sll_epi32(low, _mm_cvtsi32_si128(to as i32))
        }
    }

    #[inline(always)]
    unsafe fn look_up(table: __m256i, i: __m256i) -> __m256i {
        unsafe { _mm256_shuffle_epi8(table, i) }
    }

    #[inline(always)]
    unsafe fn bytes_from_bits(p: *const u8, part: usize, value: u8) -> __m256i {
        unsafe {
            let bits = p.add(4 * part).cast::<i32>().read_unaligned();
            // Byte i of the vector gets byte i / 8 of the mask, and keeps bit i % 8 of it.
            let spread = _mm256_setr_epi64x(
                0,
                0x0101_0101_0101_0101,
                0x0202_0202_0202_0202,
                0x0303_0303_0303_0303,
            );
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            _mm256_and_si256(set, Self::splat_u8(value))
        }
    }

    #[inline(always)]
    unsafe fn from_i8(a: __m256i) -> __m256i {
        a
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn add_i32(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_i32(a: __m256i, by: i32) -> __m256i {
        unsafe { _mm256_mullo_epi32(a, _mm256_set1_epi32(by)) }
    }

    #[inline(always)]
    unsafe fn i16_pairs(first: *const u8, second: *const u8, by: i16) -> __m256i {
        unsafe {
            let first = _mm_loadl_epi64(first.cast());
            let second = _mm_loadl_epi64(second.cast());
            let pairs = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
            _mm256_mullo_epi16(pairs, _mm256_set1_epi16(by))
        }
    }

    #[inline(always)]
    unsafe fn add_pair_dot(acc: __m256i, a: __m256i, b: u32) -> __m256i {
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, _mm256_set1_epi32(b as i32))) }
    }

    #[inline(always)]
    unsafe fn load_scale(p: *const u8) -> __m256i {
        unsafe {
            let scales = _mm_loadl_epi64(p.cast());
            _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(scales, scales))
        }
    }

    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        q: &[__m256i; LEN],
        a: &[*const u8; C],
    ) {
        unsafe { Self::add_dot_times::<BITS, LEN, C>(acc, q, a, _mm256_set1_epi16(1)) }
    }

    #[inline(always)]
    unsafe fn add_scaled_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        q: &[__m256i; LEN],
        a: &[*const u8; C],
        scale: __m256i,
    ) {
        unsafe { Self::add_dot_times::<BITS, LEN, C>(acc, q, a, scale) }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        w: *const u8,
        a: *const u8,
    ) {
        unsafe {
            Self::add_tile_dot_times::<BITS, LEN, C>(acc, w, a, _mm256_set1_epi16(1));
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        _: [__m256i; C],
        w: *const u8,
        a: *const u8,
        scale: __m256i,
    ) {
        unsafe { Self::add_tile_dot_times::<BITS, LEN, C>(acc, w, a, scale) }
    }

    #[inline(always)]
    unsafe fn to_f32(a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> __m256 {
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m256 {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_e8m0_half(p: *const u8) -> __m256 {
        unsafe {
            let e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
            // The exponent field is e - 1; for e of 0 and 1 that is a subnormal.
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
            let small = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
            let is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
            _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small))
        }
    }

    #[inline(always)]
    unsafe fn store_f32(p: *mut f32, a: __m256) {
        unsafe { _mm256_storeu_ps(p, a) }
    }

    #[inline(always)]
    unsafe fn splat_f32(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
}
