//! Walks tiles, tokens and panels around a panel kernel, and stores what comes out.
//!
//! In: a matrix, a range of its 16-row tiles, activations. Few tokens go in groups past the weights
//! of each tile; for many, weights are decoded once into a panel that all tokens sweep. Either way
//! each output's chain runs through the columns in ascending order. Full tiles of a
//! packed matrix are read in place; other rows are interleaved panel by panel into a scratch of a few
//! kilobytes on the stack, rows that do not exist being zero and never stored. It knows no format.

use std::ops::Range;

use super::scratch::{Interleaving, Key};
use super::{Epilogue, Matrix, OutCols, Scratch, scalar};
use crate::counters::Counter;
use crate::format::Format;
use crate::isa::Isa;
use crate::pack::TILE_ROWS;

static PACKED: Counter = Counter::new("linear.packed");
static ROWS: Counter = Counter::new("linear.rows");
/// Of both, those in register tiles.
static TILES: Counter = Counter::new("linear.tiles");

/// Computes `tiles` (16 rows each, the last of a matrix perhaps fewer) of the product for `tokens`
/// rows of activations, `act_stride` bytes apart, each in the layout of the format's
/// [`Format::activation`]. Ranges may be cut anywhere, and run on any threads at once.
///
/// # Safety
/// - `isa` is available.
/// - `acts` is 64-byte aligned, `act_stride` a multiple of 64, and each of the `tokens` rows readable
///   for `ActFormat::row_bytes(cols)`.
/// - `out` holds for these rows and tokens (see [`OutCols::new`]), and so does the residual's address
///   for reads; residual and output are the same elements or do not overlap.
pub unsafe fn forward_tiles(
    isa: Isa,
    m: Matrix<'_>,
    tiles: Range<usize>,
    acts: *const u8,
    act_stride: usize,
    tokens: usize,
    out: OutCols,
    epilogue: Epilogue,
    scratch: &mut Scratch,
) {
    let tiles = tiles.start..tiles.end.min(m.tiles());
    if tiles.is_empty() || tokens == 0 {
        return;
    }
    let counter = match m {
        Matrix::Packed(_) => &PACKED,
        Matrix::Rows(_) => &ROWS,
    };
    counter.count(Some(m.format()), isa);
    let store = |first_row: usize, n_rows: usize, token: usize, y: &[f32; TILE_ROWS]| {
        // SAFETY: rows and tokens of this call; the caller vouches for both pointers.
        unsafe { store(&out, epilogue, first_row, n_rows, token, y) }
    };
    match kernels(isa, m.format()) {
        // SAFETY: the caller's promises, passed on.
        None => unsafe { scalar::run(isa, m, tiles, acts, act_stride, tokens, store) },
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        Some((panel, gemm)) => {
            use super::vector::{Acts, gemm::sweep, walk};
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if let Some(gemm) = gemm.filter(|g| tokens >= g.from)
                    && sweep::run(
                        isa,
                        &gemm,
                        &m,
                        tiles.clone(),
                        acts,
                        act_stride,
                        tokens,
                        scratch,
                        store,
                    )
                {
                    TILES.count(Some(m.format()), isa);
                    return;
                }
                let layout = m.format().activation().layout(m.cols());
                let acts = Acts::of(layout, acts, act_stride);
                walk::run(isa, panel, m, tiles, acts, tokens, store);
            }
        }
    }
}

/// Whether so many tokens are multiplied in register tiles, for which work is best divided by tiles.
pub(crate) fn tiled(isa: Isa, format: Format, tokens: usize) -> bool {
    tile_group(isa, format, tokens).is_some()
}

/// The tokens of a register tile, if so many tokens are multiplied in those, and the factor on their
/// activations' sums.
fn tile_group(isa: Isa, format: Format, tokens: usize) -> Option<(usize, i32)> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some((_, Some(gemm))) = kernels(isa, format) {
        return (tokens >= gemm.from).then_some((gemm.tokens, gemm.factor));
    }
    let _ = (isa, format, tokens);
    None
}

/// The interleaving that a product of `cols` columns with a matrix of `format` reads, if it is one in
/// register tiles: of activations as for [`forward_tiles`], to `to`.
///
/// Whoever runs it vouches for the activations, and for [`Interleaving::bytes`] at `to`.
pub(crate) fn interleaving(
    isa: Isa,
    format: Format,
    cols: usize,
    (acts, stride): (*const u8, usize),
    tokens: usize,
    to: *mut u8,
) -> Option<Interleaving> {
    let (group, factor) = tile_group(isa, format, tokens)?;
    let key = Key {
        acts,
        stride,
        tokens,
        format: format.activation(),
        cols,
        group,
        factor,
    };
    Some(Interleaving { key, to })
}

/// The kernel for panels, and that for register tiles, if the format has it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Kernels = (super::vector::PanelFn, Option<super::vector::Gemm>);

/// The vector kernels of a format; none where the definition itself is asked for (or a set of another
/// architecture, which is never available).
#[cfg(target_arch = "x86_64")]
fn kernels(isa: Isa, format: Format) -> Option<Kernels> {
    use super::x86::{avx2, avx512, avxvnni};
    match isa {
        Isa::Scalar | Isa::Neon | Isa::Dotprod | Isa::I8mm => None,
        Isa::Avx2 => Some((avx2::panel_function(format), avx2::gemm(format))),
        Isa::AvxVnni => Some((avxvnni::panel_function(format), avxvnni::gemm(format))),
        Isa::Avx512 => Some((avx512::panel_function(format), avx512::gemm(format))),
    }
}

/// As on x86-64.
#[cfg(target_arch = "aarch64")]
fn kernels(isa: Isa, format: Format) -> Option<Kernels> {
    use super::aarch64::{dotprod, i8mm, neon};
    match isa {
        Isa::Scalar | Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => None,
        Isa::Neon => Some((neon::panel_function(format), neon::gemm(format))),
        Isa::Dotprod => Some((dotprod::panel_function(format), dotprod::gemm(format))),
        Isa::I8mm => Some((i8mm::panel_function(format), i8mm::gemm(format))),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn kernels(_: Isa, _: Format) -> Option<std::convert::Infallible> {
    None
}

/// # Safety
/// The rows and the token are within what the makers of `out` and `epilogue` vouched for.
#[inline(always)]
unsafe fn store(
    out: &OutCols,
    epilogue: Epilogue,
    first_row: usize,
    n_rows: usize,
    token: usize,
    y: &[f32; TILE_ROWS],
) {
    // SAFETY: the caller's.
    unsafe {
        let to = out.ptr.add(token * out.stride + first_row);
        match epilogue {
            Epilogue::Store if n_rows == TILE_ROWS => to.cast::<[f32; TILE_ROWS]>().write(*y),
            Epilogue::Store => {
                for (r, y) in y.iter().enumerate().take(n_rows) {
                    to.add(r).write(*y);
                }
            }
            Epilogue::Add { residual, stride } => {
                let base = residual.add(token * stride + first_row);
                for (r, y) in y.iter().enumerate().take(n_rows) {
                    to.add(r).write(base.add(r).read() + y);
                }
            }
        }
    }
}
