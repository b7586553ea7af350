//! Which ceilings are measured, on what, with how many threads.

use std::sync::Mutex;
use std::time::Instant;

use super::figure::Figure;
use super::host::Host;
use super::memory::{Memory, Pages};
use super::peak::{Elem, Loop, Peak};
use super::probe::{Probe, rounds, together};
use super::read::{Level, Read, STREAMS, read};
use super::steady::Watch;
use super::sync::{self, Sync, SyncKind};
use super::{Ceiling, CeilingError};
use crate::isa::Isa;
use crate::pool::Pool;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// 1, 2, 4, ... threads, all levels and pages, all instruction sets.
    Full,
    /// Memory, and the peaks of one instruction set, on all threads: for a percentage.
    Quick(Isa),
}

/// Seconds of a piece of compute, and of reading from a cache, about.
const PIECE: f64 = 200e-6;
/// Bytes of memory that a thread reads in a piece.
const WINDOW: usize = 8 << 20;
/// Rounds at least.
const ROUNDS: usize = 5;

/// Measures the machine for about `seconds`, on at most `threads` threads (at least one).
///
/// # Errors
/// There is no memory to read from, or the system refuses a thread.
pub fn measure(threads: usize, seconds: f64, scope: Scope) -> Result<Ceiling, CeilingError> {
    let start = Instant::now();
    let threads = threads.max(1);
    let host = Host::detect();
    let mut pools = Vec::new();
    for n in steps(threads, scope) {
        pools.push(Pool::new(n)?);
    }
    let mut pool = Pool::new(threads)?;
    let mut watch = Watch::start();
    let len = memory_bytes(&host, threads);
    let (small, huge) = (
        filled(&mut pool, len, Pages::Small)?,
        filled(&mut pool, len, Pages::Huge)?,
    );
    let mut reads = Vec::new();
    let mut peaks = Vec::new();
    let mut syncs = Vec::new();
    let mut probes: Vec<Probe<'_>> = Vec::new();
    let nothing = Figure::of(Vec::new());

    let isas = match scope {
        Scope::Full => readers(),
        Scope::Quick(_) => vec![Isa::best()],
    };
    for n in steps(threads, scope) {
        for (level, set) in sets(&host, n, scope) {
            for memory in [&small, &huge] {
                if level != Level::Dram && memory.pages == Pages::Small {
                    continue;
                }
                for &isa in &isas {
                    for streams in STREAMS {
                        let set_bytes = set.unwrap_or(len);
                        reads.push(Read {
                            level,
                            pages: memory.pages,
                            huge_share: memory.huge_share,
                            set_bytes,
                            threads: n,
                            isa,
                            streams,
                            gb_s: nothing,
                        });
                        probes.push(match set {
                            Some(set) => cached_probe(memory, n, set, isa, streams),
                            None => memory_probe(memory, n, isa, streams),
                        });
                    }
                }
            }
        }
    }
    let peak_isas = match scope {
        Scope::Full => Isa::available(),
        Scope::Quick(isa) => vec![isa],
    };
    for n in ends(threads, scope) {
        for &isa in &peak_isas {
            for elem in Elem::ALL {
                let Some(probe) = peak_probe(isa, elem, n) else {
                    continue;
                };
                peaks.push(Peak {
                    elem,
                    isa,
                    threads: n,
                    gmac_s: nothing,
                });
                probes.push(probe);
            }
        }
    }
    for own in &mut pools {
        let n = own.threads();
        let mut kinds = vec![SyncKind::Barrier, SyncKind::Dispatch];
        if n == threads {
            kinds.push(SyncKind::SleepWake);
        }
        let own = std::rc::Rc::new(std::cell::RefCell::new(own));
        for kind in kinds {
            if n == 1 && kind != SyncKind::SleepWake {
                continue;
            }
            let threads = if kind == SyncKind::SleepWake { 2 } else { n };
            syncs.push(Sync {
                kind,
                threads,
                us: nothing,
            });
            let own = own.clone();
            probes.push(Box::new(move |_| sync::once(&mut own.borrow_mut(), kind)));
        }
    }

    let left = seconds - start.elapsed().as_secs_f64();
    let mut figures = rounds(&mut pool, &mut probes, left, ROUNDS, &mut watch)?.into_iter();
    drop(probes);
    let mut next = || figures.next().unwrap_or(nothing);
    for read in &mut reads {
        read.gb_s = next();
    }
    for peak in &mut peaks {
        peak.gmac_s = next();
    }
    for sync in &mut syncs {
        sync.us = next();
    }
    Ok(Ceiling {
        host,
        threads,
        reads,
        peaks,
        syncs,
        steadiness: watch.finish(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Instruction sets whose loads differ.
fn readers() -> Vec<Isa> {
    let same_as_another = [Isa::AvxVnni, Isa::Dotprod, Isa::I8mm];
    let mut isas = Isa::available();
    isas.retain(|isa| !same_as_another.contains(isa));
    isas
}

/// 1, 2, 4, ... and all.
fn steps(threads: usize, scope: Scope) -> Vec<usize> {
    match scope {
        Scope::Full => {
            let doubling = std::iter::successors(Some(1), |n| Some(2 * n));
            let mut steps: Vec<usize> = doubling.take_while(|&n| n < threads).collect();
            steps.push(threads);
            steps
        }
        Scope::Quick(_) => vec![threads],
    }
}

/// One and all.
fn ends(threads: usize, scope: Scope) -> Vec<usize> {
    let mut ends = steps(threads, scope);
    ends.retain(|&n| n == 1 || n == threads);
    ends
}

/// Levels, and the bytes that each of `n` threads goes round in; `None` for memory.
///
/// Half of a cache, so that nothing else pushes the set out; and at least twice the cache before.
fn sets(host: &Host, n: usize, scope: Scope) -> Vec<(Level, Option<usize>)> {
    let mut sets = Vec::new();
    if scope == Scope::Full {
        let mut before = 0;
        for level in [Level::L1, Level::L2, Level::L3] {
            let number = level as u8 + 1;
            let Some(cache) = host.cache(number) else {
                continue;
            };
            let sharers = n.min(cache.shared_by.max(1));
            let set = (cache.bytes / 2 / sharers).min(WINDOW) / 4096 * 4096;
            if set >= 2 * before && set > 0 {
                sets.push((level, Some(set)));
            }
            before = cache.bytes / cache.shared_by.max(1);
        }
    }
    sets.push((Level::Dram, None));
    sets
}

/// Bytes to read memory from: several times the last cache, as far as there is memory.
pub(crate) fn memory_bytes(host: &Host, threads: usize) -> usize {
    let wanted = (4 * host.last_level_bytes()).max(256 << 20);
    let room = host.available_bytes.map_or(wanted, |n| n / 8);
    let unit = WINDOW * threads;
    (wanted.min(room).max(2 * unit) / unit) * unit
}

/// Memory in pages of a kind, written by all threads.
struct Filled {
    memory: Memory,
    pages: Pages,
    huge_share: Option<f64>,
    /// Where the next piece is read.
    cursor: std::cell::Cell<usize>,
}

fn filled(pool: &mut Pool, len: usize, pages: Pages) -> Result<Filled, CeilingError> {
    let refused = |source| CeilingError::Memory { bytes: len, source };
    let mut memory = Memory::new(len, pages).map_err(refused)?;
    // Each worker writes its own parts: on a machine of several nodes, pages lie where they were
    // first written.
    let parts: Vec<_> = memory
        .bytes_mut()
        .chunks_mut(2 << 20)
        .map(Mutex::new)
        .collect();
    pool.run(&|w| {
        for part in parts.iter().skip(w.index).step_by(w.threads) {
            if let Ok(mut part) = part.lock() {
                part.fill(0x5a);
            }
        }
    })?;
    drop(parts);
    let huge_share = memory.huge_bytes().map(|n| n as f64 / len as f64);
    Ok(Filled {
        memory,
        pages,
        huge_share,
        cursor: std::cell::Cell::new(0),
    })
}

/// Reads the next window of memory for each thread; all of it is read before any is read again.
fn memory_probe(from: &Filled, n: usize, isa: Isa, streams: usize) -> Probe<'_> {
    Box::new(move |pool| {
        let bytes = from.memory.bytes();
        let at = from.cursor.get();
        let at = if at + n * WINDOW > bytes.len() { 0 } else { at };
        from.cursor.set(at + n * WINDOW);
        let seconds = together(pool, n, &|w| {
            let window = bytes.get(at + w * WINDOW..).unwrap_or_default();
            let window = window.get(..WINDOW).unwrap_or_default();
            std::hint::black_box(read(isa, streams, window));
        })?;
        Ok((n * WINDOW) as f64 / 1e9 / seconds)
    })
}

/// Reads the same `set` bytes of each thread again and again.
fn cached_probe(from: &Filled, n: usize, set: usize, isa: Isa, streams: usize) -> Probe<'_> {
    // Some 100 GB/s: the piece need not be exact.
    let passes = ((PIECE * 100e9) as usize / set).max(2);
    Box::new(move |pool| {
        let bytes = from.memory.bytes();
        let part = |w: usize| {
            let stride = set.next_multiple_of(4096);
            let own = bytes.get(w * stride..).unwrap_or_default();
            own.get(..set).unwrap_or_default()
        };
        let seconds = together(pool, n, &|w| {
            std::hint::black_box(read(isa, streams, part(w)));
        })
        .and_then(|_| {
            together(pool, n, &|w| {
                for _ in 0..passes {
                    std::hint::black_box(read(isa, streams, part(w)));
                }
            })
        })?;
        Ok((n * passes * set) as f64 / 1e9 / seconds)
    })
}

/// A peak of `n` threads in GMAC/s; `None` if the set has no such instruction.
pub(crate) fn peak_probe(isa: Isa, elem: Elem, n: usize) -> Option<Probe<'static>> {
    let work = Loop::new(isa, elem)?;
    let iterations = iterations(work);
    Some(Box::new(move |pool| {
        let seconds = together(pool, n, &|_| work.run(iterations))?;
        Ok((n * iterations * work.macs) as f64 / 1e9 / seconds)
    }))
}

/// How many iterations of a loop fill a piece.
fn iterations(work: Loop) -> usize {
    let mut n = 64;
    loop {
        let start = Instant::now();
        work.run(n);
        let seconds = start.elapsed().as_secs_f64();
        if seconds > PIECE / 4.0 || n > 1 << 30 {
            return ((n as f64 * PIECE / seconds.max(1e-9)) as usize).max(1);
        }
        n *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_double_up_to_all() {
        assert_eq!(steps(1, Scope::Full), [1]);
        assert_eq!(steps(2, Scope::Full), [1, 2]);
        assert_eq!(steps(6, Scope::Full), [1, 2, 4, 6]);
        assert_eq!(ends(6, Scope::Full), [1, 6]);
        assert_eq!(ends(1, Scope::Full), [1]);
        assert_eq!(steps(6, Scope::Quick(Isa::Scalar)), [6]);
    }

    #[test]
    fn sets_fit_their_cache_and_not_the_one_before() {
        let host = Host::detect();
        for n in [1, 2] {
            for (level, set) in sets(&host, n, Scope::Full) {
                let Some(set) = set else { continue };
                let cache = host.cache(level as u8 + 1).unwrap();
                assert!(set <= cache.bytes && set.is_multiple_of(4096));
            }
        }
        assert_eq!(
            sets(&host, 2, Scope::Quick(Isa::Scalar)),
            [(Level::Dram, None)]
        );
    }

    #[test]
    fn a_ceiling_has_every_figure_and_finds_the_best() {
        let c = measure(2, 0.0, Scope::Full).unwrap();
        assert!(c.reads.iter().all(|r| r.gb_s.median > 0.0));
        assert!(c.peaks.iter().all(|p| p.gmac_s.median > 0.0));
        assert!(c.syncs.iter().all(|s| s.us.median > 0.0));
        for n in [1, 2] {
            let best = c.bandwidth(Level::Dram, n).unwrap();
            assert!(c.reads.iter().all(|r| {
                r.level != Level::Dram || r.threads != n || r.gb_s.median <= best.gb_s.median
            }));
            for isa in Isa::available() {
                assert!(c.peak(Elem::Int8, isa, n).is_some());
                assert!(c.peak(Elem::F32, isa, n).is_some());
            }
        }
        assert!(c.peak(Elem::F32, Isa::Scalar, 3).is_none());
    }
}
