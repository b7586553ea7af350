//! Formats of superblocks of 256: an f32 scale a block, integer scales per 16 or 32 quants.
//!
//! In: a panel of blocks of 16 rows, activations [`ActFormat::Q8x256`](crate::act::ActFormat).
//! Sums over 32 positions are multiplied by their integer scales and added in i32, exactly; floats
//! come in once a superblock. The loop over the eight groups of 32 stays rolled: unrolled, its many
//! load sites confuse the hardware prefetcher and halve the speed from DRAM.

use std::mem::MaybeUninit;

use super::simd::Simd;
use super::{Acts, Chains, GROUP};
use crate::ahead::Ahead;
use crate::pack::TILE_ROWS;

/// The integer scales of one superblock, unpacked: `[sub-block][row 16]`.
#[repr(align(64))]
pub(crate) struct Header {
    /// Signed scales; 8 or 16 sub-blocks.
    pub(crate) scales: [u8; 256],
    /// Minima (positive), if the format has them; as many as scales.
    pub(crate) mins: [u8; 256],
}

impl Header {
    pub(crate) const ZERO: Header = Header {
        scales: [0; 256],
        mins: [0; 256],
    };
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
    /// Which two runs of 16 positions make up group i of 8; the same one of 32 where scales are per 32.
    #[inline(always)]
    fn subs(i: usize) -> [usize; 2] {
        [2 * i, 2 * i + 1]
    }
    /// Unpacks the integer scales, and minima.
    unsafe fn header(block: *const u8, header: &mut Header);
    /// The quants of group g: four vectors of each run, of four positions of each row each.
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
    let mut header = Header::ZERO;
    let ahead = Ahead::of_this_cpu();
    // SAFETY: offsets stay below the sizes that the caller promised; tokens <= GROUP.
    unsafe {
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
                let chains = chains.cast::<f32>().add(part * S::LANES);
                if tokens == 1 {
                    one::<S, B>(block, &header, &at, part, ahead, chains);
                } else {
                    many::<S, B>(block, &header, &at, part, ahead, tokens, chains);
                }
            }
        }
    }
}

/// A superblock for one token, its sums in registers.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block, `chains` at the part.
#[inline(always)]
unsafe fn one<S: Simd, B: Block256>(
    block: *const u8,
    header: &Header,
    at: &Acts,
    part: usize,
    ahead: Ahead,
    chains: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = Sums {
            isum: [S::zero()],
            msum: [S::zero()],
        };
        for g in 0..8 {
            ahead.fetch(block, B::BYTES, g + 8 * part, 8 * S::PARTS);
            let w = Group::<S>::new::<B>(block, header, g, part);
            w.add_to::<B, 1>(at, g, &mut sums);
        }
        finish::<S, B, 1>(block, at, part, &sums, chains);
    }
}

/// A superblock for up to [`GROUP`] tokens, whose sums wait in memory while others' turn comes.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block, `chains` at the part.
#[inline(always)]
unsafe fn many<S: Simd, B: Block256>(
    block: *const u8,
    header: &Header,
    at: &Acts,
    part: usize,
    ahead: Ahead,
    tokens: usize,
    chains: *mut f32,
) {
    // SAFETY: the caller's; fours + ones <= GROUP. What is read was written when g was 0.
    unsafe {
        let mut fours = [const { MaybeUninit::<Sums<S, 4>>::uninit() }; GROUP / 4];
        let mut ones = [const { MaybeUninit::<Sums<S, 1>>::uninit() }; 3];
        let (n_fours, n_ones) = (tokens / 4, tokens % 4);
        for g in 0..8 {
            ahead.fetch(block, B::BYTES, g + 8 * part, 8 * S::PARTS);
            let w = Group::<S>::new::<B>(block, header, g, part);
            for (i, waiting) in fours.iter_mut().take(n_fours).enumerate() {
                let mut sums = Sums {
                    isum: [S::zero(); 4],
                    msum: [S::zero(); 4],
                };
                if g > 0 {
                    sums = waiting.assume_init();
                }
                w.add_to::<B, 4>(&at.token(4 * i), g, &mut sums);
                waiting.write(sums);
            }
            for (i, waiting) in ones.iter_mut().take(n_ones).enumerate() {
                let mut sums = Sums {
                    isum: [S::zero()],
                    msum: [S::zero()],
                };
                if g > 0 {
                    sums = waiting.assume_init();
                }
                w.add_to::<B, 1>(&at.token(4 * n_fours + i), g, &mut sums);
                waiting.write(sums);
            }
        }
        for (i, sums) in fours.iter().take(n_fours).enumerate() {
            let chains = chains.add(4 * i * TILE_ROWS);
            finish::<S, B, 4>(
                block,
                &at.token(4 * i),
                part,
                sums.assume_init_ref(),
                chains,
            );
        }
        for (i, sums) in ones.iter().take(n_ones).enumerate() {
            let t = 4 * n_fours + i;
            let chains = chains.add(t * TILE_ROWS);
            finish::<S, B, 1>(block, &at.token(t), part, sums.assume_init_ref(), chains);
        }
    }
}

/// The integer sums of a superblock so far, of C tokens.
#[derive(Clone, Copy)]
struct Sums<S: Simd, const C: usize> {
    isum: [S::I; C],
    /// Unused unless there are minima.
    msum: [S::I; C],
}

/// 32 positions of the weights, decoded, in registers while tokens pass.
struct Group<S: Simd> {
    q: [S::I; 8],
    /// Of the first and the second 16.
    scales: [S::Scale; 2],
    /// What the activations' two sums of 16 are multiplied by, as i16 pairs: minima, or the scales
    /// times minus the bias. Unused if there is neither.
    factors: S::I,
}

impl<S: Simd> Group<S> {
    /// # Safety
    /// As [`Block256`].
    #[inline(always)]
    unsafe fn new<B: Block256>(block: *const u8, header: &Header, g: usize, part: usize) -> Self {
        let per_scale = B::SUB / 16;
        let [a, b] = B::subs(g).map(|sub| sub / per_scale * TILE_ROWS + part * S::LANES);
        let scales = header.scales.as_ptr();
        let mins = header.mins.as_ptr();
        // SAFETY: the caller's; a header holds 16 sub-blocks.
        unsafe {
            Group {
                q: B::quants::<S>(block, g, part),
                scales: [S::load_scale(scales.add(a)), S::load_scale(scales.add(b))],
                factors: if B::DMIN.is_some() {
                    S::i16_pairs(mins.add(a), mins.add(b), 1)
                } else if bias::<S, B>() != 0 {
                    S::i16_pairs(scales.add(a), scales.add(b), -bias::<S, B>() as i16)
                } else {
                    S::zero()
                },
            }
        }
    }

    /// Adds the group, met by C tokens, to their sums.
    ///
    /// # Safety
    /// `at` is readable for C tokens, at the superblock.
    #[inline(always)]
    unsafe fn add_to<B: Block256, const C: usize>(
        &self,
        at: &Acts,
        g: usize,
        sums: &mut Sums<S, C>,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let [first, second] = B::subs(g);
            let mut a = [at.q; C];
            for c in 0..C {
                a[c] = at.token(c).q.add(16 * first);
            }
            let isum = &mut sums.isum;
            let [scale, second_scale] = self.scales;
            if B::SUB == 32 {
                match bits::<B>() {
                    4 => S::add_scaled_dot::<4, 8, C>(isum, &self.q, &a, scale),
                    5 => S::add_scaled_dot::<5, 8, C>(isum, &self.q, &a, scale),
                    _ => S::add_scaled_dot::<8, 8, C>(isum, &self.q, &a, scale),
                }
            } else {
                let [q0, q1, q2, q3, q4, q5, q6, q7] = self.q;
                let (low, high) = ([q0, q1, q2, q3], [q4, q5, q6, q7]);
                let mut b = a;
                for b in &mut b {
                    *b = b.add(16 * (second - first));
                }
                if bits::<B>() == 3 {
                    S::add_scaled_dot::<3, 4, C>(isum, &low, &a, scale);
                    S::add_scaled_dot::<3, 4, C>(isum, &high, &b, second_scale);
                } else {
                    S::add_scaled_dot::<6, 4, C>(isum, &low, &a, scale);
                    S::add_scaled_dot::<6, 4, C>(isum, &high, &b, second_scale);
                }
            }
            if B::DMIN.is_none() && bias::<S, B>() == 0 {
                return;
            }
            for c in 0..C {
                // A sum of 16 quants fits i16.
                let sums_a = at.token(c).sums;
                let low = sums_a.add(first).read() as u32 & 0xffff;
                let two = low | (sums_a.add(second).read() as u32) << 16;
                let to = if B::DMIN.is_some() {
                    &mut sums.msum[c]
                } else {
                    &mut sums.isum[c]
                };
                *to = S::add_pair_dot(*to, self.factors, two);
            }
        }
    }
}

/// The bits that [`Simd::add_dot`] is told of: kernels are compiled for 4, 5 and 8 with scales per
/// 32, and for 3 and 6 with scales per 16.
pub(crate) const fn bits<B: Block256>() -> u32 {
    match (B::SUB, B::BITS) {
        (32, 4) => 4,
        (32, 5) => 5,
        (32, _) => 8,
        (_, ..=3) => 3,
        _ => 6,
    }
}

/// What is to be subtracted from every quant.
pub(crate) const fn bias<S: Simd, B: Block256>() -> i32 {
    B::BIAS + if B::BITS == 8 { S::BIAS8 } else { 0 }
}

/// Adds a superblock's sums to the chains of C tokens.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block, `chains` at the part.
#[inline(always)]
unsafe fn finish<S: Simd, B: Block256, const C: usize>(
    block: *const u8,
    at: &Acts,
    part: usize,
    sums: &Sums<S, C>,
    chains: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let d = S::load_f16(block.add(B::D + 2 * part * S::LANES));
        for c in 0..C {
            let d_a = S::splat_f32(at.token(c).d.read());
            let chain = chains.add(c * TILE_ROWS);
            let mut acc = S::load_f32(chain.cast());
            acc = S::fma(S::mul(d, d_a), S::to_f32(sums.isum[c]), acc);
            if let Some(dmin) = B::DMIN {
                let dmin = S::load_f16(block.add(dmin + 2 * part * S::LANES));
                acc = S::fnma(S::mul(dmin, d_a), S::to_f32(sums.msum[c]), acc);
            }
            S::store_f32(chain, acc);
        }
    }
}
