//! Attempts at other programs of this machine: their sockets, memory, descriptors, signals, terminals, and
//! what the kernel shares between them.

use super::network::connect;
use super::targets::Victim;
use super::{Attempt, BROKER, Fd, Kind, Targets, attempt, check, or_done, sys};
use crate::privacy::Mode;
use libc::{c_int, c_void};
use std::ffi::CString;
use std::io::{self, Error};
use std::mem::size_of;
use std::ptr::{null, null_mut};

const fn other(
    name: &'static str,
    what: &'static str,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    attempt(name, what, Kind::Neighbours, run)
}

pub(super) const ALL: &[Attempt] = &[
    other("unix", "connect to another program's socket file", unix).required(),
    other(
        "unix-abstract",
        "connect to an abstract Unix socket",
        unix_abstract,
    )
    .required(),
    other("ptrace", "attach to another process (ptrace)", ptrace)
        .by("SYS_ptrace", libc::SYS_ptrace),
    other("read-memory", "read another process's memory", |t| {
        copy_memory(t, libc::SYS_process_vm_readv)
    })
    .by("SYS_process_vm_readv", libc::SYS_process_vm_readv),
    other("write-memory", "write another process's memory", |t| {
        copy_memory(t, libc::SYS_process_vm_writev)
    })
    .by("SYS_process_vm_writev", libc::SYS_process_vm_writev),
    other(
        "memory-file",
        "read another process's memory by /proc/PID/mem",
        memory_file,
    )
    // Opening for reading is left there, but not beneath /proc.
    .one_layer(&[Mode::Broker, Mode::Serve, Mode::Pack]),
    other("take-descriptor", "take another process's open file", |t| {
        // SAFETY: no memory is passed.
        let fd = unsafe { sys!(libc::SYS_pidfd_getfd, t.pidfd(), 1, 0) }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_pidfd_getfd", libc::SYS_pidfd_getfd),
    other("handle", "get a handle on another process", |t| {
        // SAFETY: no memory is passed.
        let fd = unsafe { sys!(libc::SYS_pidfd_open, t.sinks.victim.pid, 0) }?;
        drop(Fd(fd as c_int));
        Ok(())
    })
    .by("SYS_pidfd_open", libc::SYS_pidfd_open)
    .left(BROKER),
    other("signal", "signal another process", |t| {
        // SAFETY: signal 0 only asks whether it could be sent.
        unsafe { sys!(libc::SYS_kill, t.sinks.victim.pid, 0) }.map(drop)
    })
    .by("SYS_kill", libc::SYS_kill)
    .required()
    .left(BROKER),
    other("signal-thread", "signal a thread of another process", |t| {
        let pid = t.sinks.victim.pid;
        // SAFETY: as above; a process's first thread has its id.
        unsafe { sys!(libc::SYS_tgkill, pid, pid, 0) }.map(drop)
    })
    .by("SYS_tgkill", libc::SYS_tgkill)
    .required()
    .left(BROKER),
    other("signal-handle", "signal another process by a handle", |t| {
        // SAFETY: as above.
        unsafe { sys!(libc::SYS_pidfd_send_signal, t.pidfd(), 0, 0, 0) }.map(drop)
    })
    .by("SYS_pidfd_send_signal", libc::SYS_pidfd_send_signal)
    .left(BROKER),
    other(
        "type",
        "type into a terminal for another program (TIOCSTI)",
        |t| {
            // SAFETY: the byte is static.
            unsafe { sys!(libc::SYS_ioctl, t.terminal(), libc::TIOCSTI, b"x".as_ptr()) }.map(drop)
        },
    )
    .by("SYS_ioctl", libc::SYS_ioctl),
    other("keys", "keep data in the kernel's keyrings", keys).by("SYS_add_key", libc::SYS_add_key),
    other("keyring", "use the kernel's keyrings", |_| {
        const GET_KEYRING_ID: c_int = 0;
        // SAFETY: no memory is passed.
        unsafe { sys!(libc::SYS_keyctl, GET_KEYRING_ID, PROCESS_KEYRING, 1) }.map(drop)
    })
    .by("SYS_keyctl", libc::SYS_keyctl),
    other(
        "shared-memory",
        "share memory with other programs",
        shared_memory,
    )
    .by("SYS_shmget", libc::SYS_shmget)
    .left(BROKER),
    other("message-queue", "make a message queue", message_queue)
        .by("SYS_mq_open", libc::SYS_mq_open)
        .left(BROKER),
];

/// This process's own, which ends with it.
const PROCESS_KEYRING: c_int = -2;

fn unix_address(name: &[u8], is_abstract: bool) -> (libc::sockaddr_un, usize) {
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let from = usize::from(is_abstract);
    for (to, &byte) in address.sun_path.iter_mut().skip(from).zip(name) {
        *to = byte as libc::c_char;
    }
    let path_at = size_of::<libc::sockaddr_un>() - address.sun_path.len();
    let len = (path_at + from + name.len() + usize::from(!is_abstract))
        .min(size_of::<libc::sockaddr_un>());
    (address, len)
}

fn unix_socket() -> io::Result<Fd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let fd = unsafe { sys!(libc::SYS_socket, libc::AF_UNIX, kind, 0) }?;
    Ok(Fd(fd as c_int))
}

fn unix(t: &Targets) -> io::Result<()> {
    let (address, len) = unix_address(t.sinks.unix.as_os_str().as_encoded_bytes(), false);
    connect(&unix_socket()?, &address, len)
}

fn unix_abstract(t: &Targets) -> io::Result<()> {
    let (address, len) = unix_address(t.sinks.unix_abstract.as_bytes(), true);
    connect(&unix_socket()?, &address, len)
}

/// Attaches to the victim without stopping it, and lets it go.
fn ptrace(t: &Targets) -> io::Result<()> {
    let (pid, nothing) = (t.sinks.victim.pid, null_mut::<c_void>());
    // SAFETY: no memory is passed; the victim waits for nothing but its end.
    unsafe {
        sys!(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, nothing, nothing)?;
        // Letting go needs a stopped process; where that fails, the end of this thread lets go.
        let _ = sys!(
            libc::SYS_ptrace,
            libc::PTRACE_INTERRUPT,
            pid,
            nothing,
            nothing
        );
        libc::waitpid(pid, null_mut(), libc::__WALL);
        let _ = sys!(libc::SYS_ptrace, libc::PTRACE_DETACH, pid, nothing, nothing);
    }
    Ok(())
}

/// Reads the victim's secret, or writes it over with itself.
fn copy_memory(t: &Targets, call: libc::c_long) -> io::Result<()> {
    let mut own = *Victim::SECRET;
    if call == libc::SYS_process_vm_readv {
        own.fill(0);
    }
    let here = libc::iovec {
        iov_base: own.as_mut_ptr().cast(),
        iov_len: own.len(),
    };
    let there = libc::iovec {
        iov_base: t.sinks.victim.address as *mut c_void,
        iov_len: own.len(),
    };
    let pid = t.sinks.victim.pid;
    // SAFETY: this process's side of the copy lives here and is as long as said.
    unsafe {
        sys!(
            call,
            pid,
            &raw const here,
            1usize,
            &raw const there,
            1usize,
            0usize
        )
    }?;
    known(&own)
}

fn known(read: &[u8; 16]) -> io::Result<()> {
    match read == Victim::SECRET {
        true => Ok(()),
        false => Err(Error::from_raw_os_error(libc::EBADMSG)),
    }
}

fn memory_file(t: &Targets) -> io::Result<()> {
    let path = CString::new(format!("/proc/{}/mem", t.sinks.victim.pid))?;
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path ends in a zero byte.
    let fd = unsafe { sys!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0) }?;
    let fd = Fd(fd as c_int);
    let mut read = [0u8; 16];
    let at = t.sinks.victim.address as libc::off_t;
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::pread(fd.0, read.as_mut_ptr().cast(), read.len(), at) };
    check(n as libc::c_long)?;
    known(&read)
}

fn keys(_: &Targets) -> io::Result<()> {
    let (kind, name) = (c"user".as_ptr(), c"hob-privacy".as_ptr());
    let data = b"leak".as_ptr();
    // SAFETY: strings end in zero bytes, the data is as long as said.
    unsafe { sys!(libc::SYS_add_key, kind, name, data, 4usize, PROCESS_KEYRING) }.map(drop)
}

/// What is made here would outlive the process: it is made only where it can be removed again, and else
/// asked for under a name that nobody has.
fn shared_memory(_: &Targets) -> io::Result<()> {
    const NOBODYS: libc::key_t = 0x686f_6270;
    // SAFETY: no memory is passed.
    unsafe {
        let asked = sys!(libc::SYS_shmget, NOBODYS, 4096usize, 0);
        or_done(asked.map(drop), &[libc::ENOENT])?;
        let none = null_mut::<c_void>();
        let removal = sys!(libc::SYS_shmctl, -1, libc::IPC_RMID, none);
        if or_done(removal.map(drop), &[libc::EINVAL]).is_err() {
            return Ok(());
        }
        let id = sys!(libc::SYS_shmget, libc::IPC_PRIVATE, 4096usize, 0o600)?;
        sys!(libc::SYS_shmctl, id as c_int, libc::IPC_RMID, none).map(drop)
    }
}

/// The same of a message queue.
fn message_queue(_: &Targets) -> io::Result<()> {
    // SAFETY: it makes no memory reference.
    let thread = unsafe { libc::gettid() };
    let name = CString::new(format!("hob-privacy-{thread}"))?;
    let none = null::<c_void>();
    // SAFETY: the name ends in a zero byte; without attributes, the system has its own.
    unsafe {
        let open = |flags: c_int| {
            let flags = flags | libc::O_RDWR | libc::O_CLOEXEC;
            let fd = sys!(libc::SYS_mq_open, name.as_ptr(), flags, 0o600, none)?;
            drop(Fd(fd as c_int));
            Ok(())
        };
        or_done(open(0), &[libc::ENOENT])?;
        let removal = sys!(libc::SYS_mq_unlink, name.as_ptr());
        if or_done(removal.map(drop), &[libc::ENOENT]).is_err() {
            return Ok(());
        }
        // Landlock refuses opening it when it is made already.
        let made = open(libc::O_CREAT);
        let removed = sys!(libc::SYS_mq_unlink, name.as_ptr());
        made.and(removed.map(drop))
    }
}
