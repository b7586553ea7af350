//! Methods of Python's values. As in transformers, what would change a list or a dict is refused.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

use super::args::Args;
use super::objects::{Dict, Sequence, View};
use super::{Kind, Python, kind, refuse};

impl Python<'_, '_, '_> {
    /// `value.name(...)`
    pub(super) fn method(&self, value: &Value, name: &str, args: Args) -> Result<Value, Error> {
        match kind(value) {
            Kind::Text(text) => self.text_method(value, text, name, args),
            Kind::Dict(dict) => self.dict_method(value, dict, name, args),
            Kind::List(items) | Kind::Tuple(items) => self.list_method(items, name, args),
            Kind::Int(i) if name == "bit_length" => {
                Ok(Value::from(128 - i.unsigned_abs().leading_zeros()))
            }
            Kind::Float(x) if name == "is_integer" => Ok(Value::from(x.fract() == 0.0)),
            _ => Err(ErrorKind::UnknownMethod.into()),
        }
    }

    fn dict_method(
        &self,
        value: &Value,
        dict: &Dict,
        name: &str,
        mut args: Args,
    ) -> Result<Value, Error> {
        let entries = dict.entries();
        let result = match name {
            "get" => {
                let key = args.need("key")?;
                self.hashable(&key)?;
                let otherwise = args.take("default").unwrap_or(Value::from(()));
                dict.get(&key).cloned().unwrap_or(otherwise)
            }
            "items" => {
                self.pay_items(3 * entries.len())?;
                let pairs = entries
                    .iter()
                    .map(|(key, value)| Sequence::tuple(vec![key.clone(), value.clone()]));
                View::value("dict_items", pairs.collect::<Result<_, _>>()?)?
            }
            "keys" | "values" => {
                self.pay_items(entries.len())?;
                let (kind, items): (_, Vec<Value>) = if name == "keys" {
                    let keys = entries.iter().map(|(key, _)| key.clone());
                    ("dict_keys", keys.collect())
                } else {
                    let values = entries.iter().map(|(_, value)| value.clone());
                    ("dict_values", values.collect())
                };
                View::value(kind, items)?
            }
            "copy" => value.clone(),
            "clear" | "pop" | "popitem" | "setdefault" | "update" => {
                return refuse(format!("a dict may not be changed (`{name}`)"));
            }
            _ => return Err(ErrorKind::UnknownMethod.into()),
        };
        args.end()?;
        Ok(result)
    }

    fn list_method(&self, items: &[Value], name: &str, mut args: Args) -> Result<Value, Error> {
        match name {
            "index" | "count" => {
                let wanted = args.need("value")?;
                args.end()?;
                let mut count = 0;
                for (index, item) in items.iter().enumerate() {
                    if self.eq(item, &wanted, 0)? {
                        if name == "index" {
                            return Ok(Value::from(index));
                        }
                        count += 1;
                    }
                }
                if name == "index" {
                    return refuse("the list does not have that item");
                }
                Ok(Value::from(count))
            }
            "copy" => self.list(items.to_vec()),
            "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" => {
                refuse(format!("a list may not be changed (`{name}`)"))
            }
            _ => Err(ErrorKind::UnknownMethod.into()),
        }
    }
}
