//! Pages of memory from the system, for secrets and for texts: left out of core dumps, locked if the system
//! lets the process. In: a number of bytes. Out: zeroed memory that goes back when it is dropped.

#![allow(unsafe_code)]

/// Whole pages. Nothing is said of who may use them: that is their owner's business.
pub(super) struct Pages {
    start: *mut u8,
    len: usize,
}

// SAFETY: plain memory, at the same address for all threads.
unsafe impl Send for Pages {}
// SAFETY: as above; a `Pages` itself never reads or writes it.
unsafe impl Sync for Pages {}

impl Pages {
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(target_os = "linux")]
impl Pages {
    /// Private memory, whose pages are taken from the system when they are first touched.
    pub(super) fn private(bytes: usize) -> Option<Pages> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let pages = Pages::map(bytes, flags, -1)?;
        // SAFETY: of this mapping alone. A kernel that refuses would dump what is not dumped anyway.
        let _ = unsafe { libc::madvise(pages.start.cast(), pages.len, libc::MADV_DONTDUMP) };
        Some(pages)
    }

    /// Memory that the kernel takes out of its own map (`memfd_secret`), which other processes started
    /// from here do not inherit. `None` where there is no such, or none left.
    pub(super) fn secret(bytes: usize) -> Option<Pages> {
        // SAFETY: no pointers; a refusal is -1.
        let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let descriptor = i32::try_from(descriptor).ok().filter(|&fd| fd >= 0)?;
        let length = i64::try_from(bytes.next_multiple_of(rustix::param::page_size())).ok();
        let pages = length.and_then(|length| {
            // SAFETY: the descriptor was opened above.
            let sized = unsafe { libc::ftruncate(descriptor, length) } == 0;
            sized.then_some(())?;
            Pages::map(bytes, libc::MAP_SHARED, descriptor)
        });
        // SAFETY: opened above, and owned by nobody else; the mapping does without it.
        unsafe { libc::close(descriptor) };
        let pages = pages?;
        // SAFETY: of this mapping alone.
        let kept = unsafe { libc::madvise(pages.start.cast(), pages.len, libc::MADV_DONTFORK) };
        (kept == 0).then_some(pages)
    }

    fn map(bytes: usize, flags: i32, descriptor: i32) -> Option<Pages> {
        let len = bytes
            .max(1)
            .checked_next_multiple_of(rustix::param::page_size())?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the system likes.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, descriptor, 0) };
        (start != libc::MAP_FAILED).then_some(Pages {
            start: start.cast(),
            len,
        })
    }

    /// Has the first `bytes` kept in memory, from when they are touched on; `false` if that is beyond the
    /// process's limit.
    pub(super) fn lock(&self, bytes: usize) -> bool {
        let bytes = bytes.min(self.len);
        // SAFETY: pages of this mapping; locking changes no content.
        unsafe {
            libc::mlock2(self.start.cast(), bytes, libc::MLOCK_ONFAULT) == 0
                // Kernels before 4.4 take all of it at once.
                || libc::mlock(self.start.cast(), bytes) == 0
        }
    }

    /// Gives the pages of a part of private memory back to the system: they read as zeros afterwards.
    ///
    /// # Safety
    /// They are whole pages of a [`Pages::private`], not locked, and nobody uses what is in them.
    pub(super) unsafe fn give_back(start: *mut u8, bytes: usize) {
        // SAFETY: the caller's. If the system refuses, they stay, wiped as they are.
        unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) };
    }

    /// What another process would read here, by the kernel's copying.
    #[cfg(test)]
    pub(super) fn seen_from_outside(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut seen = vec![0u8; bytes.len()];
        let to = libc::iovec {
            iov_base: seen.as_mut_ptr().cast(),
            iov_len: seen.len(),
        };
        let from = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: both describe memory of this process of that length; only `seen` is written to.
        let n = unsafe { libc::process_vm_readv(libc::getpid(), &to, 1, &from, 1, 0) };
        (usize::try_from(n) == Ok(bytes.len())).then_some(seen)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody uses any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Elsewhere: the system's allocator, no locking.
#[cfg(not(target_os = "linux"))]
impl Pages {
    pub(super) fn private(bytes: usize) -> Option<Pages> {
        use std::alloc::{GlobalAlloc, System};
        let len = bytes.max(1).checked_next_multiple_of(4096)?;
        let layout = std::alloc::Layout::from_size_align(len, 4096).ok()?;
        // SAFETY: of a size above zero.
        let start = unsafe { System.alloc_zeroed(layout) };
        (!start.is_null()).then_some(Pages { start, len })
    }

    pub(super) fn secret(_: usize) -> Option<Pages> {
        None
    }

    pub(super) fn lock(&self, _: usize) -> bool {
        false
    }

    /// Does nothing here.
    ///
    /// # Safety
    /// None is needed.
    pub(super) unsafe fn give_back(_: *mut u8, _: usize) {}
}

#[cfg(not(target_os = "linux"))]
impl Drop for Pages {
    fn drop(&mut self) {
        use std::alloc::{GlobalAlloc, System};
        if let Ok(layout) = std::alloc::Layout::from_size_align(self.len, 4096) {
            // SAFETY: from `private`, with this layout.
            unsafe { System.dealloc(self.start, layout) }
        }
    }
}
