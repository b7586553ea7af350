//! What all ARM64 sets have in common: every vector operation but the dot products.
//!
//! Subnormals are not flushed, and f16 is IEEE's: Rust code runs with the default floating-point
//! control register.

use core::arch::aarch64::*;
use std::marker::PhantomData;

use crate::linear::vector::simd::{Simd, TilesFrom};

/// The dot products of an instruction set: all that tells one ARM64 set from another.
///
/// # Safety
/// As [`Simd`].
pub(super) trait Dots: Copy {
    /// As [`Simd::add_dot`]. All quants are signed bytes: unsigned ones are below 128.
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
    );
    /// As [`Simd::add_tile_dot`]: activations `[LEN][C][4]`.
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        w: *const u8,
        a: *const u8,
    );
}

/// The instruction set that has these dot products, as a type.
#[derive(Clone, Copy)]
pub(super) struct Vectors<D>(PhantomData<D>);

/// The bytes of a vector, which are signed quants or activations.
#[inline(always)]
pub(super) fn signed(a: int32x4_t) -> int8x16_t {
    // SAFETY: Rust's ARM64 targets have Advanced SIMD.
    unsafe { vreinterpretq_s8_s32(a) }
}

#[inline(always)]
fn bytes(a: int32x4_t) -> uint8x16_t {
    // SAFETY: as in `signed`.
    unsafe { vreinterpretq_u8_s32(a) }
}

#[inline(always)]
fn from_bytes(a: uint8x16_t) -> int32x4_t {
    // SAFETY: as in `signed`.
    unsafe { vreinterpretq_s32_u8(a) }
}

/// Four signed bytes, one for each row, widened.
///
/// # Safety
/// `p` is readable for 4 bytes.
#[inline(always)]
unsafe fn four_i8(p: *const u8) -> int16x4_t {
    // SAFETY: the caller's; Advanced SIMD as in `signed`.
    unsafe {
        let four = p.cast::<u32>().read_unaligned();
        vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four))))
    }
}

// SAFETY of every block below: the caller keeps the trait's contract (instruction set, pointers).
#[allow(clippy::undocumented_unsafe_blocks)]
impl<D: Dots> Simd for Vectors<D> {
    type I = int32x4_t;
    type F = float32x4_t;
    type Scale = int32x4_t;

    const LANES: usize = 4;
    // 4 tokens by 16 rows are 16 of the 32 registers; 8 would leave none for operands.
    const WIDE_FLOATS: bool = false;
    // Of interleaved activations, one register holds four tokens' four positions.
    const TILE_TOKENS: usize = 4;
    // Not measured, for want of such a CPU: by count of instructions tiles need fewer.
    const TILES_FROM: TilesFrom = TilesFrom {
        four: 16,
        five: 16,
        eight: 16,
        superblocks: 16,
    };
    const BIAS8: i32 = 0;
    const TILE_BIAS: Option<i32> = None;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> int32x4_t {
        unsafe { from_bytes(vld1q_u8(p)) }
    }

    #[inline(always)]
    unsafe fn store(p: *mut u8, a: int32x4_t) {
        unsafe { vst1q_u8(p, bytes(a)) }
    }

    #[inline(always)]
    unsafe fn load_table(table: &[u8; 16]) -> int32x4_t {
        unsafe { from_bytes(vld1q_u8(table.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn splat_u8(x: u8) -> int32x4_t {
        unsafe { from_bytes(vdupq_n_u8(x)) }
    }

    #[inline(always)]
    unsafe fn and(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vandq_s32(a, b) }
    }

    #[inline(always)]
    unsafe fn or(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vorrq_s32(a, b) }
    }

    #[inline(always)]
    unsafe fn add_u8(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vreinterpretq_s32_u8(vaddq_u8(vreinterpretq_u8_s32(a), vreinterpretq_u8_s32(b))) }
    }

    #[inline(always)]
    unsafe fn shr(a: int32x4_t, n: usize) -> int32x4_t {
        unsafe {
            let left = vdupq_n_s32(-(n as i32));
            vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), left))
        }
    }

    #[inline(always)]
    unsafe fn move_bit(a: int32x4_t, from: usize, to: usize) -> int32x4_t {
        unsafe {
            // A shift of bytes, to the left or, if negative, to the right.
            let left = vdupq_n_s8(to as i8 - from as i8);
            from_bytes(vandq_u8(vshlq_u8(bytes(a), left), vdupq_n_u8(1 << to)))
        }
    }

    #[inline(always)]
    unsafe fn move_two_bits(a: int32x4_t, from: usize, to: usize) -> int32x4_t {
        unsafe {
            let left = vdupq_n_s8(to as i8 - from as i8);
            from_bytes(vandq_u8(vshlq_u8(bytes(a), left), vdupq_n_u8(3 << to)))
        }
    }

    #[inline(always)]
    unsafe fn look_up(table: int32x4_t, i: int32x4_t) -> int32x4_t {
        unsafe { from_bytes(vqtbl1q_u8(bytes(table), bytes(i))) }
    }

    #[inline(always)]
    unsafe fn bytes_from_bits(p: *const u8, part: usize, value: u8) -> int32x4_t {
        unsafe {
            // Byte i of the vector gets byte i / 8 of the mask, and keeps bit i % 8 of it.
            let p = p.add(2 * part);
            let spread = vcombine_u8(vld1_dup_u8(p), vld1_dup_u8(p.add(1)));
            let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
            from_bytes(vandq_u8(vtstq_u8(spread, bit), vdupq_n_u8(value)))
        }
    }

    #[inline(always)]
    unsafe fn from_i8(a: int32x4_t) -> int32x4_t {
        a
    }

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn splat_i32(x: i32) -> int32x4_t {
        unsafe { vdupq_n_s32(x) }
    }

    /// The first of all pairs, then the second ones: [`Simd::add_pair_dot`] wants them apart.
    #[inline(always)]
    unsafe fn add_i32(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vaddq_s32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_i32(a: int32x4_t, by: i32) -> int32x4_t {
        unsafe { vmulq_n_s32(a, by) }
    }

    #[inline(always)]
    unsafe fn i16_pairs(first: *const u8, second: *const u8, by: i16) -> int32x4_t {
        unsafe {
            let pairs = vcombine_s16(four_i8(first), four_i8(second));
            vreinterpretq_s32_s16(vmulq_n_s16(pairs, by))
        }
    }

    #[inline(always)]
    unsafe fn add_pair_dot(acc: int32x4_t, a: int32x4_t, b: u32) -> int32x4_t {
        unsafe {
            let (a, b) = (
                vreinterpretq_s16_s32(a),
                vreinterpret_s16_u32(vdup_n_u32(b)),
            );
            let acc = vmlal_lane_s16::<0>(acc, vget_low_s16(a), b);
            vmlal_high_lane_s16::<1>(acc, a, b)
        }
    }

    #[inline(always)]
    unsafe fn load_scale(p: *const u8) -> int32x4_t {
        unsafe { vmovl_s16(four_i8(p)) }
    }

    #[inline(always)]
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
    ) {
        unsafe { D::add_dot::<BITS, LEN, C>(acc, q, a) }
    }

    #[inline(always)]
    unsafe fn add_scaled_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        q: &[int32x4_t; LEN],
        a: &[*const u8; C],
        scale: int32x4_t,
    ) {
        unsafe {
            let mut sums = [vdupq_n_s32(0); C];
            D::add_dot::<BITS, LEN, C>(&mut sums, q, a);
            for t in 0..C {
                acc[t] = vmlaq_s32(acc[t], sums[t], scale);
            }
        }
    }

    #[inline(always)]
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        w: *const u8,
        a: *const u8,
    ) {
        unsafe { D::add_tile_dot::<BITS, LEN, C>(acc, w, a) }
    }

    #[inline(always)]
    unsafe fn add_scaled_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [int32x4_t; C],
        _: [int32x4_t; C],
        w: *const u8,
        a: *const u8,
        scale: int32x4_t,
    ) {
        unsafe {
            let mut sums = [vdupq_n_s32(0); C];
            D::add_tile_dot::<BITS, LEN, C>(&mut sums, w, a);
            for t in 0..C {
                acc[t] = vmlaq_s32(acc[t], sums[t], scale);
            }
        }
    }

    #[inline(always)]
    unsafe fn to_f32(a: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(a) }
    }

    #[inline(always)]
    unsafe fn load_f32(p: *const u8) -> float32x4_t {
        unsafe { vreinterpretq_f32_u8(vld1q_u8(p)) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> float32x4_t {
        unsafe { vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> float32x4_t {
        unsafe {
            let wide = vmovl_u16(vreinterpret_u16_u8(vld1_u8(p)));
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_e8m0_half(p: *const u8) -> float32x4_t {
        unsafe {
            let e = vandq_u32(
                vreinterpretq_u32_s32(vmovl_s16(four_i8(p))),
                vdupq_n_u32(0xff),
            );
            // The exponent field is e - 1; for e of 0 and 1 that is a subnormal.
            let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
            let small = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
            let is_small = vcltq_u32(e, vdupq_n_u32(2));
            vreinterpretq_f32_u32(vbslq_u32(is_small, small, normal))
        }
    }

    #[inline(always)]
    unsafe fn store_f32(p: *mut f32, a: float32x4_t) {
        unsafe { vst1q_f32(p, a) }
    }

    #[inline(always)]
    unsafe fn splat_f32(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }
}
