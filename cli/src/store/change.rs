//! What changes the store: a model that arrives, is copied, or goes. Each holds the model's lock.
//!
//! Files come first and are synced; the manifest is renamed over the old one in one step; what it does
//! not name any more is deleted last. So a process that is killed leaves the old model or the new one,
//! and at most some bytes that the next change sweeps away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use hob_fetch::{FolderLock, Progress, make_private_dir, publish, remove_if_there, sync_dir};
use hob_models::mapping::FileId;

use super::verified::{Stamp, VERIFIED};
use super::{
    Installed, MANIFEST, Manifest, ModelKind, ORIGINALS, Store, StoreError, StoredFile, Verified,
    folder_name, io_error, names_in,
};

/// Folder within a model's folder for files that replace others.
const OTHER: &str = "b";

/// A model whose files are all in its staging folder.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) name: String,
    pub(crate) kind: ModelKind,
    /// As they lie in staging; those with weights first, in order.
    pub(crate) files: Vec<StoredFile>,
    pub(crate) source: String,
    pub(crate) licence: String,
    pub(crate) quant: String,
    /// How its bytes are known; `None` if they are to be hashed before they are used.
    pub(crate) verified: Option<Verified>,
}

impl Store {
    /// Makes verified files the model's. They are moved out of [`Store::staging`].
    pub(crate) fn install(
        &self,
        lock: &FolderLock,
        arrival: Arrival,
    ) -> Result<Installed, StoreError> {
        let (name, verified) = (arrival.name.clone(), arrival.verified);
        // What it replaces may have second names.
        let old = self.inodes(&name);
        let model = self.keeping_twins(&old, || self.put(lock, arrival))?;
        if let Some(verified) = verified {
            model.remember(verified);
        }
        Ok(model)
    }

    fn put(&self, _lock: &FolderLock, arrival: Arrival) -> Result<Installed, StoreError> {
        let folder = folder_name(&arrival.name)?;
        let dir = self.model_dir(&folder);
        let staging = self.staging(&arrival.name)?;
        make_private_dir(&dir)?;
        // Beside the files that the present manifest names, if there is one that can be read.
        let present = self.read(&folder).ok().flatten();
        let is_beside = present.is_some_and(|model| model.manifest.folder.is_empty());
        let place = match is_beside {
            true => dir.join(OTHER),
            false => dir.clone(),
        };
        make_private_dir(&place)?;
        let models = self.root.join("models");
        sync_dir(&models).map_err(io_error("sync", &models))?;
        for stored in &arrival.files {
            let from = staging.join(&stored.file);
            let handle = File::open(&from).map_err(io_error("open", &from))?;
            // The rights of a linked file are another program's, too.
            if links(&handle) == 1 {
                let metadata = handle.metadata().map_err(io_error("open", &from))?;
                let mut rights = metadata.permissions();
                rights.set_readonly(true);
                fs::set_permissions(&from, rights).map_err(io_error("make read-only", &from))?;
            }
            publish(&handle, &from, &place.join(&stored.file))?;
        }
        let manifest = Manifest {
            name: arrival.name,
            kind: arrival.kind,
            folder: if is_beside { OTHER } else { "" }.to_owned(),
            files: arrival.files,
            source: arrival.source,
            licence: arrival.licence,
            quant: arrival.quant,
        };
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
        let mut kept: Vec<&str> = vec![MANIFEST, VERIFIED];
        match is_beside {
            true => kept.push(OTHER),
            false => kept.extend(manifest.files.iter().map(|file| file.file.as_str())),
        }
        delete_all_but(&dir, &kept)?;
        if is_beside {
            let kept: Vec<_> = manifest.files.iter().map(|f| f.file.as_str()).collect();
            delete_all_but(&place, &kept)?;
        }
        delete(&staging)?;
        self.sweep();
        self.read(&folder)?.ok_or(StoreError::Damaged {
            name: folder,
            why: "it vanished while it was written".to_owned(),
        })
    }

    /// Deletes a model, or what was left of its download.
    pub(crate) fn remove(&self, name: &str, progress: &mut dyn Progress) -> Result<(), StoreError> {
        let _lock = self.lock(name, progress)?;
        let (dir, staging) = (self.model_dir(&folder_name(name)?), self.staging(name)?);
        if dir.exists() {
            self.keeping_twins(&self.inodes(name), || {
                // From here on it is not there.
                remove_if_there(&dir.join(MANIFEST))?;
                sync_dir(&dir).map_err(io_error("sync", &dir))?;
                delete(&dir)
            })?;
        }
        delete(&staging)?;
        self.sweep();
        Ok(())
    }

    /// A second name for a model, whose files are not copied where the file system can link them.
    pub(crate) fn copy(
        &self,
        from: &str,
        to: &str,
        progress: &mut dyn Progress,
    ) -> Result<Installed, StoreError> {
        let source = self.need(from)?.manifest.name;
        let (old, new) = (folder_name(&source)?, folder_name(to)?);
        if old == new {
            return Err(StoreError::BadName(format!(
                "{to} (it has that name already)"
            )));
        }
        // Always in the same order, so that two of these never wait for one another.
        let (first, second) = if old < new {
            (&old, &new)
        } else {
            (&new, &old)
        };
        let first = self.lock(first, progress)?;
        let second = self.lock(second, progress)?;
        let lock = if old < new { &second } else { &first };
        let model = self.need(&source)?;
        if let Some(taken) = self.read(&new)? {
            let Manifest { name, source, .. } = taken.manifest;
            return Err(StoreError::Taken {
                name,
                source_: source,
            });
        }
        let staging = self.staging(to)?;
        delete(&staging)?;
        make_private_dir(&staging)?;
        // A link has the bytes of its twin, and they are known if those are; a copy's are not yet.
        let mut verified = model.known().map(|(verified, _)| verified);
        self.keeping_twins(&self.inodes(&source), || {
            for stored in &model.manifest.files {
                let (from, to) = (model.file(stored), staging.join(&stored.file));
                if fs::hard_link(&from, &to).is_err() {
                    verified = None;
                    hob_fetch::need_space(&staging, stored.stored_size)?;
                    fs::copy(&from, &to).map_err(io_error("copy", &from))?;
                }
            }
            let manifest = model.manifest;
            let arrival = Arrival {
                name: to.to_owned(),
                kind: manifest.kind,
                files: manifest.files,
                source: manifest.source,
                licence: manifest.licence,
                quant: manifest.quant,
                verified,
            };
            self.install(lock, arrival)
        })
    }

    /// Inode numbers of a model's files; none if it is not there or damaged, or where there are none.
    fn inodes(&self, name: &str) -> Vec<u64> {
        let Ok(Some(model)) = self.find(name) else {
            return Vec::new();
        };
        let inode = |file: &StoredFile| {
            let found = model.open_file(&file.file).ok()?.metadata().ok()?;
            Some(FileId::of(&found).file.1).filter(|inode| *inode != 0)
        };
        model.manifest.files.iter().filter_map(inode).collect()
    }

    /// Makes a change that adds or takes names of the files with these inode numbers. The time of such an
    /// inode's last change moves with that, so other models that have it would look touched: those that
    /// were known before are known after, if nothing else about them has moved.
    fn keeping_twins<T>(
        &self,
        inodes: &[u64],
        change: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_one = |stamp: &Stamp| inodes.contains(&stamp.inode);
        let models = match inodes {
            [] => Vec::new(),
            _ => self.list().unwrap_or_default(),
        };
        let twins = models.into_iter().flatten().filter_map(|model| {
            let (verified, before) = model.known()?;
            before
                .iter()
                .any(is_one)
                .then_some((model, verified, before))
        });
        let twins: Vec<_> = twins.collect();
        let changed = change();
        for (model, verified, before) in twins {
            let Ok(now) = model.stamps() else { continue };
            let mut pairs = before.iter().zip(&now);
            if before.len() == now.len() && pairs.all(|(then, now)| then.is_but_for_ctime(now)) {
                model.remember(verified);
            }
        }
        changed
    }

    /// Deletes what killed processes left: models' folders without a manifest, and staging folders without
    /// a download, that nobody writes. Only a matter of space, so it does what it can.
    pub(crate) fn sweep(&self) {
        let staging = self.root.join("staging");
        for name in names_in(&staging).unwrap_or_default() {
            let dir = staging.join(&name);
            if !dir.join(ORIGINALS).exists()
                && let Ok(Some(_lock)) = self.try_lock(&name)
            {
                let _ = delete(&dir);
            }
        }
        for name in names_in(&self.root.join("models")).unwrap_or_default() {
            let dir = self.model_dir(&name);
            if dir.join(MANIFEST).exists() {
                continue;
            }
            if let Ok(Some(_lock)) = self.try_lock(&name)
                && !dir.join(MANIFEST).exists()
            {
                let _ = delete(&dir);
            }
        }
    }
}

/// Names that a file has.
fn links(file: &File) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        file.metadata().map_or(1, |found| found.nlink())
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        1
    }
}

/// Deletes a folder that may be missing.
fn delete(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("delete", dir)(e)),
        _ => Ok(()),
    }
}

fn delete_all_but(dir: &Path, kept: &[&str]) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if kept.iter().any(|kept| name == **kept) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => delete(&entry.path())?,
            _ => remove_if_there(&entry.path())?,
        }
    }
    Ok(())
}
