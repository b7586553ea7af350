//! What can be wrong in a GGUF file: always a field, its byte position, and the value found.

use crate::error::Text;

/// A malformed field, or metadata that is not what a caller asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A field whose bytes cannot be right.
    #[error("{field} at byte {at}: {problem}")]
    Malformed {
        /// The field, as the GGUF specification calls it, with the key or tensor it belongs to.
        field: String,
        /// Position of the field's first byte in the file.
        at: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// A key that is needed and not there.
    #[error(
        "metadata key {:?} is missing ({wanted} is needed); the file is incomplete or of another architecture",
        Text::str(key)
    )]
    MissingKey {
        /// The key.
        key: String,
        /// The type that it should have.
        wanted: &'static str,
    },
    /// A key that has another type than it should.
    #[error(
        "metadata key {:?} has type {found}, but {wanted} is needed",
        Text::str(key)
    )]
    WrongType {
        /// The key.
        key: String,
        /// The type that it has.
        found: String,
        /// The type that it should have.
        wanted: &'static str,
    },
    /// A number that does not fit what it is for.
    #[error("metadata key {:?} is {value}, which is no {wanted}", Text::str(key))]
    OutOfRange {
        /// The key.
        key: String,
        /// The value found.
        value: String,
        /// The type that it should fit.
        wanted: &'static str,
    },
    /// A list that has another length than it should.
    #[error(
        "metadata key {:?} has {found} elements, but {wanted} are needed",
        Text::str(key)
    )]
    WrongLength {
        /// The key.
        key: String,
        /// Its number of elements.
        found: u64,
        /// The number that is needed.
        wanted: u64,
    },
}

/// Why a field cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends within the field.
    #[error("needs {need} bytes, and the file has {have} more; it is cut short, fetch it again")]
    CutShort {
        /// Bytes that the field needs.
        need: u64,
        /// Bytes left.
        have: u64,
    },
    /// Not the four bytes `GGUF`.
    #[error("is {found:02x?}, not \"GGUF\"")]
    Magic {
        /// The four bytes.
        found: [u8; 4],
    },
    /// A version that hob does not read.
    #[error("is {found}; hob reads 2 and 3: convert the file with a current converter")]
    Version {
        /// The version.
        found: u32,
    },
    /// A file written for big-endian machines.
    #[error(
        "is {found} with its bytes reversed: this is a big-endian file, and hob reads little-endian ones"
    )]
    BigEndian {
        /// The version, in the right byte order.
        found: u32,
    },
    /// A count of things that could not fit into the file.
    #[error(
        "is {count}, but {count} of them need more than the {have} bytes that are left; the file is damaged or cut short, fetch it again"
    )]
    Count {
        /// The count.
        count: u64,
        /// Bytes left.
        have: u64,
    },
    /// A name or key of a forbidden length.
    #[error("is {found} bytes long; 1 to {limit} are allowed")]
    Length {
        /// The length.
        found: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("is not UTF-8 from its byte {valid} on")]
    Utf8 {
        /// Bytes that are.
        valid: usize,
    },
    /// A metadata value type that does not exist.
    #[error("is {found}; value types are 0 to 12")]
    ValueType {
        /// The number.
        found: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("is {found}; a boolean is 0 or 1")]
    Bool {
        /// The byte.
        found: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("nests arrays more than {limit} deep")]
    Depth {
        /// The limit.
        limit: u32,
    },
    /// A key or a name that occurred before.
    #[error("occurs twice; the first is at byte {first}")]
    Duplicate {
        /// Position of the first.
        first: u64,
    },
    /// An alignment that is not a power of two or too large.
    #[error("is {found}; it must be a power of two up to {limit}")]
    Alignment {
        /// The value.
        found: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// A tensor with no or too many dimensions.
    #[error("is {found}; tensors have 1 to 4 dimensions")]
    Dimensions {
        /// The number of dimensions.
        found: u32,
    },
    /// A dimension of length zero.
    #[error("is zero: the tensor would have no elements")]
    ZeroDimension,
    /// A tensor type that is not known to any version of ggml that hob knows.
    #[error("is {found}, a tensor type that hob does not know; a newer hob may")]
    TensorType {
        /// The number.
        found: u32,
    },
    /// A tensor type that was taken out of the format.
    #[error("is {found} ({name}), which was removed from GGUF: convert the model again")]
    RemovedType {
        /// The number.
        found: u32,
        /// The name that it had.
        name: &'static str,
    },
    /// Rows that do not consist of whole blocks.
    #[error("is {found}, not a multiple of the {block} elements of a {name} block")]
    PartialBlock {
        /// The length of a row.
        found: u64,
        /// Elements of a block.
        block: u64,
        /// The type's name.
        name: &'static str,
    },
    /// A product of dimensions or a sum of offsets beyond 64 bits.
    #[error("is too large to be computed with")]
    Overflow,
    /// A tensor that does not begin at a multiple of the alignment.
    #[error("is {found}, not a multiple of the file's alignment {alignment}")]
    Misaligned {
        /// The offset.
        found: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor whose bytes are not all in the file.
    #[error(
        "puts the tensor at bytes {start} to {end}, but the file ends at {len}; it is cut short, fetch it again"
    )]
    BeyondEnd {
        /// First byte in the file.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The file's length.
        len: u64,
    },
    /// Two tensors that share bytes.
    #[error(
        "puts the tensor at data offset {offset}, inside tensor {:?}",
        Text::str(other)
    )]
    Overlap {
        /// Offset within the data section.
        offset: u64,
        /// The tensor that owns those bytes.
        other: String,
    },
}
