//! Sizes of all tensor types that occur in GGUF files, those too that hob does not compute with: a
//! directory can be checked, shown and converted without running it.
//!
//! Source of the numbers: ggml's `ggml_type` and its block structures (ggml.h, ggml-common.h).

use hob_kernels::format::Format;

/// Name, elements and bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    /// The type's name.
    pub name: &'static str,
    /// Elements of a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

/// What a type number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// A type that hob computes with.
    Run(Format),
    /// A type whose size is known, and no more.
    Known(BlockSize),
    /// A type that was removed from the format; its former name.
    Removed(&'static str),
}

impl TensorType {
    /// What `id` stands for; `None` if nothing.
    pub fn from_ggml_id(id: u32) -> Option<TensorType> {
        if let Some(format) = Format::from_ggml_id(id) {
            return Some(TensorType::Run(format));
        }
        let known = |name, elements, bytes| {
            Some(TensorType::Known(BlockSize {
                name,
                elements,
                bytes,
            }))
        };
        match id {
            9 => known("Q8_1", 32, 36),
            15 => known("Q8_K", 256, 292),
            16 => known("IQ2_XXS", 256, 66),
            17 => known("IQ2_XS", 256, 74),
            18 => known("IQ3_XXS", 256, 98),
            19 => known("IQ1_S", 256, 50),
            21 => known("IQ3_S", 256, 110),
            22 => known("IQ2_S", 256, 82),
            24 => known("I8", 1, 1),
            25 => known("I16", 1, 2),
            26 => known("I32", 1, 4),
            27 => known("I64", 1, 8),
            28 => known("F64", 1, 8),
            29 => known("IQ1_M", 256, 56),
            34 => known("TQ1_0", 256, 54),
            35 => known("TQ2_0", 256, 66),
            40 => known("NVFP4", 64, 36),
            41 => known("Q1_0", 128, 18),
            42 => known("Q2_0", 64, 18),
            4 => Some(TensorType::Removed("Q4_2")),
            5 => Some(TensorType::Removed("Q4_3")),
            31 => Some(TensorType::Removed("Q4_0_4_4")),
            32 => Some(TensorType::Removed("Q4_0_4_8")),
            33 => Some(TensorType::Removed("Q4_0_8_8")),
            36 => Some(TensorType::Removed("IQ4_NL_4_4")),
            37 => Some(TensorType::Removed("IQ4_NL_4_8")),
            38 => Some(TensorType::Removed("IQ4_NL_8_8")),
            _ => None,
        }
    }

    /// The type's name, as ggml writes it.
    pub fn name(self) -> &'static str {
        match self {
            TensorType::Run(format) => format.name(),
            TensorType::Known(size) => size.name,
            TensorType::Removed(name) => name,
        }
    }

    /// The type's block; `None` for removed types.
    pub fn block(self) -> Option<BlockSize> {
        match self {
            TensorType::Run(f) => Some(BlockSize {
                name: f.name(),
                elements: f.block_len() as u64,
                bytes: f.block_bytes() as u64,
            }),
            TensorType::Known(size) => Some(size),
            TensorType::Removed(_) => None,
        }
    }
}
