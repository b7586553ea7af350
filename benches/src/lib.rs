//! Measuring hob: `benches/` holds criterion benches of the kernels, `conformance/` the scripts
//! that hold its numbers and its speed beside other engines'. Nothing depends on this crate.

#![forbid(unsafe_code)]
