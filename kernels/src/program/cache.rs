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

    /// Frees every page past the first `positions` positions.
    pub fn truncate(&mut self, positions: usize) {
        for pages in &mut self.pages {
            pages.truncate(positions.div_ceil(PAGE_POSITIONS));
        }
    }

    pub(super) fn layouts(&self) -> &[KvLayout] {
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
