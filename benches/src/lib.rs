//! Benches and conformance runs.
