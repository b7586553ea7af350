//! FEAT_I8MM: `smmla` multiplies 2 rows by 2 tokens over 8 positions, twice the products of `sdot`.
//!
//! Weights become pairs of rows by zipping two vectors, once for all tokens. A single token is left to
//! `sdot`. `usdot` has no use here: unsigned quants are below 128, so signed operands do.
//! In assembly, as `vmmlaq_s32` is not stable in Rust 1.95.

use core::arch::aarch64::*;
use core::arch::asm;

use super::dotprod::Quads;
use super::vectors::{Dots, Vectors};
use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::Simd;

/// Products of 2 x 8 by 8 x 2 matrices.
#[derive(Clone, Copy)]
pub(crate) struct Matrices;

/// The instruction set, as a type.
type I8mm = Vectors<Matrices>;

panel_functions!(I8mm, "neon,dotprod,i8mm");

/// `acc[2i + j] + sum over k < 8 of q[i][k] * a[j][k]`
///
/// # Safety
/// The CPU has FEAT_I8MM, and the function that this is inlined into enables it.
#[inline(always)]
unsafe fn smmla(acc: int32x4_t, q: int32x4_t, a: int64x2_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: registers only.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {q:v}.16b, {a:v}.16b",
            acc = inout(vreg) acc,
            q = in(vreg) q,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

impl Dots for Matrices {
    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
    ) {
        const { assert!(LEN.is_multiple_of(4) && LEN <= 8) };
        if C == 1 {
            // SAFETY: the caller's.
            return unsafe { Quads::add_dot::<BITS, LEN, C>(acc, q, a) };
        }
        const { assert!(C == 1 || C.is_multiple_of(2)) };
        // SAFETY: the caller's: the CPU has the instruction, and 4 * LEN bytes are readable at a[..].
        unsafe {
            // Eight positions of the first two rows, and of the other two.
            let mut rows = [[vdupq_n_s32(0); 2]; 4];
            for i in 0..LEN / 2 {
                let (even, odd) = (q[2 * i], q[2 * i + 1]);
                rows[i] = [vzip1q_s32(even, odd), vzip2q_s32(even, odd)];
            }
            for t in (0..C).step_by(2) {
                // Row by row, the first token's sum and the second's.
                let mut sums = [vdupq_n_s32(0); 2];
                for i in (0..LEN / 2).step_by(2) {
                    let x = vreinterpretq_s64_u8(vld1q_u8(a[t].add(8 * i)));
                    let y = vreinterpretq_s64_u8(vld1q_u8(a[t + 1].add(8 * i)));
                    let (early, late) = (vzip1q_s64(x, y), vzip2q_s64(x, y));
                    sums[0] = smmla(sums[0], rows[i][0], early);
                    sums[1] = smmla(sums[1], rows[i][1], early);
                    sums[0] = smmla(sums[0], rows[i + 1][0], late);
                    sums[1] = smmla(sums[1], rows[i + 1][1], late);
                }
                acc[t] = vaddq_s32(acc[t], vuzp1q_s32(sums[0], sums[1]));
                acc[t + 1] = vaddq_s32(acc[t + 1], vuzp2q_s32(sums[0], sums[1]));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        w: *const u8,
        a: *const u8,
    ) {
        const { assert!(C == 4 && LEN.is_multiple_of(2)) };
        // SAFETY: the caller's: LEN vectors 64 bytes apart, and 16 bytes for each.
        unsafe {
            // Of the first two rows and the other two, with the first two tokens and the other two.
            let mut sums = [[vdupq_n_s32(0); 2]; 2];
            for i in (0..LEN).step_by(2) {
                let load = |p: *const u8| vreinterpretq_s32_u8(vld1q_u8(p));
                let (even, odd) = (load(w.add(64 * i)), load(w.add(64 * (i + 1))));
                let rows = [vzip1q_s32(even, odd), vzip2q_s32(even, odd)];
                let (even, odd) = (load(a.add(16 * i)), load(a.add(16 * (i + 1))));
                let tokens = [vzip1q_s32(even, odd), vzip2q_s32(even, odd)];
                for r in 0..2 {
                    for t in 0..2 {
                        sums[t][r] = smmla(sums[t][r], rows[r], vreinterpretq_s64_s32(tokens[t]));
                    }
                }
            }
            for t in 0..2 {
                acc[2 * t] = vaddq_s32(acc[2 * t], vuzp1q_s32(sums[t][0], sums[t][1]));
                acc[2 * t + 1] = vaddq_s32(acc[2 * t + 1], vuzp2q_s32(sums[t][0], sums[t][1]));
            }
        }
    }
}
