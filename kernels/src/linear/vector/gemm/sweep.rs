//! Leads groups of tokens past panels of weights.
//!
//! In: tiles of a matrix, rows of activations, a thread's [`Scratch`]. A few tiles at a time are
//! decoded into a panel in the scratch, and each group of tokens sweeps all of them while its
//! activations are in the first cache. Long rows are taken in several stretches, the chains waiting
//! in the scratch meanwhile. Out: a call of `store` for every tile and token.

use std::ops::Range;

use super::super::{Acts, Chains, Interleaver};
use super::{Gemm, MAX_TOKENS, STEP, acts};
use crate::act::ActFormat;
use crate::isa::Isa;
use crate::linear::Matrix;
use crate::linear::scratch::{Key, Parts, Scratch};
use crate::pack::TILE_ROWS;

/// Tiles that share a panel, at most.
const TILES: usize = 4;
/// Bytes of a panel. It should stay in the second cache beside the activations of a group: a quarter
/// of that of the machine that this was tuned on (1 MiB a core). A smaller cache costs speed only.
const PANEL_BYTES: usize = 256 << 10;

/// Where the parts of the scratch for a product of `tokens` tokens end: panel, chains, activations.
pub(crate) fn scratch_parts(format: ActFormat, cols: usize, tokens: usize) -> Option<Parts> {
    let blocks = cols / format.block();
    // Chains wait between the stretches of long rows, which are taken one tile at a time.
    let chains = tokens
        .checked_next_multiple_of(STEP)?
        .max(MAX_TOKENS)
        .checked_mul(size_of::<Chains>())?;
    let acts = tokens
        .checked_next_multiple_of(STEP)?
        .checked_mul(blocks.checked_mul(acts::block_bytes(format))?)?;
    Some(Parts {
        panel: PANEL_BYTES,
        chains,
        acts: acts.checked_next_multiple_of(64)?,
    })
}

/// Calls `store(first row, rows, token, values)` for every tile and token. Returns false, having
/// called nothing, if the scratch is too small.
///
/// # Safety
/// As [`crate::linear::forward_tiles`]; `gemm` is of `isa` and of the format of `m`.
pub(crate) unsafe fn run(
    isa: Isa,
    gemm: &Gemm,
    m: &Matrix<'_>,
    tiles: Range<usize>,
    from: *const u8,
    stride: usize,
    tokens: usize,
    scratch: &mut Scratch,
    store: impl Fn(usize, usize, usize, &Chains),
) -> bool {
    #[cfg(not(feature = "planted"))]
    let _ = isa;
    let format = m.format().activation();
    let key = Key {
        acts: from,
        stride,
        tokens,
        format,
        cols: m.cols(),
        group: gemm.tokens,
        factor: gemm.factor,
    };
    let Some((parts, interleaving)) =
        scratch_parts(format, m.cols(), tokens).and_then(|parts| scratch.take(parts, key))
    else {
        return false;
    };
    let token_bytes = token_bytes(&key);
    if let Some(all) = interleaving {
        // SAFETY: the caller's rows; the scratch is this thread's, with room for all groups.
        unsafe { all.run(0..all.groups()) }
    }
    let blocks = m.cols() / m.format().block_len();
    let block_bytes = acts::block_bytes(format) * m.format().block_len() / format.block();
    // As many tiles as fit with whole rows; of longer rows one tile, in stretches.
    let at_once = (PANEL_BYTES / (blocks * gemm.panel_bytes).max(1)).clamp(1, TILES);
    let stretch = (PANEL_BYTES / at_once / gemm.panel_bytes)
        .max(1)
        .min(blocks.max(1));
    let mut interleaver = Interleaver::new();
    for first_tile in tiles.clone().step_by(at_once) {
        let tiles = first_tile..tiles.end.min(first_tile + at_once);
        for first in (0..blocks.max(1)).step_by(stretch) {
            let range = first..blocks.min(first + stretch);
            let tile_bytes = range.len() * gemm.panel_bytes;
            for (i, tile) in tiles.clone().enumerate() {
                // SAFETY: the caller's tile; the panel has room for `at_once` stretches.
                unsafe {
                    interleaver.each(m, tile, range.clone(), |blocks, from, n| {
                        let at = i * tile_bytes + (blocks - first) * gemm.panel_bytes;
                        (gemm.decode)(from, n, parts.panel.add(at));
                    });
                }
            }
            for (t, n) in groups(tokens, gemm.tokens) {
                for (i, tile) in tiles.clone().enumerate() {
                    // SAFETY: chains of all tokens, or those of a group, and the group's activations are
                    // inside the scratch; the kernel is the one for n tokens.
                    let chains = unsafe {
                        // Of rows in one stretch nothing waits: the same place, always in cache.
                        let at = if range.len() == blocks { 0 } else { t };
                        let chains = parts.chains.cast::<Chains>().add(at);
                        let call = Call {
                            kernel: gemm.tiles[n / STEP - 1],
                            panel: parts.panel.add(i * tile_bytes),
                            acts: parts.acts.add(t * token_bytes + n * first * block_bytes),
                            #[cfg(feature = "planted")]
                            panel_bytes: gemm.panel_bytes,
                            #[cfg(feature = "planted")]
                            acts_bytes: n * block_bytes,
                            blocks: range.len(),
                            start: first == 0,
                        };
                        call.run(isa, range.end == blocks, n.min(tokens - t), chains);
                        std::slice::from_raw_parts_mut(chains, n.min(tokens - t))
                    };
                    if range.end == blocks {
                        let row = tile * TILE_ROWS;
                        let rows = TILE_ROWS.min(m.rows() - row);
                        for (c, y) in chains.iter_mut().enumerate() {
                            #[cfg(feature = "planted")]
                            crate::planted::in_results(isa, y);
                            store(row, rows, t + c, y);
                        }
                    }
                }
            }
        }
    }
    true
}

/// Does the pieces `these` of an interleaving: see [`crate::linear::scratch::Interleaving`].
///
/// # Safety
/// The key's rows are readable; `to` is writable for the group's tokens, in steps of [`STEP`].
pub(crate) unsafe fn interleave(key: &Key, these: Range<usize>, to: *mut u8) {
    let from = Acts::of(key.format.layout(key.cols), key.acts, key.stride);
    let blocks = key.cols / key.format.block();
    for (t, n) in groups(key.tokens, key.group)
        .skip(these.start)
        .take(these.len())
    {
        // SAFETY: the caller's.
        unsafe {
            let to = to.add(t * token_bytes(key));
            acts::interleave(
                key.format,
                &from.token(t),
                n.min(key.tokens - t),
                n,
                blocks,
                key.factor,
                to,
            );
        }
    }
}

/// Bytes of an interleaved token.
fn token_bytes(key: &Key) -> usize {
    key.cols / key.format.block() * acts::block_bytes(key.format)
}

/// First token and size of each group: full ones, and what is left in steps of [`STEP`].
fn groups(tokens: usize, full: usize) -> impl Iterator<Item = (usize, usize)> {
    debug_assert!(full <= MAX_TOKENS && full.is_multiple_of(STEP));
    (0..tokens)
        .step_by(full)
        .map(move |t| (t, full.min((tokens - t).next_multiple_of(STEP))))
}

/// One call of a kernel.
struct Call {
    kernel: super::TileFn,
    panel: *const u8,
    acts: *const u8,
    #[cfg(feature = "planted")]
    panel_bytes: usize,
    #[cfg(feature = "planted")]
    acts_bytes: usize,
    blocks: usize,
    start: bool,
}

impl Call {
    /// # Safety
    /// As [`super::TileFn`].
    unsafe fn run(&self, _isa: Isa, _last: bool, _tokens: usize, chains: *mut Chains) {
        #[cfg(feature = "planted")]
        // SAFETY: the same blocks and tokens, wrongly.
        if unsafe { self.planted(_isa, _last, _tokens, chains) } {
            return;
        }
        // SAFETY: the caller's.
        unsafe { (self.kernel)(self.panel, self.blocks, self.acts, chains, self.start) }
    }

    /// Plants the faults that concern the order of the work; whether it has done it.
    ///
    /// # Safety
    /// As [`super::TileFn`].
    #[cfg(feature = "planted")]
    unsafe fn planted(&self, isa: Isa, last: bool, tokens: usize, chains: *mut Chains) -> bool {
        use crate::planted::{Fault, is};
        // SAFETY: parts of the caller's blocks.
        unsafe {
            let part = |first: usize, n: usize| {
                let panel = self.panel.add(first * self.panel_bytes);
                let acts = self.acts.add(first * self.acts_bytes);
                (self.kernel)(panel, n, acts, chains, self.start && first == 0);
            };
            if is(isa, Fault::SwappedOrder) && self.blocks >= 3 {
                for (first, blocks) in [(0, 1), (2, 1), (1, 1), (3, self.blocks - 3)] {
                    part(first, blocks);
                }
                return true;
            }
            if is(isa, Fault::DroppedTail) && last {
                part(0, self.blocks - 1);
                return true;
            }
            if is(isa, Fault::WrongToken) && tokens >= 2 {
                part(0, self.blocks);
                chains.add(tokens - 1).write(chains.read());
                return true;
            }
        }
        false
    }
}
