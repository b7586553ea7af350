//! What a model file says of itself, as far as the store keeps it: licence and quantization. A path
//! enters; no weight is touched.

use std::collections::BTreeMap;
use std::path::Path;

use hob_models::weights::{Source, Weights};
use serde::{Deserialize, Serialize};

/// Licence of models that name none.
pub(crate) const UNKNOWN: &str = "unknown";

/// What is known of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// `general.license` of a GGUF.
    pub(crate) licence: Option<String>,
    /// `Q4_K_M` and the like, or the format of most of the weights.
    pub(crate) quant: String,
}

/// Reads the headers of the model at `path` (as [`hob_models::files::ModelFiles::open`] takes it).
pub(crate) fn of(path: &Path) -> Result<Facts, hob_models::error::Error> {
    let weights = Weights::open(path)?;
    let gguf = match weights.source() {
        Source::Gguf(gguf) => Some(gguf),
        _ => None,
    };
    // A value of another type than it should be counts as absent.
    let text = |key| gguf.and_then(|g| g.string(key).ok().flatten());
    let file_type = gguf.and_then(|g| g.int::<u32>("general.file_type").ok().flatten());
    let quant = file_type.and_then(file_type_name);
    let quant = quant.map_or_else(|| most_used(&weights), str::to_owned);
    let licence = text("general.license").filter(|licence| !licence.is_empty());
    Ok(Facts {
        licence: licence.map(|licence| licence.chars().take(100).collect()),
        quant,
    })
}

/// The format of most bytes.
fn most_used(weights: &Weights) -> String {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in weights.tensors() {
        *bytes.entry(tensor.format.name()).or_default() += tensor.bytes.len() as u64;
    }
    let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map_or_else(String::new, |(name, _)| name.to_owned())
}

/// The name of a `general.file_type` (llama.cpp's `llama_ftype`).
fn file_type_name(id: u32) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        _ => return None,
    })
}
