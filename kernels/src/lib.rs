//! Numbers in, numbers out: block formats, kernels, and the program that runs them.

pub mod act;
mod ahead;
mod aligned;
pub mod attention;
pub mod ceiling;
pub mod counters;
mod dispatch;
pub mod error;
pub mod format;
pub mod isa;
pub mod kv;
pub mod linear;
pub mod mass;
pub mod math;
pub mod pack;
#[cfg(feature = "planted")]
pub mod planted;
pub mod pool;
pub mod private;
pub mod program;
pub mod rope;
pub mod rowwise;
pub mod trial;

pub use act::{ActFormat, ActRow};
pub use error::ShapeError;
pub use format::Format;
pub use isa::{Isa, IsaError};
