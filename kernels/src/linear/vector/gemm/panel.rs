//! Panels: block columns of 16 rows, decoded as far as is possible once for all tokens.
//!
//! A block of a panel has its parts one after the other, each a multiple of 64 bytes:
//!
//! | family   | parts                                                                              |
//! |----------|------------------------------------------------------------------------------------|
//! | block32  | quants `[8][16 rows][4]` u8, scales 16 f32, minima 16 f32 if the format has them    |
//! | block256 | quants `[64][16 rows][4]` u8, scales `[16 or 8][16 rows]` i8, factors `[8 or 4]     |
//! |          | [16 rows]` i16 pairs if there are any, d 16 f32, dmin 16 f32 if there are minima    |
//!
//! Quants are in the order of positions, whatever order a format keeps them in, and in the form that
//! [`Simd::add_dot`] wants, with the bias of [`Simd::TILE_BIAS`]. A factor is what the activations'
//! sums of 16 or 32 positions (those of a scale) are multiplied by: minima; or, where there is no such
//! bias, scales times minus the format's own.

use super::super::block32::Block32;
use super::super::block256::{Block256, Header, bias};
use super::super::simd::Simd;
use crate::ahead::Ahead;
use crate::pack::TILE_ROWS;

/// Bytes of a vector of 16 rows, 32 bits each.
const ROWS: usize = 4 * TILE_ROWS;

/// The parts of a block of 32 in a panel, as offsets.
pub(super) struct Panel32;
impl Panel32 {
    pub(super) const D: usize = 8 * ROWS;
    pub(super) const M: usize = Self::D + ROWS;
    /// Its size.
    pub(crate) const fn bytes(has_min: bool) -> usize {
        Self::M + if has_min { ROWS } else { 0 }
    }
}

/// The parts of a superblock in a panel, as offsets.
pub(super) struct Panel256;
impl Panel256 {
    pub(super) const SCALES: usize = 64 * ROWS;
    pub(super) const FACTORS: usize = Self::SCALES + 16 * TILE_ROWS;
    pub(super) const D: usize = Self::FACTORS + 8 * ROWS;
    pub(super) const DMIN: usize = Self::D + ROWS;
    /// Its size.
    pub(crate) const BYTES: usize = Self::DMIN + ROWS;
}

/// What is to be subtracted from the quants of a panel, of a format from whose quants `bias` is.
pub(crate) const fn tile_bias<S: Simd>(bias: i32) -> i32 {
    match S::TILE_BIAS {
        Some(all) if bias != 0 => all,
        _ => bias,
    }
}

/// Raises decoded quants to the bias of panels.
///
/// # Safety
/// The CPU has S.
#[inline(always)]
unsafe fn raised<S: Simd>(q: S::I, bias: i32) -> S::I {
    let by = tile_bias::<S>(bias) - bias;
    if by == 0 {
        return q;
    }
    // SAFETY: the caller's.
    unsafe { S::add_u8(q, S::splat_u8(by as u8)) }
}

/// Bytes of a block of 32 in a panel.
pub(crate) const fn block32_bytes<B: Block32>() -> usize {
    Panel32::bytes(B::HAS_MIN)
}

/// Pairs of factors of a superblock with a scale for every `sub` positions.
pub(super) const fn factors(sub: usize) -> usize {
    128 / sub
}

/// Bytes of a superblock in a panel.
pub(crate) const BLOCK256_BYTES: usize = Panel256::BYTES;

/// See [`super::DecodeFn`].
///
/// # Safety
/// As [`super::DecodeFn`].
#[inline(always)]
pub(crate) unsafe fn block32<S: Simd, B: Block32>(from: *const u8, blocks: usize, to: *mut u8) {
    let ahead = Ahead::of_this_cpu();
    for b in 0..blocks {
        for part in 0..S::PARTS {
            // SAFETY: the caller's; all offsets are inside block b.
            unsafe {
                let block = from.add(b * B::BYTES);
                ahead.fetch(block, B::BYTES, part, S::PARTS);
                let to = to.add(b * block32_bytes::<B>() + part * S::BYTES);
                for (i, q) in B::quants::<S>(block, part).into_iter().enumerate() {
                    S::store(
                        to.add(i * ROWS),
                        raised::<S>(q, super::super::block32::bias::<S, B>()),
                    );
                }
                S::store_f32(to.add(Panel32::D).cast(), B::scale::<S>(block, part));
                if B::HAS_MIN {
                    S::store_f32(to.add(Panel32::M).cast(), B::min::<S>(block, part));
                }
            }
        }
    }
}

/// See [`super::DecodeFn`].
///
/// # Safety
/// As [`super::DecodeFn`].
#[inline(always)]
pub(crate) unsafe fn block256<S: Simd, B: Block256>(from: *const u8, blocks: usize, to: *mut u8) {
    let mut header = Header::ZERO;
    let ahead = Ahead::of_this_cpu();
    for b in 0..blocks {
        // SAFETY: the caller's; all offsets are inside superblock b.
        unsafe {
            let block = from.add(b * B::BYTES);
            let to = to.add(b * Panel256::BYTES);
            B::header(block, &mut header);
            to.add(Panel256::SCALES)
                .cast::<[u8; 256]>()
                .write(header.scales);
            for part in 0..S::PARTS {
                let to = to.add(part * S::BYTES);
                for g in 0..8 {
                    ahead.fetch(block, B::BYTES, g + 8 * part, 8 * S::PARTS);
                    let q = B::quants::<S>(block, g, part);
                    let [first, second] = B::subs(g);
                    for i in 0..4 {
                        let a = raised::<S>(q[i], bias::<S, B>());
                        let b = raised::<S>(q[i + 4], bias::<S, B>());
                        S::store(to.add((4 * first + i) * ROWS), a);
                        S::store(to.add((4 * second + i) * ROWS), b);
                    }
                    if g >= factors(B::SUB) {
                        continue;
                    }
                    let [a, b] = [2 * g, 2 * g + 1].map(|sub| sub * TILE_ROWS + part * S::LANES);
                    let (scales, mins) = (header.scales.as_ptr(), header.mins.as_ptr());
                    let factors = if B::DMIN.is_some() {
                        S::i16_pairs(mins.add(a), mins.add(b), 1)
                    } else if bias::<S, B>() != 0 && S::TILE_BIAS.is_none() {
                        S::i16_pairs(scales.add(a), scales.add(b), -bias::<S, B>() as i16)
                    } else {
                        continue;
                    };
                    S::store(to.add(Panel256::FACTORS + g * ROWS), factors);
                }
                let row = 2 * part * S::LANES;
                let d = S::load_f16(block.add(B::D + row));
                S::store_f32(to.add(Panel256::D).cast(), d);
                if let Some(dmin) = B::DMIN {
                    let dmin = S::load_f16(block.add(dmin + row));
                    S::store_f32(to.add(Panel256::DMIN).cast(), dmin);
                }
            }
        }
    }
}
