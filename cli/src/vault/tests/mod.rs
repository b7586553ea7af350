//! Properties of vaults as a whole: what is written is read again, whatever is changed in the file is
//! noticed, and whatever moment a process is killed at, no finished record is lost.
//!
//! These vaults cost next to nothing to try a passphrase on; that is said when they are made, here alone:
//! the program makes none like that.

mod changed;
mod erased;
mod killed;

use super::entry::{Begin, ConversationId, Entry, Said, Set, SnapshotRef};
use super::file::{Opened, Vault};
use super::header::Master;
use super::kdf::Cost;
use super::place::{Access, VaultName, Vaults};
use super::secret::Key;
use super::{History, VaultError};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const CHEAP: Cost = Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
const PASSPHRASE: &[u8] = b"correct horse";

/// A store with a vault `v`.
struct Place(tempfile::TempDir);

/// What was read: the vault, and all entries, encoded so that they can be compared.
type Read = (Opened, Vec<(ConversationId, Vec<u8>)>);

fn name() -> VaultName {
    VaultName::new("v").unwrap()
}

fn make(store: &Path) -> (Vault, Master) {
    Vault::create(Vaults::make(store).unwrap(), &name(), PASSPHRASE, CHEAP).unwrap()
}

fn open_as(
    store: &Path,
    access: Access,
    passphrase: &[u8],
    anchor: Option<&Path>,
) -> Result<Read, VaultError> {
    let vaults = Vaults::find(store)?.unwrap();
    let closed = vaults.open(&name(), access)?;
    let master = closed.unlock(passphrase)?;
    let mut entries = Vec::new();
    let opened = closed.read(master, anchor, &mut |id, entry| {
        entries.push((id, bytes(&entry)))
    })?;
    assert_eq!(opened.records, entries.len() as u64);
    Ok((opened, entries))
}

fn open(store: &Path) -> Result<Read, VaultError> {
    open_as(store, Access::Write, PASSPHRASE, None)
}

fn history(store: &Path) -> History {
    let closed = Vaults::find(store).unwrap().unwrap();
    let closed = closed.open(&name(), Access::Read).unwrap();
    let master = closed.unlock(PASSPHRASE).unwrap();
    let mut history = History::default();
    closed
        .read(master, None, &mut |id, entry| history.take(id, entry))
        .unwrap();
    history
}

fn bytes(entry: &Entry) -> Vec<u8> {
    let (kind, body) = entry.encode().unwrap();
    [&[kind], &body[..]].concat()
}

/// A message, different for each number.
fn message(n: u64) -> Entry {
    let text = format!("message {n} {}", "x".repeat(n as usize % 700));
    let fields = [
        ("role", Value::from("user")),
        ("content", Value::from(text)),
    ];
    Entry::Message(Box::new(Said {
        time: n,
        message: Map::from_iter(fields.map(|(key, value)| (key.to_owned(), value))),
    }))
}

impl Place {
    /// In memory if there is such a folder: these tests wait for the disk tens of thousands of times.
    fn new() -> Place {
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Place(in_memory.or_else(|_| tempfile::tempdir()).unwrap())
    }

    /// With a vault that has so many messages.
    fn with(records: u64) -> Place {
        let place = Place::new();
        let (mut vault, _) = make(place.path());
        for n in 0..records {
            vault.append(1 + n % 3, &message(n)).unwrap();
        }
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("vaults/v.vault")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.file(), bytes).unwrap();
    }

    /// Names in the vaults' folder, but for the lock.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join("vaults"));
        let names = entries
            .into_iter()
            .flatten()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }
}

/// Writes the vaults that tests have at hand (tests/data).
#[test]
#[ignore = "it writes files of this repository"]
fn makes_the_vaults_of_tests() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::create_dir_all(&data).unwrap();
    let place = Place::new();
    let (mut vault, _) = make(place.path());
    std::fs::copy(place.file(), data.join("empty.vault")).unwrap();
    for entry in every_entry() {
        vault.append(1, &entry).unwrap();
    }
    std::fs::copy(place.file(), data.join("version1.vault")).unwrap();
}

/// One of each kind.
fn every_entry() -> [Entry; 8] {
    [
        Entry::Begin(Begin {
            time: 1_700_000_000,
            model: "a model".into(),
        }),
        Entry::System(Some("be brief".into())),
        message(1),
        message(900),
        Entry::Keep(1),
        Entry::Forgotten(1),
        Entry::Settings(Set {
            parameters: vec![("seed".into(), "4".into())],
            stop: vec!["###".into()],
            think: Some(true),
        }),
        Entry::Snapshot(SnapshotRef {
            id: [1; 16],
            key: Key::of(&[2; 32]).unwrap(),
            digest: [3; 32],
            tokens: 2000,
        }),
    ]
}

/// What was written by version 1 is read by every later one.
#[test]
fn a_vault_of_the_first_version_is_read() {
    let place = Place::with(0);
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/version1.vault");
    place.put(&std::fs::read(made).unwrap());
    let (opened, entries) = open(place.path()).unwrap();
    let expected = every_entry().map(|entry| (1, bytes(&entry)));
    assert!(entries == expected && opened.findings.is_empty());
}

#[test]
fn ten_thousand_records_are_read_as_they_were_written() {
    let place = Place::new();
    let (mut vault, _) = make(place.path());
    let expected: Vec<_> = (0..10_000)
        .map(|n| (n / 40 + 1, bytes(&message(n))))
        .collect();
    for n in 0..10_000 {
        vault.append(n / 40 + 1, &message(n)).unwrap();
    }
    drop(vault);
    for access in [Access::Read, Access::Write] {
        let start = std::time::Instant::now();
        let (opened, entries) = open_as(place.path(), access, PASSPHRASE, None).unwrap();
        println!("10,000 records read in {:?}", start.elapsed());
        assert!(opened.findings.is_empty() && entries == expected);
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_it_and_nothing_said_is_in_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with(3);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path().join("vaults")), 0o700);
    assert_eq!(mode(&place.file()), 0o600);
    let found = place.bytes();
    for word in [&b"message"[..], b"user", b"content", PASSPHRASE] {
        assert!(!found.windows(word.len()).any(|w| w == word));
    }
    // A copy that came with more rights.
    std::fs::set_permissions(place.file(), PermissionsExt::from_mode(0o644)).unwrap();
    open(place.path()).unwrap();
    assert_eq!(mode(&place.file()), 0o600);
}

#[test]
fn one_process_writes_and_others_wait() {
    let place = Place::with(1);
    let (opened, _) = open(place.path()).unwrap();
    for access in [Access::Read, Access::Write] {
        let second = open_as(place.path(), access, PASSPHRASE, None);
        assert!(matches!(second, Err(VaultError::InUse(_))));
    }
    drop(opened);
    let (first, _) = open_as(place.path(), Access::Read, PASSPHRASE, None).unwrap();
    open_as(place.path(), Access::Read, PASSPHRASE, None).unwrap();
    assert!(matches!(open(place.path()), Err(VaultError::InUse(_))));
    drop(first);
    open(place.path()).unwrap();
    let vaults = Vaults::make(place.path()).unwrap();
    let again = Vault::create(vaults, &name(), PASSPHRASE, CHEAP);
    assert!(matches!(again, Err(VaultError::Exists(_))));
    let other = VaultName::new("w").unwrap();
    let missing = Vaults::make(place.path())
        .unwrap()
        .open(&other, Access::Read);
    assert!(missing.unwrap_err().to_string().contains("did you mean v?"));
}
