//! Numbers in, numbers out: block formats, kernels, and the program that runs them.

pub mod isa;

pub use isa::{Isa, IsaError};
