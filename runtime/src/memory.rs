//! Exact memory figures, known before anything is loaded.

use crate::error::LoadError;
use hob_kernels::kv::KvLayout;
use hob_kernels::program::{KvCache, PAGE_POSITIONS};
use std::sync::OnceLock;

/// What a loaded model occupies, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPlan {
    /// Weights read in place from a mapped file; the system may drop and re-read these pages.
    pub mapped: u64,
    /// Weights in memory of the process's own: packed there, or kept there because accesses to them tell
    /// what was said ([`crate::EngineOptions::private_embeddings`]).
    pub packed: u64,
    /// Vectors kept as f32: norm weights, biases.
    pub vectors: u64,
    /// Activations, logits and scratch, for the largest batch.
    pub working: u64,
    /// Layouts of the cache, one a layer.
    pub(crate) layouts: Vec<KvLayout>,
    /// Bytes of attention's partial results, for each page of 256 positions.
    pub(crate) partials_per_page: u64,
}

impl MemoryPlan {
    /// Keys and values of one sequence of that many positions (whole pages).
    pub fn kv(&self, positions: usize) -> u64 {
        KvCache::bytes_for(&self.layouts, positions) as u64
    }

    /// Partial results of attention while tokens are decoded at that depth.
    pub fn partials(&self, positions: usize) -> u64 {
        match positions.div_ceil(PAGE_POSITIONS) as u64 {
            0 | 1 => 0,
            pages => pages * self.partials_per_page,
        }
    }

    /// Everything, with one sequence of that many positions.
    pub fn total(&self, positions: usize) -> u64 {
        self.mapped + self.own(positions)
    }

    /// What cannot be dropped and re-read: all but the mapped weights.
    pub fn own(&self, positions: usize) -> u64 {
        self.packed + self.vectors + self.working + self.kv(positions) + self.partials(positions)
    }

    /// Refuses a model that cannot run here: its own memory, with one page of cache, must fit
    /// what the system has available; `held` bytes of it were taken before.
    pub(crate) fn check_available(&self, held: u64) -> Result<(), LoadError> {
        check(self.own(1).saturating_sub(held))
    }
}

/// Refuses what needs more bytes than the system has available.
pub(crate) fn check(needed: u64) -> Result<(), LoadError> {
    match available() {
        Some(available) if needed > available => Err(LoadError::Memory { needed, available }),
        _ => Ok(()),
    }
}

/// What was available when the process gave up asking.
static REMEMBERED: OnceLock<Option<u64>> = OnceLock::new();

/// To be called before the system can no longer be asked.
pub(crate) fn remember_available() {
    REMEMBERED.get_or_init(ask_available);
}

/// Memory that can be had without swapping; `None` where the system does not say. (Linux:
/// `MemAvailable` of proc(5), and the limit of the process's memory cgroup, whichever is less.) In a
/// process confined by [`crate::privacy`], the figure of the moment before.
pub fn available() -> Option<u64> {
    REMEMBERED.get().copied().unwrap_or_else(ask_available)
}

fn ask_available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kib = read("/proc/meminfo")?.lines().find_map(|l| {
        l.strip_prefix("MemAvailable:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    })?;
    let bytes = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let limit = bytes("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(bytes("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some((kib * 1024).min(limit.unwrap_or(u64::MAX)))
}
