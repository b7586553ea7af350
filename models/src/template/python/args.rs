//! Arguments of a call: by position or by name, each taken once.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};

use super::{Kind, kind};

/// The arguments that are left.
pub(super) struct Args {
    positional: std::vec::IntoIter<Value>,
    named: Option<Kwargs>,
}

impl Args {
    pub(super) fn new(values: impl Iterator<Item = Value>) -> Self {
        let mut positional: Vec<Value> = values.collect();
        let named = match positional.last() {
            Some(last) if last.is_kwargs() => Kwargs::try_from(last.clone()).ok(),
            _ => None,
        };
        if named.is_some() {
            positional.pop();
        }
        Self {
            positional: positional.into_iter(),
            named,
        }
    }

    /// The next argument, by position or else by name.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        if let Some(value) = self.positional.next() {
            return Some(value);
        }
        let named = self.named.as_ref()?;
        named.has(name).then(|| named.get(name).ok()).flatten()
    }

    /// An argument that can be given by name only.
    pub(super) fn named(&self, name: &str) -> Option<Value> {
        let named = self.named.as_ref()?;
        named.has(name).then(|| named.get(name).ok()).flatten()
    }

    pub(super) fn need(&mut self, name: &str) -> Result<Value, Error> {
        self.take(name).ok_or_else(|| {
            Error::new(
                ErrorKind::MissingArgument,
                format!("argument `{name}` is missing"),
            )
        })
    }

    /// An integer; `None` if it is not given or None.
    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>, Error> {
        match self.take(name) {
            Some(value) => int(&value, name),
            None => Ok(None),
        }
    }

    pub(super) fn flag(&mut self, name: &str, otherwise: bool) -> bool {
        self.take(name).map_or(otherwise, |value| value.is_true())
    }

    /// All arguments by position that are left.
    pub(super) fn rest(&mut self) -> Vec<Value> {
        self.positional.by_ref().collect()
    }

    /// Names and values of arguments by name.
    pub(super) fn all_named(&self) -> Vec<(Value, Value)> {
        let Some(named) = &self.named else {
            return Vec::new();
        };
        let pairs = named
            .args()
            .map(|name| (Value::from(name), named.get(name).unwrap_or_default()));
        pairs.collect()
    }

    /// The arguments by name, to be handed on.
    pub(super) fn keywords(&self) -> Option<Value> {
        let named = self.all_named();
        let pairs = named
            .into_iter()
            .map(|(name, value)| (name.to_string(), value));
        let pairs: Vec<(String, Value)> = pairs.collect();
        (!pairs.is_empty()).then(|| Value::from(Kwargs::from_iter(pairs)))
    }

    /// No argument is left over.
    pub(super) fn end(mut self) -> Result<(), Error> {
        if self.positional.next().is_some() {
            return Err(ErrorKind::TooManyArguments.into());
        }
        self.named.map_or(Ok(()), |named| named.assert_all_used())
    }
}

/// An integer, or None.
fn int(value: &Value, name: &str) -> Result<Option<i64>, Error> {
    match kind(value) {
        Kind::None => Ok(None),
        Kind::Bool(flag) => Ok(Some(i64::from(flag))),
        // Python takes any size; beyond 64 bits there is nothing to count.
        Kind::Int(i) => Ok(Some(i.clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
        _ => super::refuse(format!("argument `{name}` is not an integer")),
    }
}
