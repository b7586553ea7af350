//! The index of a bundle: JSON that says what the bundle holds. Checked when it is read: names, sizes and
//! hashes in it are those that the store itself could have.

use std::collections::{BTreeMap, BTreeSet};

use hob_fetch::Digest;
use hob_models::files::SIDE_FILES;
use serde::{Deserialize, Serialize};

use super::BundleError;
use crate::store::{Installed, ModelKind, folder_name, is_plain};

/// Bytes of the longest index that is read.
pub(super) const LIMIT: u64 = 4 << 20;
const FORMAT: &str = "hob bundle";
const VERSION: u64 = 1;
/// Longest text that an index may give (source, licence, a file's name), in bytes.
const TEXT: usize = 1000;

/// The whole index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    format: String,
    version: u64,
    pub(crate) models: Vec<BundledModel>,
}

/// A model of a bundle: what its manifest said, without what is of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BundledModel {
    pub(crate) name: String,
    pub(crate) kind: ModelKind,
    pub(crate) source: String,
    pub(crate) licence: String,
    pub(crate) quant: String,
    /// Those with weights first, in the order of their parts.
    pub(crate) files: Vec<BundledFile>,
}

/// A file as it was at its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BundledFile {
    /// Name there.
    pub(crate) original: String,
    /// Bytes.
    pub(crate) size: u64,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

impl BundledModel {
    pub(super) fn of(model: &Installed) -> Self {
        let manifest = &model.manifest;
        let files = manifest.files.iter().map(|file| BundledFile {
            original: file.original.clone(),
            size: file.size,
            sha256: file.sha256.to_ascii_lowercase(),
        });
        Self {
            name: manifest.name.clone(),
            kind: manifest.kind,
            source: manifest.source.clone(),
            licence: manifest.licence.clone(),
            quant: manifest.quant.clone(),
            files: files.collect(),
        }
    }

    /// Bytes of its files.
    pub(crate) fn size(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.size)
            .fold(0, u64::saturating_add)
    }

    /// Hashes of its files, in order.
    pub(crate) fn hashes(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.sha256.as_str()).collect()
    }

    /// Whether a file holds weights.
    pub(crate) fn is_weights(&self, file: &BundledFile) -> bool {
        self.kind == ModelKind::Gguf || file.original.ends_with(".safetensors")
    }

    fn check(&self) -> Result<(), String> {
        folder_name(&self.name).map_err(|e| e.to_string())?;
        let name = &self.name;
        for text in [&self.source, &self.licence, &self.quant] {
            if text.len() > TEXT {
                return Err(format!("a text of {name} has {} bytes", text.len()));
            }
        }
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        for file in &self.files {
            let original = &file.original;
            if original.is_empty() || original.len() > 255 || !is_plain(original) {
                let shown: String = original.chars().take(100).collect();
                let shown = shown.escape_debug();
                return Err(format!(
                    "a file of {name} is called `{shown}`, which leads elsewhere"
                ));
            }
            let is_known = SIDE_FILES.contains(&original.as_str()) || self.is_weights(file);
            if !is_known {
                let shown = original.escape_debug();
                return Err(format!("`{shown}` of {name} is no part of a model"));
            }
            if Digest::from_hex(&file.sha256).is_none_or(|d| d.to_string() != file.sha256) {
                return Err(format!("a SHA-256 of {name} is none"));
            }
            // As file systems compare them that do not tell cases apart.
            if !names.insert(original.to_lowercase()) {
                return Err(format!("{name} has two files of one name"));
            }
            if self.is_weights(file) && !hashes.insert(&file.sha256) {
                return Err(format!("{name} has the same file twice"));
            }
            if file.size == 0 {
                return Err(format!("a file of {name} is empty"));
            }
        }
        let is_weights = |file: &BundledFile| self.is_weights(file);
        let is_first = self.files.first().is_some_and(is_weights);
        if !self.files.is_sorted_by_key(|file| !is_weights(file)) {
            return Err(format!("weights of {name} come after other files"));
        }
        let has_config = self.files.iter().any(|file| file.original == "config.json");
        if !is_first || self.kind == ModelKind::Safetensors && !has_config {
            return Err(format!("{name} lacks weights or config.json"));
        }
        Ok(())
    }
}

impl Index {
    /// The index of a bundle of these models.
    pub(super) fn of(models: &[Installed]) -> Result<Self, BundleError> {
        let index = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            models: models.iter().map(BundledModel::of).collect(),
        };
        index.check()?;
        Ok(index)
    }

    /// Reads and checks an index.
    pub(super) fn read(text: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Kind {
            format: String,
            version: u64,
        }
        // A JSON error may quote the text.
        let kind: Kind = serde_json::from_slice(text)
            .map_err(|_| BundleError::NoBundle("its first file is no index"))?;
        if kind.format != FORMAT {
            return Err(BundleError::NoBundle("its first file is no index"));
        }
        if kind.version != VERSION {
            let found = kind.version;
            return Err(BundleError::Version { found });
        }
        let index: Self = serde_json::from_slice(text)
            .map_err(|e| BundleError::Index(format!("line {} of it is wrong", e.line())))?;
        index.check()?;
        Ok(index)
    }

    fn check(&self) -> Result<(), BundleError> {
        let refuse = |why: String| Err(BundleError::Index(why));
        if self.models.is_empty() {
            return refuse("it names no model".to_owned());
        }
        let mut names = BTreeSet::new();
        for model in &self.models {
            model.check().map_err(BundleError::Index)?;
            if !names.insert(folder_name(&model.name).unwrap_or_default()) {
                return refuse(format!("it has two models of the name {}", model.name));
            }
        }
        self.distinct().map(drop)
    }

    /// The distinct files, in order, by hash: the model that each is of first, and the file.
    pub(super) fn distinct(&self) -> Result<Vec<(&BundledModel, &BundledFile)>, BundleError> {
        let (mut sizes, mut files) = (BTreeMap::new(), Vec::new());
        for model in &self.models {
            for file in &model.files {
                match sizes.insert(&file.sha256, file.size) {
                    None => files.push((model, file)),
                    Some(size) if size == file.size => {}
                    Some(_) => {
                        let why = format!("{} has two sizes", file.sha256);
                        return Err(BundleError::Index(why));
                    }
                }
            }
        }
        Ok(files)
    }

    /// Its text, always the same for the same models.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}
