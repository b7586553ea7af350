//! Zeroed memory on cache-line boundaries, whose absence is an answer and not an abort. It may hold what
//! was computed of a prompt: it is left out of core dumps, and wiped before the system gets it back.

use crate::private::{Content, Counted, is_locking, wipe_at};
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;

/// Zeroed bytes aligned to a cache line, allocated without aborting when memory is short.
pub struct AlignedBytes {
    ptr: NonNull<u8>,
    len: usize,
    /// Pages of its own; else it is the allocator's.
    map: Option<memmap2::MmapMut>,
    /// Nobody could write to it since it was zeroed.
    clean: bool,
    counted: Option<Counted>,
}

// SAFETY: the bytes are owned and plain; shared access is read-only.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

/// Below a page it is not worth a mapping.
const MAPPED: usize = if cfg!(miri) { usize::MAX } else { 4096 };

impl AlignedBytes {
    const ALIGN: usize = 64;

    /// No bytes.
    pub const fn empty() -> AlignedBytes {
        AlignedBytes::new(NonNull::<u128>::dangling().cast(), 0, None)
    }

    const fn new(ptr: NonNull<u8>, len: usize, map: Option<memmap2::MmapMut>) -> AlignedBytes {
        AlignedBytes {
            ptr,
            len,
            map,
            clean: true,
            counted: None,
        }
    }

    /// `len` zero bytes, or `None` if the system refuses them.
    pub fn zeroed(len: usize) -> Option<AlignedBytes> {
        if len == 0 {
            return Some(AlignedBytes::empty());
        }
        // Isize, as an allocator limits them.
        let layout = Layout::from_size_align(len, Self::ALIGN).ok()?;
        if len < MAPPED {
            // SAFETY: the layout has a size above zero.
            let ptr = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
            return Some(AlignedBytes::new(ptr, len, None));
        }
        // It begins at a page.
        let mut map = memmap2::MmapMut::map_anon(len).ok()?;
        #[cfg(target_os = "linux")]
        // A kernel that cannot leave it out would have to write it to a dump that is not made.
        let _ = map.advise(memmap2::Advice::DontDump);
        let ptr = NonNull::new(map.as_mut_ptr())?;
        Some(AlignedBytes::new(ptr, len, Some(map)))
    }

    /// Counts the bytes of `range` as content of this kind, and locks its pages in memory if content is
    /// to be locked and the system lets it.
    pub(crate) fn hold(&mut self, content: Content, range: Range<usize>) {
        let range = range.start.min(self.len)..range.end.min(self.len);
        if range.is_empty() {
            return;
        }
        let locked = is_locking() && self.lock(&range);
        self.counted = None;
        self.counted = Some(Counted::new(content, locked, range.len()));
    }

    #[cfg(unix)]
    fn lock(&self, range: &Range<usize>) -> bool {
        let start = self.as_slice().as_ptr().wrapping_add(range.start);
        // SAFETY: locking changes no content, and the pages are this mapping's own until it is
        // unmapped. A limit that is reached is no error: `Counted` tells.
        self.map.is_some()
            && unsafe { rustix::mm::mlock(start.cast_mut().cast(), range.len()) }.is_ok()
    }

    #[cfg(not(unix))]
    fn lock(&self, _: &Range<usize>) -> bool {
        false
    }

    /// The first byte, for writers that share the buffer by disjoint parts.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.clean = false;
        self.ptr.as_ptr()
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` initialised bytes (dangling but aligned when empty).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// All bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.clean = false;
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }

    /// Zeroes all bytes. Pointers taken before must not be written through afterwards.
    pub(crate) fn wipe(&mut self) {
        if !self.clean {
            // SAFETY: owned, and borrowed exclusively.
            unsafe { wipe_at(self.ptr.as_ptr(), self.len) }
            self.clean = true;
        }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        self.wipe();
        if self.len == 0 || self.map.is_some() {
            return;
        }
        if let Ok(layout) = Layout::from_size_align(self.len, Self::ALIGN) {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { std::alloc::dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}
