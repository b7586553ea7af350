//! Working memory of one thread for products with many tokens.
//!
//! It holds what is decoded and interleaved between two stores, and remembers which activations lie
//! in it interleaved, so that the next tiles of the same product, and other matrices that read the
//! same activations, find them ready. It knows sizes and addresses, no contents.

use crate::act::ActFormat;
use crate::aligned::AlignedBytes;

/// Working memory for [`forward_tiles`](super::forward_tiles), one for each thread. Without enough
/// of it products are slower, with the same bits.
pub struct Scratch {
    memory: AlignedBytes,
    ready: Option<Key>,
}

/// Which activations lie interleaved in a scratch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Their address; it is compared, not read.
    pub(super) acts: usize,
    pub(super) stride: usize,
    pub(super) tokens: usize,
    pub(super) format: ActFormat,
    pub(super) cols: usize,
    pub(super) group: usize,
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
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            if format == ActFormat::F32 || tokens < super::TILED_TOKENS {
                return Some(0);
            }
            let parts = super::vector::gemm::sweep::scratch_parts(format, cols, tokens)?;
            parts
                .panel
                .checked_add(parts.chains)?
                .checked_add(parts.acts)
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            let _ = (format, cols, tokens);
            Some(0)
        }
    }

    /// A scratch of that many bytes; `None` if the system refuses them.
    pub fn new(bytes: usize) -> Option<Scratch> {
        Some(Scratch {
            memory: AlignedBytes::zeroed(bytes)?,
            ready: None,
        })
    }

    /// To be called whenever activations may have changed at an address that was used before.
    pub fn forget(&mut self) {
        self.ready = None;
    }

    /// The parts, if there is room for them, and whether the activations lie in theirs already.
    pub(super) fn take(&mut self, parts: Parts, key: Key) -> Option<(Pointers, bool)> {
        let chains = parts.panel;
        let acts = chains.checked_add(parts.chains)?;
        if acts.checked_add(parts.acts)? > self.memory.as_slice().len() {
            return None;
        }
        let ready = self.ready.replace(key) == Some(key);
        let panel = self.memory.as_mut_ptr();
        let pointers = Pointers {
            panel,
            chains: panel.wrapping_add(chains),
            acts: panel.wrapping_add(acts),
        };
        Some((pointers, ready))
    }
}
