//! Which kernel ran how often: the evidence that a test or a benchmark ran what it claims.
//!
//! A kernel owns a `static` [`Counter`] and counts each call with the format and instruction set
//! that it used; [`snapshot`] lists every combination that ran. A count is a plain load and store:
//! where threads count at once some are lost, but none is ever made up, and nobody waits, as for an
//! atomic addition, for the other threads' cache line and for all weights that are still on their way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::format::Format;
use crate::isa::Isa;

const FORMATS: usize = Format::ALL.len() + 1;
const ISAS: usize = Isa::ALL.len();

/// The counts of one kernel, by format (or none) and instruction set.
pub struct Counter {
    name: &'static str,
    listed: AtomicBool,
    runs: [[AtomicU64; ISAS]; FORMATS],
}

/// A combination that ran.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Run {
    /// The kernel.
    pub kernel: &'static str,
    /// The block format, if the kernel has one.
    pub format: Option<Format>,
    /// The instruction set that ran.
    pub isa: Isa,
    /// How often, at least.
    pub runs: u64,
}

/// All counters that have counted anything.
static COUNTERS: Mutex<Vec<&'static Counter>> = Mutex::new(Vec::new());

impl Counter {
    /// A counter of the kernel `name`, for a `static`.
    pub const fn new(name: &'static str) -> Counter {
        Counter {
            name,
            listed: AtomicBool::new(false),
            runs: [const { [const { AtomicU64::new(0) }; ISAS] }; FORMATS],
        }
    }

    /// Counts one run.
    #[inline]
    pub fn count(&'static self, format: Option<Format>, isa: Isa) {
        let format = format.map_or(FORMATS - 1, |f| f as usize);
        if let Some(cell) = self.runs.get(format).and_then(|row| row.get(isa as usize)) {
            cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        if !self.listed.load(Ordering::Relaxed) {
            self.list();
        }
    }

    #[cold]
    fn list(&'static self) {
        let mut counters = COUNTERS
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if !self.listed.swap(true, Ordering::Relaxed) {
            counters.push(self);
        }
    }
}

/// Every (kernel, format, instruction set) that has run in this process, sorted.
pub fn snapshot() -> Vec<Run> {
    let counters = COUNTERS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut all = Vec::new();
    for counter in counters.iter() {
        for (f, row) in counter.runs.iter().enumerate() {
            for (isa, cell) in Isa::ALL.into_iter().zip(row) {
                let runs = cell.load(Ordering::Relaxed);
                if runs > 0 {
                    let format = Format::ALL.into_iter().find(|&format| format as usize == f);
                    all.push(Run {
                        kernel: counter.name,
                        format,
                        isa,
                        runs,
                    });
                }
            }
        }
    }
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_apart() {
        static COUNTER: Counter = Counter::new("test.counter");
        COUNTER.count(Some(Format::Q4K), Isa::Scalar);
        COUNTER.count(Some(Format::Q4K), Isa::Avx2);
        COUNTER.count(Some(Format::Q4K), Isa::Avx2);
        COUNTER.count(None, Isa::Avx2);
        let mine: Vec<_> = snapshot()
            .into_iter()
            .filter(|run| run.kernel == "test.counter")
            .collect();
        let run = |format, isa, runs| Run {
            kernel: "test.counter",
            format,
            isa,
            runs,
        };
        assert_eq!(
            mine,
            [
                run(None, Isa::Avx2, 1),
                run(Some(Format::Q4K), Isa::Scalar, 1),
                run(Some(Format::Q4K), Isa::Avx2, 2),
            ]
        );
    }
}
