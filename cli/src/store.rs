//! The model store: one folder per model with one file, ready to be mapped, and a manifest.
//!
//! ```text
//! $HOB_HOME, else $XDG_DATA_HOME/hob, else ~/.local/share/hob          (0700)
//!   models/NAME/model.hob       the packed file, read-only (model.gguf: not packed)
//!   models/NAME/manifest.json   what it is; written last: a model without it is not there
//!   staging/NAME/               downloads and files being written; may be deleted at any time
//!   locks/NAME.lock             held while the model is written
//! ```
//! A process may be killed at any moment: a name under `models/` means the old file or the whole
//! new one, and the manifest names a file that was synced before it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use hob_fetch::{FetchError, FolderLock, Progress, make_private_dir, publish, remove_if_there};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Entry};

pub(crate) use crate::commands::pull::ensure_default_model;

const MANIFEST: &str = "manifest.json";
/// Longest manifest that is read.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// What a stored model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Full name.
    pub(crate) name: String,
    /// File in the model's folder.
    pub(crate) file: String,
    /// Bytes of that file.
    pub(crate) stored_size: u64,
    /// Name of the original file.
    pub(crate) original: String,
    /// Bytes of the original file.
    pub(crate) size: u64,
    /// SHA-256 of the original file.
    pub(crate) sha256: String,
    /// Where it came from.
    pub(crate) source: String,
    /// SPDX identifier.
    pub(crate) licence: String,
}

/// A model that can be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// The file to map.
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

/// What is wrong with the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(
        "there is no place for models: set HOB_HOME to a folder (neither it nor a home folder is set)"
    )]
    NoHome,
    #[error("{variable} is `{value}`, which is not an absolute path")]
    RelativeHome {
        variable: &'static str,
        value: String,
    },
    #[error("`{0}` cannot be the name of a model: letters, digits, `.`, `_`, `-` and `:` can")]
    BadName(String),
    #[error("the model {name} in the store is damaged ({why}); `hob pull {name}` fetches it again")]
    Damaged { name: String, why: String },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Disk(#[from] FetchError),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The store of this user. Nothing is made until something is written.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// The store where the environment says it is.
    pub(crate) fn open() -> Result<Self, StoreError> {
        let set = |variable: &'static str| {
            let value = std::env::var_os(variable).filter(|v| !v.is_empty())?;
            Some((variable, PathBuf::from(value)))
        };
        let below =
            |(variable, path): (&'static str, PathBuf), end: &str| (variable, path.join(end));
        let home = || Some(("HOME", std::env::home_dir()?));
        let found = set("HOB_HOME").or_else(|| match std::env::consts::OS {
            "windows" => set("LOCALAPPDATA").map(|p| below(p, "hob")),
            "macos" => home().map(|p| below(p, "Library/Application Support/hob")),
            _ => {
                // The XDG specification: a relative path there is to be ignored.
                let xdg = set("XDG_DATA_HOME").filter(|(_, path)| path.is_absolute());
                xdg.map(|p| below(p, "hob"))
                    .or_else(|| home().map(|p| below(p, ".local/share/hob")))
            }
        });
        let (variable, root) = found.ok_or(StoreError::NoHome)?;
        if !root.is_absolute() {
            let value = root.display().to_string();
            return Err(StoreError::RelativeHome { variable, value });
        }
        Ok(Self { root })
    }

    /// A store in this folder.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Looks a model up by its name, an alias of the catalogue or a file name, in any case.
    ///
    /// `None` if it is not here; an error if it is here and cannot be used.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Installed>, StoreError> {
        let name = catalogue::find(name).map_or(name, |entry| entry.name);
        let Ok(folder) = folder_name(name) else {
            return Ok(None);
        };
        self.read(&folder)
    }

    /// The model that answers when none is named.
    pub(crate) fn default_model(&self) -> Result<Option<Installed>, StoreError> {
        self.find(catalogue::default_entry().name)
    }

    /// All models, by name; a damaged one is its error.
    pub(crate) fn list(&self) -> Result<Vec<Result<Installed, StoreError>>, StoreError> {
        let models = self.root.join("models");
        let entries = match fs::read_dir(&models) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io_error("list", &models)(e)),
        };
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names
            .iter()
            .filter_map(|name| self.read(name).transpose())
            .collect())
    }

    fn read(&self, folder: &str) -> Result<Option<Installed>, StoreError> {
        let dir = self.root.join("models").join(folder);
        let path = dir.join(MANIFEST);
        let damaged = |why: String| StoreError::Damaged {
            name: folder.to_owned(),
            why,
        };
        let text = match read_file(&path) {
            Ok(text) => text,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(damaged(format!("{MANIFEST}: {e}"))),
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| damaged(format!("{MANIFEST}: line {}", e.line())))?;
        let mut parts = Path::new(&manifest.file).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(damaged(format!("{MANIFEST} names a file elsewhere")));
        }
        let path = dir.join(&manifest.file);
        let found =
            fs::symlink_metadata(&path).map_err(|e| damaged(format!("{}: {e}", manifest.file)))?;
        if !found.is_file() {
            return Err(damaged(format!("{} is not a regular file", manifest.file)));
        }
        if found.len() != manifest.stored_size {
            let (found, wanted) = (found.len(), manifest.stored_size);
            return Err(damaged(format!(
                "{} has {found} bytes, not {wanted}",
                manifest.file
            )));
        }
        Ok(Some(Installed { path, manifest }))
    }

    /// Takes the right to write this model; waits while another process has it.
    pub(crate) fn lock(
        &self,
        entry: &Entry,
        progress: &mut dyn Progress,
    ) -> Result<FolderLock, StoreError> {
        let locks = self.root.join("locks");
        make_private_dir(&locks)?;
        let file = format!("{}.lock", folder_name(entry.name)?);
        Ok(FolderLock::take(&locks, &file, progress)?)
    }

    /// Folder for this model's download; the holder of the lock may write it.
    pub(crate) fn staging(&self, entry: &Entry) -> Result<PathBuf, StoreError> {
        Ok(self.root.join("staging").join(folder_name(entry.name)?))
    }

    /// Makes a verified file the model's: the file takes its name first, the manifest after it.
    /// `file` must lie on the store's disk (in [`Store::staging`]); it is moved.
    pub(crate) fn install(
        &self,
        _lock: &FolderLock,
        entry: &Entry,
        file: &Path,
        stored_name: &str,
        source: &str,
    ) -> Result<Installed, StoreError> {
        let folder = folder_name(entry.name)?;
        let dir = self.root.join("models").join(&folder);
        make_private_dir(&dir)?;
        let handle = File::open(file).map_err(io_error("open", file))?;
        let metadata = handle.metadata().map_err(io_error("open", file))?;
        let mut rights = metadata.permissions();
        rights.set_readonly(true);
        fs::set_permissions(file, rights).map_err(io_error("make read-only", file))?;
        let path = dir.join(stored_name);
        publish(&handle, file, &path)?;

        let manifest = Manifest {
            name: entry.name.to_owned(),
            file: stored_name.to_owned(),
            stored_size: metadata.len(),
            original: entry.file.to_owned(),
            size: entry.size,
            sha256: entry.sha256.to_string(),
            source: source.to_owned(),
            licence: entry.licence.to_owned(),
        };
        let staging = self.staging(entry)?;
        make_private_dir(&staging)?;
        let temp = staging.join(MANIFEST);
        let mut text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| io_error("write", &temp)(io::Error::other(e)))?;
        text.push('\n');
        let mut out = File::create(&temp).map_err(io_error("write", &temp))?;
        out.write_all(text.as_bytes())
            .map_err(io_error("write", &temp))?;
        publish(&out, &temp, &dir.join(MANIFEST))?;

        // What an earlier version of the model left, and the download's files.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name != *stored_name && name != MANIFEST {
                remove_if_there(&entry.path())?;
            }
        }
        match fs::remove_dir_all(&staging) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("delete", &staging)(e)),
            _ => Ok(Installed { path, manifest }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(MANIFEST_LIMIT)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// A model's name as the name of a folder: lower case, on every file system.
fn folder_name(name: &str) -> Result<String, StoreError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts_well || !name.chars().all(is_plain) || name.len() > 200 {
        return Err(StoreError::BadName(name.escape_debug().to_string()));
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    Ok(name.trim_end_matches('.').replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::{Store, StoreError, folder_name};

    fn with_manifest(text: &str) -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("models/some-model");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), text).unwrap();
        std::fs::write(folder.join("model.gguf"), "12345").unwrap();
        std::fs::write(root.path().join("outside"), "12345").unwrap();
        let store = Store::at(root.path());
        (root, store)
    }

    fn manifest(file: &str) -> String {
        format!(
            r#"{{"name":"Some-Model","file":"{file}","stored_size":5,"original":"x.gguf","size":5,
            "sha256":"00","source":"here","licence":"MIT"}}"#
        )
    }

    #[test]
    fn a_model_is_found_by_its_name_in_any_case() {
        let (root, store) = with_manifest(&manifest("model.gguf"));
        for name in ["Some-Model", "some-model", "SOME-MODEL.GGUF", "some:model"] {
            let found = store.find(name).unwrap().unwrap();
            assert_eq!(found.path, root.path().join("models/some-model/model.gguf"));
        }
        assert_eq!(store.list().unwrap().len(), 1);
        for name in [
            "",
            ".",
            "..",
            "../models/some-model",
            "some-model/",
            "a b",
            "\u{202e}x",
        ] {
            assert!(store.find(name).unwrap().is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_manifest_cannot_point_outside() {
        for file in [
            "../../outside",
            "/etc/passwd",
            "..",
            ".",
            "",
            "a/../model.gguf",
        ] {
            let (_root, store) = with_manifest(&manifest(file));
            let found = store.find("some-model");
            assert!(
                matches!(found, Err(StoreError::Damaged { .. })),
                "{file}: {found:?}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let (root, store) = with_manifest(&manifest("model.gguf"));
        let path = root.path().join("models/some-model/model.gguf");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(root.path().join("outside"), path).unwrap();
        assert!(matches!(
            store.find("some-model"),
            Err(StoreError::Damaged { .. })
        ));
    }

    #[test]
    fn folder_names_stay_plain() {
        assert_eq!(folder_name("SmolLM2:135M").unwrap(), "smollm2-135m");
        for name in ["", ".x", "a/b", "a\\b", "a\u{0}", "é", "-x"] {
            assert!(folder_name(name).is_err(), "{name:?}");
        }
    }
}
