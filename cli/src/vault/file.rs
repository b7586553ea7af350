//! A vault's file: unlocked, read from its first record to its last, and added to.
//!
//! ```text
//! 0     header, two copies      (header)
//! 8192  head, two in turn       (head)
//! 9216  records, one after another to the end of the file      (record)
//! ```
//! An addition writes the record and syncs it, then writes the older of the heads and syncs that: a process killed
//! or a power cut at any moment leaves a file whose newest whole head vouches for all records but at most
//! one, and at most one record begun. So, opening: the chain of records must reach what the head vouches for,
//! and may go on by one record, which is kept; what else follows is dropped, and that is said.

use super::VaultError;
use super::anchor::Anchor;
use super::entry::{ConversationId, Entry};
use super::error::io_error;
use super::head::{HEAD, Head};
use super::header::{Fault, HEADER, Header, Master, Slot};
use super::kdf::{Cost, derive};
use super::place::{Access, Closed, VaultName, Vaults};
use super::record::{Chain, Next, ReadError};
use super::seal::{Keys, VaultId};
use super::secret::{Key, random};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the heads are, and where records begin.
const HEADS: u64 = 2 * HEADER as u64;
const RECORDS: u64 = HEADS + 2 * HEAD as u64;

/// An unlocked vault. Dropped, it is closed, and others may open it.
pub(crate) struct Vault {
    pub(super) vaults: Vaults,
    pub(super) name: VaultName,
    pub(super) file: File,
    /// For messages.
    path: PathBuf,
    pub(super) id: VaultId,
    keys: Keys,
    chain: Chain,
    /// Where the next record goes.
    end: u64,
    /// The newest head, and in which of the two places.
    pub(super) head: Head,
    place: usize,
    pub(super) anchor: Option<Anchor>,
    /// A head could not be written: nobody knows what the disk has.
    stopped: bool,
}

/// What was found when a vault was opened.
pub(crate) struct Opened {
    pub(crate) vault: Vault,
    pub(crate) master: Master,
    /// When it was written last, in seconds since 1970 (UTC).
    pub(crate) time: u64,
    pub(crate) records: u64,
    pub(crate) findings: Vec<Finding>,
}

/// Something about a vault that its user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// So many bytes after the last record were no record.
    TornTail { bytes: u64 },
    /// One copy of the header is damaged.
    Header,
    /// One of the heads is damaged.
    Head,
    /// There is a header of another passphrase beside the one that opened.
    TwoPassphrases,
    /// The anchor was not there, and was made.
    NewAnchor,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::TornTail { bytes } => write!(
                f,
                "the last record was not finished ({bytes} bytes): it is dropped, and all records before it are whole"
            ),
            Finding::Header => f.write_str(
                "one of the two copies of the header was damaged, and the other one opened; writing to the vault repairs it",
            ),
            Finding::Head => f.write_str(
                "one of the two heads was damaged: if it was the newer one, the file may lack its very last record; writing \
                 to the vault repairs it",
            ),
            Finding::TwoPassphrases => f.write_str(
                "a change of the passphrase was not finished, and the other passphrase may still open this vault: \
                 `hob vault passwd` finishes it",
            ),
            Finding::NewAnchor => f.write_str(
                "the anchor was not there and is made now: from here on an older copy of the vault is noticed",
            ),
        }
    }
}

impl Closed {
    pub(crate) fn name(&self) -> &VaultName {
        &self.name
    }

    /// Deletes the vault.
    pub(crate) fn delete(self) -> Result<(), VaultError> {
        self.vaults.delete(&self.name)
    }

    /// Tries a passphrase.
    pub(crate) fn unlock(&self, passphrase: &[u8]) -> Result<Master, VaultError> {
        let path = self.vaults.path(&self.name);
        let (slots, _) = read_slots(&self.file).map_err(io_error("read", &path))?;
        try_passphrase(&slots.map(|slot| Header::read(&slot)), passphrase)
    }

    /// Reads and checks everything, and hands over all entries in order. What was handed over counts only if
    /// this succeeds. A vault that is opened for writing is repaired where that loses nothing.
    pub(crate) fn read(
        self,
        master: Master,
        anchor: Option<&Path>,
        take: &mut dyn FnMut(ConversationId, Entry),
    ) -> Result<Opened, VaultError> {
        let (opened, damage) = self.read_as_far_as_possible(master, anchor, take)?;
        match damage {
            Some(damage) => Err(damage),
            None => Ok(opened),
        }
    }

    /// Reads what can be read of a vault that [`Closed::read`] refuses: all records before the first one that is
    /// not as it was written. Gives why that one is refused.
    pub(crate) fn salvage(
        self,
        master: Master,
        take: &mut dyn FnMut(ConversationId, Entry),
    ) -> Result<(Opened, Option<VaultError>), VaultError> {
        let read_only = Closed {
            access: Access::Read,
            ..self
        };
        read_only.read_as_far_as_possible(master, None, take)
    }

    fn read_as_far_as_possible(
        self,
        master: Master,
        anchor: Option<&Path>,
        take: &mut dyn FnMut(ConversationId, Entry),
    ) -> Result<(Opened, Option<VaultError>), VaultError> {
        let path = self.vaults.path(&self.name);
        let (slots, heads) = read_slots(&self.file).map_err(io_error("read", &path))?;
        let headers = slots.map(|slot| Header::read(&slot));
        let id = master.header.id;
        let mut findings = Vec::new();
        let is_same = |h: &Result<Header, Fault>| match h {
            Ok(header) => header.slot() == master.header.slot(),
            Err(_) => false,
        };
        if headers.iter().any(Result::is_err) {
            findings.push(Finding::Header);
        }
        let is_older = |h: &Header| h.epoch < master.header.epoch || is_same(&Ok(h.clone()));
        let is_read_only = self.access == Access::Read;
        let is_other = |h: &Header| !is_older(h) || (is_read_only && !is_same(&Ok(h.clone())));
        if headers.iter().flatten().any(is_other) {
            findings.push(Finding::TwoPassphrases);
        }

        let keys = Keys::new(&master.dek, &id)?;
        let opened = heads.map(|slot| Head::open(&slot, &keys.head, &id));
        let newest = opened
            .iter()
            .enumerate()
            .filter_map(|(i, h)| Some((i, (*h)?)));
        let newest = newest.max_by_key(|(_, head)| head.generation);
        let (place, head) = match newest {
            Some((place, head)) => (place, Some(head)),
            None => (0, None),
        };
        if opened.iter().any(Option::is_none) {
            findings.push(Finding::Head);
        }

        let vouched = head.as_ref();
        let (chain, end, len, damage) = walk(&self.file, &path, &keys.record, id, vouched, take)?;
        let head = head.unwrap_or(Head {
            records: chain.records,
            last_tag: chain.last_tag,
            generation: 0,
            time: 0,
        });
        if len > end && damage.is_none() {
            findings.push(Finding::TornTail { bytes: len - end });
        }
        let anchor = match anchor {
            Some(path) if damage.is_none() => {
                let (anchor, made) = Anchor::check(path, &id, &head)?;
                findings.extend(made.then_some(Finding::NewAnchor));
                Some(anchor)
            }
            _ => None,
        };
        let mut vault = Vault {
            vaults: self.vaults,
            name: self.name,
            file: self.file,
            path,
            id,
            keys,
            chain,
            end,
            head,
            place,
            anchor,
            stopped: false,
        };
        if !is_read_only && damage.is_none() {
            for (i, header) in headers.iter().enumerate() {
                let is_foreign = matches!(header, Ok(h) if !is_older(h));
                if !is_same(header) && !is_foreign {
                    vault.write_header(i, master.header.slot())?;
                }
            }
            if len > end {
                let cut = vault.file.set_len(end).and_then(|()| vault.file.sync_all());
                cut.map_err(io_error("shorten", &vault.path))?;
            }
            if chain.records > head.records || findings.contains(&Finding::Head) {
                // It is not known when the record was written, but that it was not before this.
                vault.write_head(chain, head.time)?;
            }
        }
        let opened = Opened {
            time: head.time,
            records: chain.records,
            vault,
            master,
            findings,
        };
        Ok((opened, damage))
    }
}

impl Vault {
    /// Makes a vault; nothing of it is seen before it is whole.
    pub(crate) fn create(
        vaults: Vaults,
        name: &VaultName,
        passphrase: &[u8],
        cost: Cost,
    ) -> Result<(Vault, Master), VaultError> {
        if passphrase.is_empty() {
            return Err(VaultError::EmptyPassphrase);
        }
        let salt = random()?;
        let kek = derive(passphrase, &salt, cost)?;
        let dek = Key::random()?;
        let header = Header::wrap(random()?, 0, cost, salt, &kek, &dek)?;
        let lock = vaults.lock()?;
        if vaults.has(name)? {
            return Err(VaultError::Exists(name.as_str().to_owned()));
        }
        let mut vault = Vault::begin(vaults, name, &header, &dek, 0)?;
        vault.finish(now())?;
        vault.vaults.publish(name, false)?;
        drop(lock);
        Ok((vault, Master { dek, kek, header }))
    }

    /// Begins a file to take the name's place, with a header and no heads. The folder must be locked.
    pub(super) fn begin(
        vaults: Vaults,
        name: &VaultName,
        header: &Header,
        dek: &Key,
        generation: u64,
    ) -> Result<Vault, VaultError> {
        let file = vaults.begin(name)?;
        let path = vaults.path(name);
        let chain = Chain::new(header.id);
        let vault = Vault {
            vaults,
            name: name.clone(),
            file,
            path,
            id: header.id,
            keys: Keys::new(dek, &header.id)?,
            chain,
            end: RECORDS,
            head: Head {
                records: 0,
                last_tag: chain.last_tag,
                generation,
                time: 0,
            },
            place: 0,
            anchor: None,
            stopped: false,
        };
        for i in 0..2 {
            vault.write_header(i, header.slot())?;
        }
        Ok(vault)
    }

    /// Adds a record to a file of [`Vault::begin`], without a head and without waiting for the disk.
    pub(super) fn put(
        &mut self,
        conversation: ConversationId,
        entry: &Entry,
    ) -> Result<(), VaultError> {
        let (record, chain) = self.chain.seal(&self.keys.record, conversation, entry)?;
        write_at(&self.file, self.end, &record).map_err(io_error("write to", &self.path))?;
        self.end += record.len() as u64;
        self.chain = chain;
        Ok(())
    }

    /// Gives a file of [`Vault::begin`] its heads, and syncs it as a whole.
    pub(super) fn finish(&mut self, time: u64) -> Result<(), VaultError> {
        self.write_head(self.chain, time)?;
        self.write_head(self.chain, time)?;
        self.file.sync_all().map_err(io_error("sync", &self.path))
    }

    /// Adds a record. When this returns, it is on the disk. After an error it may be there or not; the
    /// next one takes its place unless [`Vault::records`] has grown.
    pub(crate) fn append(
        &mut self,
        conversation: ConversationId,
        entry: &Entry,
    ) -> Result<(), VaultError> {
        if self.stopped {
            return Err(VaultError::Stopped);
        }
        let (record, chain) = self.chain.seal(&self.keys.record, conversation, entry)?;
        write_at(&self.file, self.end, &record)
            .and_then(|()| self.file.sync_data())
            .map_err(io_error("write to", &self.path))?;
        // If this fails, the disk may have a head that vouches for this very record.
        self.stopped = true;
        self.write_head(chain, now())?;
        self.stopped = false;
        self.chain = chain;
        self.end += record.len() as u64;
        match &self.anchor {
            Some(anchor) => anchor.update(&self.id, &self.head),
            None => Ok(()),
        }
    }

    /// Has an anchor remember this vault, which was not opened with one. Gives whether the anchor was made.
    pub(crate) fn set_anchor(&mut self, path: &Path) -> Result<bool, VaultError> {
        let (anchor, made) = Anchor::check(path, &self.id, &self.head)?;
        self.anchor = Some(anchor);
        Ok(made)
    }

    /// Records in the vault.
    pub(crate) fn records(&self) -> u64 {
        self.chain.records
    }

    pub(crate) fn name(&self) -> &VaultName {
        &self.name
    }

    /// Writes a head into the place of the older one.
    fn write_head(&mut self, chain: Chain, time: u64) -> Result<(), VaultError> {
        let head = Head {
            records: chain.records,
            last_tag: chain.last_tag,
            generation: self.head.generation + 1,
            time,
        };
        let place = 1 - self.place;
        let slot = head.seal(&self.keys.head, &self.id)?;
        write_at(&self.file, HEADS + (place * HEAD) as u64, &slot)
            .and_then(|()| self.file.sync_data())
            .map_err(io_error("write to", &self.path))?;
        (self.head, self.place) = (head, place);
        Ok(())
    }

    /// Writes a copy of a header, and syncs it.
    pub(super) fn write_header(&self, i: usize, slot: &Slot) -> Result<(), VaultError> {
        write_at(&self.file, (i * HEADER) as u64, slot)
            .and_then(|()| self.file.sync_data())
            .map_err(io_error("write to", &self.path))
    }

    /// Which copy of the header is this one.
    pub(super) fn place_of(&self, header: &Header) -> Result<usize, VaultError> {
        let (slots, _) = read_slots(&self.file).map_err(io_error("read", &self.path))?;
        Ok(usize::from(slots[0] != *header.slot()))
    }
}

/// The copies of the header and the heads, as they lie in the file; zeros beyond its end.
fn read_slots(file: &File) -> io::Result<([Slot; 2], [[u8; HEAD]; 2])> {
    let mut bytes = Vec::with_capacity(RECORDS as usize);
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    file.take(RECORDS).read_to_end(&mut bytes)?;
    bytes.resize(RECORDS as usize, 0);
    let mut slots = ([[0; HEADER]; 2], [[0; HEAD]; 2]);
    let mut rest = &bytes[..];
    let all = slots.0.iter_mut().map(|slot| &mut slot[..]);
    for slot in all.chain(slots.1.iter_mut().map(|slot| &mut slot[..])) {
        rest.read_exact(slot)?;
    }
    Ok(slots)
}

/// The header that the passphrase opens, the newer one first.
fn try_passphrase(
    headers: &[Result<Header, Fault>; 2],
    passphrase: &[u8],
) -> Result<Master, VaultError> {
    let mut candidates: Vec<&Header> = headers.iter().flatten().collect();
    candidates.sort_by_key(|header| std::cmp::Reverse(header.epoch));
    candidates.dedup_by(|a, b| a.slot() == b.slot());
    if candidates.is_empty() {
        let faults = headers.each_ref().map(|h| h.as_ref().err().copied());
        return Err(match faults {
            [Some(Fault::Foreign), Some(Fault::Foreign)] => VaultError::NotAVault,
            [Some(Fault::Version(n)), Some(Fault::Version(_))] => VaultError::Version(n),
            _ => VaultError::HeadersDamaged,
        });
    }
    let mut refused = VaultError::WrongPassphrase;
    for header in candidates {
        match header.unwrap(passphrase) {
            Ok(Some(master)) => return Ok(master),
            Ok(None) => {}
            Err(e) => refused = e,
        }
    }
    Err(refused)
}

/// Reads all records, which must be those that the head vouches for, and at most one more. Gives the
/// chain, where it ends, the length of the file, and what is wrong, if anything is.
fn walk(
    file: &File,
    path: &Path,
    key: &Key,
    id: VaultId,
    head: Option<&Head>,
    take: &mut dyn FnMut(ConversationId, Entry),
) -> Result<(Chain, u64, u64, Option<VaultError>), VaultError> {
    let failed = |e| io_error("read", path)(e);
    let len = length(file).map_err(failed)?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    reader.seek(SeekFrom::Start(RECORDS)).map_err(failed)?;
    let (mut chain, mut end) = (Chain::new(id), RECORDS);
    let of = head.map_or(u64::MAX, |head| head.records);
    let mut damage = None;
    loop {
        let before = chain;
        let record = before.records + 1;
        let next = chain.next(key, &mut reader, len.saturating_sub(end));
        match next.map_err(|e| match e {
            ReadError::Disk(e) => failed(e),
            ReadError::Record(e) => e,
        })? {
            // Another record than the one that the head has seen.
            Next::Record { .. }
                if head.is_some_and(|h| record == of && chain.last_tag != h.last_tag) =>
            {
                damage = Some(VaultError::Tampered { record, of });
            }
            Next::Record { .. } if record > of.saturating_add(1) => {
                damage = Some(VaultError::OldHead { of });
            }
            Next::Record {
                conversation,
                entry,
                size,
            } => {
                end += size;
                take(conversation, entry);
                continue;
            }
            Next::Short if record <= of => {
                let found = record - 1;
                damage = Some(VaultError::Truncated { found, of });
            }
            Next::Wrong if record <= of => damage = Some(VaultError::Tampered { record, of }),
            Next::Short | Next::Wrong => {}
        }
        if head.is_none() {
            damage = Some(VaultError::HeadsDamaged);
        }
        return Ok((before, end, len.max(end), damage));
    }
}

/// Bytes in a file. By `lseek`: a confined process is not left with `statx`, which takes paths.
fn length(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Overwrites the headers and heads of a file, as far as it has them.
pub(super) fn wipe(file: &File) -> io::Result<()> {
    let len = length(file)?.min(RECORDS);
    write_at(file, 0, &vec![0; len as usize])?;
    file.sync_all()
}

/// By `lseek` and `write`, which a confined process is left with.
fn write_at(mut file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

/// Seconds since 1970 (UTC).
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
