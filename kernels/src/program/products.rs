//! Regions of products with weights: how they are divided among the workers, and the memory that they
//! need beside their operands.
//!
//! In: a region's jobs, all of which read what was written before the last barrier. Workers claim
//! tiles of all matrices as one list. With many tokens they first interleave the activations, once
//! for all, and meet.

use super::machine::Shared;
use super::{Dim, LinearJob, Program, Region};
use crate::linear::{self, Epilogue, Interleaving, OutCols};
use crate::pack::TILE_ROWS;
use crate::pool::Worker;
use std::ops::RangeInclusive;

/// Weights that a worker claims at once, at most and, towards the end of a product, at least. Memory is
/// read fastest in long streams: on a Zen 4, claims of 64 KiB cost a tenth to a third of its bandwidth.
const CLAIM_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 20;
/// Tiles that a worker claims at once when tokens are many, at most: as many as share a panel.
const CLAIM_TILES: usize = 4;
/// Claims of each worker in a product with many tokens, at least, so that all end at about the same
/// time, unless tiles are fewer.
const CLAIMS: usize = 12;

/// What the products of a program need beside their operands, for each worker.
pub(super) fn worker_bytes(p: &Program, max_tokens: usize, max_outputs: usize) -> Option<usize> {
    let mut most = 0usize;
    for (jobs, rows) in products(p, max_tokens, max_outputs) {
        for w in jobs.iter().map(|j| &j.weight) {
            let format = w.format().activation();
            most = most.max(linear::Scratch::work_bytes(format, w.cols(), rows)?);
        }
    }
    Some(most)
}

/// The interleaved activations of a region of products, for all workers together.
pub(super) fn shared_bytes(p: &Program, max_tokens: usize, max_outputs: usize) -> Option<usize> {
    let mut most = 0usize;
    for (jobs, rows) in products(p, max_tokens, max_outputs) {
        let mut bytes = 0usize;
        for j in distinct_acts(jobs, |_| true) {
            let (format, cols) = (j.weight.format().activation(), j.weight.cols());
            bytes = bytes.checked_add(Interleaving::bytes(format, cols, rows)?)?;
        }
        most = most.max(bytes);
    }
    Some(most)
}

/// The regions of products, with the rows that they have at most.
fn products(
    p: &Program,
    max_tokens: usize,
    max_outputs: usize,
) -> impl Iterator<Item = (&[LinearJob], usize)> {
    p.regions.iter().filter_map(move |region| match region {
        Region::Linear { dim, jobs } => {
            let tokens = *dim == Dim::Tokens;
            Some((
                jobs.as_slice(),
                if tokens { max_tokens } else { max_outputs },
            ))
        }
        _ => None,
    })
}

/// Of the jobs that are `wanted`, the first that reads each buffer of activations.
fn distinct_acts(
    jobs: &[LinearJob],
    wanted: impl Fn(&LinearJob) -> bool + Copy,
) -> impl Iterator<Item = &LinearJob> {
    jobs.iter().enumerate().filter_map(move |(i, j)| {
        let before = jobs.get(..i).unwrap_or_default();
        let first = !before.iter().any(|b| b.acts == j.acts && wanted(b));
        (first && wanted(j)).then_some(j)
    })
}

/// All products of a region, as one list of tiles. Returns whether to stop (see `meet`).
pub(super) fn region(
    s: &Shared<'_>,
    w: &Worker<'_>,
    counter: usize,
    rows: usize,
    jobs: &[LinearJob],
    meet: &mut dyn FnMut(&Shared<'_>) -> bool,
) -> bool {
    // SAFETY: this worker's own.
    let scratch = unsafe { s.linear_scratch(w.index) };
    scratch.forget();
    let tiled = |j: &LinearJob| linear::tiled(s.isa, j.weight.format(), rows);
    let any_tiled = jobs.iter().any(tiled);
    if any_tiled {
        let mut to = s.interleaved;
        let (mut claim, mut first) = (s.claim(counter + 1, usize::MAX), 0);
        for j in distinct_acts(jobs, tiled) {
            let (format, cols) = (j.weight.format(), j.weight.cols());
            let (acts, stride) = s.buf(j.acts, w.index);
            let work = linear::interleaving(s.isa, format, cols, (acts, stride), rows, to);
            let bytes = Interleaving::bytes(format.activation(), cols, rows);
            let (Some(work), Some(bytes)) = (work, bytes) else {
                continue; // never: it is tiled, and the room for it was allocated
            };
            to = to.wrapping_add(bytes);
            while let Some(group) = claim.and_then(|c| c.checked_sub(first))
                && group < work.groups()
            {
                // SAFETY: the activations were written before the last barrier; the room is that of
                // `shared_bytes`; the group was claimed by this worker alone.
                unsafe { work.run(group..group + 1) }
                claim = s.claim(counter + 1, usize::MAX);
            }
            first += work.groups();
            // SAFETY: all groups are done behind the next barrier, and nothing is used before.
            unsafe { scratch.offer(&work) }
        }
        if meet(s) {
            return true;
        }
    }
    let tiles = |j: &LinearJob| j.weight.rows().div_ceil(TILE_ROWS);
    let bytes: usize = jobs.iter().map(|j| j.weight.bytes()).sum();
    let total: usize = jobs.iter().map(tiles).sum();
    let bounds = if any_tiled {
        // Many tokens: time goes with tiles, of which some should share a panel.
        let claim = (total / (CLAIMS * w.threads)).clamp(1, CLAIM_TILES);
        claim..=claim
    } else {
        // Few: with bytes.
        let tile_bytes = (bytes / total.max(1)).max(1);
        let [least, most] =
            [CLAIM_BYTES.start(), CLAIM_BYTES.end()].map(|b| (b / tile_bytes).max(1));
        least..=most
    };
    while let Some(claim) = s.claim_share(counter, w.threads, total, &bounds) {
        let mut first = 0;
        for j in jobs {
            let n = tiles(j);
            let range = claim.start.max(first)..claim.end.min(first + n);
            let range = range.start - first..range.end.saturating_sub(first);
            first += n;
            if range.is_empty() {
                continue;
            }
            let Ok(matrix) = j.weight.view() else {
                s.fault();
                continue;
            };
            let (acts, act_stride) = s.buf(j.acts, w.index);
            let (out, out_bytes) = s.buf(j.out, w.index);
            let epilogue = match j.base {
                Some(base) => {
                    let (ptr, bytes) = s.buf(base, w.index);
                    Epilogue::Add {
                        residual: ptr.cast_const().cast(),
                        stride: bytes / 4,
                    }
                }
                None => Epilogue::Store,
            };
            // SAFETY: the program was checked: widths fit the matrix, `acts` and `base` were
            // written before the last barrier (or by this worker), and the tiles, hence the
            // columns of `out`, were claimed by this worker alone.
            unsafe {
                let out = OutCols::new(out.cast(), out_bytes / 4);
                linear::forward_tiles(
                    s.isa, matrix, range, acts, act_stride, rows, out, epilogue, scratch,
                );
            }
        }
    }
    meet(s)
}
