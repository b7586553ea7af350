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

/// Two bits of group g: 32 bytes of a row hold four groups.
#[inline(always)]
unsafe fn two_bits<S: Simd>(qs: *const u8, g: usize, part: usize) -> [S::I; 8] {
    unsafe {
        let p = qs.add(512 * (g / 4) + part * S::BYTES);
        let mut q = [S::zero(); 8];
        for i in 0..8 {
            q[i] = S::and(S::shr(S::load(p.add(64 * i)), 2 * (g % 4)), S::splat_u8(3));
        }
        q
    }
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
    unsafe fn header(block: *const u8, header: &mut Header) {
        let packed: &[u8; 256] = unsafe { &*block.add(64).cast() };
        for i in 0..256 {
            header.scales[i] = packed[i] & 15;
            header.mins[i] = packed[i] >> 4;
        }
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe { two_bits::<S>(block.add(320), g, part) }
    }
}

/// `scales | hmask | qs | d`, minus 4.
pub(crate) struct Q3K;
impl Block256 for Q3K {
    const BYTES: usize = 16 * 110;
    const BITS: u32 = 3;
    const SUB: usize = 16;
    const BIAS: i32 = 4;
    const D: usize = 1728;
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
            let mut q = two_bits::<S>(block.add(704), g, part);
            for i in 0..8 {
                let high = S::load(block.add(192 + 64 * i + part * S::BYTES));
                q[i] = S::or(q[i], S::move_bit(high, g, 2));
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

/// `scales | qh | ql | d`, minus 32.
pub(crate) struct Q6K;
impl Block256 for Q6K {
    const BYTES: usize = 16 * 210;
    const BITS: u32 = 6;
    const SUB: usize = 16;
    const BIAS: i32 = 32;
    const D: usize = 3328;
    #[inline(always)]
    unsafe fn header(block: *const u8, header: &mut Header) {
        header.scales = unsafe { *block.cast() };
    }
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8] {
        unsafe {
            // A half of 128: 64 bytes of low nibbles, then the high ones; 32 bytes of bit pairs.
            let (half, quarter) = (g / 4, g % 4);
            let low = block.add(1280 + 1024 * half + 512 * (quarter % 2) + part * S::BYTES);
            let high = block.add(256 + 512 * half + part * S::BYTES);
            let mut q = [S::zero(); 8];
            for i in 0..8 {
                let shifted = S::shr(S::load(low.add(64 * i)), 4 * (quarter / 2));
                let pair = S::move_two_bits(S::load(high.add(64 * i)), 2 * quarter, 4);
                q[i] = S::or(S::and(shifted, S::splat_u8(15)), pair);
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
        let high: &[[u8; 2]; 16] = unsafe { &*block.add(32).cast() };
        let low: &[[u8; 16]; 4] = unsafe { &*block.add(64).cast() };
        for sub in 0..8 {
            for r in 0..16 {
                let low = low[sub / 2][r] >> (4 * (sub % 2)) & 15;
                let high = high[r][sub / 4] >> (2 * (sub % 4)) & 3;
                header.scales[16 * sub + r] = (low | high << 4).wrapping_sub(32);
            }
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
