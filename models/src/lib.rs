//! What a model is: files, tokenizers, templates, and architectures that turn into a `Plan`.

// Only `mapping` may, and says so there.
#![deny(unsafe_code)]

pub mod arch;
pub mod describe;
pub mod error;
pub mod files;
pub mod generation;
pub mod gguf;
pub mod mapping;
pub mod packed;
pub mod plan;
pub mod reasoning;
pub mod safetensors;
pub mod template;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use hob_kernels::format;
