//! The weights of a model, whatever file they came in: a directory of named tensors over mapped bytes. A
//! path enters, [`Weights`] leaves; no weight is touched. It knows no architecture.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hob_kernels::format::Format;

use crate::error::{Error, Result};
use crate::files::{Kind, ModelFile, ModelFiles};
use crate::gguf::{self, Gguf, TensorType};
use crate::mapping::Bytes;
use crate::packed::{self, Watch};
use crate::safetensors::{self, Index, Safetensors};

/// The order of a tensor's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row after row, as the model's file has them.
    RowMajor,
    /// Each matrix in tiles of 16 rows ([`hob_kernels::pack`]); the same size.
    Packed,
}

/// A tensor: its shape, its format and its bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name, as the file has it.
    pub name: Arc<str>,
    /// How its elements are stored.
    pub format: Format,
    /// How many of `dims` the file gives; 1 to 4.
    pub n_dims: u32,
    /// Lengths in ggml's order: `dims[0]` is contiguous (the columns of a matrix), `dims[1]` counts rows,
    /// `dims[2]` matrices (experts). Missing ones are 1. For safetensors the shape is reversed.
    pub dims: [u64; 4],
    /// Its bytes: exactly those that the shape and format need.
    pub bytes: Bytes,
    /// Their order.
    pub layout: Layout,
}

impl Tensor {
    /// The lengths that the file gives, contiguous first.
    pub fn shape(&self) -> &[u64] {
        self.dims.get(..self.n_dims as usize).unwrap_or(&self.dims)
    }

    /// Elements of a row.
    pub fn cols(&self) -> usize {
        self.dims[0] as usize // the product of all dimensions fits: see `new`
    }

    /// Rows of a matrix.
    pub fn rows(&self) -> usize {
        self.dims[1] as usize // as above
    }

    /// Matrices: 1, but for stacked experts.
    pub fn matrices(&self) -> usize {
        (self.dims[2] * self.dims[3]) as usize // as above
    }

    /// Elements of all matrices.
    pub fn elements(&self) -> usize {
        self.cols() * self.rows() * self.matrices() // as above
    }

    /// The bytes of matrix `index` (an expert).
    pub fn matrix(&self, index: usize) -> Option<Bytes> {
        let each = self.bytes.len() / self.matrices(); // no dimension is 0
        let start = each.checked_mul(index)?;
        self.bytes.slice(start..start.checked_add(each)?)
    }

    /// A tensor whose bytes are what its shape and format need; `None` if they are not, or if a dimension
    /// is 0, or the product overflows.
    pub fn new(
        name: Arc<str>,
        format: Format,
        n_dims: u32,
        dims: [u64; 4],
        bytes: Bytes,
    ) -> Option<Tensor> {
        let sizes = dims.map(usize::try_from);
        let [Ok(cols), Ok(rows), Ok(depth), Ok(outer)] = sizes else {
            return None;
        };
        let rest = rows.checked_mul(depth)?.checked_mul(outer)?;
        let elements = cols.checked_mul(rest)?;
        let needed = format.row_bytes(cols)?.checked_mul(rest)?;
        (elements != 0 && needed == bytes.len() && (1..=4).contains(&n_dims)).then_some(Tensor {
            name,
            format,
            n_dims,
            dims,
            bytes,
            layout: Layout::RowMajor,
        })
    }
}

/// Where the weights came from, with what describes the model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Source {
    /// GGUF: the metadata of the file, or of its first part.
    Gguf(Gguf),
    /// safetensors: the files that describe the model.
    Safetensors(Safetensors),
}

/// All tensors of a model.
#[derive(Debug)]
pub struct Weights {
    source: Source,
    tensors: Vec<Tensor>,
    by_name: HashMap<Arc<str>, usize>,
    /// Tensors that hob cannot compute with: name, and what is unsupported.
    unsupported: HashMap<String, String>,
    files: ModelFiles,
}

impl Weights {
    /// Opens and parses the model at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        Weights::parse(ModelFiles::open(path)?)
    }

    /// Parses files that were opened before. Opens nothing.
    pub fn parse(files: ModelFiles) -> Result<Weights> {
        let watched = files.clone();
        watched.checked(Weights::parse_files(files))
    }

    fn parse_files(mut files: ModelFiles) -> Result<Weights> {
        let Some(first) = files.parts.first() else {
            return Err(Error::malformed(
                &files.path,
                "model",
                "has no files with weights",
            ));
        };
        let (kind, ..) = packed::original(first)?;
        if kind == Kind::Safetensors {
            let index = Index::read(&files)?;
            let parts = std::mem::take(&mut files.parts);
            files.parts = match &index {
                Some(index) => index.select(parts)?,
                None => safetensors::without_index(&files.path, parts)?,
            };
            let mut found = Found::default();
            for (part, file) in files.parts.iter().enumerate() {
                found.add(part, file, parse_part(file, kind)?)?;
            }
            if let Some(index) = index {
                index.check(|name| files.parts.get(*found.owner.get(name)?)?.path.file_name())?;
            }
            let source = Source::Safetensors(Safetensors::parse(&files)?);
            return Ok(found.finish(source, files));
        }
        // Whether the parts belong together is decided before what they hold is compared.
        let mut parsed = files
            .parts
            .iter()
            .map(|file| parse_part(file, kind))
            .collect::<Result<Vec<_>>>()?;
        let headers: Vec<(&Path, &Gguf)> = (files.parts.iter().zip(&parsed))
            .filter_map(|(file, part)| Some((file.path.as_path(), part.header.as_ref()?)))
            .collect();
        gguf::split::check(&headers)?;
        let Some(first) = parsed.first_mut().and_then(|part| part.header.take()) else {
            return Err(Error::malformed(&files.path, "model", "has no GGUF header"));
        };
        let mut found = Found::default();
        for (part, (file, parsed)) in files.parts.iter().zip(parsed).enumerate() {
            found.add(part, file, parsed)?;
        }
        let source = Source::Gguf(first);
        Ok(found.finish(source, files))
    }

    /// Packs all matrices that are not packed yet into anonymous memory, on rayon's threads, and lets the
    /// source's pages go meanwhile: the memory in use stays about the size of the weights.
    pub fn packed_in_memory(mut self, watch: &dyn Watch) -> Result<Weights> {
        packed::pack_in_memory(&mut self.tensors, watch)?;
        Ok(self)
    }

    /// Copies of these tensors in memory of this process's own, but for those that are there already.
    ///
    /// # Errors
    /// There is no such tensor, or no memory.
    pub fn private_copies(&self, names: &[String]) -> Result<PrivateCopies> {
        let mut copies = Vec::new();
        for name in names {
            let bytes = &self.require(name)?.bytes;
            if let Some(&at) = self
                .by_name
                .get(name.as_str())
                .filter(|_| bytes.is_shared())
            {
                copies.push((at, bytes.private_copy()?));
            }
        }
        Ok(PrivateCopies(copies))
    }

    /// Has these copies take the place of what they are copies of.
    pub fn adopt(&mut self, copies: PrivateCopies) {
        for (at, bytes) in copies.0 {
            // Of these weights, so of the same size.
            if let Some(tensor) = self
                .tensors
                .get_mut(at)
                .filter(|t| t.bytes.len() == bytes.len())
            {
                tensor.bytes = bytes;
            }
        }
    }

    /// What describes the model.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The GGUF metadata, if the model came as GGUF.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.source {
            Source::Gguf(g) => Some(g),
            Source::Safetensors(_) => None,
        }
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// The tensor with this name, or an error that says whether it is missing or of a type that hob does
    /// not run.
    pub fn require(&self, name: &str) -> Result<&Tensor> {
        self.tensor(name)
            .ok_or_else(|| match self.unsupported.get(name) {
                Some(found) => Error::Unsupported {
                    name: name.to_owned(),
                    found: found.clone(),
                },
                None => Error::MissingTensor {
                    name: name.to_owned(),
                },
            })
    }

    /// The tensors in the order of the files.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensors that hob cannot compute with: name, and what is unsupported ("of type IQ2_XXS").
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unsupported
            .iter()
            .map(|(name, found)| (name.as_str(), found.as_str()))
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes.len() as u64).sum()
    }

    /// The files behind the weights.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }
}

/// Copies of some tensors of some weights: for [`Weights::adopt`] of the same.
#[derive(Debug)]
pub struct PrivateCopies(Vec<(usize, Bytes)>);

/// Tensors as they are found in file after file.
#[derive(Default)]
struct Found {
    tensors: Vec<Tensor>,
    unsupported: HashMap<String, String>,
    /// The part that each tensor is in, unsupported ones too.
    owner: HashMap<Arc<str>, usize>,
}

impl Found {
    /// Adds the tensors of one part; a name that another part has is an error.
    fn add(&mut self, part: usize, file: &ModelFile, parsed: Parsed) -> Result<()> {
        let names = parsed.tensors.iter().map(|t| t.name.clone());
        for name in names.chain(
            parsed
                .unsupported
                .iter()
                .map(|(name, _)| name.as_str().into()),
        ) {
            if let Some(other) = self.owner.insert(name.clone(), part) {
                let field = format!("tensor {:?}", crate::error::Text::str(&name));
                return Err(Error::malformed(
                    &file.path,
                    field,
                    format!("is also in part {}", other + 1),
                ));
            }
        }
        self.tensors.extend(parsed.tensors);
        self.unsupported.extend(parsed.unsupported);
        Ok(())
    }

    fn finish(self, source: Source, files: ModelFiles) -> Weights {
        let by_name = self
            .tensors
            .iter()
            .enumerate()
            .map(|(i, t)| (t.name.clone(), i))
            .collect();
        Weights {
            source,
            tensors: self.tensors,
            by_name,
            unsupported: self.unsupported,
            files,
        }
    }
}

/// The tensors of one file, as packing and unpacking need them.
pub(crate) fn file_tensors(
    path: &Path,
    kind: Kind,
    bytes: &Bytes,
    packed: bool,
) -> Result<Vec<Tensor>> {
    Ok(parse_file(path, kind, bytes, packed)?.tensors)
}

/// What is in a file.
pub(crate) struct Parsed {
    pub(crate) tensors: Vec<Tensor>,
    /// Tensors that hob cannot compute with: name, and what is unsupported.
    pub(crate) unsupported: Vec<(String, String)>,
    /// Of a GGUF.
    pub(crate) header: Option<Gguf>,
}

/// Parses one part of a model of `kind`, packed or not.
fn parse_part(file: &ModelFile, kind: Kind) -> Result<Parsed> {
    let (found, bytes, packed) = packed::original(file)?;
    if found != kind {
        let problem = format!("is {}, but the first part is {}", found.name(), kind.name());
        return Err(Error::malformed(&file.path, "kind of file", problem));
    }
    parse_file(&file.path, kind, &bytes, packed)
}

fn parse_file(path: &Path, kind: Kind, bytes: &Bytes, packed: bool) -> Result<Parsed> {
    let mut parsed = if kind == Kind::Gguf {
        parse_gguf(path, bytes)?
    } else {
        safetensors::parse_file(path, bytes)?
    };
    for t in parsed
        .tensors
        .iter_mut()
        .filter(|t| packed && packed::is_matrix(t))
    {
        t.layout = Layout::Packed;
    }
    Ok(parsed)
}

fn parse_gguf(path: &Path, bytes: &Bytes) -> Result<Parsed> {
    let header = Gguf::parse(bytes).map_err(|source| Error::Gguf {
        path: path.to_owned(),
        source,
    })?;
    let mut tensors = Vec::with_capacity(header.n_tensors());
    let mut unsupported = Vec::new();
    for t in header.tensors() {
        let TensorType::Run(format) = t.kind else {
            unsupported.push((t.name.to_owned(), format!("of type {}", t.kind.name())));
            continue;
        };
        // The parser checked both ends against the file, which is in memory.
        let data = bytes.slice(t.data.start as usize..t.data.end as usize);
        let tensor =
            data.and_then(|data| Tensor::new(t.name.into(), format, t.n_dims, t.dims, data));
        let Some(tensor) = tensor else {
            let field = format!("tensor {:?}", crate::error::Text::str(t.name));
            return Err(Error::malformed(
                path,
                field,
                "is too large for this machine's addresses",
            ));
        };
        tensors.push(tensor);
    }
    Ok(Parsed {
        tensors,
        unsupported,
        header: Some(header),
    })
}
