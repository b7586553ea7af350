//! What a program would do to leak or to break out, each tried for real. In: sinks that wait for it.
//! Out: whether the system let it happen.
//!
//! `hob privacy` runs each attempt in an unconfined process first: one that fails there proves nothing
//! about confinement. System calls are made directly, so that no library's detour answers instead.

// Raw system calls: what a hostile program has.
#![allow(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "they are tried where they must be refused"
)]

use libc::{c_int, c_long, sockaddr, socklen_t};
use std::ffi::CString;
use std::io::{self, Error};
use std::mem::{size_of, zeroed};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::ptr::{null, null_mut};

/// What waits for attempts, made by whoever runs them: all on this machine.
#[derive(Clone, Debug)]
pub struct Sinks {
    /// A TCP listener on the loopback interface.
    pub tcp: SocketAddrV4,
    /// A UDP socket on the loopback interface.
    pub udp: SocketAddrV4,
    /// A listening Unix socket's path.
    pub unix: PathBuf,
    /// A listening Unix socket's name in the abstract namespace, without its leading zero byte.
    pub unix_abstract: String,
    /// A folder that may be written to, with a file named `present` in it.
    pub folder: PathBuf,
    /// A socket connected to `tcp` before the process was confined, and since then to be closed.
    pub inherited: c_int,
}

/// An attempt.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// Name, for scripts.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// What it is about.
    pub kind: Kind,
    run: fn(&Sinks) -> io::Result<()>,
}

/// What an attempt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Data leaves by a network or to another program.
    Network,
    /// Data is read from or written to files.
    Files,
    /// Another program runs, or new code does.
    Programs,
    /// Other processes, or the kernel's interfaces to them.
    Processes,
}

impl Attempt {
    /// Tries it.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn run(&self, sinks: &Sinks) -> io::Result<()> {
        (self.run)(sinks)
    }
}

/// All attempts.
pub const ALL: &[Attempt] = &[
    attempt("tcp", "connect to a TCP server", Kind::Network, tcp),
    attempt(
        "udp",
        "send a UDP datagram (as a DNS lookup does)",
        Kind::Network,
        udp,
    ),
    attempt("mptcp", "connect by multipath TCP", Kind::Network, mptcp),
    attempt(
        "fastopen",
        "send data with a TCP handshake",
        Kind::Network,
        fastopen,
    ),
    attempt(
        "inherited-send",
        "send on a connection left open",
        Kind::Network,
        inherited_send,
    ),
    attempt(
        "inherited-connect",
        "connect a socket left open elsewhere",
        Kind::Network,
        inherited_connect,
    ),
    attempt(
        "inherited",
        "write to a connection left open",
        Kind::Network,
        inherited,
    ),
    attempt(
        "unix",
        "connect to another program's socket file",
        Kind::Network,
        unix,
    ),
    attempt(
        "unix-abstract",
        "connect to an abstract Unix socket",
        Kind::Network,
        unix_abstract,
    ),
    attempt("icmp", "open a ping socket", Kind::Network, |_| {
        socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP).map(drop)
    }),
    attempt("raw", "open a raw IP socket", Kind::Network, |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW).map(drop)
    }),
    attempt("packet", "open a link-layer socket", Kind::Network, |_| {
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0).map(drop)
    }),
    attempt(
        "netlink",
        "ask the kernel about networks",
        Kind::Network,
        |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(drop),
    ),
    attempt(
        "vsock",
        "open a socket to the host of a virtual machine",
        Kind::Network,
        |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(drop),
    ),
    attempt(
        "io_uring",
        "reach system calls by io_uring",
        Kind::Network,
        io_uring,
    ),
    attempt(
        "read-file",
        "open a file for reading",
        Kind::Files,
        read_file,
    ),
    attempt("write-file", "create a file", Kind::Files, write_file),
    attempt("delete-file", "delete a file", Kind::Files, delete_file),
    attempt(
        "own-memory-file",
        "open /proc/self/mem",
        Kind::Files,
        |_| open(c"/proc/self/mem", libc::O_RDWR),
    ),
    attempt("memfd", "make a file in memory", Kind::Programs, memfd),
    attempt("fork", "start a process", Kind::Programs, fork),
    attempt("exec", "become another program", Kind::Programs, exec),
    attempt(
        "new-code",
        "map memory that can be executed",
        Kind::Programs,
        new_code,
    ),
    attempt(
        "make-executable",
        "make memory executable",
        Kind::Programs,
        make_executable,
    ),
    attempt(
        "ptrace",
        "be traced by, or trace, a process",
        Kind::Processes,
        ptrace,
    ),
    attempt("signal", "signal another process", Kind::Processes, signal),
    attempt(
        "namespace",
        "enter a namespace of its own",
        Kind::Processes,
        namespace,
    ),
    attempt("inotify", "watch files", Kind::Files, inotify),
];

const fn attempt(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    run: fn(&Sinks) -> io::Result<()>,
) -> Attempt {
    Attempt {
        name,
        what,
        kind,
        run,
    }
}

/// A descriptor that is closed at the end of the attempt.
struct Fd(c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor.
        unsafe { libc::close(self.0) };
    }
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(result)
}

fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<Fd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    check(fd.into()).map(|_| Fd(fd))
}

fn ipv4(to: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = to.port().to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
    address
}

fn connect<A>(fd: &Fd, address: &A, len: usize) -> io::Result<()> {
    let at = std::ptr::from_ref(address).cast::<sockaddr>();
    // SAFETY: the address is as long as said, or longer.
    check(unsafe { libc::connect(fd.0, at, len as socklen_t) }.into())?;
    send(fd.0)
}

fn send(fd: c_int) -> io::Result<()> {
    // SAFETY: the bytes are static.
    check(unsafe { libc::write(fd, b"leak".as_ptr().cast(), 4) } as c_long).map(drop)
}

fn send_to(fd: &Fd, to: SocketAddrV4, flags: c_int) -> io::Result<()> {
    let address = ipv4(to);
    let at = (&raw const address).cast::<sockaddr>();
    let len = size_of::<libc::sockaddr_in>() as socklen_t;
    // SAFETY: the bytes are static, the address lives here.
    let sent = unsafe { libc::sendto(fd.0, b"leak".as_ptr().cast(), 4, flags, at, len) };
    check(sent as c_long).map(drop)
}

fn tcp(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    connect(&fd, &ipv4(s.tcp), size_of::<libc::sockaddr_in>())
}

fn mptcp(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    connect(&fd, &ipv4(s.tcp), size_of::<libc::sockaddr_in>())
}

fn udp(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    send_to(&fd, s.udp, 0)
}

fn fastopen(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    send_to(&fd, s.tcp, libc::MSG_FASTOPEN)
}

fn inherited(s: &Sinks) -> io::Result<()> {
    send(s.inherited)
}

fn inherited_send(s: &Sinks) -> io::Result<()> {
    // SAFETY: the bytes are static.
    let sent = unsafe { libc::send(s.inherited, b"leak".as_ptr().cast(), 4, libc::MSG_NOSIGNAL) };
    check(sent as c_long).map(drop)
}

/// It is connected already, as the system says once it has let the call through.
fn inherited_connect(s: &Sinks) -> io::Result<()> {
    let address = ipv4(s.tcp);
    let len = size_of::<libc::sockaddr_in>() as socklen_t;
    // SAFETY: the address lives here.
    let result = unsafe { libc::connect(s.inherited, (&raw const address).cast(), len) };
    match check(result.into()) {
        Err(e) if e.raw_os_error() == Some(libc::EISCONN) => Ok(()),
        other => other.map(drop),
    }
}

fn unix_address(name: &[u8], is_abstract: bool) -> (libc::sockaddr_un, usize) {
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
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

fn unix(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let (address, len) = unix_address(s.unix.as_os_str().as_encoded_bytes(), false);
    connect(&fd, &address, len)
}

fn unix_abstract(s: &Sinks) -> io::Result<()> {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let (address, len) = unix_address(s.unix_abstract.as_bytes(), true);
    connect(&fd, &address, len)
}

fn io_uring(_: &Sinks) -> io::Result<()> {
    // The kernel's io_uring_params, 120 bytes, zeros.
    let mut params = [0u64; 15];
    // SAFETY: the parameters have the size that the kernel writes.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    check(fd).map(|fd| drop(Fd(fd as c_int)))
}

fn path(s: &Sinks, name: &str) -> io::Result<CString> {
    let path = s.folder.join(name);
    CString::new(path.into_os_string().into_encoded_bytes()).map_err(Error::other)
}

fn open(path: &std::ffi::CStr, flags: c_int) -> io::Result<()> {
    // SAFETY: the path ends in a zero byte.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    check(fd.into()).map(|_| drop(Fd(fd)))
}

fn read_file(s: &Sinks) -> io::Result<()> {
    open(&path(s, "present")?, libc::O_RDONLY)
}

fn write_file(s: &Sinks) -> io::Result<()> {
    open(&path(s, "leak")?, libc::O_WRONLY | libc::O_CREAT)
}

fn delete_file(s: &Sinks) -> io::Result<()> {
    // SAFETY: the path ends in a zero byte.
    check(unsafe { libc::unlink(path(s, "present")?.as_ptr()) }.into())?;
    // For the next attempt, if that may be.
    let _ = open(&path(s, "present")?, libc::O_WRONLY | libc::O_CREAT);
    Ok(())
}

fn memfd(_: &Sinks) -> io::Result<()> {
    // SAFETY: the name ends in a zero byte.
    let fd = unsafe { libc::memfd_create(c"hob".as_ptr(), libc::MFD_CLOEXEC) };
    check(fd.into()).map(|_| drop(Fd(fd)))
}

fn fork(_: &Sinks) -> io::Result<()> {
    // SAFETY: the child ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    check(child.into())?;
    // SAFETY: nobody wants the status; that it may not be asked for changes nothing.
    unsafe { libc::waitpid(child, null_mut(), 0) };
    Ok(())
}

/// Tried in this very process, with a program that does not exist: the refusal of the call itself comes
/// before that of the name.
fn exec(_: &Sinks) -> io::Result<()> {
    let argv = [c"hob".as_ptr(), null()];
    // SAFETY: the strings end in zero bytes, the list in a null.
    unsafe {
        libc::execve(
            c"/nonexistent/hob".as_ptr(),
            argv.as_ptr(),
            [null()].as_ptr(),
        )
    };
    match Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        e => Err(e),
    }
}

fn map(protection: c_int) -> io::Result<*mut libc::c_void> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, of nobody's memory.
    let p = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
    if p == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    Ok(p)
}

fn new_code(_: &Sinks) -> io::Result<()> {
    let p = map(libc::PROT_READ | libc::PROT_EXEC)?;
    // SAFETY: this attempt's own mapping.
    unsafe { libc::munmap(p, 4096) };
    Ok(())
}

fn make_executable(_: &Sinks) -> io::Result<()> {
    let p = map(libc::PROT_READ | libc::PROT_WRITE)?;
    // SAFETY: this attempt's own mapping.
    let result = unsafe { libc::mprotect(p, 4096, libc::PROT_READ | libc::PROT_EXEC) };
    let result = check(result.into()).map(drop);
    // SAFETY: as above.
    unsafe { libc::munmap(p, 4096) };
    result
}

fn ptrace(_: &Sinks) -> io::Result<()> {
    // SAFETY: no memory is passed. A request of a process that does not exist: refused before it is
    // looked for, or not found.
    let result = unsafe { libc::ptrace(libc::PTRACE_ATTACH, i32::MAX, 0, 0) };
    match check(result) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

fn signal(_: &Sinks) -> io::Result<()> {
    // SAFETY: signal 0 only asks whether it could be sent.
    check(unsafe { libc::kill(libc::getppid(), 0) }.into()).map(drop)
}

fn namespace(_: &Sinks) -> io::Result<()> {
    // SAFETY: no memory is passed. Of all that can be unshared, this harms the caller least.
    check(unsafe { libc::unshare(libc::CLONE_SYSVSEM | libc::CLONE_FS) }.into()).map(drop)
}

fn inotify(_: &Sinks) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    check(fd.into()).map(|_| drop(Fd(fd)))
}
