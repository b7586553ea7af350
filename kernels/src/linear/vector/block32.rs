//! Formats of blocks of 32: an f32 scale, perhaps a minimum, and an exact integer sum a block.
//!
//! In: a panel of blocks of 16 rows, activations [`ActFormat::Q8x32`](crate::act::ActFormat).
//! A block's quants are decoded once, kept in registers, and met by every token of the group.

use super::simd::Simd;
use super::{Acts, Chains};

/// What a format of 32-blocks must be able to read. `block` points to one block of 16 rows; `part`
/// selects the rows of one vector.
///
/// # Safety
/// Of all functions: the CPU has S, and `block` is readable for [`Block32::BYTES`].
pub(crate) trait Block32 {
    /// Bytes of a block of 16 rows.
    const BYTES: usize;
    /// Bits of the unsigned quants; 8 means those of [`Simd::from_i8`].
    const BITS: u32;
    /// What is to be subtracted from every quant, beyond [`Simd::BIAS8`].
    const BIAS: i32 = 0;
    /// Whether there is a minimum.
    const HAS_MIN: bool = false;
    /// Vector i holds positions `4i..4i + 4` of each row.
    unsafe fn quants<S: Simd>(block: *const u8, part: usize) -> [S::I; 8];
    /// The scale of each row.
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, part: usize) -> S::F {
        // SAFETY: the caller's; a block begins with its scales, in f16.
        unsafe { S::load_f16(block.add(2 * part * S::LANES)) }
    }
    /// The minimum of each row.
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, part: usize) -> S::F {
        // SAFETY: the caller's; the minima follow the scales.
        unsafe { S::load_f16(block.add(32 + 2 * part * S::LANES)) }
    }
}

/// What one block contributes, held in registers while tokens pass.
struct Decoded<S: Simd> {
    q: [S::I; 8],
    d: S::F,
    m: S::F,
}

/// See [`super::PanelFn`].
///
/// # Safety
/// As [`super::PanelFn`].
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, B: Block32>(
    panel: *const u8,
    first: usize,
    blocks: usize,
    acts: &Acts,
    tokens: usize,
    chains: *mut Chains,
) {
    // SAFETY: offsets stay below the sizes that the caller promised.
    unsafe {
        for b in 0..blocks {
            let block = panel.add(b * B::BYTES);
            let at = Acts {
                q: acts.q.add(32 * (first + b)),
                d: acts.d.add(first + b),
                sums: acts.sums.add(first + b),
                stride: acts.stride,
            };
            for part in 0..S::PARTS {
                let w = Decoded::<S> {
                    q: B::quants::<S>(block, part),
                    d: B::scale::<S>(block, part),
                    m: if B::HAS_MIN {
                        B::min::<S>(block, part)
                    } else {
                        S::splat_f32(0.0)
                    },
                };
                let chains = chains.cast::<f32>().add(part * S::LANES);
                let mut t = 0;
                while t + 4 <= tokens {
                    step::<S, B, 4>(&w, &at, t, chains);
                    t += 4;
                }
                while t < tokens {
                    step::<S, B, 1>(&w, &at, t, chains);
                    t += 1;
                }
            }
        }
    }
}

/// One block for tokens `t..t + C`.
///
/// # Safety
/// As [`super::PanelFn`]; `at` is at the block, `chains` at the part.
#[inline(always)]
unsafe fn step<S: Simd, B: Block32, const C: usize>(
    w: &Decoded<S>,
    at: &Acts,
    t: usize,
    chains: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let bias = B::BIAS + if B::BITS == 8 { S::BIAS8 } else { 0 };
        let mut q = [at.q; C];
        let mut sums = [0; C];
        let mut isum = [S::zero(); C];
        for c in 0..C {
            q[c] = at.q.add((t + c) * at.stride);
            sums[c] = at.sums.byte_add((t + c) * at.stride).read();
            if bias != 0 {
                // Wrapping, as the vectors do: no value of a stray activation row may panic.
                isum[c] = S::splat_i32(sums[c].wrapping_mul(-bias));
            }
        }
        match B::BITS {
            4 => S::add_dot::<4, 8, C>(&mut isum, &w.q, &q),
            5 => S::add_dot::<5, 8, C>(&mut isum, &w.q, &q),
            _ => S::add_dot::<8, 8, C>(&mut isum, &w.q, &q),
        }
        for c in 0..C {
            let d_a = S::splat_f32(at.d.byte_add((t + c) * at.stride).read());
            let chain = chains.add((t + c) * crate::pack::TILE_ROWS);
            let mut acc = S::load_f32(chain.cast());
            acc = S::fma(S::mul(w.d, d_a), S::to_f32(isum[c]), acc);
            if B::HAS_MIN {
                acc = S::fma(S::mul(w.m, d_a), S::splat_f32(sums[c] as f32), acc);
            }
            S::store_f32(chain, acc);
        }
    }
}
