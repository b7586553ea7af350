//! The tile layout: the same bytes in the order that vector kernels read them.
//!
//! A row-major matrix `[rows, cols]` of some [`Format`] goes in, an exact-size, invertible
//! permutation of it comes out. Every full group of [`TILE_ROWS`] rows becomes a *tile*: for each
//! block along the columns, `16 * block_bytes` bytes in which the 16 rows' blocks are interleaved
//! field by field (see `fields`), so that one 64-byte load brings the same four quants of all 16
//! rows. The last `rows % 16` rows stay row-major, unchanged, after the tiles.
//!
//! A tile starts where its 16 rows started, so tiles can be packed and unpacked independently, in
//! parallel. Nothing here computes with weights; any bytes are accepted and come back.

mod fields;
mod transpose;

use std::ops::Range;

use self::fields::Fields;
use crate::error::{ShapeError, check_len};
use crate::format::Format;

/// How many rows a tile interleaves: the 32-bit lanes of a 512-bit vector.
pub const TILE_ROWS: usize = 16;

/// How much of a tile is written at a time.
const PANEL_BYTES: usize = 8 << 10;

/// Changes whenever the order of bytes in a tile does; part of the key of every packed file.
pub const LAYOUT_VERSION: u32 = 3;

/// Calls a function that is generic over the number of a format, and its block's and tile's bytes:
/// with fields and sizes known, a block's permutation becomes straight code.
macro_rules! for_format {
    ($f:expr, $function:ident $args:tt) => {
        for_format!(
            $f, $function $args, F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl
            Iq4Xs Mxfp4
        )
    };
    ($f:expr, $function:ident $args:tt, $($format:ident)*) => {
        match $f {
            $(Format::$format => {
                const BYTES: usize = Format::$format.block_bytes();
                $function::<{ Format::$format as usize }, BYTES, { TILE_ROWS * BYTES }> $args
            })*
        }
    };
}

/// Packs 16 row-major rows of `cols` elements, `rows16`, into `tile` (the same number of bytes).
///
/// # Errors
/// `cols` is not a whole number of blocks, or a buffer's length is not 16 rows.
pub fn pack_tile(f: Format, cols: usize, rows16: &[u8], tile: &mut [u8]) -> Result<(), ShapeError> {
    let row_bytes = tile_shape(f, cols, rows16.len(), tile.len())?;
    let blocks = cols / f.block_len();
    let panel_bytes = TILE_ROWS * f.block_bytes();
    // Stretches of the tile that stay in the first cache while 16 rows are written into them.
    let at_once = (PANEL_BYTES / panel_bytes).max(1);
    for (i, panel) in tile.chunks_mut(at_once * panel_bytes).enumerate() {
        let first = i * at_once;
        pack_panel(
            f,
            rows16,
            row_bytes,
            first..blocks.min(first + at_once),
            panel,
        );
    }
    Ok(())
}

/// The inverse of [`pack_tile`].
///
/// # Errors
/// As [`pack_tile`].
pub fn unpack_tile(
    f: Format,
    cols: usize,
    tile: &[u8],
    rows16: &mut [u8],
) -> Result<(), ShapeError> {
    let row_bytes = tile_shape(f, cols, rows16.len(), tile.len())?;
    if row_bytes > 0 {
        for (r, row) in rows16.chunks_exact_mut(row_bytes).enumerate() {
            for_format!(f, gather_row(tile, r, row));
        }
    }
    Ok(())
}

/// Packs a whole matrix `[rows, cols]` from `src` into `dst` (the same number of bytes).
///
/// # Errors
/// `cols` is not a whole number of blocks, or a buffer's length is not that of the matrix.
pub fn pack_matrix(
    f: Format,
    rows: usize,
    cols: usize,
    src: &[u8],
    dst: &mut [u8],
) -> Result<(), ShapeError> {
    let row_bytes = matrix_shape(f, rows, cols, src.len())?;
    matrix_shape(f, rows, cols, dst.len())?;
    if row_bytes == 0 {
        return Ok(());
    }
    let (src_tiles, src_rest) = src.split_at(tiled_bytes(rows, row_bytes));
    let (dst_tiles, dst_rest) = dst.split_at_mut(tiled_bytes(rows, row_bytes));
    let tile_bytes = TILE_ROWS * row_bytes;
    for (rows16, tile) in src_tiles
        .chunks_exact(tile_bytes)
        .zip(dst_tiles.chunks_exact_mut(tile_bytes))
    {
        pack_tile(f, cols, rows16, tile)?;
    }
    dst_rest.copy_from_slice(src_rest);
    Ok(())
}

/// The inverse of [`pack_matrix`].
///
/// # Errors
/// As [`pack_matrix`].
pub fn unpack_matrix(
    f: Format,
    rows: usize,
    cols: usize,
    src: &[u8],
    dst: &mut [u8],
) -> Result<(), ShapeError> {
    let row_bytes = matrix_shape(f, rows, cols, src.len())?;
    matrix_shape(f, rows, cols, dst.len())?;
    if row_bytes == 0 {
        return Ok(());
    }
    let (src_tiles, src_rest) = src.split_at(tiled_bytes(rows, row_bytes));
    let (dst_tiles, dst_rest) = dst.split_at_mut(tiled_bytes(rows, row_bytes));
    let tile_bytes = TILE_ROWS * row_bytes;
    for (tile, rows16) in src_tiles
        .chunks_exact(tile_bytes)
        .zip(dst_tiles.chunks_exact_mut(tile_bytes))
    {
        unpack_tile(f, cols, tile, rows16)?;
    }
    dst_rest.copy_from_slice(src_rest);
    Ok(())
}

/// Gathers row `row` of a packed matrix `[rows, cols]` into `out`, as it was before packing: the
/// embedding look-up of a model whose output projection shares the (packed) embedding.
///
/// # Errors
/// A length does not fit the shape, or `row` is not below `rows`.
pub fn unpack_row(
    f: Format,
    cols: usize,
    packed: &[u8],
    rows: usize,
    row: usize,
    out: &mut [u8],
) -> Result<(), ShapeError> {
    let row_bytes = matrix_shape(f, rows, cols, packed.len())?;
    check_len("row buffer", row_bytes, out.len())?;
    if row >= rows {
        return Err(ShapeError::Row { row, rows });
    }
    if row_bytes == 0 {
        return Ok(());
    }
    let start = row / TILE_ROWS * TILE_ROWS * row_bytes;
    if row < rows - rows % TILE_ROWS {
        let tile = &packed[start..start + TILE_ROWS * row_bytes];
        for_format!(f, gather_row(tile, row % TILE_ROWS, out));
    } else {
        let start = row * row_bytes;
        out.copy_from_slice(&packed[start..start + row_bytes]);
    }
    Ok(())
}

/// The fields of format number F.
const fn fields_of<const F: usize>() -> Fields {
    let f = Format::ALL[F];
    assert!(f as usize == F);
    fields::of(f)
}

/// Packs blocks `blocks` of the rows in `rows` (row-major, `row_bytes` each, at most 16 of them)
/// into `panel`, which holds exactly `16 * block_bytes` bytes for each block. Rows beyond the last
/// are zero. This is a tile's stretch along the columns; row-major matrices are read through it.
pub(crate) fn pack_panel(
    f: Format,
    rows: &[u8],
    row_bytes: usize,
    blocks: Range<usize>,
    panel: &mut [u8],
) {
    debug_assert_eq!(panel.len(), blocks.len() * TILE_ROWS * f.block_bytes());
    let n_rows = rows.len().checked_div(row_bytes).unwrap_or(0);
    if n_rows < TILE_ROWS {
        panel.fill(0);
    }
    for (r, row) in rows
        .chunks_exact(row_bytes.max(1))
        .take(TILE_ROWS)
        .enumerate()
    {
        let row = &row[blocks.start * f.block_bytes()..blocks.end * f.block_bytes()];
        for_format!(f, scatter_row(row, r, panel));
    }
}

/// Writes the blocks of row `r` (below 16) into a panel.
fn scatter_row<const F: usize, const BYTES: usize, const TILE: usize>(
    row: &[u8],
    r: usize,
    panel: &mut [u8],
) {
    for (block, tile) in row
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(panel.as_chunks_mut::<TILE>().0)
    {
        let mut at = 0;
        for &(offset, unit, len) in const { fields_of::<F>() } {
            let to = &mut tile[at..at + TILE_ROWS * len];
            transpose::scatter(unit, &block[offset..offset + len], r, to);
            at += TILE_ROWS * len;
        }
    }
}

/// Reads the blocks of row `r` (below 16) from a panel: the inverse of [`scatter_row`].
fn gather_row<const F: usize, const BYTES: usize, const TILE: usize>(
    panel: &[u8],
    r: usize,
    row: &mut [u8],
) {
    for (tile, block) in panel
        .as_chunks::<TILE>()
        .0
        .iter()
        .zip(row.as_chunks_mut::<BYTES>().0)
    {
        let mut at = 0;
        for &(offset, unit, len) in const { fields_of::<F>() } {
            let from = &tile[at..at + TILE_ROWS * len];
            transpose::gather(unit, from, r, &mut block[offset..offset + len]);
            at += TILE_ROWS * len;
        }
    }
}

/// The bytes of the full tiles of a matrix.
fn tiled_bytes(rows: usize, row_bytes: usize) -> usize {
    // Does not overflow: at most rows * row_bytes, which matrix_shape has computed.
    (rows - rows % TILE_ROWS) * row_bytes
}

fn tile_shape(
    f: Format,
    cols: usize,
    rows_len: usize,
    tile_len: usize,
) -> Result<usize, ShapeError> {
    let row_bytes = matrix_shape(f, TILE_ROWS, cols, rows_len)?;
    check_len("tile", rows_len, tile_len)?;
    Ok(row_bytes)
}

/// The bytes of a row, if `len` is that of the matrix.
pub(crate) fn matrix_shape(
    f: Format,
    rows: usize,
    cols: usize,
    len: usize,
) -> Result<usize, ShapeError> {
    let row_bytes = f
        .row_bytes(cols)
        .ok_or(ShapeError::Cols { format: f, cols })?;
    let bytes = rows
        .checked_mul(row_bytes)
        .ok_or(ShapeError::TooLarge { rows, cols })?;
    check_len("matrix", bytes, len)?;
    Ok(row_bytes)
}
