//! The cache of packed files for models outside of the store. An opened model and a directory enter; the
//! same model, its parts replaced by their packed forms, leaves. No gigabyte is hashed: the key is what the
//! system says of the file, and a hash of its first mebibyte.

use std::path::{Path, PathBuf};

use hob_kernels::pack::LAYOUT_VERSION;
use sha2::{Digest, Sha256};

use super::write::{open, pack_file};
use super::{CONTAINER_VERSION, PackOptions, Watch};
use crate::error::{Error, Result, hex};
use crate::files::{Kind, ModelFile, ModelFiles};

/// Bytes at the start of a file that are part of its key.
const HEADER_BYTES: usize = 1 << 20;

/// The name of the packed form of `file` in a cache; `None` for files that have none: those that are packed
/// already, or not mapped.
fn entry(file: &ModelFile, dir: &Path) -> Option<PathBuf> {
    let id = file.id().filter(|_| file.kind != Kind::Packed)?;
    let mut key = Sha256::new();
    key.update(CONTAINER_VERSION.to_le_bytes());
    key.update(LAYOUT_VERSION.to_le_bytes());
    for n in [id.file.0, id.file.1, id.size] {
        key.update(n.to_le_bytes());
    }
    for n in [id.mtime.0, id.mtime.1, id.ctime.0, id.ctime.1] {
        key.update(n.to_le_bytes());
    }
    key.update(Sha256::digest(
        file.bytes.get(..HEADER_BYTES).unwrap_or(&file.bytes),
    ));
    Some(dir.join(format!(
        "{}.hob",
        hex(key.finalize().get(..20).unwrap_or(&[]))
    )))
}

/// The model with those parts replaced whose packed form is in the cache. Only opens; parses nothing.
pub fn cache_lookup(files: ModelFiles, dir: &Path) -> Result<ModelFiles> {
    replace(files, dir, |_, packed| {
        if packed.exists() {
            open(packed).map(Some)
        } else {
            Ok(None)
        }
    })
}

/// The model with all parts replaced by their packed forms, which are made if they are not in the cache.
pub fn cached(files: ModelFiles, dir: &Path, watch: &dyn Watch) -> Result<ModelFiles> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|e| Error::io(dir, "create", e))?;
    replace(files, dir, |file, packed| {
        // One that does not open (another version's, or damaged) is replaced.
        if let Ok(found) = open(packed)
            && super::Preamble::read(packed, &found.bytes).is_ok()
        {
            return Ok(Some(found));
        }
        pack_file(file, packed, PackOptions::default(), watch)?;
        open(packed).map(Some)
    })
}

fn replace(
    mut files: ModelFiles,
    dir: &Path,
    mut find: impl FnMut(&ModelFile, &Path) -> Result<Option<ModelFile>>,
) -> Result<ModelFiles> {
    for part in &mut files.parts {
        let Some(name) = entry(part, dir) else {
            continue;
        };
        if let Some(mut packed) = find(part, &name)? {
            // The shard keeps its name: an index of shards speaks of it.
            packed.path = part.path.clone();
            *part = packed;
        }
    }
    Ok(files)
}
