//! A sequence's state: KV pages of every layer, grown on demand, shared copy-on-write.

use super::PAGE_POSITIONS;
use crate::aligned::AlignedBytes;
use crate::kv::KvLayout;
use std::sync::Arc;

impl Clone for Page {
    fn clone(&self) -> Self {
        Page(self.0.as_ref().and_then(|bytes| {
            let mut copy = AlignedBytes::zeroed(bytes.as_slice().len())?;
            copy.as_mut_slice().copy_from_slice(bytes.as_slice());
            Some(copy)
        }))
    }
}

/// One page of one layer; `None` after a copy that ran out of memory.
struct Page(Option<AlignedBytes>);

/// The keys and values of one sequence, `[layer][page]`. Cloning shares the pages; a page is
/// copied when one of its owners writes to it.
#[derive(Clone)]
pub struct KvCache {
    layouts: Arc<[KvLayout]>,
    pages: Vec<Vec<Arc<Page>>>,
}

impl KvCache {
    /// An empty cache for a program's states.
    pub fn new(layouts: Arc<[KvLayout]>) -> KvCache {
        let pages = layouts.iter().map(|_| Vec::new()).collect();
        KvCache { layouts, pages }
    }

    /// Bytes that `positions` positions need, over all layers.
    pub fn bytes_for(layouts: &[KvLayout], positions: usize) -> usize {
        let pages = positions.div_ceil(PAGE_POSITIONS);
        layouts.iter().fold(0usize, |sum, l| {
            sum.saturating_add(l.page_bytes().saturating_mul(pages))
        })
    }

    /// Bytes held now (pages shared with other caches counted in full).
    pub fn bytes(&self) -> usize {
        self.layouts
            .iter()
            .zip(&self.pages)
            .map(|(l, p)| l.page_bytes() * p.len())
            .sum()
    }

    /// Bytes of the keys and values of so many positions, over all layers: what [`KvCache::held`] gives
    /// and [`KvCache::filled`] takes.
    pub fn held_bytes(layouts: &[KvLayout], positions: usize) -> u64 {
        let each = |l: &KvLayout| (l.position_bytes() as u64).saturating_mul(positions as u64);
        layouts.iter().map(each).fold(0, u64::saturating_add)
    }

    /// The bytes of the first `positions` positions, in an order that depends on the layouts and on
    /// `positions` alone: layer by layer, page by page. `None` if the cache does not hold them.
    pub fn held(&self, positions: usize) -> Option<impl Iterator<Item = &[u8]>> {
        let needed = positions.div_ceil(PAGE_POSITIONS);
        let mut layers = Vec::with_capacity(self.pages.len());
        for (layout, pages) in self.layouts.iter().zip(&self.pages) {
            let pages: Option<Vec<&[u8]>> = pages
                .get(..needed)?
                .iter()
                .map(|page| page.0.as_ref().map(AlignedBytes::as_slice))
                .collect();
            layers.push((*layout, pages?));
        }
        let pages = layers.into_iter().flat_map(move |(layout, pages)| {
            let pages = pages.into_iter().enumerate();
            pages.flat_map(move |(i, page)| {
                let ranges = layout.held(positions - i * PAGE_POSITIONS);
                // Every range of a layout is inside its pages.
                ranges.map(move |range| page.get(range).unwrap_or_default())
            })
        });
        Some(pages)
    }

    /// A cache of `positions` positions whose bytes `fill` gives, piece by piece, in the order of
    /// [`KvCache::held`]. Memory is taken page by page, as bytes arrive. `None` if there is none left.
    ///
    /// # Errors
    /// The first of `fill`.
    pub fn filled<E>(
        layouts: Arc<[KvLayout]>,
        positions: usize,
        mut fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Option<KvCache>, E> {
        let mut cache = KvCache::new(layouts.clone());
        for (layout, pages) in layouts.iter().zip(&mut cache.pages) {
            for first in (0..positions).step_by(PAGE_POSITIONS) {
                let Some(mut page) = AlignedBytes::zeroed(layout.page_bytes()) else {
                    return Ok(None);
                };
                for range in layout.held(positions - first) {
                    // As in `held`.
                    fill(page.as_mut_slice().get_mut(range).unwrap_or_default())?;
                }
                pages.push(Arc::new(Page(Some(page))));
            }
        }
        Ok(Some(cache))
    }

    /// Frees every page past the first `positions` positions.
    pub fn truncate(&mut self, positions: usize) {
        for pages in &mut self.pages {
            pages.truncate(positions.div_ceil(PAGE_POSITIONS));
        }
    }

    /// The layouts of the layers.
    pub fn layouts(&self) -> &[KvLayout] {
        &self.layouts
    }

    /// Makes `start..start + n` writable: allocates missing pages, copies shared ones.
    /// Returns `false` if memory ran out or earlier positions were never written.
    pub(super) fn prepare(&mut self, start: usize, n: usize) -> bool {
        let Some(end) = start.checked_add(n) else {
            return false;
        };
        let (first, last) = (start / PAGE_POSITIONS, end.div_ceil(PAGE_POSITIONS));
        for (layout, pages) in self.layouts.iter().zip(&mut self.pages) {
            if pages.len() < first {
                return false;
            }
            while pages.len() < last {
                let Some(bytes) = AlignedBytes::zeroed(layout.page_bytes()) else {
                    return false;
                };
                pages.push(Arc::new(Page(Some(bytes))));
            }
            for page in pages.get_mut(first..last).unwrap_or_default() {
                if Arc::make_mut(page).0.is_none() {
                    return false;
                }
            }
        }
        true
    }

    /// Appends the addresses of one layer's pages. Those within the range last given to
    /// [`KvCache::prepare`] may be written through while the cache is exclusively borrowed.
    pub(super) fn page_ptrs(&mut self, state: usize, into: &mut Vec<*mut u8>) {
        for page in self.pages.get_mut(state).into_iter().flatten() {
            let ptr = match Arc::get_mut(page) {
                Some(Page(Some(bytes))) => bytes.as_mut_ptr(),
                // Shared: only ever read through this address.
                _ => page
                    .0
                    .as_ref()
                    .map_or(std::ptr::null_mut(), |b| b.as_slice().as_ptr().cast_mut()),
            };
            into.push(ptr);
        }
    }
}
