//! Attempts at files, in the places that a mode may read and elsewhere.

use super::{Attempt, BROKER, BROKER_AND_PACK, Fd, Kind, PACK, Targets, attempt, sys};
use crate::privacy::Mode;
use libc::{AT_FDCWD, c_int};
use std::ffi::CString;
use std::io::{self, Error};
use std::path::Path;

const LEFT: &[Mode] = BROKER;

const fn file(
    name: &'static str,
    what: &'static str,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    attempt(name, what, Kind::Files, run)
}

pub(super) const ALL: &[Attempt] = &[
    file("read-file", "open a file for reading", |t| {
        openat(&present(t)?, libc::O_RDONLY)
    })
    .by("SYS_openat", libc::SYS_openat)
    .required()
    .left(LEFT)
    // Their lists have opening; which folders, Landlock decides.
    .one_layer(&[Mode::Serve, Mode::Pack]),
    file("write-file", "create a file, and write to it", |t| {
        write_file(&path(&t.sinks.folder, "leak")?)
    })
    .required()
    .left(LEFT)
    .one_layer(PACK),
    file("read-model", "open a file where the models are", |t| {
        openat(&path(&t.sinks.models, "present")?, libc::O_RDONLY)
    })
    .required()
    .left(&[Mode::Broker, Mode::Serve, Mode::Pack]),
    file("write-model", "create a file where the models are", |t| {
        write_file(&path(&t.sinks.models, "leak")?)
    })
    .required()
    .left(BROKER_AND_PACK),
    #[cfg(target_arch = "x86_64")]
    file("open", "open a file by the older call", |t| {
        let path = present(t)?;
        // SAFETY: the path ends in a zero byte.
        let fd = unsafe { sys!(libc::SYS_open, path.as_ptr(), libc::O_CLOEXEC, 0) }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_open", libc::SYS_open)
    .required()
    .left(LEFT),
    file("openat2", "open a file by the newer call", |t| {
        let path = present(t)?;
        // The kernel's open_how: flags, mode, resolve.
        let how = [libc::O_CLOEXEC as u64, 0, 0];
        // SAFETY: the path ends in a zero byte; the parameters are as long as said.
        let fd = unsafe {
            sys!(
                libc::SYS_openat2,
                AT_FDCWD,
                path.as_ptr(),
                &raw const how,
                24usize
            )
        }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_openat2", libc::SYS_openat2)
    .left(LEFT),
    file("delete-file", "delete a file", |t| {
        let path = present(t)?;
        // SAFETY: the path ends in a zero byte.
        unsafe { sys!(libc::SYS_unlinkat, AT_FDCWD, path.as_ptr(), 0) }?;
        // For the next attempt, if that may be.
        let _ = write_file(&path);
        Ok(())
    })
    .by("SYS_unlinkat", libc::SYS_unlinkat)
    .required()
    .left(LEFT)
    // (By this call where there is no older one.)
    .one_layer(PACK),
    file("rename-file", "rename a file", |t| {
        let (from, to) = (present(t)?, path(&t.sinks.folder, "renamed")?);
        let rename = |from: &CString, to: &CString| {
            let (from, to) = (from.as_ptr(), to.as_ptr());
            // SAFETY: the paths end in zero bytes.
            unsafe { sys!(libc::SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) }
        };
        rename(&from, &to)?;
        rename(&to, &from).map(drop)
    })
    .by("SYS_renameat2", libc::SYS_renameat2)
    .required()
    .left(LEFT),
    file("make-folder", "make a folder", |t| {
        let path = path(&t.sinks.folder, "made")?;
        // SAFETY: the path ends in a zero byte.
        unsafe { sys!(libc::SYS_mkdirat, AT_FDCWD, path.as_ptr(), 0o700) }?;
        // SAFETY: as above.
        let _ = unsafe {
            sys!(
                libc::SYS_unlinkat,
                AT_FDCWD,
                path.as_ptr(),
                libc::AT_REMOVEDIR
            )
        };
        Ok(())
    })
    .by("SYS_mkdirat", libc::SYS_mkdirat)
    .required()
    .left(LEFT)
    .one_layer(PACK),
    file("link-file", "give a file a second name", |t| {
        let (from, to) = (present(t)?, path(&t.sinks.folder, "second")?);
        // SAFETY: the paths end in zero bytes.
        unsafe {
            sys!(
                libc::SYS_linkat,
                AT_FDCWD,
                from.as_ptr(),
                AT_FDCWD,
                to.as_ptr(),
                0
            )
        }?;
        remove(&to);
        Ok(())
    })
    .by("SYS_linkat", libc::SYS_linkat)
    .left(LEFT),
    file("symlink", "make a symbolic link, with data in it", |t| {
        let to = path(&t.sinks.folder, "link")?;
        // SAFETY: the paths end in zero bytes.
        unsafe { sys!(libc::SYS_symlinkat, c"leak".as_ptr(), AT_FDCWD, to.as_ptr()) }?;
        remove(&to);
        Ok(())
    })
    .by("SYS_symlinkat", libc::SYS_symlinkat)
    .left(LEFT),
    file("truncate", "empty a file", |t| {
        // SAFETY: the path ends in a zero byte.
        unsafe { sys!(libc::SYS_truncate, present(t)?.as_ptr(), 0) }.map(drop)
    })
    .by("SYS_truncate", libc::SYS_truncate)
    .required()
    .left(LEFT),
    file("chmod", "change who may read a file", |t| {
        // SAFETY: as above.
        unsafe { sys!(libc::SYS_fchmodat, AT_FDCWD, present(t)?.as_ptr(), 0o600) }.map(drop)
    })
    .by("SYS_fchmodat", libc::SYS_fchmodat)
    .required()
    .left(LEFT),
    file("look", "look whether a file exists", |t| {
        // SAFETY: as above.
        unsafe { sys!(libc::SYS_faccessat, AT_FDCWD, present(t)?.as_ptr(), 0) }.map(drop)
    })
    .by("SYS_faccessat", libc::SYS_faccessat)
    .required()
    .left(LEFT),
    file("stat", "ask for a file's size and dates", |t| {
        let (path, mut found) = (present(t)?, [0u64; 32]);
        // The flag says that the path may be empty, and so may look harmless; it need not be.
        let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_BASIC_STATS);
        // SAFETY: the path ends in a zero byte; the buffer has the 256 bytes that the kernel writes.
        unsafe {
            sys!(
                libc::SYS_statx,
                AT_FDCWD,
                path.as_ptr(),
                flags,
                mask,
                &raw mut found
            )
        }
        .map(drop)
    })
    .by("SYS_statx", libc::SYS_statx)
    .left(BROKER_AND_PACK),
    file("list-folder", "list a folder", |t| {
        let mut buffer = [0u64; 256];
        // SAFETY: the buffer is as long as said.
        unsafe { sys!(libc::SYS_getdents64, t.folder(), &raw mut buffer, 2048usize) }.map(drop)
    })
    .by("SYS_getdents64", libc::SYS_getdents64)
    .required()
    .left(BROKER_AND_PACK),
    file("read-link", "ask where this program's file lies", |_| {
        let (path, mut buffer) = (c"/proc/self/exe", [0u8; 256]);
        // SAFETY: the path ends in a zero byte; the buffer is as long as said.
        unsafe {
            sys!(
                libc::SYS_readlinkat,
                AT_FDCWD,
                path.as_ptr(),
                &raw mut buffer,
                256usize
            )
        }
        .map(drop)
    })
    .by("SYS_readlinkat", libc::SYS_readlinkat)
    .required()
    .left(LEFT),
    file("own-memory-file", "open /proc/self/mem", |_| {
        openat(c"/proc/self/mem", libc::O_RDWR)
    })
    .left(LEFT)
    .one_layer(PACK),
    file("inotify", "watch files", |_| {
        // SAFETY: no memory is passed.
        let fd = unsafe { sys!(libc::SYS_inotify_init1, libc::IN_CLOEXEC) }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_inotify_init1", libc::SYS_inotify_init1)
    .left(LEFT),
];

fn path(folder: &Path, name: &str) -> io::Result<CString> {
    CString::new(folder.join(name).into_os_string().into_encoded_bytes()).map_err(Error::other)
}

fn present(t: &Targets) -> io::Result<CString> {
    path(&t.sinks.folder, "present")
}

fn openat(path: &std::ffi::CStr, flags: c_int) -> io::Result<()> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the path ends in a zero byte.
    let fd = unsafe { sys!(libc::SYS_openat, AT_FDCWD, path.as_ptr(), flags, 0o600) }?;
    drop(Fd(fd as c_int));
    Ok(())
}

fn write_file(path: &std::ffi::CStr) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: the path ends in a zero byte.
    let fd = unsafe { sys!(libc::SYS_openat, AT_FDCWD, path.as_ptr(), flags, 0o600) }?;
    let fd = Fd(fd as c_int);
    // SAFETY: the bytes are static.
    super::check(unsafe { libc::write(fd.0, b"leak".as_ptr().cast(), 4) } as _).map(drop)
}

fn remove(path: &std::ffi::CStr) {
    // SAFETY: the path ends in a zero byte.
    let _ = unsafe { sys!(libc::SYS_unlinkat, AT_FDCWD, path.as_ptr(), 0) };
}
