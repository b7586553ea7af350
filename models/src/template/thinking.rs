//! What a template says of reasoning: its markers, and the variable that turns it on and off. The
//! variable is found by trying: a template for which it matters renders differently.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ChatTemplate, Message};
use crate::reasoning::ReasoningFormat;

/// A template's variable that turns reasoning on and off.
#[derive(Debug, Clone, PartialEq)]
pub struct ThinkingSwitch {
    /// Its name, such as `enable_thinking`.
    pub variable: &'static str,
    /// Its value for reasoning.
    pub on: Value,
    /// Its value for none.
    pub off: Value,
}

impl ThinkingSwitch {
    /// The value for reasoning or none.
    pub fn value(&self, think: bool) -> Value {
        if think { &self.on } else { &self.off }.clone()
    }
}

/// The variables of the templates known in 2026, in the order in which they are tried.
fn candidates() -> [(&'static str, Value, Value); 9] {
    [
        ("enable_thinking", json!(true), json!(false)),
        ("thinking", json!(true), json!(false)),
        ("thinking_mode", json!("enabled"), json!("disabled")),
        ("thinking_option", json!("on"), json!("off")),
        ("reasoning_effort", json!("high"), json!("none")),
        ("reasoning_effort", json!("high"), json!("no_think")),
        ("reasoning_effort", json!("high"), json!("minimal")),
        ("thinking_budget", json!(-1), json!(0)),
        ("reasoning_strength", json!("high"), json!("none")),
    ]
}

impl ChatTemplate {
    /// The markers that the template knows around reasoning; `None` if it knows none.
    pub fn reasoning(&self) -> Option<ReasoningFormat> {
        ReasoningFormat::find(|sign| self.source.contains(sign))
    }

    /// The variable that turns reasoning on and off; `None` if the template has none. Renders the
    /// template a few times, which takes about a millisecond.
    pub fn thinking_switch(&self) -> Option<ThinkingSwitch> {
        let messages = [Message::new("user", "x")];
        candidates()
            .into_iter()
            .filter(|(variable, ..)| self.source.contains(variable))
            // A word that the template does not know turns nothing off.
            .filter(|(.., off)| match off.as_str() {
                Some(word) => ['\'', '"']
                    .iter()
                    .any(|q| self.source.contains(&format!("{q}{word}{q}"))),
                None => true,
            })
            .find(|(variable, on, off)| {
                let render = |value: &Value| {
                    let variables = BTreeMap::from([((*variable).to_owned(), value.clone())]);
                    self.render(&messages, true, &variables).ok()
                };
                matches!((render(on), render(off)), (Some(on), Some(off)) if on != off)
            })
            .map(|(variable, on, off)| ThinkingSwitch { variable, on, off })
    }
}
