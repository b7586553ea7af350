//! A model's text side, from whichever files it came in: its tokenizer and its chat template.

use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::weights::{Source, Weights};

/// The model's tokenizer; `None` if its files say nothing of one.
///
/// # Errors
/// The tokenizer is of a kind that hob does not know, or malformed.
pub fn tokenizer(weights: &Weights) -> Result<Option<Tokenizer>, TokenizerError> {
    match weights.source() {
        Source::Gguf(gguf) => match gguf.string("tokenizer.ggml.model") {
            Ok(None | Some("none" | "no_vocab")) => Ok(None),
            _ => Tokenizer::from_gguf(gguf).map(Some),
        },
        Source::Safetensors(files) => {
            let Some(json) = files.file("tokenizer.json") else {
                return Ok(None);
            };
            let config = files.file("tokenizer_config.json");
            let tokenizer = Tokenizer::from_tokenizer_json(json, config.map(|b| b.as_ref()))?;
            // Chat models often end turns with other tokens than the one that ends a text.
            let generation: Option<serde_json::Value> = files
                .file("generation_config.json")
                .and_then(|b| serde_json::from_slice(b.as_ref()).ok());
            let ends = generation
                .as_ref()
                .and_then(|config| config.get("eos_token_id"));
            let ids = match ends {
                Some(serde_json::Value::Array(ids)) => ids.iter().collect(),
                Some(id) => vec![id],
                None => Vec::new(),
            };
            let ids = ids
                .into_iter()
                .filter_map(|id| u32::try_from(id.as_u64()?).ok());
            Ok(Some(tokenizer.with_eog(ids)))
        }
    }
}

/// The model's chat template; `None` if it has none (a base model).
///
/// # Errors
/// The template is malformed.
pub fn template(
    weights: &Weights,
    tokenizer: &Tokenizer,
) -> Result<Option<ChatTemplate>, TemplateError> {
    let source = match weights.source() {
        Source::Gguf(gguf) => gguf
            .string("tokenizer.chat_template")
            .ok()
            .flatten()
            .map(str::to_owned),
        Source::Safetensors(files) => {
            let file = files
                .file("chat_template.jinja")
                .and_then(|b| std::str::from_utf8(b.as_ref()).ok());
            let config = || -> Option<String> {
                let json: serde_json::Value =
                    serde_json::from_slice(files.file("tokenizer_config.json")?.as_ref()).ok()?;
                Some(json.get("chat_template")?.as_str()?.to_owned())
            };
            file.map(str::to_owned).or_else(config)
        }
    };
    let (bos, eos) = tokenizer.bos_eos_text();
    source
        .map(|s| ChatTemplate::new(&s, &bos, &eos))
        .transpose()
}
