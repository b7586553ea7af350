//! How each format of 32-blocks is read from a tile.
//!
//! Offsets are those of [`crate::pack`]'s layout: fields in tile order, 16 times their size. A tile
//! keeps bytes as the format has them, so the low nibbles of a block are positions 0..16 and the
//! high ones 16..32. Field meanings: `crate::format`, one file a format.

// One contract for all: `block` is readable for BYTES, which every offset below is under.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::block32::Block32;
use super::simd::Simd;

/// Low nibbles of the 16 bytes a row at `p`, then high ones.
#[inline(always)]
unsafe fn nibbles<S: Simd>(p: *const u8, part: usize) -> [S::I; 8] {
    unsafe {
        let low = S::splat_u8(15);
        let mut q = [S::zero(); 8];
        for i in 0..4 {
            let bytes = S::load(p.add(64 * i + part * S::BYTES));
            q[i] = S::and(bytes, low);
            q[i + 4] = S::and(S::shr(bytes, 4), low);
        }
        q
    }
}

/// As [`nibbles`], with the fifth bits from the eight 64-bit masks at `high`.
#[inline(always)]
unsafe fn five_bits<S: Simd>(high: *const u8, p: *const u8, part: usize) -> [S::I; 8] {
    unsafe {
        let mut q = nibbles::<S>(p, part);
        for i in 0..8 {
            q[i] = S::or(q[i], S::bytes_from_bits(high.add(8 * i), part, 16));
        }
        q
    }
}

/// As [`nibbles`], looked up.
#[inline(always)]
unsafe fn looked_up<S: Simd>(table: S::I, p: *const u8, part: usize) -> [S::I; 8] {
    unsafe {
        let mut q = nibbles::<S>(p, part);
        for q in &mut q {
            *q = S::look_up(table, *q);
        }
        q
    }
}

/// `d | qs`, minus 8.
pub(crate) struct Q4_0;
impl Block32 for Q4_0 {
    const BYTES: usize = 16 * 18;
    const BITS: u32 = 4;
    const BIAS: i32 = 8;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe { nibbles::<S>(block.add(32), part) }
    }
}

/// `d | m | qs`.
pub(crate) struct Q4_1;
impl Block32 for Q4_1 {
    const BYTES: usize = 16 * 20;
    const BITS: u32 = 4;
    const HAS_MIN: bool = true;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe { nibbles::<S>(block.add(64), part) }
    }
}

/// `d | qh | qs`, minus 16.
pub(crate) struct Q5_0;
impl Block32 for Q5_0 {
    const BYTES: usize = 16 * 22;
    const BITS: u32 = 5;
    const BIAS: i32 = 16;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe { five_bits::<S>(block.add(32), block.add(96), part) }
    }
}

/// `d | m | qh | qs`.
pub(crate) struct Q5_1;
impl Block32 for Q5_1 {
    const BYTES: usize = 16 * 24;
    const BITS: u32 = 5;
    const HAS_MIN: bool = true;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe { five_bits::<S>(block.add(64), block.add(128), part) }
    }
}

/// `d | qs`, signed bytes.
pub(crate) struct Q8_0;
impl Block32 for Q8_0 {
    const BYTES: usize = 16 * 34;
    const BITS: u32 = 8;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe {
            let mut q = [S::zero(); 8];
            for i in 0..8 {
                q[i] = S::from_i8(S::load(block.add(32 + 64 * i + part * S::BYTES)));
            }
            q
        }
    }
}

/// The 16 levels of IQ4_NL and IQ4_XS (ggml `kvalues_iq4nl`), as bytes.
pub(super) const IQ4_LEVELS: [u8; 16] = {
    let levels: [i8; 16] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ];
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = levels[i] as u8;
        i += 1;
    }
    bytes
};

/// `d | qs`, levels looked up.
pub(crate) struct Iq4Nl;
impl Block32 for Iq4Nl {
    const BYTES: usize = 16 * 18;
    const BITS: u32 = 8;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        unsafe { looked_up::<S>(S::from_i8(S::load_table(&IQ4_LEVELS)), block.add(32), part) }
    }
}

/// `e | qs`, twice the levels of E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and negatives), plus 12.
pub(crate) struct Mxfp4;
impl Block32 for Mxfp4 {
    const BYTES: usize = 16 * 17;
    const BITS: u32 = 5;
    const BIAS: i32 = 12;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8] {
        const LEVELS: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];
        unsafe { looked_up::<S>(S::load_table(&LEVELS), block.add(16), part) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, part: usize) -> S::F {
        unsafe { S::load_e8m0_half(block.add(part * S::LANES)) }
    }
}
