//! A download that is not complete: the bytes so far, their running hash, and where they came from.
//!
//! The file is named by the hash that it shall have, so that the next process (and another mirror
//! of the same bytes) can go on from it. A record beside it keeps the mirror's validator. Neither
//! is trusted: the hash is computed over every byte that is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::Digest;
use crate::disk::{remove_if_there, write_error};
use crate::error::FetchError;

/// File-name ends of what this module writes.
pub(crate) const PART: &str = ".part";
pub(crate) const RECORD: &str = ".origin.json";

/// Where the bytes came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Label of the mirror.
    pub(crate) mirror: String,
    /// Host and path, without login or query.
    pub(crate) origin: String,
    /// Strong entity tag.
    pub(crate) etag: Option<String>,
    /// Length of the whole.
    pub(crate) total: Option<u64>,
}

pub(crate) struct Partial {
    path: PathBuf,
    record: PathBuf,
    file: File,
    hasher: Sha256,
    len: u64,
    pub(crate) origin: Origin,
    /// Whether the bytes come from more than one transfer, so that a wrong hash may be due to the
    /// joint and not to the mirror.
    pub(crate) is_pieced: bool,
}

impl Partial {
    /// Opens or makes `KEY.part` in `dir` and hashes what is there.
    pub(crate) fn open(dir: &Path, key: &str) -> Result<Self, FetchError> {
        let path = dir.join(format!("{key}{PART}"));
        let record = dir.join(format!("{key}{RECORD}"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| FetchError::io("open", &path, e))?;
        let mut hasher = Sha256::new();
        let len = hash_all(&mut file, &mut hasher, &mut |_| ())
            .map_err(|e| FetchError::io("read", &path, e))?;
        // A record that is missing or damaged only costs the validator.
        let origin = std::fs::read(&record).ok();
        let origin = origin.and_then(|text| serde_json::from_slice(&text).ok());
        let origin = origin.unwrap_or_default();
        let is_pieced = len > 0;
        Ok(Self {
            path,
            record,
            file,
            hasher,
            len,
            origin,
            is_pieced,
        })
    }

    /// Bytes that are here.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// SHA-256 of the bytes that are here.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }

    /// Git's id of the bytes that are here, as a file of a repository.
    pub(crate) fn git_blob(&mut self) -> Result<[u8; 20], FetchError> {
        let mut hasher = Sha1::new();
        hasher.update(format!("blob {}\0", self.len));
        let read = hash_all(&mut self.file, &mut hasher, &mut |_| ());
        read.map_err(|e| FetchError::io("read", &self.path, e))?;
        Ok(hasher.finalize().into())
    }

    /// Keeps where the following bytes come from, for the next process.
    pub(crate) fn set_origin(&mut self, origin: Origin) -> Result<(), FetchError> {
        if origin == self.origin {
            return Ok(());
        }
        let text = serde_json::to_vec(&origin).unwrap_or_default();
        std::fs::write(&self.record, text).map_err(|e| write_error(&self.record, 0, e))?;
        self.origin = origin;
        Ok(())
    }

    /// Adds bytes at the end. `needed`: bytes still to come, for the message of a full disk.
    pub(crate) fn append(&mut self, bytes: &[u8], needed: u64) -> Result<(), FetchError> {
        self.file
            .write_all(bytes)
            .map_err(|e| write_error(&self.path, needed, e))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forgets all bytes.
    pub(crate) fn restart(&mut self) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|e| FetchError::io("empty", &self.path, e))?;
        self.hasher = Sha256::new();
        self.len = 0;
        self.origin = Origin::default();
        self.is_pieced = false;
        remove_if_there(&self.record)
    }

    /// Deletes the file and its record.
    pub(crate) fn delete(self) -> Result<(), FetchError> {
        remove_if_there(&self.path)?;
        remove_if_there(&self.record)
    }
}

/// Hashes a file from its beginning; leaves the cursor at its end and gives its length. `told` hears how
/// far it is.
pub(crate) fn hash_all(
    file: &mut File,
    hasher: &mut impl sha2::Digest,
    told: &mut dyn FnMut(u64),
) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0_u8; 1 << 18];
    let mut len = 0_u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                len += n as u64;
                told(len);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Length and SHA-256 of a whole file. `told` hears how many bytes are done.
///
/// # Errors
/// The system's.
pub fn hash_file(file: &mut File, told: &mut dyn FnMut(u64)) -> std::io::Result<(u64, Digest)> {
    let mut hasher = Sha256::new();
    let len = hash_all(file, &mut hasher, told)?;
    Ok((len, Digest(hasher.finalize().into())))
}

/// The mirror of the largest partial download in a folder: the one to ask first.
pub(crate) fn largest_origin(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let records = entries.filter_map(|entry| {
        let path = entry.path();
        let name = path.file_name()?.to_str()?.strip_suffix(RECORD)?.to_owned();
        let len = std::fs::metadata(dir.join(format!("{name}{PART}")))
            .ok()?
            .len();
        let origin: Origin = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some((len, origin.mirror))
    });
    records
        .filter(|(len, _)| *len > 0)
        .max()
        .map(|(_, mirror)| mirror)
}
