//! The definition, run row by row: gathers a row of weights and calls [`crate::format::dot`].
//!
//! It serves CPUs without a vector kernel, and tests. A row of a packed matrix is gathered into a
//! buffer that is allocated once a call.

use std::ops::Range;

use super::Matrix;
use crate::act::ActRow;
use crate::format;
use crate::isa::Isa;
use crate::pack::{TILE_ROWS, unpack_row};

/// Calls `store(first row, rows, token, values)` for every tile and token.
///
/// # Safety
/// As [`super::forward_tiles`], of `acts`.
pub(super) unsafe fn run(
    isa: Isa,
    m: Matrix<'_>,
    tiles: Range<usize>,
    acts: *const u8,
    act_stride: usize,
    tokens: usize,
    store: impl Fn(usize, usize, usize, &[f32; TILE_ROWS]),
) {
    let format = m.format();
    let act_bytes = format.activation().row_bytes(m.cols());
    let mut gathered = vec![0; TILE_ROWS * m.row_bytes()];
    for tile in tiles {
        let first = tile * TILE_ROWS;
        let n = TILE_ROWS.min(m.rows() - first);
        for (r, row) in gathered
            .chunks_exact_mut(m.row_bytes().max(1))
            .enumerate()
            .take(n)
        {
            match m {
                Matrix::Packed(_) => {
                    let done = unpack_row(format, m.cols(), m.bytes(), m.rows(), first + r, row);
                    debug_assert!(done.is_ok(), "the constructor checked the shape");
                }
                Matrix::Rows(_) => {
                    row.copy_from_slice(&m.bytes()[(first + r) * m.row_bytes()..][..m.row_bytes()]);
                }
            }
        }
        for token in 0..tokens {
            // SAFETY: the caller's: the row of this token is readable.
            let act =
                unsafe { std::slice::from_raw_parts(acts.add(token * act_stride), act_bytes) };
            let mut y = [0.0; TILE_ROWS];
            for (r, y) in y.iter_mut().enumerate().take(n) {
                let row = &gathered[r * m.row_bytes()..][..m.row_bytes()];
                // No error is possible: shapes and alignment were the caller's promise. Were one to
                // occur, NaN would not pass for a result.
                *y = ActRow::new(format.activation(), m.cols(), act)
                    .and_then(|act| format::dot(format, row, act))
                    .unwrap_or(f32::NAN);
            }
            plant(isa, &mut y);
            store(first, n, token, &y);
        }
    }
}

/// The definition has no blocks to exchange, so only faults in its results can be planted.
#[inline(always)]
fn plant(_isa: Isa, _y: &mut [f32; TILE_ROWS]) {
    #[cfg(feature = "planted")]
    crate::planted::in_results(_isa, _y);
}
