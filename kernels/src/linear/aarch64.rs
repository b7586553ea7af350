//! The vector operations of ARM64, and the panel kernels compiled with them.
//!
//! A vector is a quarter of a tile, 4 rows by 4 positions of K. All sets share [`vectors`]; each
//! brings its dot products, in a file of its own.

// An index is an address in a tile as much as one in an array.
#![allow(clippy::needless_range_loop)]

pub(super) mod dotprod;
pub(super) mod i8mm;
pub(super) mod neon;
mod vectors;
