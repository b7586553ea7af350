//! Values as Python prints them: `str`, `repr`, numbers, and text with placeholders. Text of messages
//! stays shaded.

use minijinja::Error;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::Value;

use super::objects::{Method, View};
use super::{Kind, Python, kind, refuse};

/// Deepest values that are printed; they are not nested deeper ([`super::objects`]).
const MAX_DEPTH: usize = 300;

/// A float as Python's `repr` writes it: the shortest digits that read back the same.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Whether Python's `repr` writes a character as it is. Rust escapes the same categories, and marks
/// that extend a character only at the start of a text.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() => false,
        c => !format!("{:?}", format!("a{c}")).contains("\\u{"),
    }
}

impl Python<'_, '_, '_> {
    /// `str(value)`
    pub(super) fn str(&self, value: &Value) -> Result<String, Error> {
        match kind(value) {
            Kind::Text(text) => {
                self.pay(text.len())?;
                Ok(text.to_owned())
            }
            Kind::Undefined => Ok(String::new()),
            _ => {
                let mut out = String::new();
                self.repr(value, &mut out, 0)?;
                Ok(out)
            }
        }
    }

    fn repr(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return refuse("the value is nested too deeply to be printed");
        }
        self.state.consume_fuel(1)?;
        let items = |open: &str, items: &[Value], close: &str, out: &mut String| {
            out.push_str(open);
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                self.repr(item, out, depth + 1)?;
            }
            out.push_str(close);
            Ok(())
        };
        match kind(value) {
            Kind::Undefined => out.push_str("Undefined"),
            Kind::None => out.push_str("None"),
            Kind::Bool(flag) => out.push_str(if flag { "True" } else { "False" }),
            Kind::Int(i) => out.push_str(&i.to_string()),
            Kind::Float(x) => out.push_str(&float(x)),
            Kind::Text(text) if value.is_safe() => {
                out.push_str("Markup(");
                self.repr_text(text, out)?;
                out.push(')');
            }
            Kind::Text(text) => self.repr_text(text, out)?,
            Kind::List(list) => items("[", list, "]", out)?,
            Kind::Tuple(tuple) => {
                items("(", tuple, if tuple.len() == 1 { ",)" } else { ")" }, out)?
            }
            Kind::Dict(dict) => {
                out.push('{');
                for (index, (key, value)) in dict.entries().iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    self.repr(key, out, depth + 1)?;
                    out.push_str(": ");
                    self.repr(value, out, depth + 1)?;
                }
                out.push('}');
            }
            Kind::Iterable | Kind::Other => {
                if let Some(view) = value.downcast_object_ref::<View>() {
                    out.push_str(view.kind);
                    return items("([", view.items(), "])", out);
                }
                // Python prints an address here, which no template can want.
                let name = match value.downcast_object_ref::<Method>() {
                    Some(method) => format!("<built-in method {}>", method.name),
                    None if value
                        .as_object()
                        .is_some_and(|o| o.type_name().contains("acro")) =>
                    {
                        value.to_string()
                    }
                    None => "<object>".to_owned(),
                };
                out.push_str(&name);
            }
        }
        Ok(())
    }

    fn repr_text(&self, text: &str, out: &mut String) -> Result<(), Error> {
        self.pay(text.len())?;
        let plain = self.shade.plain(text);
        let quote = if plain.contains('\'') && !plain.contains('"') {
            '"'
        } else {
            '\''
        };
        out.push(quote);
        out.push_str(&self.shade.map(text, |c| match c {
            '\n' => Some("\\n".to_owned()),
            '\r' => Some("\\r".to_owned()),
            '\t' => Some("\\t".to_owned()),
            c if c == quote || c == '\\' => Some(format!("\\{c}")),
            c if is_printable(c) => None,
            c => Some(match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02x}"),
                code @ 0x100..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }));
        out.push(quote);
        Ok(())
    }

    /// Values for a text with placeholders: what is neither text nor number is printed first.
    fn printed(&self, value: Value) -> Result<Value, Error> {
        match kind(&value) {
            Kind::Text(_) | Kind::Int(_) | Kind::Float(_) => Ok(value),
            _ => self.str(&value).map(Value::from),
        }
    }

    fn format(
        &self,
        style: FormatStyle,
        text: &Value,
        values: Vec<Value>,
        named: Vec<(Value, Value)>,
    ) -> Result<Value, Error> {
        let Some(pattern) = text.as_str() else {
            return refuse("only text can be formatted");
        };
        // A width in the pattern is memory: pay for all digits that there are.
        let widths = pattern
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse::<usize>().ok());
        self.pay(pattern.len() + widths.fold(0, usize::saturating_add))?;
        let places = pattern.matches(['{', '%']).count();
        let mut longest = 32;
        let mut args = Vec::new();
        // `'%(name)s' % {...}`
        let mut named = named;
        let mut values = values;
        if let [only] = values.as_slice()
            && let Kind::Dict(dict) = kind(only)
            && pattern.contains("%(")
        {
            named.extend(dict.entries().iter().cloned());
            values.clear();
        }
        for value in values {
            if pattern.contains('*') {
                self.pay(value.as_usize().unwrap_or(0))?;
            }
            let value = self.printed(value)?;
            longest = longest.max(value.as_str().map_or(0, str::len));
            args.push(value);
        }
        // Every place may take the longest value.
        self.pay(longest.saturating_mul(places))?;
        if !named.is_empty() {
            let mut pairs = Vec::new();
            for (name, value) in named {
                let value = self.printed(value)?;
                self.pay(value.as_str().map_or(0, str::len).saturating_mul(places))?;
                pairs.push((name.to_string(), value));
            }
            args.push(Value::from(minijinja::value::Kwargs::from_iter(pairs)));
        }
        let text = format(style, pattern, &args)?;
        self.pay(text.len())?;
        Ok(Value::from(text))
    }

    /// `text % values`
    pub(super) fn format_printf(
        &self,
        text: &Value,
        values: Vec<Value>,
        named: Vec<(Value, Value)>,
    ) -> Result<Value, Error> {
        let pattern = text.as_str().unwrap_or_default().replace("%%", "");
        let takes = pattern.matches(['%', '*']).count();
        // What is looked into by name or index need not be taken by a place.
        let is_container = |v: &Value| matches!(kind(v), Kind::Dict(_) | Kind::List(_));
        let looked_into = matches!(values.as_slice(), [only] if is_container(only));
        if values.len() > takes && !looked_into {
            return refuse("the text has fewer places than there are values");
        }
        self.format(FormatStyle::Printf, text, values, named)
    }

    /// `text.format(...)`
    pub(super) fn format_braces(
        &self,
        text: &Value,
        values: Vec<Value>,
        named: Vec<(Value, Value)>,
    ) -> Result<Value, Error> {
        self.format(FormatStyle::StrFormat, text, values, named)
    }
}
