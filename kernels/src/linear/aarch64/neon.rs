//! Armv8.0: `smull` multiplies bytes into i16, exactly, and `smlal` adds to these.
//!
//! Only as many products are added in i16 as cannot reach 2^15 for quants of that many bits;
//! `sadalp` then adds pairs of them into i32.

use core::arch::aarch64::*;

use super::vectors::{Dots, Vectors, signed};
use crate::linear::panels::panel_functions;
use crate::linear::vector::simd::Simd;

/// Products of 8 bytes at a time.
#[derive(Clone, Copy)]
pub(crate) struct Products;

/// The instruction set, as a type.
type Neon = Vectors<Products>;

panel_functions!(Neon, "neon");

/// How many products of a quant and an activation can be added in i16: each is at most
/// `(2^BITS - 1) * 127`, of 8 bits `128 * 127`. A power of two, or `len`, if that is less.
const fn summands(bits: u32, len: usize) -> usize {
    let (n, largest) = match bits {
        8 => (2, 128),
        6 => (4, 63),
        5 => (8, 31),
        _ => (8, 15),
    };
    assert!(bits == 8 || (1 << bits) - 1 <= largest);
    assert!(n * largest * 127 <= i16::MAX as usize);
    if n < len { n } else { len }
}

impl Dots for Products {
    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
    ) {
        let n = const { summands(BITS, LEN) };
        for t in 0..C {
            // SAFETY: the caller's: 4 * LEN bytes are readable at a[t].
            unsafe {
                // Sums of two positions, of the first two rows and of the other two.
                let mut sums = [vdupq_n_s32(0); 2];
                for chunk in 0..LEN / n {
                    let mut products = [vdupq_n_s16(0); 2];
                    for i in n * chunk..n * (chunk + 1) {
                        let q = signed(q[i]);
                        let four = a[t].add(4 * i).cast::<i32>().read_unaligned();
                        let a = signed(vdupq_n_s32(four));
                        products[0] = vmlal_s8(products[0], vget_low_s8(q), vget_low_s8(a));
                        products[1] = vmlal_high_s8(products[1], q, a);
                    }
                    sums[0] = vpadalq_s16(sums[0], products[0]);
                    sums[1] = vpadalq_s16(sums[1], products[1]);
                }
                acc[t] = vaddq_s32(acc[t], vpaddq_s32(sums[0], sums[1]));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        w: *const u8,
        a: *const u8,
    ) {
        let n = const { summands(BITS, LEN) };
        for first in (0..LEN).step_by(n) {
            // SAFETY: the caller's: LEN vectors 64 bytes apart, and 4 * C bytes for each.
            unsafe {
                let mut products = [[vdupq_n_s16(0); 2]; C];
                for i in first..first + n {
                    let q = vld1q_s8(w.add(64 * i).cast());
                    for t in 0..C {
                        let four = a.add(4 * (C * i + t)).cast::<i32>().read_unaligned();
                        let a = signed(vdupq_n_s32(four));
                        let [low, high] = &mut products[t];
                        *low = vmlal_s8(*low, vget_low_s8(q), vget_low_s8(a));
                        *high = vmlal_high_s8(*high, q, a);
                    }
                }
                for t in 0..C {
                    let [low, high] = products[t].map(|p| vpaddlq_s16(p));
                    acc[t] = vaddq_s32(acc[t], vpaddq_s32(low, high));
                }
            }
        }
    }
}
