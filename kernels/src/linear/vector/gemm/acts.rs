//! Activations of a group of C tokens, interleaved: what the tokens contribute to one step of a
//! register tile lies together, so that a tile reads one ascending stream.
//!
//! In: rows as [`crate::act`] lays them out. Out, per block of columns:
//!
//! | format    | parts, each `[..][C tokens]`                                                       |
//! |-----------|------------------------------------------------------------------------------------|
//! | `Q8x32`   | 8 x 4 quants; d f32; sum i32; d * sum f32                                          |
//! | `Q8x256`  | 64 x 4 quants; 8 pairs of i16, the sums of 16 positions each; d f32                |
//!
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
    pub(super) unsafe fn sums(&self, g: usize, t: usize) -> u32 {
        // SAFETY: the caller's.
        unsafe { self.q(64 + g).cast::<u32>().add(t).read() }
    }

    /// # Safety
    /// As [`Acts32::d`].
    #[inline(always)]
    pub(super) unsafe fn d(&self, t: usize) -> f32 {
        // SAFETY: the caller's.
        unsafe { self.q(72).cast::<f32>().add(t).read() }
    }
}

const TOKEN_BYTES_32: usize = 32 + 4 + 4 + 4;
const TOKEN_BYTES_256: usize = 256 + 8 * 4 + 4;

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
    to: *mut u8,
) {
    let to = to.cast::<u32>();
    let words = block_bytes(format) / 4;
    // SAFETY: word w of block b of token t lies at `(b * words + w) * group + t` words.
    unsafe {
        if tokens < group {
            to.write_bytes(0, group * blocks * words);
        }
        for t in 0..tokens {
            let row = from.token(t);
            let to = to.add(t);
            match format {
                ActFormat::F32 => {}
                ActFormat::Q8x32 => {
                    for b in 0..blocks {
                        let to = to.add(b * words * group);
                        let q = row.q.cast::<[u32; 8]>().add(b).read();
                        for (i, q) in q.into_iter().enumerate() {
                            to.add(i * group).write(q);
                        }
                        let (d, sum) = (row.d.add(b).read(), row.sums.add(b).read());
                        to.add(8 * group).write(d.to_bits());
                        to.add(9 * group).write(sum as u32);
                        to.add(10 * group).write((d * sum as f32).to_bits());
                    }
                }
                ActFormat::Q8x256 => {
                    for b in 0..blocks {
                        let to = to.add(b * words * group);
                        let q = row.q.cast::<u32>().add(64 * b);
                        for i in 0..64 {
                            to.add(i * group).write(q.add(i).read());
                        }
                        let sums = row.sums.add(16 * b);
                        for g in 0..8 {
                            // A sum of 16 quants fits i16.
                            let low = sums.add(2 * g).read() as u32 & 0xffff;
                            let pair = low | (sums.add(2 * g + 1).read() as u32) << 16;
                            to.add((64 + g) * group).write(pair);
                        }
                        to.add(72 * group).write(row.d.add(b).read().to_bits());
                    }
                }
            }
        }
    }
}
