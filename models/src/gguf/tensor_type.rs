//! Sizes of all tensor types that occur in GGUF files, those too that hob does not compute with: a
//! directory can be checked, shown and converted without running it.
//!
//! Source of the numbers: ggml's `ggml_type` and its block structures (ggml.h, ggml-common.h).

use hob_kernels::format::{Format, ggml_type_name};

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
        let name = ggml_type_name(id)?;
        let known = |elements, bytes| {
            Some(TensorType::Known(BlockSize {
                name,
                elements,
                bytes,
            }))
        };
        match id {
            9 => known(32, 36),    // Q8_1
            15 => known(256, 292), // Q8_K
            16 => known(256, 66),  // IQ2_XXS
            17 => known(256, 74),  // IQ2_XS
            18 => known(256, 98),  // IQ3_XXS
            19 => known(256, 50),  // IQ1_S
            21 => known(256, 110), // IQ3_S
            22 => known(256, 82),  // IQ2_S
            24 => known(1, 1),     // I8
            25 => known(1, 2),     // I16
            26 => known(1, 4),     // I32
            27 => known(1, 8),     // I64
            28 => known(1, 8),     // F64
            29 => known(256, 56),  // IQ1_M
            34 => known(256, 54),  // TQ1_0
            35 => known(256, 66),  // TQ2_0
            40 => known(64, 36),   // NVFP4
            41 => known(128, 18),  // Q1_0
            42 => known(64, 18),   // Q2_0
            4 | 5 | 31..=33 | 36..=38 => Some(TensorType::Removed(name)),
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
