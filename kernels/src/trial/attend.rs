//! What a piece of attention is: whole pages of one head's keys and values that stream from memory.

use std::sync::{Mutex, PoisonError};

use super::{Lane, PIECE, Random, Timed, TrialError, Work, units_for};
use crate::attention::{Query, Scoring, attend_span, partial_len};
use crate::error::ShapeError;
use crate::isa::Isa;
use crate::kv::{KvElem, KvLayout, PAGE_POSITIONS};

/// Width of a head: that of most models.
const HEAD_DIM: usize = 128;
/// Query heads that share a head of keys: that of many models.
const GROUP: usize = 4;

/// One head, as wide as most.
fn layout(elem: KvElem) -> Result<KvLayout, TrialError> {
    Ok(KvLayout::new(1, HEAD_DIM, HEAD_DIM, elem)?)
}

/// A page of random keys and values.
pub(super) fn page(layout: &KvLayout, random: &mut Random) -> Vec<u8> {
    let mut page = vec![0; layout.page_bytes()];
    for head in 0..layout.heads() {
        for pos in 0..PAGE_POSITIONS {
            let (k, v) = (random.normals(layout.dk()), random.normals(layout.dv()));
            // SAFETY: a page of the layout's size, a head and a position that it has, and rows of
            // its widths.
            unsafe {
                layout.store_k(page.as_mut_ptr(), head, pos, &k);
                layout.store_v(page.as_mut_ptr(), head, pos, &v);
            }
        }
    }
    page
}

/// Fills memory with pages.
pub(super) fn fill(elem: KvElem, memory: &mut [u8]) -> Result<(), TrialError> {
    let page = page(&layout(elem)?, &mut Random(3));
    for to in memory.chunks_exact_mut(page.len()) {
        to.copy_from_slice(&page);
    }
    Ok(())
}

/// Attention over one element type.
pub(super) struct Attention<'a> {
    layout: KvLayout,
    /// Whole pages.
    pub(super) bytes: &'a [u8],
    /// Bytes of a piece: whole pages.
    pub(super) piece: usize,
    /// `[tokens * GROUP][HEAD_DIM]`
    queries: Vec<f32>,
    /// Partial results of each thread.
    partials: Vec<Mutex<Vec<f32>>>,
}

impl<'a> Attention<'a> {
    pub(super) fn new(
        elem: KvElem,
        memory: &'a [u8],
        threads: usize,
        tokens: &[usize],
    ) -> Result<Attention<'a>, TrialError> {
        let layout = layout(elem)?;
        let page = layout.page_bytes();
        let most = tokens.iter().copied().max().unwrap_or(1) * GROUP;
        Ok(Attention {
            layout,
            bytes: memory.get(..memory.len() / page * page).unwrap_or_default(),
            piece: (PIECE / page).max(1) * page,
            queries: Random(4).normals(most * HEAD_DIM),
            partials: (0..threads)
                .map(|_| Mutex::new(vec![0.0; most * partial_len(HEAD_DIM)]))
                .collect(),
        })
    }

    pub(super) fn probes<'p>(
        &'p self,
        lane: &'p Lane<'p>,
        isas: &[Isa],
        tokens: &[usize],
    ) -> Vec<Timed<'p>> {
        let page = self.layout.page_bytes();
        let a_query = (PAGE_POSITIONS * 2 * HEAD_DIM) as f64 / page as f64;
        let mut probes: Vec<Timed<'p>> = Vec::new();
        for &isa in isas {
            for &t in tokens {
                let bytes = units_for(self.piece / page, t, 1) * page;
                probes.push((
                    isa,
                    Work::Tokens(t),
                    a_query * (GROUP * t) as f64,
                    Box::new(move |pool| {
                        // Between pages, many tokens' queries are in a cache.
                        if t > 1 {
                            lane.warm(pool, &|w, piece| {
                                let pages = piece.get(..page).unwrap_or_default();
                                let done = self.attend(isa, w, pages, GROUP * t);
                                debug_assert!(done.is_ok(), "{done:?}");
                            })?;
                        }
                        lane.pass(pool, bytes, &|w, piece| {
                            let pages = piece.get(..bytes).unwrap_or_default();
                            let done = self.attend(isa, w, pages, GROUP * t);
                            // Shapes are made to fit here.
                            debug_assert!(done.is_ok(), "{done:?}");
                        })
                    }),
                ));
            }
        }
        probes
    }

    /// Attends the first `n` queries to each page.
    fn attend(&self, isa: Isa, worker: usize, pages: &[u8], n: usize) -> Result<(), ShapeError> {
        let queries: Vec<Query<'_>> = self
            .queries
            .chunks_exact(HEAD_DIM)
            .take(n)
            .map(|q| Query {
                q,
                lo: 0,
                hi: PAGE_POSITIONS,
            })
            .collect();
        let scoring = Scoring {
            scale: 1.0 / (HEAD_DIM as f32).sqrt(),
            softcap: None,
        };
        let Some(partials) = self.partials.get(worker) else {
            return Ok(());
        };
        let mut partials = partials.lock().unwrap_or_else(PoisonError::into_inner);
        let partials = partials.get_mut(..queries.len() * partial_len(HEAD_DIM));
        let partials = partials.unwrap_or_default();
        for page in pages.chunks_exact(self.layout.page_bytes()) {
            attend_span(isa, &self.layout, page, 0, scoring, &queries, partials)?;
        }
        Ok(())
    }
}
