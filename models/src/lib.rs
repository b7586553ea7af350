//! What a model is: files, tokenizers, templates, and architectures that turn into a `Plan`.

pub mod tokenizer;
pub mod template;
