//! Runs a program on a batch: every worker walks the regions, claiming work as it goes.

use super::attend::{self, AttendScratch};
use super::check::check;
use super::layout::{Layout, layout};
use super::products;
use super::profile::{Profile, Profiler};
use super::{
    AlignedBytes, BufId, Dim, KvCache, PAGE_POSITIONS, Program, ProgramError, REPLICATED_ROWS,
    Region, rows,
};
use crate::isa::Isa;
use crate::kv::KvLayout;
use crate::linear;
use crate::pool::{Pool, Worker};
use crate::private::Content;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Rows that a worker claims at once, at most.
const CLAIM_ROWS: usize = 16;

/// One sequence's part of a batch: `tokens` new tokens at positions `start..start + tokens`.
pub struct Seq<'a> {
    /// Holds positions `0..start` already.
    pub cache: &'a mut KvCache,
    /// Position of the first new token.
    pub start: usize,
    /// Number of new tokens.
    pub tokens: usize,
}

/// Tokens of one or more sequences, concatenated.
pub struct Batch<'a, 's> {
    /// The sequences, in the order of their tokens.
    pub seqs: &'a mut [Seq<'s>],
    /// All token ids.
    pub ids: &'a [u32],
    /// Indices into `ids` whose logits are wanted, ascending.
    pub outputs: &'a [u32],
}

/// Why a batch was not run, or not to its end.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RunError {
    /// The batch does not fit the machine or is inconsistent.
    #[error("invalid batch: {0}")]
    Batch(String),
    /// No memory for another page of keys and values.
    #[error(
        "out of memory for keys and values at position {position}; use a smaller context or a smaller cache type"
    )]
    Memory {
        /// Where the sequence would have ended.
        position: usize,
    },
    /// The caller's flag was raised.
    #[error("cancelled")]
    Cancelled,
    /// A worker failed; the machine stays usable.
    #[error("a worker thread failed: {0}")]
    Worker(String),
    /// The weights could not be read any more.
    #[error("the model's weights changed or vanished while they were mapped; load the model again")]
    Weights,
}

/// A checked program with its arena, threads and instruction set.
pub struct Machine {
    program: Program,
    layout: Layout,
    isa: Isa,
    pool: Pool,
    max_tokens: usize,
    max_outputs: usize,
    vocab: usize,
    arena: AlignedBytes,
    private: Vec<AlignedBytes>,
    scratch: Vec<AlignedBytes>,
    attend: Vec<AttendScratch>,
    linear: Vec<linear::Scratch>,
    interleaved: AlignedBytes,
    claims: Vec<AtomicUsize>,
    row_seq: Vec<(u32, u32)>,
    pages: Vec<*mut u8>,
    page_at: Vec<usize>,
    partials: AlignedBytes,
    profiler: Option<Profiler>,
}

// SAFETY: the raw page pointers are only valid, and only used, inside `run`.
unsafe impl Send for Machine {}

/// Bytes that a [`Machine`] allocates besides weights and caches.
pub fn working_bytes(
    program: &Program,
    max_tokens: usize,
    max_outputs: usize,
    threads: usize,
) -> Option<usize> {
    let l = layout(program, max_tokens, max_outputs)?;
    let per_worker = l
        .private_bytes
        .checked_add(scratch_bytes(program))?
        .checked_add(attend::scratch_bytes(program))?
        .checked_add(products::worker_bytes(program, max_tokens, max_outputs)?)?;
    per_worker
        .checked_mul(threads)?
        .checked_add(l.shared_bytes)?
        .checked_add(products::shared_bytes(program, max_tokens, max_outputs)?)
}

/// Bytes that attention over `positions` positions needs for partial results when one token at a
/// time is decoded, on more than one thread.
pub fn decode_bytes(program: &Program, positions: usize, threads: usize) -> usize {
    let spans = positions.div_ceil(PAGE_POSITIONS);
    if threads < 2 || spans < 2 {
        return 0;
    }
    attend::split_floats(program, 1, spans).saturating_mul(size_of::<f32>())
}

/// The widest row that an embedding step gathers.
fn scratch_bytes(p: &Program) -> usize {
    let mut bytes = 0usize;
    for region in &p.regions {
        if let Region::Rows { steps, .. } = region {
            for step in steps {
                if let super::RowStep::Embed { table, .. } = step {
                    bytes = bytes.max(table.format().row_bytes(table.cols()).unwrap_or(0));
                }
            }
        }
    }
    bytes.next_multiple_of(64)
}

impl Machine {
    /// Checks the program and allocates everything that running it needs, for batches of at most
    /// `max_tokens` tokens and `max_outputs` rows of logits.
    pub fn new(
        program: Program,
        isa: Isa,
        threads: usize,
        max_tokens: usize,
        max_outputs: usize,
    ) -> Result<Machine, ProgramError> {
        check(&program)?;
        if max_tokens == 0 || max_tokens > 1 << 20 || max_outputs > max_tokens {
            return Err(ProgramError::Shape(format!(
                "a batch of {max_tokens} tokens and {max_outputs} outputs"
            )));
        }
        let layout =
            layout(&program, max_tokens, max_outputs).ok_or(ProgramError::Memory(usize::MAX))?;
        let threads = threads.max(1);
        let each = |bytes: usize| -> Result<Vec<AlignedBytes>, ProgramError> {
            (0..threads)
                .map(|_| AlignedBytes::zeroed(bytes).ok_or(ProgramError::Memory(bytes)))
                .collect()
        };
        let mut arena = AlignedBytes::zeroed(layout.shared_bytes)
            .ok_or(ProgramError::Memory(layout.shared_bytes))?;
        let logits = program.logits.0 as usize;
        if let (Some(&at), Some(decl)) = (layout.shared.get(logits), program.bufs.get(logits)) {
            arena.hold(Content::Logits, at..at + max_outputs * decl.row_bytes);
        }
        let vocab = program
            .regions
            .iter()
            .filter_map(|r| match r {
                Region::Rows { steps, .. } => steps.iter().find_map(|s| match s {
                    super::RowStep::Embed { table, .. } => Some(table.rows()),
                    _ => None,
                }),
                _ => None,
            })
            .min()
            .unwrap_or(usize::MAX);
        Ok(Machine {
            private: each(layout.private_bytes)?,
            scratch: each(scratch_bytes(&program))?,
            attend: (0..threads)
                .map(|_| AttendScratch::new(&program))
                .collect::<Option<_>>()
                .ok_or(ProgramError::Memory(0))?,
            linear: {
                let bytes = products::worker_bytes(&program, max_tokens, max_outputs)
                    .ok_or(ProgramError::Memory(usize::MAX))?;
                (0..threads)
                    .map(|_| linear::Scratch::new(bytes).ok_or(ProgramError::Memory(bytes)))
                    .collect::<Result<_, _>>()?
            },
            interleaved: {
                let bytes = products::shared_bytes(&program, max_tokens, max_outputs)
                    .ok_or(ProgramError::Memory(usize::MAX))?;
                AlignedBytes::zeroed(bytes).ok_or(ProgramError::Memory(bytes))?
            },
            claims: (0..2 * program.regions.len())
                .map(|_| AtomicUsize::new(0))
                .collect(),
            pool: Pool::new(threads).map_err(|e| ProgramError::Threads(e.to_string()))?,
            row_seq: Vec::with_capacity(max_tokens),
            pages: Vec::new(),
            page_at: Vec::new(),
            partials: AlignedBytes::zeroed(0).ok_or(ProgramError::Memory(0))?,
            profiler: None,
            layout,
            isa,
            max_tokens,
            max_outputs,
            vocab,
            arena,
            program,
        })
    }

    /// The instruction set that kernels run on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Worker threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.private.len()
    }

    /// Most tokens of a batch.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Most rows of logits of a batch.
    pub fn max_outputs(&self) -> usize {
        self.max_outputs
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Begins to keep a profile of what runs, anew, or stops.
    pub fn set_profiling(&mut self, on: bool) {
        self.profiler = on.then(|| Profiler::new(&self.program, self.threads()));
    }

    /// What was spent since profiling began or the profile was last taken; `None` if it is off.
    pub fn take_profile(&mut self) -> Option<Profile> {
        let profiler = self.profiler.as_mut()?;
        Some(profiler.take(&self.program))
    }

    /// The program and the workers, for other work than running it.
    pub(super) fn parts(&mut self) -> (&Program, &mut Pool) {
        (&self.program, &mut self.pool)
    }

    /// Width of a row of logits.
    pub fn vocab(&self) -> usize {
        self.program
            .bufs
            .get(self.program.logits.0 as usize)
            .map_or(0, |b| b.row_bytes / 4)
    }

    /// Logits of the last run's `i`-th output, `[vocab]`; empty if there is no such output.
    pub fn logits(&self, i: usize) -> &[f32] {
        let n = self.vocab();
        let at = self
            .layout
            .shared
            .get(self.program.logits.0 as usize)
            .copied()
            .unwrap_or(0)
            + i * n * 4;
        if i >= self.max_outputs || at + n * 4 > self.layout.shared_bytes {
            return &[];
        }
        // SAFETY: inside the arena (just checked), 4-byte aligned (offsets and rows are multiples
        // of 4), any bits are a float; `&self` excludes a running batch.
        unsafe { std::slice::from_raw_parts(self.arena.as_slice().as_ptr().add(at).cast(), n) }
    }

    /// Zeroes all working memory: activations, logits, partial results.
    pub fn wipe(&mut self) {
        let each = self.private.iter_mut().chain(&mut self.scratch);
        let shared = [&mut self.arena, &mut self.interleaved, &mut self.partials];
        each.chain(shared).for_each(AlignedBytes::wipe);
        self.attend.iter_mut().for_each(AttendScratch::wipe);
        self.linear.iter_mut().for_each(linear::Scratch::wipe);
        // The positions and rows of the last batch are no content.
    }

    /// Runs one batch. On an error the caches' positions from each `start` on are undefined, and
    /// everything before stays as it was: the batch can be given again.
    pub fn run(&mut self, batch: &mut Batch<'_, '_>, cancel: &AtomicBool) -> Result<(), RunError> {
        self.admit(batch)?;
        let partials = self.room_for_partials(batch)?;
        for c in &self.claims {
            c.store(0, Relaxed);
        }
        let replicated = batch.ids.len() <= REPLICATED_ROWS;
        let shared = Shared {
            isa: self.isa,
            program: &self.program,
            layout: &self.layout,
            replicated,
            arena: self.arena.as_mut_ptr(),
            private: self.private.iter_mut().map(|a| a.as_mut_ptr()).collect(),
            scratch: self
                .scratch
                .iter_mut()
                .map(|a| (a.as_mut_ptr(), a.as_slice().len()))
                .collect(),
            linear: self.linear.iter_mut().map(std::ptr::from_mut).collect(),
            interleaved: self.interleaved.as_mut_ptr(),
            attend: self.attend.iter_mut().map(std::ptr::from_mut).collect(),
            partials: (self.partials.as_mut_ptr().cast(), partials),
            row_seq: &self.row_seq,
            ids: batch.ids,
            outputs: batch.outputs,
            seqs: batch.seqs.iter().map(|s| (s.start, s.tokens)).collect(),
            pages: &self.pages,
            page_at: &self.page_at,
            claims: &self.claims,
            fault: AtomicBool::new(false),
            stop_at: AtomicUsize::new(usize::MAX),
            cancel,
            profiler: self.profiler.as_ref(),
        };
        let began = self.profiler.is_some().then(Instant::now);
        let ran = self.pool.run(&|w: Worker<'_>| walk(&shared, &w));
        let (stopped, fault) = (
            shared.stop_at.load(Relaxed) != usize::MAX,
            shared.fault.load(Relaxed),
        );
        drop(shared);
        // The pointers are dead once the caches are no longer borrowed.
        self.pages.clear();
        if let (Some(profiler), Some(began)) = (&mut self.profiler, began) {
            let seqs = batch.seqs.iter().map(|s| (s.start, s.tokens));
            let outputs = batch.outputs.len();
            profiler.count(&self.program, seqs, outputs, began.elapsed());
        }
        ran.map_err(|e| RunError::Worker(e.to_string()))?;
        match (fault, stopped) {
            (true, _) => Err(RunError::Weights),
            (_, true) => Err(RunError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Few tokens over several spans are attended span by span: makes room for the partial
    /// results, a span at a time as the sequence grows. Returns their floats, 0 for not apart.
    fn room_for_partials(&mut self, batch: &Batch<'_, '_>) -> Result<usize, RunError> {
        let spans = |s: &Seq<'_>| (s.start + s.tokens).div_ceil(PAGE_POSITIONS);
        let most = batch.seqs.iter().map(spans).max().unwrap_or(0);
        if batch.ids.len() > REPLICATED_ROWS || most < 2 || self.threads() < 2 {
            return Ok(0);
        }
        let floats = attend::split_floats(&self.program, batch.ids.len(), most);
        let bytes = floats.saturating_mul(size_of::<f32>());
        if self.partials.as_slice().len() < bytes {
            self.partials = AlignedBytes::zeroed(bytes).ok_or(RunError::Memory {
                position: most * PAGE_POSITIONS,
            })?;
        }
        Ok(floats)
    }

    /// Checks the batch, makes room in the caches, and gathers the addresses of their pages.
    fn admit(&mut self, batch: &mut Batch<'_, '_>) -> Result<(), RunError> {
        let bad = |what: String| Err(RunError::Batch(what));
        let (tokens, outputs) = (batch.ids.len(), batch.outputs.len());
        if tokens == 0 || tokens > self.max_tokens || outputs > self.max_outputs {
            return bad(format!(
                "{tokens} tokens and {outputs} outputs; at most {} and {} fit, and at least one token",
                self.max_tokens, self.max_outputs
            ));
        }
        if batch.outputs.iter().any(|&o| o as usize >= tokens) {
            return bad("an output index past the last token".into());
        }
        if let Some(id) = batch.ids.iter().find(|&&id| id as usize >= self.vocab) {
            return bad(format!(
                "token id {id}, but the vocabulary has {} entries",
                self.vocab
            ));
        }
        if batch.seqs.iter().map(|s| s.tokens).sum::<usize>() != tokens {
            return bad("the sequences' token counts do not add up".into());
        }
        self.row_seq.clear();
        self.pages.clear();
        self.page_at.clear();
        for (i, seq) in batch.seqs.iter_mut().enumerate() {
            let end = seq.start.saturating_add(seq.tokens);
            if end > u32::MAX as usize {
                return bad(format!("position {end}"));
            }
            if seq.cache.layouts() != self.program.states.as_slice() {
                return bad("a cache of another model".into());
            }
            if !seq.cache.prepare(seq.start, seq.tokens) {
                return Err(RunError::Memory { position: end });
            }
            self.row_seq
                .extend((seq.start..end).map(|p| (i as u32, p as u32)));
            for state in 0..self.program.states.len() {
                self.page_at.push(self.pages.len());
                seq.cache.page_ptrs(state, &mut self.pages);
            }
        }
        if self.pages.iter().any(|p| p.is_null()) {
            return Err(RunError::Memory { position: 0 });
        }
        Ok(())
    }
}

/// What all workers see of a running batch.
pub(super) struct Shared<'a> {
    pub(super) isa: Isa,
    program: &'a Program,
    layout: &'a Layout,
    /// Replicable regions are repeated by each worker into its private arena.
    replicated: bool,
    arena: *mut u8,
    private: Vec<*mut u8>,
    scratch: Vec<(*mut u8, usize)>,
    attend: Vec<*mut AttendScratch>,
    linear: Vec<*mut linear::Scratch>,
    /// Room for the interleaved activations of a region of products.
    pub(super) interleaved: *mut u8,
    /// Partial results of spans attended apart: address and number of floats (0: not apart).
    partials: (*mut f32, usize),
    row_seq: &'a [(u32, u32)],
    ids: &'a [u32],
    outputs: &'a [u32],
    seqs: Vec<(usize, usize)>,
    pages: &'a [*mut u8],
    /// `[seq][state]`: where its pages begin in `pages`.
    page_at: &'a [usize],
    claims: &'a [AtomicUsize],
    fault: AtomicBool,
    stop_at: AtomicUsize,
    cancel: &'a AtomicBool,
    profiler: Option<&'a Profiler>,
}

// SAFETY: workers write disjoint parts (claimed chunks, own private arenas) and read only what
// was written before the last barrier; every method that hands out memory is unsafe and says so.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    pub(super) fn rows(&self, dim: Dim) -> usize {
        match dim {
            Dim::Tokens => self.ids.len(),
            Dim::Outputs => self.outputs.len(),
        }
    }

    /// First byte of a buffer, as this worker sees it, and its row size.
    pub(super) fn buf(&self, b: BufId, worker: usize) -> (*mut u8, usize) {
        let i = b.0 as usize;
        // Ids were checked with the program, workers are counted by the pool.
        let row_bytes = self.program.bufs[i].row_bytes;
        let base = match self.layout.private[i] {
            Some(at) if self.replicated => self.private[worker].wrapping_add(at),
            _ => self.arena.wrapping_add(self.layout.shared[i]),
        };
        (base, row_bytes)
    }

    /// # Safety
    /// The row exists, was written, and is not written meanwhile.
    pub(super) unsafe fn floats(&self, b: BufId, worker: usize, row: usize) -> &[f32] {
        let (base, n) = self.buf(b, worker);
        // SAFETY: by the caller; rows and offsets are multiples of 4 in a 64-byte aligned arena.
        unsafe { std::slice::from_raw_parts(base.add(row * n).cast(), n / 4) }
    }

    /// # Safety
    /// The row exists, and no one else reads or writes it meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn floats_mut(&self, b: BufId, worker: usize, row: usize) -> &mut [f32] {
        let (base, n) = self.buf(b, worker);
        // SAFETY: as in `floats`, exclusively.
        unsafe { std::slice::from_raw_parts_mut(base.add(row * n).cast(), n / 4) }
    }

    /// # Safety
    /// As [`Shared::floats_mut`].
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn bytes_mut(&self, b: BufId, worker: usize, row: usize) -> &mut [u8] {
        let (base, n) = self.buf(b, worker);
        // SAFETY: as in `floats`, exclusively.
        unsafe { std::slice::from_raw_parts_mut(base.add(row * n), n) }
    }

    /// # Safety
    /// Called by that worker alone, and the slice is dropped before the next call.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn scratch(&self, worker: usize) -> &mut [u8] {
        let (ptr, len) = self.scratch[worker];
        // SAFETY: one scratch a worker, by the caller.
        unsafe { std::slice::from_raw_parts_mut(ptr, len) }
    }

    /// # Safety
    /// As [`Shared::scratch`].
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn attend_scratch(&self, worker: usize) -> &mut AttendScratch {
        let scratch = self.attend[worker];
        // SAFETY: one scratch a worker, by the caller.
        unsafe { &mut *scratch }
    }

    /// # Safety
    /// As [`Shared::scratch`].
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn linear_scratch(&self, worker: usize) -> &mut linear::Scratch {
        let scratch = self.linear[worker];
        // SAFETY: one scratch a worker, by the caller.
        unsafe { &mut *scratch }
    }

    /// Whether spans are attended apart and merged afterwards.
    pub(super) fn split_spans(&self) -> bool {
        self.partials.1 > 0
    }

    /// # Safety
    /// The partials were written before the last barrier and nobody writes them meanwhile.
    pub(super) unsafe fn partials(&self, at: usize, n: usize) -> &[f32] {
        assert!(
            at + n <= self.partials.1,
            "partials of attention out of bounds"
        );
        // SAFETY: in bounds; by the caller.
        unsafe { std::slice::from_raw_parts(self.partials.0.add(at), n) }
    }

    /// # Safety
    /// Nobody else reads or writes these partials meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn partials_mut(&self, at: usize, n: usize) -> &mut [f32] {
        assert!(
            at + n <= self.partials.1,
            "partials of attention out of bounds"
        );
        // SAFETY: in bounds; by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.partials.0.add(at), n) }
    }

    /// First byte of a buffer's row, as this worker sees it.
    pub(super) fn buf_ptr(&self, b: BufId, worker: usize, row: usize) -> *mut u8 {
        let (base, n) = self.buf(b, worker);
        base.wrapping_add(row * n)
    }

    pub(super) fn position(&self, row: usize) -> u32 {
        self.row_seq[row].1
    }

    pub(super) fn id(&self, row: usize) -> usize {
        self.ids[row] as usize
    }

    pub(super) fn output_row(&self, i: usize) -> usize {
        self.outputs[i] as usize
    }

    pub(super) fn seqs(&self) -> &[(usize, usize)] {
        &self.seqs
    }

    pub(super) fn kv(&self, state: usize) -> &KvLayout {
        &self.program.states[state]
    }

    /// Address of a page of a sequence's state; the page exists if `page` is below the pages
    /// that the sequence's positions fill.
    pub(super) fn page(&self, seq: usize, state: usize, page: usize) -> *mut u8 {
        self.pages[self.page_at[seq * self.program.states.len() + state] + page]
    }

    /// The weights were found missing.
    pub(super) fn fault(&self) {
        self.fault.store(true, Relaxed);
    }

    /// # Safety
    /// The row is this worker's, its position's page was prepared for writing.
    pub(super) unsafe fn kv_store(&self, state: usize, row: usize, k: &[f32], v: &[f32]) {
        let (seq, pos) = self.row_seq[row];
        let (page, at) = (
            pos as usize / super::PAGE_POSITIONS,
            pos as usize % super::PAGE_POSITIONS,
        );
        let layout = self.kv(state);
        let ptr = self.page(seq as usize, state, page);
        for (head, (k, v)) in k
            .chunks_exact(layout.dk())
            .zip(v.chunks_exact(layout.dv()))
            .enumerate()
        {
            // SAFETY: the page has the layout's size; positions of one page are disjoint bytes.
            unsafe {
                layout.store_k(ptr, head, at, k);
                layout.store_v(ptr, head, at, v);
            }
        }
    }

    /// Claims the next of `n` chunks from a region's counter.
    pub(super) fn claim(&self, counter: usize, n: usize) -> Option<usize> {
        let i = self.claims[counter].fetch_add(1, Relaxed);
        (i < n).then_some(i)
    }

    /// Claims the next of `total` units: a share of what is left, so that few claims are needed and all
    /// workers still end at about the same time.
    pub(super) fn claim_share(
        &self,
        counter: usize,
        workers: usize,
        total: usize,
        bounds: &RangeInclusive<usize>,
    ) -> Option<Range<usize>> {
        let next = &self.claims[counter];
        let mut at = next.load(Relaxed);
        while at < total {
            let share = (total - at) / workers;
            let end = total.min(at + share.clamp(*bounds.start(), *bounds.end()));
            match next.compare_exchange_weak(at, end, Relaxed, Relaxed) {
                Ok(_) => return Some(at..end),
                Err(now) => at = now,
            }
        }
        None
    }
}

/// One worker's walk through all regions.
fn walk(s: &Shared<'_>, w: &Worker<'_>) {
    let mut barriers = 0usize;
    let clock = s.profiler.map(|p| p.clock(w.index));
    let clock = clock.as_ref();
    // Worker 0 looks at the caller's flag before a barrier, and all stop behind the next one:
    // the same one for everybody.
    let mut meet = |s: &Shared<'_>| {
        if w.index == 0 && s.stop_at.load(Relaxed) == usize::MAX && s.cancel.load(Relaxed) {
            s.stop_at.store(barriers + 1, Relaxed);
        }
        clock.inspect(|c| c.arrive());
        w.barrier();
        clock.inspect(|c| c.leave());
        barriers += 1;
        s.stop_at.load(Relaxed) < barriers
    };
    for (i, region) in s.program.regions.iter().enumerate() {
        let rows = s.rows(region.dim());
        if rows == 0 {
            continue;
        }
        let stop = match region {
            Region::Rows { steps, .. } if s.replicated && region.replicable() => {
                for row in 0..rows {
                    for step in steps {
                        // SAFETY: all outputs are in this worker's private arena.
                        unsafe { rows::step(s, w.index, row, step) }
                    }
                }
                false
            }
            Region::Rows { steps, .. } => {
                let chunk = rows.div_ceil(4 * w.threads).clamp(1, CLAIM_ROWS);
                while let Some(c) = s.claim(2 * i, rows.div_ceil(chunk)) {
                    for row in c * chunk..rows.min((c + 1) * chunk) {
                        for step in steps {
                            // SAFETY: the row was claimed by this worker alone.
                            unsafe { rows::step(s, w.index, row, step) }
                        }
                    }
                }
                meet(s)
            }
            Region::Linear { jobs, .. } => products::region(s, w, 2 * i, rows, jobs, &mut meet),
            Region::Attend(a) => {
                // SAFETY: counters 2i and 2i+1 are this region's.
                unsafe { attend::region(s, w, 2 * i, a, &mut meet) }
            }
        };
        clock.inspect(|c| c.end(i));
        if stop {
            return;
        }
    }
}
