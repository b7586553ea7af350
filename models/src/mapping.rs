//! Memory that weights live in: read-only maps of whole files, and anonymous huge-page memory that is
//! filled once and then shared. Paths and lengths enter; [`Bytes`], cheap clones of parts of such memory,
//! leave. The one place of `unsafe` in this crate. It knows no file format.
//!
//! A file that another process shortens while it is mapped raises SIGBUS on access. A program turns that
//! into an error with [`guard_mappings`]; an embedder who cannot should load into owned memory
//! ([`read_owned`]).

#![allow(unsafe_code)]

mod guard;

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions};
use rayon::prelude::*;

use crate::error::{Error, Result};
pub use guard::guard_mappings;

/// Memory that [`Bytes`] can point into. `as_ref` must give the same bytes at each call.
pub trait Owner: AsRef<[u8]> + Send + Sync + 'static {
    /// A hint: the bytes in `range` are not needed soon, so their pages may go. They stay readable.
    fn release(&self, _range: Range<usize>) {}

    /// Whether other processes that map the same file have the same memory, and so can tell, by how long
    /// an access takes them, which parts of it are read here.
    fn is_shared(&self) -> bool {
        false
    }
}

impl Owner for Vec<u8> {}
impl Owner for &'static [u8] {}

/// Part of some shared memory: an owner and a range of it. Clones are cheap and share the owner.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn Owner>,
    start: usize,
    len: usize,
}

impl Bytes {
    /// All bytes of `owner`.
    pub fn new(owner: Arc<dyn Owner>) -> Bytes {
        let len = (*owner).as_ref().len();
        Bytes {
            owner,
            start: 0,
            len,
        }
    }

    /// The bytes at `range`, which counts from the start of these bytes; `None` if it leaves them.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        Some(Bytes {
            owner: self.owner.clone(),
            start: self.start + range.start,
            len: range.end - range.start,
        })
    }

    /// Whether both are parts of the same owner.
    pub fn shares_owner(&self, other: &Bytes) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.owner), Arc::as_ptr(&other.owner))
    }

    /// Position of the first byte within the owner.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether other processes may have the same memory; see [`Owner::is_shared`].
    pub fn is_shared(&self) -> bool {
        self.owner.is_shared()
    }

    /// The same bytes in memory of this process's own, copied on rayon's threads. The pages that they come
    /// from may go afterwards.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn private_copy(&self) -> Result<Bytes> {
        let mut memory = Anonymous::zeroed(self.len)?;
        let pieces = memory.as_mut().par_chunks_mut(HUGE);
        pieces.zip(self.par_chunks(HUGE)).for_each(|(to, from)| {
            // A file that was cut short meanwhile has fewer.
            if to.len() == from.len() {
                to.copy_from_slice(from);
            }
        });
        self.release();
        Ok(memory.freeze())
    }

    /// A hint that these bytes are not needed soon; see [`Owner::release`].
    pub fn release(&self) {
        self.owner.release(self.start..self.start + self.len);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // The range was checked when it was made; an owner that shrank since gives nothing, not a panic.
        (*self.owner)
            .as_ref()
            .get(self.start..self.start + self.len)
            .unwrap_or(&[])
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(v: Vec<u8>) -> Bytes {
        Bytes::new(Arc::new(v))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({}..{})", self.start, self.start + self.len)
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device and inode number (zeros where there are none).
    pub file: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of the content: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Time of the last change of the inode: seconds and nanoseconds.
    pub ctime: (i64, i64),
}

impl FileId {
    /// The identity in a file's metadata.
    #[cfg(unix)]
    pub fn of(m: &std::fs::Metadata) -> FileId {
        use std::os::unix::fs::MetadataExt;
        FileId {
            file: (m.dev(), m.ino()),
            size: m.len(),
            mtime: (m.mtime(), m.mtime_nsec()),
            ctime: (m.ctime(), m.ctime_nsec()),
        }
    }

    /// The identity of an open file.
    ///
    /// # Errors
    /// The system's.
    pub fn of_open(file: &File) -> std::io::Result<FileId> {
        // By `fstat` itself: the standard library asks with `statx`, which takes paths as well, and so is
        // refused to a confined process.
        #[cfg(target_os = "linux")]
        {
            let m = rustix::fs::fstat(file)?;
            Ok(FileId {
                file: (m.st_dev as u64, m.st_ino as u64),
                size: m.st_size as u64,
                mtime: (m.st_mtime as i64, m.st_mtime_nsec as i64),
                ctime: (m.st_ctime as i64, m.st_ctime_nsec as i64),
            })
        }
        #[cfg(not(target_os = "linux"))]
        Ok(FileId::of(&file.metadata()?))
    }

    /// The identity in a file's metadata.
    #[cfg(not(unix))]
    pub fn of(m: &std::fs::Metadata) -> FileId {
        let mtime = m
            .modified()
            .ok()
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let mtime = mtime.map_or((0, 0), |d| {
            (d.as_secs() as i64, i64::from(d.subsec_nanos()))
        });
        FileId {
            file: (0, 0),
            size: m.len(),
            mtime,
            ctime: (0, 0),
        }
    }
}

/// A whole regular file, mapped read-only. The descriptor stays open, so that a change can be noticed.
pub struct Mapping {
    /// Before the map, so that it goes first.
    watched: guard::Watched,
    map: Mmap,
    file: File,
    path: PathBuf,
    id: FileId,
}

impl Mapping {
    /// Maps the file at `path`. Directories, pipes, devices and empty files are refused; a pipe without a
    /// writer does not hang the caller.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Mapping>> {
        let path = path.as_ref();
        let (file, id) = open_regular(path)?;
        Mapping::of(file, id, path)
    }

    /// Maps a file that is open for reading; `path` is its name in messages. Refuses what
    /// [`open`](Mapping::open) does.
    pub fn of_file(file: File, path: &Path) -> Result<Arc<Mapping>> {
        let id = regular(&file, path)?;
        Mapping::of(file, id, path)
    }

    fn of(file: File, id: FileId, path: &Path) -> Result<Arc<Mapping>> {
        let len = usize::try_from(id.size)
            .map_err(|_| Error::io(path, "map", std::io::ErrorKind::FileTooLarge.into()))?;
        // SAFETY: the map is read-only and its length is the file's at this moment. That nobody changes
        // the file meanwhile cannot be had from the system: bytes that change are read as other bytes
        // (every reader checks what it reads and keeps no references across checks), and a file that
        // shrinks raises SIGBUS, which `guard` answers if the program wants it.
        let map = unsafe { MmapOptions::new().len(len).map(&file) }
            .map_err(|e| Error::io(path, "map", e))?;
        Ok(Arc::new(Mapping {
            watched: guard::Watched::new(map.as_ptr() as usize, map.len()),
            map,
            file,
            path: path.to_owned(),
            id,
        }))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's identity when it was opened.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// An error if what was read so far may be of several states of the file: it was cut short, or
    /// written to. Costs one system call, under 1 us. A file that was renamed, deleted, or replaced by another of its
    /// name is the same still; so is one whose links or rights were changed (so the inode's time counts
    /// for nothing here).
    ///
    /// # Errors
    /// [`Error::CutShort`], [`Error::Changed`].
    pub fn check_in_use(&self) -> Result<()> {
        self.compare(|now, then| now.mtime == then.mtime)
    }

    /// The same, and an error if anything of the file's identity is another: for work whose result is
    /// kept under that identity.
    ///
    /// # Errors
    /// [`Error::CutShort`], [`Error::Changed`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.compare(|now, then| now == then)
    }

    fn compare(&self, is_same: impl FnOnce(&FileId, &FileId) -> bool) -> Result<()> {
        let now = FileId::of_open(&self.file).map_err(|e| Error::io(&self.path, "stat", e))?;
        let path = || self.path.clone();
        if self.watched.is_cut() || now.size < self.id.size {
            return Err(Error::CutShort { path: path() });
        }
        if now.size == self.id.size && is_same(&now, &self.id) {
            return Ok(());
        }
        Err(Error::Changed { path: path() })
    }

    /// Reads the file into private memory, through the descriptor that was mapped. An error if it was
    /// changed since it was opened.
    pub fn read_owned(&self) -> Result<Bytes> {
        let file = self.file.try_clone();
        let mut file = file.map_err(|e| Error::io(&self.path, "read", e))?;
        file.rewind()
            .map_err(|e| Error::io(&self.path, "read", e))?;
        let bytes = read_owned_file(file, self.id, &self.path)?;
        self.check_unchanged()?;
        Ok(bytes)
    }

    /// Reads the pages of `range` in, so that later accesses do not wait for the disk. A hint: it may do
    /// nothing.
    pub fn populate(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        if range.start < range.end && range.end <= self.map.len() {
            // Kernels before 5.14 refuse; then the pages come when they are touched.
            let _ = self.map.advise_range(
                memmap2::Advice::PopulateRead,
                range.start,
                range.end - range.start,
            );
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Owner for Mapping {
    fn is_shared(&self) -> bool {
        true
    }

    fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        {
            let Some((start, len)) = inner_pages(range, self.map.len()) else {
                return;
            };
            // SAFETY: MADV_DONTNEED on a shared read-only file map loses nothing: the pages are clean and
            // the next access reads the file again.
            let _ = unsafe {
                self.map
                    .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len)
            };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({:?}, {} bytes)", self.path, self.id.size)
    }
}

/// The whole pages inside `range`, as (start, length); a page that is shared with a neighbour stays.
#[cfg(target_os = "linux")]
fn inner_pages(range: Range<usize>, len: usize) -> Option<(usize, usize)> {
    let page = rustix::param::page_size();
    // The rest of the last page belongs to nobody.
    let end = if range.end >= len {
        len
    } else {
        range.end / page * page
    };
    let start = range.start.checked_next_multiple_of(page)?;
    (start < end).then(|| (start, end - start))
}

/// Opens a regular, non-empty file for reading.
pub(crate) fn open_regular(path: &Path) -> Result<(File, FileId)> {
    let open = |e| Error::io(path, "open", e);
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without it, opening a pipe waits for its writer.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as _);
    }
    let file = options.open(path).map_err(open)?;
    let id = regular(&file, path)?;
    Ok((file, id))
}

/// The identity of an open file, which must be a regular one with bytes.
fn regular(file: &File, path: &Path) -> Result<FileId> {
    let stat = |e| Error::io(path, "stat", e);
    // As in [`FileId::of_open`].
    #[cfg(target_os = "linux")]
    let (is_file, is_dir) = {
        use rustix::fs::FileType;
        let mode = rustix::fs::fstat(file).map_err(|e| stat(e.into()))?.st_mode;
        let kind = FileType::from_raw_mode(mode);
        (kind == FileType::RegularFile, kind == FileType::Directory)
    };
    #[cfg(not(target_os = "linux"))]
    let (is_file, is_dir) = {
        let meta = file.metadata().map_err(stat)?;
        (meta.is_file(), meta.is_dir())
    };
    if !is_file {
        let found = if is_dir {
            "a directory"
        } else {
            "a pipe, socket or device"
        };
        return Err(Error::NotRegular {
            path: path.to_owned(),
            found,
        });
    }
    let id = FileId::of_open(file).map_err(stat)?;
    if id.size == 0 {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    Ok(id)
}

/// Reads a whole file into anonymous memory: the choice of an embedder who wants no SIGBUS and no trace of
/// accesses in the page cache. Costs the file's size in private memory.
pub fn read_owned(path: impl AsRef<Path>) -> Result<Bytes> {
    let path = path.as_ref();
    let (file, id) = open_regular(path)?;
    read_owned_file(file, id, path)
}

/// [`read_owned`] of a file that is open, from its beginning.
pub(crate) fn read_owned_of(file: File, path: &Path) -> Result<Bytes> {
    let id = regular(&file, path)?;
    read_owned_file(file, id, path)
}

fn read_owned_file(mut file: File, id: FileId, path: &Path) -> Result<Bytes> {
    let len = usize::try_from(id.size)
        .map_err(|_| Error::io(path, "read", std::io::ErrorKind::FileTooLarge.into()))?;
    let mut memory = Anonymous::zeroed(len)?;
    file.read_exact(memory.as_mut())
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::CutShort {
                path: path.to_owned(),
            },
            _ => Error::io(path, "read", e),
        })?;
    Ok(memory.freeze())
}

/// Zeroed private memory, writable until it is frozen. Its start is a multiple of 64 bytes, and of 2 MiB
/// with huge pages asked for when it is that long.
pub struct Anonymous {
    map: MmapMut,
    start: usize,
    len: usize,
}

/// Huge pages of x86-64, and of AArch64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

impl Anonymous {
    /// Reserves `len` zero bytes. Pages are taken from the system when first touched.
    pub fn zeroed(len: usize) -> Result<Anonymous> {
        let slack = if len >= HUGE { HUGE } else { 0 };
        let refuse = |source| Error::Memory { bytes: len, source };
        let total = len
            .checked_add(slack)
            .ok_or_else(|| refuse(std::io::ErrorKind::OutOfMemory.into()))?;
        // A map of no bytes is refused by the system.
        let map = MmapMut::map_anon(total.max(1)).map_err(refuse)?;
        // A map begins at a page, so at a multiple of 64 bytes.
        let start = if slack == 0 {
            0
        } else {
            (map.as_ptr() as usize).next_multiple_of(HUGE) - map.as_ptr() as usize
        };
        #[cfg(target_os = "linux")]
        if slack != 0 {
            // A system without huge pages says no, and ordinary pages serve.
            let _ = map.advise_range(memmap2::Advice::HugePage, start, len);
        }
        Ok(Anonymous { map, start, len })
    }

    /// The memory as shared, no longer writable bytes.
    pub fn freeze(self) -> Bytes {
        Bytes::new(Arc::new(Frozen(self)))
    }
}

impl AsRef<[u8]> for Anonymous {
    fn as_ref(&self) -> &[u8] {
        // In range by construction: the map is `slack` longer than `len`, and `start` < `slack` or 0.
        self.map
            .get(self.start..self.start + self.len)
            .unwrap_or(&[])
    }
}

impl AsMut<[u8]> for Anonymous {
    fn as_mut(&mut self) -> &mut [u8] {
        self.map
            .get_mut(self.start..self.start + self.len)
            .unwrap_or(&mut [])
    }
}

impl fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anonymous({} bytes)", self.len)
    }
}

/// Anonymous memory that nobody can write to any more. Its release is a no-op: the bytes are nowhere else.
struct Frozen(Anonymous);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Owner for Frozen {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_never_leave_their_owner() {
        let b = Bytes::from((0u8..100).collect::<Vec<_>>());
        let s = b.slice(10..20).unwrap();
        assert_eq!(&*s, &(10u8..20).collect::<Vec<_>>()[..]);
        assert_eq!(&*s.slice(3..5).unwrap(), &[13, 14]);
        assert!(s.slice(0..11).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 5..4;
        assert!(s.slice(reversed).is_none());
        assert!(s.slice(usize::MAX..usize::MAX).is_none());
        assert_eq!(s.slice(10..10).unwrap().len(), 0);
    }

    #[test]
    fn anonymous_memory_is_zero_aligned_and_keeps_what_was_written() {
        for len in [0, 1, 4097, HUGE - 1, HUGE, 3 * HUGE + 5] {
            let mut a = Anonymous::zeroed(len).unwrap();
            assert_eq!(a.as_ref().len(), len);
            assert!(a.as_ref().iter().all(|&b| b == 0));
            let align = if len >= HUGE { HUGE } else { 64 };
            assert_eq!(a.as_ref().as_ptr() as usize % align, 0);
            if let Some(last) = a.as_mut().last_mut() {
                *last = 7;
            }
            let b = a.freeze();
            b.release();
            assert_eq!(b.last().copied(), (len > 0).then_some(7));
        }
        assert!(matches!(
            Anonymous::zeroed(usize::MAX),
            Err(Error::Memory { .. })
        ));
        assert!(matches!(
            Anonymous::zeroed(usize::MAX / 4),
            Err(Error::Memory { .. })
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore)] // file maps
    fn a_file_reads_the_same_before_and_after_release_and_owned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let map = Mapping::open(&path).unwrap();
        let bytes = Bytes::new(map.clone());
        map.populate(0..bytes.len());
        assert_eq!(&*bytes, &content[..]);
        assert!(bytes.is_shared());
        let own = bytes.slice(3..299_999).unwrap().private_copy().unwrap();
        assert!(!own.is_shared());
        assert_eq!(&*own, &content[3..299_999]);
        bytes.slice(1..299_999).unwrap().release();
        bytes.release();
        assert_eq!(&*bytes, &content[..]);
        assert_eq!(&*read_owned(&path).unwrap(), &content[..]);
        map.check_unchanged().unwrap();
        map.check_in_use().unwrap();
        // Neither another name nor its end is a change of what is mapped.
        let other = dir.path().join("other");
        std::fs::rename(&path, &other).unwrap();
        map.check_in_use().unwrap();
        std::fs::copy(&other, &path).unwrap();
        std::fs::remove_file(&other).unwrap();
        map.check_in_use().unwrap();
        assert!(matches!(map.check_unchanged(), Err(Error::Changed { .. })));
        assert_eq!(&*bytes, &content[..]);

        let map = Mapping::open(&path).unwrap();
        map.check_unchanged().unwrap();
        let mut longer = content.clone();
        longer.push(0);
        std::fs::write(&path, &longer).unwrap();
        assert!(matches!(map.check_in_use(), Err(Error::Changed { .. })));
        assert!(matches!(map.check_unchanged(), Err(Error::Changed { .. })));
        std::fs::write(&path, &content[..299_999]).unwrap();
        assert!(matches!(map.check_in_use(), Err(Error::CutShort { .. })));
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore)] // file maps
    fn what_is_cut_off_a_mapped_file_reads_as_zeros_and_is_told() {
        guard_mappings().unwrap();
        guard_mappings().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8 + 1).collect();
        for left in [0, 1, 4096, 500_000, 999_999] {
            let path = dir.path().join(left.to_string());
            std::fs::write(&path, &content).unwrap();
            let map = Mapping::open(&path).unwrap();
            let (again, bytes) = (Mapping::open(&path).unwrap(), Bytes::new(map.clone()));
            assert_eq!(bytes[999_999], content[999_999]);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(left).unwrap();
            // From both ends at once, on many threads.
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let bytes = bytes.clone();
                    scope.spawn(move || {
                        let page = |i: usize| if thread % 2 == 0 { i } else { 244 - i };
                        for at in (0..=244).map(|i| page(i) * 4096) {
                            let byte = std::hint::black_box(bytes[at]);
                            let whole = (at as u64) < left;
                            assert_eq!(byte, if whole { content_at(at) } else { 0 });
                        }
                    });
                }
            });
            // Longer again, and its time put back: what was read is remembered.
            file.set_len(1_000_000).unwrap();
            let then = std::time::UNIX_EPOCH
                + std::time::Duration::new(map.id.mtime.0 as u64, map.id.mtime.1 as u32);
            file.set_modified(then).unwrap();
            let touched = left < 244 * 4096;
            assert_eq!(map.check_in_use().is_err(), touched, "{left}");
            if touched {
                assert!(matches!(map.check_in_use(), Err(Error::CutShort { .. })));
            }
            // Nobody read the other map.
            again.check_in_use().unwrap();
        }
        fn content_at(at: usize) -> u8 {
            (at % 251) as u8 + 1
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)] // file maps
    fn what_is_not_a_file_with_bytes_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(matches!(Mapping::open(&empty), Err(Error::Empty { .. })));
        assert!(matches!(
            Mapping::open(dir.path()),
            Err(Error::NotRegular {
                found: "a directory",
                ..
            })
        ));
        assert!(matches!(
            Mapping::open(dir.path().join("none")),
            Err(Error::Io { doing: "open", .. })
        ));
        #[cfg(unix)]
        {
            let device = Mapping::open("/dev/null");
            assert!(
                matches!(device, Err(Error::NotRegular { .. })),
                "{device:?}"
            );
        }
    }
}
