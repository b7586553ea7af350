//! From a conversation to a prompt: which template renders it and with what, the tokens, and whether
//! the model's first words will be thoughts.

use crate::engine::Engine;
use crate::error::SessionError;
use crate::session::Session;
use hob_models::reasoning::{ReasoningFormat, ReasoningSplitter};
use hob_models::template::{ChatTemplate, ChatTemplates, Json, Message};
use hob_models::tokenizer::Span;
use std::collections::BTreeMap;
use std::fmt;

/// How a conversation becomes a prompt. Shown without tools and variables, which a user wrote.
#[derive(Clone, Default)]
pub struct ChatOptions {
    /// A template in place of the model's own ([`Engine::read_template`]).
    pub template: Option<ChatTemplate>,
    /// Which of the model's templates (`tool_use`, `rag`); `None` for the default one, or with tools
    /// the one for tools if the model has it.
    pub template_name: Option<String>,
    /// Whether the model shall think first; `None` leaves it to the template.
    pub think: Option<bool>,
    /// Definitions of tools that the model may call, in OpenAI's form.
    pub tools: Vec<Json>,
    /// Further variables of the template.
    pub variables: BTreeMap<String, Json>,
}

impl fmt::Debug for ChatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatOptions")
            .field("template", &self.template.is_some())
            .field("template_name", &self.template_name)
            .field("think", &self.think)
            .field("tools", &self.tools.len())
            .field("variables", &self.variables.len())
            .finish()
    }
}

/// A conversation, ready to be read by the model. Shown without what it says.
#[derive(Clone)]
pub struct ChatPrompt {
    /// Its token ids.
    pub ids: Vec<u32>,
    /// Tells the thoughts in what follows from the answer, if the model is known to mark them: for
    /// [`crate::Request::reasoning`].
    pub reasoning: Option<ReasoningSplitter>,
}

impl fmt::Debug for ChatPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasoning = &self.reasoning;
        write!(f, "ChatPrompt({} tokens, {reasoning:?})", self.ids.len())
    }
}

impl Engine {
    /// The model's chat templates; `None` for a base model.
    pub fn templates(&self) -> Option<&ChatTemplates> {
        self.inner.templates.as_ref()
    }

    /// The template that renders conversations with these options.
    ///
    /// # Errors
    /// The model has none (of that name), or it is malformed.
    pub fn template(&self, options: &ChatOptions) -> Result<ChatTemplate, SessionError> {
        if let Some(template) = &options.template {
            return Ok(template.clone());
        }
        let templates = self.templates().ok_or(SessionError::NoTemplate)?;
        Ok(templates.get(options.template_name.as_deref(), !options.tools.is_empty())?)
    }

    /// Reads a template given by the user, for [`ChatOptions::template`].
    ///
    /// # Errors
    /// It is malformed, or the model has no tokenizer.
    pub fn read_template(&self, source: &str) -> Result<ChatTemplate, SessionError> {
        let tokenizer = self.tokenizer().ok_or(SessionError::NoTokenizer)?;
        let (bos, eos) = tokenizer.bos_eos_text();
        Ok(ChatTemplate::new(source, &bos, &eos)?)
    }

    /// How the model marks its reasoning, from the template or else from the vocabulary; `None` if it
    /// is not known to do so.
    pub fn reasoning(&self, template: &ChatTemplate) -> Option<ReasoningFormat> {
        template.reasoning().or_else(|| {
            let tokenizer = self.tokenizer()?;
            ReasoningFormat::find(|sign| tokenizer.token_id(sign).is_some())
        })
    }
}

/// A conversation as the text that the model will see, the text of messages told from the template's.
/// `add_generation_prompt` ends it with the beginning of an answer.
///
/// # Errors
/// The template fails or refuses the conversation, or has no switch for reasoning.
pub fn render_chat(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
    options: &ChatOptions,
) -> Result<Vec<Span>, SessionError> {
    let mut variables = options.variables.clone();
    if let Some(think) = options.think {
        let switch = template
            .thinking_switch()
            .ok_or(SessionError::NoThinkingSwitch)?;
        variables.insert(switch.variable.to_owned(), switch.value(think));
    }
    if !options.tools.is_empty() {
        variables.insert("tools".to_owned(), Json::Array(options.tools.clone()));
    }
    Ok(template.render(messages, add_generation_prompt, &variables)?)
}

impl Session {
    /// The token ids of a conversation rendered by the model's chat template, ready for the
    /// model's answer. Message text never becomes control tokens.
    ///
    /// # Errors
    /// As [`Session::chat_prompt`].
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, SessionError> {
        Ok(self.chat_prompt(messages, &ChatOptions::default())?.ids)
    }

    /// A conversation as a prompt for the model's answer. Message text never becomes control tokens.
    ///
    /// # Errors
    /// There is no template or tokenizer, or the template fails or refuses the conversation.
    pub fn chat_prompt(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<ChatPrompt, SessionError> {
        let engine = self.engine();
        let tokenizer = engine.tokenizer().ok_or(SessionError::NoTokenizer)?;
        let template = engine.template(options)?;
        let spans = render_chat(&template, messages, true, options)?;
        let reasoning = engine.reasoning(&template).map(|format| {
            // What the template says after the last message may have opened the reasoning.
            let end = spans.last().filter(|span| span.trusted);
            format.splitter(end.map_or("", |span| &span.text))
        });
        Ok(ChatPrompt {
            ids: tokenizer.encode_spans(&spans)?,
            reasoning,
        })
    }
}
