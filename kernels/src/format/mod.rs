//! The block formats of weights: names, sizes, and what the bytes of each mean.
//!
//! A row of weights is a run of blocks of [`Format::block_len`] elements and
//! [`Format::block_bytes`] bytes. In: bytes of any content (no bit pattern is invalid), or floats
//! to quantize. Out: floats, blocks, or a dot product. It knows no file, no matrix layout and no
//! instruction set: [`dot`] here is the *definition* that every kernel must equal bit for bit.
//!
//! One file per format documents its layout (ggml's block structs, as the GGUF documentation and
//! gguf-py give them) and reads a block into integers and scales; `block` turns those into
//! weights and dot products, once for all formats; `search` finds good scales to quantize with.

mod bf16;
mod block;
mod f16;
mod f32;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod search;

use std::fmt;

use crate::act::{ActFormat, ActRow};
use crate::error::{ShapeError, check_len};

/// How the weights of a matrix are stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an F32.
    BF16,
    /// 4 bits, one scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 5 bits, one scale per 32.
    Q5_0,
    /// 5 bits, scale and minimum per 32.
    Q5_1,
    /// 8 bits, one scale per 32.
    Q8_0,
    /// 2 bits, 4-bit scales and minima per 16, in blocks of 256.
    Q2K,
    /// 3 bits, 6-bit signed scales per 16, in blocks of 256.
    Q3K,
    /// 4 bits, 6-bit scales and minima per 32, in blocks of 256.
    Q4K,
    /// 5 bits, 6-bit scales and minima per 32, in blocks of 256.
    Q5K,
    /// 6 bits, 8-bit signed scales per 16, in blocks of 256.
    Q6K,
    /// 4 bits into a table of 16 uneven levels, one scale per 32.
    Iq4Nl,
    /// The levels of IQ4_NL, 6-bit signed scales per 32, in blocks of 256.
    Iq4Xs,
    /// 4-bit floats (E2M1) with a power of two per 32 (OCP microscaling).
    Mxfp4,
}

/// One row of the table below: everything about a format that is only a number or a name.
struct Facts {
    name: &'static str,
    ggml_id: u32,
    block_len: usize,
    block_bytes: usize,
    activation: ActFormat,
}

impl Format {
    /// Every format that hob computes with.
    pub const ALL: [Format; 16] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq4Nl,
        Format::Iq4Xs,
        Format::Mxfp4,
    ];

    /// Source: `GGMLQuantizationType` and `GGML_QUANT_SIZES` of gguf-py 0.19.
    const fn facts(self) -> Facts {
        use ActFormat::{F32, Q8x32, Q8x256};
        let (name, ggml_id, block_len, block_bytes, activation) = match self {
            Format::F32 => ("F32", 0, 1, f32::BYTES, F32),
            Format::F16 => ("F16", 1, 1, f16::BYTES, F32),
            Format::BF16 => ("BF16", 30, 1, bf16::BYTES, F32),
            Format::Q4_0 => ("Q4_0", 2, 32, q4_0::BYTES, Q8x32),
            Format::Q4_1 => ("Q4_1", 3, 32, q4_1::BYTES, Q8x32),
            Format::Q5_0 => ("Q5_0", 6, 32, q5_0::BYTES, Q8x32),
            Format::Q5_1 => ("Q5_1", 7, 32, q5_1::BYTES, Q8x32),
            Format::Q8_0 => ("Q8_0", 8, 32, q8_0::BYTES, Q8x32),
            Format::Q2K => ("Q2_K", 10, 256, q2_k::BYTES, Q8x256),
            Format::Q3K => ("Q3_K", 11, 256, q3_k::BYTES, Q8x256),
            Format::Q4K => ("Q4_K", 12, 256, q4_k::BYTES, Q8x256),
            Format::Q5K => ("Q5_K", 13, 256, q5_k::BYTES, Q8x256),
            Format::Q6K => ("Q6_K", 14, 256, q6_k::BYTES, Q8x256),
            Format::Iq4Nl => ("IQ4_NL", 20, 32, iq4_nl::BYTES, Q8x32),
            Format::Iq4Xs => ("IQ4_XS", 23, 256, iq4_xs::BYTES, Q8x256),
            Format::Mxfp4 => ("MXFP4", 39, 32, mxfp4::BYTES, Q8x32),
        };
        Facts {
            name,
            ggml_id,
            block_len,
            block_bytes,
            activation,
        }
    }

    /// The name that GGUF tools use, as "Q4_K".
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The type number in a GGUF file.
    pub const fn ggml_id(self) -> u32 {
        self.facts().ggml_id
    }

    /// The format with that type number in a GGUF file; `None` if hob does not compute with it
    /// ([`ggml_type_name`] may still know what it is called).
    pub fn from_ggml_id(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.ggml_id() == id)
    }

    /// The format of that name, in any case.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL
            .into_iter()
            .find(|f| f.name().eq_ignore_ascii_case(name))
    }

    /// Elements in a block: 1, 32 or 256.
    pub const fn block_len(self) -> usize {
        self.facts().block_len
    }

    /// Bytes in a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().block_bytes
    }

    /// What the activations must be quantized to, to be multiplied by weights of this format.
    pub const fn activation(self) -> ActFormat {
        self.facts().activation
    }

    /// Bytes of a row of `cols` elements; `None` if these are not whole blocks, or too many.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }

    /// [`Format::row_bytes`], with the error that says why there is none.
    pub(crate) fn checked_row_bytes(self, cols: usize) -> Result<usize, ShapeError> {
        self.row_bytes(cols).ok_or({
            if cols.is_multiple_of(self.block_len()) {
                ShapeError::TooLarge { rows: 1, cols }
            } else {
                ShapeError::Cols { format: self, cols }
            }
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a GGUF type number, also of those that hob refuses, so that an error can name them.
///
/// Source: `enum ggml_type`; 4, 5, 31 to 33 and 36 to 38 were removed from it.
pub fn ggml_type_name(id: u32) -> Option<&'static str> {
    if let Some(format) = Format::from_ggml_id(id) {
        return Some(format.name());
    }
    Some(match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return None,
    })
}

/// Calls `block::$driver` with the type that implements `$format`.
macro_rules! for_format {
    ($format:expr, $driver:ident($($arg:expr),*)) => {
        match $format {
            Format::F32 => block::floats::$driver::<f32::F32, { f32::BYTES }>($($arg),*),
            Format::F16 => block::floats::$driver::<f16::F16, { f16::BYTES }>($($arg),*),
            Format::BF16 => block::floats::$driver::<bf16::BF16, { bf16::BYTES }>($($arg),*),
            Format::Q4_0 => block::of32::$driver::<q4_0::Q4_0, { q4_0::BYTES }>($($arg),*),
            Format::Q4_1 => block::of32::$driver::<q4_1::Q4_1, { q4_1::BYTES }>($($arg),*),
            Format::Q5_0 => block::of32::$driver::<q5_0::Q5_0, { q5_0::BYTES }>($($arg),*),
            Format::Q5_1 => block::of32::$driver::<q5_1::Q5_1, { q5_1::BYTES }>($($arg),*),
            Format::Q8_0 => block::of32::$driver::<q8_0::Q8_0, { q8_0::BYTES }>($($arg),*),
            Format::Q2K => block::of256::$driver::<q2_k::Q2K, { q2_k::BYTES }>($($arg),*),
            Format::Q3K => block::of256::$driver::<q3_k::Q3K, { q3_k::BYTES }>($($arg),*),
            Format::Q4K => block::of256::$driver::<q4_k::Q4K, { q4_k::BYTES }>($($arg),*),
            Format::Q5K => block::of256::$driver::<q5_k::Q5K, { q5_k::BYTES }>($($arg),*),
            Format::Q6K => block::of256::$driver::<q6_k::Q6K, { q6_k::BYTES }>($($arg),*),
            Format::Iq4Nl => block::of32::$driver::<iq4_nl::Iq4Nl, { iq4_nl::BYTES }>($($arg),*),
            Format::Iq4Xs => block::of256::$driver::<iq4_xs::Iq4Xs, { iq4_xs::BYTES }>($($arg),*),
            Format::Mxfp4 => block::of32::$driver::<mxfp4::Mxfp4, { mxfp4::BYTES }>($($arg),*),
        }
    };
}

/// Reads weights into floats: equal to gguf-py's `dequantize` bit for bit (any NaN being a NaN).
///
/// `blocks` are whole blocks, `out` the elements they hold.
///
/// # Errors
/// The lengths do not fit each other or are not whole blocks; `out` is untouched.
pub fn dequantize(format: Format, blocks: &[u8], out: &mut [f32]) -> Result<(), ShapeError> {
    let bytes = format.checked_row_bytes(out.len())?;
    check_len("the blocks (bytes)", bytes, blocks.len())?;
    for_format!(format, dequantize(blocks, out));
    Ok(())
}

/// Writes floats as blocks, with the best scales that a quick deterministic search finds.
///
/// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, F16 and BF16 equal gguf-py's `quantize` bit for bit on finite
/// input. A block with a NaN or an infinity in it becomes NaN (MXFP4: infinite), so that it cannot
/// pass unseen; scales beyond the range of f16 become infinite.
///
/// # Errors
/// The lengths do not fit each other or are not whole blocks; `blocks` is untouched.
pub fn quantize(format: Format, x: &[f32], blocks: &mut [u8]) -> Result<(), ShapeError> {
    let bytes = format.checked_row_bytes(x.len())?;
    check_len("the blocks (bytes)", bytes, blocks.len())?;
    for_format!(format, quantize(x, blocks));
    Ok(())
}

/// The dot product of one row of weights and one row of activations: the definition.
///
/// One chain of fused multiply-adds from 0.0, ascending in k. For every group that shares an f32
/// scale (1, 32 or 256 elements) the integer sum is exact in i32, and then
/// `acc = fma(d_w * d_a, isum, acc)`; formats with a minimum then add
/// `acc = fma(m * d_a, sum(a), acc)` (blocks of 32) or `acc = fma(-(dmin * d_a), msum, acc)` with
/// `msum = sum(min_s * sum_s(a))` (blocks of 256).
///
/// # Errors
/// `row` is not as long as the activations ask for, or they are of another activation format than
/// [`Format::activation`].
pub fn dot(format: Format, row: &[u8], act: ActRow<'_>) -> Result<f32, ShapeError> {
    if act.format() != format.activation() {
        return Err(ShapeError::ActivationFormat {
            weights: format,
            expected: format.activation(),
            found: act.format(),
        });
    }
    let bytes = format.checked_row_bytes(act.len())?;
    check_len("the row of weights (bytes)", bytes, row.len())?;
    Ok(for_format!(format, dot(row, act)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_inverse() {
        for f in Format::ALL {
            assert_eq!(Format::from_name(f.name()), Some(f));
            assert_eq!(Format::from_name(&f.name().to_lowercase()), Some(f));
            assert_eq!(Format::from_ggml_id(f.ggml_id()), Some(f));
            assert_eq!(ggml_type_name(f.ggml_id()), Some(f.name()));
        }
        assert_eq!(Format::from_ggml_id(16), None);
        assert_eq!(ggml_type_name(16), Some("IQ2_XXS"));
        assert_eq!(ggml_type_name(4242), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Format::Q4K.row_bytes(512), Some(288));
        assert_eq!(Format::Q4K.row_bytes(0), Some(0));
        assert_eq!(Format::Q4K.row_bytes(300), None);
        assert_eq!(Format::F32.row_bytes(usize::MAX), None);
        let mut out = [0.0; 33];
        let error = dequantize(Format::Q8_0, &[0; 34], &mut out).unwrap_err();
        assert_eq!(
            error,
            ShapeError::Cols {
                format: Format::Q8_0,
                cols: 33
            }
        );
        assert!(error.to_string().contains("Q8_0 blocks, which hold 32"));
    }
}
