//! Working memory for products with many tokens.
//!
//! A [`Scratch`] is one thread's: what is decoded between two stores, and, if nobody else has done
//! it, the activations interleaved. It remembers which activations lie interleaved where, so that
//! the next tiles of the same product, and other matrices that read the same activations, find them
//! ready. An [`Interleaving`] is that work by itself, for threads that share it. Both know sizes and
//! addresses, no contents.

use std::ops::Range;

use crate::act::ActFormat;
use crate::aligned::AlignedBytes;

/// Working memory for [`forward_tiles`](super::forward_tiles), one for each thread. Without enough
/// of it products are slower, with the same bits.
pub struct Scratch {
    memory: AlignedBytes,
    ready: Vec<(Key, *mut u8)>,
}

// SAFETY: the pointers are into `memory`, or to what the makers of interleavings vouched for.
unsafe impl Send for Scratch {}

/// Which activations lie interleaved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Their address.
    pub(super) acts: *const u8,
    pub(super) stride: usize,
    pub(super) tokens: usize,
    pub(super) format: ActFormat,
    pub(super) cols: usize,
    pub(super) group: usize,
    pub(super) factor: i32,
}

/// Sizes of the parts of a scratch, multiples of 64 bytes; of whole ones, in this order.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) panel: usize,
    pub(super) chains: usize,
    pub(super) acts: usize,
}

/// The parts themselves.
pub(super) struct Pointers {
    pub(super) panel: *mut u8,
    pub(super) chains: *mut u8,
    pub(super) acts: *mut u8,
}

impl Scratch {
    /// Bytes that products of matrices with `cols` columns, which read activations of `format`, need
    /// for up to `tokens` tokens; `None` if that is more than there are addresses.
    pub fn bytes(format: ActFormat, cols: usize, tokens: usize) -> Option<usize> {
        let parts = parts(format, cols, tokens)?;
        parts
            .panel
            .checked_add(parts.chains)?
            .checked_add(parts.acts)
    }

    /// The same without room for the activations.
    pub(crate) fn work_bytes(format: ActFormat, cols: usize, tokens: usize) -> Option<usize> {
        let parts = parts(format, cols, tokens)?;
        parts.panel.checked_add(parts.chains)
    }

    /// A scratch of that many bytes; `None` if the system refuses them.
    pub fn new(bytes: usize) -> Option<Scratch> {
        Some(Scratch {
            memory: AlignedBytes::zeroed(bytes)?,
            ready: Vec::new(),
        })
    }

    /// To be called whenever activations may have changed at an address that was used before.
    pub fn forget(&mut self) {
        self.ready.clear();
    }

    /// Zeroes all of it.
    pub(crate) fn wipe(&mut self) {
        self.forget();
        self.memory.wipe();
    }

    /// Lets products use what `interleaving` makes, until [`Scratch::forget`].
    ///
    /// # Safety
    /// When it is used, all of it is done, and until it is forgotten nobody writes there.
    pub(crate) unsafe fn offer(&mut self, interleaving: &Interleaving) {
        self.ready.push((interleaving.key, interleaving.to));
    }

    /// The parts, if there is room for them, and, unless the activations lie in theirs already, the
    /// work of interleaving them, which counts as done.
    pub(super) fn take(
        &mut self,
        parts: Parts,
        key: Key,
    ) -> Option<(Pointers, Option<Interleaving>)> {
        let chains = parts.panel;
        let end = chains.checked_add(parts.chains)?;
        let panel = self.memory.as_mut_ptr();
        let pointers = |acts| Pointers {
            panel,
            chains: panel.wrapping_add(chains),
            acts,
        };
        let len = self.memory.as_slice().len();
        if let Some(&(_, to)) = self.ready.iter().find(|(k, _)| *k == key) {
            return (end <= len).then(|| (pointers(to), None));
        }
        if end.checked_add(parts.acts)? > len {
            return None;
        }
        let to = panel.wrapping_add(end);
        // There is room for one.
        self.ready.retain(|(_, at)| *at != to);
        self.ready.push((key, to));
        Some((pointers(to), Some(Interleaving { key, to })))
    }
}

/// The work of interleaving the activations of a product in groups of tokens.
#[derive(Clone, Copy)]
pub(crate) struct Interleaving {
    pub(super) key: Key,
    pub(super) to: *mut u8,
}

impl Interleaving {
    /// Bytes that it writes for up to `tokens` tokens, whatever the instruction set, a multiple of
    /// 64; `None` if that is more than there are addresses.
    pub(crate) fn bytes(format: ActFormat, cols: usize, tokens: usize) -> Option<usize> {
        Some(parts(format, cols, tokens)?.acts)
    }

    /// Pieces of work.
    pub(crate) fn groups(&self) -> usize {
        self.key.tokens.div_ceil(self.key.group)
    }

    /// Does the pieces `groups`.
    ///
    /// # Safety
    /// The activations are readable, and the target writable, as [`super::driver::interleaving`] was
    /// promised; nobody else uses these groups.
    pub(crate) unsafe fn run(&self, groups: Range<usize>) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        // SAFETY: the caller's.
        unsafe {
            super::vector::gemm::sweep::interleave(&self.key, groups, self.to);
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = groups;
    }
}

/// The parts that a product needs.
fn parts(format: ActFormat, cols: usize, tokens: usize) -> Option<Parts> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if format != ActFormat::F32 && tokens >= super::TILED_TOKENS {
        return super::vector::gemm::sweep::scratch_parts(format, cols, tokens);
    }
    let _ = (format, cols, tokens);
    Some(Parts {
        panel: 0,
        chains: 0,
        acts: 0,
    })
}
