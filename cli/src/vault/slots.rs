//! The files that a process reads and writes snapshots in, opened while it may still open files. Each
//! snapshot is written into a spare one; when the vault has a record of it, the file that the conversation
//! had before is emptied, and is spare from then on. So at any moment the newest record has its whole file.
//!
//! Snapshots only save time: their files are deleted as soon as nobody may need them, and those of
//! conversations that were not gone on with for long are, too.

use super::entry::{SnapshotId, SnapshotRef};
use super::file::Vault;
use super::place::{Access, snapshot_name};
use super::secret::random;
use super::snapshot::{self, SnapshotError};
use super::{History, VaultError};
use hob::{Engine, Session, SessionOptions};
use std::fs::File;
use std::io;

/// So many conversations of a vault have a snapshot besides the one at hand: those written to last.
const MOST_OTHERS: usize = 3;
/// New files at a start: two for one conversation, the others for those begun after it (`/reset`).
const SPARE: usize = 4;

/// An open file for a snapshot.
pub(crate) struct Slot {
    id: SnapshotId,
    file: File,
}

impl Slot {
    /// Writes a session into the file, and returns when it is on the disk.
    pub(crate) fn write(&mut self, session: &Session) -> Result<SnapshotRef, SnapshotError> {
        snapshot::write(session, self.id, &mut self.file)
    }
}

/// The open files of one process, for one conversation at a time.
#[derive(Default)]
pub(crate) struct Slots {
    /// What the conversation's newest record speaks of.
    current: Option<Slot>,
    spare: Vec<Slot>,
}

impl Vault {
    /// Opens the files for a conversation with this snapshot, and deletes those that are of no use any
    /// more; `others` are the vault's other conversations.
    pub(crate) fn slots(
        &self,
        current: Option<&SnapshotRef>,
        others: &History,
    ) -> Result<Slots, VaultError> {
        let current = current.map(|at| at.id);
        let others = others.newest_snapshots().take(MOST_OTHERS);
        let kept: Vec<_> = current.into_iter().chain(others).collect();
        self.vaults.keep_snapshots(&self.name, &kept)?;
        let open = |id: SnapshotId, access| {
            let file = self.vaults.file(&snapshot_name(&self.name, &id), access)?;
            Ok(Slot { id, file })
        };
        let current = match current.map(|id| open(id, Access::Write)) {
            Some(Ok(slot)) => Some(slot),
            None => None,
            Some(Err(VaultError::Io { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                None
            }
            Some(Err(e)) => return Err(e),
        };
        let spare = (0..SPARE).map(|_| open(random()?, Access::New));
        Ok(Slots {
            current,
            spare: spare.collect::<Result<_, _>>()?,
        })
    }
}

impl Slots {
    /// Makes a session of a snapshot of the conversation at hand.
    pub(crate) fn read(
        &self,
        at: &SnapshotRef,
        engine: &Engine,
        options: SessionOptions,
    ) -> Result<Session, SnapshotError> {
        let slot = self.current.as_ref().filter(|slot| slot.id == at.id);
        let slot = slot.ok_or(SnapshotError::Missing)?;
        snapshot::read(at, &slot.file, engine, options)
    }

    /// A file for the next snapshot.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        self.spare.pop()
    }

    /// The vault has a record of what was written into this file.
    pub(crate) fn recorded(&mut self, slot: Slot) {
        let before = self.current.replace(slot);
        before.into_iter().for_each(|slot| self.give_back(slot));
    }

    /// What is in this file is of no use.
    pub(crate) fn give_back(&mut self, slot: Slot) {
        // Without its key it is noise already, and it will be overwritten.
        let _ = slot.file.set_len(0);
        self.spare.push(slot);
    }

    /// What follows is another conversation, which has no snapshot yet.
    pub(crate) fn another_conversation(&mut self) {
        let before = self.current.take();
        // With two files left the one before keeps its snapshot.
        if self.spare.len() < 2 {
            before.into_iter().for_each(|slot| self.give_back(slot));
        }
    }
}
