//! The fields of a block of each format, in the order in which a tile holds them.
//!
//! A block of a GGUF format is a short record: scales, minima, high bits, quants. A tile holds, for
//! each block column, the fields one after another, and each field *unit by unit*: all 16 rows'
//! first unit, then all 16 rows' second, and so on (`[unit][row 16]`). With four-byte units one
//! 64-byte load holds four consecutive quant bytes of 16 rows, which is what `vpdpbusd` wants.
//! Scales come before quants, because kernels need them first. Source of the block layouts: the
//! structs of ggml's `ggml-common.h`, cited field by field in `format/`.

use crate::format::Format;

/// What is kept together when rows are interleaved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Four bits: the fifth bits of four quants. 16 rows make a 64-bit mask, one bit a quant.
    Nibble,
    /// A byte: an 8-bit or packed 6-bit scale.
    Byte,
    /// Two bytes: an f16 scale, a bf16 or f16 weight.
    Half,
    /// Four bytes: four quant bytes, or an f32 weight.
    Word,
}

/// (first byte in the block, unit, bytes), in tile order. Together they cover the block.
pub(super) type Fields = &'static [(usize, Unit, usize)];

/// The fields of a format.
pub(super) const fn of(f: Format) -> Fields {
    use Unit::{Byte, Half, Nibble, Word};
    match f {
        Format::F32 => &[(0, Word, 4)],
        Format::F16 | Format::BF16 => &[(0, Half, 2)],
        // d, qs
        Format::Q4_0 | Format::Iq4Nl => &[(0, Half, 2), (2, Word, 16)],
        // d, m, qs
        Format::Q4_1 => &[(0, Half, 2), (2, Half, 2), (4, Word, 16)],
        // d, qh, qs
        Format::Q5_0 => &[(0, Half, 2), (2, Nibble, 4), (6, Word, 16)],
        // d, m, qh, qs
        Format::Q5_1 => &[(0, Half, 2), (2, Half, 2), (4, Nibble, 4), (8, Word, 16)],
        // d, qs
        Format::Q8_0 => &[(0, Half, 2), (2, Word, 32)],
        // d, dmin, scales, qs
        Format::Q2K => &[(80, Half, 2), (82, Half, 2), (0, Byte, 16), (16, Word, 64)],
        // scales; twice 16 bytes of hmask, with the 32 of qs that they complete; d
        Format::Q3K => &[
            (96, Byte, 12),
            (0, Word, 16),
            (32, Word, 16),
            (64, Word, 16),
            (16, Word, 16),
            (48, Word, 16),
            (80, Word, 16),
            (108, Half, 2),
        ],
        // d, dmin, scales, qs
        Format::Q4K => &[(0, Half, 2), (2, Half, 2), (4, Byte, 12), (16, Word, 128)],
        // d, dmin, scales, qh, qs
        Format::Q5K => &[
            (0, Half, 2),
            (2, Half, 2),
            (4, Byte, 12),
            (16, Word, 32),
            (48, Word, 128),
        ],
        // scales; four times 16 bytes of qh, with the 32 of ql that they complete; d
        Format::Q6K => &[
            (192, Byte, 16),
            (128, Word, 16),
            (0, Word, 16),
            (32, Word, 16),
            (144, Word, 16),
            (16, Word, 16),
            (48, Word, 16),
            (160, Word, 16),
            (64, Word, 16),
            (96, Word, 16),
            (176, Word, 16),
            (80, Word, 16),
            (112, Word, 16),
            (208, Half, 2),
        ],
        // d, scales_h, scales_l, qs
        Format::Iq4Xs => &[(0, Half, 2), (2, Byte, 2), (4, Byte, 4), (8, Word, 128)],
        // e, qs
        Format::Mxfp4 => &[(0, Byte, 1), (1, Word, 16)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cover_the_block_once() {
        for f in Format::ALL {
            let mut covered = vec![0; f.block_bytes()];
            for &(offset, unit, len) in of(f) {
                let unit_bytes = match unit {
                    Unit::Nibble | Unit::Byte => 1,
                    Unit::Half => 2,
                    Unit::Word => 4,
                };
                assert_eq!(len % unit_bytes, 0, "{f:?}");
                covered[offset..offset + len]
                    .iter_mut()
                    .for_each(|c| *c += 1);
            }
            assert!(covered.iter().all(|&c| c == 1), "{f:?}: {covered:?}");
        }
    }
}
