//! Files on their way into the store: originals enter, and packed or shared files in a staging folder,
//! with what the manifest says of them, leave.
//!
//! Packing reorders the bytes of a model's matrices for the kernels, so a packed file is a copy. Sharing
//! keeps the original's bytes as they are, and takes no room: a clone on file systems that can (Btrfs,
//! XFS, bcachefs), else a second name for the same file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hob_fetch::{Digest, make_private_dir, need_space, write_error};
use hob_models::error::Error;
use hob_models::files::{Keep, Kind, ModelFile};
use hob_models::packed::{PackOptions, Preamble, pack_file, verify};

use crate::store::{ModelKind, StoredFile};
use crate::view::View;
use serde::{Deserialize, Serialize};

/// What packing wants free beside the size of the original.
pub(crate) const PACKING_SPACE: u64 = 65 << 20;

/// An original.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Original {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its name at its source.
    pub(crate) name: String,
    /// Its hash, where its source tells it.
    #[serde(with = "digits")]
    pub(crate) expect: Option<Digest>,
}

/// A hash as its digits.
mod digits {
    use hob_fetch::Digest;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        hash: &Option<Digest>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        hash.map(|hash| hash.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let wrong = || D::Error::custom("a hash has 64 hexadecimal digits");
        text.map(|text| Digest::from_hex(&text).ok_or_else(wrong))
            .transpose()
    }
}

/// The name in the store of part `number` (from 1) of `count` of a model.
pub(crate) fn stored_name(
    kind: ModelKind,
    original: &str,
    number: usize,
    count: usize,
    end: &str,
) -> String {
    match (kind, count) {
        // An index of shards speaks of their own names.
        (ModelKind::Safetensors, _) => original.to_owned(),
        (ModelKind::Gguf, 1) => format!("model.{end}"),
        (ModelKind::Gguf, _) => format!("model-{number:05}-of-{count:05}.{end}"),
    }
}

/// The packed file that an earlier process left under this name, if it is that of the expected bytes.
pub(crate) fn already_packed(
    staging: &Path,
    stored: &str,
    original: &str,
    expect: Digest,
) -> Option<StoredFile> {
    let path = staging.join(stored);
    let file = ModelFile::open(&path, Keep::Mapped).ok()?;
    let preamble = Preamble::read(&path, &file.bytes).ok()?;
    (preamble.sha256 == Some(expect.0)).then(|| StoredFile {
        file: stored.to_owned(),
        stored_size: file.bytes.len() as u64,
        original: original.to_owned(),
        size: preamble.original_bytes,
        sha256: expect.to_string(),
        shared_with: None,
    })
}

/// Packs an original to `staging`/`stored`; its hash is computed on the way, compared and recorded. A file
/// that is packed already is copied, and checked. Parses the file: see [`crate::workshop`].
pub(crate) fn pack(
    original: &Original,
    staging: &Path,
    stored: &str,
    view: &mut View,
) -> anyhow::Result<StoredFile> {
    let file = ModelFile::open(&original.path, Keep::Mapped)?;
    let path = staging.join(stored);
    let total = file.bytes.len() as u64;
    if file.kind == Kind::Packed {
        drop(file);
        copy(&original.path, &path, total, view)?;
        let file = ModelFile::open(&path, Keep::Mapped)?;
        view.begin("verifying", Some(total), 0);
        let sha256 = Digest(verify(&file, &view.watch())?);
        view.end();
        let size = Preamble::read(&path, &file.bytes)?.original_bytes;
        return Ok(stored_file(original, stored, (total, size), sha256));
    }
    let options = PackOptions {
        hash: true,
        expect: original.expect.map(|digest| digest.0),
    };
    view.begin("packing", Some(total), 0);
    let packed = pack_file(&file, &path, options, &view.watch());
    let preamble = packed.map_err(|e| {
        view.clear();
        explained(e, staging)
    })?;
    view.end();
    let stored_size = fs::metadata(&path)
        .with_context(|| format!("cannot open {}", path.display()))?
        .len();
    // It was computed: `hash` says so.
    let sha256 = Digest(preamble.sha256.unwrap_or_default());
    Ok(stored_file(original, stored, (stored_size, total), sha256))
}

/// A full disk in the words in which a download says it, and wrong bytes without talk of packed files.
fn explained(error: Error, staging: &Path) -> anyhow::Error {
    match error {
        Error::NoSpace { need, free, .. } => hob_fetch::FetchError::DiskFull {
            dir: staging.to_owned(),
            needed: need,
            free,
        }
        .into(),
        Error::Io { path, source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            write_error(&path, 0, source).into()
        }
        Error::Damaged {
            path,
            found,
            recorded,
        } => anyhow::anyhow!(
            "{} has SHA-256 {}, and {} is expected; it is damaged or another file, and was not imported",
            path.display(),
            Digest(found),
            Digest(recorded)
        ),
        other => other.into(),
    }
}

/// Copies a small file that lies beside weights.
pub(crate) fn keep(
    original: &Original,
    staging: &Path,
    stored: &str,
) -> anyhow::Result<StoredFile> {
    make_private_dir(staging)?;
    let path = staging.join(stored);
    let mut bytes = Vec::new();
    File::open(&original.path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", original.path.display()))?;
    hob_fetch::remove_if_there(&path)?;
    let mut out =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    out.write_all(&bytes)
        .map_err(|e| write_error(&path, bytes.len() as u64, e))?;
    let size = bytes.len() as u64;
    Ok(stored_file(
        original,
        stored,
        (size, size),
        Digest::of(&bytes),
    ))
}

/// Why a file cannot be shared: another file system, mostly.
#[derive(Debug, thiserror::Error)]
#[error("its file system cannot share it with the store's ({0})")]
pub(crate) struct Unshared(io::Error);

/// Gives an original a place in `staging` without copying it, and hashes it.
pub(crate) fn share(
    original: &Original,
    staging: &Path,
    stored: &str,
    view: &mut View,
) -> anyhow::Result<Result<StoredFile, Unshared>> {
    make_private_dir(staging)?;
    let path = staging.join(stored);
    // A link of the Hub's cache leads to the file itself.
    let from = fs::canonicalize(&original.path)
        .with_context(|| format!("cannot open {}", original.path.display()))?;
    hob_fetch::remove_if_there(&path)?;
    if let Err(e) = clone(&from, &path).or_else(|_| {
        hob_fetch::remove_if_there(&path).map_err(io::Error::other)?;
        fs::hard_link(&from, &path)
    }) {
        return Ok(Err(Unshared(e)));
    }
    let (size, sha256) = hash(&path, view)?;
    if let Some(expected) = original.expect.filter(|expected| *expected != sha256) {
        bail!(
            "{} has SHA-256 {sha256}, and {expected} is expected; it is damaged or another file, and \
             was not imported",
            from.display()
        );
    }
    let mut stored = stored_file(original, stored, (size, size), sha256);
    stored.shared_with = Some(from.to_string_lossy().into_owned());
    Ok(Ok(stored))
}

/// A copy that shares its bytes until one of the two is written.
#[cfg(target_os = "linux")]
fn clone(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let out = File::create_new(to)?;
    Ok(rustix::fs::ioctl_ficlone(&out, &source)?)
}

#[cfg(not(target_os = "linux"))]
fn clone(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Length and SHA-256 of a file.
pub(crate) fn hash(path: &Path, view: &mut View) -> anyhow::Result<(u64, Digest)> {
    let failed = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let total = file.metadata().with_context(failed)?.len();
    view.begin("hashing", Some(total), 0);
    let watch = view.watch();
    let found = hob_fetch::hash_file(&mut file, &mut |done| watch.at(done)).with_context(failed)?;
    view.end();
    Ok(found)
}

/// Copies with progress. The system clones what it can.
fn copy(from: &Path, to: &Path, total: u64, view: &mut View) -> anyhow::Result<()> {
    const PIECE: u64 = 64 << 20;
    let dir = to.parent().unwrap_or(Path::new("."));
    need_space(dir, total)?;
    let mut source = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
    hob_fetch::remove_if_there(to)?;
    let mut out = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    view.begin("copying", Some(total), 0);
    let (watch, mut done) = (view.watch(), 0);
    loop {
        let n = io::copy(&mut (&mut source).take(PIECE), &mut out)
            .map_err(|e| write_error(to, total.saturating_sub(done), e))?;
        if n == 0 {
            break;
        }
        done += n;
        watch.at(done);
    }
    view.end();
    Ok(())
}

fn stored_file(
    original: &Original,
    stored: &str,
    (stored_size, size): (u64, u64),
    sha256: Digest,
) -> StoredFile {
    StoredFile {
        file: stored.to_owned(),
        stored_size,
        original: original.name.clone(),
        size,
        sha256: sha256.to_string(),
        shared_with: None,
    }
}
