//! The chat templates of one model: a default, and others by name (`tool_use`, `rag`). Sources go in;
//! a template is read when it is asked for, so that a malformed one stops nobody who does not need it.

use super::{ChatTemplate, TemplateError};

/// The name of the template that is used when none is named.
const DEFAULT: &str = "default";
/// The name of the template for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// The templates of a model.
#[derive(Debug, Clone)]
pub struct ChatTemplates {
    /// In the order of the file, the default first.
    sources: Vec<(String, String)>,
    bos_text: String,
    eos_text: String,
}

impl ChatTemplates {
    /// Templates by name; one named `default` (or else the first) is used when none is named. `None`
    /// if there are none. The texts are those of the tokens that begin and end a text.
    pub fn new(
        named: impl IntoIterator<Item = (String, String)>,
        bos_text: &str,
        eos_text: &str,
    ) -> Option<Self> {
        let mut sources: Vec<(String, String)> = named.into_iter().collect();
        sources.sort_by_key(|(name, _)| name != DEFAULT);
        (!sources.is_empty()).then(|| Self {
            sources,
            bos_text: bos_text.to_owned(),
            eos_text: eos_text.to_owned(),
        })
    }

    /// The names, the default first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// The template of that name; `None` takes the one for tools if there are tools and the model has
    /// it, else the default.
    ///
    /// # Errors
    /// There is no such template, or it is malformed.
    pub fn get(&self, name: Option<&str>, has_tools: bool) -> Result<ChatTemplate, TemplateError> {
        let by_name = |wanted: &str| self.sources.iter().find(|(name, _)| name == wanted);
        let found = match name {
            Some(name) => by_name(name),
            None => has_tools
                .then(|| by_name(TOOL_USE))
                .flatten()
                .or_else(|| self.sources.first()),
        };
        let (_, source) = found.ok_or_else(|| TemplateError::Missing {
            wanted: name.unwrap_or(DEFAULT).to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
        })?;
        self.read(source)
    }

    /// A template given from outside, for the same model.
    ///
    /// # Errors
    /// It is malformed.
    pub fn read(&self, source: &str) -> Result<ChatTemplate, TemplateError> {
        ChatTemplate::new(source, &self.bos_text, &self.eos_text)
    }
}
