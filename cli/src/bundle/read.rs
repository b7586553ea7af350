//! Reading a bundle: a path enters, a checked index and the bytes of its files leave.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hob_fetch::Digest;
use hob_models::packed::Watch;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::index::{BundledFile, BundledModel, Index, LIMIT};
use super::{BLOCK, BundleError, END, INDEX, entry_bytes, entry_name, header, padding};

/// Bytes that are read and hashed at a time.
const PIECE: usize = 1 << 20;

/// A bundle whose layout is as its index says. What its files hold is checked when they are read.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    pub(crate) index: Index,
    /// SHA-256 of the index's text.
    pub(crate) sha256: Digest,
    /// Bytes of the whole.
    pub(crate) bytes: u64,
    places: Vec<Place>,
}

/// Where a file lies.
#[derive(Clone, Debug)]
struct Place {
    model: String,
    file: BundledFile,
    /// Its first byte.
    start: u64,
}

impl Bundle {
    /// Opens a bundle, and checks its index, its length and every header.
    pub(crate) fn open(path: &Path) -> Result<Self, BundleError> {
        let mut file = open(path).map_err(BundleError::Read)?;
        let found = file.metadata().map_err(BundleError::Read)?;
        if !found.is_file() {
            return Err(BundleError::NoBundle("it is no ordinary file"));
        }
        let (text, mut at) = read_index(&mut file, found.len())?;
        let (index, sha256) = (Index::read(&text)?, Digest::of(&text));
        let mut places = Vec::new();
        let too_long = || BundleError::Index("its sizes have no sum".to_owned());
        for (model, bundled) in index.distinct()? {
            let start = at.checked_add(BLOCK).ok_or_else(too_long)?;
            let entry = entry_bytes(bundled.size).and_then(|bytes| at.checked_add(bytes));
            at = entry.ok_or_else(too_long)?;
            places.push(Place {
                model: model.name.clone(),
                file: bundled.clone(),
                start,
            });
        }
        let expected = at.checked_add(END).ok_or_else(too_long)?;
        if found.len() != expected {
            let found = found.len();
            return Err(BundleError::Length { found, expected });
        }
        for place in &places {
            let head = header(&entry_name(&place.file.sha256), place.file.size);
            let head = head.map_err(BundleError::Read)?;
            expect(&mut file, place.start - BLOCK, head.as_bytes())?;
            let end = place.start + place.file.size;
            expect(&mut file, end, &zeros(padding(place.file.size)))?;
        }
        expect(&mut file, at, &zeros(END))?;
        Ok(Self {
            path: path.to_owned(),
            index,
            sha256,
            bytes: expected,
            places,
        })
    }

    /// Hashes the files of these models, several at a time, and compares them with the index.
    pub(crate) fn check<W: Watch + Send>(
        &self,
        models: &[&BundledModel],
        watch: impl Fn() -> W + Sync,
    ) -> Result<(), BundleError> {
        let wanted = models.iter().flat_map(|model| &model.files);
        let wanted: std::collections::BTreeSet<_> = wanted.map(|file| &file.sha256).collect();
        let places = self.places.par_iter();
        places
            .filter(|place| wanted.contains(&place.file.sha256))
            .try_for_each(|place| self.copy(place, &mut io::sink(), &watch()))
    }

    /// Copies a file out, and errs at the end if it is not the one of the index.
    pub(crate) fn extract(
        &self,
        file: &BundledFile,
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<(), BundleError> {
        let is_it = |place: &&Place| place.file.sha256 == file.sha256;
        let place = self.places.iter().find(is_it);
        let place = place.ok_or_else(|| BundleError::Index("it lacks a file".to_owned()))?;
        self.copy(place, out, watch)
    }

    fn copy(
        &self,
        place: &Place,
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<(), BundleError> {
        let mut file = open(&self.path).map_err(BundleError::Read)?;
        file.seek(SeekFrom::Start(place.start))
            .map_err(BundleError::Read)?;
        let size = place.file.size;
        let mut from = file.take(size);
        let (mut hasher, mut done) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE];
        while done < size {
            if watch.cancelled() {
                return Err(BundleError::Stopped);
            }
            let n = match from.read(&mut piece) {
                Ok(0) => {
                    return Err(BundleError::Layout {
                        at: place.start + done,
                    });
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(BundleError::Read(e)),
            };
            let read = piece.get(..n).unwrap_or_default();
            hasher.update(read);
            out.write_all(read).map_err(BundleError::Write)?;
            done += n as u64;
            watch.progress(done, size);
        }
        let found = Digest(hasher.finalize().into()).to_string();
        if found == place.file.sha256 {
            return Ok(());
        }
        Err(BundleError::Damaged {
            model: place.model.clone(),
            file: place.file.original.clone(),
            found,
            expected: place.file.sha256.clone(),
        })
    }
}

/// Opens a file that may be anything; a pipe without a writer does not hang.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as _);
    }
    options.open(path)
}

/// The text of the index, and where the next entry begins.
fn read_index(file: &mut File, bytes: u64) -> Result<(Vec<u8>, u64), BundleError> {
    let no = BundleError::NoBundle;
    if bytes < BLOCK {
        return Err(no("it is too short"));
    }
    let mut first = tar::Header::new_old();
    file.read_exact(first.as_mut_bytes())
        .map_err(BundleError::Read)?;
    let size = first
        .entry_size()
        .map_err(|_| no("it does not begin as one"))?;
    let wanted = header(INDEX, size).map_err(BundleError::Read)?;
    if first.as_bytes() != wanted.as_bytes() {
        return Err(no("it does not begin as one"));
    }
    if size > LIMIT {
        return Err(BundleError::Index(format!(
            "it has {size} bytes, and at most {LIMIT} are read"
        )));
    }
    let next = BLOCK + size.next_multiple_of(BLOCK); // `size` is small
    if bytes < next {
        let (found, expected) = (bytes, next);
        return Err(BundleError::Length { found, expected });
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact(&mut text).map_err(BundleError::Read)?;
    expect(file, BLOCK + size, &zeros(padding(size)))?;
    Ok((text, next))
}

/// An error unless these bytes are there.
fn expect(file: &mut File, at: u64, wanted: &[u8]) -> Result<(), BundleError> {
    let mut found = vec![0; wanted.len()];
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.read_exact(&mut found))
        .map_err(BundleError::Read)?;
    match found == wanted {
        true => Ok(()),
        false => Err(BundleError::Layout { at }),
    }
}

/// A few zeros.
fn zeros(n: u64) -> Vec<u8> {
    vec![0; n.min(END) as usize]
}
