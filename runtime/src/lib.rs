//! hob: the engine that embedders link.
