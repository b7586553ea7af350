//! The file-system manners that every writer of the store shares: a lock per folder, free space
//! asked for before writing, and folders synced after a rename.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::FetchError;
use crate::progress::{Event, Progress, tell};

/// An exclusive lock on a folder, held by an open file in it, so that the system releases it
/// whatever way the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock `file` of a folder that exists; waits while another process has it, and then
    /// says so once ([`Event::Waiting`]).
    ///
    /// # Errors
    /// [`FetchError::Io`] if the file cannot be made, [`FetchError::Cancelled`] if the caller stops
    /// the wait.
    pub fn take(dir: &Path, file: &str, progress: &mut dyn Progress) -> Result<Self, FetchError> {
        let path = dir.join(file);
        let file = open_lock(&path)?;
        let mut event = Event::Waiting;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    tell(progress, event)?;
                    event = Event::Tick;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::Error(e)) => return Err(FetchError::io("lock", &path, e)),
            }
        }
    }
}

impl FolderLock {
    /// Takes the lock `file` of a folder that exists, if nobody has it.
    ///
    /// # Errors
    /// [`FetchError::Io`] if the file cannot be made.
    pub fn try_take(dir: &Path, file: &str) -> Result<Option<Self>, FetchError> {
        let path = dir.join(file);
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(FetchError::io("lock", &path, e)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File, FetchError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| FetchError::io("open", path, e))
}

/// Bytes that this user may still write to the disk that holds `dir`; `u64::MAX` where the system
/// does not tell.
#[must_use]
pub fn free_bytes(dir: &Path) -> u64 {
    fs4::available_space(dir).unwrap_or(u64::MAX)
}

/// Errs unless `needed` bytes are free, with a small margin for the file system's own tables.
///
/// # Errors
/// [`FetchError::DiskFull`].
pub fn need_space(dir: &Path, needed: u64) -> Result<(), FetchError> {
    const MARGIN: u64 = 1 << 20;
    let free = free_bytes(dir);
    if free < needed.saturating_add(MARGIN) {
        let dir = dir.to_owned();
        return Err(FetchError::DiskFull { dir, needed, free });
    }
    Ok(())
}

/// Makes the names in a folder durable, so that a rename survives a power cut. A no-op where
/// folders cannot be opened.
///
/// # Errors
/// The system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Makes a folder and its missing parents, readable by this user alone.
///
/// # Errors
/// [`FetchError::Io`].
pub fn make_private_dir(dir: &Path) -> Result<(), FetchError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|e| FetchError::io("make", dir, e))
}

/// Syncs a written file, gives it its name (replacing what has it), and syncs the folder: after a
/// crash at any moment the name means the old file or the whole new one.
///
/// # Errors
/// [`FetchError::DiskFull`] or [`FetchError::Io`].
pub fn publish(file: &File, from: &Path, to: &Path) -> Result<(), FetchError> {
    file.sync_all().map_err(|e| write_error(from, 0, e))?;
    std::fs::rename(from, to).map_err(|e| FetchError::io("rename", from, e))?;
    let dir = to.parent().map_or_else(PathBuf::new, Path::to_owned);
    sync_dir(&dir).map_err(|e| FetchError::io("sync", &dir, e))
}

/// Turns a failed write into "disk full" where that is what it was; `needed`: bytes still to come, as
/// far as is known.
#[must_use]
pub fn write_error(path: &Path, needed: u64, error: io::Error) -> FetchError {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded) {
        let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let free = free_bytes(&dir);
        return FetchError::DiskFull { dir, needed, free };
    }
    FetchError::io("write", path, error)
}

/// Deletes a file that may be missing.
///
/// # Errors
/// [`FetchError::Io`].
pub fn remove_if_there(path: &Path) -> Result<(), FetchError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FetchError::io("delete", path, e)),
        _ => Ok(()),
    }
}
