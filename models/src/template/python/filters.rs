//! Jinja's filters of texts and single values, as Jinja for Python defines them, and its functions.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

use super::args::Args;
use super::objects::{Dict, Sequence};
use super::operators::{Number, integer, number};
use super::{Call, Kind, Python, kind, refuse, type_name};

/// Most numbers that `range` gives: as in Jinja's sandbox.
const MAX_RANGE: i64 = 100_000;

fn text_filter(
    py: &Python<'_, '_, '_>,
    args: &mut Args,
    change: impl FnOnce(&str) -> Result<String, Error>,
) -> Result<Value, Error> {
    let value = args.need("value")?;
    let text = change(&py.str(&value)?)?;
    Ok(if value.is_safe() {
        Value::from_safe_string(text)
    } else {
        Value::from(text)
    })
}

pub(super) const FILTERS: &[(&str, Call)] = &[
    ("upper", |py, mut args| {
        text_filter(py, &mut args, |text| py.upper(text))
    }),
    ("lower", |py, mut args| {
        text_filter(py, &mut args, |text| py.lower(text))
    }),
    ("capitalize", |py, mut args| {
        text_filter(py, &mut args, |text| py.capitalized(text))
    }),
    ("title", |py, mut args| {
        // Unlike `str.title`, words begin after spaces, dashes and opening brackets only.
        let begins = std::cell::Cell::new(true);
        text_filter(py, &mut args, |text| {
            py.recase(text, |c, _| {
                let separates = c.is_whitespace() || matches!(c, '-' | '(' | '{' | '[' | '<');
                if begins.replace(separates) {
                    c.to_uppercase().collect()
                } else {
                    c.to_lowercase().collect()
                }
            })
        })
    }),
    ("trim", |py, mut args| {
        let value = args.need("value")?;
        let set = match args.take("chars") {
            Some(set) if !set.is_none() => {
                let set = py.str(&set)?;
                Some(py.shade.plain(&set).into_owned())
            }
            _ => None,
        };
        let text = py.str(&value)?;
        let kept = py.text(&text)?.strip(set.as_deref(), true, true);
        Ok(Value::from(kept))
    }),
    ("string", |py, mut args| {
        let value = args.need("value")?;
        match kind(&value) {
            Kind::Text(_) => Ok(value),
            _ => py.str(&value).map(Value::from),
        }
    }),
    ("replace", |py, mut args| {
        let value = args.need("value")?;
        let (old, new) = (args.need("old")?, args.need("new")?);
        let most = args.int("count")?.and_then(|n| usize::try_from(n).ok());
        let (text, old, new) = (py.str(&value)?, py.str(&old)?, py.str(&new)?);
        py.replaced(&text, &old, &new, most).map(Value::from)
    }),
    ("indent", indent),
    ("center", |py, mut args| {
        let value = args.need("value")?;
        let width = args.int("width")?.unwrap_or(80);
        py.padded(&py.str(&value)?, "center", width, " ")
            .map(Value::from)
    }),
    ("truncate", truncate),
    ("wordcount", |py, mut args| {
        let text = py.str(&args.need("value")?)?;
        let plain = py.shade.plain(&text);
        let words = plain.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        Ok(Value::from(words.filter(|word| !word.is_empty()).count()))
    }),
    ("format", |py, mut args| {
        let text = args.need("value")?;
        let text = Value::from(py.str(&text)?);
        py.format_printf(&text, args.rest(), args.all_named())
    }),
    ("safe", |py, mut args| {
        Ok(Value::from_safe_string(py.str(&args.need("value")?)?))
    }),
    ("escape", |py, args| escape(py, args, false)),
    ("e", |py, args| escape(py, args, false)),
    ("forceescape", |py, args| escape(py, args, true)),
    ("default", default),
    ("d", default),
    ("int", |py, mut args| {
        let value = args.need("value")?;
        let otherwise = args.take("default").unwrap_or(Value::from(0));
        let base = args.int("base")?.unwrap_or(10);
        to_int(py, &value, otherwise, base)
    }),
    ("float", |py, mut args| {
        let value = args.need("value")?;
        let otherwise = args.take("default").unwrap_or(Value::from(0.0));
        Ok(to_float(py, &value).map_or(otherwise, Value::from))
    }),
    ("abs", |_, mut args| match number(&args.need("value")?) {
        Some(Number::Int(i)) => Ok(integer(i.saturating_abs())),
        Some(Number::Float(x)) => Ok(Value::from(x.abs())),
        None => refuse("only numbers have an absolute value"),
    }),
    ("round", round),
    ("attr", |py, mut args| {
        let value = args.need("value")?;
        let name = args.need("name")?;
        match kind(&value) {
            // Entries are no attributes; methods are.
            Kind::Dict(_) => py.attribute(&Value::from_object(Dict::new(py.shade, [])?), &name),
            _ => py.attribute(&value, &name),
        }
    }),
    ("tojson", super::json::tojson),
];

pub(super) const FUNCTIONS: &[(&str, Call)] = &[
    ("range", |py, mut args| {
        let first = args.need("start")?;
        let rest = args.rest();
        let bound = |value: &Value| match number(value) {
            Some(Number::Int(i)) => Ok(i.clamp(-(1 << 62), 1 << 62) as i64),
            _ => refuse("`range` wants integers"),
        };
        let (start, stop, step) = match rest.as_slice() {
            [] => (0, bound(&first)?, 1),
            [stop] => (bound(&first)?, bound(stop)?, 1),
            [stop, step, ..] => (bound(&first)?, bound(stop)?, bound(step)?),
        };
        if step == 0 {
            return refuse("the step of `range` is zero");
        }
        let count = if step > 0 {
            (stop.saturating_sub(start)).max(0).div_euclid(step)
        } else {
            (start.saturating_sub(stop))
                .max(0)
                .div_euclid(step.saturating_neg())
        };
        if count > MAX_RANGE {
            return refuse(format!("a range has more than {MAX_RANGE} numbers"));
        }
        py.pay_items(usize::try_from(count).unwrap_or(0))?;
        let mut numbers = Vec::new();
        let mut at = start;
        while if step > 0 { at < stop } else { at > stop } {
            numbers.push(Value::from(at));
            at = at.saturating_add(step);
        }
        if numbers.len() as i64 > MAX_RANGE {
            return refuse(format!("a range has more than {MAX_RANGE} numbers"));
        }
        py.list(numbers)
    }),
    ("dict", |py, mut args| {
        let mut pairs = Vec::new();
        if let Some(from) = args.rest().first() {
            match kind(from) {
                Kind::Dict(dict) => pairs.extend(dict.entries().iter().cloned()),
                _ => {
                    for item in py.items(from)? {
                        match <[Value; 2]>::try_from(py.items(&item)?) {
                            Ok([key, value]) => pairs.push((key, value)),
                            Err(_) => return refuse("`dict` wants pairs"),
                        }
                    }
                }
            }
        }
        pairs.extend(args.all_named());
        py.pay_items(2 * pairs.len())?;
        Ok(Value::from_object(Dict::new(py.shade, pairs)?))
    }),
];

fn default(_: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    let otherwise = args.take("default_value").unwrap_or(Value::from(""));
    let or_false = args.flag("boolean", false);
    Ok(if value.is_undefined() || (or_false && !value.is_true()) {
        otherwise
    } else {
        value
    })
}

fn escape(py: &mut Python<'_, '_, '_>, mut args: Args, force: bool) -> Result<Value, Error> {
    let value = args.need("value")?;
    if value.is_safe() && !force {
        return Ok(value);
    }
    let text = py.str(&value)?;
    py.pay(text.len().saturating_mul(6))?;
    Ok(Value::from_safe_string(py.escape_html(&text)))
}

impl Python<'_, '_, '_> {
    /// A text with what HTML gives a meaning escaped.
    pub(super) fn escape_html(&self, text: &str) -> String {
        self.shade.map(text, |c| {
            let escaped = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&#34;",
                '\'' => "&#39;",
                _ => return None,
            };
            Some(escaped.to_owned())
        })
    }
}

fn indent(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    let Kind::Text(text) = kind(&value) else {
        return refuse(format!(
            "only text can be indented, not {}",
            type_name(&value)
        ));
    };
    let width = args.take("width").unwrap_or(Value::from(4));
    let (first, blank) = (args.flag("first", false), args.flag("blank", false));
    let indent = match kind(&width) {
        Kind::Text(text) => text.to_owned(),
        _ => match number(&width) {
            Some(Number::Int(n)) => {
                let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
                py.pay(n)?;
                " ".repeat(n)
            }
            _ => return refuse("the width of an indentation is a number or a text"),
        },
    };
    let text = format!("{text}\n");
    let lines = py.text(&text)?.lines(false);
    py.pay((indent.len() + 1).saturating_mul(lines.len()))?;
    let mut out = String::with_capacity(text.len());
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let indents = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if indents {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn truncate(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    if !matches!(kind(&value), Kind::Text(_) | Kind::Undefined) {
        return refuse(format!("only text is truncated, not {}", type_name(&value)));
    }
    let text = py.str(&value)?;
    let length = args.int("length")?.unwrap_or(255).max(0) as usize;
    let kills_words = args.flag("killwords", false);
    let end = match args.take("end") {
        Some(end) => py.str(&end)?,
        None => "...".to_owned(),
    };
    let leeway = args.int("leeway")?.unwrap_or(5).max(0) as usize;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let kept = length.saturating_sub(end.chars().count());
    let mut cut: String = text.chars().take(kept).collect();
    if !kills_words && let Some(space) = cut.rfind(' ') {
        cut.truncate(space);
    }
    cut.push_str(&end);
    Ok(Value::from(cut))
}

fn to_int(
    py: &Python<'_, '_, '_>,
    value: &Value,
    otherwise: Value,
    base: i64,
) -> Result<Value, Error> {
    if value.is_undefined() {
        return refuse("an undefined value is no integer");
    }
    let truncated = |x: f64| {
        // Python raises for NaN, and Jinja lets it.
        (x.is_finite() && x.abs() < 1e38).then(|| integer(x.trunc() as i128))
    };
    match number(value) {
        Some(Number::Int(i)) => return Ok(integer(i)),
        Some(Number::Float(x)) => return Ok(truncated(x).unwrap_or(otherwise)),
        None => {}
    }
    let Kind::Text(text) = kind(value) else {
        return Ok(otherwise);
    };
    let plain = py.shade.plain(text);
    let digits = plain.trim_matches(super::cuts::is_space).replace('_', "");
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = bare.to_ascii_lowercase();
    let bare = match base {
        16 => lower.strip_prefix("0x").unwrap_or(&lower),
        8 => lower.strip_prefix("0o").unwrap_or(&lower),
        2 => lower.strip_prefix("0b").unwrap_or(&lower),
        _ => &lower,
    };
    let is_bare = bare.starts_with(|c: char| c.is_ascii_alphanumeric());
    if let (2..=36, true) = (base, is_bare)
        && let Ok(i) = i128::from_str_radix(bare, base as u32)
    {
        return Ok(integer(sign * i));
    }
    Ok(to_float(py, value).and_then(truncated).unwrap_or(otherwise))
}

fn to_float(py: &Python<'_, '_, '_>, value: &Value) -> Option<f64> {
    match kind(value) {
        Kind::Text(text) => {
            let plain = py.shade.plain(text);
            plain
                .trim_matches(super::cuts::is_space)
                .replace('_', "")
                .parse()
                .ok()
        }
        _ => number(value).map(Number::float),
    }
}

fn round(_: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    let precision = args.int("precision")?.unwrap_or(0).clamp(-308, 308) as i32;
    let method = args.take("method");
    let Some(x) = number(&value) else {
        return refuse("only numbers can be rounded");
    };
    if let (Number::Int(i), None) = (x, &method)
        && precision >= 0
    {
        return Ok(integer(i));
    }
    let scale = 10f64.powi(precision);
    let x = x.float();
    let rounded = match method.as_ref().and_then(Value::as_str) {
        None | Some("common") if precision >= 0 => {
            // Rust's formatting rounds the exact value half to even, as Python does.
            format!("{x:.*}", precision as usize).parse().unwrap_or(x)
        }
        None | Some("common") => (x * scale).round_ties_even() / scale,
        Some("ceil") => (x * scale).ceil() / scale,
        Some("floor") => (x * scale).floor() / scale,
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "unknown way of rounding",
            ));
        }
    };
    Ok(Value::from(rounded))
}

/// A pair, such as a key and its value.
pub(super) fn pair(a: &Value, b: &Value) -> Result<Value, Error> {
    Sequence::tuple(vec![a.clone(), b.clone()])
}

/// What [`pair`] joined.
pub(super) fn unpair(pair: &Value) -> Option<(Value, Value)> {
    match kind(pair) {
        Kind::Tuple([a, b]) => Some((a.clone(), b.clone())),
        _ => None,
    }
}
