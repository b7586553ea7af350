//! What this machine could do at best: the ceilings that kernels are measured against.
//!
//! In: how many threads, how long. Out: a [`Ceiling`]: read bandwidth by cache level, page size and
//! reader, multiply-add peaks by instruction set and element type, the cost of meeting at a barrier,
//! and whether the machine held still meanwhile ([`Steadiness`]).
//!
//! All figures come from many short pieces of work, taken in turn: a busy moment hits all of them
//! alike, and the median forgets it. This module knows no kernel, no format and no model; the
//! kernels are measured in [`crate::trial`] with the tools of this one.
//!
//! - `figure`: medians and spreads; `probe`: pieces in turn; `steady`: drift, steal, neighbours;
//! - `host`: what the machine says of itself; `memory`: pages to read from;
//! - `read`, `peak`, `sync`: what is measured; `x86`, `aarch64`: the loops that
//!   need an instruction set.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod figure;
mod host;
mod measure;
mod memory;
mod peak;
pub(crate) mod probe;
mod read;
mod steady;
mod sync;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use figure::{Figure, share};
pub use host::{Cache, Host};
pub use measure::{Scope, measure};
pub(crate) use measure::{memory_bytes, peak_probe};
pub use memory::{Memory, Pages};
pub use peak::{Elem, Peak};
pub(crate) use read::STREAMS;
pub use read::{Level, Read, read};
pub use steady::{Counts, Steadiness, Watch, judge};
pub use sync::{Sync, SyncKind};

use crate::isa::Isa;
use crate::pool::PoolError;

/// What was measured. Rates are GB/s (1e9 bytes) and GMAC/s (1e9 multiply-adds).
#[derive(Clone, Debug)]
pub struct Ceiling {
    /// The machine.
    pub host: Host,
    /// Most threads that were measured.
    pub threads: usize,
    /// How long it took.
    pub seconds: f64,
    /// Read bandwidths, of every reader.
    pub reads: Vec<Read>,
    /// Multiply-add peaks.
    pub peaks: Vec<Peak>,
    /// Costs of synchronisation.
    pub syncs: Vec<Sync>,
    /// Whether the machine held still.
    pub steadiness: Steadiness,
}

impl Ceiling {
    /// The read bandwidth of a level on `threads` threads: that of the best reader and page size.
    pub fn bandwidth(&self, level: Level, threads: usize) -> Option<&Read> {
        self.reads
            .iter()
            .filter(|r| r.level == level && r.threads == threads)
            .max_by(|a, b| a.gb_s.median.total_cmp(&b.gb_s.median))
    }

    /// The multiply-add peak of an instruction set on `threads` threads.
    pub fn peak(&self, elem: Elem, isa: Isa, threads: usize) -> Option<&Peak> {
        self.peaks
            .iter()
            .find(|p| p.elem == elem && p.isa == isa && p.threads == threads)
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CeilingError {
    /// No memory to read from.
    #[error("cannot allocate {bytes} bytes to measure with: {source}; close other programs")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// The system's words.
        source: std::io::Error,
    },
    /// The threads failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}
