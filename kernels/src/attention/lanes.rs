//! Sixteen f32 as one vector, for each instruction set.
//!
//! In: addresses and vectors. Out: vectors. Every operation is exact or rounded once per lane, by
//! IEEE 754, so that code written over [`Lanes`] gives the same bits on every implementation.

/// A piece of code that is compiled once per instruction set, by [`Lanes::run`], and not into
/// each of its callers: kernels come in many variants, and compile times add up.
pub(super) trait Kernel {
    /// What it returns.
    type Out;
    /// The code; implementations are `#[inline(always)]`.
    unsafe fn body(self) -> Self::Out;
}

/// One instruction set's vectors of 16 f32.
///
/// # Safety
/// All methods: the CPU has the implementation's instruction set, and pointers are valid for
/// reads (writes) of 16 elements (`splat_f16`: of one), at any alignment.
#[allow(clippy::missing_safety_doc)] // said once, above
pub(super) trait Lanes {
    /// 16 f32.
    type V: Copy;
    /// How many accumulators of 16 f32 the registers hold beside operands: 1, 4 or 16.
    const ACCUMULATORS: usize;
    /// Runs a kernel compiled for this instruction set.
    unsafe fn run<K: Kernel>(kernel: K) -> K::Out;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    /// Converts f16, exactly.
    unsafe fn load_f16(p: *const u16) -> Self::V;
    /// Converts one f16, exactly, into all lanes.
    unsafe fn splat_f16(p: *const u16) -> Self::V;
    /// Converts i8, exactly.
    unsafe fn load_i8(p: *const i8) -> Self::V;
    unsafe fn store(v: Self::V, p: *mut f32);
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
}

/// The f32 of a 16-bit float's bits, exactly, without branches.
#[inline(always)]
pub(super) fn f16_to_f32(h: u16) -> f32 {
    let h = u32::from(h);
    let magnitude = (h & 0x7fff) << 13;
    // 2^112 moves the exponent's bias from 15 to 127, subnormals included.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if magnitude >= 0x0f80_0000 {
        0x7f80_0000
    } else {
        0
    };
    f32::from_bits(scaled | special | ((h & 0x8000) << 16))
}

/// Plain Rust: the definition.
pub(super) struct Portable;

impl Lanes for Portable {
    type V = [f32; 16];
    const ACCUMULATORS: usize = 1;
    #[inline(never)]
    unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
        // SAFETY: the caller's.
        unsafe { kernel.body() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 16] {
        // SAFETY: the trait's.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> [f32; 16] {
        // SAFETY: the trait's.
        unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(f16_to_f32)
    }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> [f32; 16] {
        // SAFETY: the trait's.
        [f16_to_f32(unsafe { p.read_unaligned() }); 16]
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> [f32; 16] {
        // SAFETY: the trait's.
        unsafe { p.cast::<[i8; 16]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store(v: [f32; 16], p: *mut f32) {
        // SAFETY: the trait's.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        let mut r = c;
        for i in 0..16 {
            r[i] = a[i].mul_add(b[i], c[i]);
        }
        r
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        let mut r = a;
        for i in 0..16 {
            r[i] = a[i] * b[i];
        }
        r
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        let mut r = b;
        for i in 0..16 {
            r[i] = if a[i] > b[i] { a[i] } else { b[i] };
        }
        r
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Lanes};
    use std::arch::x86_64::*;

    /// Two registers of 8.
    pub(in crate::attention) struct Avx2;

    // SAFETY of every block below: the trait's.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Avx2 {
        type V = [__m256; 2];
        const ACCUMULATORS: usize = 4;
        #[inline(always)]
        unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
            #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
            unsafe fn compiled<K: Kernel>(kernel: K) -> K::Out {
                unsafe { kernel.body() }
            }
            unsafe { compiled(kernel) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> [__m256; 2] {
            unsafe { [_mm256_set1_ps(x); 2] }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> [__m256; 2] {
            unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> [__m256; 2] {
            unsafe {
                let half = |p: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(p.cast()));
                [half(p), half(p.add(8))]
            }
        }
        #[inline(always)]
        unsafe fn splat_f16(p: *const u16) -> [__m256; 2] {
            unsafe { [_mm256_cvtph_ps(_mm_set1_epi16(p.read_unaligned().cast_signed())); 2] }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> [__m256; 2] {
            unsafe {
                let half = |p: *const i8| {
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())))
                };
                [half(p), half(p.add(8))]
            }
        }
        #[inline(always)]
        unsafe fn store(v: [__m256; 2], p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, v[0]);
                _mm256_storeu_ps(p.add(8), v[1]);
            }
        }
        #[inline(always)]
        unsafe fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            unsafe {
                [
                    _mm256_fmadd_ps(a[0], b[0], c[0]),
                    _mm256_fmadd_ps(a[1], b[1], c[1]),
                ]
            }
        }
        #[inline(always)]
        unsafe fn mul(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn max(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        }
    }

    /// One register of 16.
    pub(in crate::attention) struct Avx512;

    // SAFETY of every block below: the trait's.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Avx512 {
        type V = __m512;
        const ACCUMULATORS: usize = 16;
        #[inline(always)]
        unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
            #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,avx512f,avx512bw,avx512vl,avx512dq")]
            unsafe fn compiled<K: Kernel>(kernel: K) -> K::Out {
                unsafe { kernel.body() }
            }
            unsafe { compiled(kernel) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
        }
        #[inline(always)]
        unsafe fn splat_f16(p: *const u16) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(p.read_unaligned().cast_signed())) }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store(v: __m512, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::Neon;

#[cfg(test)]
mod tests {
    #[test]
    fn all_f16_convert_exactly() {
        for bits in 0..=u16::MAX {
            let (got, want) = (super::f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                "{bits:#x}"
            );
        }
    }
}
