//! Formats of blocks of 32: an f32 scale, perhaps a minimum, and an exact integer sum a block.
//!
//! In: a panel of blocks of 16 rows, activations [`ActFormat::Q8x32`](crate::act::ActFormat).
//! A block's quants are decoded once, kept in registers, and met by every token of the group.

use super::simd::Simd;
use super::{Acts, Chains};
use crate::ahead::Ahead;
use crate::pack::TILE_ROWS;

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

/// What is to be subtracted from every quant.
pub(crate) const fn bias<S: Simd, B: Block32>() -> i32 {
    B::BIAS + if B::BITS == 8 { S::BIAS8 } else { 0 }
}

/// The bits that [`Simd::add_dot`] is told of: kernels are compiled for 4, 5 and 8.
pub(crate) const fn bits<B: Block32>() -> u32 {
    match B::BITS {
        4 => 4,
        5 => 5,
        _ => 8,
    }
}

/// What one block contributes, held in registers while tokens pass.
struct Decoded<S: Simd> {
    q: [S::I; 8],
    d: S::F,
    m: S::F,
}

/// See [`super::PanelFn`]. `PARTS` is [`Simd::PARTS`].
///
/// # Safety
/// As [`super::PanelFn`].
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, B: Block32, const PARTS: usize>(
    panel: *const u8,
    first: usize,
    blocks: usize,
    acts: &Acts,
    tokens: usize,
    chains: *mut Chains,
) {
    let chains = chains.cast::<f32>();
    let ahead = Ahead::of_this_cpu();
    // SAFETY: offsets stay below the sizes that the caller promised.
    unsafe {
        if tokens == 1 {
            let mut acc = [[S::splat_f32(0.0)]; PARTS];
            for part in 0..PARTS {
                acc[part] = [S::load_f32(chains.add(part * S::LANES).cast())];
            }
            for b in 0..blocks {
                let at = acts.block(first + b);
                ahead.fetch(panel.add(b * B::BYTES), B::BYTES, 0, 1);
                for part in 0..PARTS {
                    let w = Decoded::<S>::new::<B>(panel.add(b * B::BYTES), part);
                    w.add_to::<B, 1>(&at, &mut acc[part]);
                }
            }
            for part in 0..PARTS {
                S::store_f32(chains.add(part * S::LANES), acc[part][0]);
            }
            return;
        }
        for b in 0..blocks {
            let at = acts.block(first + b);
            ahead.fetch(panel.add(b * B::BYTES), B::BYTES, 0, 1);
            for part in 0..PARTS {
                let w = Decoded::<S>::new::<B>(panel.add(b * B::BYTES), part);
                let chains = chains.add(part * S::LANES);
                let mut t = 0;
                while t + 4 <= tokens {
                    w.add_to_memory::<B, 4>(&at.token(t), chains.add(t * TILE_ROWS));
                    t += 4;
                }
                while t < tokens {
                    w.add_to_memory::<B, 1>(&at.token(t), chains.add(t * TILE_ROWS));
                    t += 1;
                }
            }
        }
    }
}

impl Acts {
    /// The activations of the block that many after the first.
    #[inline(always)]
    fn block(&self, n: usize) -> Acts {
        Acts {
            q: self.q.wrapping_add(32 * n),
            d: self.d.wrapping_add(n),
            sums: self.sums.wrapping_add(n),
            stride: self.stride,
        }
    }
}

impl<S: Simd> Decoded<S> {
    /// # Safety
    /// As [`Block32`].
    #[inline(always)]
    unsafe fn new<B: Block32>(block: *const u8, part: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            Decoded {
                q: B::quants::<S>(block, part),
                d: B::scale::<S>(block, part),
                m: if B::HAS_MIN {
                    B::min::<S>(block, part)
                } else {
                    S::splat_f32(0.0)
                },
            }
        }
    }

    /// As [`Decoded::add_to`], for chains that wait in memory, a tile's rows apart.
    ///
    /// # Safety
    /// As [`super::PanelFn`]; `at` is at the block, `chains` at the part.
    #[inline(always)]
    unsafe fn add_to_memory<B: Block32, const C: usize>(&self, at: &Acts, chains: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [S::splat_f32(0.0); C];
            for c in 0..C {
                acc[c] = S::load_f32(chains.add(c * TILE_ROWS).cast());
            }
            self.add_to::<B, C>(at, &mut acc);
            for c in 0..C {
                S::store_f32(chains.add(c * TILE_ROWS), acc[c]);
            }
        }
    }

    /// Adds the block, met by C tokens, to their chains.
    ///
    /// # Safety
    /// As [`super::PanelFn`]; `at` is at the block.
    #[inline(always)]
    unsafe fn add_to<B: Block32, const C: usize>(&self, at: &Acts, chains: &mut [S::F; C]) {
        // SAFETY: the caller's.
        unsafe {
            let bias = bias::<S, B>();
            let mut q = [at.q; C];
            let mut sums = [0; C];
            let mut isum = [S::zero(); C];
            for c in 0..C {
                q[c] = at.token(c).q;
                sums[c] = at.token(c).sums.read();
                if bias != 0 {
                    // Wrapping, as the vectors do: no value of a stray activation row may panic.
                    isum[c] = S::splat_i32(sums[c].wrapping_mul(-bias));
                }
            }
            match bits::<B>() {
                4 => S::add_dot::<4, 8, C>(&mut isum, &self.q, &q),
                5 => S::add_dot::<5, 8, C>(&mut isum, &self.q, &q),
                _ => S::add_dot::<8, 8, C>(&mut isum, &self.q, &q),
            }
            for c in 0..C {
                let d_a = at.token(c).d.read();
                let acc = &mut chains[c];
                let scale = S::mul(self.d, S::splat_f32(d_a));
                *acc = S::fma(scale, S::to_f32(isum[c]), *acc);
                if B::HAS_MIN {
                    *acc = S::fma(self.m, S::splat_f32(d_a * sums[c] as f32), *acc);
                }
            }
        }
    }
}
