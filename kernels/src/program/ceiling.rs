//! How fast a program's own weights can be read: the ceiling of decoding, on the same bytes, the same
//! threads and at the same time.

use super::machine::{Machine, RunError};
use super::{Program, Region};
use crate::ceiling::{STREAMS, read};
use crate::isa::Isa;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Bytes that a worker takes at once: a long stream.
const CLAIM: usize = 1 << 20;

impl Machine {
    /// Reads the weights that the products of every token read, with each of several readers in turn:
    /// their bytes, and the seconds of the quickest reader.
    ///
    /// # Errors
    /// A worker failed.
    pub fn read_weights(&mut self) -> Result<(u64, f64), RunError> {
        let (program, pool) = self.parts();
        let pieces = pieces(program);
        let bytes: usize = pieces.iter().map(|p| p.len()).sum();
        let mut best = f64::INFINITY;
        for isa in readers() {
            for streams in STREAMS {
                let next = AtomicUsize::new(0);
                let start = Instant::now();
                pool.run(&|_| {
                    while let Some(piece) = pieces.get(next.fetch_add(1, Relaxed)) {
                        std::hint::black_box(read(isa, streams, piece));
                    }
                })
                .map_err(|e| RunError::Worker(e.to_string()))?;
                best = best.min(start.elapsed().as_secs_f64());
            }
        }
        Ok((bytes as u64, best))
    }
}

/// The best set, and AVX2 where that is another: on some machines its loads are the quicker ones.
fn readers() -> impl Iterator<Item = Isa> {
    let best = Isa::best();
    let other = (best == Isa::Avx512).then_some(Isa::Avx2);
    [best].into_iter().chain(other)
}

/// All weights of products, in claims.
fn pieces(program: &Program) -> Vec<&[u8]> {
    let jobs = program.regions.iter().flat_map(|region| match region {
        Region::Linear { jobs, .. } => jobs.as_slice(),
        _ => &[],
    });
    // `view` fails only for weights that a checked program does not have.
    jobs.filter_map(|j| Some(j.weight.view().ok()?.bytes()))
        .flat_map(|bytes| bytes.chunks(CLAIM))
        .collect()
}
