//! Leads tokens past the tiles of a matrix: groups of tokens, panels of columns, chains in between.
//!
//! In: a panel kernel and what `forward_tiles` was given. Out: a call of `store` for every tile and
//! token. It knows of formats only how large their blocks are.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::interleave::{Interleaver, in_place};
use super::{Acts, Chains, GROUP, PanelFn};
use crate::isa::Isa;
use crate::linear::Matrix;
use crate::pack::TILE_ROWS;

/// Tokens whose chains wait on the stack while a piece of interleaved rows is used: 4 KiB.
const CHUNK: usize = 4 * GROUP;

/// What stays the same from tile to tile.
struct Walk {
    #[cfg(feature = "planted")]
    block_bytes: usize,
    #[cfg(feature = "planted")]
    isa: Isa,
    kernel: PanelFn,
    acts: Acts,
}

/// Calls `store(first row, rows, token, values)` for every tile and token.
///
/// # Safety
/// As [`crate::linear::forward_tiles`]; `kernel` is of `isa` and of the format of `m`.
pub(crate) unsafe fn run(
    isa: Isa,
    kernel: PanelFn,
    m: Matrix<'_>,
    tiles: Range<usize>,
    acts: Acts,
    tokens: usize,
    store: impl Fn(usize, usize, usize, &Chains),
) {
    #[cfg(not(feature = "planted"))]
    let _ = isa;
    let walk = Walk {
        #[cfg(feature = "planted")]
        block_bytes: TILE_ROWS * m.format().block_bytes(),
        #[cfg(feature = "planted")]
        isa,
        kernel,
        acts,
    };
    let mut interleaver = Interleaver::new();
    let blocks = m.cols() / m.format().block_len();
    for tile in tiles {
        let first_row = tile * TILE_ROWS;
        let n_rows = TILE_ROWS.min(m.rows() - first_row);
        let chunk = if in_place(&m, tile) { GROUP } else { CHUNK };
        for t in (0..tokens).step_by(chunk) {
            let n_tokens = chunk.min(tokens - t);
            let mut chains = [const { MaybeUninit::<Chains>::uninit() }; CHUNK];
            let chains = &mut chains[..n_tokens];
            if blocks == 0 {
                chains.fill(MaybeUninit::new([0.0; TILE_ROWS]));
            }
            interleaver.each(&m, tile, 0..blocks, |first, panel, n| {
                // SAFETY: n blocks of 16 rows; tokens t.. are within `tokens`.
                unsafe { walk.panel(panel, first..first + n, blocks, t, chains) }
            });
            for (c, y) in chains.iter_mut().enumerate() {
                // SAFETY: the first panel begins every chain, and without any this does.
                let y = unsafe { y.assume_init_mut() };
                #[cfg(feature = "planted")]
                crate::planted::in_results(isa, y);
                store(first_row, n_rows, t + c, y);
            }
        }
    }
}

impl Walk {
    /// One panel, past which the tokens `t..t + chains.len()` go in groups.
    ///
    /// # Safety
    /// As [`PanelFn`], with `range` the blocks at `panel`.
    unsafe fn panel(
        &self,
        panel: *const u8,
        range: Range<usize>,
        _of: usize,
        t: usize,
        chains: &mut [MaybeUninit<Chains>],
    ) {
        for (g, chains) in chains.chunks_mut(GROUP).enumerate() {
            let acts = self.acts.token(t + g * GROUP);
            #[cfg(feature = "planted")]
            // SAFETY: the same blocks and tokens, wrongly.
            if unsafe { self.planted(panel, &range, _of, &acts, chains) } {
                continue;
            }
            // SAFETY: the caller's.
            unsafe {
                (self.kernel)(
                    panel,
                    range.start,
                    range.len(),
                    &acts,
                    chains.len(),
                    chains.as_mut_ptr().cast(),
                );
            }
        }
    }

    /// Plants the faults that concern the order of the work; whether it has done the panel's work.
    ///
    /// # Safety
    /// As [`Walk::panel`].
    #[cfg(feature = "planted")]
    unsafe fn planted(
        &self,
        panel: *const u8,
        range: &Range<usize>,
        of: usize,
        acts: &Acts,
        chains: &mut [MaybeUninit<Chains>],
    ) -> bool {
        use crate::planted::{Fault, is};
        let (tokens, to) = (chains.len(), chains.as_mut_ptr().cast::<Chains>());
        let (first, n) = (range.start, range.len());
        let block_bytes = self.block_bytes;
        // SAFETY: parts of the caller's panel and tokens.
        unsafe {
            if is(self.isa, Fault::SwappedOrder) && first == 0 && n >= 3 {
                for (at, blocks) in [(0, 1), (2, 1), (1, 1), (3, n - 3)] {
                    (self.kernel)(panel.add(at * block_bytes), at, blocks, acts, tokens, to);
                }
                return true;
            }
            if is(self.isa, Fault::DroppedTail) && range.end == of {
                (self.kernel)(panel, first, n - 1, acts, tokens, to);
                return true;
            }
            if is(self.isa, Fault::WrongToken) && tokens >= 2 {
                (self.kernel)(panel, first, n, acts, tokens - 1, to);
                (self.kernel)(panel, first, n, acts, 1, to.add(tokens - 1));
                return true;
            }
        }
        false
    }
}
