//! Opening, apart from parsing: every file of a model is opened and mapped, and only first bytes and file
//! names are looked at. A path enters, [`ModelFiles`] leaves. So a program can open here, then confine
//! itself (no more opens), and only then parse with [`Weights::parse`](crate::weights::Weights::parse).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gguf::split::SplitName;
use crate::mapping::{Bytes, Mapping};

/// What a file is, told from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GGUF.
    Gguf,
    /// A single safetensors file, or one shard of several.
    Safetensors,
    /// A packed file of hob's store, of either kind inside.
    Packed,
}

impl Kind {
    /// The kind of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        if bytes.starts_with(b"GGUF") {
            return Some(Kind::Gguf);
        }
        // safetensors: length of the header (u64), then its JSON object.
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let len = u64::from_le_bytes(*len);
        (len <= rest.len() as u64 && rest.first() == Some(&b'{')).then_some(Kind::Safetensors)
    }
}

/// One mapped file.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What its first bytes say.
    pub kind: Kind,
    /// The map.
    pub mapping: Arc<Mapping>,
}

impl ModelFile {
    /// Opens and maps the file at `path`.
    pub fn open(path: &Path) -> Result<ModelFile> {
        let mapping = Mapping::open(path)?;
        let bytes = (*mapping).as_ref();
        let Some(kind) = Kind::of(bytes) else {
            let first = bytes.get(..8).unwrap_or(bytes).to_vec();
            return Err(Error::UnknownKind {
                path: path.to_owned(),
                first,
            });
        };
        Ok(ModelFile { kind, mapping })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.mapping.path()
    }

    /// All its bytes.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(self.mapping.clone())
    }
}

/// All files of a model, open and mapped, none parsed.
#[derive(Debug)]
pub struct ModelFiles {
    /// The files that hold weights, in the order of their parts.
    pub parts: Vec<ModelFile>,
    /// The path that the user gave.
    pub path: PathBuf,
}

impl ModelFiles {
    /// Opens the model at `path`: a file, or any one of several parts.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFiles> {
        let path = path.as_ref();
        let parts = match SplitName::of(path) {
            Some(split) if split.count > 1 => {
                let open = |number| ModelFile::open(&split.part(number));
                (1..=split.count).map(open).collect::<Result<Vec<_>>>()?
            }
            _ => vec![ModelFile::open(path)?],
        };
        Ok(ModelFiles {
            parts,
            path: path.to_owned(),
        })
    }

    /// An error if any of the files was changed since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.parts
            .iter()
            .try_for_each(|p| p.mapping.check_unchanged())
    }
}
