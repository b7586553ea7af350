//! A stored model on its way to being used. Its files are opened beneath the store's root, and what is
//! open is what is compared with the manifest, and then run: no name is looked up twice.
//!
//! Opening compares what the system says of the open files with [`verified`](super::verified)'s record,
//! which takes microseconds, and parses nothing: it comes before confinement. Where something differs (or
//! the caller asks), [`Pinned::settle`] hashes the whole model, through the very maps that it will run
//! from; that unpacks packed files, so parses them, and comes after confinement. A model whose bytes are
//! still the pinned ones is remembered as it looks now; another one is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use hob_fetch::Digest;
use hob_models::error::Error;
use hob_models::files::{ModelFile, ModelFiles, SIDE_FILES, read_side};
use hob_models::mapping::Bytes;
use hob_models::packed::{Watch, original_sha256};
use rayon::prelude::*;

use super::beneath::Access;
use super::verified::{How, Record, Stamp, VERIFIED, Verified, forget};
use super::{Installed, ModelKind, StoreError, StoredFile};

/// A stored model whose files are open.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// To be run.
    pub(crate) files: ModelFiles,
    /// Name in the store.
    pub(crate) name: String,
    /// The files with weights, as pinned and as open.
    parts: Vec<(StoredFile, ModelFile)>,
    state: State,
}

/// What is known of the bytes of an open model.
#[derive(Debug)]
enum State {
    /// It looks as it did when it was last hashed.
    Known(Verified),
    /// It is to be hashed.
    Unknown {
        /// Why, if that is worth a word.
        why: Option<&'static str>,
        /// To remember the outcome in; the system's words where that is impossible.
        record: io::Result<File>,
    },
}

impl Installed {
    /// Opens a file of the model.
    pub(crate) fn open_file(&self, file: &str) -> Result<File, StoreError> {
        self.beneath(file, Access::Read)
            .map_err(|e| self.damaged(format!("{file}: {e}")))
    }

    /// Opens a file of the model that is there to be mapped.
    pub(crate) fn open_part(&self, stored: &StoredFile) -> Result<ModelFile, StoreError> {
        let file = self.open_file(&stored.file)?;
        let part = ModelFile::of_file(&self.file(stored), file)
            .map_err(|e| self.damaged(e.to_string()))?;
        let (found, wanted) = (part.bytes.len() as u64, stored.stored_size);
        if found != wanted {
            let name = &stored.file;
            return Err(self.damaged(format!("{name} has {found} bytes, not {wanted}")));
        }
        Ok(part)
    }

    /// Reads a small file that lies beside weights.
    pub(crate) fn read_side(&self, stored: &StoredFile) -> Result<Bytes, StoreError> {
        let file = self.open_file(&stored.file)?;
        read_side(&self.file(stored), file).map_err(|e| self.damaged(e.to_string()))
    }

    /// Opens all files, and compares the small ones beside weights with their hashes. Those with weights
    /// are taken to be the pinned ones if they look as they did when they were last hashed; never so with
    /// `anew`.
    pub(crate) fn open(&self, anew: bool) -> Result<Pinned, StoreError> {
        let (mut parts, mut sides) = (Vec::new(), BTreeMap::new());
        for stored in &self.manifest.files {
            let side = SIDE_FILES.iter().find(|name| **name == stored.file);
            match side.filter(|_| !self.manifest.is_weights(stored)) {
                Some(name) => {
                    let bytes = self.read_side(stored)?;
                    compare(stored, Digest::of(&bytes)).map_err(|why| self.damaged(why))?;
                    sides.insert(*name, bytes);
                }
                None => parts.push((stored.clone(), self.open_part(stored)?)),
            }
        }
        let state = match self.looked_the_same(&stamps(&parts)) {
            Ok(verified) if !anew => State::Known(verified),
            other => State::Unknown {
                why: other.err().filter(|_| !anew),
                record: self.record(),
            },
        };
        let open = parts.iter().map(|(_, part)| part.clone()).collect();
        let files = match self.manifest.kind {
            ModelKind::Gguf => ModelFiles::of_gguf_parts(&self.path, open),
            ModelKind::Safetensors => ModelFiles::from_parts(&self.path, open, sides),
        };
        Ok(Pinned {
            files,
            name: self.manifest.name.clone(),
            parts,
            state,
        })
    }

    /// What was seen when these files were last hashed, if they look the same; else what differs.
    fn looked_the_same(&self, now: &[Stamp]) -> Result<Verified, &'static str> {
        let unknown = "it was not hashed yet";
        let record = self.beneath_model(VERIFIED, Access::Read).ok();
        let record = record.and_then(|mut file| Record::read(&mut file));
        let record = record.ok_or(unknown)?;
        for now in now {
            let then = record.files.iter().find(|then| then.file == now.file);
            match then.ok_or(unknown)?.difference(now) {
                None => {}
                Some(what) => return Err(what),
            }
        }
        Ok(record.verified())
    }

    /// What a model that looks as it did when it was last hashed looks like; `None` if it does not.
    pub(super) fn known(&self) -> Option<(Verified, Vec<Stamp>)> {
        let parts = self.open(false).ok()?;
        match parts.state {
            State::Known(verified) => Some((verified, stamps(&parts.parts))),
            State::Unknown { .. } => None,
        }
    }

    /// What the files look like now.
    pub(super) fn stamps(&self) -> Result<Vec<Stamp>, StoreError> {
        Ok(stamps(&self.open(true)?.parts))
    }

    /// Remembers that the files, as they lie in the store now, hold the pinned bytes. Only saves time, so
    /// it does what it can.
    pub(super) fn remember(&self, verified: Verified) {
        if let (Ok(open), Ok(mut record)) = (self.open(true), self.record()) {
            let _ = Record::new(verified, stamps(&open.parts)).write(&mut record);
        }
    }

    fn record(&self) -> io::Result<File> {
        self.beneath_model(VERIFIED, Access::Note)
    }

    fn damaged(&self, why: String) -> StoreError {
        damaged(&self.manifest.name, why)
    }
}

impl Pinned {
    /// Bytes of the originals of what [`Pinned::settle`] hashes.
    pub(crate) fn size(&self) -> u64 {
        self.parts.iter().map(|(stored, _)| stored.size).sum()
    }

    /// Why the model has to be hashed; `None` if it has not.
    pub(crate) fn question(&self) -> Option<&'static str> {
        match &self.state {
            State::Known(_) => None,
            State::Unknown { why, .. } => Some(why.unwrap_or("as asked")),
        }
    }

    /// Hashes the model where that is needed, its files at the same time on the rayon pool that this is
    /// called in, each watched by one of `watch`'s. Gives also why the outcome cannot be remembered, if it
    /// cannot.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not the pinned model (then its record is gone, too);
    /// [`StoreError::Stopped`] if a watcher stops it.
    pub(crate) fn settle<W: Watch + Send>(
        &mut self,
        watch: impl Fn() -> W + Sync,
    ) -> Result<(Verified, Option<io::Error>), StoreError> {
        let record = match &mut self.state {
            State::Known(verified) => return Ok((*verified, None)),
            State::Unknown { record, .. } => record,
        };
        let hash = |(stored, part): &(StoredFile, ModelFile)| {
            let found = match original_sha256(part, &watch()) {
                Ok(found) => Digest(found),
                // What its preamble says of it is of no weight beside the manifest.
                Err(Error::Damaged { found, .. }) => Digest(found),
                Err(Error::Cancelled) => return Err(StoreError::Stopped),
                Err(other) => return Err(damaged(&self.name, other.to_string())),
            };
            compare(stored, found).map_err(|why| damaged(&self.name, why))
        };
        if let Err(error) = self.parts.par_iter().try_for_each(hash) {
            if let (StoreError::Damaged { .. }, Ok(record)) = (&error, record) {
                // So that no later start takes it for sound.
                let _ = forget(record);
            }
            return Err(error);
        }
        let verified = Verified::now(How::Hashed);
        let seen = Record::new(verified, stamps(&self.parts));
        let kept = match record {
            Ok(file) => seen.write(file).err(),
            Err(e) => Some(io::Error::new(e.kind(), e.to_string())),
        };
        self.state = State::Known(verified);
        Ok((verified, kept))
    }
}

fn damaged(name: &str, why: String) -> StoreError {
    StoreError::Damaged {
        name: name.to_owned(),
        why,
    }
}

fn compare(stored: &StoredFile, found: Digest) -> Result<(), String> {
    if Digest::from_hex(&stored.sha256) == Some(found) {
        return Ok(());
    }
    Err(format!(
        "{} holds bytes of SHA-256 {found}, and {} was recorded",
        stored.file, stored.sha256
    ))
}

/// What the system said of each file when it was opened.
fn stamps(parts: &[(StoredFile, ModelFile)]) -> Vec<Stamp> {
    let of = |(stored, part): &(StoredFile, ModelFile)| {
        let id = part.id()?;
        Some(Stamp::of(&stored.file, &stored.sha256, id))
    };
    parts.iter().filter_map(of).collect()
}
