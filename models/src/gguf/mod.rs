//! GGUF, versions 2 and 3, little-endian: a file's bytes enter, and a checked directory of metadata and
//! tensors leaves. The directory holds positions; values are decoded when asked for, so that a vocabulary
//! of 262,144 strings costs a walk at parse and no allocation.
//!
//! It trusts nothing: whatever [`Gguf::parse`] returns, all positions lie in the file, all text is UTF-8,
//! names and keys are unique, and no two tensors share a byte. It knows no architecture and no tensor's
//! meaning.

mod error;
mod reader;
pub mod split;
mod tensor_type;
mod value;
pub mod writer;

use std::ops::Range;

pub use error::{GgufError, Problem};
pub use tensor_type::{BlockSize, TensorType};
pub use value::{Array, Elements, Value, ValueType};
pub use writer::{GgufData, GgufWriter, Owned, WriteError};

use crate::mapping::Bytes;

/// A metadata entry: where its key and its value are.
#[derive(Clone, Debug)]
struct Entry {
    key: Range<usize>,
    kind: ValueType,
    value: Range<usize>,
}

/// A tensor as the directory has it.
#[derive(Clone, Debug)]
struct TensorInfo {
    name: Range<usize>,
    n_dims: u32,
    dims: [u64; 4],
    type_id: u32,
    offset: u64,
    data: Range<u64>,
}

/// A tensor of the directory.
#[derive(Clone, Debug)]
pub struct TensorEntry<'a> {
    /// Its name, unique in the file.
    pub name: &'a str,
    /// How many of `dims` the file gives; 1 to 4.
    pub n_dims: u32,
    /// Lengths, the contiguous dimension first; the rest are 1. None is 0, and their product fits 64 bits.
    pub dims: [u64; 4],
    /// The type of its elements.
    pub kind: TensorType,
    /// Its bytes' positions in the file.
    pub data: Range<u64>,
}

/// A parsed header.
#[derive(Clone, Debug)]
pub struct Gguf {
    bytes: Bytes,
    version: u32,
    entries: Vec<Entry>,
    /// Indices of `entries`, by key.
    by_key: Vec<u32>,
    tensors: Vec<TensorInfo>,
    /// Indices of `tensors`, by name.
    by_name: Vec<u32>,
    alignment: u64,
    data_start: u64,
}

impl Gguf {
    /// Parses the header of `bytes`, the whole file.
    pub fn parse(bytes: &Bytes) -> Result<Gguf, GgufError> {
        reader::parse(bytes)
    }

    /// The file's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Tensors begin at multiples of this, counted from [`data_start`](Gguf::data_start).
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Position of the data section in the file. A file without tensors may end before it.
    pub fn data_start(&self) -> u64 {
        self.data_start
    }

    /// The keys and values in file order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries
            .iter()
            .filter_map(|e| Some((self.text(&e.key), self.value(e)?)))
    }

    /// The number of tensors.
    pub fn n_tensors(&self) -> usize {
        self.tensors.len()
    }

    /// The tensors in the order of the directory.
    pub fn tensors(&self) -> impl Iterator<Item = TensorEntry<'_>> {
        self.tensors.iter().filter_map(|t| self.tensor_entry(t))
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<TensorEntry<'_>> {
        let found = self.by_name.binary_search_by(|&i| {
            self.tensors
                .get(i as usize)
                .map_or("", |t| self.text(&t.name))
                .cmp(name)
        });
        self.tensor_entry(self.tensors.get(*self.by_name.get(found.ok()?)? as usize)?)
    }

    fn tensor_entry<'a>(&'a self, t: &TensorInfo) -> Option<TensorEntry<'a>> {
        Some(TensorEntry {
            name: self.text(&t.name),
            n_dims: t.n_dims,
            dims: t.dims,
            kind: TensorType::from_ggml_id(t.type_id)?,
            data: t.data.clone(),
        })
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.bytes
            .get(range.clone())
            .map(value::text)
            .unwrap_or_default()
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        let found = self.by_key.binary_search_by(|&i| {
            self.entries
                .get(i as usize)
                .map_or("", |e| self.text(&e.key))
                .cmp(key)
        });
        self.entries.get(*self.by_key.get(found.ok()?)? as usize)
    }

    fn value(&self, e: &Entry) -> Option<Value<'_>> {
        let bytes = self.bytes.get(e.value.clone())?;
        value::read(e.kind, bytes)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.value(self.entry(key)?)
    }

    /// The integer at `key`, of whatever width the file stores it in; `None` if there is no such key, an
    /// error if it is no integer or does not fit `T`.
    pub fn int<T: Int>(&self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(int) = value.as_int() else {
            return Err(wrong(key, value, T::NAME));
        };
        T::try_from(int)
            .map(Some)
            .map_err(|_| GgufError::OutOfRange {
                key: key.to_owned(),
                value: int.to_string(),
                wanted: T::NAME,
            })
    }

    /// The integer at `key`, which must be there and fit a u32.
    pub fn u32_(&self, key: &str) -> Result<u32, GgufError> {
        self.int(key)?.ok_or_else(|| missing(key, "u32"))
    }

    /// The integer at `key`, or `default` if there is no such key.
    pub fn u32_or(&self, key: &str, default: u32) -> Result<u32, GgufError> {
        Ok(self.int(key)?.unwrap_or(default))
    }

    /// The number at `key`: an f32, or an f64 rounded to one; `None` if there is no such key.
    pub fn float(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(x)) => Ok(Some(x)),
            Some(Value::F64(x)) => Ok(Some(x as f32)),
            Some(other) => Err(wrong(key, other, "f32")),
        }
    }

    /// The number at `key`, which must be there.
    pub fn f32_(&self, key: &str) -> Result<f32, GgufError> {
        self.float(key)?.ok_or_else(|| missing(key, "f32"))
    }

    /// The number at `key`, or `default` if there is no such key.
    pub fn f32_or(&self, key: &str, default: f32) -> Result<f32, GgufError> {
        Ok(self.float(key)?.unwrap_or(default))
    }

    /// The boolean at `key`; `None` if there is no such key.
    pub fn bool_(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(x)),
            Some(other) => Err(wrong(key, other, "bool")),
        }
    }

    /// The string at `key`; `None` if there is no such key.
    pub fn string(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Str(s)) => Ok(Some(s)),
            Some(other) => Err(wrong(key, other, "string")),
        }
    }

    /// The string at `key`, which must be there.
    pub fn str_(&self, key: &str) -> Result<&str, GgufError> {
        self.string(key)?.ok_or_else(|| missing(key, "string"))
    }

    /// The array at `key`; `None` if there is no such key.
    pub fn array(&self, key: &str) -> Result<Option<Array<'_>>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(a)) => Ok(Some(a)),
            Some(other) => Err(wrong(key, other, "array")),
        }
    }

    /// The strings of the array at `key`; `None` if there is no such key.
    pub fn strs(&self, key: &str) -> Result<Option<impl Iterator<Item = &str> + Clone>, GgufError> {
        let Some(a) = self.array(key)? else {
            return Ok(None);
        };
        a.strs()
            .map(Some)
            .ok_or_else(|| wrong(key, Value::Array(a), "array of string"))
    }

    /// The same as a list, faster than one by one.
    pub fn str_list(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        let Some(a) = self.array(key)? else {
            return Ok(None);
        };
        a.str_list()
            .map(Some)
            .ok_or_else(|| wrong(key, Value::Array(a), "array of string"))
    }

    /// The floats of the array at `key`; `None` if there is no such key.
    pub fn f32s(&self, key: &str) -> Result<Option<impl Iterator<Item = f32> + Clone>, GgufError> {
        let Some(a) = self.array(key)? else {
            return Ok(None);
        };
        a.f32s()
            .map(Some)
            .ok_or_else(|| wrong(key, Value::Array(a), "array of f32"))
    }

    /// The integers of the array at `key`, all checked to fit `T`; `None` if there is no such key.
    pub fn ints<T: Int>(
        &self,
        key: &str,
    ) -> Result<Option<impl Iterator<Item = T> + Clone>, GgufError> {
        let Some(a) = self.array(key)? else {
            return Ok(None);
        };
        let ints = a
            .ints()
            .ok_or_else(|| wrong(key, Value::Array(a), "array of integers"))?;
        if let Some(bad) = ints.clone().find(|&i| T::try_from(i).is_err()) {
            return Err(GgufError::OutOfRange {
                key: key.to_owned(),
                value: bad.to_string(),
                wanted: T::NAME,
            });
        }
        Ok(Some(ints.filter_map(|i| T::try_from(i).ok())))
    }

    /// `n` integers (one for each layer): from an array of that length, or one integer for all; `None` if
    /// there is no such key. Arrays of booleans count as 0 and 1.
    pub fn per_layer<T: Int>(&self, key: &str, n: usize) -> Result<Option<Vec<T>>, GgufError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Value::Array(a) = value else {
            return Ok(self.int::<T>(key)?.map(|one| vec![one; n]));
        };
        if a.len() != n {
            return Err(GgufError::WrongLength {
                key: key.to_owned(),
                found: a.len() as u64,
                wanted: n as u64,
            });
        }
        if let Some(bools) = a.bools() {
            return Ok(Some(
                bools
                    .filter_map(|b| T::try_from(i128::from(b)).ok())
                    .collect(),
            ));
        }
        Ok(self.ints(key)?.map(|ints| ints.collect()))
    }
}

/// Integers that metadata can be asked for.
pub trait Int: TryFrom<i128> + Copy {
    /// The type's name in messages.
    const NAME: &'static str;
}

macro_rules! ints {
    ($($t:ty),*) => { $(impl Int for $t { const NAME: &'static str = stringify!($t); })* };
}
ints!(u8, i8, u16, i16, u32, i32, u64, i64, usize);

fn missing(key: &str, wanted: &'static str) -> GgufError {
    GgufError::MissingKey {
        key: key.to_owned(),
        wanted,
    }
}

fn wrong(key: &str, found: Value<'_>, wanted: &'static str) -> GgufError {
    GgufError::WrongType {
        key: key.to_owned(),
        found: found.describe(),
        wanted,
    }
}
