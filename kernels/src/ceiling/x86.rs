//! The loops of readers and peaks that need AVX2, AVX-VNNI or AVX-512.
//!
//! A peak loop keeps its operands in registers and enough independent chains in flight to hide the
//! latency of its instruction on any processor so far (5 cycles on two ports: ten chains). Operands
//! pass through empty assembly, so that the compiler can neither fold a chain nor share one.

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Reads with 64-byte loads, `LOADS` in a row from each of `STREAMS` places.
///
/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn read_512<const STREAMS: usize, const LOADS: usize>(bytes: &[u8]) -> u64 {
    let part = bytes.len() / STREAMS / (64 * LOADS) * (64 * LOADS);
    let mut sums = [[_mm512_setzero_si512(); LOADS]; STREAMS];
    let mut at = 0;
    while at < part {
        for (s, sums) in sums.iter_mut().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: at + 64 * LOADS <= part, and STREAMS parts fit the slice.
                let x = unsafe {
                    _mm512_loadu_si512(bytes.as_ptr().add(s * part + at + 64 * i).cast())
                };
                *sum = _mm512_xor_si512(*sum, x);
            }
        }
        at += 64 * LOADS;
    }
    let mut all = _mm512_setzero_si512();
    for &sum in sums.iter().flatten() {
        all = _mm512_xor_si512(all, sum);
    }
    let mut words = [0_u64; 8];
    // SAFETY: 64 bytes of room.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), all) };
    words.iter().fold(0, |a, b| a ^ b)
}

/// Reads with 32-byte loads, `LOADS` in a row from each of `STREAMS` places.
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn read_256<const STREAMS: usize, const LOADS: usize>(bytes: &[u8]) -> u64 {
    let part = bytes.len() / STREAMS / (32 * LOADS) * (32 * LOADS);
    let mut sums = [[_mm256_setzero_si256(); LOADS]; STREAMS];
    let mut at = 0;
    while at < part {
        for (s, sums) in sums.iter_mut().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: at + 32 * LOADS <= part, and STREAMS parts fit the slice.
                let x = unsafe {
                    _mm256_loadu_si256(bytes.as_ptr().add(s * part + at + 32 * i).cast())
                };
                *sum = _mm256_xor_si256(*sum, x);
            }
        }
        at += 32 * LOADS;
    }
    let mut all = _mm256_setzero_si256();
    for &sum in sums.iter().flatten() {
        all = _mm256_xor_si256(all, sum);
    }
    let mut words = [0_u64; 4];
    // SAFETY: 32 bytes of room.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), all) };
    words.iter().fold(0, |a, b| a ^ b)
}

/// Makes a register's value unknown to the compiler, at no cost.
macro_rules! unknown {
    ($class:ident, $x:ident) => {
        // SAFETY: no instruction.
        unsafe { asm!("/* {0} */", inout($class) $x, options(nomem, nostack, preserves_flags)) }
    };
}

/// Multiply-adds of an iteration of [`int8_512`].
pub(super) const INT8_512: usize = 16 * 64;

/// 16 chains of `vpdpbusd` on 64 bytes.
///
/// # Safety
/// The CPU has AVX-512F and AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn int8_512(iterations: usize) {
    let mut a = _mm512_set1_epi8(black_box(3));
    let mut acc = [black_box(_mm512_setzero_si512()); 16];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(zmm_reg, a);
            *acc = _mm512_dpbusd_epi32(*acc, a, a);
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`bf16_512`].
pub(super) const BF16_512: usize = 16 * 32;

/// 16 chains of `vdpbf16ps` on 32 pairs.
///
/// # Safety
/// The CPU has AVX-512F and AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn bf16_512(iterations: usize) {
    let mut a = _mm512_set1_epi16(black_box(0x3f00));
    let mut acc = [black_box(_mm512_setzero_ps()); 16];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(zmm_reg, a);
            // SAFETY: both are 64 plain bytes.
            let pairs = unsafe { std::mem::transmute::<__m512i, __m512bh>(a) };
            *acc = _mm512_dpbf16_ps(*acc, pairs, pairs);
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`f32_512`].
pub(super) const F32_512: usize = 16 * 16;

/// 16 chains of fused multiply-adds on 16 floats.
///
/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn f32_512(iterations: usize) {
    let mut a = _mm512_set1_ps(black_box(0.5));
    let mut acc = [black_box(_mm512_setzero_ps()); 16];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(zmm_reg, a);
            *acc = _mm512_fmadd_ps(a, a, *acc);
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`int8_256`].
pub(super) const INT8_256: usize = 4 * 8 * 32;

/// `vpmaddubsw` on 32 bytes, summed in 16 bits eight at a time and then in 32: the shortest way that
/// AVX2 has, which 4-bit weights can go. Wider weights would saturate, and need a `vpmaddwd` for
/// each `vpmaddubsw`: half of this.
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn int8_256(iterations: usize) {
    let mut a = _mm256_set1_epi8(black_box(3));
    let ones = _mm256_set1_epi16(black_box(1));
    let mut acc = [black_box(_mm256_setzero_si256()); 4];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(ymm_reg, a);
            let mut sums = _mm256_maddubs_epi16(a, a);
            for _ in 1..8 {
                unknown!(ymm_reg, a);
                sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(a, a));
            }
            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(sums, ones));
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`int8_vnni`].
pub(super) const INT8_VNNI: usize = 12 * 32;

/// 12 chains of `vpdpbusd` on 32 bytes, in the VEX encoding.
///
/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) unsafe fn int8_vnni(iterations: usize) {
    let mut a = _mm256_set1_epi8(black_box(3));
    let mut acc = [black_box(_mm256_setzero_si256()); 12];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(ymm_reg, a);
            *acc = _mm256_dpbusd_avx_epi32(*acc, a, a);
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`f32_256`].
pub(super) const F32_256: usize = 12 * 8;

/// 12 chains of fused multiply-adds on 8 floats.
///
/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn f32_256(iterations: usize) {
    let mut a = _mm256_set1_ps(black_box(0.5));
    let mut acc = [black_box(_mm256_setzero_ps()); 12];
    for _ in 0..iterations {
        for acc in &mut acc {
            unknown!(ymm_reg, a);
            *acc = _mm256_fmadd_ps(a, a, *acc);
        }
    }
    black_box(acc);
}
