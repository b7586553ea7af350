//! The register-tiled kernels: 16 rows by C tokens, in one pass along the columns of a panel.
//!
//! Sums and chains of all C tokens stay in registers (superblocks' chains, touched once in 256
//! columns, in memory); a vector of weights is loaded once for C multiplications, whose other factor
//! comes straight from the stream of interleaved activations ([`super::acts`]).

use super::super::Chains;
use super::super::simd::Simd;
use super::acts::{Acts32, Acts256};
use super::panel::{self, Panel32, Panel256};
use crate::pack::TILE_ROWS;

/// Blocks of 32, of BITS bits (8: those of [`Simd::from_i8`]), from which BIAS is to be subtracted:
/// see [`super::TileFn`].
///
/// # Safety
/// As [`super::TileFn`], for C tokens.
#[inline(always)]
pub(crate) unsafe fn block32<
    S: Simd,
    const BITS: u32,
    const BIAS: i32,
    const HAS_MIN: bool,
    const C: usize,
>(
    panel: *const u8,
    blocks: usize,
    acts: *const u8,
    chains: *mut Chains,
    start: bool,
) {
    for part in 0..S::PARTS {
        // SAFETY: the caller's; offsets are inside the block, the group and the part.
        unsafe {
            let chains = chains.cast::<f32>().add(part * S::LANES);
            let mut acc = load_chains::<S, C>(chains, start);
            for b in 0..blocks {
                let w = panel.add(b * Panel32::bytes(HAS_MIN) + part * S::BYTES);
                let a = Acts32::<C>(acts.add(b * Acts32::<C>::BYTES));
                let mut isum = [S::zero(); C];
                if BIAS != 0 {
                    for t in 0..C {
                        isum[t] = S::splat_i32(a.sum(t));
                        if S::TILE_BIAS.is_none() {
                            isum[t] = S::mul_i32(isum[t], -BIAS);
                        }
                    }
                }
                S::add_tile_dot::<BITS, 8, C>(&mut isum, w, a.q(0));
                let d = S::load_f32(w.add(Panel32::D));
                for t in 0..C {
                    let scale = S::mul(d, S::splat_f32(a.d(t)));
                    acc[t] = S::fma(scale, S::to_f32(isum[t]), acc[t]);
                }
                if HAS_MIN {
                    let m = S::load_f32(w.add(Panel32::M));
                    for t in 0..C {
                        acc[t] = S::fma(m, S::splat_f32(a.scaled_sum(t)), acc[t]);
                    }
                }
            }
            store_chains::<S, C>(chains, &acc);
        }
    }
}

/// Superblocks with a scale for every SUB positions (16 or 32), of BITS bits; with a bias or minima, or
/// without: see [`super::TileFn`].
///
/// # Safety
/// As [`super::TileFn`], for C tokens.
#[inline(always)]
pub(crate) unsafe fn block256<
    S: Simd,
    const BITS: u32,
    const SUB: usize,
    const HAS_BIAS: bool,
    const HAS_MIN: bool,
    const C: usize,
>(
    panel: *const u8,
    blocks: usize,
    acts: *const u8,
    chains: *mut Chains,
    start: bool,
) {
    if start {
        // SAFETY: the caller's.
        unsafe { super::super::start::<S>(0, C, chains) }
    }
    for b in 0..blocks {
        for part in 0..S::PARTS {
            // SAFETY: the caller's; offsets are inside the superblock, the group and the part.
            unsafe {
                let chains = chains.cast::<f32>().add(part * S::LANES);
                let block = panel.add(b * Panel256::BYTES);
                let w = block.add(part * S::BYTES);
                let scales = block.add(Panel256::SCALES + part * S::LANES);
                let a = Acts256::<C>(acts.add(b * Acts256::<C>::BYTES));
                let mut isum = [S::zero(); C];
                let begins = HAS_BIAS && S::TILE_BIAS.is_some();
                if HAS_BIAS && !begins {
                    factors::<S, SUB, C>(w, &a, &mut isum);
                }
                for g in 0..8 {
                    let (w, q) = (w.add(8 * g * 4 * TILE_ROWS), a.q(8 * g));
                    if SUB == 32 {
                        let scale = S::load_scale(scales.add(g * TILE_ROWS));
                        let mut start = [S::zero(); C];
                        if begins {
                            start = sums_16::<S, C>(&a, 2 * g);
                            let more = sums_16::<S, C>(&a, 2 * g + 1);
                            for t in 0..C {
                                start[t] = S::add_i32(start[t], more[t]);
                            }
                        }
                        S::add_scaled_tile_dot::<BITS, 8, C>(&mut isum, start, w, q, scale);
                    } else {
                        let mut start = [[S::zero(); C]; 2];
                        if begins {
                            start = [sums_16::<S, C>(&a, 2 * g), sums_16::<S, C>(&a, 2 * g + 1)];
                        }
                        let scale = S::load_scale(scales.add(2 * g * TILE_ROWS));
                        S::add_scaled_tile_dot::<BITS, 4, C>(&mut isum, start[0], w, q, scale);
                        let scale = S::load_scale(scales.add((2 * g + 1) * TILE_ROWS));
                        let (w, q) = (w.add(4 * 4 * TILE_ROWS), a.q(8 * g + 4));
                        S::add_scaled_tile_dot::<BITS, 4, C>(&mut isum, start[1], w, q, scale);
                    }
                }
                let d = S::load_f32(w.add(Panel256::D));
                for t in 0..C {
                    let chain = chains.add(t * TILE_ROWS);
                    let scale = S::mul(d, S::splat_f32(a.d(t)));
                    let acc = S::fma(scale, S::to_f32(isum[t]), S::load_f32(chain.cast()));
                    S::store_f32(chain, acc);
                }
                if HAS_MIN {
                    let mut msum = [S::zero(); C];
                    factors::<S, SUB, C>(w, &a, &mut msum);
                    let dmin = S::load_f32(w.add(Panel256::DMIN));
                    for t in 0..C {
                        let chain = chains.add(t * TILE_ROWS);
                        let scale = S::mul(dmin, S::splat_f32(a.d(t)));
                        let acc = S::fnma(scale, S::to_f32(msum[t]), S::load_f32(chain.cast()));
                        S::store_f32(chain, acc);
                    }
                }
            }
        }
    }
}

/// Adds the products of a superblock's factors with the activations' sums.
///
/// # Safety
/// As [`super::TileFn`]; `w` is at the superblock's part.
#[inline(always)]
unsafe fn factors<S: Simd, const SUB: usize, const C: usize>(
    w: *const u8,
    a: &Acts256<C>,
    to: &mut [S::I; C],
) {
    for g in 0..panel::factors(SUB) {
        // SAFETY: the caller's.
        unsafe {
            let factors = S::load(w.add(Panel256::FACTORS + g * 4 * TILE_ROWS));
            for t in 0..C {
                let sums = if SUB == 32 {
                    a.sums_32(g, t)
                } else {
                    a.sums_16(g, t)
                };
                to[t] = S::add_pair_dot(to[t], factors, sums);
            }
        }
    }
}

/// What the sums of sub-block `sub` begin at under [`Simd::TILE_BIAS`].
///
/// # Safety
/// As [`super::TileFn`].
#[inline(always)]
unsafe fn sums_16<S: Simd, const C: usize>(a: &Acts256<C>, sub: usize) -> [S::I; C] {
    // SAFETY: the caller's.
    unsafe {
        let mut start = [S::zero(); C];
        for t in 0..C {
            start[t] = S::splat_i32(a.sum_times_factor(sub, t));
        }
        start
    }
}

/// # Safety
/// `chains` is at a part of C tokens' chains.
#[inline(always)]
unsafe fn load_chains<S: Simd, const C: usize>(chains: *const f32, start: bool) -> [S::F; C] {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [S::splat_f32(0.0); C];
        if !start {
            for t in 0..C {
                acc[t] = S::load_f32(chains.add(t * TILE_ROWS).cast());
            }
        }
        acc
    }
}

/// # Safety
/// As [`load_chains`].
#[inline(always)]
unsafe fn store_chains<S: Simd, const C: usize>(chains: *mut f32, acc: &[S::F; C]) {
    for t in 0..C {
        // SAFETY: the caller's.
        unsafe { S::store_f32(chains.add(t * TILE_ROWS), acc[t]) }
    }
}
