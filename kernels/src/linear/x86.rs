//! The vector operations of x86-64, and the panel kernels compiled with them.

// An index is an address in a tile as much as one in an array.
#![allow(clippy::needless_range_loop)]

pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod avxvnni;

/// In [`TilesFrom`](crate::linear::vector::simd::TilesFrom): panels are always quicker.
const NEVER: usize = usize::MAX;
