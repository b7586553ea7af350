//! Making packed files, and unmaking them. Paths enter; a finished, synced file under its final name leaves,
//! or an error and nothing. The inverse is a stream of the original's bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::jobs::{Job, Meter, Way, file_jobs};
use super::{MAX_SHIFT, Preamble, Watch, is_matrix, original};
use crate::error::{Error, Result};
use crate::files::{Keep, Kind, ModelFile};
use crate::mapping::Bytes;
use crate::weights::{Tensor, file_tensors};

/// How to pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackOptions {
    /// Compute the original's SHA-256 and record it (one pass of one core over the file).
    pub hash: bool,
    /// Refuse if the original's SHA-256 is another. Implies `hash`.
    pub expect: Option<[u8; 32]>,
}

/// Space left to others when a file is written.
const SPARE_BYTES: u64 = 64 << 20;

/// Packs the model file `src` (GGUF or safetensors; one part, if it has several) to `dst`, on rayon's
/// threads. The work is done under a lock of `dst`'s directory in a temporary file, which is synced and
/// renamed at the end; the result is read-only. Returns what was recorded.
pub fn pack_file(
    src: &ModelFile,
    dst: &Path,
    options: PackOptions,
    watch: &dyn Watch,
) -> Result<Preamble> {
    if src.kind == Kind::Packed {
        return Err(Error::malformed(
            &src.path,
            "kind of file",
            "is packed already",
        ));
    }
    // Parse before anything is written: a malformed file leaves no trace.
    let tensors = file_tensors(&src.path, src.kind, &src.bytes, false);
    src.check_in_use()?;
    let tensors = tensors?;
    let len = src.bytes.len();
    let meter = Meter::new(watch, len as u64);

    let dir = directory(dst);
    let _lock = Lock::take(dir, watch)?;
    let free = free_bytes(dir)?;
    let shift = best_shift(&tensors, src.bytes.start());
    let origin = Preamble::len(shift);
    let need = (len + origin) as u64 + SPARE_BYTES;
    if free < need {
        return Err(Error::NoSpace {
            path: dir.to_owned(),
            need,
            free,
        });
    }
    let jobs = file_jobs(&tensors, src.bytes.start(), len);
    let temporary = Temporary::create(dst)?;
    let io = |doing| move |e| Error::io(dst, doing, e);
    reserve(&temporary.file, (len + origin) as u64).map_err(io("reserve space for"))?;

    let hash = || -> Result<Option<[u8; 32]>> {
        if !options.hash && options.expect.is_none() {
            return Ok(None);
        }
        let mut hasher = Sha256::new();
        for chunk in src.bytes.chunks(1 << 20) {
            meter.go_on()?;
            hasher.update(chunk);
        }
        Ok(Some(hasher.finalize().into()))
    };
    let pack = || {
        jobs.par_iter().try_for_each(|job| {
            meter.go_on()?;
            let Some(from) = src.bytes.slice(job.range.clone()) else {
                return Ok(());
            }; // jobs stay within the file
            let mut to = vec![0; from.len()];
            job.run(Way::Pack, &from, &mut to)
                .map_err(|e| Error::malformed(&src.path, "packing", e.to_string()))?;
            write_at(&temporary.file, &to, (origin + job.range.start) as u64)
                .map_err(io("write"))?;
            meter.add(from.len());
            Ok(())
        })
    };
    let (sha256, packed) = rayon::join(hash, pack);
    // What was written is worth keeping only if it all came from one state of the source; nor is a hash
    // of several states a sign of damage.
    src.check_unchanged()?;
    packed?;
    let sha256 = sha256?;
    if let (Some(found), Some(recorded)) = (sha256, options.expect)
        && found != recorded
    {
        return Err(Error::Damaged {
            path: src.path.clone(),
            found,
            recorded,
        });
    }
    src.bytes.release();
    let preamble = Preamble {
        kind: src.kind,
        original_bytes: len as u64,
        sha256,
        shift,
    };
    write_at(&temporary.file, &preamble.to_bytes(), 0).map_err(io("write"))?;
    temporary.publish(dst)?;
    Ok(preamble)
}

/// The shift that makes the most bytes of matrices start at a line; 0 where none is better. Tensors'
/// positions are those of their bytes in the owner, less `origin`.
fn best_shift(tensors: &[Tensor], origin: usize) -> u8 {
    let mut aligned = [0_usize; MAX_SHIFT as usize];
    for t in tensors.iter().filter(|t| is_matrix(t)) {
        let past = t.bytes.start().saturating_sub(origin) % aligned.len();
        let shift = (aligned.len() - past) % aligned.len();
        if let Some(bytes) = aligned.get_mut(shift) {
            *bytes += t.bytes.len();
        }
    }
    let mut best = 0;
    for (shift, &bytes) in (0..MAX_SHIFT).zip(&aligned) {
        if bytes > aligned.get(usize::from(best)).copied().unwrap_or(0) {
            best = shift;
        }
    }
    best
}

/// Streams the original's bytes out of `packed`, exactly, and returns their SHA-256. If one is recorded and
/// differs, that is an error (after everything was written).
pub fn unpack_to(
    packed: &ModelFile,
    out: &mut (dyn Write + Send),
    watch: &dyn Watch,
) -> Result<[u8; 32]> {
    let unpacked = unpack(packed, out, watch);
    // What is read of a file that was cut short is no sign of damage.
    packed.check_in_use()?;
    unpacked
}

fn unpack(packed: &ModelFile, out: &mut (dyn Write + Send), watch: &dyn Watch) -> Result<[u8; 32]> {
    let preamble = Preamble::read(&packed.path, &packed.bytes)?;
    let (kind, bytes, _) = original(packed)?;
    let tensors = file_tensors(&packed.path, kind, &bytes, true)?;
    let jobs = file_jobs(&tensors, bytes.start(), bytes.len());
    let meter = Meter::new(watch, bytes.len() as u64);

    // While one batch is hashed and written, in order, the next is unpacked.
    // Hashing, on one core, sets the pace: a few pieces ahead are enough, on however many cores.
    let batch = (rayon::current_num_threads() * 4).clamp(4, 16);
    let mut hasher = Sha256::new();
    // Used again for each batch: a buffer of megabytes costs more to get and to give back than to fill.
    let mut now = vec![Vec::new(); batch];
    let (mut before, mut n_before) = (now.clone(), 0);
    for jobs in jobs.chunks(batch).chain([&[] as &[Job]]) {
        meter.go_on()?;
        let mut put = || -> Result<()> {
            for piece in before.iter().take(n_before) {
                hasher.update(piece);
                out.write_all(piece)
                    .map_err(|e| Error::io(&packed.path, "write the original of", e))?;
                meter.add(piece.len());
            }
            Ok(())
        };
        let unpack = || {
            let pieces = jobs.par_iter().zip(now.par_iter_mut());
            pieces.try_for_each(|(job, to)| unpack_piece(packed, &bytes, job, to))
        };
        let (put, unpacked) = rayon::join(&mut put, unpack);
        put?;
        unpacked?;
        std::mem::swap(&mut now, &mut before);
        n_before = jobs.len();
    }
    let found: [u8; 32] = hasher.finalize().into();
    match preamble.sha256 {
        Some(recorded) if recorded != found => Err(Error::Damaged {
            path: packed.path.clone(),
            found,
            recorded,
        }),
        _ => Ok(found),
    }
}

fn unpack_piece(packed: &ModelFile, bytes: &Bytes, job: &Job, to: &mut Vec<u8>) -> Result<()> {
    let Some(from) = bytes.slice(job.range.clone()) else {
        to.clear();
        return Ok(());
    }; // jobs stay within the file
    to.resize(from.len(), 0);
    job.run(Way::Unpack, &from, to)
        .map_err(|e| Error::malformed(&packed.path, "unpacking", e.to_string()))?;
    from.release();
    Ok(())
}

/// Checks `packed` against the SHA-256 of its original, and returns it. An error if none is recorded.
pub fn verify(packed: &ModelFile, watch: &dyn Watch) -> Result<[u8; 32]> {
    let preamble = Preamble::read(&packed.path, &packed.bytes);
    packed.check_in_use()?;
    if preamble?.sha256.is_none() {
        return Err(Error::malformed(
            &packed.path,
            "packed file: SHA-256",
            "was not recorded when it was made",
        ));
    }
    unpack_to(packed, &mut io::sink(), watch)
}

/// Opens a file for [`pack_file`] or [`unpack_to`].
pub(super) fn open(path: &Path) -> Result<ModelFile> {
    ModelFile::open(path, Keep::Mapped)
}

/// The directory of a file.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(n..).unwrap_or(&[]);
        at += n as u64;
    }
    Ok(())
}

/// Bytes that an ordinary user may still write to the file system of `dir`.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|e| Error::io(dir, "ask for the free space of", e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Gives a new file its length, and its room on the disk where the file system can, so that a disk that
/// fills up meanwhile is noticed now.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(e) => return Err(e.into()),
    }
    file.set_len(len)
}

/// Unknown here: then writing fails when it fails.
#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> Result<u64> {
    Ok(u64::MAX)
}

/// The lock of a directory that hob writes models to. The file stays: removing it would let two holders be.
pub(super) struct Lock(#[allow(dead_code)] File); // held for its drop

impl Lock {
    /// Waits for the lock.
    pub(super) fn take(dir: &Path, watch: &dyn Watch) -> Result<Lock> {
        let path = dir.join(".hob.lock");
        let io = |e| Error::io(&path, "lock", e);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(std::fs::TryLockError::WouldBlock) if watch.cancelled() => {
                    return Err(Error::Cancelled);
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    std::thread::sleep(Duration::from_millis(50))
                }
                Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
            }
        }
    }
}

/// A file under a temporary name, removed unless it is published.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    /// A new file beside `dst`; those that others left when they were killed are removed (the lock is held).
    fn create(dst: &Path) -> Result<Temporary> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = dst.file_name().map(|n| n.to_string_lossy().into_owned()) else {
            return Err(Error::malformed(dst, "path", "has no file name"));
        };
        let prefix = format!(".{name}.");
        let dir = directory(dst);
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let left = entry.file_name().to_string_lossy().into_owned();
            if left.starts_with(&prefix) && left.ends_with(".partial") {
                // Only a matter of space.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{prefix}{}-{number}.partial", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|e| Error::io(&path, "create", e))?;
        Ok(Temporary { file, path })
    }

    /// Syncs the file, makes it read-only, and gives it its name.
    fn publish(self, dst: &Path) -> Result<()> {
        let io = |doing| move |e| Error::io(dst, doing, e);
        let mut permissions = self.file.metadata().map_err(io("stat"))?.permissions();
        permissions.set_readonly(true);
        self.file
            .set_permissions(permissions)
            .map_err(io("make read-only"))?;
        self.file.sync_all().map_err(io("sync"))?;
        std::fs::rename(&self.path, dst).map_err(io("rename to"))?;
        #[cfg(unix)]
        File::open(directory(dst))
            .and_then(|d| d.sync_all())
            .map_err(io("sync the directory of"))?;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}
