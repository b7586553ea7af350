//! Methods of Python's `str` on shaded text. Where to cut is found in what the text means; what is cut is
//! the shaded text, so that marks stay with their characters.

use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

use super::args::Args;
use super::cuts::{Text, is_space};
use super::objects::Sequence;
use super::{Kind, Python, kind, refuse, type_name};

/// All methods, by their names in Python.
pub(super) const METHODS: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Python's `str.title` and the like look at letters in a row.
fn title(c: char, follows_letter: bool) -> String {
    if follows_letter {
        c.to_lowercase().collect()
    } else {
        c.to_uppercase().collect()
    }
}

impl Python<'_, '_, '_> {
    pub(super) fn text<'t>(&self, text: &'t str) -> Result<Text<'t>, Error> {
        self.pay(text.len())?;
        Ok(Text {
            shown: text,
            plain: self.shade.plain(text),
        })
    }

    pub(super) fn texts(&self, parts: Vec<&str>) -> Result<Value, Error> {
        self.list(parts.into_iter().map(Value::from).collect())
    }

    /// Each letter as `change` makes it; it is told whether another letter precedes.
    pub(super) fn recase(
        &self,
        text: &str,
        change: impl Fn(char, bool) -> String,
    ) -> Result<String, Error> {
        self.pay(text.len().saturating_mul(2))?;
        let follows = std::cell::Cell::new(false);
        Ok(self.shade.map(text, |c| {
            let follows_letter = follows.replace(c.is_alphabetic());
            Some(change(c, follows_letter))
        }))
    }

    pub(super) fn upper(&self, text: &str) -> Result<String, Error> {
        self.recase(text, |c, _| c.to_uppercase().collect())
    }

    pub(super) fn lower(&self, text: &str) -> Result<String, Error> {
        let lower = self.recase(text, |c, _| c.to_lowercase().collect())?;
        if !self.shade.plain(text).contains('\u{3a3}') {
            return Ok(lower);
        }
        // A sigma that ends a word has a letter of its own.
        let meant = self.shade.plain(text).to_lowercase();
        let mut meant = meant.chars();
        Ok(self.shade.map(&lower, |_| meant.next().map(String::from)))
    }

    pub(super) fn titled(&self, text: &str) -> Result<String, Error> {
        self.recase(text, title)
    }

    pub(super) fn capitalized(&self, text: &str) -> Result<String, Error> {
        let is_first = std::cell::Cell::new(true);
        self.recase(text, |c, _| title(c, !is_first.replace(false)))
    }

    /// Replaces at most so many occurrences.
    pub(super) fn replaced(
        &self,
        text: &str,
        old: &str,
        new: &str,
        most: Option<usize>,
    ) -> Result<String, Error> {
        let text = self.text(text)?;
        let old = self.shade.plain(old);
        let most = most.unwrap_or(usize::MAX);
        let found = text.plain.match_indices(old.as_ref()).take(most);
        let mut ranges = Vec::new();
        let mut start = 0;
        for (index, (at, _)) in found.enumerate() {
            if index % 64 == 0 {
                self.pay(64 * (new.len() + 32))?;
            }
            ranges.push((start, at));
            start = at + old.len();
        }
        ranges.push((start, text.plain.len()));
        Ok(text.parts(&ranges).join(new))
    }

    /// Joins what a list of texts holds.
    fn joined(&self, between: &str, items: &Value) -> Result<Value, Error> {
        let mut out = String::new();
        for (index, item) in self.items(items)?.iter().enumerate() {
            let Some(text) = item.as_str() else {
                return refuse(format!("{} cannot be joined to text", type_name(item)));
            };
            self.pay(between.len() + text.len())?;
            if index > 0 {
                out.push_str(between);
            }
            out.push_str(text);
        }
        Ok(Value::from(out))
    }

    /// A method of a text.
    pub(super) fn text_method(
        &self,
        value: &Value,
        text: &str,
        name: &str,
        mut args: Args,
    ) -> Result<Value, Error> {
        let this = self.text(text)?;
        let plain = this.plain.as_ref();
        let result = match name {
            "strip" | "lstrip" | "rstrip" => {
                let set = self.set(&mut args)?;
                Value::from(this.strip(set.as_deref(), name != "rstrip", name != "lstrip"))
            }
            "split" | "rsplit" => {
                let separator = self.set_named(&mut args, "sep")?;
                if separator.as_deref() == Some("") {
                    return refuse("the separator is empty");
                }
                let most = args.int("maxsplit")?.and_then(|n| usize::try_from(n).ok());
                self.texts(this.split(separator.as_deref(), most, name == "rsplit"))?
            }
            "splitlines" => self.texts(this.lines(args.flag("keepends", false)))?,
            "partition" | "rpartition" => {
                let separator = self.need_text(&mut args)?;
                let separator = self.shade.plain(&separator).into_owned();
                if separator.is_empty() {
                    return refuse("the separator is empty");
                }
                let found = if name == "partition" {
                    plain.find(&separator)
                } else {
                    plain.rfind(&separator)
                };
                let ranges = match found {
                    Some(at) => [
                        (0, at),
                        (at, at + separator.len()),
                        (at + separator.len(), plain.len()),
                    ],
                    None if name == "partition" => [(0, plain.len()), (0, 0), (0, 0)],
                    None => [(0, 0), (0, 0), (0, plain.len())],
                };
                Sequence::tuple(this.parts(&ranges).into_iter().map(Value::from).collect())?
            }
            "startswith" | "endswith" => {
                let wanted = args.need("prefix")?;
                let within = self.within(&this, &mut args)?;
                let wanted = match kind(&wanted) {
                    Kind::Tuple(items) => items.to_vec(),
                    _ => vec![wanted],
                };
                let mut is_found = false;
                for wanted in &wanted {
                    let Some(wanted) = wanted.as_str() else {
                        return refuse(format!("{name} wants text, not {}", type_name(wanted)));
                    };
                    let wanted = self.shade.plain(wanted);
                    is_found |= if name == "startswith" {
                        within.starts_with(wanted.as_ref())
                    } else {
                        within.ends_with(wanted.as_ref())
                    };
                }
                Value::from(is_found)
            }
            "find" | "rfind" | "index" | "rindex" | "count" => {
                let wanted = self.need_text(&mut args)?;
                let wanted = self.shade.plain(&wanted);
                let within = self.within(&this, &mut args)?;
                if name == "count" && wanted.is_empty() {
                    Value::from(within.chars().count() + 1)
                } else if name == "count" {
                    Value::from(within.matches(wanted.as_ref()).count())
                } else {
                    let found = if name.starts_with('r') {
                        within.rfind(wanted.as_ref())
                    } else {
                        within.find(wanted.as_ref())
                    };
                    let offset = within.as_ptr().addr() - plain.as_ptr().addr();
                    let chars =
                        |at: usize| plain.get(..offset + at).map_or(0, |t| t.chars().count());
                    match found {
                        Some(at) => Value::from(chars(at)),
                        None if name.ends_with("find") => Value::from(-1),
                        None => return refuse("the text is not found"),
                    }
                }
            }
            "replace" => {
                let (old, new) = (self.need_text(&mut args)?, self.need_text(&mut args)?);
                let most = args.int("count")?.and_then(|n| usize::try_from(n).ok());
                Value::from(self.replaced(text, &old, &new, most)?)
            }
            "removeprefix" | "removesuffix" => {
                let affix = self.need_text(&mut args)?;
                let affix = self.shade.plain(&affix);
                let (start, end) = if name == "removeprefix" {
                    let start = plain.starts_with(affix.as_ref()).then_some(affix.len());
                    (start.unwrap_or(0), plain.len())
                } else {
                    let end = plain.strip_suffix(affix.as_ref()).map(str::len);
                    (0, end.unwrap_or(plain.len()))
                };
                Value::from(this.part(start, end))
            }
            "upper" => Value::from(self.upper(text)?),
            "lower" | "casefold" => Value::from(self.lower(text)?),
            "title" => Value::from(self.titled(text)?),
            "capitalize" => Value::from(self.capitalized(text)?),
            "swapcase" => Value::from(self.recase(text, |c, _| {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    c.to_uppercase().collect()
                }
            })?),
            "join" => self.joined(text, &args.need("iterable")?)?,
            "format" => self.format_braces(value, args.rest(), args.all_named())?,
            "center" | "ljust" | "rjust" | "zfill" => {
                let width = args.int("width")?.unwrap_or(0);
                let fill = if name == "zfill" {
                    "0".to_owned()
                } else {
                    self.set_named(&mut args, "fillchar")?
                        .unwrap_or_else(|| " ".to_owned())
                };
                Value::from(self.padded(text, name, width, &fill)?)
            }
            "isalnum" => all(plain, char::is_alphanumeric),
            "isalpha" => all(plain, char::is_alphabetic),
            "isascii" => Value::from(plain.is_ascii()),
            "isdecimal" => all(plain, |c| c.is_ascii_digit()),
            "isdigit" => all(plain, |c| {
                c.is_ascii_digit()
                    || matches!(c, '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{2070}'..='\u{2089}')
            }),
            "isnumeric" => all(plain, char::is_numeric),
            "isspace" => all(plain, is_space),
            "islower" => cased(plain, char::is_lowercase, char::is_uppercase),
            "isupper" => cased(plain, char::is_uppercase, char::is_lowercase),
            "istitle" => Value::from(
                plain.chars().any(char::is_alphabetic) && plain == self.titled(plain)?.as_str(),
            ),
            _ => return Err(ErrorKind::UnknownMethod.into()),
        };
        args.end()?;
        Ok(match result.as_str() {
            // What was marked as safe stays so.
            Some(text) if value.is_safe() => Value::from_safe_string(text.to_owned()),
            _ => result,
        })
    }

    fn need_text(&self, args: &mut Args) -> Result<String, Error> {
        let value = args.need("text")?;
        match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => refuse(format!("text is wanted, not {}", type_name(&value))),
        }
    }

    fn set(&self, args: &mut Args) -> Result<Option<String>, Error> {
        self.set_named(args, "chars")
    }

    /// A text, by what it means; `None` if it is not given or None.
    fn set_named(&self, args: &mut Args, name: &str) -> Result<Option<String>, Error> {
        match args.take(name) {
            None => Ok(None),
            Some(value) => match kind(&value) {
                Kind::None => Ok(None),
                Kind::Text(text) => Ok(Some(self.shade.plain(text).into_owned())),
                _ => refuse(format!("text is wanted, not {}", type_name(&value))),
            },
        }
    }

    /// What a text means between two positions, given as `start` and `end`.
    fn within<'x>(&self, text: &'x Text<'_>, args: &mut Args) -> Result<&'x str, Error> {
        let (start, end) = (args.int("start")?, args.int("end")?);
        let plain = text.plain.as_ref();
        if start.is_none() && end.is_none() {
            return Ok(plain);
        }
        let len = plain.chars().count() as i64;
        let place = |at: Option<i64>, otherwise: i64| {
            let at = at.unwrap_or(otherwise);
            let at = if at < 0 {
                (at + len).max(0)
            } else {
                at.min(len)
            };
            let at = usize::try_from(at).unwrap_or(0);
            plain
                .char_indices()
                .nth(at)
                .map_or(plain.len(), |(byte, _)| byte)
        };
        let (start, end) = (place(start, 0), place(end, len));
        Ok(plain.get(start..end.max(start)).unwrap_or_default())
    }

    pub(super) fn padded(
        &self,
        text: &str,
        how: &str,
        width: i64,
        fill: &str,
    ) -> Result<String, Error> {
        let missing = usize::try_from(width)
            .unwrap_or(0)
            .saturating_sub(text.chars().count());
        self.pay(text.len().saturating_add(missing.saturating_mul(4)))?;
        let left = match how {
            "ljust" => 0,
            // Python puts the odd one to the left if the width is odd.
            "center" => missing / 2 + (missing & (width as usize) & 1),
            _ => missing,
        };
        let sign = text.starts_with(['+', '-']) && how == "zfill";
        let (sign, text) = text.split_at(usize::from(sign));
        let (before, after) = (fill.repeat(left), fill.repeat(missing - left));
        Ok([sign, &before, text, &after].concat())
    }
}

fn all(text: &str, is: impl Fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(is))
}

fn cased(text: &str, is: impl Fn(char) -> bool, is_not: impl Fn(char) -> bool) -> Value {
    Value::from(text.chars().any(is) && !text.chars().any(is_not))
}
