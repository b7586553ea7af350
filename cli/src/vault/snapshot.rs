//! A session's keys and values in a sealed file beside its vault, so that a long conversation is gone on
//! with and not read again. A session and a file enter and a [`SnapshotRef`] leaves, for a record of the
//! vault; the other way round, a session leaves that has the bits of one that read the tokens.
//!
//! ```text
//! chunk 0 | chunk 1 | ...          each: nonce 24 | sealed text of 1 MiB | tag 16
//! text: the session's state (hob::Session::save), and zeros up to a whole chunk
//! authenticated with each: fingerprint of model and numbers 32 | index u64 | 1 if it is the last one, else 0
//! ```
//! Every file has a random key of its own, which stands in the record and nowhere else: once that is gone,
//! the file is noise, and so is every other file than the one that was written last. Chunks are
//! authenticated before a byte of them is looked at, and the session is handed out when all of them are;
//! an index and a mark of the last make it impossible to reorder, repeat or leave out any (the STREAM
//! construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). The file's length tells that of the
//! conversation, to a chunk.

use super::VaultError;
use super::entry::{SnapshotId, SnapshotRef};
use super::seal::{self, NONCE, TAG};
use super::secret::Key;
use hob::{Engine, Session, SessionOptions, StateError};
use hob_models::mapping::FileId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use zeroize::Zeroizing;

/// Bytes of a chunk's text.
const TEXT: usize = 1 << 20;
/// Chunks are opened on at most so many threads: with more, copying to pages takes longer.
const MOST_THREADS: usize = 4;
/// Opened chunks that wait for their turn, or for being taken.
const AHEAD: usize = 4;

/// Why a snapshot was not written, or a session not made of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("its file is missing")]
    Missing,
    #[error("it is of another model, of another type of keys and values, or of another version")]
    OtherModel,
    #[error("part {chunk} of its file is not what was written: damaged, exchanged or replaced")]
    Damaged { chunk: u64 },
    #[error("its file does not have the length that was written: cut short, or replaced")]
    Length,
    #[error(transparent)]
    State(StateError),
    #[error("its file: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StateError> for SnapshotError {
    fn from(e: StateError) -> Self {
        match e {
            StateError::OtherModel => SnapshotError::OtherModel,
            // What reading and writing chunks found.
            StateError::Io(e) => match e.downcast::<SnapshotError>() {
                Ok(own) => own,
                Err(e) => SnapshotError::Io(e),
            },
            other => SnapshotError::State(other),
        }
    }
}

impl From<SnapshotError> for io::Error {
    fn from(e: SnapshotError) -> Self {
        match e {
            SnapshotError::Io(e) => e,
            other => io::Error::other(other),
        }
    }
}

/// Writes a session into a file, over what it had, and returns when it is on the disk.
pub(crate) fn write(
    session: &Session,
    id: SnapshotId,
    file: &mut File,
) -> Result<SnapshotRef, SnapshotError> {
    write_chunks(session, id, file, TEXT)
}

/// Makes a session of what [`write()`] wrote: all of it is there and authentic, or it is an error.
pub(crate) fn read(
    at: &SnapshotRef,
    file: &File,
    engine: &Engine,
    options: SessionOptions,
) -> Result<Session, SnapshotError> {
    read_chunks(at, file, engine, options, TEXT)
}

fn write_chunks(
    session: &Session,
    id: SnapshotId,
    file: &mut File,
    text: usize,
) -> Result<SnapshotRef, SnapshotError> {
    let at = SnapshotRef {
        id,
        key: Key::random()?,
        digest: *session.engine().fingerprint().as_bytes(),
        tokens: session.tokens().len() as u64,
    };
    file.rewind()?;
    let mut sealer = Sealer {
        at: &at,
        file,
        index: 0,
        chunk: Zeroizing::new(vec![0; chunk_bytes(text)]),
        filled: 0,
    };
    session.save(&mut sealer)?;
    let bytes = sealer.finish()?;
    file.set_len(bytes)?;
    file.sync_data()?;
    Ok(at)
}

/// Bytes in the file of a chunk with so much text.
const fn chunk_bytes(text: usize) -> usize {
    NONCE + text + TAG
}

/// What is authenticated with a chunk.
fn context(at: &SnapshotRef, index: u64, last: bool) -> [u8; 41] {
    let mut context = [0; 41];
    let (digest, rest) = context.split_at_mut(32);
    digest.copy_from_slice(&at.digest);
    let (number, mark) = rest.split_at_mut(8);
    number.copy_from_slice(&index.to_le_bytes());
    mark.fill(u8::from(last));
    context
}

/// Gathers what is written to it into chunks, and seals and writes them.
struct Sealer<'a> {
    at: &'a SnapshotRef,
    file: &'a mut File,
    /// Of the chunk at hand.
    index: u64,
    chunk: Zeroizing<Vec<u8>>,
    /// Bytes of its text so far.
    filled: usize,
}

impl Sealer<'_> {
    fn text(&mut self) -> &mut [u8] {
        let end = self.chunk.len() - TAG;
        self.chunk.get_mut(NONCE..end).unwrap_or_default() // a chunk has both around its text
    }

    /// Seals the chunk and writes it.
    fn flush_chunk(&mut self, last: bool) -> Result<(), SnapshotError> {
        let (key, context) = (&self.at.key, context(self.at, self.index, last));
        let (nonce, tag) = seal::seal(key, &context, self.text())?;
        // As in `text`.
        if let Some(place) = self.chunk.first_chunk_mut() {
            *place = nonce;
        }
        if let Some(place) = self.chunk.last_chunk_mut() {
            *place = tag;
        }
        self.file.write_all(&self.chunk)?;
        (self.index, self.filled) = (self.index + 1, 0);
        Ok(())
    }

    /// The last chunk; gives the file's length.
    fn finish(mut self) -> Result<u64, SnapshotError> {
        let filled = self.filled;
        self.text()
            .iter_mut()
            .skip(filled)
            .for_each(|byte| *byte = 0);
        self.flush_chunk(true)?;
        Ok(self.index * self.chunk.len() as u64)
    }
}

impl Write for Sealer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for more: only then it is not the last one.
        if self.filled == self.text().len() && !bytes.is_empty() {
            self.flush_chunk(false)?;
        }
        let filled = self.filled;
        let room = self.text().get_mut(filled..).unwrap_or_default(); // never more than the text
        let n = room.len().min(bytes.len());
        copy(room, bytes, n);
        self.filled += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the first `n` bytes; neither slice is shorter.
fn copy(to: &mut [u8], from: &[u8], n: usize) {
    if let (Some(to), Some(from)) = (to.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
}

fn read_chunks(
    at: &SnapshotRef,
    file: &File,
    engine: &Engine,
    options: SessionOptions,
    text: usize,
) -> Result<Session, SnapshotError> {
    if at.digest != *engine.fingerprint().as_bytes() {
        return Err(SnapshotError::OtherModel);
    }
    let (len, each) = (FileId::of_open(file)?.size, chunk_bytes(text) as u64);
    let count = len / each;
    if count == 0 || !len.is_multiple_of(each) {
        return Err(SnapshotError::Length);
    }
    let source = Source {
        at,
        file,
        count,
        chunk_bytes: chunk_bytes(text),
        claimed: AtomicU64::new(0),
        spare: Mutex::new(Vec::new()),
    };
    thread::scope(|scope| {
        let (sender, opened) = sync_channel(AHEAD);
        // This thread opens chunks, too, whenever it would wait for one.
        for _ in 1..engine.threads().min(MOST_THREADS).min(count as usize) {
            let (source, sender) = (&source, sender.clone());
            thread::Builder::new().spawn_scoped(scope, move || source.open_all(&sender))?;
        }
        drop(sender);
        let mut chunks = Chunks {
            source: &source,
            opened,
            early: BTreeMap::new(),
            next: 0,
            chunk: None,
            used: 0,
        };
        let session = engine.restore(&mut chunks, options)?;
        // What follows the state is authenticated, too, before the session is used.
        while chunks.advance()? {}
        match session.tokens().len() as u64 == at.tokens {
            true => Ok(session),
            false => Err(SnapshotError::Length),
        }
    })
}

/// A chunk's bytes, sealed or opened.
type Chunk = Zeroizing<Vec<u8>>;

/// Chunks that threads claim, one after the other, and open.
struct Source<'a> {
    at: &'a SnapshotRef,
    file: &'a File,
    count: u64,
    chunk_bytes: usize,
    /// So many of the first chunks are somebody's.
    claimed: AtomicU64,
    /// Memory of chunks that were read.
    spare: Mutex<Vec<Chunk>>,
}

impl Source<'_> {
    /// Opens the first chunk that nobody opens yet; `None` if there is none.
    fn open_next(&self) -> Option<(u64, Result<Chunk, SnapshotError>)> {
        let index = self.claimed.fetch_add(1, Relaxed);
        (index < self.count).then(|| (index, self.open(index)))
    }

    fn open(&self, index: u64) -> Result<Chunk, SnapshotError> {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut chunk = spare.unwrap_or_else(|| Zeroizing::new(vec![0; self.chunk_bytes]));
        read_at(self.file, &mut chunk, index)?;
        let context = context(self.at, index, index + 1 == self.count);
        let opened = open_chunk(&self.at.key, &context, &mut chunk);
        opened
            .map(|()| chunk)
            .ok_or(SnapshotError::Damaged { chunk: index })
    }

    /// Opens chunks until there are no more, or nobody wants one any more.
    fn open_all(&self, to: &SyncSender<(u64, Result<Chunk, SnapshotError>)>) {
        while let Some(opened) = self.open_next() {
            if to.send(opened).is_err() {
                return;
            }
        }
    }
}

fn open_chunk(key: &Key, context: &[u8], chunk: &mut [u8]) -> Option<()> {
    let (nonce, rest) = chunk.split_first_chunk_mut()?;
    let (text, tag) = rest.split_last_chunk_mut()?;
    seal::open(key, nonce, context, text, tag)
}

/// Reads chunk `index` of a file that others read at the same time.
#[cfg(unix)]
fn read_at(file: &File, chunk: &mut [u8], index: u64) -> io::Result<()> {
    let at = index * chunk.len() as u64; // within the file
    std::os::unix::fs::FileExt::read_exact_at(file, chunk, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut chunk: &mut [u8], index: u64) -> io::Result<()> {
    let mut at = index * chunk.len() as u64; // within the file
    while !chunk.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, chunk, at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (chunk, at) = (chunk.get_mut(n..).unwrap_or_default(), at + n as u64);
    }
    Ok(())
}

/// The text of all chunks, in order.
struct Chunks<'a> {
    source: &'a Source<'a>,
    /// From the other threads.
    opened: Receiver<(u64, Result<Chunk, SnapshotError>)>,
    /// Opened before their turn.
    early: BTreeMap<u64, Chunk>,
    /// The chunk after the one at hand.
    next: u64,
    chunk: Option<Chunk>,
    /// Bytes of its text that were read.
    used: usize,
}

impl Chunks<'_> {
    /// Gets the next chunk; `false` if there is none.
    fn advance(&mut self) -> Result<bool, SnapshotError> {
        if let Some(used) = self.chunk.take() {
            let spare = self.source.spare.lock();
            spare.unwrap_or_else(PoisonError::into_inner).push(used);
        }
        if self.next == self.source.count {
            return Ok(false);
        }
        while !self.early.contains_key(&self.next) {
            // If another thread has it in its hands, the one after it is opened meanwhile; but if that
            // thread does not get to run, not all of the file.
            let own = || (self.early.len() < AHEAD).then(|| self.source.open_next())?;
            let (index, chunk) = match self.opened.try_recv().ok().or_else(own) {
                Some(opened) => opened,
                None => self.opened.recv().map_err(|_| {
                    SnapshotError::Io(io::Error::other("a thread that decrypts has failed"))
                })?,
            };
            self.early.insert(index, chunk?);
        }
        self.chunk = self.early.remove(&self.next);
        (self.next, self.used) = (self.next + 1, 0);
        Ok(true)
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let chunk = self
                .chunk
                .as_ref()
                .map_or(&[][..], |chunk| chunk.as_slice());
            let text = chunk.get(NONCE..chunk.len().saturating_sub(TAG));
            let rest = text
                .and_then(|text| text.get(self.used..))
                .unwrap_or_default();
            let n = rest.len().min(to.len());
            if n > 0 || to.is_empty() {
                copy(to, rest, n);
                self.used += n;
                return Ok(n);
            }
            if !self.advance()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
