//! Leads tokens past the tiles of a matrix: groups of tokens, panels of columns, chains in between.
//!
//! In: a panel kernel and what `forward_tiles` was given. Out: a call of `store` for every tile and
//! token. It knows of formats only how large their blocks are.

use std::ops::Range;

use super::{Acts, Chains, GROUP, PanelFn};
use crate::isa::Isa;
use crate::linear::Matrix;
use crate::pack::{TILE_ROWS, pack_panel};

/// Tokens whose chains wait on the stack while a panel of interleaved rows is used: 4 KiB.
const CHUNK: usize = 4 * GROUP;

/// Where rows are interleaved: it should stay in the first cache, beside the activations.
#[repr(align(64))]
struct Scratch([u8; 16 << 10]);

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
    acts: *const u8,
    act_stride: usize,
    tokens: usize,
    store: impl Fn(usize, usize, usize, &Chains),
) {
    #[cfg(not(feature = "planted"))]
    let _ = isa;
    let at = m.format().activation().layout(m.cols());
    let walk = Walk {
        #[cfg(feature = "planted")]
        block_bytes: TILE_ROWS * m.format().block_bytes(),
        #[cfg(feature = "planted")]
        isa,
        kernel,
        acts: Acts {
            q: acts.wrapping_add(at.q),
            d: acts.wrapping_add(at.d).cast(),
            sums: acts.wrapping_add(at.sums).cast(),
            stride: act_stride,
        },
    };
    let blocks = m.cols() / m.format().block_len();
    for tile in tiles {
        let first_row = tile * TILE_ROWS;
        let n_rows = TILE_ROWS.min(m.rows() - first_row);
        let bytes = &m.bytes()[first_row * m.row_bytes()..][..n_rows * m.row_bytes()];
        let in_place = matches!(m, Matrix::Packed(_)) && n_rows == TILE_ROWS;
        let chunk = if in_place { GROUP } else { CHUNK };
        for t in (0..tokens).step_by(chunk) {
            let n_tokens = chunk.min(tokens - t);
            let mut chains = [const { std::mem::MaybeUninit::<Chains>::uninit() }; CHUNK];
            let chains = &mut chains[..n_tokens];
            for chain in &mut *chains {
                chain.write([0.0; TILE_ROWS]);
            }
            // SAFETY: n_tokens of them are written above.
            let chains: &mut [Chains] = unsafe { &mut *(chains as *mut [_] as *mut [Chains]) };
            // SAFETY: a full tile is `blocks` blocks of 16 rows; tokens t.. are within `tokens`.
            unsafe {
                if in_place {
                    walk.panel(bytes.as_ptr(), 0..blocks, blocks, t, chains);
                } else {
                    walk.rows(&m, bytes, blocks, t, chains);
                }
            }
            for (c, y) in chains.iter_mut().enumerate() {
                #[cfg(feature = "planted")]
                crate::planted::in_results(isa, y);
                store(first_row, n_rows, t + c, y);
            }
        }
    }
}

impl Walk {
    /// At most 16 row-major rows, interleaved panel by panel.
    ///
    /// # Safety
    /// As [`PanelFn`], of the activations of tokens `t..t + chains.len()`.
    unsafe fn rows(
        &self,
        m: &Matrix<'_>,
        rows: &[u8],
        blocks: usize,
        t: usize,
        chains: &mut [Chains],
    ) {
        let mut scratch = Scratch([0; 16 << 10]);
        let block_bytes = TILE_ROWS * m.format().block_bytes();
        let at_once = scratch.0.len() / block_bytes; // At least 4: the largest is 16 * 210 bytes.
        for first in (0..blocks).step_by(at_once) {
            let range = first..blocks.min(first + at_once);
            let panel = &mut scratch.0[..range.len() * block_bytes];
            pack_panel(m.format(), rows, m.row_bytes(), range.clone(), panel);
            // SAFETY: the panel holds the range's blocks of 16 rows; the rest is the caller's.
            unsafe { self.panel(panel.as_ptr(), range, blocks, t, chains) };
        }
    }

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
        chains: &mut [Chains],
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
                    chains.as_mut_ptr(),
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
        chains: &mut [Chains],
    ) -> bool {
        use crate::planted::{Fault, is};
        let (tokens, to) = (chains.len(), chains.as_mut_ptr());
        let (first, n) = (range.start, range.len());
        let block_bytes = self.block_bytes;
        // SAFETY: parts of the caller's panel and tokens.
        unsafe {
            if is(self.isa, Fault::SwappedOrder) && first == 0 && n >= 2 {
                (self.kernel)(panel.add(block_bytes), 1, 1, acts, tokens, to);
                (self.kernel)(panel, 0, 1, acts, tokens, to);
                (self.kernel)(panel.add(2 * block_bytes), 2, n - 2, acts, tokens, to);
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
