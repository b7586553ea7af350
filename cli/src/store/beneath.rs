//! Opening the store's files beneath its root. A root and plain names enter, an open file leaves; no
//! symbolic link on the way is followed, so that nothing in the store can stand for a file elsewhere.
//!
//! Every name is opened from the folder before it, with `O_NOFOLLOW`: what `openat2` calls
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, on every Unix and in containers that do not know `openat2`.
//! The root itself is the user's word, and may be a link.

use std::fs::File;
use std::io;
use std::path::Path;

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// To read; the file must be there.
    Read,
    /// To read and write; made, for this user alone, if it is not there.
    Note,
}

/// Opens the file that is reached from `root` by these names, each that of an entry of its folder.
#[cfg(unix)]
pub(super) fn open(root: &Path, names: &[&str], access: Access) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::open(root, folder, Mode::empty())?;
    let Some((last, folders)) = names.split_last() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for name in folders {
        dir = match openat(&dir, plain(name)?, folder | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => next,
            Err(e) => return Err(explained(&dir, name, e)),
        };
    }
    let how = match access {
        Access::Read => OFlags::RDONLY,
        Access::Note => OFlags::RDWR | OFlags::CREATE,
    };
    // Without NONBLOCK, opening a pipe waits for its other end.
    let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(&dir, plain(last)?, how, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        Err(e) => Err(explained(&dir, last, e)),
    }
}

/// The system's answers to a link differ; this one names it.
#[cfg(unix)]
fn explained(dir: &impl std::os::fd::AsFd, name: &str, error: rustix::io::Errno) -> io::Error {
    use rustix::fs::{AtFlags, FileType, statat};
    let is_link = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
    match is_link {
        true => io::Error::other(format!(
            "{name} is a symbolic link, which hob does not follow in its store"
        )),
        false => error.into(),
    }
}

/// Elsewhere than on Unix: each part is looked at before the file is opened.
#[cfg(not(unix))]
pub(super) fn open(root: &Path, names: &[&str], access: Access) -> io::Result<File> {
    let mut path = root.to_owned();
    for name in names {
        path.push(plain(name)?);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let why = "is a symbolic link, which hob does not follow in its store";
                return Err(io::Error::other(format!("{name} {why}")));
            }
            _ => {}
        }
    }
    let mut options = File::options();
    options.read(true);
    if access == Access::Note {
        options.write(true).create(true).truncate(false);
    }
    options.open(path)
}

/// The name, if it is that of an entry of its folder.
fn plain(name: &str) -> io::Result<&str> {
    match !name.is_empty() && super::manifest::is_plain(name) {
        true => Ok(name),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::{Access, open};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_reached_but_what_lies_beneath() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "in").unwrap();
        std::fs::write(outer.path().join("file"), "out").unwrap();
        symlink("../../../file", root.join("a/b/link")).unwrap();
        symlink("b", root.join("a/c")).unwrap();
        symlink("b/file", root.join("a/inner")).unwrap();
        let mut text = String::new();
        let names = ["a", "b", "file"];
        let mut file = open(&root, &names, Access::Read).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "in");
        for names in [
            &["a", "b", "link"][..],
            &["a", "c", "file"],
            &["a", "inner"],
            &["..", "file"],
            &["a", "..", "..", "file"],
            &["a/b/file"],
            &["/etc/passwd"],
            &["a", "b", ""],
            &["a", "b", "none"],
            &[],
        ] {
            for access in [Access::Read, Access::Note] {
                let may_make = access == Access::Note && names == ["a", "b", "none"];
                assert_eq!(open(&root, names, access).is_ok(), may_make, "{names:?}");
            }
        }
        // A root that is a link is the user's own.
        symlink(&root, outer.path().join("way")).unwrap();
        open(&outer.path().join("way"), &["a", "b", "file"], Access::Read).unwrap();
        // A pipe without a writer does not hang.
        let pipe = root.join("a/pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            open(&root, &["a", "pipe"], Access::Read).unwrap();
        }
    }
}
