//! What `/params` shows and sets: the sampling parameters, and the limits of answers and conversation.

use clap::ValueEnum;
use hob::{Parameter, Sampling};

/// What happens when a conversation does not fit the context any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum WhenFullArg {
    /// Say so, and wait for what the user decides
    Stop,
    /// Forget the oldest messages, and say so
    DropOldest,
}

/// Everything that an answer depends on beside the conversation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) sampling: Sampling,
    /// Most tokens of an answer; `None` for the context's room.
    pub(super) max_tokens: Option<usize>,
    /// Most tokens of the conversation.
    pub(super) context: usize,
    pub(super) when_full: WhenFullArg,
    /// Texts that end an answer.
    pub(super) stop: Vec<String>,
}

const LIMITS: [&str; 3] = ["max_tokens", "context", "when_full"];

impl Settings {
    /// All names, for completion.
    pub(super) fn names() -> Vec<String> {
        let sampling = Sampling::parameters().iter().map(|p: &Parameter| p.name);
        sampling.chain(LIMITS).map(str::to_owned).collect()
    }

    /// All settings with their values.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let names = Self::names().into_iter();
        names.map(|name| (name.clone(), self.get(&name))).collect()
    }

    /// A setting's value as text; empty if there is no such name.
    pub(super) fn get(&self, name: &str) -> String {
        match name {
            "max_tokens" => self
                .max_tokens
                .map_or("unlimited".to_owned(), |n| n.to_string()),
            "context" => self.context.to_string(),
            "when_full" => match self.when_full {
                WhenFullArg::Stop => "stop".to_owned(),
                WhenFullArg::DropOldest => "drop-oldest".to_owned(),
            },
            _ => Parameter::find(name).map_or_else(String::new, |p| p.get(&self.sampling)),
        }
    }

    /// Sets one by its name; on an error nothing has changed.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let positive = || {
            value
                .parse()
                .ok()
                .filter(|n| (1..=u32::MAX as usize).contains(n))
                .ok_or_else(|| format!("{name} must be a whole number from 1"))
        };
        match name {
            "max_tokens" if value == "unlimited" => self.max_tokens = None,
            "max_tokens" => self.max_tokens = Some(positive()?),
            "context" => self.context = positive()?,
            "when_full" => {
                self.when_full = WhenFullArg::from_str(value, true)
                    .map_err(|_| "when_full must be stop or drop-oldest".to_owned())?;
            }
            _ if Parameter::find(name).is_none() => {
                return Err(format!(
                    "there is no parameter `{name}`; /params shows all of them"
                ));
            }
            _ => self.sampling.set(name, value).map_err(|e| e.to_string())?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set() {
        let first = Settings {
            sampling: Sampling::default(),
            max_tokens: None,
            context: 4096,
            when_full: WhenFullArg::Stop,
            stop: Vec::new(),
        };
        let mut other = first.clone();
        other.set("max_tokens", "7").unwrap();
        other.set("context", "100").unwrap();
        other.set("when_full", "drop-oldest").unwrap();
        other.set("temperature", "0.9").unwrap();
        let mut copy = first.clone();
        for name in Settings::names() {
            copy.set(&name, &other.get(&name)).unwrap();
        }
        assert_eq!(copy, other);
        for (name, value) in [
            ("max_tokens", "0"),
            ("context", "-1"),
            ("when_full", "perhaps"),
            ("temperature", "hot"),
            ("nonsense", "1"),
        ] {
            assert!(copy.set(name, value).is_err(), "{name} {value}");
            assert_eq!(copy, other);
        }
    }
}
