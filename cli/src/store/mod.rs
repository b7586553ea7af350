//! The model store: one folder per model, with files ready to be mapped and a manifest.
//!
//! ```text
//! $HOB_HOME, else $XDG_DATA_HOME/hob, else ~/.local/share/hob          (0700)
//!   models/NAME/model.hob       the packed file, read-only (model.gguf: as it came)
//!   models/NAME/manifest.json   what it is; written last: a model without it is not there
//!   models/NAME/verified.json   how the files looked when their bytes were last hashed
//!   models/NAME/b/              the files instead, where they replaced others: the manifest says so
//!   staging/NAME/               files being written; may be deleted at any time
//!   staging/NAME/originals/     downloads, which are gone on with
//!   locks/NAME.lock             held while the model is written
//! ```
//! A model of several files has `model-00001-of-00002.hob` and so on; one of safetensors has them, packed,
//! under their own names, with `config.json` and the others beside them.
//!
//! Files are read beneath the root, and no link in it is followed. Folders are this user's alone.
//!
//! A process may be killed at any moment: a manifest names files that were synced before it, and it is
//! replaced in one step, so that a name means the old model or the whole new one.

mod beneath;
mod change;
mod manifest;
mod pinned;
mod verified;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hob_fetch::{FetchError, FolderLock, Progress, make_private_dir};

use crate::catalogue;

pub(crate) use crate::commands::pull::ensure_default_model;
use beneath::Access;
pub(crate) use change::Arrival;
use manifest::MANIFEST_LIMIT;
pub(crate) use manifest::{MANIFEST, Manifest, ModelKind, StoredFile, is_plain};
pub(crate) use pinned::Pinned;
pub(crate) use verified::{How, Verified};

/// Folder within a model's staging folder for what is fetched; whatever else is there can be made again
/// in moments.
pub(crate) const ORIGINALS: &str = "originals";

/// A model that can be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// What to open: a file (the first, if there are several parts), or the folder of safetensors.
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    /// The store's.
    root: PathBuf,
    /// The model's, in `models/`.
    folder: String,
}

impl Installed {
    /// Opens a file of the model's folder.
    fn beneath_model(&self, file: &str, access: Access) -> io::Result<File> {
        beneath::open(&self.root, &["models", &self.folder, file], access)
    }

    /// Opens a file that the manifest names.
    fn beneath(&self, file: &str, access: Access) -> io::Result<File> {
        match self.manifest.folder.as_str() {
            "" => self.beneath_model(file, access),
            inner => beneath::open(&self.root, &["models", &self.folder, inner, file], access),
        }
    }

    /// Where a file of the model is.
    pub(crate) fn file(&self, file: &StoredFile) -> PathBuf {
        let dir = match self.manifest.kind {
            ModelKind::Safetensors => Some(self.path.as_path()),
            ModelKind::Gguf => self.path.parent(),
        };
        dir.unwrap_or(Path::new("")).join(&file.file)
    }
}

/// A download that has not come to its end.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    /// The model's name, as a folder's.
    pub(crate) name: String,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
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
    #[error("the model {name} in the store is damaged ({why}); {}", remedy(name))]
    Damaged { name: String, why: String },
    #[error("no model `{0}` in the store; `hob list` shows what is there{guess}", guess = crate::nearest::did_you_mean(.0))]
    NoModel(String),
    #[error(
        "the store has another model of the name {name}, from {source_}; give this one another name \
         (`--name`), or replace that one (`--force`)"
    )]
    Taken { name: String, source_: String },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Disk(#[from] FetchError),
}

/// What to do about a damaged model.
pub(crate) fn remedy(name: &str) -> String {
    match catalogue::find(name) {
        Some(entry) => format!("`hob pull {}` fetches it again", entry.name),
        None => format!("`hob rm {name}` deletes it; then pull or import it again"),
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
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

    /// Its folder, which may not exist yet.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A store in this folder.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The model that a path into the store is of: that of its file, or of its folder.
    pub(crate) fn at_path(&self, path: &Path) -> Option<Installed> {
        let path = fs::canonicalize(path).ok()?;
        let models = fs::canonicalize(&self.root).ok()?.join("models");
        let folder = path.strip_prefix(&models).ok()?.iter().next()?;
        let model = self.read(folder.to_str()?).ok().flatten()?;
        let files = model.manifest.files.iter().map(|file| model.file(file));
        let mut own = files.chain([model.path.clone()]);
        own.any(|own| fs::canonicalize(own).is_ok_and(|own| own == path))
            .then_some(model)
    }

    /// Looks a model up by its name, an alias of the catalogue or a file name, in any case.
    ///
    /// `None` if it is not here; an error if it is here and cannot be used.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Installed>, StoreError> {
        if let Ok(folder) = folder_name(name)
            && let Some(found) = self.read(&folder)?
        {
            return Ok(Some(found));
        }
        match catalogue::find(name) {
            Some(entry) => self.read(&folder_name(entry.name)?),
            None => Ok(None),
        }
    }

    /// [`Store::find`], where a missing model is an error.
    pub(crate) fn need(&self, name: &str) -> Result<Installed, StoreError> {
        let missing = || StoreError::NoModel(name.escape_debug().to_string());
        self.find(name)?.ok_or_else(missing)
    }

    /// The model that answers when none is named.
    pub(crate) fn default_model(&self) -> Result<Option<Installed>, StoreError> {
        self.find(catalogue::default_entry().name)
    }

    /// All models, by name; a damaged one is its error.
    pub(crate) fn list(&self) -> Result<Vec<Result<Installed, StoreError>>, StoreError> {
        let names = names_in(&self.root.join("models"))?;
        Ok(names
            .iter()
            .filter_map(|name| self.read(name).transpose())
            .collect())
    }

    /// What was left of downloads, by name, but for those under way.
    pub(crate) fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let staging = self.root.join("staging");
        let mut found = Vec::new();
        for name in names_in(&staging)? {
            let dir = staging.join(&name);
            let bytes = match dir.join(ORIGINALS).exists() {
                true => bytes_in(&dir),
                false => 0,
            };
            if bytes > 0 && self.try_lock(&name)?.is_some() {
                found.push(Unfinished { name, bytes });
            }
        }
        Ok(found)
    }

    /// Whether there is anything of this name: a model, a damaged one, or what is left of a download.
    pub(crate) fn has(&self, name: &str) -> Result<bool, StoreError> {
        let folder = folder_name(name)?;
        Ok(self.model_dir(&folder).exists() || self.staging(name)?.exists())
    }

    fn read(&self, folder: &str) -> Result<Option<Installed>, StoreError> {
        let dir = self.model_dir(folder);
        let damaged = |why: String| StoreError::Damaged {
            name: folder.to_owned(),
            why,
        };
        let text = match read_manifest(&self.root, folder) {
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
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| {
            // The message of a JSON error may quote the file.
            damaged(match e.classify() {
                serde_json::error::Category::Data => format!("{MANIFEST} has wrong entries"),
                _ => format!("{MANIFEST}: line {}", e.line()),
            })
        })?;
        if folder_name(&manifest.name).ok().as_deref() != Some(folder) {
            return Err(damaged(format!("{MANIFEST} is another model's")));
        }
        let dir = match manifest.folder.as_str() {
            "" => dir,
            folder => dir.join(folder),
        };
        let path = match (manifest.kind, manifest.files.first()) {
            (ModelKind::Gguf, Some(first)) => dir.join(&first.file),
            _ => dir,
        };
        let model = Installed {
            path,
            manifest,
            root: self.root.clone(),
            folder: folder.to_owned(),
        };
        for file in &model.manifest.files {
            let name = &file.file;
            let found = model.open_file(name)?.metadata();
            let found = found.map_err(|e| damaged(format!("{name}: {e}")))?;
            if !found.is_file() {
                return Err(damaged(format!("{name} is not a regular file")));
            }
            if found.len() != file.stored_size {
                let (found, wanted) = (found.len(), file.stored_size);
                return Err(damaged(format!("{name} has {found} bytes, not {wanted}")));
            }
        }
        Ok(Some(model))
    }

    /// Takes the right to write this model; waits while another process has it.
    pub(crate) fn lock(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<FolderLock, StoreError> {
        let folder = folder_name(name)?;
        let locks = self.locks()?;
        self.close(&folder)?;
        let file = format!("{folder}.lock");
        Ok(FolderLock::take(&locks, &file, progress)?)
    }

    /// Makes the folders that a change of this model writes to this user's alone, if others could enter
    /// them, and refuses links among them. Not the root: it may be a folder of more than hob.
    fn close(&self, folder: &str) -> Result<(), StoreError> {
        let own = ["models", "staging", "locks"].map(|name| self.root.join(name));
        for dir in own.into_iter().chain([self.model_dir(folder)]) {
            let Ok(found) = fs::symlink_metadata(&dir) else {
                continue;
            };
            if found.is_symlink() {
                let why = "it is a symbolic link, which hob does not follow in its store; set HOB_HOME \
                           to where models shall be";
                return Err(io_error("write to", &dir)(io::Error::other(why)));
            }
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                // Somebody else's folder stays as it is.
                if found.permissions().mode() & 0o077 != 0 {
                    let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
                }
            }
        }
        Ok(())
    }

    /// The right to write the model in this folder, if nobody has it.
    fn try_lock(&self, folder: &str) -> Result<Option<FolderLock>, StoreError> {
        let file = format!("{folder}.lock");
        Ok(FolderLock::try_take(&self.locks()?, &file)?)
    }

    fn locks(&self) -> Result<PathBuf, StoreError> {
        let locks = self.root.join("locks");
        make_private_dir(&locks)?;
        Ok(locks)
    }

    /// Folder for this model's download; the holder of the lock may write it.
    pub(crate) fn staging(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root.join("staging").join(folder_name(name)?))
    }

    fn model_dir(&self, folder: &str) -> PathBuf {
        self.root.join("models").join(folder)
    }
}

/// The plain names in a folder, sorted; none if it is not there.
fn names_in(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error("list", dir)(e)),
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| folder_name(name).is_ok_and(|folder| folder == *name))
        .collect();
    names.sort();
    Ok(names)
}

/// Bytes of the files in a folder and in those below it.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

fn read_manifest(root: &Path, folder: &str) -> io::Result<Vec<u8>> {
    let file = beneath::open(root, &["models", folder, MANIFEST], Access::Read)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MANIFEST_LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

/// A model's name as the name of a folder: lower case, on every file system.
pub(crate) fn folder_name(name: &str) -> Result<String, StoreError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts_well || !name.chars().all(is_plain) || name.len() > 200 {
        return Err(StoreError::BadName(name.escape_debug().to_string()));
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    Ok(name.trim_end_matches('.').replace(':', "-"))
}

/// A name for a model, made of what its source calls it: what no name may have becomes `-`.
pub(crate) fn plain_name(text: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
        _ => '-',
    };
    let name: String = text.chars().take(200).map(plain).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    match name {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
