//! Attempts at the network: every family of sockets, and those that are open already.

#![expect(
    clippy::disallowed_methods,
    reason = "attempts that must be refused, at sinks on this machine"
)]

use super::targets::ipv4;
use super::{Attempt, Fd, Kind, SERVE, Targets, attempt, check, or_done, sys};
use crate::privacy::Mode;
use libc::{c_int, c_long, sockaddr, socklen_t};
use std::io::{self, Error};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ptr::null_mut;

/// A conversation's line editor and a server send, to nobody but whom a socket is connected to already.
const SENDS: &[Mode] = &[Mode::Chat, Mode::Serve];
const ALL_MODES: &[Mode] = &Mode::ALL;
const CLOSED: &[c_int] = &[libc::EBADF];

const fn net(
    name: &'static str,
    what: &'static str,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    attempt(name, what, Kind::Network, run)
}

pub(super) const ALL: &[Attempt] = &[
    net("tcp", "connect to a TCP server", tcp).required(),
    net("udp", "send a UDP datagram", udp).required(),
    net("dns", "look a name up (DNS), with data in the name", dns).required(),
    net("mptcp", "connect by multipath TCP", mptcp),
    net(
        "fastopen",
        "send data with a TCP handshake (MSG_FASTOPEN)",
        fastopen,
    ),
    net("icmp", "send a ping", ping),
    net("raw", "open a raw IP socket", |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW).map(drop)
    }),
    net("packet", "open a link-layer socket", |_| {
        socket(libc::AF_PACKET, libc::SOCK_RAW, 0).map(drop)
    }),
    net("netlink", "ask the kernel about networks (netlink)", |_| {
        socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(drop)
    })
    .by("SYS_socket", libc::SYS_socket),
    net(
        "vsock",
        "reach the host of a virtual machine (vsock)",
        |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(drop),
    ),
    net("inherited", "write to a connection left open", |t| {
        write(t.inherited.connection)
    })
    .required()
    .one_layer(ALL_MODES)
    .refusals(CLOSED),
    net(
        "inherited-send",
        "send on a connection left open",
        inherited_send,
    )
    .required()
    .one_layer(SENDS)
    .refusals(CLOSED),
    net(
        "inherited-sendmsg",
        "the same by sendmsg",
        inherited_sendmsg,
    )
    .by("SYS_sendmsg", libc::SYS_sendmsg)
    .required(),
    net(
        "inherited-sendmmsg",
        "the same by sendmmsg",
        inherited_sendmmsg,
    )
    .by("SYS_sendmmsg", libc::SYS_sendmmsg)
    .required(),
    net(
        "inherited-sendto",
        "send a datagram to an address by a socket left open",
        |t| send_to(t.inherited.udp, t.sinks.udp, 0),
    )
    .by("SYS_sendto", libc::SYS_sendto)
    .required(),
    net(
        "inherited-fastopen",
        "send with a TCP handshake by a socket left open",
        |t| {
            let sent = send_to(t.inherited.fresh[0], t.sinks.tcp, libc::MSG_FASTOPEN);
            or_done(sent, &[libc::EISCONN])
        },
    ),
    net(
        "inherited-connect",
        "connect a socket left open elsewhere",
        |t| {
            // It is connected already, as the system says once it has let the call through.
            or_done(
                connect_to(t.inherited.connection, t.sinks.tcp),
                &[libc::EISCONN],
            )
        },
    )
    .by("SYS_connect", libc::SYS_connect)
    .required(),
    net(
        "inherited-bind",
        "take an address for a socket left open",
        |t| {
            let (address, len) = ipv4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
            let at = (&raw const address).cast::<sockaddr>();
            // SAFETY: the address lives here and is as long as said.
            let bound = unsafe { libc::bind(t.inherited.fresh[1], at, len) };
            or_done(check(bound.into()).map(drop), &[libc::EINVAL])
        },
    )
    .by("SYS_bind", libc::SYS_bind)
    .required(),
    net("inherited-listen", "listen on a socket left open", |t| {
        // SAFETY: no memory is passed.
        check(unsafe { libc::listen(t.inherited.fresh[2], 1) }.into()).map(drop)
    })
    .by("SYS_listen", libc::SYS_listen)
    .required(),
    net(
        "accept",
        "take a caller at an open listener, and answer",
        accept,
    )
    .by("SYS_accept4", libc::SYS_accept4)
    .required()
    .left(SERVE),
];

fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<Fd> {
    // SAFETY: no memory is passed.
    let fd = unsafe {
        sys!(
            libc::SYS_socket,
            domain,
            kind | libc::SOCK_CLOEXEC,
            protocol
        )
    }?;
    Ok(Fd(fd as c_int))
}

/// Connects, and sends.
pub(super) fn connect<A>(fd: &Fd, address: &A, len: usize) -> io::Result<()> {
    let at = std::ptr::from_ref(address).cast::<sockaddr>();
    // SAFETY: the address is as long as said, or longer.
    unsafe { sys!(libc::SYS_connect, fd.0, at, len as socklen_t) }?;
    write(fd.0)
}

fn connect_to(fd: c_int, to: SocketAddrV4) -> io::Result<()> {
    let (address, len) = ipv4(to);
    // SAFETY: the address lives here and is as long as said.
    unsafe { sys!(libc::SYS_connect, fd, &raw const address, len) }.map(drop)
}

fn write(fd: c_int) -> io::Result<()> {
    // SAFETY: the bytes are static.
    check(unsafe { libc::write(fd, b"leak".as_ptr().cast(), 4) } as c_long).map(drop)
}

fn send_to(fd: c_int, to: SocketAddrV4, flags: c_int) -> io::Result<()> {
    let (address, len) = ipv4(to);
    let (bytes, flags) = (b"leak".as_ptr(), flags | libc::MSG_NOSIGNAL);
    // SAFETY: the bytes are static, the address lives here and is as long as said.
    unsafe {
        sys!(
            libc::SYS_sendto,
            fd,
            bytes,
            4usize,
            flags,
            &raw const address,
            len
        )
    }
    .map(drop)
}

fn tcp(t: &Targets) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    connect_to(fd.0, t.sinks.tcp)?;
    write(fd.0)
}

fn mptcp(t: &Targets) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
    connect_to(fd.0, t.sinks.tcp)?;
    write(fd.0)
}

fn udp(t: &Targets) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    send_to(fd.0, t.sinks.udp, 0)
}

fn fastopen(t: &Targets) -> io::Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    send_to(fd.0, t.sinks.tcp, libc::MSG_FASTOPEN)
}

/// A query for an address (RFC 1035, section 4.1), as a C library's resolver sends it, and its answer.
fn dns(t: &Targets) -> io::Result<()> {
    // Id, "recursion desired", one question; the name in labels; type A, class IN.
    let query = *b"\x68\x62\x01\0\0\x01\0\0\0\0\0\0\x04leak\x07example\0\0\x01\0\x01";
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect_to(fd.0, t.sinks.dns)?;
    send_many(fd.0, &query)?;
    let mut wait = libc::pollfd {
        fd: fd.0,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which lives here. (Generous: it is the answer of a busy machine.)
    if check(unsafe { libc::poll(&raw mut wait, 1, 5000) }.into())? == 0 {
        return Err(Error::from_raw_os_error(libc::ETIMEDOUT));
    }
    let mut answer = [0u8; 64];
    // SAFETY: the buffer is as long as said.
    let n = check(unsafe { libc::read(fd.0, answer.as_mut_ptr().cast(), answer.len()) } as c_long)?;
    if n < query.len() as c_long || answer[..2] != query[..2] {
        return Err(Error::from_raw_os_error(libc::EBADMSG));
    }
    Ok(())
}

/// An echo request (RFC 792) to this machine, by a ping socket or else a raw one.
fn ping(_: &Targets) -> io::Result<()> {
    let icmp = |kind| socket(libc::AF_INET, kind, libc::IPPROTO_ICMP);
    let fd = icmp(libc::SOCK_DGRAM).or_else(|_| icmp(libc::SOCK_RAW))?;
    let (address, len) = ipv4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    // Type 8, code 0, the checksum of just that.
    let echo = [8u8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    // SAFETY: the bytes and the address live here and are as long as said.
    unsafe {
        sys!(
            libc::SYS_sendto,
            fd.0,
            echo.as_ptr(),
            8usize,
            0,
            &raw const address,
            len
        )
    }
    .map(drop)
}

fn inherited_send(t: &Targets) -> io::Result<()> {
    let (fd, bytes, flags) = (t.inherited.connection, b"leak".as_ptr(), libc::MSG_NOSIGNAL);
    let nobody = null_mut::<sockaddr>();
    // SAFETY: the bytes are static.
    unsafe { sys!(libc::SYS_sendto, fd, bytes, 4usize, flags, nobody, 0) }.map(drop)
}

fn message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeros are an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

fn inherited_sendmsg(t: &Targets) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: b"leak".as_ptr().cast_mut().cast(),
        iov_len: 4,
    };
    let message = message(&mut part);
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the message and what it points to live here; the kernel only reads them.
    unsafe {
        sys!(
            libc::SYS_sendmsg,
            t.inherited.connection,
            &raw const message,
            flags
        )
    }
    .map(drop)
}

fn inherited_sendmmsg(t: &Targets) -> io::Result<()> {
    send_many(t.inherited.connection, b"leak")
}

/// One message by sendmmsg, as the GNU C library's resolver does.
fn send_many(fd: c_int, bytes: &[u8]) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut messages = [libc::mmsghdr {
        msg_hdr: message(&mut part),
        msg_len: 0,
    }];
    let at = messages.as_mut_ptr();
    // SAFETY: the messages and what they point to live here; the kernel writes their lengths only.
    unsafe { sys!(libc::SYS_sendmmsg, fd, at, 1, libc::MSG_NOSIGNAL) }.map(drop)
}

fn accept(t: &Targets) -> io::Result<()> {
    let (nobody, flags) = (null_mut::<sockaddr>(), libc::SOCK_CLOEXEC);
    // SAFETY: no memory is passed.
    let fd = unsafe { sys!(libc::SYS_accept4, t.listener(), nobody, nobody, flags) }?;
    write(Fd(fd as c_int).0)
}
