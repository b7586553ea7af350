//! Where vaults lie, and the only way to their files: the folder `vaults` beside the model store (0700),
//! opened without following links, and in it, by plain names and never through a link,
//!
//! ```text
//! NAME.vault         a vault (0600)
//! NAME.ID.kv         a snapshot of one of its conversations, or an empty file for the next one (0600)
//! .NAME.vault.new    a vault being written, to take NAME's place
//! .NAME.vault.old    a vault being erased: its place is taken, or it was deleted
//! .lock              held while files change their names
//! ```
//! Who holds the folder's lock may delete what lies there under the last two names: whoever wrote it was
//! killed.

use super::entry::SnapshotId;
use super::error::io_error;
use super::{VaultError, file};
use hob_fetch::{FolderLock, Silent, make_private_dir};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a vault that is in use is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
const ENDING: &str = ".vault";
const SNAPSHOT_ENDING: &str = ".kv";
/// The longest name of a vault.
const MOST_NAME: usize = 64;

/// The folder of vaults.
#[derive(Debug)]
pub(crate) struct Vaults {
    path: PathBuf,
    /// The folder itself: names are looked up in it, and not along the path again.
    #[cfg(unix)]
    dir: File,
}

/// A vault's name, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VaultName(String);

impl VaultName {
    /// Checks a name. The same in any case: there are file systems that do not tell cases apart.
    pub(crate) fn new(name: &str) -> Result<VaultName, VaultError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !name.chars().all(is_plain) || name.len() > MOST_NAME {
            return Err(VaultError::Name(name.escape_debug().to_string()));
        }
        Ok(VaultName(name.to_ascii_lowercase()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn file(&self) -> String {
        format!("{}{ENDING}", self.0)
    }

    fn new_file(&self) -> String {
        format!(".{}{ENDING}.new", self.0)
    }

    fn old_file(&self) -> String {
        format!(".{}{ENDING}.old", self.0)
    }
}

/// The name of a snapshot's file.
pub(crate) fn snapshot_name(vault: &VaultName, id: &SnapshotId) -> String {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{id}{SNAPSHOT_ENDING}", vault.0)
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// To write, and it must not be there.
    New,
}

/// A vault whose file is open and locked, and of which nothing was read yet.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(super) vaults: Vaults,
    pub(super) name: VaultName,
    pub(super) file: File,
    pub(super) access: Access,
}

impl Vaults {
    /// The folder in this store; `None` if there is none yet.
    pub(crate) fn find(store: &Path) -> Result<Option<Vaults>, VaultError> {
        let path = store.join("vaults");
        match open_folder(&path) {
            Ok(vaults) => Ok(Some(vaults)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("open the folder", &path)(e)),
        }
    }

    /// The folder in this store, made if need be.
    pub(crate) fn make(store: &Path) -> Result<Vaults, VaultError> {
        let path = store.join("vaults");
        let failed = |e: hob_fetch::FetchError| io_error("make", &path)(io::Error::other(e));
        make_private_dir(&path).map_err(failed)?;
        open_folder(&path).map_err(io_error("open the folder", &path))
    }

    /// The vaults, by name, with bytes on the disk and when the file was written last.
    pub(crate) fn list(&self) -> Result<Vec<(VaultName, std::fs::Metadata)>, VaultError> {
        let mut found = Vec::new();
        for file in self.files()? {
            let name = file.strip_suffix(ENDING).map(VaultName::new);
            if let Some(Ok(name)) = name
                && name.file() == file
                && let Ok(metadata) = std::fs::symlink_metadata(self.path.join(&file))
                && metadata.is_file()
            {
                found.push((name, metadata));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Names of what is in the folder, as far as they are text.
    fn files(&self) -> Result<Vec<String>, VaultError> {
        let entries = std::fs::read_dir(&self.path).map_err(io_error("list", &self.path))?;
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().into_string());
        Ok(names.flatten().collect())
    }

    pub(crate) fn has(&self, name: &VaultName) -> Result<bool, VaultError> {
        Ok(self.list()?.iter().any(|(found, _)| found == name))
    }

    /// Takes the right to give and take names in the folder, and deletes what killed processes left.
    pub(super) fn lock(&self) -> Result<FolderLock, VaultError> {
        let failed = |e| io_error("lock", &self.path)(io::Error::other(e));
        let lock = FolderLock::take(&self.path, ".lock", &mut Silent).map_err(failed)?;
        self.sweep()?;
        Ok(lock)
    }

    /// Erases files that were being written or erased when their process was killed.
    fn sweep(&self) -> Result<(), VaultError> {
        for name in self.files()? {
            let left = name.starts_with('.')
                && (name.ends_with(".vault.new") || name.ends_with(".vault.old"));
            if left {
                self.erase(&name)?;
            }
        }
        Ok(())
    }

    /// Opens and locks a vault's file.
    pub(crate) fn open(self, name: &VaultName, access: Access) -> Result<Closed, VaultError> {
        let lock = self.lock()?;
        let path = self.path.join(name.file());
        let file = self.file(&name.file(), access).map_err(|e| match e {
            VaultError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                self.missing(name)
            }
            other => other,
        })?;
        // A process that was killed just now may have left a lock for a moment: to one that another
        // process was about to start, and which gives up what it inherited.
        let deadline = Instant::now() + PATIENCE;
        let locked = loop {
            let locked = match access {
                Access::Read => file.try_lock_shared(),
                Access::Write | Access::New => file.try_lock(),
            };
            match locked {
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => break other,
            }
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(VaultError::InUse(name.0.clone())),
            Err(TryLockError::Error(e)) => return Err(io_error("lock", &path)(e)),
        }
        drop(lock);
        Ok(Closed {
            vaults: self,
            name: name.clone(),
            file,
            access,
        })
    }

    /// The error of a vault that is not there.
    pub(crate) fn missing(&self, name: &VaultName) -> VaultError {
        let known = self.list().unwrap_or_default();
        missing(name, known.iter().map(|(name, _)| name.as_str()))
    }

    /// Begins a new vault file, which nobody sees before [`Vaults::publish`]; the folder must be locked.
    pub(super) fn begin(&self, name: &VaultName) -> Result<File, VaultError> {
        let file = self.file(&name.new_file(), Access::New)?;
        // Nobody else can have it.
        let locked = file.try_lock();
        locked.map_err(|e| io_error("lock", &self.path)(e.into()))?;
        Ok(file)
    }

    /// Gives the file of [`Vaults::begin`], which must be synced, the vault's name; a vault that has it is
    /// erased. A process killed on the way leaves the old vault or the new one.
    pub(super) fn publish(&self, name: &VaultName, replace: bool) -> Result<(), VaultError> {
        let (file, new, old) = (name.file(), name.new_file(), name.old_file());
        if replace {
            // So that it can still be erased once the new one has its name; where the file system has no
            // second names, the old file's bytes stay on the disk until it uses them anew.
            let _ = self.link(&file, &old);
        }
        self.rename(&new, &file)?;
        self.sync()?;
        self.erase(&old)
    }

    /// Deletes a vault: first its keys, then its file, then its snapshots. Whoever calls it holds the
    /// vault's own lock, too.
    pub(super) fn delete(&self, name: &VaultName) -> Result<(), VaultError> {
        let _lock = self.lock()?;
        self.rename(&name.file(), &name.old_file())?;
        self.sync()?;
        self.erase(&name.old_file())?;
        self.keep_snapshots(name, &[])
    }

    /// Deletes all snapshots of a vault but these.
    pub(crate) fn keep_snapshots(
        &self,
        name: &VaultName,
        kept: &[SnapshotId],
    ) -> Result<(), VaultError> {
        let kept: Vec<_> = kept.iter().map(|id| snapshot_name(name, id)).collect();
        let is_id = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        for file in self.files()? {
            let rest = file
                .strip_prefix(name.as_str())
                .and_then(|f| f.strip_prefix('.'));
            let id = rest.and_then(|rest| rest.strip_suffix(SNAPSHOT_ENDING));
            if id.is_some_and(is_id) && !kept.contains(&file) {
                self.remove(&file)?;
            }
        }
        self.sync()
    }

    /// Overwrites a file's headers and heads, without which its records are noise, and deletes it; it may
    /// be missing. If it is still the vault of its name, only this second name is deleted.
    fn erase(&self, name: &str) -> Result<(), VaultError> {
        let path = self.path.join(name);
        match self.file(name, Access::Write) {
            Ok(file) => {
                let vault = name.strip_prefix('.').and_then(|n| n.strip_suffix(".old"));
                if !vault.is_some_and(|vault| self.is(vault, &file)) {
                    file::wipe(&file).map_err(io_error("overwrite", &path))?;
                }
            }
            Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            // A link or a folder: no vault, but in the way.
            Err(VaultError::NotAFile(_)) => {}
            Err(other) => return Err(other),
        }
        self.remove(name)?;
        self.sync()
    }

    /// Where a file of the folder is, for messages.
    pub(super) fn path(&self, name: &VaultName) -> PathBuf {
        self.path.join(name.file())
    }
}

/// The error of a vault that is not there, with the name that may have been meant.
pub(crate) fn missing<'a>(name: &VaultName, known: impl Iterator<Item = &'a str>) -> VaultError {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(known, name.as_str()), known))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    VaultError::Missing {
        name: name.0.clone(),
        guess: near.map_or(String::new(), |(_, near)| {
            format!(" (did you mean {near}?)")
        }),
    }
}

/// The folder's entries, by the system's calls that take a folder and a name and follow no link.
#[cfg(unix)]
mod calls {
    use super::*;
    use rustix::fs::{AtFlags, Mode, OFlags, fstat, linkat, openat, renameat, statat, unlinkat};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

    pub(super) fn open_folder(path: &Path) -> io::Result<Vaults> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        let path = path.to_owned();
        Ok(Vaults { path, dir })
    }

    impl Vaults {
        /// Whether this name is this file's.
        pub(super) fn is(&self, name: &str, file: &File) -> bool {
            let named = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            named.is_ok_and(|named| {
                let found = fstat(file);
                found
                    .is_ok_and(|found| (found.st_dev, found.st_ino) == (named.st_dev, named.st_ino))
            })
        }

        /// Opens a file of the folder: an ordinary one, for this user alone.
        pub(crate) fn file(&self, name: &str, access: Access) -> Result<File, VaultError> {
            let path = self.path.join(name);
            let flags = match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
            // Opening a pipe must not wait for its other end.
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => File::from(file),
                Err(rustix::io::Errno::LOOP) => return Err(VaultError::NotAFile(path)),
                Err(e) => return Err(io_error("open", &path)(e.into())),
            };
            let found = file.metadata().map_err(io_error("open", &path))?;
            if !found.is_file() {
                return Err(VaultError::NotAFile(path));
            }
            // A copy may have come with more rights.
            if found.mode() & 0o077 != 0 && access != Access::Read {
                let rights = std::fs::Permissions::from_mode(0o600);
                let set = file.set_permissions(rights);
                set.map_err(io_error("make private", &path))?;
            }
            Ok(file)
        }

        pub(super) fn link(&self, from: &str, to: &str) -> Result<(), VaultError> {
            let linked = linkat(&self.dir, from, &self.dir, to, AtFlags::empty());
            linked.map_err(|e| io_error("link", &self.path.join(from))(e.into()))
        }

        pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), VaultError> {
            let renamed = renameat(&self.dir, from, &self.dir, to);
            renamed.map_err(|e| io_error("rename", &self.path.join(from))(e.into()))
        }

        pub(super) fn remove(&self, name: &str) -> Result<(), VaultError> {
            let removed = unlinkat(&self.dir, name, AtFlags::empty());
            removed.map_err(|e| io_error("delete", &self.path.join(name))(e.into()))
        }

        /// Makes names durable.
        pub(super) fn sync(&self) -> Result<(), VaultError> {
            self.dir.sync_all().map_err(io_error("sync", &self.path))
        }
    }
}

/// The same by paths, where there are no such calls.
#[cfg(not(unix))]
mod calls {
    use super::*;

    pub(super) fn open_folder(path: &Path) -> io::Result<Vaults> {
        if !std::fs::symlink_metadata(path)?.is_dir() {
            return Err(io::Error::other("it is no folder"));
        }
        let path = path.to_owned();
        Ok(Vaults { path })
    }

    impl Vaults {
        /// No file has two names here: see `link`.
        pub(super) fn is(&self, _: &str, _: &File) -> bool {
            false
        }

        pub(crate) fn file(&self, name: &str, access: Access) -> Result<File, VaultError> {
            let path = self.path.join(name);
            let found = std::fs::symlink_metadata(&path);
            if access != Access::New && found.is_ok_and(|found| !found.is_file()) {
                return Err(VaultError::NotAFile(path));
            }
            let mut options = std::fs::OpenOptions::new();
            options.read(true).write(access != Access::Read);
            options.create_new(access == Access::New);
            options.open(&path).map_err(io_error("open", &path))
        }

        /// Without a way to ask whether two names are one file's, none gets a second one.
        pub(super) fn link(&self, _: &str, _: &str) -> Result<(), VaultError> {
            Ok(())
        }

        pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), VaultError> {
            let from = self.path.join(from);
            let renamed = std::fs::rename(&from, self.path.join(to));
            renamed.map_err(io_error("rename", &from))
        }

        pub(super) fn remove(&self, name: &str) -> Result<(), VaultError> {
            let path = self.path.join(name);
            std::fs::remove_file(&path).map_err(io_error("delete", &path))
        }

        pub(super) fn sync(&self) -> Result<(), VaultError> {
            Ok(())
        }
    }
}

use calls::open_folder;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/a",
            ".x",
            "-x",
            "é",
            "a b",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(VaultName::new(name).is_err(), "{name:?}");
        }
        assert_eq!(
            VaultName::new("Diary_2.a-b").unwrap().as_str(),
            "diary_2.a-b"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("x"), "kept").unwrap();
        // The folder itself.
        symlink(&outside, home.path().join("vaults")).unwrap();
        assert!(Vaults::find(home.path()).is_err());
        std::fs::remove_file(home.path().join("vaults")).unwrap();
        assert!(Vaults::find(home.path()).unwrap().is_none());
        // A vault, and what looks like a leftover.
        let vaults = Vaults::make(home.path()).unwrap();
        for link in ["a.vault", ".a.vault.new", ".a.vault.old"] {
            symlink(outside.join("x"), home.path().join("vaults").join(link)).unwrap();
        }
        assert!(vaults.list().unwrap().is_empty());
        let opened = vaults.open(&VaultName::new("a").unwrap(), Access::Write);
        assert!(matches!(opened, Err(VaultError::NotAFile(_))), "{opened:?}");
        assert_eq!(std::fs::read_to_string(outside.join("x")).unwrap(), "kept");
    }
}
