//! Bundles: stored models in one file, for a machine without a network.
//!
//! A bundle is a tar archive (POSIX ustar; sizes from 8 GiB on as GNU tar writes them) of
//!
//! ```text
//! hob-bundle.json      the index: the models, with the names, sizes and SHA-256 of their files
//! files/SHA256         each file as it was at its source, once, in the order of the index
//! ```
//! so `tar xf` and `sha256sum` are enough to look into one. Nothing in it depends on time, user or machine:
//! the same models make the same bytes. The index names every other byte by its hash, so whoever knows the
//! index's SHA-256 knows the whole bundle; two people compare it over another channel.
//!
//! A reader takes a bundle as hostile input. It computes from the index where each file must lie and what
//! its header must be, and refuses what is not exactly that: no name in the archive is ever used as a path,
//! and no size is believed that the length of the bundle does not bear out.

mod index;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use index::BundledModel;
pub(crate) use read::Bundle;
pub(crate) use write::{Written, write};

use std::io;

/// Unit of a tar archive, in bytes.
const BLOCK: u64 = 512;
/// Zero blocks that end a tar archive, in bytes.
const END: u64 = 2 * BLOCK;
/// Name of the first entry.
const INDEX: &str = "hob-bundle.json";

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("it is no bundle of hob: {0}")]
    NoBundle(&'static str),
    #[error("its version is {found}, and this hob reads version 1: use a newer hob")]
    Version { found: u64 },
    #[error(
        "its index has SHA-256 {found}, and {expected} is expected: it is another bundle, or was changed"
    )]
    OtherIndex { found: String, expected: String },
    #[error("its index is refused: {0}")]
    Index(String),
    #[error(
        "it has {found} bytes, and its index tells of {expected}: it was cut short or added to; copy it again"
    )]
    Length { found: u64, expected: u64 },
    #[error("at byte {at} is not what its index tells of; copy it again")]
    Layout { at: u64 },
    #[error(
        "its file {file} of {model} is damaged (SHA-256 {found}, and {expected} is pinned); copy it again"
    )]
    Damaged {
        model: String,
        file: String,
        found: String,
        expected: String,
    },
    #[error("stopped")]
    Stopped,
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("cannot write what it holds")]
    Write(#[source] io::Error),
}

/// The name of a file's entry.
fn entry_name(sha256: &str) -> String {
    format!("files/{sha256}")
}

/// The header of an entry: a regular file of these bytes, of nobody, from 1970.
fn header(name: &str, size: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// Zeros after an entry of `size` bytes.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

/// Bytes of an entry with header and padding; `None` if there is no such number.
fn entry_bytes(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK)?.checked_add(BLOCK)
}
