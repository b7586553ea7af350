//! A sequence's state: KV pages of every layer, grown on demand, shared copy-on-write.

use super::PAGE_POSITIONS;
use crate::aligned::AlignedBytes;
use crate::kv::KvLayout;
use crate::private::Content;
use std::sync::Arc;

/// One page of one layer; `None` after a copy that ran out of memory.
struct Page(Option<AlignedBytes>);

impl Page {
    fn new(layout: &KvLayout) -> Option<Page> {
        let mut bytes = AlignedBytes::zeroed(layout.page_bytes())?;
        bytes.hold(Content::Kv, 0..usize::MAX);
        Some(Page(Some(bytes)))
    }

    /// A page with the first `positions` of this one. They are the only ones that a copy may have: its
    /// owner has given up the others, or never had them.
    fn copy(&self, layout: &KvLayout, positions: usize) -> Page {
        let copy = || {
            let mut page = Page::new(layout)?.0?;
            page.as_mut_slice()
                .copy_from_slice(self.0.as_ref()?.as_slice());
            layout.forget(page.as_mut_slice(), positions, PAGE_POSITIONS);
            Some(page)
        };
        Page(copy())
    }
}

/// The keys and values of one sequence, `[layer][page]`. Cloning shares the pages; a page is
/// copied when one of its owners writes to it. Positions that are given up are zeroed.
#[derive(Clone)]
pub struct KvCache {
    layouts: Arc<[KvLayout]>,
    pages: Vec<Vec<Arc<Page>>>,
    /// No position from here on was ever written, or it was zeroed since.
    written: usize,
}

impl KvCache {
    /// An empty cache for a program's states.
    pub fn new(layouts: Arc<[KvLayout]>) -> KvCache {
        let pages = layouts.iter().map(|_| Vec::new()).collect();
        KvCache {
            layouts,
            pages,
            written: 0,
        }
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
        cache.written = positions;
        for (layout, pages) in layouts.iter().zip(&mut cache.pages) {
            for first in (0..positions).step_by(PAGE_POSITIONS) {
                let Some(Page(Some(mut page))) = Page::new(layout) else {
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

    /// Frees every page past the first `positions` positions, and zeroes the rest of the last one. A
    /// page that another cache shares is left to it, and copied as far as it stays this one's; without
    /// memory for the copy it stays shared.
    pub fn truncate(&mut self, positions: usize) {
        let end = self.written;
        self.written = end.min(positions);
        let (last, from) = (positions / PAGE_POSITIONS, positions % PAGE_POSITIONS);
        for (layout, pages) in self.layouts.iter().zip(&mut self.pages) {
            pages.truncate(positions.div_ceil(PAGE_POSITIONS));
            let Some(page) = pages.get_mut(last).filter(|_| positions < end) else {
                continue;
            };
            if let Some(Page(Some(bytes))) = Arc::get_mut(page) {
                let to = end.saturating_sub(last * PAGE_POSITIONS);
                layout.forget(bytes.as_mut_slice(), from, to);
            } else if let copy @ Page(Some(_)) = page.copy(layout, from) {
                *page = Arc::new(copy);
            }
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
                let Some(page) = Page::new(layout) else {
                    return false;
                };
                pages.push(Arc::new(page));
            }
            for (i, page) in (first..last).zip(pages.get_mut(first..last).unwrap_or_default()) {
                if Arc::get_mut(page).is_none() {
                    let kept = start.saturating_sub(i * PAGE_POSITIONS).min(PAGE_POSITIONS);
                    *page = Arc::new(page.copy(layout, kept));
                }
                if page.0.is_none() {
                    return false;
                }
            }
        }
        self.written = self.written.max(end);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::KvElem;

    fn is_zero_from(cache: &KvCache, layout: &KvLayout, position: usize) -> bool {
        let mut row = vec![0.0; layout.dk()];
        let mut all = (position..).map_while(|pos| {
            let page = cache.pages[0].get(pos / PAGE_POSITIONS)?.0.as_ref()?;
            let page = page.as_slice();
            let at = pos % PAGE_POSITIONS;
            assert!(layout.load_k(page, 0, at, &mut row));
            let k = row.iter().all(|&x| x == 0.0);
            assert!(layout.load_v(page, 0, at, &mut row));
            Some(k && row.iter().all(|&x| x == 0.0))
        });
        all.all(|zero| zero)
    }

    fn write(cache: &mut KvCache, layout: &KvLayout, start: usize, n: usize) {
        assert!(cache.prepare(start, n));
        let mut pages = Vec::new();
        cache.page_ptrs(0, &mut pages);
        let row = vec![1.0; layout.dk()];
        for pos in start..start + n {
            let (page, at) = (pages[pos / PAGE_POSITIONS], pos % PAGE_POSITIONS);
            // SAFETY: the range was prepared.
            unsafe {
                layout.store_k(page, 0, at, &row);
                layout.store_v(page, 0, at, &row);
            }
        }
    }

    #[test]
    fn positions_that_are_given_up_are_zeroed_in_shared_pages_too() {
        let layout = KvLayout::new(1, 32, 32, KvElem::F16).unwrap();
        let mut cache = KvCache::new(Arc::new([layout]));
        write(&mut cache, &layout, 0, 300);
        assert!(!is_zero_from(&cache, &layout, 299) && is_zero_from(&cache, &layout, 300));
        cache.truncate(290);
        assert!(!is_zero_from(&cache, &layout, 289) && is_zero_from(&cache, &layout, 290));
        let mut other = cache.clone();
        other.truncate(270);
        assert!(!is_zero_from(&other, &layout, 269) && is_zero_from(&other, &layout, 270));
        assert!(!is_zero_from(&cache, &layout, 289), "the first one's stay");
        // A copy made to write has what its owner had, and no more.
        let mut third = cache.clone();
        assert!(third.prepare(280, 1));
        assert!(!is_zero_from(&third, &layout, 279) && is_zero_from(&third, &layout, 280));
        cache.truncate(0);
        assert_eq!(cache.bytes(), 0);
    }
}
