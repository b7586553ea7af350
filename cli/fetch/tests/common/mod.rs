//! A mirror on the loopback interface that misbehaves by plan: one fault a request, then none.
//!
//! Bounded: it serves at most [`MAX_REQUESTS`] requests, and stops when it is dropped.

#![allow(dead_code)] // Each test file uses a part.
// (Not an expectation: in cli/fetch it is not barred.)
#![allow(
    clippy::disallowed_methods,
    reason = "a mirror for tests, on this machine"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hob_fetch::{Digest, Mirror, ModelRequest, Pin, Policy};

const MAX_REQUESTS: usize = 2000;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    None,
    /// Closes after this many bytes of the body.
    Cut(usize),
    /// Closes before it answers.
    Hang,
    /// Every 1000th byte of the body is another one.
    WrongBytes,
    /// Announces and sends this many bytes, whatever the file's length is.
    WrongLength(usize),
    /// Answers 200 from the beginning, whatever was asked for.
    IgnoreRange,
    /// The same, and closes after this many bytes.
    IgnoreRangeCut(usize),
    /// Waits before it answers.
    Slow(Duration),
    /// Sends this status and a page of text.
    Status(u16),
    /// Says 206 with a range that begins elsewhere.
    LyingRange,
    /// No length: chunked, and all of it.
    Chunked,
    /// Chunked, and never ends.
    Endless,
    /// Not HTTP.
    Garbage,
    /// To itself, for ever.
    RedirectLoop,
    /// A body as gzip would announce it.
    Compressed,
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// A body and its entity tag.
type Body = (Arc<Vec<u8>>, String);

struct Shared {
    content: Mutex<Body>,
    /// What is at paths of their own; everything else is `content`.
    files: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
    /// The token without which every request for a file is refused.
    gate: Mutex<Option<String>>,
    plan: Mutex<std::vec::IntoIter<Fault>>,
    requests: Mutex<Vec<String>>,
    sent: AtomicU64,
    /// Pause after each 16 KiB.
    throttle: Duration,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn start(content: &Arc<Vec<u8>>, plan: Vec<Fault>) -> Self {
        Self::throttled(content, plan, Duration::ZERO)
    }

    pub(crate) fn throttled(content: &Arc<Vec<u8>>, plan: Vec<Fault>, throttle: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            content: Mutex::new((Arc::clone(content), "\"v1\"".to_owned())),
            files: Mutex::default(),
            gate: Mutex::default(),
            plan: Mutex::new(plan.into_iter()),
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
            throttle,
            stop: AtomicBool::new(false),
        });
        let state = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().take(MAX_REQUESTS) {
                if state.stop.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), state) = (stream, Arc::clone(&state)) else {
                    continue;
                };
                std::thread::spawn(move || {
                    // A client that goes away is what is being tested.
                    let _ = state.serve(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/file.gguf", self.address)
    }

    pub(crate) fn mirror(&self) -> Mirror {
        Mirror::Url(self.url())
    }

    /// From now on this is at this path.
    pub(crate) fn put(&self, path: &str, bytes: Arc<Vec<u8>>) {
        self.shared
            .files
            .lock()
            .unwrap()
            .insert(path.to_owned(), bytes);
    }

    /// From now on files are given to the bearer of this token alone.
    pub(crate) fn gate(&self, token: &str) {
        *self.shared.gate.lock().unwrap() = Some(token.to_owned());
    }

    /// Heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// From now on another file is there, with another entity tag.
    pub(crate) fn replace(&self, content: &Arc<Vec<u8>>) {
        *self.shared.content.lock().unwrap() = (Arc::clone(content), "\"v2\"".to_owned());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut head = String::new();
        let mut reader = BufReader::new(stream);
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
        if head.is_empty() {
            return Ok(());
        }
        self.requests.lock().unwrap().push(head.clone());
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let is_list = path.starts_with("/api/");
        let fault = match is_list {
            true => Fault::None,
            false => self.plan.lock().unwrap().next().unwrap_or(Fault::None),
        };
        let own = self.files.lock().unwrap().get(&path).cloned();
        let (content, tag) = match own {
            Some(bytes) => (bytes, format!("\"{path}\"")),
            None if is_list => {
                let head = "HTTP/1.1 401 No\r\nX-Error-Code: RepoNotFound\r\n";
                return write!(stream, "{head}Content-Length: 0\r\n\r\n");
            }
            None => self.content.lock().unwrap().clone(),
        };
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .filter(|(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
                .next()
        };
        let gate = self.gate.lock().unwrap().clone();
        if let Some(token) = gate.filter(|_| !is_list)
            && field("authorization") != Some(format!("Bearer {token}"))
        {
            let head = "HTTP/1.1 401 No\r\nX-Error-Code: GatedRepo\r\n";
            return write!(stream, "{head}Content-Length: 0\r\n\r\n");
        }
        let mut range = field("range").map(|range| {
            let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
            let last: usize = last.parse().unwrap_or(usize::MAX);
            (first.parse::<usize>().unwrap(), last.min(content.len() - 1))
        });
        if field("if-range").is_some_and(|wanted| wanted != tag) {
            range = None;
        }
        match &fault {
            Fault::Hang => return Ok(()),
            Fault::Garbage => return stream.write_all(b"\x00\x01 hello \r\n\r\n\xff"),
            Fault::Slow(wait) => std::thread::sleep(*wait),
            Fault::IgnoreRange | Fault::IgnoreRangeCut(_) | Fault::Chunked | Fault::Endless => {
                range = None
            }
            Fault::Status(status) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nnope"
                );
            }
            Fault::RedirectLoop => {
                return write!(
                    stream,
                    "HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n"
                );
            }
            _ => {}
        }
        if range.is_some_and(|(first, _)| first >= content.len()) {
            return write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n");
        }
        let mut body = match range {
            Some((first, last)) => content[first..=last].to_vec(),
            None => content.to_vec(),
        };
        match &fault {
            Fault::WrongBytes => body.iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x40),
            Fault::WrongLength(len) => body.resize(*len, 7),
            _ => {}
        }
        let status = if range.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nETag: {tag}\r\nConnection: close\r\n"
        )?;
        if let Some((first, last)) = range {
            let first = if matches!(fault, Fault::LyingRange) {
                first + 1
            } else {
                first
            };
            write!(
                stream,
                "Content-Range: bytes {first}-{last}/{}\r\n",
                content.len()
            )?;
        }
        if matches!(fault, Fault::Compressed) {
            write!(stream, "Content-Encoding: br\r\n")?;
        }
        if matches!(fault, Fault::Chunked | Fault::Endless) {
            write!(stream, "Transfer-Encoding: chunked\r\n\r\n")?;
            loop {
                for chunk in body.chunks(16 << 10) {
                    write!(stream, "{:x}\r\n", chunk.len())?;
                    stream.write_all(chunk)?;
                    stream.write_all(b"\r\n")?;
                    self.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
                }
                if matches!(fault, Fault::Chunked) {
                    return stream.write_all(b"0\r\n\r\n");
                }
            }
        }
        write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
        if let Fault::Cut(len) | Fault::IgnoreRangeCut(len) = fault {
            body.truncate(len);
        }
        for piece in body.chunks(16 << 10) {
            stream.write_all(piece)?;
            self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            if !self.throttle.is_zero() {
                std::thread::sleep(self.throttle);
            }
            if self.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A small generator (xorshift64*), so that a test that fails can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
}

/// Bytes that do not compress.
pub(crate) fn content(len: usize, seed: u64) -> Arc<Vec<u8>> {
    let mut random = Random(seed);
    Arc::new((0..len).map(|_| (random.next() >> 56) as u8).collect())
}

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

pub(crate) fn request(content: &[u8], mirrors: Vec<Mirror>) -> ModelRequest {
    ModelRequest {
        name: "test model".to_owned(),
        file: "file.gguf".to_owned(),
        size: Some(content.len() as u64),
        pin: Pin::Sha256(hash(content)),
        mirrors,
        is_copied: false,
        reserve: 0,
    }
}

/// The production policy in a hurry.
pub(crate) fn hasty() -> Policy {
    Policy {
        connect: Duration::from_millis(1000),
        answer: Duration::from_millis(400),
        stall: Duration::from_millis(800),
        head_start: Duration::from_millis(200),
        backoff: Duration::from_millis(1),
        backoff_limit: Duration::from_millis(4),
        ..Policy::default()
    }
}
