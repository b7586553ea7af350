//! The one error of shapes and lengths: what a caller passed does not fit what the call needs.
//!
//! Kernels check their slices once, at the door, and name here what was wrong with them. Nothing
//! else can fail in this crate: any bytes are valid blocks.

use crate::act::ActFormat;
use crate::format::Format;

/// A slice, a matrix or an activation row does not have the shape that the call needs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A row does not divide into whole blocks.
    #[error(
        "a row of {cols} elements is no whole number of {format} blocks, which hold {} elements each; \
         the file is damaged, or another format must be chosen for this matrix",
        .format.block_len()
    )]
    Cols {
        /// The format of the row.
        format: Format,
        /// Elements in a row, as found.
        cols: usize,
    },
    /// A matrix whose size in bytes cannot be expressed.
    #[error("a matrix of {rows} rows and {cols} columns is larger than this machine can address")]
    TooLarge {
        /// Rows, as found.
        rows: usize,
        /// Columns, as found.
        cols: usize,
    },
    /// A slice is not as long as its shape says.
    #[error(
        "{what} must have length {expected}, but has {found}; pass a slice of exactly that length"
    )]
    Len {
        /// Which argument, and its unit: "the blocks (bytes)".
        what: &'static str,
        /// The length that the shape asks for.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A row that the matrix does not have.
    #[error("row {row} was asked of a matrix of {rows} rows; rows count from 0")]
    Row {
        /// The row asked for.
        row: usize,
        /// The rows that exist.
        rows: usize,
    },
    /// Activations do not divide into whole blocks.
    #[error(
        "{k} activations are no whole number of {format:?} blocks, which hold {} each",
        .format.block()
    )]
    Activations {
        /// The activation format.
        format: ActFormat,
        /// Elements in the row, as found.
        k: usize,
    },
    /// Activations of one format were given to weights that read another.
    #[error("{weights} weights are multiplied by {expected:?} activations, but got {found:?}")]
    ActivationFormat {
        /// The format of the weights.
        weights: Format,
        /// What [`Format::activation`] says.
        expected: ActFormat,
        /// What was passed.
        found: ActFormat,
    },
    /// A buffer does not start at the alignment that its layout needs.
    #[error("{what} must start at a multiple of {align} bytes; allocate it with that alignment")]
    Misaligned {
        /// Which argument.
        what: &'static str,
        /// The alignment needed, in bytes.
        align: usize,
    },
}

/// That `found` is `expected`, or the error that names `what`.
pub(crate) fn check_len(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), ShapeError> {
    if found == expected {
        Ok(())
    } else {
        Err(ShapeError::Len {
            what,
            expected,
            found,
        })
    }
}
