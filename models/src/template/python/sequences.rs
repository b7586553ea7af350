//! Jinja's filters of lists and dicts. As in Python, some give generators: readable once, without a
//! length, and always true.

use std::cmp::Ordering;

use minijinja::Error;
use minijinja::value::Value;

use super::args::Args;
use super::filters::pair;
use super::objects::{Dict, Generator, Sequence};
use super::{Call, Kind, Python, kind, refuse, type_name};

pub(super) const FILTERS: &[(&str, Call)] = &[
    ("length", length),
    ("count", length),
    ("first", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        Ok(items.into_iter().next().unwrap_or_default())
    }),
    ("last", |py, mut args| {
        let value = args.need("value")?;
        if let Kind::Iterable = kind(&value)
            && value.downcast_object_ref::<Generator>().is_some()
        {
            return refuse("a generator has no last item");
        }
        Ok(py.items(&value)?.pop().unwrap_or_default())
    }),
    ("list", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        Sequence::list(items)
    }),
    ("reverse", |py, mut args| {
        let value = args.need("value")?;
        if let Kind::Text(text) = kind(&value) {
            py.pay(text.len())?;
            return Ok(Value::from(text.chars().rev().collect::<String>()));
        }
        let mut items = py.items(&value)?;
        items.reverse();
        match kind(&value) {
            Kind::Iterable => Sequence::list(items),
            _ => Generator::value(items),
        }
    }),
    ("join", |py, mut args| {
        let value = args.need("value")?;
        let between = args.take("d").map(|d| py.str(&d)).transpose()?;
        let between = between.unwrap_or_default();
        let attribute = args.take("attribute").filter(|a| !a.is_none());
        let mut out = String::new();
        for (index, item) in py.items(&value)?.iter().enumerate() {
            if index > 0 {
                py.pay(between.len())?;
                out.push_str(&between);
            }
            match &attribute {
                Some(path) => out.push_str(&py.str(&py.at_path(item, path)?)?),
                None => out.push_str(&py.str(item)?),
            }
        }
        Ok(Value::from(out))
    }),
    ("items", |py, mut args| {
        let value = args.need("value")?;
        match kind(&value) {
            Kind::Dict(dict) => {
                py.pay_items(3 * dict.entries().len())?;
                let pairs = dict.entries().iter().map(|(key, value)| pair(key, value));
                Generator::value(pairs.collect::<Result<_, _>>()?)
            }
            Kind::Undefined => Generator::value(Vec::new()),
            _ => refuse(format!("{} has no pairs", type_name(&value))),
        }
    }),
    ("dictsort", |py, mut args| {
        let value = args.need("value")?;
        let Kind::Dict(dict) = kind(&value) else {
            return refuse(format!("{} has no pairs to sort", type_name(&value)));
        };
        let is_exact = args.flag("case_sensitive", false);
        let by = args.take("by").unwrap_or(Value::from("key"));
        let is_reverse = args.flag("reverse", false);
        let by_value = match by.as_str() {
            Some("key") => false,
            Some("value") => true,
            _ => return refuse("`dictsort` sorts by `key` or by `value`"),
        };
        let pairs = dict.entries().iter().map(|(key, value)| {
            let by = if by_value { value } else { key };
            Ok((py.sort_key(by.clone(), is_exact)?, pair(key, value)?))
        });
        py.list(py.sorted(pairs.collect::<Result<_, Error>>()?, is_reverse)?)
    }),
    ("sort", |py, mut args| {
        let value = args.need("value")?;
        let is_reverse = args.flag("reverse", false);
        let keyed = py.keyed(&value, &mut args)?;
        py.list(py.sorted(keyed, is_reverse)?)
    }),
    ("unique", |py, mut args| {
        let value = args.need("value")?;
        let mut seen = Dict::new(py.shade, [])?;
        let mut kept = Vec::new();
        for (key, item) in py.keyed(&value, &mut args)? {
            py.hashable(&key)?;
            if seen.insert(key, Value::from(())) {
                kept.push(item);
            }
        }
        Generator::value(kept)
    }),
    ("min", |py, args| extreme(py, args, Ordering::Less)),
    ("max", |py, args| extreme(py, args, Ordering::Greater)),
    ("sum", |py, mut args| {
        let value = args.need("value")?;
        let attribute = args.take("attribute").filter(|a| !a.is_none());
        let mut sum = args.take("start").unwrap_or(Value::from(0));
        for item in py.items(&value)? {
            let item = match &attribute {
                Some(path) => py.at_path(&item, path)?,
                None => item,
            };
            sum = py.state.apply_filter("=add", &[sum, item])?;
        }
        Ok(sum)
    }),
    ("groupby", groupby),
    ("map", map),
    ("select", |py, args| select(py, args, true, false)),
    ("reject", |py, args| select(py, args, false, false)),
    ("selectattr", |py, args| select(py, args, true, true)),
    ("rejectattr", |py, args| select(py, args, false, true)),
    ("batch", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        let size = args.int("linecount")?.unwrap_or(0);
        let fill = args.take("fill_with").filter(|fill| !fill.is_none());
        let size = usize::try_from(size).ok().filter(|&size| size > 0);
        let Some(size) = size else {
            return refuse("a batch has at least one item");
        };
        let mut batches = Vec::new();
        for chunk in items.chunks(size) {
            let mut chunk = chunk.to_vec();
            if let Some(fill) = &fill {
                py.pay_items(size - chunk.len())?;
                chunk.resize(size, fill.clone());
            }
            batches.push(py.list(chunk)?);
        }
        Generator::value(batches)
    }),
    ("slice", |py, mut args| {
        let items = py.items(&args.need("value")?)?;
        let slices = args.int("slices")?.unwrap_or(0);
        let fill = args.take("fill_with").filter(|fill| !fill.is_none());
        let Some(slices) = usize::try_from(slices).ok().filter(|&n| n > 0) else {
            return refuse("there is at least one slice");
        };
        py.pay_items(slices)?;
        let (each, longer) = (items.len() / slices, items.len() % slices);
        let mut rest = items.into_iter();
        let mut made = Vec::new();
        for index in 0..slices {
            let count = each + usize::from(index < longer);
            let mut slice: Vec<Value> = rest.by_ref().take(count).collect();
            if let (Some(fill), true) = (&fill, longer > 0 && index >= longer) {
                slice.push(fill.clone());
            }
            made.push(py.list(slice)?);
        }
        Generator::value(made)
    }),
];

fn length(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    match kind(&value) {
        Kind::Text(text) => {
            py.pay(text.len())?;
            Ok(Value::from(text.chars().count()))
        }
        Kind::List(items) | Kind::Tuple(items) => Ok(Value::from(items.len())),
        Kind::Dict(dict) => Ok(Value::from(dict.entries().len())),
        Kind::Undefined => Ok(Value::from(0)),
        Kind::Iterable if value.downcast_object_ref::<Generator>().is_none() => {
            Ok(Value::from(value.len().unwrap_or(0)))
        }
        _ => refuse(format!("{} has no length", type_name(&value))),
    }
}

impl Python<'_, '_, '_> {
    /// The items; none of what is not true, be it None.
    fn items_if_any(&self, value: &Value) -> Result<Vec<Value>, Error> {
        if value.is_true() {
            self.items(value)
        } else {
            Ok(Vec::new())
        }
    }

    /// What stands at a path such as `function.name` or `0`.
    fn at_path(&self, value: &Value, path: &Value) -> Result<Value, Error> {
        let Some(path) = path.as_str() else {
            return self.item(value, path);
        };
        let path = self.shade.plain(path);
        let mut found = value.clone();
        for step in path.split('.') {
            let key = match step.parse::<i64>() {
                Ok(index) if step.bytes().all(|b| b.is_ascii_digit()) => Value::from(index),
                _ => Value::from(step),
            };
            found = self.item(&found, &key)?;
        }
        Ok(found)
    }

    /// What a value sorts by.
    fn sort_key(&self, value: Value, is_exact: bool) -> Result<Value, Error> {
        match kind(&value) {
            Kind::Text(text) if !is_exact => self.lower(text).map(Value::from),
            _ => Ok(value),
        }
    }

    /// Items with what they sort by: arguments `case_sensitive` and `attribute`.
    fn keyed(&self, value: &Value, args: &mut Args) -> Result<Vec<(Value, Value)>, Error> {
        let is_exact = args.flag("case_sensitive", false);
        let attribute = args.take("attribute").filter(|a| !a.is_none());
        let mut keyed = Vec::new();
        for item in self.items(value)? {
            let key = match &attribute {
                // Several, separated by commas, sort by one after the other.
                Some(path) if path.as_str().is_some_and(|path| path.contains(',')) => {
                    let paths = path.as_str().unwrap_or_default().split(',');
                    let keys = paths.map(|path| {
                        self.sort_key(self.at_path(&item, &Value::from(path))?, is_exact)
                    });
                    Sequence::list(keys.collect::<Result<_, _>>()?)?
                }
                Some(path) => self.sort_key(self.at_path(&item, path)?, is_exact)?,
                None => self.sort_key(item.clone(), is_exact)?,
            };
            keyed.push((key, item));
        }
        Ok(keyed)
    }

    /// Sorts by keys and keeps the order of equals.
    pub(super) fn sorted(
        &self,
        keyed: Vec<(Value, Value)>,
        is_reverse: bool,
    ) -> Result<Vec<Value>, Error> {
        let sorted = merge_sort(keyed, &mut |(a, _), (b, _)| {
            let order = self.order(a, b, 0)?;
            Ok(if is_reverse { order.reverse() } else { order })
        })?;
        Ok(sorted.into_iter().map(|(_, item)| item).collect())
    }
}

/// A stable sort whose comparison may fail, and need not be an order.
fn merge_sort<T>(
    mut items: Vec<T>,
    order: &mut impl FnMut(&T, &T) -> Result<Ordering, Error>,
) -> Result<Vec<T>, Error> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let mut right = merge_sort(right, order)?.into_iter().peekable();
    let mut sorted = Vec::with_capacity(2 * right.len());
    for left in merge_sort(items, order)? {
        while let Some(next) = right.peek()
            && order(&left, next)? == Ordering::Greater
        {
            sorted.extend(right.next());
        }
        sorted.push(left);
    }
    sorted.extend(right);
    Ok(sorted)
}

fn extreme(py: &mut Python<'_, '_, '_>, mut args: Args, wanted: Ordering) -> Result<Value, Error> {
    let value = args.need("value")?;
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in py.keyed(&value, &mut args)? {
        let is_better = match &best {
            Some((other, _)) => py.order(&key, other, 0)? == wanted,
            None => true,
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}

fn groupby(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let value = args.need("value")?;
    let attribute = args.need("attribute")?;
    let default = args.take("default").filter(|d| !d.is_none());
    let is_exact = args.flag("case_sensitive", false);
    let mut keyed = Vec::new();
    for item in py.items(&value)? {
        let mut by = py.at_path(&item, &attribute)?;
        if let (true, Some(default)) = (by.is_undefined(), &default) {
            by = default.clone();
        }
        let key = py.sort_key(by.clone(), is_exact)?;
        keyed.push((key.clone(), Sequence::tuple(vec![key, by, item])?));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for entry in py.sorted(keyed, false)? {
        let Kind::Tuple([key, by, item]) = kind(&entry) else {
            continue;
        };
        match groups.last_mut() {
            Some((last, _, items)) if py.eq(last, key, 0)? => items.push(item.clone()),
            _ => groups.push((key.clone(), by.clone(), vec![item.clone()])),
        }
    }
    let groups = groups
        .into_iter()
        .map(|(_, by, items)| pair(&by, &py.list(items)?));
    py.list(groups.collect::<Result<_, _>>()?)
}

fn map(py: &mut Python<'_, '_, '_>, mut args: Args) -> Result<Value, Error> {
    let items = py.items_if_any(&args.need("value")?)?;
    let mut mapped = Vec::new();
    if let Some(attribute) = args.named("attribute") {
        let default = args.named("default");
        for item in items {
            let found = py.at_path(&item, &attribute)?;
            mapped.push(match &default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            });
        }
        return Generator::value(mapped);
    }
    let name = args.need("filter")?;
    let Some(name) = name.as_str() else {
        return refuse("`map` wants the name of a filter");
    };
    let mut call = vec![Value::UNDEFINED];
    call.extend(args.rest());
    call.extend(args.keywords());
    for item in items {
        if let Some(first) = call.first_mut() {
            *first = item;
        }
        mapped.push(py.state.apply_filter(name, &call)?);
    }
    Generator::value(mapped)
}

fn select(
    py: &mut Python<'_, '_, '_>,
    mut args: Args,
    wanted: bool,
    by_attribute: bool,
) -> Result<Value, Error> {
    let value = args.need("value")?;
    let attribute = if by_attribute {
        Some(args.need("attribute")?)
    } else {
        None
    };
    let items = py.items_if_any(&value)?;
    let test = args.take("test");
    let mut call = vec![Value::UNDEFINED];
    call.extend(args.rest());
    call.extend(args.keywords());
    let mut kept = Vec::new();
    for item in items {
        let looked_at = match &attribute {
            Some(path) => py.at_path(&item, path)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => {
                let Some(test) = test.as_str() else {
                    return refuse("the name of a test is a text");
                };
                if let Some(first) = call.first_mut() {
                    *first = looked_at;
                }
                py.state.perform_test(test, &call)?
            }
            None => looked_at.is_true(),
        };
        if passes == wanted {
            kept.push(item);
        }
    }
    Generator::value(kept)
}
