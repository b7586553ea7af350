//! Writing GGUF (version 3): typed metadata and tensor shapes are declared first, then the header goes out,
//! then each tensor's bytes in the order of the declarations, through any [`Write`]; no more than one
//! tensor's bytes need to be in memory. What it writes, [`Gguf::parse`](super::Gguf::parse) accepts.

use std::io::{self, Write};

use hob_kernels::format::Format;

use super::reader::{DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_KEY, MAX_NAME};
use super::value::{MAX_DEPTH, Value, ValueType};

/// What cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The writer beneath refused.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
    /// A key or name that a reader would refuse.
    #[error("{what} {found:?}: {problem}")]
    Name {
        /// "key" or "tensor".
        what: &'static str,
        /// The name.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An array whose elements are not all of one type.
    #[error("the array of key {key:?} mixes {first} and {other} elements")]
    Mixed {
        /// The key.
        key: String,
        /// Type of the first element.
        first: &'static str,
        /// Another type.
        other: &'static str,
    },
    /// A tensor whose shape is impossible.
    #[error("tensor {name:?}: shape {dims:?} is impossible in {format}: {problem}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<u64>,
        /// Its format.
        format: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Bytes that do not match the declaration whose turn it is.
    #[error("tensor {name:?}: {found} bytes were given, and {wanted} were declared")]
    Data {
        /// The tensor, or "" after the last.
        name: String,
        /// Bytes given.
        found: u64,
        /// Bytes declared.
        wanted: u64,
    },
}

/// A metadata value to write.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are ValueType's
pub enum Owned {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    /// Elements of one type; the type is given for the sake of empty arrays.
    Array(ValueType, Vec<Owned>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Owned {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Owned::U8(_) => ValueType::U8,
            Owned::I8(_) => ValueType::I8,
            Owned::U16(_) => ValueType::U16,
            Owned::I16(_) => ValueType::I16,
            Owned::U32(_) => ValueType::U32,
            Owned::I32(_) => ValueType::I32,
            Owned::F32(_) => ValueType::F32,
            Owned::Bool(_) => ValueType::Bool,
            Owned::Str(_) => ValueType::Str,
            Owned::Array(..) => ValueType::Array,
            Owned::U64(_) => ValueType::U64,
            Owned::I64(_) => ValueType::I64,
            Owned::F64(_) => ValueType::F64,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Owned::U8(v) => out.extend(v.to_le_bytes()),
            Owned::I8(v) => out.extend(v.to_le_bytes()),
            Owned::U16(v) => out.extend(v.to_le_bytes()),
            Owned::I16(v) => out.extend(v.to_le_bytes()),
            Owned::U32(v) => out.extend(v.to_le_bytes()),
            Owned::I32(v) => out.extend(v.to_le_bytes()),
            Owned::F32(v) => out.extend(v.to_le_bytes()),
            Owned::Bool(v) => out.push(u8::from(*v)),
            Owned::Str(v) => write_str(v, out),
            Owned::Array(element, values) => {
                out.extend(element.id().to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|v| v.write(out));
            }
            Owned::U64(v) => out.extend(v.to_le_bytes()),
            Owned::I64(v) => out.extend(v.to_le_bytes()),
            Owned::F64(v) => out.extend(v.to_le_bytes()),
        }
    }

    /// The first element, at any depth, that is not of its array's type.
    fn stranger(&self) -> Option<(ValueType, ValueType)> {
        let Owned::Array(element, values) = self else {
            return None;
        };
        let bad = values.iter().find(|v| v.value_type() != *element);
        bad.map(|v| (*element, v.value_type()))
            .or_else(|| values.iter().find_map(Owned::stranger))
    }

    fn depth(&self) -> u32 {
        match self {
            Owned::Array(_, values) => 1 + values.iter().map(Owned::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

impl From<Value<'_>> for Owned {
    fn from(v: Value<'_>) -> Owned {
        match v {
            Value::U8(v) => Owned::U8(v),
            Value::I8(v) => Owned::I8(v),
            Value::U16(v) => Owned::U16(v),
            Value::I16(v) => Owned::I16(v),
            Value::U32(v) => Owned::U32(v),
            Value::I32(v) => Owned::I32(v),
            Value::F32(v) => Owned::F32(v),
            Value::Bool(v) => Owned::Bool(v),
            Value::Str(v) => Owned::Str(v.to_owned()),
            Value::Array(a) => Owned::Array(a.element(), a.iter().map(Owned::from).collect()),
            Value::U64(v) => Owned::U64(v),
            Value::I64(v) => Owned::I64(v),
            Value::F64(v) => Owned::F64(v),
        }
    }
}

macro_rules! from {
    ($($t:ty => $variant:ident),*) => { $(impl From<$t> for Owned {
        fn from(v: $t) -> Owned { Owned::$variant(v) }
    }
    impl From<Vec<$t>> for Owned {
        fn from(v: Vec<$t>) -> Owned {
            Owned::Array(ValueType::$variant, v.into_iter().map(Owned::from).collect())
        }
    })* };
}
from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
      String => Str, u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for Owned {
    fn from(v: &str) -> Owned {
        Owned::Str(v.to_owned())
    }
}

fn write_str(s: &str, out: &mut Vec<u8>) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

struct Declared {
    name: String,
    format: Format,
    dims: Vec<u64>,
    bytes: u64,
}

/// The declarations of a file to be written.
#[derive(Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Owned)>,
    tensors: Vec<Declared>,
    names: std::collections::HashSet<(&'static str, String)>,
    alignment: Option<u64>,
}

impl GgufWriter {
    /// A file without metadata and tensors.
    pub fn new() -> GgufWriter {
        GgufWriter::default()
    }

    fn name(&mut self, what: &'static str, name: &str, limit: u64) -> Result<(), WriteError> {
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() as u64 > limit {
            "is longer than GGUF allows"
        } else if !self.names.insert((what, name.to_owned())) {
            "was declared before"
        } else {
            return Ok(());
        };
        Err(WriteError::Name {
            what,
            found: name.to_owned(),
            problem,
        })
    }

    /// Adds a metadata entry. `general.alignment` (a u32) also sets the alignment of the tensors.
    pub fn metadata(
        &mut self,
        key: &str,
        value: impl Into<Owned>,
    ) -> Result<&mut Self, WriteError> {
        let value = value.into();
        if let Some((first, other)) = value.stranger() {
            return Err(WriteError::Mixed {
                key: key.to_owned(),
                first: first.name(),
                other: other.name(),
            });
        }
        let refuse = |problem| {
            Err(WriteError::Name {
                what: "key",
                found: key.to_owned(),
                problem,
            })
        };
        if value.depth() > MAX_DEPTH {
            return refuse("nests arrays deeper than readers allow");
        }
        if key == "general.alignment" {
            match value {
                Owned::U32(a) if a.is_power_of_two() && u64::from(a) <= MAX_ALIGNMENT => {
                    self.alignment = Some(a.into());
                }
                _ => return refuse("must be a u32 and a power of two, of at most 65536"),
            }
        }
        self.name("key", key, MAX_KEY)?;
        self.metadata.push((key.to_owned(), value));
        Ok(self)
    }

    /// Declares a tensor: `dims` with the contiguous dimension first. Returns the bytes that it takes.
    pub fn tensor(&mut self, name: &str, format: Format, dims: &[u64]) -> Result<u64, WriteError> {
        let shape = |problem| WriteError::Shape {
            name: name.to_owned(),
            dims: dims.to_vec(),
            format: format.name(),
            problem,
        };
        let Some((&cols, rest)) = dims.split_first().filter(|_| dims.len() <= 4) else {
            return Err(shape("there must be 1 to 4 dimensions"));
        };
        if dims.contains(&0) {
            return Err(shape("a dimension is zero"));
        }
        let overflow = || shape("it is too large");
        let cols = usize::try_from(cols).map_err(|_| overflow())?;
        let row = format
            .row_bytes(cols)
            .ok_or_else(|| shape("rows are not whole blocks"))? as u64;
        let bytes = rest
            .iter()
            .try_fold(row, |n, &d| n.checked_mul(d))
            .ok_or_else(overflow)?;
        dims.iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d))
            .ok_or_else(overflow)?;
        self.name("tensor", name, MAX_NAME)?;
        self.tensors.push(Declared {
            name: name.to_owned(),
            format,
            dims: dims.to_vec(),
            bytes,
        });
        Ok(bytes)
    }

    /// Writes the header, and returns the stage that takes the tensors' bytes.
    pub fn begin<W: Write>(self, mut out: W) -> Result<GgufData<W>, WriteError> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut header = Vec::new();
        header.extend(b"GGUF");
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_str(key, &mut header);
            header.extend(value.value_type().id().to_le_bytes());
            value.write(&mut header);
        }
        let mut offset = 0u64;
        for t in &self.tensors {
            write_str(&t.name, &mut header);
            header.extend((t.dims.len() as u32).to_le_bytes()); // 1 to 4
            t.dims.iter().for_each(|d| header.extend(d.to_le_bytes()));
            header.extend(t.format.ggml_id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            let next = offset
                .checked_add(t.bytes)
                .and_then(|n| n.checked_next_multiple_of(alignment));
            offset = next.ok_or_else(|| WriteError::Shape {
                name: t.name.clone(),
                dims: t.dims.clone(),
                format: t.format.name(),
                problem: "the file would be too large",
            })?;
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0); // at most 65536
        out.write_all(&header)?;
        Ok(GgufData {
            out,
            tensors: self.tensors.into_iter(),
            alignment,
            written: header.len() as u64,
        })
    }
}

/// The data section of a file whose header is written.
pub struct GgufData<W> {
    out: W,
    tensors: std::vec::IntoIter<Declared>,
    alignment: u64,
    written: u64,
}

impl<W: Write> GgufData<W> {
    /// Writes the bytes of the tensor whose turn it is, all at once.
    pub fn tensor(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.tensor_with(|out| {
            out.write_all(bytes)?;
            Ok(())
        })
    }

    /// Writes the tensor whose turn it is through `fill`, which must write exactly its bytes.
    pub fn tensor_with(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let next = self.tensors.next();
        let (name, wanted) = next.map_or((String::new(), 0), |t| (t.name, t.bytes));
        let mut counted = Counted {
            out: &mut self.out,
            wanted,
            found: 0,
        };
        let filled = fill(&mut counted);
        let found = counted.found;
        if found != wanted {
            return Err(WriteError::Data {
                name,
                found,
                wanted,
            });
        }
        filled?;
        let pad = wanted.next_multiple_of(self.alignment) - wanted;
        self.out.write_all(&vec![0; pad as usize])?; // less than the alignment
        self.written += wanted + pad;
        Ok(())
    }

    /// The writer, with no more data than was written to it: for tools that place the data otherwise.
    pub fn abandon(self) -> W {
        self.out
    }

    /// Flushes; an error if tensors were declared and not written. Returns the writer and the file's length.
    pub fn finish(mut self) -> Result<(W, u64), WriteError> {
        if let Some(t) = self.tensors.next() {
            return Err(WriteError::Data {
                name: t.name,
                found: 0,
                wanted: t.bytes,
            });
        }
        self.out.flush()?;
        Ok((self.out, self.written))
    }
}

/// Counts what is written, and refuses what is more than was declared.
struct Counted<'a, W> {
    out: &'a mut W,
    wanted: u64,
    found: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.found + bytes.len() as u64 > self.wanted {
            self.found += bytes.len() as u64;
            return Err(io::Error::other(
                "more bytes than the tensor was declared to have",
            ));
        }
        let n = self.out.write(bytes)?;
        self.found += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
