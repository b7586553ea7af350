//! What a piece of a product with weights is: whole tiles of a matrix that streams from memory.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::{Lane, PIECE, Random, Timed, TrialError, Work, units_for};
use crate::act::quantize_row;
use crate::error::ShapeError;
use crate::format::{self, Format};
use crate::isa::Isa;
use crate::linear::{Matrix, PackedMatrix, RowMatrix, Scratch, forward_with};
use crate::pack;
use crate::program::AlignedBytes;

/// Elements of a row: the width of many models of 7 to 8 billion parameters.
const COLS: usize = 4096;
/// Rows of a tile.
const TILE: usize = pack::TILE_ROWS;
/// Rows of a piece at least: what a worker takes of a matrix at once, or more.
const LEAST_ROWS: usize = 64;

/// Fills memory with packed tiles of random weights.
pub(super) fn fill(f: Format, memory: &mut [u8]) -> Result<(), ShapeError> {
    let row_bytes = f.checked_row_bytes(COLS)?;
    let mut random = Random(1);
    let mut rows = vec![0; TILE * row_bytes];
    for row in rows.chunks_exact_mut(row_bytes) {
        let x: Vec<f32> = (0..COLS).map(|_| 0.1 * random.normal()).collect();
        format::quantize(f, &x, row)?;
    }
    let mut tile = vec![0; TILE * row_bytes];
    pack::pack_tile(f, COLS, &rows, &mut tile)?;
    for to in memory.chunks_exact_mut(tile.len()) {
        to.copy_from_slice(&tile);
    }
    Ok(())
}

/// The products of one format.
pub(super) struct Linear<'a> {
    format: Format,
    row_bytes: usize,
    /// Whole tiles.
    pub(super) bytes: &'a [u8],
    /// Bytes of a piece: whole tiles.
    pub(super) piece: usize,
    acts: AlignedBytes,
    act_stride: usize,
    /// Outputs of each thread, and the tiles that it packs.
    outs: Vec<Mutex<(Vec<f32>, Vec<u8>)>>,
}

impl<'a> Linear<'a> {
    pub(super) fn new(
        format: Format,
        memory: &'a [u8],
        threads: usize,
        tokens: &[usize],
    ) -> Result<Linear<'a>, TrialError> {
        let row_bytes = format.checked_row_bytes(COLS)?;
        let tile = TILE * row_bytes;
        let rows = (PIECE / tile).max(1) * TILE;
        let act = format.activation();
        let act_stride = act.row_bytes(COLS);
        let most = tokens.iter().copied().max().unwrap_or(1).max(1);
        let mut acts = AlignedBytes::zeroed(most * act_stride).ok_or(ShapeError::TooLarge {
            rows: most,
            cols: COLS,
        })?;
        let mut random = Random(2);
        for row in acts.as_mut_slice().chunks_exact_mut(act_stride) {
            quantize_row(Isa::Scalar, act, &random.normals(COLS), row)?;
        }
        let floats = tokens.iter().map(|&t| rows_for(rows, t) * t).max();
        let floats = floats.unwrap_or(0).max(rows);
        Ok(Linear {
            format,
            row_bytes,
            bytes: memory.get(..memory.len() / tile * tile).unwrap_or_default(),
            piece: rows * row_bytes,
            acts,
            act_stride,
            outs: (0..threads)
                .map(|_| Mutex::new((vec![0.0; floats], vec![0; rows * row_bytes])))
                .collect(),
        })
    }

    pub(super) fn probes<'p>(
        &'p self,
        lane: &'p Lane<'p>,
        isas: &[Isa],
        tokens: &[usize],
    ) -> Result<Vec<Timed<'p>>, TrialError> {
        let a_byte = COLS as f64 / self.row_bytes as f64;
        let mut probes: Vec<Timed<'p>> = Vec::new();
        for &isa in isas {
            for &t in tokens {
                let rows = rows_for(self.piece / self.row_bytes, t);
                let scratches = self.scratches(t)?;
                probes.push((
                    isa,
                    Work::Tokens(t),
                    a_byte * t as f64,
                    Box::new(move |pool| {
                        // Between the tiles of a matrix, many tokens' activations are in a cache.
                        if t > 1 {
                            lane.warm(pool, &|w, bytes| {
                                self.multiply(isa, true, bytes, TILE, t, (w, &scratches));
                            })?;
                        }
                        lane.pass(pool, rows * self.row_bytes, &|w, bytes| {
                            self.multiply(isa, true, bytes, rows, t, (w, &scratches));
                        })
                    }),
                ));
            }
            let rows = self.piece / self.row_bytes;
            let scratches = self.scratches(1)?;
            probes.push((
                isa,
                Work::Rows,
                a_byte,
                Box::new(move |pool| {
                    lane.pass(pool, self.piece, &|w, bytes| {
                        self.multiply(isa, false, bytes, rows, 1, (w, &scratches));
                    })
                }),
            ));
        }
        // Packing is the same code for all instruction sets.
        if let Some(&isa) = isas.last() {
            let rows = self.piece / self.row_bytes;
            probes.push((
                isa,
                Work::Pack,
                0.0,
                Box::new(move |pool| {
                    lane.pass(pool, self.piece, &|w, bytes| {
                        let Some(to) = self.outs.get(w) else { return };
                        let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
                        // The piece is `rows` whole rows, and so is the target.
                        let done = pack::pack_matrix(self.format, rows, COLS, bytes, &mut to.1);
                        debug_assert!(done.is_ok());
                    })
                }),
            ));
        }
        Ok(probes)
    }

    /// Working memory of each thread, of one kind of work alone: it keeps the activations in the
    /// order that this work reads, as it does between the tiles of a matrix.
    fn scratches(&self, tokens: usize) -> Result<Vec<Mutex<Scratch>>, ShapeError> {
        let bytes = Scratch::bytes(self.format.activation(), COLS, tokens);
        let new = || bytes.and_then(Scratch::new).map(Mutex::new);
        self.outs
            .iter()
            .map(|_| {
                new().ok_or(ShapeError::TooLarge {
                    rows: tokens,
                    cols: COLS,
                })
            })
            .collect()
    }

    /// The product of the first `rows` rows of a piece with `t` tokens.
    fn multiply(
        &self,
        isa: Isa,
        packed: bool,
        bytes: &[u8],
        rows: usize,
        t: usize,
        (worker, scratches): (usize, &[Mutex<Scratch>]),
    ) {
        let (Some(out), Some(scratch)) = (self.outs.get(worker), scratches.get(worker)) else {
            return;
        };
        let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = || -> Result<(), TrialError> {
            let weights = bytes.get(..rows * self.row_bytes).unwrap_or_default();
            let m: Matrix<'_> = match packed {
                true => PackedMatrix::new(self.format, rows, COLS, weights)?.into(),
                false => RowMatrix::new(self.format, rows, COLS, weights)?.into(),
            };
            let acts = self.acts.as_slice().get(..t * self.act_stride);
            let y = out.0.get_mut(..rows * t).unwrap_or_default();
            forward_with(isa, m, acts.unwrap_or_default(), t, y, &mut scratch)?;
            Ok(())
        };
        let done = work();
        // Shapes are made to fit here, and the set was checked before.
        debug_assert!(done.is_ok(), "{done:?}");
    }
}

/// Rows of a piece that are multiplied with `t` tokens: whole tiles.
fn rows_for(rows: usize, t: usize) -> usize {
    units_for(rows / TILE, t, LEAST_ROWS / TILE) * TILE
}
