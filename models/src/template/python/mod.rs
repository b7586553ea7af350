//! What Python gives to Jinja in transformers: operators, methods, printing and filters with Python's
//! meaning, exact in results and in refusals. minijinja reads templates and runs them; `rewrite.rs`
//! makes it call these functions where its own differ. All see through shades ([`Shade`]) and pay for
//! their work with fuel.

mod args;
mod cuts;
mod filters;
mod is_tests;
mod json;
mod methods;
mod objects;
mod operators;
mod printing;
mod rewrite;
mod sequences;
mod subscripts;
mod text;

use std::sync::Arc;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::shade::Shade;
use args::Args;
pub(super) use objects::{Dict, Sequence};
pub(super) use rewrite::{Line, malformed, rewrite};

/// Python's side of a running template.
struct Python<'a, 'template, 'env> {
    state: &'a mut State<'template, 'env>,
    shade: &'a Arc<Shade>,
}

/// What a value is to Python.
enum Kind<'v> {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'v str),
    List(&'v [Value]),
    Tuple(&'v [Value]),
    Dict(&'v Dict),
    /// Can be iterated over: a generator, a view.
    Iterable,
    /// A macro, a namespace, a loop.
    Other,
}

fn kind(value: &Value) -> Kind<'_> {
    match value.kind() {
        ValueKind::Undefined => Kind::Undefined,
        ValueKind::None => Kind::None,
        ValueKind::Bool => Kind::Bool(value.is_true()),
        ValueKind::Number if value.is_integer() => {
            i128::try_from(value.clone()).map_or(Kind::Other, Kind::Int)
        }
        ValueKind::Number => f64::try_from(value.clone()).map_or(Kind::Other, Kind::Float),
        ValueKind::String => value.as_str().map_or(Kind::Other, Kind::Text),
        ValueKind::Seq => match value.downcast_object_ref::<Sequence>() {
            Some(sequence) if sequence.is_tuple => Kind::Tuple(sequence.items()),
            Some(sequence) => Kind::List(sequence.items()),
            // What the interpreter makes itself: all arguments of a call, the items of a loop.
            None => Kind::Iterable,
        },
        ValueKind::Iterable => Kind::Iterable,
        ValueKind::Map => value
            .downcast_object_ref::<Dict>()
            .map_or(Kind::Other, Kind::Dict),
        _ => Kind::Other,
    }
}

/// What Python calls the type.
fn type_name(value: &Value) -> &'static str {
    match kind(value) {
        Kind::Undefined => "undefined value",
        Kind::None => "None",
        Kind::Bool(_) => "bool",
        Kind::Int(_) => "int",
        Kind::Float(_) => "float",
        Kind::Text(_) => "str",
        Kind::List(_) => "list",
        Kind::Tuple(_) => "tuple",
        Kind::Dict(_) => "dict",
        Kind::Iterable => "iterator",
        Kind::Other => "object",
    }
}

/// An error of what a template does; `why` quotes no text.
fn refuse<T>(why: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, why))
}

fn undefined<T>(what: &str) -> Result<T, Error> {
    refuse(format!("{what} of an undefined value"))
}

impl Python<'_, '_, '_> {
    /// Pays for reading or writing that many bytes.
    fn pay(&self, bytes: usize) -> Result<(), Error> {
        self.state.consume_fuel(1 + bytes as u64 / 64)
    }

    /// Pays for that many items of a list.
    fn pay_items(&self, items: usize) -> Result<(), Error> {
        self.pay(items.saturating_mul(32))
    }

    /// A list, paid for.
    fn list(&self, items: Vec<Value>) -> Result<Value, Error> {
        self.pay_items(items.len())?;
        Sequence::list(items)
    }

    /// The items of what Python can iterate over.
    fn items(&self, value: &Value) -> Result<Vec<Value>, Error> {
        match kind(value) {
            Kind::Undefined => Ok(Vec::new()),
            Kind::Text(text) => {
                self.pay_items(text.chars().count())?;
                Ok(text.chars().map(Value::from).collect())
            }
            Kind::List(items) | Kind::Tuple(items) => {
                self.pay_items(items.len())?;
                Ok(items.to_vec())
            }
            Kind::Dict(_) | Kind::Iterable => {
                // Mostly known beforehand; an iterator without a length is checked on the way.
                self.pay_items(value.len().unwrap_or(0))?;
                let mut items = Vec::new();
                for item in value.try_iter()?.checked() {
                    if items.len() % 64 == 0 {
                        self.pay_items(0)?;
                    }
                    items.push(item?);
                }
                Ok(items)
            }
            _ => refuse(format!("{} cannot be iterated over", type_name(value))),
        }
    }
}

/// The types of functions that templates call: filters with the value first.
type Call = fn(&mut Python<'_, '_, '_>, Args) -> Result<Value, Error>;

/// Gives an environment Python's functions.
pub(super) fn install(environment: &mut Environment<'static>, shade: &Arc<Shade>) {
    let calls = operators::OPERATORS
        .iter()
        .chain(filters::FILTERS)
        .chain(sequences::FILTERS);
    for &(name, call) in calls {
        let shade = shade.clone();
        environment.add_filter(
            name,
            move |state: &mut State, values: Rest<ValueOrKwargs>| {
                let args = Args::new(values.0.into_iter().map(ValueOrKwargs::into_value));
                let shade = &shade;
                call(&mut Python { state, shade }, args)
            },
        );
    }
    for &(name, call) in is_tests::TESTS {
        let shade = shade.clone();
        environment.add_test(
            name,
            move |state: &mut State, values: Rest<ValueOrKwargs>| -> Result<bool, Error> {
                let args = Args::new(values.0.into_iter().map(ValueOrKwargs::into_value));
                let shade = &shade;
                Ok(call(&mut Python { state, shade }, args)?.is_true())
            },
        );
    }
    for &(name, call) in filters::FUNCTIONS {
        let shade = shade.clone();
        environment.add_function(
            name,
            move |state: &mut State, values: Rest<ValueOrKwargs>| {
                let args = Args::new(values.0.into_iter().map(ValueOrKwargs::into_value));
                let shade = &shade;
                call(&mut Python { state, shade }, args)
            },
        );
    }
    let of_methods = shade.clone();
    environment.set_unknown_method_callback(move |state, value, name, args| {
        let shade = &of_methods;
        Python { state, shade }.method(value, name, Args::new(args.iter().cloned()))
    });
    let of_printing = shade.clone();
    environment.set_formatter(move |out, state, value| {
        if let Some(text) = value.as_str() {
            return out.write_str(text).map_err(Error::from);
        }
        let shade = &of_printing;
        let text = Python { state, shade }.str(value)?;
        out.write_str(&text).map_err(Error::from)
    });
}
