//! Chat templates: from the messages of a conversation to the text that a model was trained on. The
//! template is Jinja from the model's file, hostile input as everything in it: it runs in a bounded
//! interpreter (fuel pays for each instruction and for all data that is read or made, before it is made;
//! nesting has limits, and a stack of its own) and reaches nothing outside. minijinja reads and runs
//! templates; what they mean is Python's (`python/`), as in transformers. What leaves is not a string
//! but [`Span`]s: the template's own text, which may hold special tokens, and the text of messages,
//! which must not. A model without a template has none here either: the caller then runs it raw.

mod clock;
mod message;
mod python;
mod set;
mod shade;
mod thinking;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use minijinja::machinery::{self, CodeGenerator, Token};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, syntax::SyntaxConfig};
use thiserror::Error as ThisError;

use crate::tokenizer::Span;
pub use message::Message;
use python::{Dict, Sequence};
/// Fields of messages and variables of templates.
pub use serde_json::Value as Json;
pub use set::ChatTemplates;
use shade::Shade;
pub use thinking::ThinkingSwitch;

/// Longest template, in bytes. The longest of the models known in 2026 has under 40 KB.
const MAX_SOURCE_BYTES: usize = 1 << 19;
/// Most words in one tag. The longest tag of those models has 221.
const MAX_TAG_TOKENS: usize = 10_000;
/// Fuel of every rendering; one pays for an instruction or for 64 bytes of data: at most 64 MB.
const BASE_FUEL: u64 = 1_000_000;
/// Fuel for each message: templates look at each several times.
const FUEL_PER_MESSAGE: u64 = 5_000;
/// Stack of the interpreter. Only as much of it is memory as a template uses.
const STACK_BYTES: usize = 64 << 20;

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
    /// The conversation has more different characters than can be told from the template's.
    #[error("the conversation has more than 130,000 different characters; shorten it")]
    TooVaried,
    /// The interpreter broke down (a defect of hob), or the system gives no thread for it.
    #[error(
        "the chat template could not be run (out of threads, or a defect: please report the template)"
    )]
    Defect,
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
        let template = Self {
            source: without_generation_tags(source),
            bos_text: bos_text.to_owned(),
            eos_text: eos_text.to_owned(),
            now: None,
        };
        match on_own_stack(|| compile(&template.source, |_| Ok(()))) {
            Some(Ok(())) => Ok(template),
            Some(Err(error)) => Err(TemplateError::Syntax {
                line: line(&error),
                why: error
                    .detail()
                    .map_or_else(|| error.kind().to_string(), str::to_owned),
            }),
            None => Err(TemplateError::Defect),
        }
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
    /// The template may look into messages (`'</think>' in content`) and take them apart; whatever it
    /// does, each character of a message is known as such in the end. Roles, types of parts, and
    /// variables that are texts themselves are the program's words: only what control tokens are written with
    /// (`<`, `|`, `[` and the like) is untrusted in them, for templates make control tokens of them.
    ///
    /// # Errors
    /// If the template fails, refuses the conversation, or exceeds its bounds.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &BTreeMap<String, Json>,
    ) -> Result<Vec<Span>, TemplateError> {
        let fields = || messages.iter().flat_map(|message| message.fields());
        let shade = Arc::new(Shade::new(|see| {
            see(&self.source);
            for (key, value) in fields().chain(extra) {
                shade::see_json(key, value, see);
            }
        }));
        let rendered = on_own_stack(|| self.text(&shade, messages, add_generation_prompt, extra));
        let Some(rendered) = rendered else {
            return Err(TemplateError::Defect);
        };
        if shade.is_exhausted() {
            return Err(TemplateError::TooVaried);
        }
        match rendered {
            Ok(text) => Ok(shade.spans(&text)),
            Err(error) => Err(explain(&error, &shade)),
        }
    }

    /// The rendered text, shaded.
    fn text(
        &self,
        shade: &Arc<Shade>,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &BTreeMap<String, Json>,
    ) -> Result<String, Error> {
        let mut context: BTreeMap<&str, Value> = BTreeMap::from([
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("bos_token", Value::from(self.bos_text.as_str())),
            ("eos_token", Value::from(self.eos_text.as_str())),
        ]);
        let programs_words = |value: &Json| match value {
            Json::String(text) => Ok(Value::from(shade.markup(text))),
            other => shaded(shade, other),
        };
        for (key, value) in extra {
            context.insert(key, programs_words(value)?);
        }
        let messages = messages.iter().map(|message| {
            let fields = message.fields().iter().map(|(key, value)| {
                let value = if key == "role" {
                    programs_words(value)?
                } else {
                    shaded(shade, value)?
                };
                Ok((Value::from(shade.cover(key)), value))
            });
            let fields = fields.collect::<Result<Vec<_>, Error>>()?;
            Ok(Value::from_object(Dict::new(shade, fields)?))
        });
        let messages = Sequence::list(messages.collect::<Result<_, Error>>()?)?;
        let count = messages.len().unwrap_or(0) as u64;
        context.insert("messages", messages);
        let fuel = BASE_FUEL
            .saturating_add(shade.seen_bytes() as u64)
            .saturating_add(count.saturating_mul(FUEL_PER_MESSAGE));

        let environment = environment(self.now, fuel, shade);
        compile(&self.source, |compiled| {
            let mut out = String::new();
            machinery::eval(
                &environment,
                &compiled.0,
                Value::from_pairs(context),
                &compiled.1,
                &mut machinery::make_string_output(&mut out),
                AutoEscape::None,
            )?;
            Ok(out)
        })
    }
}

/// A JSON value as a template sees it, all its texts shaded; of types of parts only the markup, for
/// templates make control tokens of them (`<|image|>`).
fn shaded(shade: &Arc<Shade>, value: &Json) -> Result<Value, Error> {
    Ok(match value {
        Json::String(text) => Value::from(shade.cover(text)),
        Json::Array(items) => {
            let items = items.iter().map(|item| shaded(shade, item));
            Sequence::list(items.collect::<Result<_, _>>()?)?
        }
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let value = match (key.as_str(), value) {
                    ("type", Json::String(name)) => Value::from(shade.markup(name)),
                    _ => shaded(shade, value)?,
                };
                Ok((Value::from(shade.cover(key)), value))
            });
            let fields = fields.collect::<Result<Vec<_>, Error>>()?;
            Value::from_object(Dict::new(shade, fields)?)
        }
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(signed), _, _) => Value::from(signed),
            (_, Some(unsigned), _) => Value::from(unsigned),
            (_, _, float) => Value::from(float.unwrap_or(f64::NAN)),
        },
    })
}

type Compiled<'s> = (
    machinery::Instructions<'s>,
    BTreeMap<&'s str, machinery::Instructions<'s>>,
);

/// Reads a template, and hands its instructions on.
fn compile<R>(
    source: &str,
    then: impl FnOnce(&Compiled<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let syntax = syntax();
    check_tags(source, &syntax)?;
    let tree = machinery::parse(source, "chat template", syntax)?;
    let tree = python::rewrite(&tree)?;
    let mut generator = CodeGenerator::new("chat template", source);
    generator.compile_stmt(&tree);
    then(&generator.finish())
}

/// Refuses what would nest too deeply in the parser: an expression nests with its length.
fn check_tags(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let mut tokens = 0;
    for token in machinery::tokenize(source, false, syntax.clone()) {
        let (token, span) = token?;
        match token {
            Token::BlockStart | Token::VariableStart | Token::TemplateData(_) => tokens = 0,
            _ => tokens += 1,
        }
        if tokens > MAX_TAG_TOKENS {
            return python::malformed(span, "a tag has more than 10,000 words");
        }
    }
    Ok(())
}

/// Runs work on a thread with a stack of known size, for how deep the interpreter nests is the
/// template's doing. `None` if there is no such thread, or if the work panicked: a defect of hob or
/// of the interpreter, which must not end the host.
fn on_own_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Option<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// The message of a template that called `raise_exception`.
#[derive(Debug, ThisError)]
#[error("the template raised an exception")]
struct Raised(String);

/// The line of an error, from 1.
fn line(error: &Error) -> usize {
    let own = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    own.map_or(error.line().unwrap_or(0), |&python::Line(line)| line)
}

fn explain(error: &Error, shade: &Shade) -> TemplateError {
    let line = line(error);
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

/// Jinja's syntax as Hugging Face's `apply_chat_template` sets it up.
fn syntax() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    // Only custom delimiters can make this fail.
    syntax.build().unwrap_or_default()
}

/// The environment that `apply_chat_template` sets up.
fn environment(now: Option<SystemTime>, fuel: u64, shade: &Arc<Shade>) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(fuel));
    python::install(&mut environment, shade);
    environment.add_function("namespace", minijinja::functions::namespace);
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
            "generation" => out.push_str(&tag.replacen("generation", "with", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(tag),
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}
