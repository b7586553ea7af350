//! What a model is: files, tokenizers, templates, and architectures that turn into a `Plan`.

pub mod error;
pub mod files;
pub mod gguf;
pub mod mapping;
pub mod weights;
pub mod packed;
pub mod safetensors;
