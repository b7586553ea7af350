//! Formats of superblocks of 256: an f32 scale a block, integer scales per 16 or 32 quants.
//!
//! In: a panel of blocks of 16 rows, activations [`ActFormat::Q8x256`](crate::act::ActFormat).
//! Sums over 32 positions are multiplied by their integer scales and added in i32, exactly; floats
//! come in once a superblock. The loop over the eight groups of 32 stays rolled: unrolled, its many
//! load sites confuse the hardware prefetcher and halve the speed from DRAM.

use super::simd::Simd;
use super::{Acts, Chains, GROUP};
use crate::pack::TILE_ROWS;

/// The integer scales of one superblock, unpacked: `[sub-block][row 16]`.
#[repr(align(64))]
pub(crate) struct Header {
    /// Signed scales; 8 or 16 sub-blocks.
    pub(crate) scales: [u8; 256],
    /// Minima (positive), if the format has them; as many as scales.
    pub(crate) mins: [u8; 256],
}

/// What a format of superblocks must be able to read. `block` points to one superblock of 16 rows;
/// `part` selects the rows of one vector.
///
/// # Safety
/// Of all functions: the CPU has S, and `block` is readable for [`Block256::BYTES`].
pub(crate) trait Block256 {
    /// Bytes of a superblock of 16 rows.
    const BYTES: usize;
    /// Bits of the unsigned quants; 8 means those of [`Simd::from_i8`].
    const BITS: u32;
    /// Quants that share an integer scale: 16 or 32.
    const SUB: usize;
    /// What is to be subtracted from every quant, beyond [`Simd::BIAS8`].
    const BIAS: i32 = 0;
    /// Where the f16 scales are.
    const D: usize;
    /// Where the f16 scales of the minima are, if there are minima.
    const DMIN: Option<usize> = None;
    /// Unpacks the integer scales, and minima.
    unsafe fn header(block: *const u8, header: &mut Header);
    /// The quants of positions `32g..32g + 32`: vector i holds four of them of each row.
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, part: usize) -> [S::I; 8];
}

/// See [`super::PanelFn`].
///
/// # Safety
/// As [`super::PanelFn`].
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, B: Block256>(
    panel: *const u8,
    first: usize,
    blocks: usize,
    acts: &Acts,
    tokens: usize,
    chains: *mut Chains,
) {
    let mut header = Header {
        scales: [0; 256],
        mins: [0; 256],
    };
    // SAFETY: offsets stay below the sizes that the caller promised; tokens <= GROUP.
    unsafe {
        let mut isum = [S::zero(); GROUP];
        let mut msum = [S::zero(); GROUP];
        for b in 0..blocks {
            let block = panel.add(b * B::BYTES);
            let at = Acts {
                q: acts.q.add(256 * (first + b)),
                d: acts.d.add(first + b),
                sums: acts.sums.add(16 * (first + b)),
                stride: acts.stride,
            };
            B::header(block, &mut header);
            for part in 0..S::PARTS {
                sums::<S, B>(&header, &at, part, tokens, &mut isum, &mut msum);
                for g in 0..8 {
                    let q = B::quants::<S>(block, g, part);
                    let mut t = 0;
                    while t + 4 <= tokens {
                        step::<S, B, 4>(&q, &header, &at, g, part, t, isum.as_mut_ptr().add(t));
                        t += 4;
                    }
                    while t < tokens {
                        step::<S, B, 1>(&q, &header, &at, g, part, t, isum.as_mut_ptr().add(t));
                        t += 1;
                    }
                }
                let d = S::load_f16(block.add(B::D + 2 * part * S::LANES));
                let chains = chains.cast::<f32>().add(part * S::LANES);
                for t in 0..tokens {
                    let d_a = S::splat_f32(at.d.byte_add(t * at.stride).read());
                    let chain = chains.add(t * TILE_ROWS);
                    let mut acc = S::load_f32(chain.cast());
                    acc = S::fma(S::mul(d, d_a), S::to_f32(*isum.get_unchecked(t)), acc);
                    if let Some(dmin) = B::DMIN {
                        let dmin = S::load_f16(block.add(dmin + 2 * part * S::LANES));
                        acc = S::fnma(S::mul(dmin, d_a), S::to_f32(*msum.get_unchecked(t)), acc);
                    }
                    S::store_f32(chain, acc);
                }
            }
        }
    }
}

/// What the sums of activations contribute: `isum` starts at minus the bias, and `msum` becomes the
/// sum of the minima.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block.
#[inline(always)]
unsafe fn sums<S: Simd, B: Block256>(
    header: &Header,
    at: &Acts,
    part: usize,
    tokens: usize,
    isum: &mut [S::I; GROUP],
    msum: &mut [S::I; GROUP],
) {
    // SAFETY: the caller's; tokens <= GROUP.
    unsafe {
        let bias = B::BIAS + if B::BITS == 8 { S::BIAS8 } else { 0 };
        for t in 0..tokens {
            *isum.get_unchecked_mut(t) = S::zero();
            if B::DMIN.is_some() {
                *msum.get_unchecked_mut(t) = S::zero();
            }
        }
        let (factors, by, out) = if B::DMIN.is_some() {
            (header.mins.as_ptr(), 1, msum)
        } else if bias != 0 {
            (header.scales.as_ptr(), -bias as i16, isum)
        } else {
            return;
        };
        for g in 0..8 {
            // The two sums of 16 in a group of 32 meet two factors, or the same one twice.
            let [a, b] = if B::SUB == 16 {
                [2 * g, 2 * g + 1]
            } else {
                [g, g]
            };
            let rows = part * S::LANES;
            let pairs = S::i16_pairs(
                factors.add(a * TILE_ROWS + rows),
                factors.add(b * TILE_ROWS + rows),
                by,
            );
            for t in 0..tokens {
                // A sum of 16 quants fits i16.
                let two = at.sums.add(2 * g).byte_add(t * at.stride);
                let two = two.read() as u32 & 0xffff | (two.add(1).read() as u32) << 16;
                let out = out.get_unchecked_mut(t);
                *out = S::add_pair_dot(*out, pairs, two);
            }
        }
    }
}

/// Group g for tokens `t..t + C`.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block; `isum` holds C vectors.
#[inline(always)]
unsafe fn step<S: Simd, B: Block256, const C: usize>(
    q: &[S::I; 8],
    header: &Header,
    at: &Acts,
    g: usize,
    part: usize,
    t: usize,
    isum: *mut S::I,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut a = [at.q; C];
        let mut acc = [S::zero(); C];
        for c in 0..C {
            a[c] = at.q.add((t + c) * at.stride + 32 * g);
            acc[c] = isum.add(c).read();
        }
        let scales = header.scales.as_ptr().add(part * S::LANES);
        if B::SUB == 32 {
            let scale = S::load_scale(scales.add(g * TILE_ROWS));
            match B::BITS {
                4 => S::add_scaled_dot::<4, 8, C>(&mut acc, q, &a, scale),
                5 => S::add_scaled_dot::<5, 8, C>(&mut acc, q, &a, scale),
                _ => S::add_scaled_dot::<8, 8, C>(&mut acc, q, &a, scale),
            }
        } else {
            let [q0, q1, q2, q3, q4, q5, q6, q7] = *q;
            for (half, q) in [[q0, q1, q2, q3], [q4, q5, q6, q7]].iter().enumerate() {
                let scale = S::load_scale(scales.add((2 * g + half) * TILE_ROWS));
                match B::BITS {
                    2 => S::add_scaled_dot::<2, 4, C>(&mut acc, q, &a, scale),
                    3 => S::add_scaled_dot::<3, 4, C>(&mut acc, q, &a, scale),
                    _ => S::add_scaled_dot::<6, 4, C>(&mut acc, q, &a, scale),
                }
                for a in &mut a {
                    *a = a.add(16);
                }
            }
        }
        for c in 0..C {
            isum.add(c).write(acc[c]);
        }
    }
}
