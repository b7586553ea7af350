//! What waits for leaks: local sockets that count the bytes they receive, and a folder.

#![expect(
    clippy::disallowed_methods,
    reason = "sinks on this machine, for attempts that must not reach them"
)]

use anyhow::Context;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The sinks; their threads end with the process.
pub(super) struct Sinks {
    received: Arc<AtomicU64>,
    tcp: SocketAddr,
    udp: SocketAddr,
    name: String,
    folder: tempfile::TempDir,
}

/// The names of what lies in the folder.
pub(super) const PRESENT: &str = "present";
pub(super) const UNIX: &str = "socket";

impl Sinks {
    pub(super) fn new() -> anyhow::Result<Sinks> {
        let received = Arc::new(AtomicU64::new(0));
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let what = "cannot listen on this machine's loopback interface";
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
        let what = "cannot listen on a Unix socket";
        let unix = UnixListener::bind(folder.path().join(UNIX)).context(what)?;
        let name = format!("hob-privacy-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).context(what)?;
        let unix_abstract = UnixListener::bind_addr(&address).context(what)?;
        let sinks = Sinks {
            received: received.clone(),
            tcp: tcp.local_addr()?,
            udp: udp.local_addr()?,
            name,
            folder,
        };
        let count = received.clone();
        thread::spawn(move || tcp.incoming().flatten().for_each(|s| drain(s, &count)));
        for listener in [unix, unix_abstract] {
            let count = received.clone();
            thread::spawn(move || listener.incoming().flatten().for_each(|s| drain(s, &count)));
        }
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok(n) = udp.recv(&mut buffer) {
                received.fetch_add(n as u64, SeqCst);
            }
        });
        Ok(sinks)
    }

    /// Makes the file that attempts read and delete.
    pub(super) fn put_file(&self) -> anyhow::Result<()> {
        std::fs::write(self.folder.path().join(PRESENT), "")
            .with_context(|| format!("cannot write to {}", self.folder.path().display()))
    }

    /// How a probe is told of them: see [`super::PrivacyArgs`].
    pub(super) fn places(&self) -> [String; 4] {
        [
            self.tcp.to_string(),
            self.udp.to_string(),
            self.name.clone(),
            self.folder.path().display().to_string(),
        ]
    }

    /// Bytes received, when no more come.
    pub(super) fn settled_bytes(&self) -> u64 {
        loop {
            let before = self.received.load(SeqCst);
            thread::sleep(Duration::from_millis(50));
            if self.received.load(SeqCst) == before {
                return before;
            }
        }
    }
}

/// Reads a connection to its end, on a thread of its own.
fn drain(mut stream: impl Read + Send + 'static, count: &Arc<AtomicU64>) {
    let count = count.clone();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            count.fetch_add(n as u64, SeqCst);
        }
    });
}
