//! What the store knows of a model: the manifest beside its files, as JSON.
//!
//! A manifest is read as hostile input: names in it cannot point outside of the model's folder.

use std::path::{Component, Path};

use hob_models::files::{Kind, SIDE_FILES};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// File name of a manifest.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Longest manifest that is read.
pub(super) const MANIFEST_LIMIT: u64 = 1 << 20;

/// What a stored model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Read")]
pub(crate) struct Manifest {
    /// Full name.
    pub(crate) name: String,
    /// `gguf` or `safetensors`.
    pub(crate) kind: ModelKind,
    /// Folder of the files within the model's folder; empty if it is that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) folder: String,
    /// Those with weights first, in the order of their parts.
    pub(crate) files: Vec<StoredFile>,
    /// Where it came from.
    pub(crate) source: String,
    /// SPDX identifier where there is one; `unknown` if nobody says.
    pub(crate) licence: String,
    /// Name of the quantization, such as `Q4_K_M`; empty if it was not looked at.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) quant: String,
}

/// A file of a stored model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    /// Name in the store.
    pub(crate) file: String,
    /// Bytes of that.
    pub(crate) stored_size: u64,
    /// Name at its source.
    pub(crate) original: String,
    /// Bytes of the original.
    pub(crate) size: u64,
    /// SHA-256 of the original, in hexadecimal digits.
    pub(crate) sha256: String,
    /// Where the same bytes lie on this disk, if they are shared and not copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared_with: Option<String>,
}

/// The format that a model came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModelKind {
    Gguf,
    /// The files lie together in a folder, under their own names.
    Safetensors,
}

impl ModelKind {
    /// Of the original inside a file of any kind.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Gguf => Some(Self::Gguf),
            Kind::Safetensors => Some(Self::Safetensors),
            Kind::Packed => None,
        }
    }
}

impl Manifest {
    /// Bytes on the disk.
    pub(crate) fn stored_size(&self) -> u64 {
        self.files.iter().map(|file| file.stored_size).sum()
    }

    /// Bytes of the originals.
    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether a file holds weights, and is none of those that describe a model of safetensors.
    pub(crate) fn is_weights(&self, file: &StoredFile) -> bool {
        self.kind == ModelKind::Gguf || !SIDE_FILES.contains(&file.file.as_str())
    }

    /// One hash of all of them.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.hashes().join("\n")).into()
    }

    /// Hashes of the originals, in order: what makes two models the same.
    pub(crate) fn hashes(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.sha256.as_str()).collect()
    }
}

/// A manifest as it may stand in a file. Those of the first version speak of one file.
#[derive(Deserialize)]
struct Read {
    name: String,
    #[serde(default)]
    kind: Option<ModelKind>,
    #[serde(default)]
    folder: String,
    #[serde(default)]
    files: Vec<StoredFile>,
    #[serde(flatten)]
    only: Option<StoredFile>,
    source: String,
    licence: String,
    #[serde(default)]
    quant: String,
}

impl TryFrom<Read> for Manifest {
    type Error = String;

    fn try_from(read: Read) -> Result<Self, String> {
        let mut files = read.files;
        if files.is_empty() {
            files.extend(read.only);
        }
        let names = files.iter().map(|file| &file.file);
        if files.is_empty() || !names.chain(Some(&read.folder)).all(|n| is_plain(n)) {
            return Err("it names no file, or one elsewhere".to_owned());
        }
        if files.iter().any(|file| file.file.is_empty()) {
            return Err("it names a file without a name".to_owned());
        }
        Ok(Self {
            name: read.name,
            kind: read.kind.unwrap_or(ModelKind::Gguf),
            folder: read.folder,
            files,
            source: read.source,
            licence: read.licence,
            quant: read.quant,
        })
    }
}

/// Whether a name is empty or that of an entry of its folder.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    name.is_empty()
        || matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(part)), None) if part == name
        )
}

#[cfg(test)]
mod tests {
    use super::{Manifest, ModelKind};

    #[test]
    fn manifests_of_the_first_version_are_read() {
        let text = r#"{"name":"N","file":"model.hob","stored_size":9,"original":"x.gguf","size":5,
            "sha256":"00","source":"here","licence":"MIT"}"#;
        let read: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!((read.kind, read.files.len()), (ModelKind::Gguf, 1));
        assert_eq!((read.stored_size(), read.size()), (9, 5));
        let again = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&again).unwrap(), read);
    }
}
