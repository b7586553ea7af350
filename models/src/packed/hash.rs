//! The original inside a model file, and its SHA-256, from the very map that a model is run from. An open
//! file enters; its original's bytes leave as a stream, and their hash.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::{Watch, unpack_to};
use crate::error::{Error, Result};
use crate::files::{Kind, ModelFile};

/// Bytes that are hashed while the next ones are read in.
const CHUNK_BYTES: usize = 4 << 20;

/// SHA-256 of the original of `file`: of its bytes as they are, or unpacked if it is packed. SHA-256 goes
/// through a file in order, so one file keeps one core busy with hashing; another one (of the rayon pool
/// that this is called in) reads, or unpacks, what comes next.
///
/// # Errors
/// A packed file is malformed, or its preamble records another hash ([`Error::Damaged`]); the file was
/// changed meanwhile ([`Error::Changed`]); the watcher stopped it ([`Error::Cancelled`]).
pub fn original_sha256(file: &ModelFile, watch: &dyn Watch) -> Result<[u8; 32]> {
    original_to(file, &mut io::sink(), watch)
}

/// Streams the original of `file` to `out`, exactly, and returns its SHA-256 as [`original_sha256`] does.
///
/// # Errors
/// As [`original_sha256`], after everything was written; and [`Error::Io`] if it cannot be written.
pub fn original_to(
    file: &ModelFile,
    out: &mut (dyn Write + Send),
    watch: &dyn Watch,
) -> Result<[u8; 32]> {
    let found = match file.kind {
        Kind::Packed => unpack_to(file, out, watch),
        Kind::Gguf | Kind::Safetensors => as_it_is(file, out, watch),
    };
    // First: what else went wrong may be its consequence.
    file.check_unchanged()?;
    found
}

fn as_it_is(file: &ModelFile, out: &mut (dyn Write + Send), watch: &dyn Watch) -> Result<[u8; 32]> {
    let total = file.bytes.len();
    let mut hasher = Sha256::new();
    let mut at = 0;
    file.populate(0..CHUNK_BYTES.min(total));
    while at < total {
        if watch.cancelled() {
            return Err(Error::Cancelled);
        }
        let end = total.min(at + CHUNK_BYTES);
        let next = total.min(end + CHUNK_BYTES);
        // Within the file: `end` is at most its length.
        let Some(chunk) = file.bytes.slice(at..end) else {
            break;
        };
        let put = || {
            hasher.update(&*chunk);
            out.write_all(&chunk)
        };
        let (put, ()) = rayon::join(put, || file.populate(end..next));
        put.map_err(|e| Error::io(&file.path, "write the original of", e))?;
        // What was read stays in the page cache; only this process need not count it as its own.
        chunk.release();
        at = end;
        watch.progress(at as u64, total as u64);
    }
    Ok(hasher.finalize().into())
}
