//! The work of packing a file, cut into pieces that threads can take: copies of what stays, and tiles of
//! what is reordered. A piece reads and writes the same range of the file, so all are independent, and the
//! inverse is the same list run the other way.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use hob_kernels::format::Format;
use hob_kernels::pack::{TILE_ROWS, pack_tile, unpack_tile};
use rayon::prelude::*;

use super::{Watch, is_matrix};
use crate::error::{Error, Result};
use crate::mapping::Anonymous;
use crate::weights::{Layout, Tensor};

/// Bytes of a piece, about: small enough to spread and to stay in cache, large enough for one write call.
const PIECE_BYTES: usize = 2 << 20;

/// Which way the tiles go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Pack,
    Unpack,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The bytes that it reads, and the place of those that it writes.
    pub(super) range: Range<usize>,
    /// Format, columns and bytes of a tile, if these are whole tiles; else a copy.
    tiles: Option<(Format, usize, usize)>,
}

impl Job {
    /// Writes this piece to `dst`, from `src`; both of the range's length.
    pub(super) fn run(
        &self,
        way: Way,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<(), hob_kernels::error::ShapeError> {
        let Some((format, cols, tile_bytes)) = self.tiles else {
            // Equal lengths, and if not the shorter: never a panic.
            dst.iter_mut().zip(src).for_each(|(d, s)| *d = *s);
            return Ok(());
        };
        for (from, to) in src.chunks(tile_bytes).zip(dst.chunks_mut(tile_bytes)) {
            match way {
                Way::Pack => pack_tile(format, cols, from, to)?,
                Way::Unpack => unpack_tile(format, cols, from, to)?,
            }
        }
        Ok(())
    }
}

/// Copies of `range`, in pieces.
fn copies(range: Range<usize>, jobs: &mut Vec<Job>) {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start.saturating_add(PIECE_BYTES));
        jobs.push(Job {
            range: start..end,
            tiles: None,
        });
        start = end;
    }
}

/// The pieces of a tensor whose bytes are at `start`.
fn tensor_jobs(tensor: &Tensor, start: usize, jobs: &mut Vec<Job>) {
    let end = start + tensor.bytes.len();
    let row_bytes = tensor.format.row_bytes(tensor.cols()).unwrap_or(0);
    let tile_bytes = row_bytes * TILE_ROWS; // no more than the tensor, which has 16 rows: see `is_matrix`
    if !is_matrix(tensor) || tile_bytes == 0 {
        return copies(start..end, jobs);
    }
    let tiles_each = (PIECE_BYTES / tile_bytes).max(1);
    let matrix_bytes = row_bytes * tensor.rows();
    for matrix in 0..tensor.matrices() {
        let first = start + matrix * matrix_bytes;
        let tiled = first + matrix_bytes / tile_bytes * tile_bytes;
        let mut at = first;
        while at < tiled {
            let end = tiled.min(at + tiles_each * tile_bytes);
            jobs.push(Job {
                range: at..end,
                tiles: Some((tensor.format, tensor.cols(), tile_bytes)),
            });
            at = end;
        }
        copies(tiled..first + matrix_bytes, jobs);
    }
}

/// The pieces of a file of `len` bytes with these tensors, in order, without gaps. Each tensor's position is
/// that of its bytes in their owner, less `origin`.
pub(super) fn file_jobs(tensors: &[Tensor], origin: usize, len: usize) -> Vec<Job> {
    let mut order: Vec<(usize, &Tensor)> = tensors
        .iter()
        .filter_map(|t| Some((t.bytes.start().checked_sub(origin)?, t)))
        .collect();
    order.sort_by_key(|(start, _)| *start);
    let mut jobs = Vec::new();
    let mut at = 0;
    for (start, tensor) in order {
        copies(at..start, &mut jobs); // the parsers refuse tensors that overlap
        tensor_jobs(tensor, start, &mut jobs);
        at = start + tensor.bytes.len();
    }
    copies(at..len, &mut jobs);
    jobs
}

/// Counts bytes and asks whether to stop, for threads.
pub(super) struct Meter<'a> {
    pub(super) watch: &'a dyn Watch,
    pub(super) total: u64,
    done: AtomicU64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(watch: &'a dyn Watch, total: u64) -> Meter<'a> {
        Meter {
            watch,
            total,
            done: AtomicU64::new(0),
        }
    }

    /// An error if the work is to stop.
    pub(super) fn go_on(&self) -> Result<()> {
        if self.watch.cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.watch.progress(done, self.total);
    }
}

/// Packs every matrix that is still row-major into one block of anonymous memory, on rayon's threads, and
/// lets the source's pages go as it proceeds.
pub(crate) fn pack_in_memory(tensors: &mut [Tensor], watch: &dyn Watch) -> Result<()> {
    let wanted = |t: &Tensor| t.layout == Layout::RowMajor && is_matrix(t);
    let total: usize = tensors
        .iter()
        .filter(|t| wanted(t))
        .map(|t| t.bytes.len().next_multiple_of(64))
        .sum();
    let mut memory = Anonymous::zeroed(total)?;
    let meter = Meter::new(watch, total as u64);

    let mut pieces = Vec::new();
    let mut rest = memory.as_mut();
    for t in tensors.iter().filter(|t| wanted(t)) {
        let mut jobs = Vec::new();
        tensor_jobs(t, 0, &mut jobs);
        let (mine, after) = rest.split_at_mut(t.bytes.len().next_multiple_of(64)); // `total` is their sum
        rest = after;
        let mut mine = mine;
        for job in jobs {
            let (dst, after) = mine.split_at_mut(job.range.len()); // jobs have no gaps and end at the tensor's end
            mine = after;
            pieces.push((t, job, dst));
        }
    }
    pieces.into_par_iter().try_for_each(|(t, job, dst)| {
        meter.go_on()?;
        let Some(src) = t.bytes.slice(job.range.clone()) else {
            return Ok(());
        }; // jobs stay within the tensor
        job.run(Way::Pack, &src, dst)
            .map_err(|e| Error::malformed(t.name.as_ref().as_ref(), "packing", e.to_string()))?;
        src.release();
        meter.add(src.len());
        Ok(())
    })?;

    let memory = memory.freeze();
    let mut at = 0;
    for t in tensors.iter_mut().filter(|t| wanted(t)) {
        let len = t.bytes.len();
        if let Some(bytes) = memory.slice(at..at + len) {
            t.bytes = bytes;
            t.layout = Layout::Packed;
        }
        at += len.next_multiple_of(64);
    }
    Ok(())
}
