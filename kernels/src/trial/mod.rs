//! Kernels on trial: is each equal to its definition, and how near does it come to the ceiling?
//!
//! In: a [`Subject`] (the products with weights of a format, or attention over keys and values of a
//! type) and instruction sets. Out: an error that names the first wrong bit, or the speed for one
//! token and for many, beside the bandwidth and the multiply-add peak *measured in the same rounds*,
//! of the same memory, on the same threads. It knows no model; shapes are those of common ones.
//!
//! - `check`: equality with the definitions, bit for bit, on ordinary and on extreme numbers;
//! - `linear`, `attend`: what a piece of timed work is.

mod attend;
mod check;
mod linear;

pub use check::{Mismatch, check};

use crate::ceiling::probe::{Probe, rounds, together};
use crate::ceiling::{
    CeilingError, Elem, Figure, Host, Memory, Pages, Steadiness, Watch, peak_probe, read, share,
};
use crate::error::ShapeError;
use crate::format::Format;
use crate::isa::Isa;
use crate::kv::{KvElem, KvError};
use crate::linear::LinearError;
use crate::pool::{Pool, PoolError};
use std::cell::Cell;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Products with weights of a format.
    Linear(Format),
    /// Attention over keys and values of a type.
    Attend(KvElem),
}

impl Subject {
    /// Everything there is.
    pub fn all() -> Vec<Subject> {
        let linear = Format::ALL.into_iter().map(Subject::Linear);
        let attend = KvElem::ALL.into_iter().map(Subject::Attend);
        linear.chain(attend).collect()
    }

    /// The name in options and reports: that of the format, or "kv-" and the type.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Linear(f) => f.name(),
            Subject::Attend(KvElem::F32) => "kv-f32",
            Subject::Attend(KvElem::F16) => "kv-f16",
            Subject::Attend(KvElem::Q8_0) => "kv-q8_0",
        }
    }

    /// The subject of that name, in any case.
    pub fn from_name(name: &str) -> Option<Subject> {
        Subject::all()
            .into_iter()
            .find(|s| s.name().eq_ignore_ascii_case(name))
    }

    /// What is multiplied: the peak to compare with.
    pub fn elem(self) -> Elem {
        match self {
            Subject::Linear(f) if f.activation() != crate::ActFormat::F32 => Elem::Int8,
            Subject::Linear(_) | Subject::Attend(_) => Elem::F32,
        }
    }
}

/// A kind of work that was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The kernel on packed weights, or on pages of keys, for so many tokens.
    Tokens(usize),
    /// One token on row-major weights, as files have them.
    Rows,
    /// Packing row-major weights.
    Pack,
}

/// How fast one kind of work was.
#[derive(Clone, Debug)]
pub struct Run {
    /// With which instruction set.
    pub isa: Isa,
    /// What.
    pub work: Work,
    /// Weights (or keys and values) that went by, GB/s, each byte counted once.
    pub gb_s: Figure,
    /// Multiply-adds for each of these bytes; 0 for packing.
    pub macs_per_byte: f64,
}

impl Run {
    /// Multiply-adds, GMAC/s.
    pub fn gmac_s(&self) -> Figure {
        self.gb_s.scaled(self.macs_per_byte)
    }
}

/// The speed of a subject, beside the ceiling.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was tried.
    pub subject: Subject,
    /// On how many threads.
    pub threads: usize,
    /// The best reader on the same memory, in the same rounds.
    pub read_gb_s: Figure,
    /// The peak of each instruction set, in the same rounds.
    pub peak_gmac_s: Vec<(Isa, Figure)>,
    /// The kernels.
    pub runs: Vec<Run>,
}

impl Trial {
    /// The roof over a run, in its GB/s: memory's or, if lower, the peak's. Packing, which also
    /// writes, has none.
    pub fn roof_gb_s(&self, run: &Run) -> Option<f64> {
        let peak = self.peak_gmac_s.iter().find(|(isa, _)| *isa == run.isa)?;
        match run.work {
            Work::Pack => None,
            Work::Tokens(_) | Work::Rows => {
                Some((peak.1.median / run.macs_per_byte).min(self.read_gb_s.median))
            }
        }
    }

    /// A run's share of its roof.
    pub fn of_roof(&self, run: &Run) -> Option<f64> {
        share(run.gb_s.median, self.roof_gb_s(run)?)
    }
}

/// Why a trial ended without a figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// A kernel is wrong.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The product refused its arguments.
    #[error(transparent)]
    Linear(#[from] LinearError),
    /// A kernel refused its arguments.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The cache's layout was refused.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// No memory to measure with.
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// The threads failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Bytes that a thread takes at once when few tokens go by.
const PIECE: usize = 4 << 20;
/// Rounds at least.
const ROUNDS: usize = 5;

/// Threads, memory and a watch, for one trial after another.
pub struct Bench {
    /// The machine.
    pub host: Host,
    pool: Pool,
    memory: Memory,
    watch: Watch,
}

impl Bench {
    /// A bench of `threads` threads over more memory than the caches hold.
    ///
    /// # Errors
    /// There is no such memory, or the system refuses a thread.
    pub fn new(threads: usize) -> Result<Bench, TrialError> {
        let host = Host::detect();
        let len = crate::ceiling::memory_bytes(&host, threads);
        let memory = Memory::new(len, Pages::Huge)
            .map_err(|source| CeilingError::Memory { bytes: len, source })?;
        Ok(Bench {
            host,
            pool: Pool::new(threads)?,
            memory,
            watch: Watch::start(),
        })
    }

    /// Times a subject for about `seconds`: for each number of `tokens` (each at least 1), and
    /// weights also row-major and packing. Check it first.
    ///
    /// # Errors
    /// A kernel refuses, or a thread fails.
    pub fn time(
        &mut self,
        subject: Subject,
        isas: &[Isa],
        tokens: &[usize],
        seconds: f64,
    ) -> Result<Trial, TrialError> {
        let threads = self.pool.threads();
        match subject {
            Subject::Linear(f) => {
                linear::fill(f, self.memory.bytes_mut())?;
                let work = linear::Linear::new(f, self.memory.bytes(), threads, tokens)?;
                let lane = Lane::new(work.bytes, work.piece, threads);
                let probes = work.probes(&lane, isas, tokens)?;
                run(
                    &mut self.pool,
                    &mut self.watch,
                    subject,
                    isas,
                    &lane,
                    probes,
                    seconds,
                )
            }
            Subject::Attend(elem) => {
                attend::fill(elem, self.memory.bytes_mut())?;
                let work = attend::Attention::new(elem, self.memory.bytes(), threads, tokens)?;
                let lane = Lane::new(work.bytes, work.piece, threads);
                let probes = work.probes(&lane, isas, tokens);
                run(
                    &mut self.pool,
                    &mut self.watch,
                    subject,
                    isas,
                    &lane,
                    probes,
                    seconds,
                )
            }
        }
    }

    /// How still the machine held meanwhile.
    pub fn finish(self) -> Steadiness {
        self.watch.finish()
    }
}

/// Memory in pieces, handed out in turn to whatever is measured: nobody finds in a cache what
/// another has just read.
struct Lane<'a> {
    bytes: &'a [u8],
    piece: usize,
    threads: usize,
    next: Cell<usize>,
}

impl<'a> Lane<'a> {
    fn new(bytes: &'a [u8], piece: usize, threads: usize) -> Lane<'a> {
        Lane {
            bytes,
            piece,
            threads,
            next: Cell::new(0),
        }
    }

    /// Runs `work(worker, its piece)` on all threads, untimed, for what it leaves in the caches.
    fn warm(&self, pool: &mut Pool, work: &(dyn Fn(usize, &[u8]) + Sync)) -> Result<(), PoolError> {
        self.pass(pool, 0, work).map(drop)
    }

    /// Runs `work(worker, its piece)` on all threads; GB/s, if each takes `counted` bytes.
    fn pass(
        &self,
        pool: &mut Pool,
        counted: usize,
        work: &(dyn Fn(usize, &[u8]) + Sync),
    ) -> Result<f64, PoolError> {
        let all = self.threads * self.piece;
        let at = self.next.get();
        let at = if at + all > self.bytes.len() { 0 } else { at };
        self.next.set(at + all);
        let (bytes, piece) = (self.bytes, self.piece);
        let seconds = together(pool, self.threads, &|w| {
            let own = bytes.get(at + w * piece..).unwrap_or_default();
            work(w, own.get(..piece).unwrap_or_default());
        })?;
        Ok((self.threads * counted) as f64 / 1e9 / seconds)
    }
}

/// A kind of work to time: with what, what, its multiply-adds a byte, and one piece of it in GB/s.
type Timed<'a> = (Isa, Work, f64, Probe<'a>);

fn run(
    pool: &mut Pool,
    watch: &mut Watch,
    subject: Subject,
    isas: &[Isa],
    lane: &Lane<'_>,
    timed: Vec<Timed<'_>>,
    seconds: f64,
) -> Result<Trial, TrialError> {
    let best = Isa::best();
    let mut probes: Vec<Probe<'_>> = Vec::new();
    const READERS: [usize; 2] = [1, 4];
    for streams in READERS {
        probes.push(Box::new(move |pool| {
            lane.pass(pool, lane.piece, &|_, bytes| {
                std::hint::black_box(read(best, streams, bytes));
            })
        }));
    }
    let mut peaks = Vec::new();
    for &isa in isas {
        if let Some(probe) = peak_probe(isa, subject.elem(), lane.threads) {
            peaks.push(isa);
            probes.push(probe);
        }
    }
    let mut what = Vec::new();
    for (isa, work, macs_per_byte, probe) in timed {
        what.push((isa, work, macs_per_byte));
        probes.push(probe);
    }
    let figures = rounds(pool, &mut probes, seconds, ROUNDS, watch)?;
    let (readers, figures) = figures.split_at(READERS.len().min(figures.len()));
    let (peak, figures) = figures.split_at(peaks.len().min(figures.len()));
    Ok(Trial {
        subject,
        threads: lane.threads,
        read_gb_s: readers
            .iter()
            .copied()
            .max_by(|a, b| a.median.total_cmp(&b.median))
            .unwrap_or(Figure::of(Vec::new())),
        peak_gmac_s: peaks.into_iter().zip(peak.iter().copied()).collect(),
        runs: what
            .into_iter()
            .zip(figures)
            .map(|((isa, work, macs_per_byte), &gb_s)| Run {
                isa,
                work,
                gb_s,
                macs_per_byte,
            })
            .collect(),
    })
}

/// How much of a piece's `units` is worked on for `tokens`: all of it for a few, so that memory
/// counts, less for many, so that a piece of work stays short; at least `least`.
fn units_for(units: usize, tokens: usize, least: usize) -> usize {
    (units * 8 / tokens.max(8)).max(least.min(units))
}

/// A small deterministic generator (splitmix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Roughly normal, deviation 1.
    fn normal(&mut self) -> f32 {
        let uniform = |x: u64| (x >> 40) as f32 / (1 << 24) as f32 - 0.5;
        (0..4).map(|_| uniform(self.next())).sum::<f32>() * 1.7
    }

    fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_names() {
        for s in Subject::all() {
            assert_eq!(Subject::from_name(s.name()), Some(s));
        }
        assert_eq!(
            Subject::from_name("q4_k"),
            Some(Subject::Linear(Format::Q4K))
        );
        assert_eq!(Subject::from_name("kv-f8"), None);
    }

    #[test]
    fn the_roof_is_the_lower_of_two() {
        let figure = |x| Figure::of(vec![x]);
        let run = |work, macs_per_byte| Run {
            isa: Isa::Scalar,
            work,
            gb_s: figure(5.0),
            macs_per_byte,
        };
        let t = Trial {
            subject: Subject::Linear(Format::Q4K),
            threads: 1,
            read_gb_s: figure(20.0),
            peak_gmac_s: vec![(Isa::Scalar, figure(100.0))],
            runs: Vec::new(),
        };
        assert_eq!(t.of_roof(&run(Work::Tokens(1), 2.0)), Some(0.25));
        assert_eq!(t.of_roof(&run(Work::Tokens(8), 16.0)), Some(0.8));
        assert_eq!(t.of_roof(&run(Work::Pack, 0.0)), None);
        assert_eq!(run(Work::Rows, 3.0).gmac_s().median, 15.0);
        let other = Run {
            isa: Isa::Avx2,
            ..run(Work::Rows, 2.0)
        };
        assert_eq!(t.of_roof(&other), None);
    }

    #[test]
    fn many_tokens_take_fewer_rows() {
        assert_eq!(units_for(1000, 1, 64), 1000);
        assert_eq!(units_for(1000, 8, 64), 1000);
        assert_eq!(units_for(1000, 80, 64), 100);
        assert_eq!(units_for(1000, 512, 64), 64);
        assert_eq!(units_for(48, 512, 64), 48);
    }

    #[test]
    fn every_subject_can_be_timed() {
        let mut bench = Bench::new(2).unwrap();
        for subject in [
            Subject::Linear(Format::Q4K),
            Subject::Linear(Format::F16),
            Subject::Attend(KvElem::Q8_0),
        ] {
            let isas = [Isa::best()];
            let t = bench.time(subject, &isas, &[1, 16], 0.0).unwrap();
            assert!(t.read_gb_s.median > 0.0 && t.peak_gmac_s.len() == 1);
            assert!(t.runs.iter().all(|r| r.gb_s.median > 0.0), "{t:?}");
            let works: Vec<Work> = t.runs.iter().map(|r| r.work).collect();
            assert!(works.starts_with(&[Work::Tokens(1), Work::Tokens(16)]));
        }
        assert!(bench.finish().clock_ghz.median > 0.0);
    }
}
