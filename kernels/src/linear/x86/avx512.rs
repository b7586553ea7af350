//! AVX-512 with VNNI: a vector is a whole tile's 16 rows.
//!
//! `vpdpbusd` multiplies unsigned weights by signed activations, four positions of K at a time, and
//! takes the activations' 32 bits straight from memory (`{1to16}`), so a dot product over 32
//! positions is eight instructions a token. 8-bit weights are made unsigned by adding 128.

use core::arch::x86_64::*;

use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::{Simd, TilesFrom};

/// The instruction set, as a type.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

panel_functions!(
    Avx512,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,bmi1,bmi2"
);

// SAFETY of every block below: the caller keeps the trait's contract (instruction set, pointers).
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type I = __m512i;
    type F = __m512;
    type Scale = __m512i;

    const LANES: usize = 16;
    const WIDE_FLOATS: bool = true;
    const TILE_TOKENS: usize = 12;
    // Measured on a Zen 4 with matrices of 768 and 2048 columns and 16 to 256 tokens, each way.
    const TILES_FROM: TilesFrom = TilesFrom {
        four: 48,
        five: 48,
        eight: 48,
        superblocks: 48,
    };
    const BIAS8: i32 = 128;
    const TILE_BIAS: Option<i32> = Some(128);

    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }

    #[inline(always)]
    unsafe fn store(p: *mut u8, a: __m512i) {
        unsafe { _mm512_storeu_si512(p.cast(), a) }
    }

    #[inline(always)]
    unsafe fn load_table(table: &[u8; 16]) -> __m512i {
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn splat_u8(x: u8) -> __m512i {
        unsafe { _mm512_set1_epi8(x as i8) }
    }

    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn add_u8(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi8(a, b) }
    }

    #[inline(always)]
    unsafe fn shr(a: __m512i, n: usize) -> __m512i {
        unsafe { _mm512_srlv_epi32(a, _mm512_set1_epi32(n as i32)) }
    }

    #[inline(always)]
    unsafe fn move_bit(a: __m512i, from: usize, to: usize) -> __m512i {
        unsafe {
            // A rotation moves every byte's bit to its place; what it carries across is masked off.
            let by = _mm512_set1_epi32((from as i32 - to as i32) & 31);
            _mm512_and_si512(_mm512_rorv_epi32(a, by), _mm512_set1_epi8(1 << to))
        }
    }

    #[inline(always)]
    unsafe fn move_two_bits(a: __m512i, from: usize, to: usize) -> __m512i {
        unsafe {
            let by = _mm512_set1_epi32((from as i32 - to as i32) & 31);
            _mm512_and_si512(_mm512_rorv_epi32(a, by), _mm512_set1_epi8(3 << to))
        }
    }

    #[inline(always)]
    unsafe fn look_up(table: __m512i, i: __m512i) -> __m512i {
        unsafe { _mm512_shuffle_epi8(table, i) }
    }

    #[inline(always)]
    unsafe fn bytes_from_bits(p: *const u8, _part: usize, value: u8) -> __m512i {
        unsafe {
            let bits = p.cast::<u64>().read_unaligned();
            _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(value as i8))
        }
    }

    #[inline(always)]
    unsafe fn from_i8(a: __m512i) -> __m512i {
        unsafe { _mm512_xor_si512(a, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(x) }
    }

    #[inline(always)]
    unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_i32(a: __m512i, by: i32) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, _mm512_set1_epi32(by)) }
    }

    #[inline(always)]
    unsafe fn i16_pairs(first: *const u8, second: *const u8, by: i16) -> __m512i {
        unsafe {
            let first = _mm512_cvtepi8_epi32(_mm_loadu_si128(first.cast()));
            let second = _mm512_cvtepi8_epi32(_mm_loadu_si128(second.cast()));
            let pairs =
                _mm512_mask_blend_epi16(0xAAAA_AAAA, first, _mm512_slli_epi32::<16>(second));
            _mm512_mullo_epi16(pairs, _mm512_set1_epi16(by))
        }
    }

    #[inline(always)]
    unsafe fn add_pair_dot(acc: __m512i, a: __m512i, b: u32) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(acc, a, _mm512_set1_epi32(b as i32)) }
    }

    #[inline(always)]
    unsafe fn load_scale(p: *const u8) -> __m512i {
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m512i; C],
        q: &[__m512i; LEN],
        a: &[*const u8; C],
    ) {
        // C chains side by side: the instruction has a latency of 4 cycles.
        for i in 0..LEN {
            for t in 0..C {
                unsafe {
                    let a = _mm512_set1_epi32(a[t].add(4 * i).cast::<i32>().read_unaligned());
                    acc[t] = _mm512_dpbusd_epi32(acc[t], q[i], a);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m512i; C],
        q: &[__m512i; LEN],
        a: &[*const u8; C],
        scale: __m512i,
    ) {
        unsafe {
            let mut sums = [Self::zero(); C];
            Self::add_dot::<BITS, LEN, C>(&mut sums, q, a);
            for t in 0..C {
                acc[t] = _mm512_add_epi32(acc[t], _mm512_mullo_epi32(sums[t], scale));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m512i; C],
        w: *const u8,
        a: *const u8,
    ) {
        for i in 0..LEN {
            unsafe {
                let q = Self::load(w.add(64 * i));
                for t in 0..C {
                    let a = a.add(4 * (C * i + t)).cast::<i32>().read_unaligned();
                    acc[t] = _mm512_dpbusd_epi32(acc[t], q, _mm512_set1_epi32(a));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m512i; C],
        start: [__m512i; C],
        w: *const u8,
        a: *const u8,
        scale: __m512i,
    ) {
        unsafe {
            let mut sums = start;
            Self::add_tile_dot::<BITS, LEN, C>(&mut sums, w, a);
            for t in 0..C {
                acc[t] = _mm512_add_epi32(acc[t], _mm512_mullo_epi32(sums[t], scale));
            }
        }
    }

    #[inline(always)]
    unsafe fn to_f32(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> __m512 {
        unsafe { _mm512_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_e8m0_half(p: *const u8) -> __m512 {
        unsafe {
            let e = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
            // The exponent field is e - 1; for e of 0 and 1 that is a subnormal.
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            let small = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
            let is_small = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
            _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_small, small))
        }
    }

    #[inline(always)]
    unsafe fn store_f32(p: *mut f32, a: __m512) {
        unsafe { _mm512_storeu_ps(p, a) }
    }

    #[inline(always)]
    unsafe fn splat_f32(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
}
