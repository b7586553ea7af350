//! Numbers in, numbers out: block formats, kernels, and the program that runs them.

/// Version of the numbers: what the scalar references compute, bit for bit (DESIGN section 4), and in what
/// form keys and values are kept. A change that changes a bit of any of them raises it, so that no state
/// that another version computed is gone on with.
pub const NUMBERS_VERSION: u32 = 1;

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
