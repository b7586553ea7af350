//! Packed files, the form in which hob's store keeps models: a preamble of 4096 bytes or a little more, then the original
//! file byte for byte, but with the bytes of every matrix in the tile order that kernels read
//! ([`hob_kernels::pack`], a permutation of the same size). So one file is mapped and run directly, and
//! the original can be reproduced from it exactly.
//!
//! A packed file is hostile input like any other: the preamble is checked here, and the rest is parsed by
//! the reader of its own format.

mod cache;
mod hash;
mod jobs;
mod preamble;
mod write;

pub use cache::{cache_lookup, cached};
pub use hash::{original_sha256, original_to};
pub use preamble::{CONTAINER_VERSION, MAGIC, MAX_SHIFT, PREAMBLE_BYTES, Preamble};
pub use write::{PackOptions, pack_file, unpack_to, verify};

pub(crate) use jobs::pack_in_memory;

use crate::error::Result;
use crate::files::{Kind, ModelFile};
use crate::mapping::Bytes;
use crate::weights::Tensor;

/// Someone who watches work that can take long, and may stop it.
pub trait Watch: Sync {
    /// `done` of `total` bytes are done. Called from any thread, not always in order.
    fn progress(&self, done: u64, total: u64) {
        let _ = (done, total);
    }

    /// Whether to stop; the work then ends with [`Error::Cancelled`](crate::error::Error::Cancelled).
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody watches.
impl Watch for () {}

/// Whether packing reorders the bytes of this tensor: matrices, and stacks of them (experts), of 16 rows
/// and 32 columns or more. Others (norms, biases, convolution kernels) stay as they are.
///
/// Part of the packed file's definition: a change needs another [`CONTAINER_VERSION`].
pub fn is_matrix(tensor: &Tensor) -> bool {
    (2..=3).contains(&tensor.n_dims)
        && tensor.rows() >= hob_kernels::pack::TILE_ROWS
        && tensor.cols() >= 32
}

/// The original file inside a file of any kind: its kind, its bytes (of a packed file, with the matrices
/// in tile order), and whether it is packed.
pub(crate) fn original(file: &ModelFile) -> Result<(Kind, Bytes, bool)> {
    if file.kind != Kind::Packed {
        return Ok((file.kind, file.bytes.clone(), false));
    }
    let preamble = Preamble::read(&file.path, &file.bytes)?;
    // `read` compared the length with the preamble's.
    let inner = file
        .bytes
        .slice(Preamble::len(preamble.shift)..file.bytes.len())
        .unwrap_or_else(|| Vec::new().into());
    Ok((preamble.kind, inner, true))
}

/// The kind of the original file, if that can be told without an error.
pub(crate) fn original_kind(file: &ModelFile) -> Option<Kind> {
    original(file).ok().map(|(kind, ..)| kind)
}
