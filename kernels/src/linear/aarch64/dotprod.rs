//! FEAT_DotProd: `sdot` adds four products of bytes to each 32-bit lane, and takes the activations'
//! four bytes from any quarter of a register, so 16 positions are one load and four instructions a
//! token.
//!
//! In assembly, as `vdotq_laneq_s32` is not stable in Rust 1.95.

use core::arch::aarch64::*;
use core::arch::asm;

use super::vectors::{Dots, Vectors, signed};
use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::Simd;

/// Sums of four products.
#[derive(Clone, Copy)]
pub(crate) struct Quads;

/// The instruction set, as a type.
type Dotprod = Vectors<Quads>;

/// Tokens of a register tile.
const TILE_TOKENS: usize = Dotprod::TILE_TOKENS;

panel_functions!(Dotprod, "neon,dotprod");

/// `acc[r] + sum over k < 4 of q[r][k] * a[LANE][k]`
///
/// # Safety
/// The CPU has FEAT_DotProd, and the function that this is inlined into enables it.
#[inline(always)]
unsafe fn sdot<const LANE: usize>(acc: int32x4_t, q: int8x16_t, a: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: registers only.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {q:v}.16b, {a:v}.4b[{lane}]",
            acc = inout(vreg) acc,
            q = in(vreg) q,
            a = in(vreg) a,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

impl Dots for Quads {
    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
    ) {
        const { assert!(LEN.is_multiple_of(4)) };
        for i in (0..LEN).step_by(4) {
            // SAFETY: the caller's: the CPU has the instruction, and 4 * LEN bytes are readable.
            unsafe {
                let mut x = [vdupq_n_s8(0); C];
                for t in 0..C {
                    x[t] = vld1q_s8(a[t].add(4 * i).cast());
                }
                // C chains side by side: the instruction has a latency of several cycles.
                for t in 0..C {
                    acc[t] = sdot::<0>(acc[t], signed(q[i]), x[t]);
                }
                for t in 0..C {
                    acc[t] = sdot::<1>(acc[t], signed(q[i + 1]), x[t]);
                }
                for t in 0..C {
                    acc[t] = sdot::<2>(acc[t], signed(q[i + 2]), x[t]);
                }
                for t in 0..C {
                    acc[t] = sdot::<3>(acc[t], signed(q[i + 3]), x[t]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        w: *const u8,
        a: *const u8,
    ) {
        const { assert!(C == TILE_TOKENS) };
        for i in 0..LEN {
            // SAFETY: the caller's: LEN vectors 64 bytes apart, and 16 bytes for each.
            unsafe {
                let q = vld1q_s8(w.add(64 * i).cast());
                let a = vld1q_s8(a.add(16 * i).cast());
                acc[0] = sdot::<0>(acc[0], q, a);
                acc[1] = sdot::<1>(acc[1], q, a);
                acc[2] = sdot::<2>(acc[2], q, a);
                acc[3] = sdot::<3>(acc[3], q, a);
            }
        }
    }
}
