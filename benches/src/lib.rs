//! Measuring hob: `benches/` holds criterion benches of the kernels, `conformance/` the scripts
//! that hold its numbers beside other engines', `peers/` those for speed. Nothing depends on this
//! crate.

#![forbid(unsafe_code)]
