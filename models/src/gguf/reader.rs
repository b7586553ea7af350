//! The parser: a walk over the header that checks every field before it believes it. Bytes enter; a
//! [`Gguf`] whose entries and tensors are positions in those bytes leaves. Work and memory are bounded by
//! the header's own length: a count is compared with the bytes that are left before anything is reserved.
//!
//! Source of the format: the GGUF specification (ggml, docs/gguf.md).

use std::ops::Range;

use super::error::{GgufError, Problem};
use super::tensor_type::TensorType;
use super::value::{MAX_DEPTH, ValueType, short_strings};
use super::{Entry, Gguf, TensorInfo};
use crate::error::Text;
use crate::mapping::Bytes;

type Result<T> = std::result::Result<T, GgufError>;

/// The longest key that the specification allows.
pub(crate) const MAX_KEY: u64 = 65_535;
/// The longest tensor name that the specification allows.
pub(crate) const MAX_NAME: u64 = 64;
/// The largest alignment accepted. Files in use have 32; memory maps make more than a page pointless.
pub(crate) const MAX_ALIGNMENT: u64 = 65_536;
/// The alignment of files that do not say.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// The fewest bytes of a metadata entry: key length, one byte of key, type, one byte of value.
const MIN_ENTRY: u64 = 8 + 1 + 4 + 1;
/// The fewest bytes of a tensor's entry: name length, one byte of name, dimensions, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;

fn malformed(field: impl Into<String>, at: usize, problem: Problem) -> GgufError {
    GgufError::Malformed {
        field: field.into(),
        at: at as u64,
        problem,
    }
}

/// A position in the file that only moves forward.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64 // `at` never passes the end
    }

    /// The next `need` bytes. `field` is called only for an error.
    fn take(&mut self, need: u64, field: impl FnOnce() -> String) -> Result<&'a [u8]> {
        let have = self.left();
        let end = usize::try_from(need)
            .ok()
            .and_then(|n| self.at.checked_add(n));
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(malformed(
                field(),
                self.at,
                Problem::CutShort { need, have },
            )),
        }
    }

    fn u32(&mut self, field: impl FnOnce() -> String) -> Result<u32> {
        // Four bytes were taken, so the conversion cannot fail.
        Ok(self
            .take(4, field)?
            .try_into()
            .map_or(0, u32::from_le_bytes))
    }

    fn u64(&mut self, field: impl FnOnce() -> String) -> Result<u64> {
        // Eight bytes were taken, so the conversion cannot fail.
        Ok(self
            .take(8, field)?
            .try_into()
            .map_or(0, u64::from_le_bytes))
    }

    /// A length and that many bytes of UTF-8; the range is that of the text.
    fn string(&mut self, limit: Option<u64>, field: impl Fn() -> String) -> Result<Range<usize>> {
        let at = self.at;
        let len = self.u64(|| format!("length of {}", field()))?;
        if let Some(limit) = limit
            && !(1..=limit).contains(&len)
        {
            return Err(malformed(
                field(),
                at,
                Problem::Length { found: len, limit },
            ));
        }
        let start = self.at;
        let text = self.take(len, &field)?;
        if let Err(e) = std::str::from_utf8(text) {
            return Err(malformed(
                field(),
                start,
                Problem::Utf8 {
                    valid: e.valid_up_to(),
                },
            ));
        }
        Ok(start..self.at)
    }

    /// Walks past as many of `count` strings as can be checked together, and returns how many; `None` if
    /// one of them is wrong, which is for [`string`](Cursor::string) to say.
    fn short_strings(&mut self, count: u64) -> Option<u64> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (run, n) = short_strings(rest, usize::try_from(count).unwrap_or(usize::MAX));
        let run = run.filter(|run| simdutf8::basic::from_utf8(run).is_ok())?;
        self.at += run.len();
        Some(n as u64)
    }

    /// A count of things of at least `each` bytes, which the bytes left must be able to hold.
    fn count(&mut self, each: u64, field: impl Fn() -> String) -> Result<u64> {
        let at = self.at;
        let count = self.u64(&field)?;
        let have = self.left();
        match count.checked_mul(each) {
            Some(need) if need <= have => Ok(count),
            _ => Err(malformed(field(), at, Problem::Count { count, have })),
        }
    }

    fn value_type(&mut self, field: impl Fn() -> String) -> Result<ValueType> {
        let at = self.at;
        let found = self.u32(&field)?;
        ValueType::from_id(found)
            .ok_or_else(|| malformed(field(), at, Problem::ValueType { found }))
    }

    /// Walks past a value of type `kind`, checking it.
    fn value(&mut self, kind: ValueType, depth: u32, field: &dyn Fn() -> String) -> Result<()> {
        match kind {
            ValueType::Str => {
                self.string(None, field)?;
            }
            ValueType::Bool => {
                let at = self.at;
                if let &[found] = self.take(1, field)?
                    && found > 1
                {
                    return Err(malformed(field(), at, Problem::Bool { found }));
                }
            }
            ValueType::Array => {
                if depth == 0 {
                    return Err(malformed(
                        field(),
                        self.at,
                        Problem::Depth { limit: MAX_DEPTH },
                    ));
                }
                let element = self.value_type(|| format!("element type of {}", field()))?;
                let count = self.count(element.min_size(), || format!("length of {}", field()))?;
                match element.size() {
                    Some(each) if element != ValueType::Bool => {
                        // The count was compared with the bytes left, so the product fits.
                        self.take(count.saturating_mul(each), field)?;
                    }
                    _ => {
                        let mut i = 0;
                        let mut together = element == ValueType::Str;
                        while i < count {
                            if together {
                                let walked = self.short_strings(count - i);
                                together = walked.is_some();
                                i += walked.unwrap_or(0);
                            }
                            if i < count {
                                self.value(element, depth - 1, &|| {
                                    format!("element {i} of {}", field())
                                })?;
                                i += 1;
                            }
                        }
                    }
                }
            }
            scalar => {
                self.take(scalar.min_size(), field)?;
            }
        }
        Ok(())
    }
}

/// Parses the header of `bytes`, which must be the whole file (data offsets are checked against its end).
pub(super) fn parse(bytes: &Bytes) -> Result<Gguf> {
    let mut c = Cursor { bytes, at: 0 };
    let magic = c.take(4, || "magic".into())?;
    if magic != b"GGUF" {
        let found = magic.try_into().unwrap_or_default(); // four bytes were taken
        return Err(malformed("magic", 0, Problem::Magic { found }));
    }
    let version = c.u32(|| "version".into())?;
    match version {
        2 | 3 => {}
        // Versions are small numbers: one whose low half is empty was written the other way round.
        found if found != 0 && found & 0xffff == 0 => {
            return Err(malformed(
                "version",
                4,
                Problem::BigEndian {
                    found: found.swap_bytes(),
                },
            ));
        }
        found => return Err(malformed("version", 4, Problem::Version { found })),
    }
    let n_tensors_at = c.at;
    let n_tensors = c.count(MIN_TENSOR, || "tensor_count".into())?;
    let n_entries = c.count(MIN_ENTRY, || "metadata_kv_count".into())?;
    let entries = read_entries(&mut c, n_entries)?;
    let by_key = sorted(&entries, bytes, |e| &e.key, "metadata key")?;

    let mut gguf = Gguf {
        bytes: bytes.clone(),
        version,
        entries,
        by_key,
        tensors: Vec::new(),
        by_name: Vec::new(),
        alignment: DEFAULT_ALIGNMENT,
        data_start: 0,
    };
    gguf.alignment = alignment(&gguf)?;
    // The entries took some of the bytes that the count was compared with.
    if n_tensors.saturating_mul(MIN_TENSOR) > c.left() {
        let problem = Problem::Count {
            count: n_tensors,
            have: c.left(),
        };
        return Err(malformed("tensor_count", n_tensors_at, problem));
    }
    let declared = read_tensors(&mut c, n_tensors, gguf.alignment)?;
    let data_start = (c.at as u64).next_multiple_of(gguf.alignment);
    gguf.data_start = data_start;
    gguf.tensors = place(bytes, declared, data_start)?;
    gguf.by_name = sorted(&gguf.tensors, bytes, |t| &t.name, "tensor name")?;
    Ok(gguf)
}

fn read_entries(c: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>> {
    let bytes = c.bytes;
    // Bounded by the file's length: `count` was compared with it.
    let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for i in 0..count {
        let key = c.string(Some(MAX_KEY), || format!("metadata key {i}"))?;
        let kind = c.value_type(|| format!("type of metadata {}", quoted(bytes, &key)))?;
        let start = c.at;
        c.value(kind, MAX_DEPTH, &|| {
            format!("value of metadata {}", quoted(bytes, &key))
        })?;
        entries.push(Entry {
            key,
            kind,
            value: start..c.at,
        });
    }
    Ok(entries)
}

/// Text at a range of the file, for a message.
fn quoted(bytes: &[u8], range: &Range<usize>) -> String {
    format!("{:?}", Text::bytes(bytes.get(range.clone()).unwrap_or(&[])))
}

/// `general.alignment`, or the default.
fn alignment(gguf: &Gguf) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(found) = gguf.int::<u64>(KEY)? else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    if found.is_power_of_two() && found <= MAX_ALIGNMENT {
        return Ok(found);
    }
    let at = gguf.entry(KEY).map_or(0, |e| e.value.start);
    Err(malformed(
        KEY,
        at,
        Problem::Alignment {
            found,
            limit: MAX_ALIGNMENT,
        },
    ))
}

/// A tensor as its entry declares it, before its place is compared with the file's end and the others.
struct Declared {
    info: TensorInfo,
    offset_at: usize,
}

fn read_tensors(c: &mut Cursor<'_>, count: u64, alignment: u64) -> Result<Vec<Declared>> {
    let bytes = c.bytes;
    // Bounded by the file's length: `count` was compared with it.
    let mut tensors = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for i in 0..count {
        let name = c.string(Some(MAX_NAME), || format!("name of tensor {i}"))?;
        let field = |what: &str| format!("{what} of tensor {}", quoted(bytes, &name));

        let at = c.at;
        let n_dims = c.u32(|| field("n_dimensions"))?;
        if !(1..=4).contains(&n_dims) {
            return Err(malformed(
                field("n_dimensions"),
                at,
                Problem::Dimensions { found: n_dims },
            ));
        }
        let dims_at = c.at;
        let mut dims = [1u64; 4];
        for (d, dim) in dims.iter_mut().enumerate().take(n_dims as usize) {
            let at = c.at;
            *dim = c.u64(|| field(&format!("dimension {d}")))?;
            if *dim == 0 {
                return Err(malformed(
                    field(&format!("dimension {d}")),
                    at,
                    Problem::ZeroDimension,
                ));
            }
        }

        let at = c.at;
        let type_id = c.u32(|| field("type"))?;
        let block = match TensorType::from_ggml_id(type_id) {
            None => {
                return Err(malformed(
                    field("type"),
                    at,
                    Problem::TensorType { found: type_id },
                ));
            }
            Some(TensorType::Removed(name)) => {
                return Err(malformed(
                    field("type"),
                    at,
                    Problem::RemovedType {
                        found: type_id,
                        name,
                    },
                ));
            }
            // Types that are not removed have a block.
            Some(t) => match t.block() {
                Some(block) => block,
                None => {
                    return Err(malformed(
                        field("type"),
                        at,
                        Problem::TensorType { found: type_id },
                    ));
                }
            },
        };
        if dims[0] % block.elements != 0 {
            let problem = Problem::PartialBlock {
                found: dims[0],
                block: block.elements,
                name: block.name,
            };
            return Err(malformed(field("dimension 0"), dims_at, problem));
        }
        let len = (dims[0] / block.elements)
            .checked_mul(block.bytes)
            .and_then(|row| dims[1..].iter().try_fold(row, |n, &d| n.checked_mul(d)))
            // The number of elements must fit as well: blocks may be smaller than their elements are many.
            .filter(|_| {
                dims.iter()
                    .try_fold(1u64, |n, &d| n.checked_mul(d))
                    .is_some()
            })
            .ok_or_else(|| malformed(field("size"), dims_at, Problem::Overflow))?;

        let offset_at = c.at;
        let offset = c.u64(|| field("offset"))?;
        if offset % alignment != 0 {
            return Err(malformed(
                field("offset"),
                offset_at,
                Problem::Misaligned {
                    found: offset,
                    alignment,
                },
            ));
        }
        let info = TensorInfo {
            name,
            n_dims,
            dims,
            type_id,
            offset,
            data: 0..len,
        };
        tensors.push(Declared { info, offset_at });
    }
    Ok(tensors)
}

/// Gives every tensor its bytes in the file: none beyond the end, none shared.
fn place(bytes: &[u8], declared: Vec<Declared>, data_start: u64) -> Result<Vec<TensorInfo>> {
    let file_len = bytes.len() as u64;
    let mut order: Vec<usize> = (0..declared.len()).collect();
    order.sort_by_key(|&i| declared.get(i).map(|d| d.info.offset));
    let mut before: Option<&Declared> = None;
    for d in order.iter().filter_map(|&i| declared.get(i)) {
        let field = || format!("offset of tensor {}", quoted(bytes, &d.info.name));
        if let Some(p) = before
            // Checked for `p` below: its end is inside the file.
            && d.info.offset < p.info.offset + p.info.data.end
        {
            let other = bytes
                .get(p.info.name.clone())
                .map(super::value::text)
                .unwrap_or_default()
                .to_owned();
            return Err(malformed(
                field(),
                d.offset_at,
                Problem::Overlap {
                    offset: d.info.offset,
                    other,
                },
            ));
        }
        let span = data_start
            .checked_add(d.info.offset)
            .and_then(|start| Some((start, start.checked_add(d.info.data.end)?)));
        let Some((start, end)) = span else {
            return Err(malformed(field(), d.offset_at, Problem::Overflow));
        };
        if end > file_len {
            return Err(malformed(
                field(),
                d.offset_at,
                Problem::BeyondEnd {
                    start,
                    end,
                    len: file_len,
                },
            ));
        }
        before = Some(d);
    }
    let absolute = |d: Declared| {
        let start = data_start + d.info.offset; // inside the file, as checked above
        TensorInfo {
            data: start..start + d.info.data.end,
            ..d.info
        }
    };
    Ok(declared.into_iter().map(absolute).collect())
}

/// The items' indices in the order of their names; a name that occurs twice is an error.
fn sorted<T>(
    items: &[T],
    bytes: &[u8],
    name: impl Fn(&T) -> &Range<usize>,
    what: &str,
) -> Result<Vec<u32>> {
    let range = |i: u32| {
        items
            .get(i as usize)
            .map(&name)
            .cloned()
            .unwrap_or_default()
    };
    let text = |i: u32| bytes.get(range(i)).unwrap_or(&[]);
    // An entry takes 14 bytes or more, so 2^32 of them would be a header of 60 GB.
    let mut order: Vec<u32> = (0..u32::try_from(items.len()).unwrap_or(u32::MAX)).collect();
    order.sort_by(|&a, &b| text(a).cmp(text(b)).then(a.cmp(&b)));
    for pair in order.windows(2) {
        if let [a, b] = *pair
            && text(a) == text(b)
        {
            let field = format!("{what} {}", quoted(bytes, &range(b)));
            let first = range(a).start as u64;
            return Err(malformed(
                field,
                range(b).start,
                Problem::Duplicate { first },
            ));
        }
    }
    Ok(order)
}
