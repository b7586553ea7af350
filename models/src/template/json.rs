//! The `tojson` filter as Hugging Face defines it for chat templates: Python's `json.dumps` with
//! `ensure_ascii=False`, so `", "` and `": "` between items, and no escapes for HTML. Text of
//! messages is escaped by what its characters stand for, and stays marked as such.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, ValueKind},
};

use super::shade::{SHADE_KEY, Shade};

/// Deepest nesting.
const MAX_DEPTH: usize = 100;

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    shade: Option<&'a Shade>,
    out: String,
    item_separator: String,
    key_separator: String,
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
}

/// `value | tojson(indent=..., ensure_ascii=..., separators=(..., ...), sort_keys=...)`
pub(super) fn tojson(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let indent: Option<Value> = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get("indent")?,
    };
    let indent = match indent.filter(|indent| !indent.is_none()) {
        Some(indent) => Some(usize::try_from(indent)?.min(16)),
        None => None,
    };
    let separators: Option<Value> = kwargs.get("separators")?;
    let (item_separator, key_separator) = match separators.filter(|pair| !pair.is_none()) {
        Some(pair) => (
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        ),
        None => (
            (if indent.is_some() { "," } else { ", " }).to_owned(),
            ": ".to_owned(),
        ),
    };
    let shade = state.lookup(SHADE_KEY);
    let mut writer = Writer {
        state,
        shade: shade.as_ref().and_then(|shade| shade.downcast_object_ref()),
        out: String::new(),
        item_separator,
        key_separator,
        indent,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(refuse("the value is nested too deeply for JSON"));
        }
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                self.out.push('[');
                let mut is_empty = true;
                for item in value.try_iter()?.checked() {
                    self.separate(is_empty, depth + 1);
                    self.value(&item?, depth + 1)?;
                    is_empty = false;
                }
                self.close(is_empty, depth, ']');
            }
            ValueKind::Map => {
                self.out.push('{');
                let mut keys = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                if self.sort_keys {
                    keys.sort();
                }
                let is_empty = keys.is_empty();
                for (index, key) in keys.iter().enumerate() {
                    self.separate(index == 0, depth + 1);
                    match key.as_str() {
                        Some(text) => self.string(text)?,
                        None => {
                            let text = key.to_string();
                            self.string(&text)?;
                        }
                    }
                    self.out.push_str(&self.key_separator);
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                self.close(is_empty, depth, '}');
            }
            _ => return Err(refuse("the value cannot be written as JSON")),
        }
        Ok(())
    }

    fn separate(&mut self, is_first: bool, depth: usize) {
        if !is_first {
            self.out.push_str(&self.item_separator);
        }
        self.line(depth);
    }

    fn close(&mut self, is_empty: bool, depth: usize, bracket: char) {
        if !is_empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 64)?;
        self.out.push('"');
        for c in text.chars() {
            let (meaning, shaded) = self.shade.map_or((c, false), |shade| shade.meaning(c));
            let escape = match meaning {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                '\0'..='\u{1f}' => format!("\\u{:04x}", meaning as u32),
                _ if self.ensure_ascii && !meaning.is_ascii() => {
                    let mut units = [0; 2];
                    meaning
                        .encode_utf16(&mut units)
                        .iter()
                        .map(|u| format!("\\u{u:04x}"))
                        .collect()
                }
                _ => {
                    self.out.push(c);
                    continue;
                }
            };
            match self.shade {
                Some(shade) if shaded => {
                    self.out.extend(escape.chars().map(|c| shade.existing(c)));
                }
                _ => self.out.push_str(&escape),
            }
        }
        self.out.push('"');
        Ok(())
    }
}
