//! Softmax attention over one span (a page of 256 absolute positions), and the merging of spans.
//!
//! In: a page of keys and values ([`KvLayout`]), one KV head, and queries, each with its own
//! visible range of the page: the query heads of a group, tokens of a prompt, or both. Out: a
//! *partial* for each query, which [`merge`] adds to others in ascending order of spans, and
//! [`finish`] turns into an output.
//!
//! The definition (DESIGN section 4), for one query `q` and the visible positions `lo..hi`:
//! - score `s` = FMA chain over `d` ascending, from 0, of `q[d] * k[d]`; then `s * scale`; then
//!   `cap * tanh(s / cap)` if there is a soft cap;
//! - `m` = the largest score; `p = exp(s - m)`; `l` = the sum of `p` by 16 lanes (position mod 16),
//!   then the tree 8, 4, 2, 1;
//! - `o[d]` = FMA chain over ascending positions, from 0, of `p * v[d]`.
//!
//! Positions outside `lo..hi` are absent: their bytes may be anything. Which queries are passed
//! together changes the speed, never the bits.
//!
//! A partial is `partial_len(dv)` floats: `m`, `l`, 14 unused, then `o[dv]`. `l` is 0 if and only
//! if nothing was visible yet (it is at least 1, or NaN, otherwise).

mod elem;
mod lanes;
mod span;

use crate::counters::Counter;
use crate::dispatch::{per_isa, proven};
use crate::error::{ShapeError, check_len};
use crate::isa::Isa;
use crate::kv::{KvElem, KvLayout, PAGE_POSITIONS};
use crate::math;

/// Runs by element type, in the order of [`KvElem::ALL`].
static RUNS: [Counter; 3] = [
    Counter::new("attend_span f32"),
    Counter::new("attend_span f16"),
    Counter::new("attend_span q8_0"),
];

/// Floats of a partial before its `o`.
const HEADER: usize = 16;

/// One query of a span: a query head of a token.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The rotated query, `[dk]`.
    pub q: &'a [f32],
    /// First visible position within the page.
    pub lo: usize,
    /// One past the last visible position within the page, at most 256. Nothing is visible if it
    /// is not above `lo`.
    pub hi: usize,
}

/// What happens to a score before the softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Factor on `q . k`, usually `1 / sqrt(dk)`.
    pub scale: f32,
    /// Soft cap on the product.
    pub softcap: Option<f32>,
}

/// Floats of a partial result over `dv` value dims; a multiple of 16.
pub const fn partial_len(dv: usize) -> usize {
    HEADER + dv.next_multiple_of(16)
}

/// Makes a partial of nothing.
pub fn clear(partial: &mut [f32]) {
    partial.fill(0.0);
}

/// Whether no position was visible to this partial.
pub fn is_empty(partial: &[f32]) -> bool {
    partial.get(1).is_none_or(|&l| l == 0.0)
}

/// Attends each query to one head of a page; partial `i` is for query `i`.
///
/// Fast paths take up to eight queries at a time, so pass a whole group, or several tokens of it:
/// keys and values are read and converted once for each eight, four, two or one.
///
/// # Errors
/// The page, a query, its range, the head or `partials` (`[queries][partial_len(dv)]`) does not
/// have the shape that the layout asks for. Nothing was written then.
pub fn attend_span(
    isa: Isa,
    layout: &KvLayout,
    page: &[u8],
    head: usize,
    scoring: Scoring,
    queries: &[Query<'_>],
    partials: &mut [f32],
) -> Result<(), ShapeError> {
    if page.len() < layout.page_bytes() {
        check_len("the KV page (bytes)", layout.page_bytes(), page.len())?;
    }
    if head >= layout.heads() {
        return Err(ShapeError::Row {
            row: head,
            rows: layout.heads(),
        });
    }
    for query in queries {
        check_len("a query", layout.dk(), query.q.len())?;
        if query.hi > PAGE_POSITIONS {
            check_len("the visible range of a page", PAGE_POSITIONS, query.hi)?;
        }
    }
    let stride = partial_len(layout.dv());
    check_len(
        "the partial results",
        stride * queries.len(),
        partials.len(),
    )?;
    let isa = proven(isa);
    RUNS[layout.elem() as usize].count(None, isa);
    let head = elem::Head {
        page: page.as_ptr(),
        parts: layout.parts(head),
        dk: layout.dk(),
        dv: layout.dv(),
    };
    // SAFETY: the checks above are what `span::attend` asks for.
    unsafe { span::attend(isa, layout.elem(), &head, scoring, queries, partials) }
    Ok(())
}

per_isa! {
    /// Adds a span's partial to the accumulated partial of the spans before it:
    /// `m' = max(m, ms)`, `a = exp(m - m')`, `b = exp(ms - m')`, `l = fma(l, a, ls * b)`,
    /// `o = fma(o, a, os * b)`. An empty partial changes nothing; into an empty one it is copied.
    /// Both must have the same length, `partial_len(dv)`.
    pub fn merge(acc: &mut [f32], part: &[f32]) {
        let (part, acc) = (part.split_first_chunk::<HEADER>(), acc.split_first_chunk_mut::<HEADER>());
        let (Some((&[ms, ls, ..], os)), Some(([m, l, ..], o))) = (part, acc) else { return };
        if ls == 0.0 {
            return;
        }
        if *l == 0.0 {
            (*m, *l) = (ms, ls);
            for (o, &os) in o.iter_mut().zip(os) {
                *o = os;
            }
            return;
        }
        let top = if ms > *m { ms } else { *m };
        let (a, b) = (math::exp(*m - top), math::exp(ms - top));
        (*m, *l) = (top, l.mul_add(a, ls * b));
        for (o, &os) in o.iter_mut().zip(os) {
            *o = o.mul_add(a, os * b);
        }
    }

    /// Merges a sink, which takes part in the softmax and gives no value: last, after all spans.
    /// `m' = max(m, sink)`, `a = exp(m - m')`, `b = exp(sink - m')`, `l = fma(l, a, b)`, `o = o * a`.
    pub fn merge_sink(acc: &mut [f32], sink: f32) {
        let Some(([m, l, ..], o)) = acc.split_first_chunk_mut::<HEADER>() else { return };
        if *l == 0.0 {
            (*m, *l) = (sink, 1.0);
            return;
        }
        let top = if sink > *m { sink } else { *m };
        let (a, b) = (math::exp(*m - top), math::exp(sink - top));
        (*m, *l) = (top, l.mul_add(a, b));
        for o in o {
            *o *= a;
        }
    }

    /// `out[d] = o[d] / l`; zeros if nothing was visible.
    pub fn finish(acc: &[f32], out: &mut [f32]) {
        let (Some(&l), Some(o)) = (acc.get(1), acc.get(HEADER..)) else {
            return;
        };
        if l == 0.0 {
            out.fill(0.0);
            return;
        }
        for (out, &o) in out.iter_mut().zip(o) {
            *out = o / l;
        }
    }
}

#[cfg(test)]
mod tests;
