//! Memory that shall not be read later: wiping, and counting and locking what holds a user's content.
//!
//! In: memory that held keys and values, logits or tokens. Out: zeros in it, and figures of how much of
//! such memory the system promised to keep out of swap. Everything here works in any process; locking
//! is off until [`lock_contents`], because the limit on locked memory is the whole process's.

use crate::aligned::AlignedBytes;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Zeroes memory in a way that the compiler must not leave out, although nobody reads it again.
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: exclusively borrowed, so valid for writes.
    unsafe { wipe_at(bytes.as_mut_ptr(), bytes.len()) }
}

/// Zeroes `len` bytes from `start` on, as [`wipe`].
///
/// # Safety
/// They are valid for writes, and nobody else accesses them meanwhile.
#[inline]
pub unsafe fn wipe_at(start: *mut u8, len: usize) {
    #[cfg(all(
        not(miri),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    ))]
    // SAFETY: the caller's. The empty assembly may, for all that the compiler knows, read the memory.
    unsafe {
        std::ptr::write_bytes(start, 0, len);
        std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(
        not(miri),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    )))]
    for i in 0..len {
        // SAFETY: the caller's.
        unsafe { start.add(i).write_volatile(0) }
    }
}

/// Empties a vector and zeroes all that it has room for.
pub fn wipe_vec<T: Copy>(v: &mut Vec<T>) {
    v.clear();
    let room = v.spare_capacity_mut();
    // SAFETY: the room is exclusively borrowed and of plain values, which nobody takes for
    // initialised: the vector is empty.
    unsafe { wipe_at(room.as_mut_ptr().cast(), size_of_val(room)) }
}

/// A text that is wiped when it is dropped, with all that it has room for. A text that grows beyond its
/// room leaves its old place as it was: give it room first.
#[derive(Default)]
pub struct WipedText(String);

impl WipedText {
    /// An empty text with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> WipedText {
        WipedText(String::with_capacity(bytes))
    }

    /// Appends, wiping the old place if the text has to move.
    pub fn push_str(&mut self, text: &str) {
        let len = self.0.len() + text.len();
        if len > self.0.capacity() {
            let mut moved = String::with_capacity(len.max(2 * self.0.capacity()));
            moved.push_str(&self.0);
            *self = WipedText(moved);
        }
        self.0.push_str(text);
    }

    /// Splits the text in two at a character's border; `None` if `at` is none.
    pub fn split_off(&mut self, at: usize) -> Option<WipedText> {
        let mut rest = WipedText::default();
        rest.push_str(self.0.get(at..)?);
        self.truncate(at);
        Some(rest)
    }

    /// Wipes what follows the first `at` bytes; nothing if that is no character's border.
    pub fn truncate(&mut self, at: usize) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        let border = std::str::from_utf8(&bytes).is_ok_and(|text| text.is_char_boundary(at));
        if let Some(rest) = bytes.get_mut(at..).filter(|_| border) {
            wipe(rest);
            bytes.truncate(at);
        }
        // It was a text, and is one up to a border.
        self.0 = String::from_utf8(bytes).unwrap_or_default();
    }
}

impl From<String> for WipedText {
    fn from(text: String) -> WipedText {
        WipedText(text)
    }
}

impl std::ops::Deref for WipedText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for WipedText {
    fn drop(&mut self) {
        wipe_vec(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

/// What memory is for, where that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Keys and values of sequences.
    Kv,
    /// Logits.
    Logits,
    /// Token ids.
    Tokens,
}

/// Bytes of a kind that exist now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The system keeps them in memory: they are never swapped out.
    pub locked: usize,
    /// They may be swapped out.
    pub unlocked: usize,
}

static LOCKING: AtomicBool = AtomicBool::new(false);
static HELD: [[AtomicUsize; 2]; 3] = [const { [const { AtomicUsize::new(0) }; 2] }; 3];

/// From now on content is locked in memory, as far as the system lets this process.
pub fn lock_contents() {
    LOCKING.store(true, Relaxed);
}

pub(crate) fn is_locking() -> bool {
    LOCKING.load(Relaxed)
}

/// How much content of a kind there is.
pub fn held(content: Content) -> Held {
    let [unlocked, locked] = &HELD[content as usize]; // as many as there are kinds
    Held {
        locked: locked.load(Relaxed),
        unlocked: unlocked.load(Relaxed),
    }
}

/// Memory that is counted as long as this exists.
pub(crate) struct Counted {
    content: Content,
    locked: bool,
    bytes: usize,
}

impl Counted {
    pub(crate) fn new(content: Content, locked: bool, bytes: usize) -> Counted {
        HELD[content as usize][usize::from(locked)].fetch_add(bytes, Relaxed); // as above
        Counted {
            content,
            locked,
            bytes,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        HELD[self.content as usize][usize::from(self.locked)].fetch_sub(self.bytes, Relaxed); // as above
    }
}

mod number {
    /// Any bits are a value.
    pub trait Number: Copy + Default + 'static {}
    impl Number for u32 {}
    impl Number for f32 {}
}
use number::Number;

/// A vector of numbers in pages of its own: counted, locked if that is wanted, left out of core dumps,
/// and wiped wherever it was when it shrinks, moves or is dropped.
pub struct PrivateVec<T: Number> {
    memory: AlignedBytes,
    len: usize,
    content: Content,
    of: PhantomData<T>,
}

impl<T: Number> PrivateVec<T> {
    /// An empty vector.
    pub fn new(content: Content) -> PrivateVec<T> {
        PrivateVec {
            memory: AlignedBytes::empty(),
            len: 0,
            content,
            of: PhantomData,
        }
    }

    /// Makes room for `more` values; `false` if the system has no memory for them.
    #[must_use]
    pub fn reserve(&mut self, more: usize) -> bool {
        let room = self.memory.as_slice().len() / size_of::<T>();
        let Some(wanted) = self.len.checked_add(more) else {
            return false;
        };
        if wanted <= room {
            return true;
        }
        // Whole pages, twice as many each time.
        let bytes = wanted.max(2 * room).checked_mul(size_of::<T>());
        let bytes = bytes.and_then(|n| n.checked_next_multiple_of(4096));
        let Some(mut memory) = bytes.and_then(AlignedBytes::zeroed) else {
            return false;
        };
        memory.hold(self.content, 0..usize::MAX);
        let used = self.len * size_of::<T>();
        memory.as_mut_slice()[..used].copy_from_slice(&self.memory.as_slice()[..used]); // both have room
        self.memory = memory;
        true
    }

    /// Appends values; `false`, and nothing appended, if the system has no memory for them.
    #[must_use]
    pub fn extend(&mut self, values: &[T]) -> bool {
        if !self.reserve(values.len()) {
            return false;
        }
        // SAFETY: there is room for them behind the `len` that there are; the memory is aligned to 64.
        unsafe {
            let end = self.memory.as_mut_ptr().cast::<T>().add(self.len);
            end.copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        self.len += values.len();
        true
    }

    /// Forgets and wipes all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let (from, to) = (len * size_of::<T>(), self.len * size_of::<T>());
        if let Some(rest) = self.memory.as_mut_slice().get_mut(from..to) {
            wipe(rest);
        }
        self.len = len;
    }

    /// The same values; `None` if the system has no memory for them.
    pub fn copy(&self) -> Option<PrivateVec<T>> {
        let mut copy = PrivateVec::new(self.content);
        copy.extend(self).then_some(copy)
    }
}

impl<T: Number> std::ops::Deref for PrivateVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many were written, any bits are a value, the memory is aligned to 64.
        unsafe { std::slice::from_raw_parts(self.memory.as_slice().as_ptr().cast(), self.len) }
    }
}

/// Shows the length only.
impl<T: Number> std::fmt::Debug for PrivateVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({})", self.content, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wiped_is_zero() {
        let mut bytes = [7u8; 1001];
        wipe(&mut bytes[1..1000]);
        assert_eq!((bytes[0], bytes[1000]), (7, 7));
        assert!(bytes[1..1000].iter().all(|&b| b == 0));
        let mut v = vec![7u32; 100];
        v.reserve(50);
        wipe_vec(&mut v);
        assert!(v.is_empty() && v.capacity() >= 150);
        // SAFETY: all of the room was written, with zeros.
        unsafe { v.set_len(150) };
        assert!(v.iter().all(|&x| x == 0));
    }

    #[test]
    fn a_private_vector_is_a_vector_and_leaves_zeros_behind() {
        let mut v = PrivateVec::new(Content::Tokens);
        let mut plain = Vec::new();
        for i in 0..3000u32 {
            assert!(v.extend(&[i, i + 1]));
            plain.extend([i, i + 1]);
        }
        assert_eq!(*v, *plain);
        assert_eq!(*v.copy().unwrap(), *plain);
        v.truncate(9000);
        v.truncate(10);
        assert_eq!(*v, plain[..10]);
        assert!(v.memory.as_slice()[40..].iter().all(|&b| b == 0));
        v.truncate(0);
        assert!(v.memory.as_slice().iter().all(|&b| b == 0));
    }

    #[test]
    fn texts_grow_and_are_cut_at_characters() {
        let mut text = WipedText::default();
        for _ in 0..50 {
            text.push_str("aé");
        }
        assert_eq!(&*text, "aé".repeat(50));
        assert!(text.split_off(2).is_none());
        assert_eq!(&*text.split_off(3).unwrap(), "aé".repeat(49));
        assert_eq!(&*text, "aé");
        text.truncate(2);
        assert_eq!(&*text, "aé", "no border");
        text.truncate(1);
        assert_eq!(&*text, "a");
    }
}
