//! What was seen of a model's files when their bytes were last hashed whole: `verified.json` beside the
//! manifest. A file that looks the same in size, inode, mtime and ctime is taken to hold the same bytes, so
//! that a start need not read gigabytes; one that looks different is hashed again.
//!
//! Who may write to the store as this user may write this file too: it finds accidents, other programs and
//! half-careful hands, not the user's own enemy within. The hash in the manifest is what counts.
//!
//! The file is one line of JSON and the SHA-256 of that line, written over the old ones in one call and
//! padded with spaces: a confined process can do that through a descriptor that it opened before, though it
//! can neither create, rename nor cut a file. What does not read well counts as nothing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use hob_fetch::Digest;
use hob_models::mapping::FileId;
use serde::{Deserialize, Serialize};

/// File name of the record.
pub(crate) const VERIFIED: &str = "verified.json";
/// Longest record that is read.
const LIMIT: u64 = 1 << 20;

/// How the bytes became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// Hashed on their way into the store.
    Arrived,
    /// Hashed as they lie in the store.
    Hashed,
}

/// When and how all bytes of a model were last compared with its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) when: SystemTime,
    pub(crate) how: How,
}

impl Verified {
    pub(crate) fn now(how: How) -> Verified {
        let when = SystemTime::now();
        Verified { when, how }
    }

    /// `hashed 3 days ago`, for people.
    pub(crate) fn words(&self) -> String {
        let seconds = self.when.elapsed().map_or(0, |age| age.as_secs());
        let count = |n: u64, unit: &str| format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" });
        let age = match seconds {
            0..60 => "just now".to_owned(),
            60..3600 => count(seconds / 60, "minute"),
            3600..86_400 => count(seconds / 3600, "hour"),
            _ => count(seconds / 86_400, "day"),
        };
        match self.how {
            How::Arrived => format!("when it came into the store, {age}"),
            How::Hashed => format!("as it lies in the store, {age}"),
        }
    }
}

/// What the system says of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Name in the store.
    pub(super) file: String,
    /// SHA-256 of the original, as the manifest had it: a stamp of another model's file is none.
    pub(super) sha256: String,
    size: u64,
    /// Zero where there are none. (Not the device: its number may be another after each start.)
    pub(super) inode: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &str, sha256: &str, id: FileId) -> Stamp {
        Stamp {
            file: file.to_owned(),
            sha256: sha256.to_owned(),
            size: id.size,
            inode: id.file.1,
            mtime: id.mtime,
            ctime: id.ctime,
        }
    }

    /// Whether two differ by the time of the inode's last change at most: as a link that came or went
    /// leaves it.
    pub(super) fn is_but_for_ctime(&self, other: &Stamp) -> bool {
        let ctime = other.ctime;
        *other
            == Stamp {
                ctime,
                ..self.clone()
            }
    }

    /// What is different now, for people; `None` if nothing is.
    pub(super) fn difference(&self, now: &Stamp) -> Option<&'static str> {
        if self == now {
            return None;
        }
        Some(match () {
            () if self.sha256 != now.sha256 => "it was not hashed yet",
            () if self.inode != now.inode => "its file was replaced",
            () if self.size != now.size || self.mtime != now.mtime => "its file was written to",
            () => "its file was touched, renamed, linked or written to",
        })
    }
}

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Seconds since 1970.
    when: u64,
    how: How,
    pub(super) files: Vec<Stamp>,
}

impl Record {
    pub(super) fn new(verified: Verified, files: Vec<Stamp>) -> Record {
        let since = verified.when.duration_since(SystemTime::UNIX_EPOCH);
        Record {
            when: since.map_or(0, |since| since.as_secs()),
            how: verified.how,
            files,
        }
    }

    pub(super) fn verified(&self) -> Verified {
        Verified {
            when: SystemTime::UNIX_EPOCH + Duration::from_secs(self.when.min(1 << 40)),
            how: self.how,
        }
    }

    /// Reads a record; one that is torn, damaged or of another version is none.
    pub(super) fn read(file: &mut File) -> Option<Record> {
        let mut text = String::new();
        file.take(LIMIT).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let (line, sum) = (lines.next()?, lines.next()?);
        let is_whole = Digest::from_hex(sum)? == Digest::of(line.as_bytes());
        is_whole.then(|| serde_json::from_str(line).ok()).flatten()
    }

    /// Writes this record over what the file holds. Waits until a change that follows cannot have the
    /// time of the files' last one: some milliseconds, and only if that was just now.
    pub(super) fn write(&self, file: &mut File) -> io::Result<()> {
        for stamp in &self.files {
            settle(stamp);
        }
        let line = serde_json::to_string(self).map_err(io::Error::other)?;
        let sum = Digest::of(line.as_bytes());
        over(file, format!("{line}\n{sum}\n").into_bytes())
    }
}

/// Takes back what a file records.
pub(super) fn forget(file: &mut File) -> io::Result<()> {
    over(file, Vec::new())
}

fn over(file: &mut File, mut text: Vec<u8>) -> io::Result<()> {
    // A confined process may not ask for a file's metadata as the standard library does.
    let old = file.seek(SeekFrom::End(0))?;
    let old = usize::try_from(old.min(LIMIT)).unwrap_or_default();
    if text.len() < old {
        text.resize(old, b' ');
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

/// Waits until the clock that stamps files has gone on since a file's last change: kernels' clocks of
/// files tick every 1 to 10 ms, and file systems without fractions of seconds every 2 s at most.
fn settle(stamp: &Stamp) {
    let (seconds, nanos) = stamp.mtime.max(stamp.ctime);
    let tick = match nanos {
        0 => Duration::from_secs(2),
        _ => Duration::from_millis(20),
    };
    let since = Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanos).unwrap_or_default(),
    );
    let until = SystemTime::UNIX_EPOCH + since + tick;
    // A time in the future is some other clock's; waiting for it is of no use.
    if let Ok(left) = until.duration_since(SystemTime::now())
        && left <= tick
    {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::{How, Record, Stamp, Verified, forget};
    use hob_models::mapping::FileId;
    use std::io::{Seek, Write};

    fn record(names: &[&str]) -> Record {
        let id = FileId {
            file: (1, 2),
            size: 3,
            mtime: (4, 5),
            ctime: (6, 7),
        };
        let stamp = |name: &&str| Stamp::of(name, "00", id);
        let stamps = names.iter().map(stamp).collect();
        Record::new(Verified::now(How::Hashed), stamps)
    }

    #[test]
    fn a_record_reads_back_and_a_damaged_one_is_none() {
        let (long, short) = (record(&["a", "b", "c"]), record(&["a"]));
        let mut file = tempfile::tempfile().unwrap();
        for wanted in [&long, &short, &long] {
            wanted.write(&mut file).unwrap();
            file.rewind().unwrap();
            assert_eq!(Record::read(&mut file).as_ref(), Some(wanted));
        }
        // Torn anywhere.
        let mut text = serde_json::to_string(&long).unwrap().into_bytes();
        text.push(b'\n');
        text.extend(
            hob_fetch::Digest::of(&text[..text.len() - 1])
                .to_string()
                .bytes(),
        );
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            for damaged in [&text[..at], &other] {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(damaged).unwrap();
                file.rewind().unwrap();
                assert_eq!(Record::read(&mut file), None, "{at}");
            }
        }
        forget(&mut file).unwrap();
        file.rewind().unwrap();
        assert_eq!(Record::read(&mut file), None);
    }
}
