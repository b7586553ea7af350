//! Fetches one pinned model file from the first mirror that answers.
//!
//! In goes a [`ModelRequest`] (file name, exact size, SHA-256, mirrors) and a folder; out comes the
//! path of a file in that folder whose every byte was hashed. No mirror is trusted: the hash
//! decides. A download that is cut is resumed, in this process and in the next one; a file that
//! is not the pinned one is deleted, and the next mirror is asked.
//!
//! This is the only crate of hob that opens connections. It serves `hob pull` alone, in a process
//! that never holds a prompt, and it must not know what a prompt, a token or a model is.

#![forbid(unsafe_code)]

mod client;
mod deliver;
mod digest;
mod disk;
mod download;
mod environment;
mod error;
mod hub;
mod partial;
mod pip;
mod progress;
mod race;
mod remote;
mod request;
mod wheel;

pub use client::{broken_proxy, proxy_in_use};
pub use deliver::{Fetched, fetch, fetch_with};
pub use digest::Digest;
pub use disk::{
    FolderLock, free_bytes, make_private_dir, need_space, publish, remove_if_there, sync_dir,
    write_error,
};
pub use environment::{clean_environment, is_kept};
pub use error::{FetchError, MirrorError};
pub use hub::{HubFile, HubListing, list, list_with};
pub use partial::hash_file;
pub use pip::version as pip_version;
pub use progress::{Event, Progress, Silent};
pub use request::{Mirror, ModelRequest, Pin, Policy};
