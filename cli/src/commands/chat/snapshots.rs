//! When a kept conversation's keys and values are written beside its vault, and what is made of them when
//! the conversation is gone on with. They are written behind the user's back, while the next message is
//! typed, and seldom: each time all of them are. Without them a conversation is read again, no more.

use crate::vault::{Slot, Slots, SnapshotError, SnapshotRef};
use hob::{Engine, Session, SessionOptions};
use std::thread::{self, JoinHandle};

/// In the course of a conversation, a snapshot is due when so many tokens are new, and half as many as the
/// last one has: so what is written over all is at most three times the last one, and a killed process
/// leaves at most a third to be read again.
const DUE_AFTER: usize = 512;
/// At its end, if so many are new.
const DUE_AT_END: usize = 64;

/// A snapshot that was written, and its file; or why it was not.
pub(super) type Written = (Slot, Result<SnapshotRef, SnapshotError>);

/// The snapshots of the conversation at hand.
#[derive(Default)]
pub(super) struct Snapshots {
    slots: Slots,
    /// So many of the session's first tokens are in the last snapshot.
    have: usize,
    /// A snapshot that is being written, and how many of the session's first tokens it will have.
    writing: Option<(JoinHandle<Written>, usize)>,
    /// None are written (any more).
    off: bool,
}

impl Snapshots {
    pub(super) fn new(slots: Slots) -> Snapshots {
        Snapshots {
            slots,
            ..Snapshots::default()
        }
    }

    /// Neither reads nor writes any.
    pub(super) fn none() -> Snapshots {
        Snapshots {
            off: true,
            ..Snapshots::default()
        }
    }

    /// The session as it was when this snapshot was written; `None` if there are to be none.
    pub(super) fn read(
        &mut self,
        at: &SnapshotRef,
        engine: &Engine,
        options: SessionOptions,
    ) -> Option<Result<Session, SnapshotError>> {
        if self.off {
            return None;
        }
        let session = self.slots.read(at, engine, options);
        self.have = session.as_ref().map_or(0, |s| s.tokens().len());
        Some(session)
    }

    /// All but so many of the session's first tokens are no longer what they were.
    pub(super) fn only_first(&mut self, tokens: usize) {
        self.have = self.have.min(tokens);
        if let Some((_, first)) = &mut self.writing {
            *first = (*first).min(tokens);
        }
    }

    /// Begins to write a snapshot, if one is due.
    pub(super) fn answered(&mut self, session: &Session) {
        let tokens = session.tokens().len();
        let due = tokens.saturating_sub(self.have) >= DUE_AFTER.max(self.have / 2);
        if !due || self.off || self.writing.is_some() {
            return;
        }
        let session = session.fork();
        // A fork without memory is empty.
        if session.tokens().len() < tokens {
            return;
        }
        let Some(mut slot) = self.slots.take() else {
            return;
        };
        let work = move || {
            let written = slot.write(&session);
            (slot, written)
        };
        // Without a thread there is no snapshot, and one file less.
        let thread = thread::Builder::new().name("snapshot".to_owned());
        self.writing = thread.spawn(work).ok().map(|thread| (thread, tokens));
    }

    /// A snapshot that was being written and is finished, if there is one; else waits for it, or not.
    pub(super) fn finished(&mut self, wait: bool) -> Option<(Written, usize)> {
        if !wait && !self.writing.as_ref()?.0.is_finished() {
            return None;
        }
        let (thread, tokens) = self.writing.take()?;
        // If it panicked, its file is lost.
        Some((thread.join().ok()?, tokens))
    }

    /// Writes a last snapshot, if that is worth it.
    pub(super) fn last(&mut self, session: &Session) -> Option<(Written, usize)> {
        let tokens = session.tokens().len();
        if self.off || tokens.saturating_sub(self.have) < DUE_AT_END {
            return None;
        }
        let mut slot = self.slots.take()?;
        let written = slot.write(session);
        Some(((slot, written), tokens))
    }

    /// The vault has a record of it.
    pub(super) fn recorded(&mut self, slot: Slot, tokens: usize) {
        self.slots.recorded(slot);
        self.have = tokens;
    }

    /// It could not be written, or not recorded; so no more are tried.
    pub(super) fn failed(&mut self, slot: Slot) {
        self.slots.give_back(slot);
        self.off = true;
    }

    /// What follows is another conversation.
    pub(super) fn another_conversation(&mut self) {
        self.slots.another_conversation();
        self.have = 0;
    }
}
