//! Activations of a group of C tokens, interleaved: what the tokens contribute to one step of a
//! register tile lies together, so that a tile reads one ascending stream.
//!
//! In: rows as [`crate::act`] lays them out. Out, per block of columns:
//!
//! | format    | parts, each `[..][C tokens]`                                                       |
//! |-----------|------------------------------------------------------------------------------------|
//! | `Q8x32`   | 8 x 4 quants; d f32; sum i32, times the factor; d * sum f32                         |
//! | `Q8x256`  | 64 x 4 quants; 8 pairs of i16, the sums of 16 positions each; 4 pairs of i16, those |
//! |           | of 32; 16 sums of 16 as i32, times the factor; d f32                               |
//!
//! The factor is minus the bias that all quants have (see `Simd::TILE_BIAS`), or 1.
//! Tokens that do not exist are zeros.

use crate::act::ActFormat;
use crate::linear::vector::Acts;

/// One block of `Q8x32`.
pub(super) struct Acts32<const C: usize>(pub(super) *const u8);

impl<const C: usize> Acts32<C> {
    pub(super) const BYTES: usize = C * TOKEN_BYTES_32;

    /// The quants from step `i` of 8 on.
    #[inline(always)]
    pub(super) fn q(&self, i: usize) -> *const u8 {
        self.0.wrapping_add(4 * C * i)
    }

    /// # Safety
    /// The block is readable and `t < C`; so for all below.
    #[inline(always)]
    pub(super) unsafe fn d(&self, t: usize) -> f32 {
        // SAFETY: the caller's.
        unsafe { self.q(8).cast::<f32>().add(t).read() }
    }

    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn sum(&self, t: usize) -> i32 {
        // SAFETY: the caller's.
        unsafe { self.q(9).cast::<i32>().add(t).read() }
    }

    /// `d * sum`.
    ///
    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn scaled_sum(&self, t: usize) -> f32 {
        // SAFETY: the caller's.
        unsafe { self.q(10).cast::<f32>().add(t).read() }
    }
}

/// One superblock of `Q8x256`.
pub(super) struct Acts256<const C: usize>(pub(super) *const u8);

impl<const C: usize> Acts256<C> {
    pub(super) const BYTES: usize = C * TOKEN_BYTES_256;

    /// The quants from step `i` of 64 on.
    #[inline(always)]
    pub(super) fn q(&self, i: usize) -> *const u8 {
        self.0.wrapping_add(4 * C * i)
    }

    /// The sums of positions `32g..32g + 16` and of the 16 after them, as a pair of i16.
    ///
    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn sums_16(&self, g: usize, t: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { self.q(64 + g).cast::<u32>().add(t).read() }
    }

    /// The sums of positions `64g..64g + 32` and of the 32 after them, as a pair of i16.
    ///
    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn sums_32(&self, g: usize, t: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { self.q(72 + g).cast::<u32>().add(t).read() }
    }

    /// The sum of positions `16sub..16sub + 16`, times the factor.
    ///
    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn sum_times_factor(&self, sub: usize, t: usize) -> i32 {
        // SAFETY: the caller's.
        unsafe { self.q(76 + sub).cast::<i32>().add(t).read() }
    }

    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn d(&self, t: usize) -> f32 {
        // SAFETY: the caller's.
        unsafe { self.q(92).cast::<f32>().add(t).read() }
    }
}

const TOKEN_BYTES_32: usize = 32 + 4 + 4 + 4;
const TOKEN_BYTES_256: usize = 256 + (8 + 4 + 16) * 4 + 4;

/// Bytes that one token takes in a group, for each block of columns.
///
/// Floats have no tiles: multiplied as they lie, they are quicker.
pub(crate) const fn block_bytes(format: ActFormat) -> usize {
    match format {
        ActFormat::F32 => 0,
        ActFormat::Q8x32 => TOKEN_BYTES_32,
        ActFormat::Q8x256 => TOKEN_BYTES_256,
    }
}

/// Interleaves `tokens` rows of `blocks` blocks, a group of `group` tokens, at `to`.
///
/// # Safety
/// `from` is readable for `tokens` rows, as laid out by `format`; `to` is writable for
/// `group * blocks * block_bytes(format)`, 4-byte aligned; `1 <= tokens <= group`.
pub(crate) unsafe fn interleave(
    format: ActFormat,
    from: &Acts,
    tokens: usize,
    group: usize,
    blocks: usize,
    factor: i32,
    to: *mut u8,
) {
    let to = to.cast::<u32>();
    let words = block_bytes(format) / 4;
    // SAFETY: word w of block b of token t lies at `(b * words + w) * group + t` words.
    unsafe {
        if tokens < group {
            to.write_bytes(0, group * blocks * words);
        }
        for t in (0..tokens - tokens % 4).step_by(4) {
            let rows = [t, t + 1, t + 2, t + 3].map(|t| from.token(t));
            of_tokens(format, rows, group, blocks, factor, to.add(t));
        }
        for t in tokens - tokens % 4..tokens {
            of_tokens(format, [from.token(t)], group, blocks, factor, to.add(t));
        }
    }
}

/// The same for N tokens, of which `to` is the first one's place.
///
/// # Safety
/// As [`interleave`].
unsafe fn of_tokens<const N: usize>(
    format: ActFormat,
    rows: [Acts; N],
    group: usize,
    blocks: usize,
    factor: i32,
    to: *mut u32,
) {
    let words = block_bytes(format) / 4;
    // SAFETY: the caller's.
    unsafe {
        match format {
            ActFormat::F32 => {}
            ActFormat::Q8x32 => {
                for b in 0..blocks {
                    let to = to.add(b * words * group);
                    columns(rows.map(|r| r.q.cast::<u32>().add(8 * b)), 8, to, group);
                }
                let d = to.add(8 * group);
                columns(rows.map(|r| r.d.cast()), blocks, d, words * group);
                let sums = to.add(9 * group);
                columns(rows.map(|r| r.sums.cast()), blocks, sums, words * group);
                for b in 0..blocks {
                    let d = d.add(b * words * group).cast::<[f32; N]>().read();
                    let at = sums.add(b * words * group).cast::<[i32; N]>();
                    let sums = at.read();
                    at.write(sums.map(|sum| sum.wrapping_mul(factor)));
                    let scaled: [f32; N] = std::array::from_fn(|t| d[t] * sums[t] as f32);
                    let to = to.add((b * words + 10) * group);
                    to.cast::<[f32; N]>().write(scaled);
                }
            }
            ActFormat::Q8x256 => {
                for b in 0..blocks {
                    let to = to.add(b * words * group);
                    columns(rows.map(|r| r.q.cast::<u32>().add(64 * b)), 64, to, group);
                    let of_sums =
                        rows.map(|r| sums_256(&r.sums.cast::<[i32; 16]>().add(b).read(), factor));
                    let to = to.add(64 * group);
                    columns(of_sums.each_ref().map(|p| p.as_ptr()), 28, to, group);
                }
                let d = to.add(92 * group);
                columns(rows.map(|r| r.d.cast()), blocks, d, words * group);
            }
        }
    }
}

/// The words of a superblock that are made of the sums of its sixteens.
fn sums_256(sums: &[i32; 16], factor: i32) -> [u32; 28] {
    // A sum of 16 quants fits i16, and so does one of 32.
    let pair = |low: i32, high: i32| low as u32 & 0xffff | (high as u32) << 16;
    let mut words = [0; 28];
    for i in 0..8 {
        words[i] = pair(sums[2 * i], sums[2 * i + 1]);
    }
    for i in 0..4 {
        let two = |i: usize| sums[i].wrapping_add(sums[i + 1]);
        words[8 + i] = pair(two(4 * i), two(4 * i + 2));
    }
    for i in 0..16 {
        words[12 + i] = sums[i].wrapping_mul(factor) as u32;
    }
    words
}

/// Columns of rows. Compilers do not see that it is eight instructions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    use core::arch::x86_64::*;
    // SAFETY: every x86-64 has SSE2; 16 bytes of plain integers are a vector, and the reverse.
    unsafe {
        let [a, b, c, d] = rows.map(|r| _mm_loadu_si128(r.as_ptr().cast()));
        let (low, high) = (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
        let (low_2, high_2) = (_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
        [
            _mm_unpacklo_epi64(low, low_2),
            _mm_unpackhi_epi64(low, low_2),
            _mm_unpacklo_epi64(high, high_2),
            _mm_unpackhi_epi64(high, high_2),
        ]
        .map(|column| core::mem::transmute::<__m128i, [u32; 4]>(column))
    }
}

/// Columns of rows.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
    std::array::from_fn(|j| rows.map(|row| row[j]))
}

/// Writes the N rows' words side by side, `step` words from one of `n` to the next.
///
/// # Safety
/// Each row is readable for n words, and `to` writable for N words at each of the n steps.
#[inline(always)]
unsafe fn columns<const N: usize>(rows: [*const u32; N], n: usize, to: *mut u32, step: usize) {
    // SAFETY: the caller's.
    unsafe {
        for i in (0..n - n % 4).step_by(4) {
            let words: [[u32; 4]; N] = rows.map(|r| r.add(i).cast::<[u32; 4]>().read_unaligned());
            if let Some(&four) = words.first_chunk::<4>().filter(|_| N == 4) {
                for (j, column) in transposed(four).into_iter().enumerate() {
                    to.add((i + j) * step).cast::<[u32; 4]>().write(column);
                }
                continue;
            }
            for j in 0..4 {
                let column: [u32; N] = std::array::from_fn(|t| words[t][j]);
                to.add((i + j) * step).cast::<[u32; N]>().write(column);
            }
        }
        for i in n - n % 4..n {
            let column: [u32; N] = std::array::from_fn(|t| *rows[t].add(i));
            to.add(i * step).cast::<[u32; N]>().write(column);
        }
    }
}
