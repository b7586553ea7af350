//! Python's values that Jinja's own do not stand for: lists, tuples and dicts of bounded depth, dicts
//! whose keys are found by what they mean, generators that can be read once, views of dicts, and bound methods.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Error;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};

use crate::template::shade::Shade;

/// Deepest nesting of lists and dicts: what is deeper could not even be dropped safely.
const MAX_DEPTH: u32 = 250;

/// How deep lists and dicts are nested in a value.
fn depth(value: &Value) -> u32 {
    if let Some(sequence) = value.downcast_object_ref::<Sequence>() {
        return sequence.depth;
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return dict.depth;
    }
    if let Some(generator) = value.downcast_object_ref::<Generator>() {
        return generator.depth;
    }
    if let Some(view) = value.downcast_object_ref::<View>() {
        return view.depth;
    }
    0
}

/// The depth of something that holds these values.
fn depth_around<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<u32, Error> {
    match 1 + values.into_iter().map(depth).max().unwrap_or(0) {
        deep if deep > MAX_DEPTH => super::refuse("lists or dicts are nested too deeply"),
        depth => Ok(depth),
    }
}

/// Whether two values are one object. Macros, namespaces and loops do not tell.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    fn same<T: 'static>(a: &Value, b: &Value) -> bool {
        match (a.downcast_object::<T>(), b.downcast_object::<T>()) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
            _ => false,
        }
    }
    same::<Sequence>(a, b)
        || same::<Dict>(a, b)
        || same::<Generator>(a, b)
        || same::<View>(a, b)
        || same::<Method>(a, b)
}

/// A list or a tuple.
#[derive(Debug)]
pub(crate) struct Sequence {
    items: Vec<Value>,
    pub(crate) is_tuple: bool,
    depth: u32,
}

impl Sequence {
    pub(crate) fn list(items: Vec<Value>) -> Result<Value, Error> {
        Self::value(items, false)
    }

    pub(crate) fn tuple(items: Vec<Value>) -> Result<Value, Error> {
        Self::value(items, true)
    }

    fn value(items: Vec<Value>, is_tuple: bool) -> Result<Value, Error> {
        Ok(Value::from_object(Self {
            depth: depth_around(&items)?,
            items,
            is_tuple,
        }))
    }

    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Object for Sequence {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

/// A key of a dict, by what it means.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Other(Value),
}

/// A dict, in the order of insertion.
#[derive(Debug)]
pub(crate) struct Dict {
    shade: Arc<Shade>,
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    depth: u32,
}

impl Dict {
    pub(crate) fn new(
        shade: &Arc<Shade>,
        pairs: impl IntoIterator<Item = (Value, Value)>,
    ) -> Result<Self, Error> {
        let mut dict = Self {
            shade: shade.clone(),
            entries: Vec::new(),
            index: HashMap::new(),
            depth: 0,
        };
        for (key, value) in pairs {
            dict.insert(key, value);
        }
        dict.depth = depth_around(dict.entries.iter().map(|(_, value)| value))?;
        Ok(dict)
    }

    /// Adds an entry, or gives one another value; whether it is new.
    pub(crate) fn insert(&mut self, key: Value, value: Value) -> bool {
        let meaning = self.key(&key);
        let known = self.index.get(&meaning).copied();
        match known.and_then(|at| self.entries.get_mut(at)) {
            Some((_, old)) => {
                *old = value;
                false
            }
            None => {
                self.index.insert(meaning, self.entries.len());
                self.entries.push((key, value));
                true
            }
        }
    }

    fn key(&self, key: &Value) -> Key {
        match key.as_str() {
            Some(text) => Key::Text(self.shade.plain(text).into_owned()),
            // In Python, True is 1.
            None if key.kind() == minijinja::value::ValueKind::Bool => {
                Key::Other(Value::from(i64::from(key.is_true())))
            }
            None => Key::Other(key.clone()),
        }
    }

    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        let at = *self.index.get(&self.key(key))?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| key.clone()).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// What `map`, `select` and their like give: readable once, always true, without a length.
#[derive(Debug)]
pub(crate) struct Generator {
    items: Mutex<Vec<Value>>,
    depth: u32,
}

impl Generator {
    pub(crate) fn value(items: Vec<Value>) -> Result<Value, Error> {
        Ok(Value::from_object(Self {
            depth: depth_around(&items)?,
            items: Mutex::new(items),
        }))
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        Enumerator::Iter(Box::new(std::mem::take(&mut *items).into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// `dict.keys()`, `dict.values()` or `dict.items()`: it has a length, and no items by index.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) kind: &'static str,
    items: Vec<Value>,
    depth: u32,
}

impl View {
    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }

    pub(crate) fn value(kind: &'static str, items: Vec<Value>) -> Result<Value, Error> {
        Ok(Value::from_object(Self {
            depth: depth_around(&items)?,
            kind,
            items,
        }))
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

/// A method that is not called at once: `schema.items` is one, even if the schema has an entry `items`.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) of: Value,
    pub(crate) name: &'static str,
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn call(
        self: &Arc<Self>,
        state: &mut minijinja::State<'_, '_>,
        args: &[Value],
    ) -> Result<Value, Error> {
        self.of.call_method(state, self.name, args)
    }
}
