//! Attributes, items and slices, found as Jinja for Python finds them: what is missing is undefined, and
//! only what is asked of an undefined value fails.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

use super::args::Args;
use super::objects::{Method, Sequence};
use super::operators::{Number, number};
use super::{Kind, Python, kind, refuse, type_name, undefined};

/// The methods of dicts, which `dict.name` finds before an entry of that name.
const DICT_METHODS: [&str; 11] = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];

impl Python<'_, '_, '_> {
    /// `value.name`: what Python finds as an attribute, else the entry of that name.
    pub(super) fn attribute(&self, value: &Value, name: &Value) -> Result<Value, Error> {
        let method = |names: &[&'static str]| {
            let name = names.iter().find(|known| Some(**known) == name.as_str());
            name.map(|&name| {
                let of = value.clone();
                Value::from_object(Method { of, name })
            })
        };
        match kind(value) {
            Kind::Undefined => Err(Error::new(
                ErrorKind::UndefinedError,
                match name.as_str() {
                    Some(name) => format!("`{name}` of an undefined value"),
                    None => "an entry of an undefined value".to_owned(),
                },
            )),
            Kind::Dict(dict) => Ok(method(&DICT_METHODS)
                .or_else(|| dict.get(name).cloned())
                .unwrap_or_default()),
            Kind::Text(_) => Ok(method(super::text::METHODS).unwrap_or_default()),
            // What `groupby` gives are named tuples.
            Kind::Tuple([grouper, list]) => Ok(match name.as_str() {
                Some("grouper") => grouper.clone(),
                Some("list") => list.clone(),
                _ => Value::UNDEFINED,
            }),
            Kind::Other => match name.as_str() {
                Some(name) => Ok(value.get_attr(name).unwrap_or_default()),
                None => Ok(Value::UNDEFINED),
            },
            _ => Ok(Value::UNDEFINED),
        }
    }

    /// `value[key]`: the entry, else the attribute of that name, else nothing.
    pub(super) fn item(&self, value: &Value, key: &Value) -> Result<Value, Error> {
        let at = |items: &[Value]| {
            let Some(Number::Int(index)) = number(key) else {
                return Value::UNDEFINED;
            };
            let index = if index < 0 {
                index.saturating_add(items.len() as i128)
            } else {
                index
            };
            let found = usize::try_from(index).ok().and_then(|i| items.get(i));
            found.cloned().unwrap_or_default()
        };
        match kind(value) {
            Kind::Undefined => undefined("an item"),
            Kind::List(items) | Kind::Tuple(items) => Ok(at(items)),
            Kind::Text(text) => {
                let Some(Number::Int(index)) = number(key) else {
                    return self.attribute(value, key);
                };
                self.pay(text.len())?;
                let found = match usize::try_from(index) {
                    Ok(index) => text.chars().nth(index),
                    Err(_) => usize::try_from(index.saturating_neg().saturating_sub(1))
                        .ok()
                        .and_then(|index| text.chars().rev().nth(index)),
                };
                Ok(found.map(Value::from).unwrap_or_default())
            }
            Kind::Dict(dict) => match dict.get(key) {
                Some(found) => Ok(found.clone()),
                None if key.as_str().is_some() => self.attribute(value, key),
                None => Ok(Value::UNDEFINED),
            },
            _ => self.attribute(value, key),
        }
    }

    pub(super) fn slice(&self, mut args: Args) -> Result<Value, Error> {
        let value = args.need("value")?;
        let (start, stop) = (args.int("start")?, args.int("stop")?);
        let step = args.int("step")?.unwrap_or(1);
        if step == 0 {
            return refuse("the step of a slice is zero");
        }
        match kind(&value) {
            Kind::Text(text) => {
                self.pay(text.len().saturating_mul(4))?;
                let chars: Vec<char> = text.chars().collect();
                let taken = indices(start, stop, step, chars.len());
                let text: String = taken.filter_map(|i| chars.get(i)).collect();
                Ok(if value.is_safe() {
                    Value::from_safe_string(text)
                } else {
                    Value::from(text)
                })
            }
            Kind::List(items) | Kind::Tuple(items) => {
                let taken = indices(start, stop, step, items.len());
                let taken: Vec<Value> = taken.filter_map(|i| items.get(i).cloned()).collect();
                self.pay_items(taken.len())?;
                match kind(&value) {
                    Kind::Tuple(_) => Sequence::tuple(taken),
                    _ => Sequence::list(taken),
                }
            }
            Kind::Undefined => undefined("a slice"),
            _ => refuse(format!("{} cannot be sliced", type_name(&value))),
        }
    }
}

/// The indices that a slice takes, as Python's `slice.indices` gives them.
fn indices(
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
    len: usize,
) -> impl Iterator<Item = usize> {
    let (len, step) = (len as i128, i128::from(step));
    let (lower, upper) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |bound: Option<i64>, otherwise: i128| match bound.map(i128::from) {
        None => otherwise,
        Some(at) if at < 0 => (at + len).max(lower),
        Some(at) => at.min(upper),
    };
    let (first, last) = if step > 0 { (0, len) } else { (len - 1, -1) };
    let mut at = bound(start, first);
    let end = bound(stop, last);
    std::iter::from_fn(move || {
        let goes_on = if step > 0 { at < end } else { at > end };
        let index = usize::try_from(at).ok().filter(|_| goes_on)?;
        at += step;
        Some(index)
    })
}
