//! What a model is: files, tokenizers, templates, and architectures that turn into a `Plan`.

pub mod arch;
pub mod error;
pub mod files;
pub mod gguf;
pub mod mapping;
pub mod plan;
pub mod template;
pub mod tokenizer;
pub mod weights;

pub use hob_kernels::format;
