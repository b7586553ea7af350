//! The loops of peaks that the compiler would not find by itself on ARM64. Loads and fused
//! multiply-adds of floats need none: the target's baseline has them.
//!
//! As in `x86`: operands in registers, and enough independent chains.

use std::arch::aarch64::*;
use std::arch::asm;
use std::hint::black_box;

/// Chains: twice the latency of the slowest of these instructions (4 cycles) on four pipes.
const CHAINS: usize = 16;

/// Multiply-adds of an iteration of [`int8_neon`].
pub(super) const INT8_NEON: usize = 8 * 8 * 16;

/// `smlal` and `smlal2` on 16 bytes, summed in 16 bits eight at a time and then in 32: the shortest
/// way that Advanced SIMD has, which 4-bit weights can go. Wider weights would overflow.
///
/// # Safety
/// The CPU has Advanced SIMD.
#[target_feature(enable = "neon")]
pub(super) unsafe fn int8_neon(iterations: usize) {
    let mut a = vdupq_n_s8(black_box(3));
    let mut acc = [black_box(vdupq_n_s32(0)); 8];
    for _ in 0..iterations {
        for acc in &mut acc {
            let mut sums = vdupq_n_s16(0);
            for _ in 0..8 {
                // SAFETY: no instruction; the value becomes unknown to the compiler.
                unsafe {
                    asm!("/* {0:v} */", inout(vreg) a, options(nomem, nostack, preserves_flags));
                }
                sums = vmlal_s8(sums, vget_low_s8(a), vget_low_s8(a));
                sums = vmlal_high_s8(sums, a, a);
            }
            *acc = vpadalq_s16(*acc, sums);
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`int8_dotprod`].
pub(super) const INT8_DOTPROD: usize = CHAINS * 16;

/// Chains of `sdot`, four products a lane.
///
/// # Safety
/// The CPU has FEAT_DotProd.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn int8_dotprod(iterations: usize) {
    let a = vdupq_n_s8(black_box(3));
    let mut acc = [black_box(vdupq_n_s32(0)); CHAINS];
    for _ in 0..iterations {
        for acc in &mut acc {
            // SAFETY: registers only; the CPU has it, by the caller.
            unsafe {
                asm!(
                    "sdot {0:v}.4s, {1:v}.16b, {1:v}.16b",
                    inout(vreg) *acc, in(vreg) a,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`int8_i8mm`].
pub(super) const INT8_I8MM: usize = CHAINS * 32;

/// Chains of `smmla`, eight products a lane.
///
/// # Safety
/// The CPU has FEAT_I8MM.
#[target_feature(enable = "neon,i8mm")]
pub(super) unsafe fn int8_i8mm(iterations: usize) {
    let a = vdupq_n_s8(black_box(3));
    let mut acc = [black_box(vdupq_n_s32(0)); CHAINS];
    for _ in 0..iterations {
        for acc in &mut acc {
            // SAFETY: registers only; the CPU has it, by the caller.
            unsafe {
                asm!(
                    "smmla {0:v}.4s, {1:v}.16b, {1:v}.16b",
                    inout(vreg) *acc, in(vreg) a,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
    }
    black_box(acc);
}

/// Multiply-adds of an iteration of [`f32_neon`].
pub(super) const F32_NEON: usize = CHAINS * 4;

/// Chains of fused multiply-adds on 4 floats.
///
/// # Safety
/// The CPU has Advanced SIMD.
#[target_feature(enable = "neon")]
pub(super) unsafe fn f32_neon(iterations: usize) {
    let mut a = vdupq_n_f32(black_box(0.5));
    let mut acc = [black_box(vdupq_n_f32(0.0)); CHAINS];
    for _ in 0..iterations {
        for acc in &mut acc {
            // SAFETY: no instruction; the value becomes unknown to the compiler.
            unsafe {
                asm!("/* {0:v} */", inout(vreg) a, options(nomem, nostack, preserves_flags));
            }
            *acc = vfmaq_f32(*acc, a, a);
        }
    }
    black_box(acc);
}
