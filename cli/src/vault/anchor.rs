//! An anchor: a small file that its user keeps elsewhere (a stick, another disk), and that remembers up to
//! which generation a vault was seen. A vault that is older than its anchor was rolled back as a whole, which
//! nothing inside it could show.
//!
//! It is one line of text, always as long, overwritten in place: the confined process that writes it may
//! open nothing. It is no secret, and it is not authenticated: who can write both it and the vault can
//! roll both back.

use super::VaultError;
use super::error::io_error;
use super::head::Head;
use super::seal::{TAG, VaultId};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const BEGIN: &str = "hob vault anchor 1:";

/// An open anchor.
#[derive(Debug)]
pub(super) struct Anchor {
    file: File,
    path: PathBuf,
}

/// What an anchor has seen.
struct Seen {
    id: VaultId,
    generation: u64,
    records: u64,
    tag: [u8; TAG],
}

impl Anchor {
    /// Opens an anchor and compares the vault with it; a missing one is made, and then remembers the
    /// vault as it is. Gives whether it was made.
    pub(super) fn check(
        path: &Path,
        id: &VaultId,
        head: &Head,
    ) -> Result<(Anchor, bool), VaultError> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options
            .open(path)
            .map_err(io_error("open the anchor", path))?;
        let mut text = String::new();
        // Longer than any anchor: then it is none.
        let read = (&mut file).take(1000).read_to_string(&mut text);
        let path = path.to_owned();
        match read {
            Ok(0) => {
                let anchor = Anchor { file, path };
                anchor.update(id, head)?;
                return Ok((anchor, true));
            }
            Err(e) if e.kind() != std::io::ErrorKind::InvalidData => {
                return Err(io_error("read the anchor", &path)(e));
            }
            _ => {}
        }
        let Some(seen) = parse(&text) else {
            return Err(VaultError::BadAnchor(path));
        };
        if seen.id != *id {
            return Err(VaultError::OtherAnchor(path));
        }
        if head.generation < seen.generation {
            return Err(VaultError::RolledBack {
                anchor: path,
                seen: seen.generation,
                seen_records: seen.records,
                found: head.generation,
                records: head.records,
            });
        }
        if head.generation == seen.generation && head.last_tag != seen.tag {
            return Err(VaultError::Forked {
                anchor: path,
                generation: seen.generation,
            });
        }
        let anchor = Anchor { file, path };
        if head.generation > seen.generation {
            anchor.update(id, head)?;
        }
        Ok((anchor, false))
    }

    /// Remembers this head, durably.
    pub(super) fn update(&self, id: &VaultId, head: &Head) -> Result<(), VaultError> {
        let line = line(id, head);
        let mut file = &self.file;
        let written = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(line.as_bytes()))
            .and_then(|()| file.sync_data());
        written.map_err(io_error("write the anchor", &self.path))
    }
}

fn line(id: &VaultId, head: &Head) -> String {
    let text = format!(
        "{BEGIN} {} {:020} {:020} {}",
        hex(id),
        head.generation,
        head.records,
        hex(&head.last_tag)
    );
    let check = check(&text);
    format!("{text} {check}\n")
}

fn parse(text: &str) -> Option<Seen> {
    let (text, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    if check(text) != sum {
        return None;
    }
    let mut words = text.strip_prefix(BEGIN)?.split_ascii_whitespace();
    let seen = Seen {
        id: unhex(words.next()?)?,
        generation: words.next()?.parse().ok()?,
        records: words.next()?.parse().ok()?,
        tag: unhex(words.next()?)?,
    };
    words.next().is_none().then_some(seen)
}

/// Tells a line that was written in part.
fn check(text: &str) -> String {
    hex(Sha256::digest(text).get(..8).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(generation: u64, tag: u8) -> Head {
        Head {
            records: generation / 2,
            last_tag: [tag; TAG],
            generation,
            time: 0,
        }
    }

    #[test]
    fn an_older_vault_is_told_from_a_newer_one_and_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchor");
        let check =
            |id: u8, head: Head| Anchor::check(&path, &[id; 16], &head).map(|(_, made)| made);
        assert!(check(1, head(10, 1)).unwrap(), "made");
        assert!(!check(1, head(10, 1)).unwrap());
        assert!(!check(1, head(11, 2)).unwrap());
        assert!(matches!(
            check(1, head(10, 1)),
            Err(VaultError::RolledBack {
                seen: 11,
                found: 10,
                ..
            })
        ));
        assert!(matches!(
            check(1, head(11, 3)),
            Err(VaultError::Forked { .. })
        ));
        assert!(matches!(
            check(2, head(12, 3)),
            Err(VaultError::OtherAnchor(_))
        ));
        let text = std::fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            std::fs::write(&path, &other).unwrap();
            assert!(
                matches!(check(1, head(20, 1)), Err(VaultError::BadAnchor(_))),
                "byte {at}"
            );
            if at > 0 {
                std::fs::write(&path, &text[..at]).unwrap();
                assert!(
                    matches!(check(1, head(20, 1)), Err(VaultError::BadAnchor(_))),
                    "cut at {at}"
                );
            }
        }
    }
}
