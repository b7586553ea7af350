//! Architectures: from hyper-parameters and tensor names to a [`Model`].
//!
//! One short file an architecture, reading like its paper's figure; what they share is in
//! `blocks.rs`. Architecture names occur here and nowhere else in hob. A name that is not here
//! is refused with the list of those that are.

mod blocks;
mod config;
mod gemma3;
mod llama;
mod names;
mod qwen2;
mod qwen3;

pub use config::{HParams, Metadata, RopeParams};
pub use names::Names;

use crate::plan::{Builder, Model, Val};
use hob_kernels::rope::RopeStyle;

/// Architectures that hob knows, as GGUF names them.
pub const KNOWN: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// Why a model file could not be turned into a [`Model`].
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum ArchError {
    /// The architecture is not one of [`KNOWN`].
    #[error(
        "architecture `{0}` is not known to hob (known: llama, qwen2, qwen3, gemma3); use a model of one of these families"
    )]
    Unknown(String),
    /// A hyper-parameter that must be there is missing.
    #[error("the model file lacks `{0}`; it may be damaged or not a language model")]
    Missing(String),
    /// A hyper-parameter is there but makes no sense.
    #[error("`{key}` is {found}, but must be {wanted}")]
    Invalid {
        /// The key in the file.
        key: String,
        /// What the file says.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// The file's metadata cannot be read as the architecture needs it.
    #[error("{0}")]
    Metadata(String),
    /// A feature of the model that hob would compute wrongly.
    #[error("the model uses {0}, which hob does not support yet")]
    Unsupported(String),
}

/// What an architecture may ask about the file's tensors.
pub trait TensorIndex {
    /// `[cols, rows]` of a tensor (rows = 1 for a vector), or `None` if the file lacks it.
    fn shape(&self, name: &str) -> Option<[u64; 2]>;
}

/// Everything an architecture sees while it builds its plan.
pub(crate) struct Ctx<'a> {
    pub(crate) hp: &'a HParams,
    pub(crate) names: &'a Names,
    pub(crate) tensors: &'a dyn TensorIndex,
    pub(crate) b: Builder,
}

/// Builds the model for the hyper-parameters and tensors of one file.
pub fn build(hp: HParams, names: &Names, tensors: &dyn TensorIndex) -> Result<Model, ArchError> {
    hp.check()?;
    let mut ctx = Ctx {
        hp: &hp,
        names,
        tensors,
        b: Builder::default(),
    };
    let logits: Val = match hp.arch.as_str() {
        "llama" => llama::build(&mut ctx),
        "qwen2" => qwen2::build(&mut ctx),
        "qwen3" => qwen3::build(&mut ctx),
        "gemma3" => gemma3::build(&mut ctx),
        other => return Err(ArchError::Unknown(other.to_owned())),
    };
    let Builder {
        values,
        ops,
        weights,
        states,
        ropes,
    } = ctx.b;
    Ok(Model {
        arch: hp.arch.clone(),
        weights,
        states,
        ropes,
        plan: crate::plan::Plan {
            values,
            ops,
            logits,
        },
        hparams: hp,
    })
}

/// The pairing of rotated dimensions. GGUF files of the llama family have their query and key
/// rows permuted so that pairs are adjacent; Hugging Face files pair halves, as all others do.
pub(crate) fn llama_rope_style(names: &Names) -> RopeStyle {
    match names {
        Names::Gguf => RopeStyle::Normal,
        Names::HuggingFace { .. } => RopeStyle::Neox,
    }
}
