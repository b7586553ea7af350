//! The linear kernel: `y[t, r] = dot(W[r], x[t])`, for every format and instruction set.
//!
//! In: a weight matrix `[rows, cols]`, packed into tiles or row-major, and activations of the kind
//! that its format reads (`[tokens, cols]`, see [`crate::act`]). Out: `[tokens, rows]` floats, each
//! bit-equal to the definition, [`crate::format::dot`], whatever the instruction set, the order of
//! the weights, the split of the work into ranges of tiles, or the tokens that went together.
//!
//! - `driver`: tiles, token groups, epilogues; knows no format;
//! - `scalar`: the definition, row by row;
//! - `vector/`: the kernels, once, over vector operations; `x86/`, `aarch64/`: those operations;
//! - `panels`: the kernels compiled for an instruction set.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod driver;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod panels;
mod scalar;
mod scratch;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use driver::forward_tiles;
pub(crate) use driver::{interleaving, tiled};
pub(crate) use scratch::Interleaving;
pub use scratch::Scratch;

/// Fewer tokens than this are never multiplied in register tiles.
pub(crate) const TILED_TOKENS: usize = 16;

use crate::act::ACT_ALIGN;
use crate::error::{ShapeError, check_len};
use crate::format::Format;
use crate::isa::{Isa, IsaError};
use crate::pack::{TILE_ROWS, matrix_shape};

/// A matrix in the tile layout of [`crate::pack`].
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a>(Shaped<'a>);

/// A row-major matrix, as files have it.
#[derive(Clone, Copy, Debug)]
pub struct RowMatrix<'a>(Shaped<'a>);

/// A weight matrix `[rows, cols]` in either order.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// In tiles: the fast order.
    Packed(PackedMatrix<'a>),
    /// Row-major: interleaved in small pieces on the fly.
    Rows(RowMatrix<'a>),
}

/// Bytes whose length is that of the shape.
#[derive(Clone, Copy, Debug)]
struct Shaped<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Shaped<'a> {
    fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let row_bytes = matrix_shape(format, rows, cols, bytes.len())?;
        Ok(Shaped {
            format,
            rows,
            cols,
            row_bytes,
            bytes,
        })
    }
}

impl<'a> PackedMatrix<'a> {
    /// The packed matrix `[rows, cols]` in `bytes`.
    ///
    /// # Errors
    /// `cols` is not whole blocks, or the length is not that of the matrix.
    pub fn new(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, ShapeError> {
        Shaped::new(format, rows, cols, bytes).map(PackedMatrix)
    }
}

impl<'a> RowMatrix<'a> {
    /// The row-major matrix `[rows, cols]` in `bytes`.
    ///
    /// # Errors
    /// `cols` is not whole blocks, or the length is not that of the matrix.
    pub fn new(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, ShapeError> {
        Shaped::new(format, rows, cols, bytes).map(RowMatrix)
    }
}

impl<'a> From<PackedMatrix<'a>> for Matrix<'a> {
    fn from(m: PackedMatrix<'a>) -> Self {
        Matrix::Packed(m)
    }
}

impl<'a> From<RowMatrix<'a>> for Matrix<'a> {
    fn from(m: RowMatrix<'a>) -> Self {
        Matrix::Rows(m)
    }
}

impl<'a> Matrix<'a> {
    fn shaped(&self) -> &Shaped<'a> {
        match self {
            Matrix::Packed(PackedMatrix(m)) | Matrix::Rows(RowMatrix(m)) => m,
        }
    }

    /// The block format.
    pub fn format(&self) -> Format {
        self.shaped().format
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.shaped().rows
    }

    /// Input features: elements of a row.
    pub fn cols(&self) -> usize {
        self.shaped().cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shaped().row_bytes
    }

    /// The weights.
    pub fn bytes(&self) -> &'a [u8] {
        self.shaped().bytes
    }

    /// Tiles of 16 rows, the last of which may have fewer: the unit in which work is divided.
    pub fn tiles(&self) -> usize {
        self.rows().div_ceil(TILE_ROWS)
    }
}

/// Where outputs go: element (t, r) at `ptr + t * stride + r`.
#[derive(Clone, Copy, Debug)]
pub struct OutCols {
    ptr: *mut f32,
    stride: usize,
}

// SAFETY: a pointer whose use is unsafe, and governed by the contract of `OutCols::new`.
unsafe impl Send for OutCols {}
// SAFETY: as above.
unsafe impl Sync for OutCols {}

impl OutCols {
    /// Outputs at `ptr`, with `stride` floats from token to token.
    ///
    /// # Safety
    /// Whenever it is passed to [`forward_tiles`], the elements of that call's rows and tokens are
    /// valid for writes, and nobody else reads or writes them.
    pub unsafe fn new(ptr: *mut f32, stride: usize) -> OutCols {
        OutCols { ptr, stride }
    }
}

/// What becomes of the sums.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue {
    /// `out[t, r] = y`.
    Store,
    /// `out[t, r] = residual[t, r] + y`. The residual may be the output itself.
    Add {
        /// Element (0, 0) of the residual.
        residual: *const f32,
        /// Floats from token to token.
        stride: usize,
    },
}

// SAFETY: a pointer whose use is governed by the contract of `forward_tiles`.
unsafe impl Send for Epilogue {}
// SAFETY: as above.
unsafe impl Sync for Epilogue {}

/// Why [`forward`] did not run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinearError {
    /// A slice does not have the shape that the matrix asks for.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The CPU lacks the instruction set.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// The whole product on the calling thread: `acts` is `[tokens]` rows of
/// [`ActFormat::row_bytes`](crate::act::ActFormat::row_bytes), 64-byte aligned, as
/// [`quantize_row`](crate::act::quantize_row) writes them; `out` is `[tokens, rows]`.
///
/// # Errors
/// A slice has another length or alignment, or this CPU lacks `isa`.
pub fn forward(
    isa: Isa,
    m: Matrix<'_>,
    acts: &[u8],
    tokens: usize,
    out: &mut [f32],
) -> Result<(), LinearError> {
    let scratch = Scratch::bytes(m.format().activation(), m.cols(), tokens).and_then(Scratch::new);
    // Without memory for it, the slower way.
    let Some(mut scratch) = scratch.or_else(|| Scratch::new(0)) else {
        return Err(ShapeError::TooLarge {
            rows: tokens,
            cols: m.cols().max(m.rows()),
        }
        .into());
    };
    forward_with(isa, m, acts, tokens, out, &mut scratch)
}

/// [`forward`] with working memory that outlives the call. To be told ([`Scratch::forget`]) when
/// the activations have changed.
///
/// # Errors
/// As [`forward`].
pub fn forward_with(
    isa: Isa,
    m: Matrix<'_>,
    acts: &[u8],
    tokens: usize,
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), LinearError> {
    if !isa.is_available() {
        return Err(IsaError::Unavailable {
            isa,
            available: Isa::available(),
        }
        .into());
    }
    let stride = m.format().activation().row_bytes(m.cols());
    let too_large = || ShapeError::TooLarge {
        rows: tokens,
        cols: m.cols().max(m.rows()),
    };
    let acts_len = tokens.checked_mul(stride).ok_or_else(too_large)?;
    let out_len = tokens.checked_mul(m.rows()).ok_or_else(too_large)?;
    check_len("the activations (bytes)", acts_len, acts.len())?;
    check_len("the output (floats)", out_len, out.len())?;
    if !acts.as_ptr().addr().is_multiple_of(ACT_ALIGN) {
        return Err(ShapeError::Misaligned {
            what: "the activations",
            align: ACT_ALIGN,
        }
        .into());
    }
    // SAFETY: isa is available; the lengths are those that the shapes ask for; `out` is borrowed.
    unsafe {
        let out = OutCols::new(out.as_mut_ptr(), m.rows());
        forward_tiles(
            isa,
            m,
            0..m.tiles(),
            acts.as_ptr(),
            stride,
            tokens,
            out,
            Epilogue::Store,
            scratch,
        );
    }
    Ok(())
}
