//! Downloads: the only crate that holds a network client; used by `hob pull` alone.
