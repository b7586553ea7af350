//! From an opened file to its [`Model`]: reads the hyper-parameters in whichever convention the
//! file has, and lets the architecture build its plan.

use crate::arch::{self, ArchError, HParams, Metadata, Names, TensorIndex};
use crate::gguf::Gguf;
use crate::plan::Model;
use crate::weights::{Source, Weights};

/// The model that a file describes. No weight is touched.
pub fn model(weights: &Weights) -> Result<Model, ArchError> {
    let (hp, names) = match weights.source() {
        Source::Gguf(gguf) => {
            let vocab = weights
                .shape("token_embd.weight")
                .map_or(0, |[_, rows]| rows);
            let vocab = u32::try_from(vocab).unwrap_or(0);
            (HParams::from_gguf(gguf, vocab)?, Names::Gguf)
        }
        Source::Safetensors(files) => HParams::from_hugging_face(&files.config)?,
    };
    arch::build(hp, &names, weights)
}

impl TensorIndex for Weights {
    fn shape(&self, name: &str) -> Option<[u64; 2]> {
        let t = self.tensor(name)?;
        Some([t.dims[0], t.dims[1]])
    }
}

fn refused(e: crate::gguf::GgufError) -> ArchError {
    ArchError::Metadata(e.to_string())
}

impl Metadata for Gguf {
    fn int(&self, key: &str) -> Result<Option<u64>, ArchError> {
        Gguf::int::<u64>(self, key).map_err(refused)
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ArchError> {
        Ok(Gguf::float(self, key).map_err(refused)?.map(f64::from))
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ArchError> {
        self.string(key).map_err(refused)
    }

    fn ints(&self, key: &str, limit: usize) -> Result<Option<Vec<u64>>, ArchError> {
        let Some(array) = self.array(key).map_err(refused)? else {
            return Ok(None);
        };
        if let Some(flags) = array.bools() {
            return Ok(Some(flags.take(limit).map(u64::from).collect()));
        }
        let all = self.ints::<u64>(key).map_err(refused)?;
        Ok(all.map(|all| all.take(limit).collect()))
    }
}
