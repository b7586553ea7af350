//! Changing passphrase and key, erasing conversations: who has what opens what afterwards.

use super::super::entry::{Begin, Set, SnapshotId, SnapshotRef};
use super::super::file::Finding;
use super::super::place::snapshot_name;
use super::super::secret::Key;
use super::*;

fn opens(place: &Place, passphrase: &[u8]) -> bool {
    match open_as(place.path(), Access::Read, passphrase, None) {
        Ok((opened, entries)) => {
            assert!(
                opened.findings.is_empty() && !entries.is_empty(),
                "{:?}",
                opened.findings
            );
            true
        }
        Err(VaultError::WrongPassphrase) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_new_passphrase_takes_the_old_ones_place() {
    let place = Place::with(3);
    let old = place.bytes();
    let (opened, _) = open(place.path()).unwrap();
    let Opened { vault, master, .. } = opened;
    assert!(matches!(
        vault.change_passphrase(&master, b"", CHEAP),
        Err(VaultError::EmptyPassphrase)
    ));
    vault
        .change_passphrase(&master, b"battery staple", CHEAP)
        .unwrap();
    drop(vault);
    assert!(opens(&place, b"battery staple") && !opens(&place, PASSPHRASE));
    // The limit that `hob vault passwd` states: an older copy of the header still opens what is there now.
    let new = place.bytes();
    place.put(&[&old[..8192], &new[8192..]].concat());
    assert!(opens(&place, PASSPHRASE));
    place.put(&new);
    // Until the key is another one.
    let (opened, entries) = open_as(place.path(), Access::Write, b"battery staple", None).unwrap();
    let Opened { vault, master, .. } = opened;
    let survivors = [(1, message(7))];
    drop(vault.rekey(&master, survivors, &[]).unwrap());
    assert!(opens(&place, b"battery staple") && entries.len() == 3);
    place.put(&[&old[..8192], &place.bytes()[8192..]].concat());
    let stale = open_as(place.path(), Access::Read, PASSPHRASE, None);
    assert!(matches!(stale, Err(VaultError::HeadsDamaged)));
}

/// Killed between the two copies.
#[test]
fn an_unfinished_change_of_passphrase_is_finished_or_reported() {
    let place = Place::with(2);
    let old = place.bytes();
    let (opened, _) = open(place.path()).unwrap();
    let Opened { vault, master, .. } = opened;
    vault.change_passphrase(&master, b"new", CHEAP).unwrap();
    drop(vault);
    let new = place.bytes();
    for (first, second) in [(&old, &new), (&new, &old)] {
        let half = [&first[..4096], &second[4096..]].concat();
        place.put(&half);
        let (opened, _) = open(place.path()).unwrap();
        assert_eq!(opened.findings, [Finding::TwoPassphrases]);
        drop(opened);
        let (opened, _) = open_as(place.path(), Access::Read, b"new", None).unwrap();
        assert_eq!(opened.findings, [Finding::TwoPassphrases]);
        drop(opened);
        // Who knows the new one finishes it.
        let (opened, _) = open_as(place.path(), Access::Write, b"new", None).unwrap();
        assert!(opened.findings.is_empty());
        drop(opened);
        assert!(opens(&place, b"new") && !opens(&place, PASSPHRASE));
        // Who knows the old one changes it anew.
        place.put(&half);
        let (opened, _) = open(place.path()).unwrap();
        opened
            .vault
            .change_passphrase(&opened.master, b"third", CHEAP)
            .unwrap();
        drop(opened);
        assert!(opens(&place, b"third") && !opens(&place, b"new") && !opens(&place, PASSPHRASE));
    }
}

/// A conversation of two messages, one taken back, and a snapshot.
fn talk(id: u64, snapshot: SnapshotId) -> Vec<(u64, Entry)> {
    let begin = Begin {
        time: id,
        model: "m".into(),
    };
    let set = Set {
        stop: vec![format!("stop {id}")],
        ..Set::default()
    };
    let snapshot = SnapshotRef {
        id: snapshot,
        key: Key::random().unwrap(),
        digest: [4; 32],
        tokens: 9,
    };
    let entries = [
        Entry::Begin(begin),
        Entry::System(Some(format!("system {id}"))),
        message(10 * id),
        message(10 * id + 1),
        Entry::Keep(1),
        message(10 * id + 2),
        Entry::Settings(set),
        Entry::Snapshot(snapshot),
    ];
    entries.map(|entry| (id, entry)).into()
}

#[cfg(unix)]
#[test]
fn what_is_erased_is_gone_with_its_key_and_the_rest_stays() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let (mut vault, _) = make(place.path());
    for (id, entry) in (1..4).flat_map(|id| talk(id, [id as u8; 16])) {
        vault.append(id, &entry).unwrap();
    }
    drop(vault);
    let vaults = Vaults::make(place.path()).unwrap();
    for id in 1..5 {
        vaults
            .file(&snapshot_name(&name(), &[id; 16]), Access::New)
            .unwrap();
    }
    let was = history(place.path());
    let (old, before) = (std::fs::File::open(place.file()).unwrap(), place.bytes());

    let mut kept = history(place.path());
    assert!(kept.remove(2).is_some());
    let snapshots: Vec<_> = kept.snapshots().collect();
    let (opened, _) = open(place.path()).unwrap();
    let vault = opened
        .vault
        .rekey(&opened.master, kept.into_entries(), &snapshots)
        .unwrap();
    drop(vault);

    let now = history(place.path());
    assert_eq!(now.talks().map(|(id, _)| id).collect::<Vec<_>>(), [1, 3]);
    for (id, talk) in now.talks() {
        let was = was.get(id).unwrap();
        assert_eq!(
            (&talk.system, &talk.set, talk.times()),
            (&was.system, &was.set, was.times())
        );
        assert!(talk.messages == was.messages && talk.messages.len() == 2);
        let (a, b) = (
            talk.snapshot.as_ref().unwrap(),
            was.snapshot.as_ref().unwrap(),
        );
        assert_eq!(
            (a.id, a.key.bytes(), a.digest, a.tokens),
            (b.id, b.key.bytes(), b.digest, b.tokens)
        );
    }
    // The message that was taken back is not copied.
    let (_, entries) = open(place.path()).unwrap();
    assert_eq!(entries.len(), 2 * 6);
    // The old file has lost what opens it; snapshots of nobody went.
    let mut slots = vec![1; 9216];
    old.read_exact_at(&mut slots, 0).unwrap();
    assert!(slots.iter().all(|byte| *byte == 0));
    let snapshot = |id: u8| snapshot_name(&name(), &[id; 16]);
    assert_eq!(
        place.files(),
        [snapshot(1), snapshot(3), "v.vault".to_owned()]
    );
    // The old header does not open the new records.
    place.put(&[&before[..8192], &place.bytes()[8192..]].concat());
    assert!(open(place.path()).is_err());

    let file = std::fs::File::open(place.file()).unwrap();
    let closed = Vaults::make(place.path())
        .unwrap()
        .open(&name(), Access::Write)
        .unwrap();
    closed.delete().unwrap();
    file.read_exact_at(&mut slots, 0).unwrap();
    assert!(slots.iter().all(|byte| *byte == 0));
    assert!(place.files().is_empty());
}

#[test]
fn an_anchor_goes_along_when_a_vault_is_written_anew() {
    let place = Place::with(3);
    let anchor = place.path().join("anchor");
    let old = place.bytes();
    let (opened, _) = open_as(place.path(), Access::Write, PASSPHRASE, Some(&anchor)).unwrap();
    drop(
        opened
            .vault
            .rekey(&opened.master, [(1, message(1))], &[])
            .unwrap(),
    );
    open_as(place.path(), Access::Write, PASSPHRASE, Some(&anchor)).unwrap();
    place.put(&old);
    let rolled = open_as(place.path(), Access::Write, PASSPHRASE, Some(&anchor));
    assert!(matches!(rolled, Err(VaultError::RolledBack { .. })));
}
