//! How each format of superblocks is read from a tile.
//!
//! Offsets are those of [`crate::pack`]'s layout: fields in tile order, 16 times their size; 64
//! bytes of a quant field hold four bytes of each of 16 rows. Field meanings: `crate::format`, one
//! file a format. Headers are plain Rust over bytes of all rows at once, which compilers vectorize.

// One contract for all: `block` is readable for BYTES, which every offset below is under.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::block256::{Block256, Header};
use super::formats32::IQ4_LEVELS;
use super::simd::Simd;

/// `d | dmin | scales[12] | qs`: the scales and minima of Q4_K and Q5_K, 6 bits each.
#[inline(always)]
unsafe fn header_4_5(block: *const u8, header: &mut Header) {
    let packed: &[u8; 192] = unsafe { &*block.add(64).cast() };
    for i in 0..64 {
        // Of four sub-blocks at once: bytes 0..4, 4..8 and 8..12 of all rows.
        let (a, b, c) = (packed[i], packed[64 + i], packed[128 + i]);
        header.scales[i] = a & 63;
        header.scales[64 + i] = (c & 15) | (a >> 6) << 4;
        header.mins[i] = b & 63;
        header.mins[64 + i] = (c >> 4) | (b >> 6) << 4;
    }
}

/// The nibbles of group g: 32 bytes of a row hold two groups, low and high.
#[inline(always)]
unsafe fn nibbles<S: Simd>(qs: *const u8, g: usize, part: usize) -> [S::I; 8] {
    unsafe {
        let p = qs.add(512 * (g / 2) + part * S::BYTES);
        let mut q = [S::zero(); 8];
        for i in 0..8 {
            q[i] = S::and(S::shr(S::load(p.add(64 * i)), 4 * (g % 2)), S::splat_u8(15));
        }
        q
    }
}

/// Of 16 bytes of `qs` at `p`, which in Q2_K and Q3_K hold two bits of 16 positions in each of the
/// four quarters of a half of 128: those of quarters `2 * pair` and `2 * pair + 1`.
#[inline(always)]
unsafe fn two_quarters<S: Simd>(p: *const u8, pair: usize) -> [S::I; 8] {
    unsafe {
        let mut q = [S::zero(); 8];
        for i in 0..4 {
            let bytes = S::shr(S::load(p.add(64 * i)), 4 * pair);
            q[i] = S::and(bytes, S::splat_u8(3));
            q[i + 4] = S::and(S::shr(bytes, 2), S::splat_u8(3));
        }
        q
    }
}

/// The sub-blocks of [`two_quarters`], of the bytes of half `half` that start at `16 * c`.
#[inline(always)]
fn subs_of_quarters(half: usize, c: usize, pair: usize) -> [usize; 2] {
    let sub = 8 * half + 4 * pair + c;
    [sub, sub + 2]
}

/// `d | dmin | scales | qs`.
pub(crate) struct Q2K;
impl Block256 for Q2K {
    const BYTES: usize = 16 * 84;
    const BITS: u32 = 2;
    const SUB: usize = 16;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(32);
    #[inline(always)]
    fn subs(g: usize) -> [usize; 2] {
        subs_of_quarters(g / 4, g / 2 % 2, g % 2)
    }
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        let packed: &[u8; 256] = unsafe { &*block.add(64).cast() };
        for i in 0..256 {
            header.scales[i] = packed[i] & 15;
            header.mins[i] = packed[i] >> 4;
        }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe { two_quarters::<S>(block.add(320 + 256 * (g / 2) + part * S::BYTES), g % 2) }
    }
}

/// `scales | 2 x (hmask | qs | qs) | d`, minus 4. 16 bytes of `hmask` hold the high bits of both halves
/// of 128, so a tile keeps them before the 16 bytes of `qs` of each half.
pub(crate) struct Q3K;
impl Block256 for Q3K {
    const BYTES: usize = 16 * 110;
    const BITS: u32 = 3;
    const SUB: usize = 16;
    const BIAS: i32 = 4;
    const D: usize = 1728;
    #[inline(always)]
    fn subs(g: usize) -> [usize; 2] {
        subs_of_quarters(g / 2 % 2, g / 4, g % 2)
    }
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        let packed: &[u8; 192] = unsafe { &*block.cast() };
        for i in 0..64 {
            // Of four sub-blocks at once: low bits from bytes 0..4 and 4..8, high from 8..12.
            let (a, b, high) = (packed[i], packed[64 + i], packed[128 + i]);
            header.scales[i] = ((a & 15) | (high & 3) << 4).wrapping_sub(32);
            header.scales[64 + i] = ((b & 15) | (high >> 2 & 3) << 4).wrapping_sub(32);
            header.scales[128 + i] = ((a >> 4) | (high >> 4 & 3) << 4).wrapping_sub(32);
            header.scales[192 + i] = ((b >> 4) | (high >> 6) << 4).wrapping_sub(32);
        }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe {
            let (c, half, pair) = (g / 4, g / 2 % 2, g % 2);
            let high = block.add(192 + 768 * c + part * S::BYTES);
            let mut q = two_quarters::<S>(high.add(256 + 256 * half), pair);
            for i in 0..4 {
                // Bit `4 * half + quarter`.
                let high = S::shr(S::load(high.add(64 * i)), 4 * half + 2 * pair);
                q[i] = S::or(q[i], S::move_bit(high, 0, 2));
                q[i + 4] = S::or(q[i + 4], S::move_bit(high, 1, 2));
            }
            q
        }
    }
}

/// `d | dmin | scales | qs`.
pub(crate) struct Q4K;
impl Block256 for Q4K {
    const BYTES: usize = 16 * 144;
    const BITS: u32 = 4;
    const SUB: usize = 32;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(32);
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        unsafe { header_4_5(block, header) }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe { nibbles::<S>(block.add(256), g, part) }
    }
}

/// `d | dmin | scales | qh | qs`.
pub(crate) struct Q5K;
impl Block256 for Q5K {
    const BYTES: usize = 16 * 176;
    const BITS: u32 = 5;
    const SUB: usize = 32;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(32);
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        unsafe { header_4_5(block, header) }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe {
            let mut q = nibbles::<S>(block.add(768), g, part);
            for i in 0..8 {
                let high = S::load(block.add(256 + 64 * i + part * S::BYTES));
                q[i] = S::or(q[i], S::move_bit(high, g, 4));
            }
            q
        }
    }
}

/// `scales | 4 x (qh | ql | ql) | d`, minus 32.
///
/// In each half of 128, 16 bytes of `qh` hold the high bit pairs of 16 positions in each of four
/// quarters; 16 bytes of `ql` the low nibbles of two of these, and so do 16 others. A tile keeps the
/// 48 bytes together, so that it is read in ascending order, and `ql` once.
pub(crate) struct Q6K;
impl Block256 for Q6K {
    const BYTES: usize = 16 * 210;
    const BITS: u32 = 6;
    const SUB: usize = 16;
    const BIAS: i32 = 32;
    const D: usize = 3328;
    #[inline(always)]
    fn subs(i: usize) -> [usize; 2] {
        let (half, c, p) = (i / 4, i / 2 % 2, i % 2);
        let sub = 8 * half + 2 * p + c;
        [sub, sub + 4]
    }
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        header.scales = unsafe { *block.cast() };
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, i: usize, part: usize) -> [S::I; 8] {
        unsafe {
            let p = i % 2;
            let high = block.add(256 + 768 * (i / 2) + part * S::BYTES);
            let low = high.add(256 + 256 * p);
            let mut q = [S::zero(); 8];
            for i in 0..4 {
                let bytes = S::load(low.add(64 * i));
                let pairs = S::shr(S::load(high.add(64 * i)), 2 * p);
                let mask = S::splat_u8(15);
                q[i] = S::or(S::and(bytes, mask), S::move_two_bits(pairs, 0, 4));
                q[i + 4] = S::or(
                    S::and(S::shr(bytes, 4), mask),
                    S::move_two_bits(pairs, 4, 4),
                );
            }
            q
        }
    }
}

/// `d | scales_h | scales_l | qs`, levels looked up.
pub(crate) struct Iq4Xs;
impl Block256 for Iq4Xs {
    const BYTES: usize = 16 * 136;
    const BITS: u32 = 8;
    const SUB: usize = 32;
    const D: usize = 0;
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        let high: &[u8; 32] = unsafe { &*block.add(32).cast() };
        let low: &[u8; 64] = unsafe { &*block.add(64).cast() };
        // Four bits of scales_h for each byte of scales_l, which holds sub-blocks 2i and 2i + 1.
        let mut bits = [0; 64];
        for r in 0..16 {
            bits[r] = high[r];
            bits[16 + r] = high[r] >> 4;
            bits[32 + r] = high[16 + r];
            bits[48 + r] = high[16 + r] >> 4;
        }
        let (mut even, mut odd) = ([0_u8; 64], [0_u8; 64]);
        for i in 0..64 {
            even[i] = ((low[i] & 15) | (bits[i] & 3) << 4).wrapping_sub(32);
            odd[i] = ((low[i] >> 4) | (bits[i] >> 2 & 3) << 4).wrapping_sub(32);
        }
        for i in 0..4 {
            header.scales[32 * i..][..16].copy_from_slice(&even[16 * i..][..16]);
            header.scales[32 * i + 16..][..16].copy_from_slice(&odd[16 * i..][..16]);
        }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe {
            // 16 bytes of a row: positions 0..16 of the group in low nibbles, 16..32 in high ones.
            let p = block.add(128 + 256 * g + part * S::BYTES);
            let table = S::from_i8(S::load_table(&IQ4_LEVELS));
            let low = S::splat_u8(15);
            let mut q = [S::zero(); 8];
            for i in 0..4 {
                let bytes = S::load(p.add(64 * i));
                q[i] = S::look_up(table, S::and(bytes, low));
                q[i + 4] = S::look_up(table, S::and(S::shr(bytes, 4), low));
            }
            q
        }
    }
}
