//! Interleaving one row's units with those of 15 others, and back: `[unit]` <-> `[unit][row 16]`.
//!
//! Slices of one field go in and out; lengths are the caller's affair (a shorter one ends the work
//! early, it never panics). Plain loops over arrays of fixed size, so that no bounds are checked.

use super::TILE_ROWS;
use super::fields::Unit;

/// Writes row `r`'s units from `row` into their places in `tile`.
#[inline]
pub(super) fn scatter(unit: Unit, row: &[u8], r: usize, tile: &mut [u8]) {
    debug_assert!(r < TILE_ROWS);
    let r = r % TILE_ROWS;
    match unit {
        Unit::Nibble => {
            // Two nibbles a byte, low first; each goes into a group of 16 nibbles.
            let shift = 4 * (r % 2);
            for (groups, &byte) in tile.as_chunks_mut::<TILE_ROWS>().0.iter_mut().zip(row) {
                for (half, nibble) in [byte & 15, byte >> 4].into_iter().enumerate() {
                    let cell = &mut groups[half * 8 + r / 2];
                    *cell = *cell & !(15 << shift) | nibble << shift;
                }
            }
        }
        Unit::Byte => scatter_units::<1>(row, r, tile),
        Unit::Half => scatter_units::<2>(row, r, tile),
        Unit::Word => scatter_units::<4>(row, r, tile),
    }
}

/// Reads row `r`'s units from `tile` into `row`: the inverse of [`scatter`].
#[inline]
pub(super) fn gather(unit: Unit, tile: &[u8], r: usize, row: &mut [u8]) {
    debug_assert!(r < TILE_ROWS);
    let r = r % TILE_ROWS;
    match unit {
        Unit::Nibble => {
            let shift = 4 * (r % 2);
            for (groups, byte) in tile.as_chunks::<TILE_ROWS>().0.iter().zip(row) {
                let [low, high] = [0, 1].map(|half| groups[half * 8 + r / 2] >> shift & 15);
                *byte = low | high << 4;
            }
        }
        Unit::Byte => gather_units::<1>(tile, r, row),
        Unit::Half => gather_units::<2>(tile, r, row),
        Unit::Word => gather_units::<4>(tile, r, row),
    }
}

#[inline]
fn scatter_units<const N: usize>(row: &[u8], r: usize, tile: &mut [u8]) {
    let cells = tile.as_chunks_mut::<N>().0.as_chunks_mut::<TILE_ROWS>().0;
    for (cell, unit) in cells.iter_mut().zip(row.as_chunks::<N>().0) {
        cell[r] = *unit;
    }
}

#[inline]
fn gather_units<const N: usize>(tile: &[u8], r: usize, row: &mut [u8]) {
    let cells = tile.as_chunks::<N>().0.as_chunks::<TILE_ROWS>().0;
    for (cell, unit) in cells.iter().zip(row.as_chunks_mut::<N>().0) {
        *unit = cell[r];
    }
}
