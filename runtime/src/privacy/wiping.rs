//! An allocator that leaves nothing behind: everything is zeroed when it is freed, and what a program
//! allocates while it handles a user's words lies in memory of its own, locked as far as that may be.
//!
//! In: a program's allocations. Out: the system allocator's memory, and once [`hold`] was called, blocks of a
//! *hold*: one stretch of address space whose first part is locked. The hold exists because a process may
//! lock some 8 MiB only, and a heap is mostly the model's: vocabularies, templates, plans. What is
//! allocated while a model loads ([`outside`]) stays out of it.
//!
//! Blocks are of fixed sizes, four to a doubling, each size with lists of free blocks; new blocks come
//! from the rest of the stretch. Nothing is merged: a program that talks allocates the same sizes over and
//! over. When the stretch is used up, or for more than 4 MiB at once, the system's allocator serves.

#![allow(unsafe_code)]

use super::pages::Pages;
use hob_kernels::private::{Held, wipe_at};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// The system's allocator, but everything is zeroed when it is freed. A program installs it so:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: hob::privacy::memory::Wiping = hob::privacy::memory::Wiping;
/// # fn main() {}
/// ```
///
/// Memory that moves (a vector that grows) is zeroed where it was, too.
pub struct Wiping;

/// Whether the program uses it.
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// Whether new allocations go into the hold.
static HOLDING: AtomicBool = AtomicBool::new(false);
static HOLD: Hold = Hold::new();

impl Wiping {
    /// Whether this program installed it.
    pub fn is_installed() -> bool {
        INSTALLED.load(Relaxed)
    }
}

/// Has what is allocated from now on held apart and locked: half of the `limit` on locked memory, for the
/// other half is for what the library itself holds. Once for a process.
pub(super) fn hold(limit: Option<u64>) {
    let lock = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit / 2).unwrap_or(usize::MAX)
    });
    if HOLD.open(lock) {
        HOLDING.store(true, Release);
    }
}

/// Bytes allocated in the hold; `None` if there is none.
pub(super) fn held() -> Option<Held> {
    HOLD.range().map(|_| Held {
        locked: HOLD.live[1].load(Relaxed),
        unlocked: HOLD.live[0].load(Relaxed),
    })
}

/// Does work whose memory is no user's content, and so needs no locking: loading a model. For the whole
/// process: other threads' allocations meanwhile are not locked either. All is wiped when it is freed.
pub fn outside<T>(work: impl FnOnce() -> T) -> T {
    /// Puts things back, whatever happens.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            HOLDING.store(self.0, Release);
        }
    }
    let _back = Back(HOLDING.swap(false, AcqRel));
    work()
}

// SAFETY: blocks are the system allocator's or the hold's, of at least the size and alignment asked for,
// and each goes back to where it came from, as its address tells.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if HOLDING.load(Relaxed) {
            let block = HOLD.take(layout);
            if !block.is_null() {
                return block;
            }
        } else if !INSTALLED.load(Relaxed) {
            INSTALLED.store(true, Relaxed);
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if HOLDING.load(Relaxed) {
            let block = HOLD.take(layout);
            if !block.is_null() {
                // SAFETY: a block of at least this size. It was wiped, but for its link in a list.
                unsafe { block.write_bytes(0, layout.size()) };
                return block;
            }
        }
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: it is the caller's until here, and of this size.
        unsafe { wipe_at(block, layout.size()) };
        if !HOLD.give(block, layout) {
            // SAFETY: the caller's; the block is not the hold's.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller, the size is not too large for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if HOLD.has(block) && class_of(new) == class_of(layout) {
            if size < layout.size() {
                // SAFETY: the end of the block, which the caller gives up.
                unsafe { wipe_at(block.add(size), layout.size() - size) };
            }
            return block;
        }
        // The system's `realloc` may move it and leave the old place as it was.
        // SAFETY: the caller's.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both have that many bytes, and are different blocks; the old one is the caller's.
            unsafe {
                moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

/// Most bytes of a block.
const MOST: usize = 4 << 20;
/// Address space for the hold; less is tried if the system refuses so much.
const STRETCH: [usize; 3] = [256 << 20, 64 << 20, 16 << 20];
/// Alignment of every block, and the smallest.
const GRAIN: usize = 16;
/// Blocks are at most so aligned.
const MOST_ALIGNED: usize = 4096;
/// Free blocks from this size on give their pages back, where they are not locked.
const RETURNED: usize = 128 << 10;
/// Sizes of blocks up to here are all multiples of the grain, from there on four to a doubling.
const FINE: usize = 8 * GRAIN;
const CLASSES: usize = 8 + 4 * (MOST.ilog2() - FINE.ilog2()) as usize;

/// The index of the smallest block size for a layout; `None` if the hold has none.
fn class_of(layout: Layout) -> Option<usize> {
    let size = match layout.align() {
        0..=GRAIN => layout.size().max(1),
        // Blocks whose size is a power of two are aligned to it.
        align if align <= MOST_ALIGNED => layout.size().max(align).checked_next_power_of_two()?,
        _ => return None,
    };
    match size {
        size if size <= FINE => Some(size.div_ceil(GRAIN) - 1),
        size if size <= MOST => {
            let doubling = (size - 1).ilog2();
            let steps = (size - (1 << doubling)).div_ceil(1 << (doubling - 2));
            Some(8 + 4 * (doubling - FINE.ilog2()) as usize + steps - 1)
        }
        _ => None,
    }
}

/// Bytes of the blocks of a class.
fn bytes_of(class: usize) -> usize {
    match class.checked_sub(8) {
        None => (class + 1) * GRAIN,
        Some(above) => {
            let doubling = FINE.ilog2() as usize + above / 4;
            (1 << doubling) + ((above % 4 + 1) << (doubling - 2))
        }
    }
}

/// See the module.
struct Hold {
    /// Address and length of the stretch, and the bytes of it that are locked; 0 before it is opened.
    start: AtomicUsize,
    len: AtomicUsize,
    locked: AtomicUsize,
    /// Somebody is at the lists.
    busy: AtomicBool,
    lists: UnsafeCell<Lists>,
    /// Bytes in use: not locked, locked.
    live: [AtomicUsize; 2],
}

struct Lists {
    /// Bytes of the stretch that blocks were made of.
    used: usize,
    /// The first free block of each size, not locked and locked; its first word is the next one's address.
    free: [[usize; CLASSES]; 2],
}

// SAFETY: `lists` is used by whoever made `busy` true, and by nobody else until it is false again.
unsafe impl Sync for Hold {}

impl Hold {
    const fn new() -> Hold {
        Hold {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            locked: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            lists: UnsafeCell::new(Lists {
                used: 0,
                free: [[0; CLASSES]; 2],
            }),
            live: [const { AtomicUsize::new(0) }; 2],
        }
    }

    /// Takes the stretch from the system and locks the first `lock` bytes of it. `false` if there is
    /// none, or if there is one already.
    fn open(&self, lock: usize) -> bool {
        if self.range().is_some() {
            return false;
        }
        let Some(pages) = STRETCH.into_iter().find_map(Pages::private) else {
            return false;
        };
        let lock = lock.min(pages.len()) / MOST_ALIGNED * MOST_ALIGNED;
        if lock > 0 && pages.lock(lock) {
            self.locked.store(lock, Relaxed);
        }
        self.len.store(pages.len(), Relaxed);
        self.start.store(pages.start().expose_provenance(), Release);
        // For as long as the process lives.
        std::mem::forget(pages);
        true
    }

    /// Address and length.
    fn range(&self) -> Option<(usize, usize)> {
        let start = self.start.load(Acquire);
        (start != 0).then(|| (start, self.len.load(Relaxed)))
    }

    /// Whether a block is of the hold.
    fn has(&self, block: *mut u8) -> bool {
        let at = block.addr();
        self.range()
            .is_some_and(|(start, len)| at >= start && at - start < len)
    }

    /// Does something with the lists, alone.
    fn with<T>(&self, f: impl FnOnce(&mut Lists) -> T) -> T {
        let mut spins = 0;
        while self.busy.swap(true, Acquire) {
            spins += 1;
            match spins % 64 {
                0 => std::thread::yield_now(),
                _ => spin_loop(),
            }
        }
        // SAFETY: `busy` was made true by this thread; `f` allocates nothing and does not panic.
        let result = f(unsafe { &mut *self.lists.get() });
        self.busy.store(false, Release);
        result
    }

    /// Whether a block that ends so far from the start is locked: 0 or 1.
    fn is_locked(&self, end: usize) -> usize {
        usize::from(end <= self.locked.load(Relaxed))
    }

    /// A block for a layout; null if there is none.
    fn take(&self, layout: Layout) -> *mut u8 {
        let (Some(class), Some((start, len))) = (class_of(layout), self.range()) else {
            return null_mut();
        };
        let bytes = bytes_of(class);
        // All powers of two that divide the size, up to a page.
        let align = 1 << bytes.trailing_zeros().min(MOST_ALIGNED.ilog2());
        let at = self.with(|lists| {
            let fresh = lists.used.next_multiple_of(align);
            let [unlocked, locked] = &mut lists.free;
            // Locked ones first.
            let list = match (locked[class], self.is_locked(fresh + bytes)) {
                (1.., _) => Some(&mut locked[class]),
                (0, 0) if unlocked[class] != 0 => Some(&mut unlocked[class]),
                _ => None,
            };
            match list {
                Some(first) => {
                    let at = *first;
                    // SAFETY: a free block's first word is the next one's address, or 0; blocks are of
                    // this stretch, whose provenance was exposed, and aligned to 16.
                    *first = unsafe { std::ptr::with_exposed_provenance::<usize>(at).read() };
                    at
                }
                None if fresh + bytes <= len => {
                    lists.used = fresh + bytes;
                    start + fresh
                }
                None => 0,
            }
        });
        if at == 0 {
            return null_mut();
        }
        self.live[self.is_locked(at - start + bytes)].fetch_add(bytes, Relaxed);
        std::ptr::with_exposed_provenance_mut(at)
    }

    /// Takes a block back, which is zero; `false` if it is not of the hold.
    fn give(&self, block: *mut u8, layout: Layout) -> bool {
        let (true, Some(class), Some((start, _))) =
            (self.has(block), class_of(layout), self.range())
        else {
            return false;
        };
        let (at, bytes) = (block.addr(), bytes_of(class));
        let locked = self.is_locked(at - start + bytes);
        if bytes >= RETURNED && locked == 0 {
            // SAFETY: a free block of the hold, of whole pages: larger ones are multiples of a page.
            unsafe { Pages::give_back(block, bytes) };
        }
        self.with(|lists| {
            let first = &mut lists.free[locked][class];
            // SAFETY: the block is free, larger than a word, and aligned to 16.
            unsafe { block.cast::<usize>().write(*first) };
            *first = at;
        });
        self.live[locked].fetch_sub(bytes, Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    #[test]
    fn every_layout_has_the_smallest_block_that_holds_it() {
        for class in 0..CLASSES {
            let bytes = bytes_of(class);
            let layout = |size| Layout::from_size_align(size, 8).unwrap();
            assert_eq!(class_of(layout(bytes)), Some(class), "{bytes}");
            let next = (class + 1 < CLASSES).then_some(class + 1);
            assert_eq!(class_of(layout(bytes + 1)), next, "{bytes}");
        }
        assert_eq!(bytes_of(CLASSES - 1), MOST);
        let aligned = class_of(Layout::from_size_align(100, 1024).unwrap()).unwrap();
        assert_eq!(bytes_of(aligned), 1024);
        assert_eq!(class_of(Layout::from_size_align(8, 8192).unwrap()), None);
    }

    /// Blocks never overlap, keep what is written to them, are aligned, and are zero when they are free.
    #[test]
    fn blocks_are_apart_and_zero_when_free() {
        let hold = Hold::new();
        assert!(hold.open(1 << 20));
        assert!(!hold.open(1 << 20));
        let locked = hold.locked.load(Relaxed);
        let fill = |i: u64| (i % 255) as u8 + 1;
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for i in 0..20_000 {
            let free = blocks.len() > 300 || (!blocks.is_empty() && random.next_u32() % 3 == 0);
            if free {
                let at = random.next_u32() as usize % blocks.len();
                let (block, layout, mark) = blocks.swap_remove(at);
                // SAFETY: a block of that layout, which is the test's.
                unsafe {
                    let bytes = std::slice::from_raw_parts(block, layout.size());
                    assert!(bytes.iter().all(|&b| b == mark));
                    wipe_at(block, layout.size());
                }
                assert!(hold.give(block, layout));
                continue;
            }
            let size = 1 + (random.next_u32() as usize % (1 << (1 + random.next_u32() % 19)));
            let align = 1 << (random.next_u32() % 13);
            let layout = Layout::from_size_align(size, align).unwrap();
            let block = hold.take(layout);
            assert!(!block.is_null() && block.addr().is_multiple_of(align));
            // SAFETY: as above.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(block, layout.size());
                let rest = bytes.get(8..).unwrap_or_default();
                assert!(rest.iter().all(|&b| b == 0), "of the one before");
                bytes.fill(fill(i));
            }
            blocks.push((block, layout, fill(i)));
        }
        let live = |i: usize| hold.live[i].load(Relaxed);
        assert!(live(0) > 0 && live(1) <= locked);
        for (block, layout, _) in blocks {
            // SAFETY: as above.
            unsafe { wipe_at(block, layout.size()) };
            assert!(hold.give(block, layout));
        }
        assert_eq!((live(0), live(1)), (0, 0));
        assert!(!hold.give(std::ptr::dangling_mut(), Layout::new::<u64>()));
    }

    #[test]
    fn threads_share_the_hold() {
        static SHARED: Hold = Hold::new();
        assert!(SHARED.open(1 << 20));
        std::thread::scope(|scope| {
            for mark in 1..=4u8 {
                scope.spawn(move || {
                    for i in 0..5000usize {
                        let layout = Layout::from_size_align(1 + i % 700, 8).unwrap();
                        let block = SHARED.take(layout);
                        assert!(!block.is_null());
                        // SAFETY: a block of that layout, which is this thread's.
                        unsafe {
                            let bytes = std::slice::from_raw_parts_mut(block, layout.size());
                            bytes.fill(mark);
                            std::thread::yield_now();
                            assert!(bytes.iter().all(|&b| b == mark));
                            wipe_at(block, layout.size());
                        }
                        assert!(SHARED.give(block, layout));
                    }
                });
            }
        });
        assert_eq!(
            SHARED.live[0].load(Relaxed) + SHARED.live[1].load(Relaxed),
            0
        );
    }
}
