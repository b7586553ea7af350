//! AVX2 with AVX-VNNI: a vector is half a tile, 8 rows, and `vpdpbusd` adds four products to each.
//!
//! Two instructions set it apart from [`Avx2`], whose vector operations it has for the rest. They
//! exist in two encodings, which CPUs have independently of each other: VEX (AVX-VNNI: most CPUs with
//! it lack AVX-512) and EVEX (AVX-512 VNNI with VL). [`Encoding`] is all that differs between the
//! kernels that run on the former and their twins for the latter, which tests run on CPUs that lack
//! the former: to hob itself, such a CPU does not have this instruction set.

use core::arch::x86_64::*;
use std::marker::PhantomData;

use super::avx2::Avx2;
use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::{Simd, TilesFrom};

#[cfg(test)]
mod tests;

/// The two instructions, in one encoding.
///
/// # Safety
/// The CPU has them, and the function that they are inlined into enables them.
trait Encoding: Copy {
    /// `acc +` four products of unsigned by signed bytes, in each lane.
    unsafe fn dpbusd(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i;
    /// `acc +` two products of i16, in each lane.
    unsafe fn dpwssd(acc: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

/// The encoding of AVX-VNNI.
#[derive(Clone, Copy)]
struct Vex;

impl Encoding for Vex {
    #[inline(always)]
    unsafe fn dpbusd(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_avx_epi32(acc, unsigned, signed) }
    }
    #[inline(always)]
    unsafe fn dpwssd(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpwssd_avx_epi32(acc, a, b) }
    }
}

/// The instruction set, as a type.
#[derive(Clone, Copy)]
struct Vnni<E>(PhantomData<E>);

type AvxVnni = Vnni<Vex>;

panel_functions!(AvxVnni, "avx2,fma,f16c,bmi1,bmi2,avxvnni");

/// Defines operations as those of [`Avx2`].
macro_rules! as_avx2 {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            unsafe { <Avx2 as Simd>::$name($($arg),*) }
        }
    )*};
}

// SAFETY of every block below: the caller keeps the trait's contract (instruction set, pointers).
#[allow(clippy::undocumented_unsafe_blocks)]
impl<E: Encoding> Simd for Vnni<E> {
    type I = __m256i;
    type F = __m256;
    type Scale = __m256i;

    const LANES: usize = Avx2::LANES;
    const WIDE_FLOATS: bool = Avx2::WIDE_FLOATS;
    const TILE_TOKENS: usize = Avx2::TILE_TOKENS;
    // Not measured, for want of such a CPU: those of AVX-512, whose instructions these are.
    const TILES_FROM: TilesFrom = super::avx512::Avx512::TILES_FROM;
    const BIAS8: i32 = 128;
    const TILE_BIAS: Option<i32> = Some(128);

    as_avx2! {
        fn load(p: *const u8) -> __m256i;
        fn store(p: *mut u8, a: __m256i);
        fn load_table(table: &[u8; 16]) -> __m256i;
        fn splat_u8(x: u8) -> __m256i;
        fn and(a: __m256i, b: __m256i) -> __m256i;
        fn or(a: __m256i, b: __m256i) -> __m256i;
        fn add_u8(a: __m256i, b: __m256i) -> __m256i;
        fn shr(a: __m256i, n: usize) -> __m256i;
        fn move_bit(a: __m256i, from: usize, to: usize) -> __m256i;
        fn move_two_bits(a: __m256i, from: usize, to: usize) -> __m256i;
        fn look_up(table: __m256i, i: __m256i) -> __m256i;
        fn bytes_from_bits(p: *const u8, part: usize, value: u8) -> __m256i;
        fn zero() -> __m256i;
        fn splat_i32(x: i32) -> __m256i;
        fn add_i32(a: __m256i, b: __m256i) -> __m256i;
        fn mul_i32(a: __m256i, by: i32) -> __m256i;
        fn i16_pairs(first: *const u8, second: *const u8, by: i16) -> __m256i;
        fn to_f32(a: __m256i) -> __m256;
        fn load_f32(p: *const u8) -> __m256;
        fn load_f16(p: *const u8) -> __m256;
        fn load_bf16(p: *const u8) -> __m256;
        fn load_e8m0_half(p: *const u8) -> __m256;
        fn store_f32(p: *mut f32, a: __m256);
        fn splat_f32(x: f32) -> __m256;
        fn mul(a: __m256, b: __m256) -> __m256;
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256;
        fn fnma(a: __m256, b: __m256, c: __m256) -> __m256;
    }

    #[inline(always)]
    unsafe fn from_i8(a: __m256i) -> __m256i {
        unsafe { _mm256_xor_si256(a, _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn add_pair_dot(acc: __m256i, a: __m256i, b: u32) -> __m256i {
        unsafe { E::dpwssd(acc, a, _mm256_set1_epi32(b as i32)) }
    }

    #[inline(always)]
    unsafe fn load_scale(p: *const u8) -> __m256i {
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())) }
    }

    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        q: &[__m256i; LEN],
        a: &[*const u8; C],
    ) {
        // C chains side by side: the instruction has a latency of several cycles.
        for i in 0..LEN {
            for t in 0..C {
                unsafe {
                    let a = _mm256_set1_epi32(a[t].add(4 * i).cast::<i32>().read_unaligned());
                    acc[t] = E::dpbusd(acc[t], q[i], a);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        q: &[__m256i; LEN],
        a: &[*const u8; C],
        scale: __m256i,
    ) {
        unsafe {
            let mut sums = [Self::zero(); C];
            Self::add_dot::<BITS, LEN, C>(&mut sums, q, a);
            for t in 0..C {
                acc[t] = _mm256_add_epi32(acc[t], _mm256_mullo_epi32(sums[t], scale));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        w: *const u8,
        a: *const u8,
    ) {
        for i in 0..LEN {
            unsafe {
                let q = Self::load(w.add(64 * i));
                for t in 0..C {
                    let a = a.add(4 * (C * i + t)).cast::<i32>().read_unaligned();
                    acc[t] = E::dpbusd(acc[t], q, _mm256_set1_epi32(a));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_scaled_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [__m256i; C],
        start: [__m256i; C],
        w: *const u8,
        a: *const u8,
        scale: __m256i,
    ) {
        unsafe {
            let mut sums = start;
            Self::add_tile_dot::<BITS, LEN, C>(&mut sums, w, a);
            for t in 0..C {
                acc[t] = _mm256_add_epi32(acc[t], _mm256_mullo_epi32(sums[t], scale));
            }
        }
    }
}
