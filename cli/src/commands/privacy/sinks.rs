//! What waits for leaks: local sockets that count the bytes they receive, folders, and a process that lets
//! itself be attacked.

#![expect(
    clippy::disallowed_methods,
    reason = "sinks on this machine, for attempts that must not reach them"
)]

use super::probe::{self, Places};
use anyhow::Context;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// The sinks; their threads end with the process, the victim and the folders with this value.
pub(super) struct Sinks {
    received: Arc<AtomicU64>,
    places: Places,
    victim: Child,
    folder: tempfile::TempDir,
}

/// The names of what lies in the folder.
pub(super) const UNIX: &str = "socket";
const PRESENT: &str = "present";
const PROGRAM: &str = "program";
const MODELS: &str = "models";
const CRASHES: &str = "crashes";

impl Sinks {
    pub(super) fn new() -> anyhow::Result<Sinks> {
        let received = Arc::new(AtomicU64::new(0));
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        for name in [MODELS, CRASHES] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let program = folder.path().join(PROGRAM);
        std::fs::write(&program, hob::privacy::attempts::program())?;
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700))?;
        // In a namespace without interfaces nobody answers there.
        let loopback = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| TcpStream::connect(listener.local_addr()?))
            .is_ok();
        let own = match loopback {
            true => Ipv4Addr::LOCALHOST,
            false => Ipv4Addr::UNSPECIFIED,
        };
        let what = "cannot listen on this machine";
        let udp_sink = || UdpSocket::bind((own, 0)).context(what);
        let tcp = TcpListener::bind((own, 0)).context(what)?;
        let (udp, dns) = (udp_sink()?, udp_sink()?);
        let what = "cannot listen on a Unix socket";
        let unix = UnixListener::bind(folder.path().join(UNIX)).context(what)?;
        let name = format!("hob-privacy-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).context(what)?;
        let unix_abstract = UnixListener::bind_addr(&address).context(what)?;
        let (victim, said) = victim()?;
        let port = |address: SocketAddr| address.port();
        let places = Places {
            loopback,
            tcp: port(tcp.local_addr()?),
            udp: port(udp.local_addr()?),
            dns: port(dns.local_addr()?),
            name,
            folder: folder.path().to_owned(),
            models: folder.path().join(MODELS),
            victim: said,
        };
        let count = received.clone();
        thread::spawn(move || tcp.incoming().flatten().for_each(|s| drain(s, &count)));
        for listener in [unix, unix_abstract] {
            let count = received.clone();
            thread::spawn(move || listener.incoming().flatten().for_each(|s| drain(s, &count)));
        }
        let count = received.clone();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok(n) = udp.recv(&mut buffer) {
                count.fetch_add(n as u64, SeqCst);
            }
        });
        let count = received.clone();
        thread::spawn(move || answer_queries(&dns, &count));
        Ok(Sinks {
            received,
            places,
            victim,
            folder,
        })
    }

    /// Makes the files that attempts read and delete.
    pub(super) fn put_files(&self) -> anyhow::Result<()> {
        for folder in [self.folder.path(), &self.places.models] {
            std::fs::write(folder.join(PRESENT), "present")
                .with_context(|| format!("cannot write to {}", folder.display()))?;
        }
        Ok(())
    }

    /// Where a process may crash.
    pub(super) fn crashes(&self) -> std::path::PathBuf {
        self.folder.path().join(CRASHES)
    }

    /// How a probe is told of them.
    pub(super) fn places(&self) -> &Places {
        &self.places
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

impl Drop for Sinks {
    fn drop(&mut self) {
        // It may be gone already; either way it is no more afterwards.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Starts the victim, and reads its id and where its secret lies.
fn victim() -> anyhow::Result<(Child, (i32, usize))> {
    let mut child = probe::command(&probe::Spec::victim())?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a process to attack")?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    let said = serde_json::from_str(&line).context("the process to attack does not answer")?;
    Ok((child, said))
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

/// A DNS server (RFC 1035, section 4.1): one address, this machine's, for whatever is asked.
fn answer_queries(socket: &UdpSocket, count: &AtomicU64) {
    let mut query = [0; 512];
    while let Ok((n, from)) = socket.recv_from(&mut query) {
        count.fetch_add(n as u64, SeqCst);
        let Some(query) = query.get(..n).filter(|q| q.len() > 12) else {
            continue;
        };
        let mut answer = query.to_vec();
        // A response without error, with one answer.
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..8].copy_from_slice(&[0, 1]);
        // The name asked for; type A, class IN, not to be kept; four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        // Whoever asked may be gone.
        let _ = socket.send_to(&answer, from);
    }
}

/// Whether a process that crashed there left a core file with something in it; removes what it left.
pub(super) fn core_file_in(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold(false, |found, entry| {
        let is_core = entry.metadata().is_ok_and(|m| m.len() > 0);
        // What stays goes with the folder.
        let _ = std::fs::remove_file(entry.path());
        found || is_core
    })
}
