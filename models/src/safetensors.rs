//! safetensors: one file, or shards with an index, with the JSON files that describe the model beside them.
//! Opened bytes enter; tensors in ggml's order of dimensions, and [`Safetensors`] (config and tokenizer
//! files), leave. The `safetensors` crate parses and checks the header of a file; this file checks what
//! connects several.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hob_kernels::format::Format;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::error::{Error, Result, Text};
use crate::files::{INDEX, ModelFile, ModelFiles};
use crate::gguf::split::SplitName;
use crate::mapping::Bytes;
use crate::weights::{Parsed, Tensor};

/// What describes a model that came as safetensors.
#[derive(Clone, Debug)]
pub struct Safetensors {
    /// `config.json`; null if there is none (a lone file).
    pub config: Value,
    /// The bytes of the files beside the weights, by name: `tokenizer.json`, `tokenizer_config.json` and
    /// the others of [`SIDE_FILES`](crate::files::SIDE_FILES).
    pub side: BTreeMap<&'static str, Bytes>,
}

impl Safetensors {
    /// Parses what describes the model. Tensors are not looked at.
    pub(crate) fn parse(files: &ModelFiles) -> Result<Safetensors> {
        let config = match files.side.get("config.json") {
            Some(bytes) => {
                let dir = files.path.parent().unwrap_or(&files.path);
                json(
                    &files.dir.as_deref().unwrap_or(dir).join("config.json"),
                    bytes,
                )?
            }
            None => Value::Null,
        };
        Ok(Safetensors {
            config,
            side: files.side.clone(),
        })
    }

    /// The bytes of the side file with this name.
    pub fn file(&self, name: &str) -> Option<&Bytes> {
        self.side.get(name)
    }
}

/// Config and index files are of kilobytes; JSON grows in memory, so more is refused.
const MAX_JSON_BYTES: usize = 32 << 20;

/// Parses a JSON file. Errors give the place, not the text (which may be anything).
fn json(path: &Path, bytes: &[u8]) -> Result<Value> {
    if bytes.len() > MAX_JSON_BYTES {
        let problem = format!(
            "is {} bytes, and at most {MAX_JSON_BYTES} are parsed",
            bytes.len()
        );
        return Err(Error::malformed(path, "size", problem));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let field = format!("line {}, column {}", e.line(), e.column());
        Error::malformed(
            path,
            field,
            format!("is not JSON ({:?} error)", e.classify()),
        )
    })
}

/// The tensors of one safetensors file.
pub(crate) fn parse_file(path: &Path, bytes: &Bytes) -> Result<Parsed> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
        // The message may quote the file.
        Error::malformed(
            path,
            "safetensors header",
            format!("{:?}", Text::str(&e.to_string())),
        )
    })?;
    let data_start = header + 8; // within the file: the crate took the header from it
    let mut found = Vec::new();
    let mut unsupported = Vec::new();
    // In the order of the data.
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            other => {
                unsupported.push((name, format!("of type {other:?}")));
                continue;
            }
        };
        if info.shape.len() > 4 {
            unsupported.push((name, format!("of {} dimensions", info.shape.len())));
            continue;
        }
        if info.shape.contains(&0) {
            unsupported.push((name, "without elements".to_owned()));
            continue;
        }
        let mut dims = [1u64; 4];
        for (dim, &len) in dims.iter_mut().zip(info.shape.iter().rev()) {
            *dim = len as u64;
        }
        let n_dims = info.shape.len().max(1) as u32; // a scalar is a vector of one
        let (start, end) = info.data_offsets;
        let data = bytes.slice(data_start.saturating_add(start)..data_start.saturating_add(end));
        let tensor =
            data.and_then(|data| Tensor::new(name.as_str().into(), format, n_dims, dims, data));
        // The crate checked offsets, shape and type against each other.
        let Some(tensor) = tensor else {
            let field = format!("tensor {:?}", Text::str(&name));
            return Err(Error::malformed(
                path,
                field,
                "its shape and its bytes do not agree",
            ));
        };
        found.push(tensor);
    }
    Ok(Parsed {
        tensors: found,
        unsupported,
        header: None,
    })
}

/// The index of a sharded model: which tensor is in which file.
pub(crate) struct Index {
    path: PathBuf,
    map: HashMap<String, Arc<str>>,
}

impl Index {
    /// Parses the index; `None` if there is none, or if the user chose a lone file.
    pub(crate) fn read(files: &ModelFiles) -> Result<Option<Index>> {
        let (Some(dir), Some(bytes)) = (&files.dir, files.side.get(INDEX)) else {
            return Ok(None);
        };
        let path = dir.join(INDEX);
        let root = json(&path, bytes)?;
        let Some(entries) = root
            .get("weight_map")
            .and_then(Value::as_object)
            .filter(|m| !m.is_empty())
        else {
            return Err(Error::malformed(
                &path,
                "weight_map",
                "is missing, empty or no object",
            ));
        };
        let mut names: HashMap<&str, Arc<str>> = HashMap::new();
        let mut map = HashMap::with_capacity(entries.len());
        for (tensor, file) in entries {
            let field = || format!("weight_map entry {:?}", Text::str(tensor));
            let Some(file) = file.as_str() else {
                return Err(Error::malformed(&path, field(), "is no string"));
            };
            // A plain name: no directory, no parent, no drive.
            let plain = !file.is_empty()
                && file != "."
                && file != ".."
                && !file.contains(['/', '\\', ':', '\0']);
            if !plain {
                let problem = format!(
                    "is {:?}, not the plain name of a file in this directory",
                    Text::str(file)
                );
                return Err(Error::malformed(&path, field(), problem));
            }
            map.insert(
                tensor.clone(),
                names.entry(file).or_insert_with(|| file.into()).clone(),
            );
        }
        Ok(Some(Index { path, map }))
    }

    /// Reduces `parts` to the shards that the index names, in the order of their names.
    pub(crate) fn select(&self, parts: Vec<ModelFile>) -> Result<Vec<ModelFile>> {
        let shards: BTreeSet<&str> = self.map.values().map(|s| &**s).collect();
        let mut by_name: HashMap<_, _> = parts
            .into_iter()
            .filter_map(|p| Some((p.path.file_name()?.to_owned(), p)))
            .collect();
        let take = |shard: &str| {
            by_name.remove(OsStr::new(shard)).ok_or_else(|| {
                let field = format!("shard {:?}", Text::str(shard));
                Error::malformed(
                    &self.path,
                    field,
                    "is named by the index and not there; fetch it",
                )
            })
        };
        shards.into_iter().map(take).collect()
    }

    /// Checks that every tensor of the index is in the file that it names: `owner` gives the file name of a
    /// tensor, if there is such a tensor.
    pub(crate) fn check<'a>(&self, owner: impl Fn(&str) -> Option<&'a OsStr>) -> Result<()> {
        for (tensor, file) in &self.map {
            let found = owner(tensor);
            if found == Some(OsStr::new(&**file)) {
                continue;
            }
            let field = format!("weight_map entry {:?}", Text::str(tensor));
            let place = match found {
                Some(other) => format!("it is in {:?}", Text::str(&other.to_string_lossy())),
                None => "it is in none of the shards".to_owned(),
            };
            let problem = format!(
                "names {:?}, but {place}; shards of different downloads were mixed",
                Text::str(file)
            );
            return Err(Error::malformed(&self.path, field, problem));
        }
        Ok(())
    }
}

/// The parts of a model without an index: a lone file, all parts of a set, or the usual one of several.
pub(crate) fn without_index(path: &Path, mut parts: Vec<ModelFile>) -> Result<Vec<ModelFile>> {
    let set = parts.first().and_then(|p| SplitName::of(&p.path));
    let is_set = set.is_some_and(|s| {
        s.count as usize == parts.len()
            && parts
                .iter()
                .zip(1..)
                .all(|(p, number)| p.path == s.part(number))
    });
    if parts.len() < 2 || is_set {
        return Ok(parts);
    }
    // A repository may hold the same weights twice, as model.safetensors and otherwise.
    match parts
        .iter()
        .position(|p| p.path.file_name() == Some(OsStr::new("model.safetensors")))
    {
        Some(usual) => Ok(vec![parts.swap_remove(usual)]),
        None => {
            let problem = format!(
                "is missing, and there are {} .safetensors files",
                parts.len()
            );
            Err(Error::malformed(path, INDEX, problem))
        }
    }
}
