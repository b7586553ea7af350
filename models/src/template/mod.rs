//! Chat templates: from the messages of a conversation to the text that a model was trained on. The
//! template is Jinja from the model's file, hostile input as everything in it: it runs in a bounded
//! interpreter (fuel pays for instructions and text; minijinja does not charge for joining lists, so a
//! hostile template can still use much memory that way) and reaches nothing outside. What
//! leaves is not a string but [`Span`]s: the template's own text, which may hold special tokens, and
//! the text of messages, which must not. A model without a template has none here either: the caller
//! then runs it raw, as it is.

mod clock;
mod json;
mod message;
mod set;
mod shade;
mod thinking;

use std::{collections::BTreeMap, time::SystemTime};

use minijinja::{Environment, Error, ErrorKind, State, Value, syntax::SyntaxConfig};
use thiserror::Error as ThisError;

use crate::tokenizer::Span;
pub use message::Message;
/// Fields of messages and variables of templates.
pub use serde_json::Value as Json;
pub use set::ChatTemplates;
use shade::{SHADE_KEY, Shade};
pub use thinking::ThinkingSwitch;

/// Longest template, in bytes. The longest of the models known in 2026 has under 40 KB.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Fuel of every rendering; one pays for an instruction or for 64 bytes of data: at most 64 MB.
const BASE_FUEL: u64 = 1_000_000;

/// Why a template could not be read or rendered. Holds no text of a message.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TemplateError {
    /// The model has no template of that name.
    #[error("the model has no chat template `{wanted}`; it has: {known}")]
    Missing {
        /// The name that was asked for.
        wanted: String,
        /// The names that there are.
        known: String,
    },
    /// The template is longer than any real one.
    #[error("the chat template has {found} bytes, the limit is {limit}; give another template")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The template is not Jinja that hob understands.
    #[error(
        "the chat template is malformed in line {line}: {why}; give another template, or run the model raw"
    )]
    Syntax {
        /// The template's line, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// The template failed.
    #[error("the chat template failed in line {line}: {why}")]
    Render {
        /// The template's line, from 1.
        line: usize,
        /// What happened, with text of messages left out.
        why: String,
    },
    /// The template refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation in line {line}: {message}")]
    Refused {
        /// The template's line, from 1.
        line: usize,
        /// Its own words, with text of messages left out.
        message: String,
    },
    /// The template worked longer or made more text than its bounds allow.
    #[error(
        "the chat template used up its bounds in line {line} (it loops or grows without end); give another template"
    )]
    OutOfFuel {
        /// The template's line, from 1.
        line: usize,
    },
}

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    bos_text: String,
    eos_text: String,
    /// Texts that the template looks for in what the model said, such as `</think>`.
    searched: Vec<String>,
    now: Option<SystemTime>,
}

impl ChatTemplate {
    /// Reads a template. `bos_text` and `eos_text` are the texts of the tokens that begin and end a
    /// text ([`crate::tokenizer::Tokenizer::bos_eos_text`]).
    ///
    /// # Errors
    /// If the template is malformed.
    pub fn new(source: &str, bos_text: &str, eos_text: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::TooLong {
                found: source.len(),
                limit: MAX_SOURCE_BYTES,
            });
        }
        let source = without_generation_tags(source);
        let template = Self {
            searched: searched_literals(&source),
            source,
            bos_text: bos_text.to_owned(),
            eos_text: eos_text.to_owned(),
            now: None,
        };
        let parsed = environment(None, BASE_FUEL)
            .template_from_str(&template.source)
            .map(|_| ());
        parsed.map_err(|error| TemplateError::Syntax {
            line: error.line().unwrap_or(0),
            why: error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned),
        })?;
        Ok(template)
    }

    /// The template as it was given, but for tags that Jinja does not know.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Sets the time that the template sees, in place of the time of rendering.
    #[must_use]
    pub fn at(mut self, now: SystemTime) -> Self {
        self.now = Some(now);
        self
    }

    /// Renders a conversation. `extra` are further variables, such as `tools` or `enable_thinking`.
    ///
    /// The text of messages is opaque to the template: it can be trimmed, cut at white space,
    /// measured and joined, but a template that looks for markup in it finds none, except for its own
    /// markers (`</think>`) in what the assistant said.
    ///
    /// # Errors
    /// If the template fails, refuses the conversation, or exceeds its bounds.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Vec<Span>, TemplateError> {
        let mut shade = Shade::new(|see| {
            see(&self.source);
            for message in messages {
                message
                    .fields()
                    .iter()
                    .for_each(|(key, value)| shade::see_json(key, value, see));
            }
            extra
                .iter()
                .for_each(|(key, value)| shade::see_json(key, value, see));
        });
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                let exempt = if message.role() == "assistant" {
                    self.searched.as_slice()
                } else {
                    &[]
                };
                let mut fields = Vec::new();
                for (key, value) in message.fields() {
                    let value = match value {
                        serde_json::Value::String(text)
                            if key.contains("reasoning")
                                || key == "thinking"
                                || key == "content" =>
                        {
                            Value::from(shade.whole(text, exempt))
                        }
                        value => shade.json(value),
                    };
                    fields.push((shade.markup(key), value));
                }
                Value::from_pairs(fields)
            })
            .collect();
        let mut context: BTreeMap<String, Value> = [("tools", ()), ("documents", ())]
            .map(|(key, none)| (key.to_owned(), Value::from(none)))
            .into();
        for (key, value) in extra {
            context.insert(key.clone(), shade.json(value));
        }
        context.insert("messages".to_owned(), Value::from(messages));
        context.insert(
            "add_generation_prompt".to_owned(),
            Value::from(add_generation_prompt),
        );
        context.insert("bos_token".to_owned(), Value::from(self.bos_text.as_str()));
        context.insert("eos_token".to_owned(), Value::from(self.eos_text.as_str()));

        let fuel = BASE_FUEL.saturating_add(shade.seen_bytes() as u64);
        let shade = Value::from_object(shade);
        context.insert(SHADE_KEY.to_owned(), shade.clone());
        let rendered = environment(self.now, fuel)
            .template_from_str(&self.source)
            .and_then(|template| template.render(Value::from_pairs(context)));
        let Some(shade) = shade.downcast_object_ref::<Shade>() else {
            return Ok(Vec::new());
        };
        match rendered {
            Ok(text) => Ok(shade.spans(&text)),
            Err(error) => Err(explain(&error, shade)),
        }
    }
}

/// The message of a template that called `raise_exception`.
#[derive(Debug, ThisError)]
#[error("the template raised an exception")]
struct Raised(String);

fn explain(error: &Error, shade: &Shade) -> TemplateError {
    let line = error.line().unwrap_or(0);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return TemplateError::Refused {
                line,
                message: shade.censor(message),
            };
        }
        source = cause.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return TemplateError::OutOfFuel { line };
    }
    let why = match error.detail() {
        Some(detail) => format!("{}: {}", error.kind(), shade.censor(detail)),
        None => error.kind().to_string(),
    };
    TemplateError::Render { line, why }
}

/// Jinja as Hugging Face's `apply_chat_template` sets it up.
fn environment(now: Option<SystemTime>, fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    // Only custom delimiters can make this fail.
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        environment.set_syntax(syntax);
    }
    environment.set_debug(false);
    environment.set_fuel(Some(fuel));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, state, value| match value.kind() {
        // As Python prints them.
        minijinja::value::ValueKind::None => out.write_str("None").map_err(Error::from),
        minijinja::value::ValueKind::Bool => out
            .write_str(if value.is_true() { "True" } else { "False" })
            .map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.add_filter("tojson", json::tojson);
    // In Python, None is not iterable; templates ask so whether there are tools.
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, "exception").with_source(Raised(message)))
        },
    );
    environment.add_function("strftime_now", move |state: &State, format: String| {
        state.consume_fuel(format.len() as u64)?;
        clock::format(now.unwrap_or_else(SystemTime::now), &format)
    });
    environment
}

/// `{% generation %}` marks what a model is trained on and renders as nothing; Jinja does not know it.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(end) = rest
            .get(start..)
            .and_then(|tag| tag.find("%}"))
            .map(|end| start + end)
        else {
            break;
        };
        let tag = rest.get(start..end).unwrap_or_default();
        let name = tag
            .trim_start_matches(['{', '%', '-', '+'])
            .trim_end_matches(['-', '+'])
            .trim();
        out.push_str(rest.get(..start).unwrap_or_default());
        match name {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The string literals that a template looks for (`'</think>' in content`, `.split('</think>')`).
/// Those with a `|` are left out: they are a model's control tokens, never a marker of thoughts.
fn searched_literals(source: &str) -> Vec<String> {
    const CALLS: [&str; 7] = [
        "split(",
        "startswith(",
        "endswith(",
        "find(",
        "partition(",
        "strip(",
        "replace(",
    ];
    let mut found = Vec::new();
    for quote in ['\'', '"'] {
        let mut parts = source.split(quote).peekable();
        let mut before = parts.next().unwrap_or_default();
        while let Some(literal) = parts.next() {
            let after = parts.peek().copied().unwrap_or_default().trim_start();
            let is_searched = CALLS.iter().any(|call| before.trim_end().ends_with(call))
                || after.starts_with("in ")
                || after.starts_with("not in ");
            let is_marker = literal.contains(['<', '[']) && !literal.contains(['|', '\\', '\n']);
            if is_searched && is_marker && !found.iter().any(|known| known == literal) {
                found.push(literal.to_owned());
            }
            before = literal;
        }
    }
    found
}
