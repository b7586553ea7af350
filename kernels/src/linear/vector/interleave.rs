//! Tiles of a matrix as stretches of 16 interleaved rows, whatever the order of its bytes.

use std::ops::Range;

use crate::linear::Matrix;
use crate::pack::{TILE_ROWS, pack_panel};

/// Where rows are interleaved: it should stay in the first cache, beside the activations.
#[repr(align(64))]
struct Buffer([u8; 16 << 10]);

/// Room for interleaving rows that are not packed, which is made when there are such rows: zeroing it
/// takes as long as reading many kilobytes of weights.
pub(crate) struct Interleaver(Option<Buffer>);

impl Interleaver {
    pub(crate) fn new() -> Interleaver {
        Interleaver(None)
    }

    /// Calls `f(first block, address, blocks)` for stretches that make up `range` of a tile's blocks
    /// along the columns. Full tiles of a packed matrix are one stretch, read in place; other rows
    /// are interleaved in pieces, rows that do not exist being zero.
    pub(crate) fn each(
        &mut self,
        m: &Matrix<'_>,
        tile: usize,
        range: Range<usize>,
        mut f: impl FnMut(usize, *const u8, usize),
    ) {
        let first_row = tile * TILE_ROWS;
        let n_rows = TILE_ROWS.min(m.rows() - first_row);
        let bytes = &m.bytes()[first_row * m.row_bytes()..][..n_rows * m.row_bytes()];
        let block_bytes = TILE_ROWS * m.format().block_bytes();
        if in_place(m, tile) {
            let stretch = &bytes[range.start * block_bytes..range.end * block_bytes];
            return f(range.start, stretch.as_ptr(), range.len());
        }
        let buffer = match &mut self.0 {
            Some(buffer) => buffer,
            none => none.insert(Buffer([0; 16 << 10])),
        };
        let at_once = buffer.0.len() / block_bytes; // At least 4: the largest is 16 * 210 bytes.
        for first in range.clone().step_by(at_once) {
            let blocks = first..range.end.min(first + at_once);
            let piece = &mut buffer.0[..blocks.len() * block_bytes];
            pack_panel(m.format(), bytes, m.row_bytes(), blocks.clone(), piece);
            f(first, piece.as_ptr(), blocks.len());
        }
    }
}

/// Whether a tile lies interleaved already.
pub(crate) fn in_place(m: &Matrix<'_>, tile: usize) -> bool {
    matches!(m, Matrix::Packed(_)) && m.rows() - tile * TILE_ROWS >= TILE_ROWS
}
