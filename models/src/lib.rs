//! What a model is: files, tokenizers, templates, and architectures that turn into a `Plan`.

pub mod error;
pub mod gguf;
pub mod mapping;
