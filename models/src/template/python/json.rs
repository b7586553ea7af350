//! The `tojson` filter as Hugging Face defines it for chat templates: Python's `json.dumps` with
//! `ensure_ascii=False`, so `", "` and `": "` between items, and no escapes for HTML. Text of
//! messages is escaped by what its characters stand for, and stays marked as such.

use minijinja::Error;
use minijinja::value::Value;

use super::args::Args;
use super::filters::{pair, unpair};
use super::printing::float;
use super::{Kind, Python, kind, refuse, type_name};

/// Deepest nesting.
const MAX_DEPTH: usize = 100;

struct Writer<'p, 'a, 't, 'e> {
    python: &'p Python<'a, 't, 'e>,
    out: String,
    item_separator: String,
    key_separator: String,
    indent: Option<String>,
    ensure_ascii: bool,
    sort_keys: bool,
}

/// `value | tojson(ensure_ascii=..., indent=..., separators=(..., ...), sort_keys=...)`
pub(super) fn tojson(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    let ensure_ascii = args.flag("ensure_ascii", false);
    let indent = args.take("indent").filter(|indent| !indent.is_none());
    let separators = args.take("separators").filter(|pair| !pair.is_none());
    let sort_keys = args.flag("sort_keys", false);
    args.end()?;
    let indent = match indent {
        None => None,
        Some(indent) => Some(match kind(&indent) {
            Kind::Text(text) => text.to_owned(),
            Kind::Int(n) => {
                let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
                py.pay(n)?;
                " ".repeat(n)
            }
            Kind::Bool(flag) => " ".repeat(usize::from(flag)),
            _ => return refuse("the indentation of JSON is a number or a text"),
        }),
    };
    let (item_separator, key_separator) = match separators {
        Some(pair) => match py.items(&pair)?.as_slice() {
            [item, key] => (py.str(item)?, py.str(key)?),
            _ => return refuse("the separators of JSON are two texts"),
        },
        None => (
            (if indent.is_some() { "," } else { ", " }).to_owned(),
            ": ".to_owned(),
        ),
    };
    let mut writer = Writer {
        python: py,
        out: String::new(),
        item_separator,
        key_separator,
        indent,
        ensure_ascii,
        sort_keys,
    };
    writer.value(&value, 0)?;
    Ok(Value::from(writer.out))
}

impl Writer<'_, '_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return refuse("the value is nested too deeply for JSON");
        }
        self.python.pay(0)?;
        match kind(value) {
            Kind::Text(text) => self.string(text)?,
            Kind::List(items) | Kind::Tuple(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.separate(index == 0, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.close(items.is_empty(), depth, ']')?;
            }
            Kind::Dict(dict) => {
                self.out.push('{');
                let mut entries: Vec<(Value, Value)> = dict.entries().to_vec();
                if self.sort_keys {
                    let keyed = entries
                        .into_iter()
                        .map(|(key, value)| Ok((key.clone(), pair(&key, &value)?)));
                    let sorted = self
                        .python
                        .sorted(keyed.collect::<Result<_, Error>>()?, false)?;
                    entries = sorted.iter().filter_map(unpair).collect();
                }
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.separate(index == 0, depth + 1)?;
                    match kind(key) {
                        Kind::Text(text) => self.string(text)?,
                        _ => {
                            self.out.push('"');
                            self.plain(key)?;
                            self.out.push('"');
                        }
                    }
                    let separator = self.key_separator.clone();
                    self.write(&separator)?;
                    self.value(value, depth + 1)?;
                }
                self.close(entries.is_empty(), depth, '}')?;
            }
            _ => self.plain(value)?,
        }
        Ok(())
    }

    /// What needs no quotes.
    fn plain(&mut self, value: &Value) -> Result<(), Error> {
        match kind(value) {
            Kind::None => self.out.push_str("null"),
            Kind::Bool(flag) => self.out.push_str(if flag { "true" } else { "false" }),
            Kind::Int(i) => self.out.push_str(&i.to_string()),
            Kind::Float(x) if x.is_nan() => self.out.push_str("NaN"),
            Kind::Float(x) if x == f64::INFINITY => self.out.push_str("Infinity"),
            Kind::Float(x) if x == f64::NEG_INFINITY => self.out.push_str("-Infinity"),
            Kind::Float(x) => self.out.push_str(&float(x)),
            _ => return refuse(format!("{} cannot be written as JSON", type_name(value))),
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.python.pay(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn separate(&mut self, is_first: bool, depth: usize) -> Result<(), Error> {
        if !is_first {
            let separator = self.item_separator.clone();
            self.write(&separator)?;
        }
        self.line(depth)
    }

    fn close(&mut self, is_empty: bool, depth: usize, bracket: char) -> Result<(), Error> {
        if !is_empty {
            self.line(depth)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            self.python.pay(indent.len().saturating_mul(depth))?;
            self.out.push('\n');
            let indent = indent.repeat(depth);
            self.out.push_str(&indent);
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.python.pay(text.len().saturating_mul(2))?;
        let ensure_ascii = self.ensure_ascii;
        self.out.push('"');
        self.out.push_str(&self.python.shade.map(text, |c| {
            Some(match c {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                '\0'..='\u{1f}' => format!("\\u{:04x}", u32::from(c)),
                '\u{7f}'.. if ensure_ascii && !c.is_ascii() => {
                    let mut units = [0; 2];
                    let units = c.encode_utf16(&mut units).iter();
                    units.map(|unit| format!("\\u{unit:04x}")).collect()
                }
                _ => return None,
            })
        }));
        self.out.push('"');
        Ok(())
    }
}
