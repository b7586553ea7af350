//! Where a forward pass spends its time: each region's wall time, waiting, and work.
//!
//! A [`Profiler`] hangs on a machine that is asked to keep one. Each worker stamps the time before
//! and after every barrier and at the end of every region, into cells of its own; what a region
//! read and multiplied follows from the batch, without measuring. [`Profile`] is what came out.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Attend, Dim, Program, Region, RowStep};
use crate::act::ActFormat;
use crate::format::Format;
use crate::kv::PAGE_POSITIONS;

/// What a machine has spent since it began to profile, or since the profile was last taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Batches.
    pub runs: u64,
    /// Tokens of them.
    pub tokens: u64,
    /// Seconds inside the machine's runs: the regions, and starting and ending the workers' job.
    pub seconds: f64,
    /// Regions in the order of the program; after [`Profile::by_label`], kinds of them.
    pub regions: Vec<RegionProfile>,
}

/// What one region has spent, or several of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionProfile {
    /// What it does.
    pub label: String,
    /// Formats of its weights.
    pub formats: Vec<Format>,
    /// How often it ran.
    pub runs: u64,
    /// Seconds on worker 0, waiting at its end included: regions follow one another, so these add up.
    pub seconds: f64,
    /// Of these seconds, how much a worker waited at barriers, on average over all workers.
    pub waited: f64,
    /// Weights, keys and values that had to be read, each once a batch.
    pub bytes: u64,
    /// Multiply-adds of quantized weights.
    pub int8_macs: u64,
    /// Multiply-adds of floats: float weights, attention.
    pub f32_macs: u64,
}

impl Profile {
    /// The same with regions of one label taken together, in the order in which they first appear.
    pub fn by_label(&self) -> Profile {
        let mut kinds: Vec<RegionProfile> = Vec::new();
        for r in &self.regions {
            match kinds.iter_mut().find(|k| k.label == r.label) {
                Some(kind) => kind.add(r),
                None => kinds.push(r.clone()),
            }
        }
        Profile {
            regions: kinds,
            ..*self
        }
    }

    /// Adds another profile of the same program.
    pub fn add(&mut self, other: &Profile) {
        self.runs += other.runs;
        self.tokens += other.tokens;
        self.seconds += other.seconds;
        if self.regions.is_empty() {
            self.regions.clone_from(&other.regions);
            return;
        }
        for (mine, theirs) in self.regions.iter_mut().zip(&other.regions) {
            mine.add(theirs);
        }
    }

    /// Seconds in regions.
    pub fn region_seconds(&self) -> f64 {
        self.regions.iter().map(|r| r.seconds).sum()
    }
}

impl RegionProfile {
    fn add(&mut self, other: &RegionProfile) {
        for &f in &other.formats {
            if !self.formats.contains(&f) {
                self.formats.push(f);
            }
        }
        self.runs += other.runs;
        self.seconds += other.seconds;
        self.waited += other.waited;
        self.bytes += other.bytes;
        self.int8_macs += other.int8_macs;
        self.f32_macs += other.f32_macs;
    }

    /// The least time that the work could take: at `gb_s` of bandwidth and at these peaks, reading
    /// and multiplying at once. `None` if there is nothing to read or multiply.
    pub fn least_seconds(&self, gb_s: f64, int8_gmac_s: f64, f32_gmac_s: f64) -> Option<f64> {
        let read = self.bytes as f64 / (gb_s * 1e9);
        let int8 = self.int8_macs as f64 / (int8_gmac_s * 1e9);
        let f32 = self.f32_macs as f64 / (f32_gmac_s * 1e9);
        let least = read.max(int8 + f32);
        (least.is_finite() && least > 0.0).then_some(least)
    }
}

/// Nanoseconds of one worker in one region.
#[derive(Debug, Default)]
struct Spent {
    all: AtomicU64,
    waited: AtomicU64,
}

/// What a region is, apart from time.
#[derive(Debug, Default)]
struct Work {
    runs: u64,
    bytes: u64,
    int8_macs: u64,
    f32_macs: u64,
}

/// Keeps the profile of a machine.
#[derive(Debug)]
pub(super) struct Profiler {
    /// `[worker][region]`
    spent: Vec<Vec<Spent>>,
    work: Vec<Work>,
    runs: u64,
    tokens: u64,
    total: Duration,
}

impl Profiler {
    pub(super) fn new(program: &Program, threads: usize) -> Profiler {
        let n = program.regions.len();
        Profiler {
            spent: (0..threads)
                .map(|_| (0..n).map(|_| Spent::default()).collect())
                .collect(),
            work: (0..n).map(|_| Work::default()).collect(),
            runs: 0,
            tokens: 0,
            total: Duration::ZERO,
        }
    }

    /// A worker's clock for one batch.
    pub(super) fn clock(&self, worker: usize) -> Clock<'_> {
        let now = Instant::now();
        Clock {
            spent: self.spent.get(worker).map_or(&[], Vec::as_slice),
            began: Cell::new(now),
            arrived: Cell::new(now),
            waited: Cell::new(Duration::ZERO),
        }
    }

    /// A batch took `total`: `seqs` are the first new position and the number of new tokens of
    /// each sequence.
    pub(super) fn count(
        &mut self,
        program: &Program,
        seqs: impl Iterator<Item = (usize, usize)> + Clone,
        outputs: usize,
        total: Duration,
    ) {
        let tokens: usize = seqs.clone().map(|(_, n)| n).sum();
        self.runs += 1;
        self.tokens += tokens as u64;
        self.total += total;
        for (region, work) in program.regions.iter().zip(&mut self.work) {
            let rows = match region.dim() {
                Dim::Tokens => tokens,
                Dim::Outputs => outputs,
            };
            if rows == 0 {
                continue;
            }
            work.runs += 1;
            match region {
                Region::Rows { .. } => {}
                Region::Linear { jobs, .. } => {
                    for j in jobs {
                        let w = &j.weight;
                        let macs = w.rows() as u64 * w.cols() as u64 * rows as u64;
                        work.bytes += w.bytes() as u64;
                        match w.format().activation() {
                            ActFormat::F32 => work.f32_macs += macs,
                            _ => work.int8_macs += macs,
                        }
                    }
                }
                Region::Attend(a) => attention(program, a, seqs.clone(), work),
            }
        }
    }

    /// What was spent; counting starts anew.
    pub(super) fn take(&mut self, program: &Program) -> Profile {
        let head = program
            .regions
            .iter()
            .rposition(|r| matches!(r, Region::Linear { .. }));
        let secs = |nanos: u64| nanos as f64 / 1e9;
        let regions = program
            .regions
            .iter()
            .enumerate()
            .zip(std::mem::take(&mut self.work))
            .map(|((i, region), work)| {
                let of = |w: &Vec<Spent>, f: fn(&Spent) -> &AtomicU64| {
                    secs(w.get(i).map_or(0, |s| f(s).swap(0, Relaxed)))
                };
                let all: Vec<f64> = self.spent.iter().map(|w| of(w, |s| &s.all)).collect();
                let waited: f64 = self.spent.iter().map(|w| of(w, |s| &s.waited)).sum();
                let seconds = all.first().copied().unwrap_or(0.0);
                let total: f64 = all.iter().sum();
                RegionProfile {
                    label: label(region, head == Some(i)),
                    formats: formats(region),
                    runs: work.runs,
                    seconds,
                    // Workers do not see quite the same seconds.
                    waited: if total > 0.0 {
                        seconds * waited / total
                    } else {
                        0.0
                    },
                    bytes: work.bytes,
                    int8_macs: work.int8_macs,
                    f32_macs: work.f32_macs,
                }
            })
            .collect();
        self.work = program.regions.iter().map(|_| Work::default()).collect();
        Profile {
            runs: std::mem::take(&mut self.runs),
            tokens: std::mem::take(&mut self.tokens),
            seconds: std::mem::take(&mut self.total).as_secs_f64(),
            regions,
        }
    }
}

/// Keys and values that the queries see, and the products with them.
fn attention(
    program: &Program,
    a: &Attend,
    seqs: impl Iterator<Item = (usize, usize)>,
    work: &mut Work,
) {
    let Some(kv) = program.states.get(a.state) else {
        return;
    };
    let window = a.window.unwrap_or(usize::MAX);
    let a_position = (a.heads * (kv.dk() + kv.dv())) as u64;
    for (start, tokens) in seqs {
        let end = start + tokens;
        let first = (start + 1).saturating_sub(window);
        work.bytes += ((end - first) * kv.page_bytes() / PAGE_POSITIONS) as u64;
        let seen: usize = (start..end).map(|p| (p + 1).min(window)).sum();
        work.f32_macs += seen as u64 * a_position;
    }
}

/// What a region does, the same words for the same work in every layer.
fn label(region: &Region, head: bool) -> String {
    let join = |names: Vec<String>| {
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        unique.join(" + ")
    };
    match region {
        Region::Rows { steps, .. } => join(steps.iter().map(|s| s.name().to_owned()).collect()),
        Region::Linear { jobs, .. } => {
            let names = join(jobs.iter().map(|j| short(j.weight.name())).collect());
            match head {
                true => format!("output head: {names}"),
                false => names,
            }
        }
        Region::Attend(a) => match a.window {
            None => "attention".to_owned(),
            Some(n) => format!("attention, window {n}"),
        },
    }
}

/// A weight's name without its layer ("blk.3." or "layers.3.") and its ".weight".
fn short(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.trim_end_matches(".weight").split('.') {
        match part.parse::<u32>() {
            Ok(_) => _ = parts.pop(),
            Err(_) => parts.push(part),
        }
    }
    match parts.join(".") {
        nameless if nameless.is_empty() => "product".to_owned(),
        name => name,
    }
}

fn formats(region: &Region) -> Vec<Format> {
    let mut formats: Vec<Format> = match region {
        Region::Linear { jobs, .. } => jobs.iter().map(|j| j.weight.format()).collect(),
        Region::Rows { steps, .. } => steps
            .iter()
            .filter_map(|s| match s {
                RowStep::Embed { table, .. } => Some(table.format()),
                _ => None,
            })
            .collect(),
        Region::Attend(_) => Vec::new(),
    };
    formats.sort_unstable();
    formats.dedup();
    formats
}

/// One worker's clock: when the region began, and how much of it was waiting.
pub(super) struct Clock<'a> {
    spent: &'a [Spent],
    began: Cell<Instant>,
    arrived: Cell<Instant>,
    waited: Cell<Duration>,
}

impl Clock<'_> {
    /// Before a barrier.
    pub(super) fn arrive(&self) {
        self.arrived.set(Instant::now());
    }

    /// Behind a barrier.
    pub(super) fn leave(&self) {
        self.waited
            .set(self.waited.get() + self.arrived.get().elapsed());
    }

    /// Behind a region.
    pub(super) fn end(&self, region: usize) {
        let (now, waited) = (Instant::now(), self.waited.take());
        if let Some(spent) = self.spent.get(region) {
            let all = now - self.began.get();
            spent.all.fetch_add(all.as_nanos() as u64, Relaxed);
            spent.waited.fetch_add(waited.as_nanos() as u64, Relaxed);
        }
        self.began.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(label: &str, seconds: f64, format: Format) -> RegionProfile {
        RegionProfile {
            label: label.into(),
            formats: vec![format],
            runs: 2,
            seconds,
            waited: seconds / 4.0,
            bytes: 100,
            int8_macs: 1000,
            f32_macs: 10,
        }
    }

    #[test]
    fn kinds_add_up_to_the_regions() {
        let one = Profile {
            runs: 2,
            tokens: 8,
            seconds: 8.0,
            regions: vec![
                region("a", 1.0, Format::Q4K),
                region("b", 2.0, Format::F16),
                region("a", 4.0, Format::Q6K),
            ],
        };
        let kinds = one.by_label();
        assert_eq!(kinds.region_seconds(), one.region_seconds());
        let labels: Vec<&str> = kinds.regions.iter().map(|r| r.label.as_str()).collect();
        assert_eq!(labels, ["a", "b"]);
        let a = &kinds.regions[0];
        assert_eq!((a.seconds, a.waited, a.runs, a.bytes), (5.0, 1.25, 4, 200));
        assert_eq!(a.formats, [Format::Q4K, Format::Q6K]);
        let mut twice = Profile::default();
        twice.add(&one);
        twice.add(&one);
        assert_eq!((twice.runs, twice.tokens, twice.seconds), (4, 16, 16.0));
        assert_eq!(twice.region_seconds(), 2.0 * one.region_seconds());
    }

    #[test]
    fn the_least_time_is_that_of_the_nearer_roof() {
        let r = RegionProfile {
            bytes: 4_000_000_000,
            int8_macs: 10_000_000_000,
            f32_macs: 5_000_000_000,
            ..RegionProfile::default()
        };
        assert_eq!(r.least_seconds(1.0, 100.0, 10.0), Some(4.0));
        assert_eq!(r.least_seconds(100.0, 100.0, 10.0), Some(0.6));
        assert_eq!(RegionProfile::default().least_seconds(1.0, 1.0, 1.0), None);
    }

    #[test]
    fn layers_share_a_name() {
        assert_eq!(short("blk.12.attn_q.weight"), "attn_q");
        assert_eq!(
            short("model.layers.0.mlp.up_proj.weight"),
            "model.mlp.up_proj"
        );
        assert_eq!(short("output.weight"), "output");
        assert_eq!(short(""), "product");
    }
}
