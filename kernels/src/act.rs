//! Activations as the linear kernels read them: floats, or 8-bit integers with scales and sums.
//!
//! In: a row of f32. Out: one row of a 64-byte aligned byte buffer, every part of which starts at a
//! multiple of 64 ([`ActLayout`]):
//!
//! | format    | parts                                                  |
//! |-----------|--------------------------------------------------------|
//! | `F32`     | K f32                                                  |
//! | `Q8x32`   | q: K i8, d: K/32 f32, sums: K/32 i32 (of each 32 q)    |
//! | `Q8x256`  | q: K i8, d: K/256 f32, sums: K/16 i32 (of each 16 q)   |
//!
//! The buffer is native-endian: it lives in memory only. Every instruction set gives the same bits.

use crate::error::{ShapeError, check_len};
use crate::isa::Isa;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;

/// The alignment of activation rows and of the parts in them, in bytes.
pub const ACT_ALIGN: usize = 64;

/// How a row of activations is stored; each weight format reads one of these
/// ([`Format::activation`](crate::format::Format::activation)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ActFormat {
    /// Unchanged.
    F32,
    /// 8 bits with an f32 scale per 32, for weights in blocks of 32.
    Q8x32,
    /// 8 bits with an f32 scale per 256, for weights in blocks of 256.
    Q8x256,
}

/// Where the parts of a row start, in bytes from its start, all multiples of [`ACT_ALIGN`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActLayout {
    /// The quants (or the floats).
    pub q: usize,
    /// The scales.
    pub d: usize,
    /// The sums of the quants.
    pub sums: usize,
    /// The size of the row.
    pub bytes: usize,
}

impl ActFormat {
    /// Elements that share a scale: 1, 32 or 256. A row holds whole blocks.
    pub const fn block(self) -> usize {
        match self {
            ActFormat::F32 => 1,
            ActFormat::Q8x32 => 32,
            ActFormat::Q8x256 => 256,
        }
    }

    /// Elements that share a sum (`F32` has none).
    pub const fn sum_block(self) -> usize {
        match self {
            ActFormat::F32 => 1,
            ActFormat::Q8x32 => 32,
            ActFormat::Q8x256 => 16,
        }
    }

    /// Where the parts of a row of `k` elements are. Sizes past `usize` saturate: no buffer is
    /// that long.
    pub const fn layout(self, k: usize) -> ActLayout {
        const fn end(start: usize, bytes: usize) -> usize {
            match start
                .saturating_add(bytes)
                .checked_next_multiple_of(ACT_ALIGN)
            {
                Some(end) => end,
                None => usize::MAX,
            }
        }
        if let ActFormat::F32 = self {
            let bytes = end(0, k.saturating_mul(4));
            return ActLayout {
                q: 0,
                d: bytes,
                sums: bytes,
                bytes,
            };
        }
        let d = end(0, k);
        let sums = end(d, (k / self.block()).saturating_mul(4));
        ActLayout {
            q: 0,
            d,
            sums,
            bytes: end(sums, (k / self.sum_block()).saturating_mul(4)),
        }
    }

    /// Bytes of a row of `k` elements, a multiple of [`ACT_ALIGN`].
    pub const fn row_bytes(self, k: usize) -> usize {
        self.layout(k).bytes
    }

    fn check_k(self, k: usize) -> Result<(), ShapeError> {
        if k.is_multiple_of(self.block()) {
            Ok(())
        } else {
            Err(ShapeError::Activations { format: self, k })
        }
    }
}

/// One row of activations, as views into a buffer.
#[derive(Clone, Copy, Debug)]
pub enum ActRow<'a> {
    /// `[k]` floats.
    Floats(&'a [f32]),
    /// Quantized; `x[i]` is about `d[i / block] * q[i]`.
    Q8 {
        /// [`ActFormat::Q8x32`] or [`ActFormat::Q8x256`].
        format: ActFormat,
        /// `[k]` quants, -127..=127.
        q: &'a [i8],
        /// `[k / block]` scales.
        d: &'a [f32],
        /// `[k / sum_block]` sums of quants.
        sums: &'a [i32],
    },
}

impl<'a> ActRow<'a> {
    /// Views a row of `k` elements that [`quantize_row`] wrote. Any bytes are a valid row.
    ///
    /// # Errors
    /// `k` is not whole blocks, `bytes` is not [`ActFormat::row_bytes`] long, or is not aligned to
    /// [`ACT_ALIGN`].
    pub fn new(format: ActFormat, k: usize, bytes: &'a [u8]) -> Result<ActRow<'a>, ShapeError> {
        format.check_k(k)?;
        let at = format.layout(k);
        check_len("the activation row (bytes)", at.bytes, bytes.len())?;
        check_aligned(bytes.as_ptr())?;
        if format == ActFormat::F32 {
            return Ok(ActRow::Floats(view(bytes, at.q, k)));
        }
        Ok(ActRow::Q8 {
            format,
            q: view(bytes, at.q, k),
            d: view(bytes, at.d, k / format.block()),
            sums: view(bytes, at.sums, k / format.sum_block()),
        })
    }

    /// The format of the row.
    pub const fn format(&self) -> ActFormat {
        match self {
            ActRow::Floats(_) => ActFormat::F32,
            ActRow::Q8 { format, .. } => *format,
        }
    }

    /// Elements in the row.
    pub const fn len(&self) -> usize {
        match self {
            ActRow::Floats(x) => x.len(),
            ActRow::Q8 { q, .. } => q.len(),
        }
    }

    /// Whether the row has no elements.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the row stands for, as floats: `d * q`.
    ///
    /// # Errors
    /// `out` is not `[len]` long.
    pub fn dequantize(&self, out: &mut [f32]) -> Result<(), ShapeError> {
        check_len("the floats out", self.len(), out.len())?;
        match self {
            ActRow::Floats(x) => out.copy_from_slice(x),
            ActRow::Q8 { format, q, d, .. } => {
                let n = format.block();
                for ((out, q), d) in out.chunks_exact_mut(n).zip(q.chunks_exact(n)).zip(*d) {
                    for (o, q) in out.iter_mut().zip(q) {
                        *o = d * f32::from(*q);
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_aligned(start: *const u8) -> Result<(), ShapeError> {
    if start.addr().is_multiple_of(ACT_ALIGN) {
        Ok(())
    } else {
        Err(ShapeError::Misaligned {
            what: "the activation row",
            align: ACT_ALIGN,
        })
    }
}

/// A type that any bytes are a value of, and that any value is bytes of.
///
/// # Safety
/// Implemented for numbers without padding, of alignment up to [`ACT_ALIGN`], only.
unsafe trait Plain: Copy {}
// SAFETY: a number without padding or invalid bit patterns.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// `n` numbers at byte `at` of a buffer that [`check_aligned`] passed; `at` is a multiple of 64.
fn view<T: Plain>(bytes: &[u8], at: usize, n: usize) -> &[T] {
    let part = &bytes[at..at + n * size_of::<T>()]; // Within the layout, whose length was checked.
    debug_assert!(part.as_ptr().addr().is_multiple_of(align_of::<T>()));
    // SAFETY: the part is n * size_of::<T>() bytes long; its start is aligned to 64; T is plain.
    unsafe { std::slice::from_raw_parts(part.as_ptr().cast(), n) }
}

/// As [`view`], for writing.
fn view_mut<T: Plain>(part: &mut [u8], n: usize) -> &mut [T] {
    let part = &mut part[..n * size_of::<T>()]; // As in `view`.
    debug_assert!(part.as_ptr().addr().is_multiple_of(align_of::<T>()));
    // SAFETY: as in `view`; the borrow is unique.
    unsafe { std::slice::from_raw_parts_mut(part.as_mut_ptr().cast(), n) }
}

/// Quantizes a row of `x` into `row`, in `format`. Padding between the parts is left alone.
///
/// Definition, per block, with `amax` the largest magnitude in it:
/// - `Q8x32`: `d = amax / 127`, rounded to f16 if it is a normal one, `q = rne(x * (127 / amax))`;
/// - `Q8x256`: with `m` the element of that magnitude (the first on ties) `i = -127 / m`,
///   `q = rne(x * i)`, `d = 1 / i`. (|q| <= 127: the product exceeds 127 by two roundings at most.)
/// - a block whose `127 / amax` is not finite (`amax < 3.8e-37`, or 0) has `d = 0`, `q = 0`;
/// - a block with a NaN or an infinity in it has `d = NaN`, `q = 0`, so that whatever is computed
///   from it is NaN.
///
/// `F32` copies. The bits do not depend on `isa`.
///
/// # Errors
/// `x` is not whole blocks, `row` is not [`ActFormat::row_bytes`] long, or not aligned to
/// [`ACT_ALIGN`].
pub fn quantize_row(
    isa: Isa,
    format: ActFormat,
    x: &[f32],
    row: &mut [u8],
) -> Result<(), ShapeError> {
    let k = x.len();
    format.check_k(k)?;
    let at = format.layout(k);
    check_len("the activation row (bytes)", at.bytes, row.len())?;
    check_aligned(row.as_ptr())?;
    if format == ActFormat::F32 {
        view_mut::<f32>(row, k).copy_from_slice(x);
        return Ok(());
    }
    // at.d <= at.sums <= at.bytes, the length checked above.
    let (q, rest) = row.split_at_mut(at.d);
    let (d, sums) = rest.split_at_mut(at.sums - at.d);
    let q = view_mut(q, k);
    let d = view_mut(d, k / format.block());
    let sums = view_mut(sums, k / format.sum_block());
    #[cfg(target_arch = "x86_64")]
    if crate::dispatch::proven(isa) >= Isa::Avx2 {
        // SAFETY: `proven` says that this CPU has it.
        unsafe { avx2::quantize(format, x, q, d, sums) };
        return Ok(());
    }
    #[cfg(target_arch = "aarch64")]
    if crate::dispatch::proven(isa) >= Isa::Neon {
        // SAFETY: every ARM64 CPU has it.
        unsafe { neon::quantize(format, x, q, d, sums) };
        return Ok(());
    }
    let _ = isa;
    quantize(format, x, q, d, sums);
    Ok(())
}

/// The definition, on parts whose lengths fit each other.
fn quantize(format: ActFormat, x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i32]) {
    if format == ActFormat::Q8x32 {
        let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
        for ((x, q), d) in blocks.zip(d) {
            let scale = Scale::of_32(signed_extreme(x));
            *d = scale.d;
            *q = x.map(|v| scale.quant(v));
        }
    } else {
        let blocks = x
            .as_chunks::<256>()
            .0
            .iter()
            .zip(q.as_chunks_mut::<256>().0);
        for ((x, q), d) in blocks.zip(d) {
            let scale = Scale::of_256(signed_extreme(x));
            *d = scale.d;
            *q = x.map(|v| scale.quant(v));
        }
    }
    for (sum, q) in sums.iter_mut().zip(q.chunks_exact(format.sum_block())) {
        *sum = q.iter().map(|&q| i32::from(q)).sum();
    }
}

/// The first of the elements of largest magnitude; a NaN is larger than all.
fn signed_extreme<const N: usize>(x: &[f32; N]) -> f32 {
    let magnitude = |v: f32| v.to_bits() & 0x7fff_ffff;
    x.iter()
        .fold(0.0, |m, &v| if magnitude(v) > magnitude(m) { v } else { m })
}

/// The nearest f16, if `d` (positive) lies between the smallest normal one and the largest; else `d`.
///
/// ggml's Q8_0 and Q8_1 blocks keep their scale in f16. The error, 2^-11 of a value at most, is far
/// below that of 8 bits; and engines that round the same values alike give the same greedy answers.
#[inline]
fn to_normal_f16(d: f32) -> f32 {
    const SMALLEST: f32 = 6.103_515_6e-5; // 2^-14
    if (SMALLEST..=65504.0).contains(&d) {
        // Round to 11 significant bits, ties to even: the carry may go into the exponent.
        let bits = d.to_bits();
        f32::from_bits((bits + 0x0fff + (bits >> 13 & 1)) & !0x1fff)
    } else {
        d
    }
}

/// [`signed_extreme`] from the largest of the elements' bits, as signed and as unsigned integers.
///
/// The bits of floats order magnitudes: as signed integers the largest is the largest positive float;
/// as unsigned ones the largest negative, if there is one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn signed_extreme_of(x: &[f32], positive: u32, negative: u32) -> f32 {
    // Without a negative element `negative` equals `positive`, which it then must not replace.
    let magnitude = negative & 0x7fff_ffff;
    let is_negative = negative >> 31 == 1
        && (magnitude > positive
            || (magnitude == positive
                && x.iter()
                    .find(|v| v.to_bits() & 0x7fff_ffff == positive)
                    .is_some_and(|v| v.is_sign_negative())));
    f32::from_bits(if is_negative { negative } else { positive })
}

/// How a block is quantized: `q = rne(x * inverse)`, `x` being about `d * q`.
#[derive(Clone, Copy)]
struct Scale {
    inverse: f32,
    d: f32,
}

impl Scale {
    /// For a block of `Q8x32` with this extreme element.
    #[inline]
    fn of_32(m: f32) -> Scale {
        let amax = m.abs();
        Scale::unless_zeros(m, 127.0 / amax, to_normal_f16(amax / 127.0))
    }

    /// For a block of `Q8x256` with this extreme element.
    #[inline]
    fn of_256(m: f32) -> Scale {
        let inverse = -127.0 / m;
        Scale::unless_zeros(m, inverse, 1.0 / inverse)
    }

    /// These two, unless the block is written as zeros.
    #[inline]
    fn unless_zeros(m: f32, inverse: f32, d: f32) -> Scale {
        if m.is_finite() && inverse.is_finite() {
            return Scale { inverse, d };
        }
        Scale {
            inverse: 0.0,
            d: if m.is_finite() { 0.0 } else { f32::NAN },
        }
    }

    fn quant(self, v: f32) -> i8 {
        // 1.5 * 2^23: for |p| < 2^22, the low bits of `p + ROUND` are p rounded to the nearest
        // integer, ties to even.
        const ROUND: f32 = 12_582_912.0;
        if self.inverse == 0.0 {
            0 // v may be infinite
        } else {
            (v * self.inverse + ROUND).to_bits() as i8
        }
    }
}

#[cfg(test)]
mod tests {
    use super::to_normal_f16;

    #[test]
    fn scales_are_rounded_as_f16_does() {
        for bits in (0x3880_0000_u32..=0x477f_e000).step_by(997) {
            let d = f32::from_bits(bits);
            assert_eq!(to_normal_f16(d), half::f16::from_f32(d).to_f32(), "{d}");
        }
        for d in [
            6.103_515_6e-5,
            65504.0,
            1.0 + 1.0 / 2048.0,
            1.0 + 3.0 / 2048.0,
        ] {
            assert_eq!(to_normal_f16(d), half::f16::from_f32(d).to_f32(), "{d}");
        }
        for d in [0.0, 1e-7, 6.1e-5, 65505.0, 1e30, f32::INFINITY] {
            assert_eq!(to_normal_f16(d), d);
        }
    }
}
