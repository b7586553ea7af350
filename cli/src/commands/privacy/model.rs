//! Whether a model is the one that was pinned: its SHA-256 now, and the one that the store recorded.

use crate::store::{Installed, Store};
use crate::view::View;
use anyhow::Context;
use hob_fetch::Digest;
use hob_models::files::{Keep, ModelFile};
use hob_models::packed::original_sha256;
use std::path::{Path, PathBuf};

/// A model that is hashed without being asked: in about a second, from the cache of the disk.
const QUICK: u64 = 256 << 20;

/// One file of a model.
pub(super) struct HashedFile {
    pub(super) name: String,
    /// Of the original, as the store recorded it when it came; none for a file outside of the store.
    pub(super) pinned: Option<String>,
    /// Of the original, from what lies on the disk now; none if it was not read.
    pub(super) actual: Option<String>,
}

pub(super) struct HashedModel {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// It is small enough to be read without being asked for.
    pub(super) is_quick: bool,
    pub(super) files: Vec<HashedFile>,
}

impl HashedModel {
    /// Whether a hash differs from the pinned one.
    pub(super) fn is_wrong(&self) -> bool {
        self.files.iter().any(|f| match (&f.pinned, &f.actual) {
            (Some(pinned), Some(actual)) => pinned != actual,
            _ => false,
        })
    }
}

/// The model that was asked for, or the default one; none if there is no such in the store.
pub(super) fn hash(asked: Option<&Path>, always: bool) -> anyhow::Result<Option<HashedModel>> {
    let installed = match asked {
        Some(path) if path.is_file() => return file(path, always).map(Some),
        Some(name) => Some(Store::open()?.need(&name.to_string_lossy())?),
        None => Store::open()?.default_model()?,
    };
    installed.map(|model| stored(&model, always)).transpose()
}

/// A file that is not from the store.
fn file(path: &Path, always: bool) -> anyhow::Result<HashedModel> {
    let size = std::fs::metadata(path)?.len();
    let name = path
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Ok(HashedModel {
        files: vec![HashedFile {
            name: name.clone(),
            pinned: None,
            actual: read(path, size, always)?,
        }],
        name,
        path: path.to_owned(),
        is_quick: size <= QUICK,
    })
}

fn stored(model: &Installed, always: bool) -> anyhow::Result<HashedModel> {
    let size = model.manifest.size();
    let files = model.manifest.files.iter().map(|file| {
        Ok(HashedFile {
            name: file.file.clone(),
            pinned: Some(file.sha256.clone()),
            actual: read(&model.file(file), size, always)?,
        })
    });
    Ok(HashedModel {
        name: model.manifest.name.clone(),
        path: model.path.clone(),
        is_quick: size <= QUICK,
        files: files.collect::<anyhow::Result<_>>()?,
    })
}

/// The hash of one file of a model of that size, unless it would take long.
fn read(path: &Path, size: u64, always: bool) -> anyhow::Result<Option<String>> {
    if size > QUICK && !always {
        return Ok(None);
    }
    let told = || format!("cannot hash {}", path.display());
    let view = View::new(true);
    let digest = match ModelFile::open(path, Keep::Mapped) {
        Ok(file) => Digest(original_sha256(&file, &view.watch()).with_context(told)?),
        // What is no model has a hash all the same, the one that `sha256sum` prints.
        Err(_) => {
            let mut file = std::fs::File::open(path).with_context(told)?;
            hob_fetch::hash_file(&mut file, &mut |_| ())
                .with_context(told)?
                .1
        }
    };
    Ok(Some(digest.to_string()))
}
