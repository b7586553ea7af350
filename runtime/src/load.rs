//! From a path to weights that a program can hold: opening, planning, packing, checking shapes.

use crate::engine::{EngineOptions, WeightsMode};
use crate::error::LoadError;
use crate::inspect::FormatShare;
use crate::lower::{Loaded, kv_layouts, lower};
use crate::memory::MemoryPlan;
use crate::sampling::ModelSampling;
use hob_kernels::format;
use hob_kernels::kv::KvElem;
use hob_kernels::program::{
    Blob, PAGE_POSITIONS, Program, WeightMatrix, decode_bytes, working_bytes,
};
use hob_models::files::{ModelFile, ModelFiles};
use hob_models::plan::{Model, Op, WeightDecl, WeightKind};
use hob_models::template::ChatTemplates;
use hob_models::tokenizer::Tokenizer;
use hob_models::weights::{Layout, Source, Tensor, Weights};
use hob_models::{packed, text};
use std::path::Path;
use std::sync::Arc;

/// A model opened and planned; no weight is touched yet.
pub(crate) struct Prepared {
    pub(crate) weights: Weights,
    pub(crate) model: Model,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) templates: Option<ChatTemplates>,
    pub(crate) tokenizer_refusal: Option<String>,
    pub(crate) sampling: ModelSampling,
}

/// What concerns a model's text.
struct Text {
    tokenizer: Option<Tokenizer>,
    templates: Option<ChatTemplates>,
    refusal: Option<String>,
}

impl Text {
    fn new(weights: &Weights) -> Text {
        // A tokenizer that hob does not know does not stop work on token ids.
        let (tokenizer, refusal) = match text::tokenizer(weights) {
            Ok(t) => (t, None),
            Err(e) => (None, Some(e.to_string())),
        };
        Text {
            templates: text::templates(weights, tokenizer.as_ref()),
            tokenizer,
            refusal,
        }
    }
}

/// Opens a model's files, or those that a cache has of it.
pub(crate) fn open(path: &Path, mode: &WeightsMode) -> Result<ModelFiles, LoadError> {
    from_cache(ModelFiles::open(path)?, mode)
}

/// The files as the mode wants them: those that a cache has of them, or read into memory.
pub(crate) fn from_cache(files: ModelFiles, mode: &WeightsMode) -> Result<ModelFiles, LoadError> {
    match mode {
        WeightsMode::Cached(folder) => Ok(packed::cached(files, folder, &())?),
        WeightsMode::Owned => {
            let needed = files.parts.iter().map(|p| p.bytes.len() as u64).sum();
            crate::memory::check(needed)?;
            Ok(files.into_owned()?)
        }
        WeightsMode::Auto | WeightsMode::Mapped => Ok(files),
    }
}

impl Prepared {
    pub(crate) fn new(files: ModelFiles) -> Result<Prepared, LoadError> {
        let prepared = Prepared::planned(files)?;
        let text = Text::new(&prepared.weights);
        Ok(prepared.with(text))
    }

    /// Without what concerns text.
    pub(crate) fn planned(files: ModelFiles) -> Result<Prepared, LoadError> {
        let weights = Weights::parse(files)?;
        let model = hob_models::describe::model(&weights)?;
        let sampling = ModelSampling::new(hob_models::generation::settings(&weights));
        Ok(Prepared {
            weights,
            model,
            tokenizer: None,
            templates: None,
            tokenizer_refusal: None,
            sampling,
        })
    }

    fn with(self, text: Text) -> Prepared {
        Prepared {
            tokenizer: text.tokenizer,
            templates: text.templates,
            tokenizer_refusal: text.refusal,
            ..self
        }
    }

    /// Moves the weights to where the options want them, and reads what concerns text meanwhile.
    pub(crate) fn finished(mut self, options: &EngineOptions) -> Result<Prepared, LoadError> {
        if options.weights.packs_in_memory() && !self.packed_file() {
            self.weights = self.weights.packed_in_memory(&())?;
        }
        let tables = self.private_tables(options);
        let weights = &self.weights;
        let (copies, text) = rayon::join(|| weights.private_copies(&tables), || Text::new(weights));
        self.weights.adopt(copies?);
        Ok(self.with(text))
    }

    /// The tensors of which single rows are read, and so tell what was said, if these are to be private:
    /// token embeddings.
    fn private_tables(&self, options: &EngineOptions) -> Vec<String> {
        let ops = self.model.plan.ops.iter();
        let tables = ops.filter_map(|op| match op {
            Op::Embed { table, .. } => self.model.weights.get(table.0 as usize),
            _ => None,
        });
        let wanted = tables.filter(|_| options.private_embeddings);
        wanted.map(|decl| decl.name.clone()).collect()
    }

    /// Bytes of the plan that opening the files has taken: those of packed files read into memory.
    pub(crate) fn held_already(&self, options: &EngineOptions) -> u64 {
        match options.weights == WeightsMode::Owned && self.packed_file() {
            true => self.weights.tensor_bytes(),
            false => 0,
        }
    }

    pub(crate) fn packed_file(&self) -> bool {
        self.weights
            .tensors()
            .iter()
            .any(|t| t.layout == Layout::Packed)
    }

    pub(crate) fn program(&self, kv: KvElem) -> Result<Program, LoadError> {
        lower(&self.model, &weights(&self.model, &self.weights)?, kv)
    }

    pub(crate) fn memory_plan(
        &self,
        options: &EngineOptions,
        threads: usize,
    ) -> Result<MemoryPlan, LoadError> {
        let program = self.program(options.kv)?;
        let outputs = options.outputs.min(options.batch);
        let working = working_bytes(&program, options.batch, outputs, threads)
            .ok_or_else(|| LoadError::Plan("working memory overflows".into()))?;
        let in_memory = match options.weights {
            WeightsMode::Owned => true,
            _ => options.weights.packs_in_memory() && !self.packed_file(),
        };
        let private = self.private_tables(options);
        let (mut mapped, mut packed, mut vectors) = (0, 0, 0);
        for decl in &self.model.weights {
            let tensor = tensor(&self.weights, decl)?;
            match decl.kind {
                WeightKind::Matrix => {
                    let own = in_memory || private.contains(&decl.name);
                    let place = if own { &mut packed } else { &mut mapped };
                    *place += tensor.bytes.len() as u64;
                }
                WeightKind::Vector { .. } => vectors += u64::from(decl.cols) * 4,
            }
        }
        Ok(MemoryPlan {
            mapped,
            packed,
            vectors,
            working: working as u64,
            layouts: kv_layouts(&self.model, options.kv)?,
            partials_per_page: decode_bytes(&program, 2 * PAGE_POSITIONS, threads) as u64 / 2,
        })
    }

    pub(crate) fn name(&self) -> Option<String> {
        match self.weights.source() {
            Source::Gguf(g) => g.string("general.name").ok().flatten().map(str::to_owned),
            Source::Safetensors(files) => files
                .config
                .get("_name_or_path")
                .and_then(|v| v.as_str())
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
            _ => None,
        }
    }

    pub(crate) fn tokenizer_kind(&self) -> String {
        match (&self.tokenizer, &self.tokenizer_refusal) {
            (Some(t), _) => format!("{} tokens", t.vocab_size()),
            (None, Some(why)) => format!("none that hob knows: {why}"),
            (None, None) => "none in the file".into(),
        }
    }

    /// Elements of all tensors, and their formats by falling share.
    pub(crate) fn formats(&self) -> (u64, Vec<FormatShare>) {
        let mut shares: Vec<FormatShare> = Vec::new();
        let mut elements = 0;
        for t in self.weights.tensors() {
            elements += t.elements() as u64;
            let bytes = t.bytes.len() as u64;
            match shares.iter_mut().find(|s| s.name == t.format.name()) {
                Some(s) => {
                    s.tensors += 1;
                    s.bytes += bytes;
                }
                None => shares.push(FormatShare {
                    name: t.format.name(),
                    tensors: 1,
                    bytes,
                }),
            }
        }
        shares.sort_by_key(|s| std::cmp::Reverse(s.bytes));
        (elements, shares)
    }
}

/// A declared weight's tensor, of the declared shape.
fn tensor<'a>(weights: &'a Weights, decl: &WeightDecl) -> Result<&'a Tensor, LoadError> {
    let tensor = weights.require(&decl.name)?;
    let found = [tensor.dims[0], tensor.dims[1]];
    let wanted = [u64::from(decl.cols), u64::from(decl.rows)];
    if found != wanted || tensor.matrices() != 1 {
        return Err(LoadError::Shape {
            name: decl.name.clone(),
            found,
            wanted,
        });
    }
    Ok(tensor)
}

/// The mapped files that matrices are read from as they are needed: those whose change would change weights.
pub(crate) fn mapped_files(model: &Model, weights: &Weights) -> Vec<ModelFile> {
    let matrices = model.weights.iter().filter_map(|decl| match decl.kind {
        WeightKind::Matrix => weights.tensor(&decl.name),
        // Copied.
        WeightKind::Vector { .. } => None,
    });
    let holds = |file: &&ModelFile| {
        let is_in = |tensor: &Tensor| tensor.bytes.shares_owner(&file.bytes);
        file.is_mapped() && matrices.clone().any(is_in)
    };
    weights
        .files()
        .parts
        .iter()
        .filter(holds)
        .cloned()
        .collect()
}

/// All declared weights: matrices by reference to their bytes, vectors as f32.
pub(crate) fn weights(model: &Model, weights: &Weights) -> Result<Vec<Loaded>, LoadError> {
    model
        .weights
        .iter()
        .map(|decl| {
            let t = tensor(weights, decl)?;
            match decl.kind {
                WeightKind::Matrix => {
                    let len = t.bytes.len();
                    let blob = Blob::new(Arc::new(t.bytes.clone()), 0..len).ok_or_else(|| {
                        LoadError::Plan(format!("tensor `{}` has no bytes", decl.name))
                    })?;
                    let packed = t.layout == Layout::Packed;
                    let m = WeightMatrix::new(blob, t.format, t.rows(), t.cols(), packed)?;
                    Ok(Loaded::Matrix(m.named(&decl.name)))
                }
                WeightKind::Vector { plus } => {
                    let mut x = vec![0.0; t.cols()];
                    format::dequantize(t.format, t.bytes.as_ref(), &mut x)
                        .map_err(|e| LoadError::Plan(format!("tensor `{}`: {e}", decl.name)))?;
                    if plus != 0.0 {
                        x.iter_mut().for_each(|x| *x += plus);
                    }
                    Ok(Loaded::Vector(x.into()))
                }
            }
        })
        .collect()
}
