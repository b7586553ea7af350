//! Messages of a conversation, as chat templates see them: a role, a content, and whatever other fields
//! a template reads (`tool_calls`, `reasoning_content`).

use serde_json::{Map, Value};

/// A message of a conversation.
#[derive(Clone, Default, PartialEq)]
pub struct Message {
    fields: Map<String, Value>,
}

impl Message {
    /// A message of text. The role is `system`, `user`, `assistant`, `tool`, or what else the template
    /// knows.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self::default()
            .with("role", role.into())
            .with("content", content.into())
    }

    /// A message with exactly these fields. The content may be a text, a list of parts such as
    /// `{"type": "text", "text": "..."}`, null or missing, as the template wants it.
    pub fn from_fields(fields: Map<String, Value>) -> Self {
        Self { fields }
    }

    /// The message with a further field, or another value of one.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(field.into(), value.into());
        self
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Who speaks; empty if the message does not say.
    pub fn role(&self) -> &str {
        self.text("role")
    }

    /// What is said; empty if it is not a text.
    pub fn content(&self) -> &str {
        self.text("content")
    }

    fn text(&self, field: &str) -> &str {
        let value = self.fields.get(field);
        value.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Shows sizes only: messages do not belong into logs.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message {{ {} fields }}", self.fields.len())
    }
}
