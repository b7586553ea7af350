//! The model that a MODEL argument means, from its name to open files.
//!
//! In: what the user typed. Out: a path, with the store's manifest if it is a model of the store; then its
//! open files, of which the store's are compared with what is pinned ([`crate::store::Pinned`]). A file
//! that is not in the store is taken as it is: nothing is known of it that it could be compared with.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::bail;
use hob::ModelFiles;

use crate::commands::{pull, threads};
use crate::store::{Installed, Pinned, Store, StoreError, Verified};
use crate::terminal::bytes;
use crate::view::View;

/// A model that is there.
pub(crate) struct Model {
    /// What to open: a file (any of several parts), or a folder of safetensors.
    pub(crate) path: PathBuf,
    /// What the store knows of it, if it is of the store.
    pub(crate) installed: Option<Installed>,
    /// How its bytes are known, once it is open.
    pub(crate) verified: OnceCell<Verified>,
    /// Bytes of its open files.
    pub(crate) bytes: OnceCell<u64>,
}

impl From<Installed> for Model {
    fn from(installed: Installed) -> Model {
        Model {
            path: installed.path.clone(),
            installed: Some(installed),
            verified: OnceCell::new(),
            bytes: OnceCell::new(),
        }
    }
}

/// A model whose files are open; of one of the store, it is known whether it must be hashed.
pub(crate) enum Opened {
    /// Of the store.
    Pinned(Pinned),
    /// Any other.
    Plain(ModelFiles),
}

impl Model {
    /// The model that this means: a path, or a name in the store.
    pub(crate) fn find(model: &Path) -> anyhow::Result<Model> {
        if model.exists() {
            // One of the store's own files is as pinned as by its name.
            let installed = Store::open().ok().and_then(|store| store.at_path(model));
            return Ok(Model {
                path: model.to_owned(),
                installed,
                verified: OnceCell::new(),
                bytes: OnceCell::new(),
            });
        }
        let name = model.to_string_lossy();
        if let Some(found) = Store::open()?.find(&name)? {
            return Ok(found.into());
        }
        if pull::is_source(&name) {
            bail!(
                "`{name}` is a source: `hob pull {name}` fetches it and says by what name it goes then"
            );
        }
        if let Some(entry) = crate::catalogue::find(&name) {
            let (known, size) = (entry.name, bytes(entry.size));
            bail!("{known} is not in the store yet: `hob pull {known}` fetches it ({size})");
        }
        let guess = crate::nearest::did_you_mean(&name);
        bail!(
            "no model `{name}`: it is neither a file nor in the store (`hob list` shows the store, `hob pull` fills it){guess}"
        )
    }

    /// Opens its files; with `verify`, they will be hashed though they look unchanged. Parses nothing.
    pub(crate) fn open(&self, verify: bool) -> anyhow::Result<Opened> {
        let opened = match &self.installed {
            Some(installed) => Opened::Pinned(installed.open(verify)?),
            None if verify => bail!(
                "{} is not in the store, so no hash of it is known that --verify could compare with; \
                 `hob import` takes it into the store",
                self.path.display()
            ),
            None => Opened::Plain(ModelFiles::open(&self.path)?),
        };
        let files = opened.files();
        let parts = files.parts.iter().map(|part| part.bytes.len());
        let bytes = parts.chain(files.side.values().map(|side| side.len()));
        let _ = self.bytes.set(bytes.map(|n| n as u64).sum());
        Ok(opened)
    }

    /// Hashes what [`Model::open`] opened, where that is needed.
    pub(crate) fn settle(&self, opened: Opened) -> anyhow::Result<ModelFiles> {
        match opened {
            Opened::Plain(files) => Ok(files),
            Opened::Pinned(mut pinned) => {
                let verified = match pinned.question() {
                    None => pinned.settle(|| ())?.0,
                    Some(_) => settle(&mut pinned, &mut View::new(false))?,
                };
                let _ = self.verified.set(verified);
                Ok(pinned.files)
            }
        }
    }
}

impl Opened {
    /// The open files.
    pub(crate) fn files(&self) -> &ModelFiles {
        match self {
            Opened::Pinned(pinned) => &pinned.files,
            Opened::Plain(files) => files,
        }
    }
}

/// Hashes a stored model where that is needed, with a word about why.
pub(crate) fn settle(pinned: &mut Pinned, view: &mut View) -> Result<Verified, StoreError> {
    if let Some(why) = pinned.question() {
        let what = format!("verifying {} ({why})", pinned.name);
        view.begin(&what, Some(pinned.size()), 0);
    }
    let watch = view.watch();
    let settled = on_all_cores(|| pinned.settle(|| watch.another()));
    let (verified, kept) = match settled {
        Ok(settled) => settled,
        Err(error) => {
            view.clear();
            return Err(error);
        }
    };
    view.end();
    if let Some(why) = kept {
        view.say(&format!(
            "{}: cannot remember that it was verified ({why}), so it will be at every start",
            pinned.name
        ));
    }
    Ok(verified)
}

/// Does bulk work on a pool of threads of its own, and not rayon's: that looks at files for the number of
/// cores, which a confined process must not. Without memory for them, on rayon's all the same.
pub(crate) fn on_all_cores<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new()
        .num_threads(threads(None))
        .build()
    {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}
