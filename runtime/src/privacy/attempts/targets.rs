//! What attempts are made at: sinks that their maker holds, and what a process keeps of them.

#![expect(
    clippy::disallowed_methods,
    reason = "sinks on this machine, for attempts that must not reach them"
)]

use super::Fd;
use libc::{c_int, socklen_t};
use std::io::{self, Error};
use std::mem::size_of;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::PathBuf;

/// What waits for attempts, made by whoever runs them: all on this machine.
#[derive(Clone, Debug)]
pub struct Sinks {
    /// Whether there is a loopback interface; if not, attempts at it find nothing to be made at.
    pub loopback: bool,
    /// A TCP listener on the loopback interface.
    pub tcp: SocketAddrV4,
    /// A UDP socket on the loopback interface.
    pub udp: SocketAddrV4,
    /// A DNS server there, which answers every query with one address.
    pub dns: SocketAddrV4,
    /// A listening Unix socket's path.
    pub unix: PathBuf,
    /// A listening Unix socket's name in the abstract namespace, without its leading zero byte.
    pub unix_abstract: String,
    /// A folder that may be written to, with a file named `present` in it.
    pub folder: PathBuf,
    /// The same, where models may be opened for reading in [`super::Mode::Serve`].
    pub models: PathBuf,
    /// Another process of the same user.
    pub victim: Victim,
}

/// A process that lets itself be attacked.
#[derive(Clone, Copy, Debug)]
pub struct Victim {
    /// Its id.
    pub pid: i32,
    /// Where [`Victim::SECRET`] lies in its memory.
    pub address: usize,
}

impl Victim {
    /// What it knows.
    pub const SECRET: &'static [u8; 16] = b"hob-victim-knows";
}

/// Descriptors from before the process closed what it inherited: open elsewhere, closed in `hob run`.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// A connection to the TCP sink.
    pub(super) connection: c_int,
    /// A UDP socket.
    pub(super) udp: c_int,
    /// TCP sockets that nothing was done with.
    pub(super) fresh: [c_int; 3],
}

/// Descriptors that a process opens on purpose before it confines itself; -1 for what this system does
/// not have.
#[derive(Clone, Copy, Debug)]
struct Kept {
    listener: c_int,
    /// The slave of a pseudo-terminal that controls this process.
    terminal: c_int,
    /// A file in memory with a program in it.
    program: c_int,
    /// The same with bytes that are no program.
    garbage: c_int,
    /// The victim.
    pidfd: c_int,
    /// The namespace of networks that this process is in.
    namespace: c_int,
    /// The folder of the sinks.
    folder: c_int,
}

/// All that attempts are made at.
#[derive(Clone, Debug)]
pub struct Targets {
    pub(super) sinks: Sinks,
    pub(super) inherited: Inherited,
    kept: Kept,
}

fn socket(kind: c_int) -> io::Result<Fd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0) };
    super::check(fd.into()).map(|_| Fd(fd))
}

/// The descriptor again, which nobody owns, under a number that what is opened later does not get: or that
/// would be written to in its place when it is closed.
fn leave_open(fd: c_int) -> io::Result<c_int> {
    const APART: c_int = 100;
    // SAFETY: no memory is passed.
    let again = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, APART) };
    super::check(again.into()).map(|_| again)
}

impl Inherited {
    /// Opens them.
    ///
    /// # Errors
    /// The sinks cannot be reached.
    pub fn open(sinks: &Sinks) -> io::Result<Inherited> {
        let connection = match std::net::TcpStream::connect(sinks.tcp) {
            Ok(connection) => leave_open(connection.as_raw_fd())?,
            Err(_) if !sinks.loopback => -1,
            Err(e) => return Err(e),
        };
        let socket = |kind| socket(kind).and_then(|fd| leave_open(fd.0));
        let fresh = || socket(libc::SOCK_STREAM);
        Ok(Inherited {
            connection,
            udp: socket(libc::SOCK_DGRAM)?,
            fresh: [fresh()?, fresh()?, fresh()?],
        })
    }
}

impl Targets {
    /// Opens what the process keeps on purpose, to be confined with it. It leads a session of its own
    /// afterwards, with a terminal that nobody looks at.
    ///
    /// # Errors
    /// No listener can be made.
    pub fn open(sinks: Sinks, inherited: Inherited) -> io::Result<Targets> {
        let kept = Kept {
            listener: match listener() {
                Err(_) if !sinks.loopback => -1,
                listener => listener?,
            },
            terminal: terminal().unwrap_or(-1),
            program: in_memory(&super::programs::elf()).unwrap_or(-1),
            garbage: in_memory(b"no program").unwrap_or(-1),
            // SAFETY: no memory is passed.
            pidfd: unsafe { libc::syscall(libc::SYS_pidfd_open, sinks.victim.pid, 0) } as c_int,
            namespace: open(std::path::Path::new("/proc/self/ns/net")),
            folder: open(&sinks.folder),
        };
        Ok(Targets {
            sinks,
            inherited,
            kept,
        })
    }

    pub(super) fn listener(&self) -> c_int {
        self.kept.listener
    }

    pub(super) fn terminal(&self) -> c_int {
        self.kept.terminal
    }

    pub(super) fn program(&self) -> c_int {
        self.kept.program
    }

    pub(super) fn garbage(&self) -> c_int {
        self.kept.garbage
    }

    pub(super) fn pidfd(&self) -> c_int {
        self.kept.pidfd
    }

    pub(super) fn namespace(&self) -> c_int {
        self.kept.namespace
    }

    pub(super) fn folder(&self) -> c_int {
        self.kept.folder
    }
}

fn open(path: &std::path::Path) -> c_int {
    std::fs::File::open(path).map_or(-1, IntoRawFd::into_raw_fd)
}

/// A listening socket on the loopback interface, with callers waiting: one for every thread that tries.
fn listener() -> io::Result<c_int> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    for _ in 0..3 {
        // Left open, so that there is somebody to answer.
        let _caller = std::net::TcpStream::connect(listener.local_addr()?)?.into_raw_fd();
    }
    Ok(listener.into_raw_fd())
}

/// Makes a pseudo-terminal, and this process the leader of a session that it controls.
fn terminal() -> io::Result<c_int> {
    // SAFETY: no memory is passed.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    super::check(master.into())?;
    let mut name = [0; 64];
    // SAFETY: the buffer is as long as said.
    unsafe {
        super::check(libc::grantpt(master).into())?;
        super::check(libc::unlockpt(master).into())?;
        match libc::ptsname_r(master, name.as_mut_ptr(), name.len()) {
            0 => (),
            e => return Err(Error::from_raw_os_error(e)),
        }
        // The master stays open to the end: its last close would end this process.
        super::check(libc::setsid().into())?;
        let slave = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        super::check(slave.into())?;
        super::check(libc::ioctl(slave, libc::TIOCSCTTY, 0).into())?;
        Ok(slave)
    }
}

fn in_memory(content: &[u8]) -> io::Result<c_int> {
    // SAFETY: the name ends in a zero byte.
    let fd = unsafe { libc::memfd_create(c"hob-privacy".as_ptr(), libc::MFD_CLOEXEC) };
    super::check(fd.into())?;
    // SAFETY: the bytes are as many as said.
    super::check(unsafe { libc::write(fd, content.as_ptr().cast(), content.len()) } as _)?;
    Ok(fd)
}

/// An IPv4 address as the kernel wants it.
pub(super) fn ipv4(to: SocketAddrV4) -> (libc::sockaddr_in, socklen_t) {
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = to.port().to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
    (address, size_of::<libc::sockaddr_in>() as socklen_t)
}
