//! A model's text side, from whichever files it came in: its tokenizer and its chat templates.

use crate::gguf::Value;
use crate::template::ChatTemplates;
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

/// The model's chat templates; `None` if it has none (a base model). They are read when they are used.
/// Without a tokenizer, the texts of the tokens that begin and end a text are empty.
pub fn templates(weights: &Weights, tokenizer: Option<&Tokenizer>) -> Option<ChatTemplates> {
    let sources = match weights.source() {
        Source::Gguf(gguf) => gguf
            .metadata()
            .filter_map(|(key, value)| {
                let name = match key.strip_prefix("tokenizer.chat_template")? {
                    "" => "default",
                    named => named.strip_prefix('.')?,
                };
                match value {
                    Value::Str(source) => Some((name.to_owned(), source.to_owned())),
                    _ => None,
                }
            })
            .collect(),
        Source::Safetensors(files) => {
            let text = |name| {
                let bytes = files.file(name)?;
                std::str::from_utf8(bytes.as_ref()).ok().map(str::to_owned)
            };
            let mut sources = text("tokenizer_config.json").map_or(Vec::new(), |config| {
                serde_json::from_str(&config).map_or(Vec::new(), |json| in_config(&json))
            });
            // A file of its own stands for the default one.
            if let Some(own) = text("chat_template.jinja") {
                sources.retain(|(name, _)| name != "default");
                sources.push(("default".to_owned(), own));
            }
            sources
        }
    };
    let (bos, eos) = tokenizer.map(Tokenizer::bos_eos_text).unwrap_or_default();
    ChatTemplates::new(sources, &bos, &eos)
}

/// The templates in a `tokenizer_config.json`: one string, or a list of `{name, template}`.
fn in_config(config: &serde_json::Value) -> Vec<(String, String)> {
    match config.get("chat_template") {
        Some(serde_json::Value::String(source)) => vec![("default".to_owned(), source.clone())],
        Some(serde_json::Value::Array(named)) => named
            .iter()
            .filter_map(|entry| {
                let field = |key| entry.get(key)?.as_str().map(str::to_owned);
                Some((field("name")?, field("template")?))
            })
            .collect(),
        _ => Vec::new(),
    }
}
