//! Python's operators: comparing, searching, calculating. Texts compare by what they mean,
//! shaded or not.

use std::cmp::Ordering;

use minijinja::Error;
use minijinja::value::Value;

use super::args::Args;
use super::objects::{Dict, Sequence};
use super::{Call, Kind, Python, kind, refuse, type_name};

/// Deepest values that are compared; they are not nested deeper ([`super::objects`]).
const MAX_DEPTH: usize = 300;

/// What operators are rewritten to.
pub(super) const OPERATORS: &[(&str, Call)] = &[
    ("=eq", |py, args| {
        let [a, b] = two(args)?;
        py.eq(&a, &b, 0).map(Value::from)
    }),
    ("=ne", |py, args| {
        let [a, b] = two(args)?;
        py.eq(&a, &b, 0).map(|equal| Value::from(!equal))
    }),
    ("=lt", |py, args| py.compare(two(args)?, Ordering::is_lt)),
    ("=le", |py, args| py.compare(two(args)?, Ordering::is_le)),
    ("=gt", |py, args| py.compare(two(args)?, Ordering::is_gt)),
    ("=ge", |py, args| py.compare(two(args)?, Ordering::is_ge)),
    ("=in", |py, args| {
        let [item, container] = two(args)?;
        py.contains(&container, &item).map(Value::from)
    }),
    ("=add", |py, args| py.add(two(args)?)),
    ("=sub", |_, args| {
        arithmetic("-", two(args)?, i128::checked_sub, |a, b| a - b)
    }),
    ("=mul", |py, args| py.mul(two(args)?)),
    ("=div", |_, args| divide(two(args)?)),
    ("=floordiv", |_, args| {
        let float = |a: f64, b: f64| (a / b).floor();
        arithmetic("//", two(args)?, floor_div, float)
    }),
    ("=mod", |py, args| py.modulo(two(args)?)),
    ("=pow", |_, args| power(two(args)?)),
    ("=concat", |py, args| {
        let [a, b] = two(args)?;
        let mut text = py.str(&a)?;
        let more = py.str(&b)?;
        py.pay(text.len() + more.len())?;
        text.push_str(&more);
        Ok(Value::from(text))
    }),
    ("=neg", |_, mut args| match number(&args.need("value")?) {
        Some(Number::Int(i)) => i.checked_neg().map_or_else(overflow, |i| Ok(integer(i))),
        Some(Number::Float(x)) => Ok(Value::from(-x)),
        None => refuse("only numbers can be negated"),
    }),
    ("=attr", |py, args| {
        let [value, name] = two(args)?;
        py.attribute(&value, &name)
    }),
    ("=item", |py, args| {
        let [value, key] = two(args)?;
        py.item(&value, &key)
    }),
    ("=slice", |py, args| py.slice(args)),
    ("=iter", |py, mut args| {
        let value = args.need("value")?;
        match kind(&value) {
            // As it is: a loop reads one item after another.
            Kind::List(_) | Kind::Tuple(_) | Kind::Iterable | Kind::Dict(_) => Ok(value),
            _ => Ok(Value::from(py.items(&value)?)),
        }
    }),
    ("=unpack", |py, mut args| py.unpacked(&args.need("value")?)),
    ("=iter-unpack", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        let items = items.iter().map(|item| py.unpacked(item));
        Ok(Value::from(items.collect::<Result<Vec<_>, _>>()?))
    }),
    ("=list", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        py.list(items)
    }),
    ("=tuple", |py, mut args| {
        Sequence::tuple(py.items(&args.need("value")?)?)
    }),
    ("=dict", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        py.pay_items(items.len())?;
        let mut pairs = Vec::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            py.hashable(&key)?;
            pairs.push((key, value));
        }
        Ok(Value::from_object(Dict::new(py.shade, pairs)?))
    }),
];

/// A number, with Python's True and False.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub(super) fn float(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(x) => x,
        }
    }
}

pub(super) fn number(value: &Value) -> Option<Number> {
    match kind(value) {
        Kind::Bool(flag) => Some(Number::Int(flag.into())),
        Kind::Int(i) => Some(Number::Int(i)),
        Kind::Float(x) => Some(Number::Float(x)),
        _ => None,
    }
}

pub(super) fn integer(i: i128) -> Value {
    i64::try_from(i).map_or_else(|_| Value::from(i), Value::from)
}

fn overflow<T>() -> Result<T, Error> {
    refuse("an integer has more than 127 bits")
}

fn two(mut args: Args) -> Result<[Value; 2], Error> {
    Ok([args.need("left")?, args.need("right")?])
}

/// An error of an operator between types.
fn unsupported<T>(operator: &str, a: &Value, b: &Value) -> Result<T, Error> {
    refuse(format!(
        "{} {operator} {} is not possible",
        type_name(a),
        type_name(b)
    ))
}

fn arithmetic(
    operator: &str,
    [a, b]: [Value; 2],
    int: impl Fn(i128, i128) -> Option<i128>,
    float: impl Fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    let (Some(x), Some(y)) = (number(&a), number(&b)) else {
        return unsupported(operator, &a, &b);
    };
    let divides = matches!(operator, "//" | "%");
    if divides && y.float() == 0.0 {
        return refuse("division by zero");
    }
    match (x, y) {
        (Number::Int(x), Number::Int(y)) => {
            int(x, y).map_or_else(overflow, |result| Ok(integer(result)))
        }
        _ => Ok(Value::from(float(x.float(), y.float()))),
    }
}

fn floor_div(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let is_rounded_up = a % b != 0 && (a < 0) != (b < 0);
    Some(if is_rounded_up {
        quotient - 1
    } else {
        quotient
    })
}

fn floor_mod(a: i128, b: i128) -> Option<i128> {
    let rest = a.checked_rem(b)?;
    Some(if rest != 0 && (rest < 0) != (b < 0) {
        rest + b
    } else {
        rest
    })
}

fn divide([a, b]: [Value; 2]) -> Result<Value, Error> {
    match (number(&a), number(&b)) {
        (Some(_), Some(y)) if y.float() == 0.0 => refuse("division by zero"),
        (Some(x), Some(y)) => Ok(Value::from(x.float() / y.float())),
        _ => unsupported("/", &a, &b),
    }
}

fn power([a, b]: [Value; 2]) -> Result<Value, Error> {
    match (number(&a), number(&b)) {
        (Some(Number::Int(x)), Some(Number::Int(y))) if y >= 0 => u32::try_from(y)
            .ok()
            .and_then(|y| x.checked_pow(y))
            .map_or_else(overflow, |result| Ok(integer(result))),
        (Some(x), Some(y)) if x.float() == 0.0 && y.float() < 0.0 => refuse("division by zero"),
        (Some(x), Some(y)) => Ok(Value::from(x.float().powf(y.float()))),
        _ => unsupported("**", &a, &b),
    }
}

impl Python<'_, '_, '_> {
    pub(super) fn eq(&self, a: &Value, b: &Value, depth: usize) -> Result<bool, Error> {
        if depth > MAX_DEPTH {
            return refuse("values are nested too deeply to be compared");
        }
        self.state.consume_fuel(1)?;
        let lists = |a: &[Value], b: &[Value]| {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b) {
                if !self.eq(a, b, depth + 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match (kind(a), kind(b)) {
            (Kind::Text(a), Kind::Text(b)) => {
                self.pay(a.len().min(b.len()))?;
                // Each character has one shade or is bare, so that lengths differ only in bytes.
                Ok(a == b || self.shade.plain(a) == self.shade.plain(b))
            }
            (Kind::Undefined, Kind::Undefined) | (Kind::None, Kind::None) => Ok(true),
            (Kind::List(a), Kind::List(b)) | (Kind::Tuple(a), Kind::Tuple(b)) => lists(a, b),
            (Kind::Dict(a), Kind::Dict(b)) => {
                if a.entries().len() != b.entries().len() {
                    return Ok(false);
                }
                for (key, value) in a.entries() {
                    match b.get(key) {
                        Some(other) if self.eq(value, other, depth + 1)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            _ => match (number(a), number(b)) {
                (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(a == b),
                (Some(a), Some(b)) => Ok(a.float() == b.float()),
                _ => Ok(super::objects::is_same(a, b)),
            },
        }
    }

    /// The order of two values that Python can order.
    pub(super) fn order(&self, a: &Value, b: &Value, depth: usize) -> Result<Ordering, Error> {
        if depth > MAX_DEPTH {
            return refuse("values are nested too deeply to be compared");
        }
        self.state.consume_fuel(1)?;
        match (kind(a), kind(b)) {
            (Kind::Text(a), Kind::Text(b)) => {
                self.pay(a.len().min(b.len()))?;
                Ok(self.shade.plain(a).cmp(&self.shade.plain(b)))
            }
            (Kind::List(a), Kind::List(b)) | (Kind::Tuple(a), Kind::Tuple(b)) => {
                for (a, b) in a.iter().zip(b) {
                    if !self.eq(a, b, depth + 1)? {
                        return self.order(a, b, depth + 1);
                    }
                }
                Ok(a.len().cmp(&b.len()))
            }
            _ => match (number(a), number(b)) {
                (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(a.cmp(&b)),
                (Some(a), Some(b)) => Ok(a.float().total_cmp(&b.float())),
                _ => unsupported("<", a, b),
            },
        }
    }

    fn compare(&self, [a, b]: [Value; 2], is: fn(Ordering) -> bool) -> Result<Value, Error> {
        if let (Some(x), Some(y)) = (number(&a), number(&b)) {
            // Nothing is less or greater than NaN.
            let order = x.float().partial_cmp(&y.float());
            if order.is_none() {
                return Ok(Value::from(false));
            }
        }
        self.order(&a, &b, 0).map(|order| Value::from(is(order)))
    }

    /// `item in container`
    pub(super) fn contains(&self, container: &Value, item: &Value) -> Result<bool, Error> {
        match (kind(container), kind(item)) {
            (Kind::Text(text), Kind::Text(part)) => {
                self.pay(text.len() + part.len())?;
                let part = self.shade.plain(part);
                Ok(self.shade.plain(text).contains(part.as_ref()))
            }
            (Kind::Text(_), _) => refuse("only text can be in text"),
            (Kind::Dict(dict), _) => {
                self.hashable(item)?;
                Ok(dict.get(item).is_some())
            }
            (Kind::None | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_), _) => {
                refuse(format!("{} holds nothing", type_name(container)))
            }
            (Kind::Other, _) if container.len().is_some() => Ok(container
                .get_item(item)
                .is_ok_and(|found| !found.is_undefined())),
            _ => {
                for other in self.items(container)? {
                    if self.eq(&other, item, 0)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    pub(super) fn hashable(&self, key: &Value) -> Result<(), Error> {
        match kind(key) {
            Kind::List(_) | Kind::Dict(_) => {
                refuse(format!("a {} cannot be a key", type_name(key)))
            }
            Kind::Tuple(items) => {
                self.pay_items(items.len())?;
                items.iter().try_for_each(|item| self.hashable(item))
            }
            _ => Ok(()),
        }
    }

    fn add(&self, [a, b]: [Value; 2]) -> Result<Value, Error> {
        let joined = |a: &[Value], b: &[Value]| {
            self.pay_items(a.len() + b.len())?;
            Ok::<_, Error>([a, b].concat())
        };
        match (kind(&a), kind(&b)) {
            (Kind::Text(x), Kind::Text(y)) => {
                let (x, y) = (self.markup_beside(&a, x, &b), self.markup_beside(&b, y, &a));
                self.pay(x.len() + y.len())?;
                let text = [x.as_ref(), y.as_ref()].concat();
                Ok(if a.is_safe() || b.is_safe() {
                    Value::from_safe_string(text)
                } else {
                    Value::from(text)
                })
            }
            (Kind::List(x), Kind::List(y)) => Sequence::list(joined(x, y)?),
            (Kind::Tuple(x), Kind::Tuple(y)) => Sequence::tuple(joined(x, y)?),
            _ => arithmetic("+", [a, b], i128::checked_add, |a, b| a + b),
        }
    }

    /// A text that is added to one marked as safe is escaped.
    fn markup_beside<'t>(
        &self,
        value: &Value,
        text: &'t str,
        other: &Value,
    ) -> std::borrow::Cow<'t, str> {
        if other.is_safe() && !value.is_safe() {
            self.escape_html(text).into()
        } else {
            text.into()
        }
    }

    fn mul(&self, [a, b]: [Value; 2]) -> Result<Value, Error> {
        let (value, times) = match (number(&a), number(&b)) {
            (None, Some(Number::Int(n))) => (&a, n),
            (Some(Number::Int(n)), None) => (&b, n),
            _ => return arithmetic("*", [a, b], i128::checked_mul, |a, b| a * b),
        };
        let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
        match kind(value) {
            Kind::Text(text) => {
                self.pay(text.len().saturating_mul(times))?;
                let text = text.repeat(if text.is_empty() { 0 } else { times });
                Ok(if value.is_safe() {
                    Value::from_safe_string(text)
                } else {
                    Value::from(text)
                })
            }
            Kind::List(items) | Kind::Tuple(items) => {
                // What is paid for does not overflow.
                self.pay_items(items.len().saturating_mul(times))?;
                let items = items
                    .iter()
                    .cloned()
                    .cycle()
                    .take(items.len() * times)
                    .collect();
                match kind(value) {
                    Kind::Tuple(_) => Sequence::tuple(items),
                    _ => Sequence::list(items),
                }
            }
            _ => unsupported("*", &a, &b),
        }
    }

    fn modulo(&self, [a, b]: [Value; 2]) -> Result<Value, Error> {
        if let Kind::Text(_) = kind(&a) {
            let values = match kind(&b) {
                Kind::Tuple(items) => items.to_vec(),
                _ => vec![b],
            };
            return self.format_printf(&a, values, Vec::new());
        }
        let float = |a: f64, b: f64| a - b * (a / b).floor();
        arithmetic("%", [a, b], floor_mod, float)
    }

    /// What is assigned to several names: texts are taken apart as lists are.
    fn unpacked(&self, value: &Value) -> Result<Value, Error> {
        match kind(value) {
            Kind::Text(_) => self.list(self.items(value)?),
            _ => Ok(value.clone()),
        }
    }
}
