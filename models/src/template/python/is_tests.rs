//! Jinja's tests (`x is ...`) on Python's values.

use minijinja::Error;
use minijinja::value::Value;

use super::operators::{Number, number};
use super::{Call, Kind, Python, kind, refuse};

fn is(args: super::Args, test: impl Fn(&Value) -> bool) -> Result<Value, Error> {
    let mut args = args;
    Ok(Value::from(test(&args.need("value")?)))
}

fn divisible(args: super::Args, by: Option<i128>, rest: i128) -> Result<Value, Error> {
    let mut args = args;
    let value = args.need("value")?;
    let by = match by {
        Some(by) => by,
        None => match number(&args.need("num")?) {
            Some(Number::Int(by)) if by != 0 => by,
            _ => return refuse("only integers but zero divide"),
        },
    };
    match number(&value) {
        Some(Number::Int(value)) => {
            let left = value.checked_rem(by).map_or(0, |left| left.unsigned_abs());
            Ok(Value::from(left == rest.unsigned_abs()))
        }
        _ => refuse("only integers are even, odd or divisible"),
    }
}

fn all_letters(py: &Python<'_, '_, '_>, args: super::Args, upper: bool) -> Result<Value, Error> {
    let mut args = args;
    let text = py.str(&args.need("value")?)?;
    let plain = py.shade.plain(&text);
    let has = |is: fn(char) -> bool| plain.chars().any(is);
    let (has_upper, has_lower) = (has(char::is_uppercase), has(char::is_lowercase));
    Ok(Value::from(if upper {
        has_upper && !has_lower
    } else {
        has_lower && !has_upper
    }))
}

fn operator(py: &mut Python<'_, '_, '_>, name: &str, args: super::Args) -> Result<Value, Error> {
    let mut args = args;
    let values = [args.need("value")?, args.need("other")?];
    py.state.apply_filter(name, &values)
}

/// The tests.
pub(super) const TESTS: &[(&str, Call)] = &[
    ("defined", |_, args| is(args, |v| !v.is_undefined())),
    ("undefined", |_, args| is(args, Value::is_undefined)),
    ("callable", |_, args| {
        is(args, |v| {
            // An undefined value can be called, to say that it is undefined.
            v.is_undefined() || (matches!(kind(v), Kind::Other) && v.as_object().is_some())
        })
    }),
    ("none", |_, args| {
        is(args, |v| matches!(kind(v), Kind::None))
    }),
    ("boolean", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Bool(_)))
    }),
    ("true", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Bool(true)))
    }),
    ("false", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Bool(false)))
    }),
    ("integer", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Int(_)))
    }),
    ("float", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Float(_)))
    }),
    ("number", |_, args| is(args, |v| number(v).is_some())),
    ("string", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Text(_)))
    }),
    ("mapping", |_, args| {
        is(args, |v| matches!(kind(v), Kind::Dict(_)))
    }),
    ("sequence", |_, args| {
        is(args, |v| {
            matches!(
                kind(v),
                Kind::Text(_) | Kind::List(_) | Kind::Tuple(_) | Kind::Dict(_) | Kind::Undefined
            )
        })
    }),
    ("iterable", |_, args| {
        is(args, |v| {
            matches!(
                kind(v),
                Kind::Text(_)
                    | Kind::List(_)
                    | Kind::Tuple(_)
                    | Kind::Dict(_)
                    | Kind::Iterable
                    | Kind::Undefined
            )
        })
    }),
    ("odd", |_, args| divisible(args, Some(2), 1)),
    ("even", |_, args| divisible(args, Some(2), 0)),
    ("divisibleby", |_, args| divisible(args, None, 0)),
    ("lower", |py, args| all_letters(py, args, false)),
    ("upper", |py, args| all_letters(py, args, true)),
    ("sameas", |py, mut args| {
        let (a, b) = (args.need("value")?, args.need("other")?);
        let is_same = if a.as_object().is_some() {
            super::objects::is_same(&a, &b)
        } else {
            a.kind() == b.kind() && a.is_integer() == b.is_integer() && py.eq(&a, &b, 0)?
        };
        Ok(Value::from(is_same))
    }),
    ("escaped", |_, args| is(args, Value::is_safe)),
    ("in", |py, args| operator(py, "=in", args)),
    ("eq", |py, args| operator(py, "=eq", args)),
    ("equalto", |py, args| operator(py, "=eq", args)),
    ("==", |py, args| operator(py, "=eq", args)),
    ("ne", |py, args| operator(py, "=ne", args)),
    ("!=", |py, args| operator(py, "=ne", args)),
    ("lt", |py, args| operator(py, "=lt", args)),
    ("lessthan", |py, args| operator(py, "=lt", args)),
    ("<", |py, args| operator(py, "=lt", args)),
    ("le", |py, args| operator(py, "=le", args)),
    ("<=", |py, args| operator(py, "=le", args)),
    ("gt", |py, args| operator(py, "=gt", args)),
    ("greaterthan", |py, args| operator(py, "=gt", args)),
    (">", |py, args| operator(py, "=gt", args)),
    ("ge", |py, args| operator(py, "=ge", args)),
    (">=", |py, args| operator(py, "=ge", args)),
];
