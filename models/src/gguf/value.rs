//! Metadata values: scalars by value, strings and arrays as views of the file's bytes that are decoded when
//! iterated. Nothing here allocates.

use std::fmt;

/// The type of a metadata value, by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueType {
    /// Unsigned, 1 byte.
    U8 = 0,
    /// Signed, 1 byte.
    I8 = 1,
    /// Unsigned, 2 bytes.
    U16 = 2,
    /// Signed, 2 bytes.
    I16 = 3,
    /// Unsigned, 4 bytes.
    U32 = 4,
    /// Signed, 4 bytes.
    I32 = 5,
    /// IEEE single.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// Length (u64) and UTF-8 bytes.
    Str = 8,
    /// Element type (u32), count (u64), elements.
    Array = 9,
    /// Unsigned, 8 bytes.
    U64 = 10,
    /// Signed, 8 bytes.
    I64 = 11,
    /// IEEE double.
    F64 = 12,
}

impl ValueType {
    /// All value types, by number.
    pub const ALL: [ValueType; 13] = {
        use ValueType::*;
        [
            U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64,
        ]
    };

    /// The type with this number.
    pub fn from_id(id: u32) -> Option<ValueType> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The type's number.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of a value if all values of the type have the same.
    pub fn size(self) -> Option<u64> {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            Str | Array => None,
        }
    }

    /// The fewest bytes that a value of the type can take.
    pub(crate) fn min_size(self) -> u64 {
        match self {
            ValueType::Str => 8,
            ValueType::Array => 12,
            // The others have one size.
            other => other.size().unwrap_or(1),
        }
    }

    /// The type's name in messages.
    pub fn name(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            Str => "string",
            Array => "array",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
        }
    }
}

/// A metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are ValueType's
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Str(_) => ValueType::Str,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The type in a message: "u32", "array of 3 string".
    pub fn describe(&self) -> String {
        match self {
            Value::Array(a) => format!("array of {} {}", a.len(), a.element().name()),
            other => other.value_type().name().to_owned(),
        }
    }

    /// The value as an integer, if it is of an integer type.
    pub fn as_int(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// A scalar or string from the first bytes of `bytes`, and the number of bytes it took. `None` for
    /// arrays, and if the bytes do not hold one.
    pub(crate) fn read(kind: ValueType, bytes: &'a [u8]) -> Option<(Value<'a>, usize)> {
        fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
            bytes.first_chunk::<N>().copied()
        }
        Some(match kind {
            ValueType::U8 => (Value::U8(u8::from_le_bytes(first(bytes)?)), 1),
            ValueType::I8 => (Value::I8(i8::from_le_bytes(first(bytes)?)), 1),
            ValueType::U16 => (Value::U16(u16::from_le_bytes(first(bytes)?)), 2),
            ValueType::I16 => (Value::I16(i16::from_le_bytes(first(bytes)?)), 2),
            ValueType::U32 => (Value::U32(u32::from_le_bytes(first(bytes)?)), 4),
            ValueType::I32 => (Value::I32(i32::from_le_bytes(first(bytes)?)), 4),
            ValueType::F32 => (Value::F32(f32::from_le_bytes(first(bytes)?)), 4),
            ValueType::Bool => (Value::Bool(*bytes.first()? != 0), 1),
            ValueType::U64 => (Value::U64(u64::from_le_bytes(first(bytes)?)), 8),
            ValueType::I64 => (Value::I64(i64::from_le_bytes(first(bytes)?)), 8),
            ValueType::F64 => (Value::F64(f64::from_le_bytes(first(bytes)?)), 8),
            ValueType::Str => {
                let len = usize::try_from(u64::from_le_bytes(first(bytes)?)).ok()?;
                let end = len.checked_add(8)?;
                (Value::Str(text(bytes.get(8..end)?)), end)
            }
            ValueType::Array => return None,
        })
    }
}

/// Text that the parser found to be UTF-8. A mapped file can change under the reader; then a replacement
/// character stands for it.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("\u{fffd}")
}

/// Bytes of the length before a string.
const LENGTH: usize = 8;

/// As many of the `count` strings that `bytes` begin with as are shorter than 128 bytes: their bytes,
/// lengths included, and their number. Such lengths are ASCII: if the bytes are UTF-8 as a whole, so is
/// each of the strings.
pub(crate) fn short_strings(bytes: &[u8], count: usize) -> (Option<&[u8]>, usize) {
    let (mut at, mut n) = (0usize, 0);
    while n < count
        && let Some(&[len, 0, 0, 0, 0, 0, 0, 0]) = bytes.get(at..at + LENGTH)
        && len < 128
        && at + LENGTH + usize::from(len) <= bytes.len()
    {
        at += LENGTH + usize::from(len);
        n += 1;
    }
    (bytes.get(..at), n)
}

/// An array in the metadata: its element type, its length, and its undecoded bytes.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    element: ValueType,
    len: u64,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// A view of `bytes`, which must hold `len` elements (the parser walked them).
    pub(crate) fn new(element: ValueType, len: u64, bytes: &'a [u8]) -> Array<'a> {
        Array {
            element,
            len,
            bytes,
        }
    }

    /// The type of the elements.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        // Each element takes at least a byte of the file, so the count fits.
        usize::try_from(self.len).unwrap_or(0)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, in order. Strings take a walk: there is no random access.
    pub fn iter(&self) -> Elements<'a> {
        Elements {
            element: self.element,
            left: self.len(),
            bytes: self.bytes,
        }
    }

    /// The elements as strings; `None` if they are not.
    pub fn strs(&self) -> Option<impl Iterator<Item = &'a str> + Clone + use<'a>> {
        (self.element == ValueType::Str).then(|| {
            self.iter().filter_map(|v| match v {
                Value::Str(s) => Some(s),
                _ => None,
            })
        })
    }

    /// The elements as strings, all at once and faster than one by one; `None` if they are not.
    pub fn str_list(&self) -> Option<Vec<&'a str>> {
        if self.element != ValueType::Str {
            return None;
        }
        let mut list = Vec::with_capacity(self.len());
        let mut left = self.len();
        let mut bytes = self.bytes;
        while left > 0 {
            let (run, count) = short_strings(bytes, left);
            // Valid as the parser found it, unless the file changed since.
            let run = run.and_then(|run| simdutf8::basic::from_utf8(run).ok());
            let Some(run) = run else { break };
            let mut at = 0;
            for _ in 0..count {
                let len = run.as_bytes().get(at).copied().unwrap_or(0);
                let end = at + LENGTH + usize::from(len);
                list.push(run.get(at + LENGTH..end).unwrap_or("\u{fffd}"));
                at = end;
            }
            bytes = bytes.get(at..).unwrap_or_default();
            left -= count;
            // A long one follows, if any does.
            if left > 0 {
                let Some((Value::Str(text), used)) = Value::read(ValueType::Str, bytes) else {
                    break;
                };
                list.push(text);
                bytes = bytes.get(used..).unwrap_or_default();
                left -= 1;
            }
        }
        Some(list)
    }

    /// The elements as f32; `None` if they are not.
    pub fn f32s(&self) -> Option<impl Iterator<Item = f32> + Clone + use<'a>> {
        (self.element == ValueType::F32).then(|| {
            self.iter().filter_map(|v| match v {
                Value::F32(x) => Some(x),
                _ => None,
            })
        })
    }

    /// The elements as booleans; `None` if they are not.
    pub fn bools(&self) -> Option<impl Iterator<Item = bool> + Clone + use<'a>> {
        (self.element == ValueType::Bool).then(|| {
            self.iter().filter_map(|v| match v {
                Value::Bool(x) => Some(x),
                _ => None,
            })
        })
    }

    /// The elements as integers of whatever width; `None` if they are not integers.
    pub fn ints(&self) -> Option<impl Iterator<Item = i128> + Clone + use<'a>> {
        use ValueType::*;
        matches!(self.element, U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
            .then(|| self.iter().filter_map(|v| v.as_int()))
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.element.name(), self.len)
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

/// The elements of an array, decoded one by one.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    element: ValueType,
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        // The parser walked these bytes, so reading fails only if the file changed since: end then.
        let read = match self.element {
            ValueType::Array => read_array(self.bytes, MAX_DEPTH),
            scalar => Value::read(scalar, self.bytes),
        };
        let Some((value, used)) = read else {
            self.left = 0;
            return None;
        };
        self.bytes = self.bytes.get(used..).unwrap_or(&[]);
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Arrays may nest this deep: one in another in another. Nothing known uses even two.
pub(crate) const MAX_DEPTH: u32 = 3;

/// The value of type `kind` that `bytes` hold.
pub(super) fn read(kind: ValueType, bytes: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        ValueType::Array => read_array(bytes, MAX_DEPTH)?.0,
        scalar => Value::read(scalar, bytes)?.0,
    })
}

/// An array and the bytes it took, from the first of `bytes`. The parser has refused what nests deeper than
/// [`MAX_DEPTH`]; the bound holds here too, because the file may change.
fn read_array(bytes: &[u8], depth: u32) -> Option<(Value<'_>, usize)> {
    let element = ValueType::from_id(u32::from_le_bytes(*bytes.first_chunk()?))?;
    let len = u64::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(12..)?;
    let size = match element.size() {
        Some(each) => usize::try_from(len.checked_mul(each)?).ok()?,
        None => {
            let mut at = 0usize;
            for _ in 0..len {
                let rest = body.get(at..)?;
                let used = match element {
                    // Not read as text yet: lists of strings are long.
                    ValueType::Str => {
                        let len = usize::try_from(u64::from_le_bytes(*rest.first_chunk()?)).ok()?;
                        len.checked_add(LENGTH).filter(|&used| used <= rest.len())?
                    }
                    ValueType::Array => read_array(rest, depth.checked_sub(1)?)?.1,
                    scalar => Value::read(scalar, rest)?.1,
                };
                at = at.checked_add(used)?;
            }
            at
        }
    };
    Some((
        Value::Array(Array::new(element, len, body.get(..size)?)),
        size.checked_add(12)?,
    ))
}
