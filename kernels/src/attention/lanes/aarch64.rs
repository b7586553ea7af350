//! Sixteen f32 in four ARM64 registers.
//!
//! Advanced SIMD is part of Rust's ARM64 targets; what later sets add, products of integers, has no
//! part in attention.

use super::{Kernel, Lanes};
use std::arch::aarch64::*;
use std::array::from_fn;

/// Four registers of 4.
pub(in crate::attention) struct Neon;

type V = [float32x4_t; 4];

// SAFETY of every block below: the trait's.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Lanes for Neon {
    type V = V;
    const ACCUMULATORS: usize = 4;
    #[inline(never)]
    unsafe fn run<K: Kernel>(kernel: K) -> K::Out {
        unsafe { kernel.body() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> V {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { from_fn(|i| vld1q_f32(p.add(4 * i))) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> V {
        unsafe { from_fn(|i| vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p.add(4 * i))))) }
    }
    #[inline(always)]
    unsafe fn splat_f16(p: *const u16) -> V {
        unsafe { [vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(p))); 4] }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> V {
        unsafe {
            let bytes = vld1q_s8(p);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(v: V, p: *mut f32) {
        unsafe {
            for i in 0..4 {
                vst1q_f32(p.add(4 * i), v[i])
            }
        }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        unsafe { from_fn(|i| vfmaq_f32(c[i], a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        unsafe { from_fn(|i| vmulq_f32(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        unsafe {
            // `fmax` would differ: it prefers NaN, and +0 to -0.
            from_fn(|i| vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]))
        }
    }
}
