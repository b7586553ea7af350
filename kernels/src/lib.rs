//! Numbers in, numbers out: block formats, kernels, and the program that runs them.

mod dispatch;
pub mod isa;
pub mod math;
pub mod pool;
pub mod rope;
pub mod rowwise;

pub use isa::{Isa, IsaError};
