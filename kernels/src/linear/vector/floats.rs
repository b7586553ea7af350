//! F32, F16, BF16: one chain of fused multiply-adds a row, k ascending.
//!
//! In: a panel of weights `[k][16 rows]`, f32 activations. The chain is the definition, and its
//! latency the bound for one token; several tokens run side by side.

use super::simd::Simd;
use super::{Acts, Chains};
use crate::ahead::Ahead;
use crate::pack::TILE_ROWS;

/// A format of single floats.
pub(crate) trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// One element of each row of a part.
    ///
    /// # Safety
    /// The CPU has S; `p` is readable for a part's elements.
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
}

/// See [`super::PanelFn`]; a block is one element. `PARTS` is [`Simd::PARTS`].
///
/// # Safety
/// As [`super::PanelFn`].
#[inline(always)]
pub(crate) unsafe fn run<S: Simd, F: Float, const PARTS: usize>(
    panel: *const u8,
    first: usize,
    blocks: usize,
    acts: &Acts,
    tokens: usize,
    chains: *mut Chains,
) {
    // SAFETY: the caller's promise covers every token below `tokens`.
    unsafe {
        let mut t = 0;
        let mut step = acts.q.add(4 * first);
        // The first tokens bring the weights, which later ones find in the cache.
        let mut ahead = Ahead::of_this_cpu();
        if S::WIDE_FLOATS {
            while t + 8 <= tokens {
                chunk::<S, F, PARTS, 8>(panel, blocks, step, acts.stride, ahead, chains.add(t));
                step = step.add(8 * acts.stride);
                t += 8;
                ahead = Ahead::NOT;
            }
        }
        while t + 4 <= tokens {
            chunk::<S, F, PARTS, 4>(panel, blocks, step, acts.stride, ahead, chains.add(t));
            step = step.add(4 * acts.stride);
            t += 4;
            ahead = Ahead::NOT;
        }
        while t < tokens {
            chunk::<S, F, PARTS, 1>(panel, blocks, step, acts.stride, ahead, chains.add(t));
            step = step.add(acts.stride);
            t += 1;
            ahead = Ahead::NOT;
        }
    }
}

/// The chains of C tokens, in registers.
///
/// # Safety
/// As [`super::PanelFn`], with C tokens and `x` at the first element.
#[inline(always)]
unsafe fn chunk<S: Simd, F: Float, const PARTS: usize, const C: usize>(
    panel: *const u8,
    blocks: usize,
    x: *const u8,
    stride: usize,
    ahead: Ahead,
    chains: *mut Chains,
) {
    // SAFETY: offsets stay below the sizes that the caller promised.
    unsafe {
        let mut acc = [[S::splat_f32(0.0); PARTS]; C];
        for t in 0..C {
            for part in 0..PARTS {
                acc[t][part] = S::load_f32(chains.add(t).cast::<f32>().add(part * S::LANES).cast());
            }
        }
        for k in 0..blocks {
            let column = panel.add(k * TILE_ROWS * F::BYTES);
            ahead.fetch(column, TILE_ROWS * F::BYTES, 0, 1);
            for part in 0..PARTS {
                let w = F::load::<S>(column.add(part * S::LANES * F::BYTES));
                for t in 0..C {
                    let x = S::splat_f32(x.add(t * stride + 4 * k).cast::<f32>().read());
                    acc[t][part] = S::fma(w, x, acc[t][part]);
                }
            }
        }
        for t in 0..C {
            for part in 0..PARTS {
                S::store_f32(
                    chains.add(t).cast::<f32>().add(part * S::LANES),
                    acc[t][part],
                );
            }
        }
    }
}

/// See [`crate::format::Format::F32`].
pub(crate) struct F32;
impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::load_f32(p) }
    }
}

/// See [`crate::format::Format::F16`].
pub(crate) struct F16;
impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::load_f16(p) }
    }
}

/// See [`crate::format::Format::BF16`].
pub(crate) struct BF16;
impl Float for BF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8) -> S::F {
        // SAFETY: the caller's.
        unsafe { S::load_bf16(p) }
    }
}
