//! Attention over the pages: who attends to what, and in which order spans merge.
//!
//! Either a worker takes some queries through all their spans in ascending order, or (for a batch
//! of few tokens over several spans) workers take single spans and the partial results are merged
//! in the same order afterwards. The bits are the same.

use super::machine::Shared;
use super::{AlignedBytes, Attend, Dim, PAGE_POSITIONS, Program, Region};
use crate::attention::{self, Query, Scoring, partial_len};
use crate::pool::Worker;

/// Queries that a worker takes through a span together, at most: whole groups of query heads, several
/// tokens.
const QUERIES: usize = 16;
/// Claims for each worker, at least, for which queries that share keys are taken apart.
const CLAIMS: usize = 3;

/// One worker's accumulators: `[QUERIES]` partials of all spans so far, and of the span at hand.
pub(super) struct AttendScratch(AlignedBytes);

/// Floats of the widest partial of a program.
fn widest_partial(p: &Program) -> usize {
    p.states
        .iter()
        .map(|s| partial_len(s.dv()))
        .max()
        .unwrap_or(0)
}

pub(super) fn scratch_bytes(p: &Program) -> usize {
    2 * QUERIES * widest_partial(p) * size_of::<f32>()
}

/// Floats of partial results that a split of `spans` spans over `tokens` tokens needs.
pub(super) fn split_floats(p: &Program, tokens: usize, spans: usize) -> usize {
    let heads = p.regions.iter().filter_map(|r| match r {
        Region::Attend(a) => Some(a.heads),
        _ => None,
    });
    heads
        .max()
        .unwrap_or(0)
        .saturating_mul(widest_partial(p))
        .saturating_mul(tokens)
        .saturating_mul(spans)
}

impl AttendScratch {
    pub(super) fn new(p: &Program) -> Option<AttendScratch> {
        AlignedBytes::zeroed(scratch_bytes(p)).map(AttendScratch)
    }

    pub(super) fn wipe(&mut self) {
        self.0.wipe();
    }

    /// Accumulators and the current span's partials, of `n` floats each.
    fn split(&mut self, n: usize) -> (&mut [f32], &mut [f32]) {
        let (_, floats, _) = {
            // SAFETY: any bits are a float; the bytes are aligned to 64.
            unsafe { self.0.as_mut_slice().align_to_mut::<f32>() }
        };
        let (acc, part) = floats.split_at_mut(floats.len() / 2);
        (
            acc.get_mut(..n).unwrap_or_default(),
            part.get_mut(..n).unwrap_or_default(),
        )
    }
}

/// What a query at `pos` sees, as absolute positions.
fn visible(a: &Attend, pos: usize) -> std::ops::Range<usize> {
    let end = pos + 1;
    end.saturating_sub(a.window.unwrap_or(end))..end
}

/// The part of `range` inside page `page`, as positions of that page (empty if none).
fn within(range: &std::ops::Range<usize>, page: usize) -> (usize, usize) {
    let base = page * PAGE_POSITIONS;
    let clip = |p: usize| p.saturating_sub(base).min(PAGE_POSITIONS);
    (clip(range.start), clip(range.end))
}

/// One layer's attention over the whole batch. Returns whether to stop (see `meet`).
///
/// # Safety
/// The program was checked; `counter` and `counter + 1` belong to this region; all workers call
/// this at the same place; queries, keys and values were written before the last barrier.
pub(super) unsafe fn region(
    s: &Shared<'_>,
    w: &Worker<'_>,
    counter: usize,
    a: &Attend,
    meet: &mut dyn FnMut(&Shared<'_>) -> bool,
) -> bool {
    // SAFETY: by the caller.
    unsafe {
        if s.split_spans() && spread(s, w.threads, a) {
            spans_apart(s, w, counter, a);
            if meet(s) {
                return true;
            }
            merge_spans(s, w, counter + 1, a);
        } else {
            spans_in_order(s, w, counter, a);
        }
    }
    meet(s)
}

/// The queries of `tokens` (rows of the batch) on one key head, and their visible positions.
struct Group<'a> {
    s: &'a Shared<'a>,
    a: &'a Attend,
    worker: usize,
    kv_head: usize,
    first_row: usize,
    first_pos: usize,
}

impl Group<'_> {
    fn heads(&self) -> usize {
        self.a.heads / self.s.kv(self.a.state).heads()
    }

    /// Row of the batch, query head, and position of query `j`.
    fn place(&self, j: usize) -> (usize, usize, usize) {
        let (token, head) = (j / self.heads(), j % self.heads());
        (
            self.first_row + token,
            self.kv_head * self.heads() + head,
            self.first_pos + token,
        )
    }

    /// Attends queries `js` to one page; partial `i` of `out` is for query `js.start + i`.
    ///
    /// # Safety
    /// See [`region`].
    unsafe fn attend(&self, js: std::ops::Range<usize>, seq: usize, page: usize, out: &mut [f32]) {
        let (s, a) = (self.s, self.a);
        let layout = s.kv(a.state);
        let mut queries = [Query {
            q: &[],
            lo: 0,
            hi: 0,
        }; QUERIES];
        let n = js.len().min(QUERIES);
        for (query, j) in queries.iter_mut().zip(js) {
            let (row, head, pos) = self.place(j);
            let (lo, hi) = within(&visible(a, pos), page);
            // SAFETY: the row exists and was written before the last barrier.
            let q = unsafe { s.floats(a.q, self.worker, row) };
            *query = Query {
                q: q.get(head * layout.dk()..(head + 1) * layout.dk())
                    .unwrap_or_default(),
                lo,
                hi,
            };
        }
        // SAFETY: the page holds `page_bytes` bytes and nobody writes it during this region.
        let bytes =
            unsafe { std::slice::from_raw_parts(s.page(seq, a.state, page), layout.page_bytes()) };
        let scoring = Scoring {
            scale: a.scale,
            softcap: a.softcap,
        };
        let queries = queries.get(..n).unwrap_or_default();
        if attention::attend_span(s.isa, layout, bytes, self.kv_head, scoring, queries, out)
            .is_err()
        {
            // The program was checked, so this is not reached; NaN would show it.
            out.fill(f32::NAN);
        }
    }

    /// Writes query `j`'s finished output.
    ///
    /// # Safety
    /// Query `j` is this worker's alone.
    unsafe fn finish(&self, j: usize, acc: &[f32]) {
        let (row, head, _) = self.place(j);
        let dv = self.s.kv(self.a.state).dv();
        let bytes = (self.s.buf_ptr(self.a.out, self.worker, row), dv);
        // SAFETY: the head's part of the row is inside the buffer and this worker's alone.
        let out =
            unsafe { std::slice::from_raw_parts_mut(bytes.0.cast::<f32>().add(head * dv), dv) };
        attention::finish(self.s.isa, acc, out);
    }
}

/// Each claim is up to [`QUERIES`] queries on one key head, through all their spans; fewer where
/// workers would be left without.
///
/// # Safety
/// See [`region`].
unsafe fn spans_in_order(s: &Shared<'_>, w: &Worker<'_>, counter: usize, a: &Attend) {
    let layout = s.kv(a.state);
    let stride = partial_len(layout.dv());
    let group = a.heads / layout.heads();
    let in_all = |each: usize| -> usize {
        let blocks = |&(_, tokens): &(usize, usize)| (tokens * group).div_ceil(each);
        s.seqs().iter().map(blocks).sum::<usize>() * layout.heads()
    };
    // All queries of a key head read its keys once, but few claims keep few workers busy.
    let mut each = QUERIES.min(s.rows(Dim::Tokens) * group);
    while each > 1 && in_all(each) < CLAIMS * w.threads {
        each = each.div_ceil(2);
    }
    let blocks = |tokens: usize| (tokens * group).div_ceil(each);
    let total = in_all(each);
    while let Some(mut c) = s.claim(counter, total) {
        // Late blocks see most keys: they go first, so that no worker is left with one at the end.
        c = total - 1 - c;
        let mut first_row = 0;
        for (seq, &(start, tokens)) in s.seqs().iter().enumerate() {
            let n = blocks(tokens) * layout.heads();
            if c >= n {
                c -= n;
                first_row += tokens;
                continue;
            }
            let g = Group {
                s,
                a,
                worker: w.index,
                kv_head: c % layout.heads(),
                first_row,
                first_pos: start,
            };
            let first = c / layout.heads() * each;
            let js = first..(first + each).min(tokens * group);
            // SAFETY: this worker's scratch.
            let (acc, part) = unsafe { s.attend_scratch(w.index) }.split(js.len() * stride);
            attention::clear(acc);
            let (from, to) = (visible(a, g.place(js.start).2).start, g.place(js.end - 1).2);
            for page in from / PAGE_POSITIONS..=to / PAGE_POSITIONS {
                // SAFETY: by the caller.
                unsafe { g.attend(js.clone(), seq, page, part) };
                for (acc, part) in acc.chunks_exact_mut(stride).zip(part.chunks_exact(stride)) {
                    attention::merge(s.isa, acc, part);
                }
            }
            for (j, acc) in js.zip(acc.chunks_exact(stride)) {
                // SAFETY: the queries were claimed by this worker alone.
                unsafe { g.finish(j, acc) };
            }
            break;
        }
    }
}

/// Spans that a sequence's new tokens may see.
fn spans(a: &Attend, start: usize, tokens: usize) -> std::ops::RangeInclusive<usize> {
    visible(a, start).start / PAGE_POSITIONS..=(start + tokens - 1) / PAGE_POSITIONS
}

/// Whether spans are many enough to spread over the workers. Else queries do: taken in order they need
/// no merging, but each worker reads all their keys.
fn spread(s: &Shared<'_>, workers: usize, a: &Attend) -> bool {
    let heads = s.kv(a.state).heads();
    let count = |&(start, tokens): &(usize, usize)| spans(a, start, tokens).count();
    let (all, most) = (
        s.seqs().iter().map(count).sum::<usize>(),
        s.seqs().iter().map(count).max().unwrap_or(0),
    );
    most > 1 && all * heads >= 2 * CLAIMS * workers
}

/// Each claim is one span of one key head, for all queries of a sequence; partials are kept.
///
/// # Safety
/// See [`region`]; the batch has room for its partials ([`split_floats`]).
unsafe fn spans_apart(s: &Shared<'_>, w: &Worker<'_>, counter: usize, a: &Attend) {
    let layout = s.kv(a.state);
    let stride = partial_len(layout.dv());
    let group = a.heads / layout.heads();
    let count =
        |&(start, tokens): &(usize, usize)| spans(a, start, tokens).count() * layout.heads();
    let total: usize = s.seqs().iter().map(count).sum();
    while let Some(mut c) = s.claim(counter, total) {
        let (mut first_row, mut base) = (0, 0);
        for (seq, one @ &(start, tokens)) in s.seqs().iter().enumerate() {
            let n = count(one);
            let queries = tokens * group;
            if c >= n {
                c -= n;
                first_row += tokens;
                base += n * queries;
                continue;
            }
            let page = spans(a, start, tokens).start() + c / layout.heads();
            let g = Group {
                s,
                a,
                worker: w.index,
                kv_head: c % layout.heads(),
                first_row,
                first_pos: start,
            };
            for first in (0..queries).step_by(QUERIES) {
                let js = first..(first + QUERIES).min(queries);
                // SAFETY: partials of this claim, this worker's alone.
                let out = unsafe {
                    s.partials_mut((base + c * queries + first) * stride, js.len() * stride)
                };
                // SAFETY: by the caller.
                unsafe { g.attend(js, seq, page, out) };
            }
            break;
        }
    }
}

/// Each claim is one key head of one sequence: its partials merge in ascending order of spans.
///
/// # Safety
/// See [`region`]; `spans_apart` wrote all partials before the last barrier.
unsafe fn merge_spans(s: &Shared<'_>, w: &Worker<'_>, counter: usize, a: &Attend) {
    let layout = s.kv(a.state);
    let stride = partial_len(layout.dv());
    let group = a.heads / layout.heads();
    while let Some(c) = s.claim(counter, s.seqs().len() * layout.heads()) {
        let (seq, kv_head) = (c / layout.heads(), c % layout.heads());
        let (mut first_row, mut base) = (0, 0);
        for (i, &(start, tokens)) in s.seqs().iter().enumerate() {
            let (n_spans, queries) = (spans(a, start, tokens).count(), tokens * group);
            if i < seq {
                first_row += tokens;
                base += n_spans * layout.heads() * queries;
                continue;
            }
            let g = Group {
                s,
                a,
                worker: w.index,
                kv_head,
                first_row,
                first_pos: start,
            };
            for j in 0..queries {
                // SAFETY: this worker's scratch.
                let (acc, _) = unsafe { s.attend_scratch(w.index) }.split(stride);
                attention::clear(acc);
                for span in 0..n_spans {
                    let at = (base + (span * layout.heads() + kv_head) * queries + j) * stride;
                    // SAFETY: written before the last barrier.
                    attention::merge(s.isa, acc, unsafe { s.partials(at, stride) });
                }
                // SAFETY: the head's queries were claimed by this worker alone.
                unsafe { g.finish(j, acc) };
            }
            break;
        }
    }
}
