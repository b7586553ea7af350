//! Every change of a small vault's file, and what it must lead to: an error, or exactly the records that
//! were written. Never a panic, another text, or fewer records than the head vouches for.

use super::super::file::Finding;
use super::*;
use proptest::prelude::*;

/// Where the parts of a file are.
const HEADS: usize = 8192;
const RECORDS: usize = 9216;

fn read(place: &Place) -> Result<Read, VaultError> {
    open_as(place.path(), Access::Read, PASSPHRASE, None)
}

/// Where each record begins, and the end.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut at = vec![RECORDS];
    while let Some(len) = bytes
        .get(at[at.len() - 1]..)
        .and_then(|rest| rest.first_chunk())
    {
        at.push(at[at.len() - 1] + 4 + u32::from_le_bytes(*len) as usize);
    }
    at
}

/// A vault's bytes with its last record, and the bytes before that one was added but for the heads: the
/// record is there and no head vouches for it.
fn unvouched(records: u64) -> (Place, Vec<u8>, usize) {
    let place = Place::with(records);
    let before = place.bytes();
    let (mut opened, _) = open(place.path()).unwrap();
    opened.vault.append(1, &message(records)).unwrap();
    drop(opened);
    let mut bytes = place.bytes();
    bytes[HEADS..RECORDS].copy_from_slice(&before[HEADS..RECORDS]);
    (place, bytes, before.len())
}

fn is_refused(error: &VaultError) -> bool {
    matches!(
        error,
        VaultError::Tampered { .. } | VaultError::Truncated { .. } | VaultError::OldHead { .. }
    )
}

#[test]
fn every_flipped_byte_is_noticed() {
    let place = Place::with(5);
    let whole = place.bytes();
    let (_, written) = read(&place).unwrap();
    for mask in [1, 0x80, 0xff] {
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            place.put(&bytes);
            let found = read(&place);
            let what = format!("byte {at} ^ {mask}: {:?}", found.as_ref().err());
            if at < RECORDS {
                let (opened, entries) = found.unwrap_or_else(|_| panic!("{what}"));
                let damaged = if at < HEADS {
                    Finding::Header
                } else {
                    Finding::Head
                };
                assert!(entries == written && opened.findings == [damaged], "{what}");
            } else {
                let error = found.err().unwrap_or_else(|| panic!("{what}"));
                assert!(is_refused(&error), "{what}");
            }
        }
    }
}

/// Opened to be written, a damaged copy is made good.
#[test]
fn damage_that_loses_nothing_is_repaired() {
    let place = Place::with(5);
    let whole = place.bytes();
    for at in [50, 4096 + 50, HEADS + 50, HEADS + 512 + 50] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        place.put(&bytes);
        let (opened, entries) = open(place.path()).unwrap();
        assert_eq!((opened.findings.len(), entries.len()), (1, 5));
        drop(opened);
        let (opened, entries) = read(&place).unwrap();
        assert_eq!(
            (&opened.findings[..], entries.len()),
            (&[][..], 5),
            "byte {at}"
        );
    }
}

#[test]
fn a_record_that_no_head_vouches_for_yet_is_kept_whole_or_dropped() {
    let (place, bytes, end) = unvouched(3);
    place.put(&bytes);
    let (opened, written) = read(&place).unwrap();
    assert_eq!((written.len(), &opened.findings[..]), (4, &[][..]));
    drop(opened);
    for at in end..bytes.len() {
        let torn = vec![Finding::TornTail {
            bytes: (bytes.len() - end) as u64,
        }];
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        place.put(&flipped);
        let (opened, entries) = read(&place).unwrap();
        assert!(
            entries == written[..3] && opened.findings == torn,
            "byte {at}"
        );
        drop(opened);
        // Cut there, and zeros instead of what follows, as a power cut may leave it.
        place.put(&bytes[..at]);
        let (opened, entries) = read(&place).unwrap();
        assert!(entries == written[..3]);
        assert_eq!(opened.findings.is_empty(), at == end);
        drop(opened);
        let mut zeros = bytes.clone();
        zeros[at..].fill(0);
        place.put(&zeros);
        // A tag may end with zeros.
        if zeros != bytes {
            let (opened, entries) = read(&place).unwrap();
            assert!(
                entries == written[..3] && opened.findings == torn,
                "byte {at}"
            );
        }
    }
    // Opened to be written, the tail is cut off, and the next record follows the last whole one.
    place.put(&bytes[..bytes.len() - 1]);
    let (mut opened, entries) = open(place.path()).unwrap();
    assert_eq!((entries.len(), opened.findings.len()), (3, 1));
    opened.vault.append(2, &message(9)).unwrap();
    drop(opened);
    let (opened, entries) = read(&place).unwrap();
    assert_eq!((entries.len(), &opened.findings[..]), (4, &[][..]));
    assert_eq!(entries[3], (2, super::bytes(&message(9))));
    // Opened to be written, the record without a head gets one.
    drop(opened);
    place.put(&bytes);
    drop(open(place.path()).unwrap());
    place.put(&place.bytes()[..end]);
    assert!(matches!(
        read(&place),
        Err(VaultError::Truncated { found: 3, of: 4 })
    ));
}

#[test]
fn every_truncation_is_noticed() {
    let place = Place::with(4);
    let whole = place.bytes();
    for len in 0..whole.len() {
        place.put(&whole[..len]);
        let error = read(&place)
            .err()
            .unwrap_or_else(|| panic!("cut to {len} bytes"));
        match len {
            // Less than one header.
            0..4096 => assert!(matches!(
                error,
                VaultError::NotAVault | VaultError::HeadersDamaged
            )),
            // Without the first head, or with one only, which may vouch for the last record or the one before.
            4096..RECORDS => assert!(
                matches!(
                    error,
                    VaultError::HeadsDamaged | VaultError::Truncated { found: 0, .. }
                ),
                "{len}: {error:?}"
            ),
            _ => {
                let found = records(&whole).iter().filter(|&&at| at <= len).count() as u64 - 1;
                let is_it =
                    matches!(error, VaultError::Truncated { found: f, of: 4 } if f == found);
                assert!(is_it, "{len}: {error:?}");
            }
        }
    }
}

#[test]
fn records_can_not_be_moved_left_out_repeated_or_put_in() {
    let place = Place::with(6);
    let whole = place.bytes();
    let at = records(&whole);
    let pieces: Vec<&[u8]> = at.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
    let refused = |pieces: &[&[u8]], what: &str| {
        place.put(&[&whole[..RECORDS], &pieces.concat()].concat());
        let error = read(&place).err().unwrap_or_else(|| panic!("{what}"));
        assert!(is_refused(&error), "{what}: {error:?}");
    };
    let foreign = Place::with(6).bytes();
    for i in 0..6 {
        for j in 0..6 {
            let mut changed = pieces.clone();
            changed.swap(i, j);
            if i != j {
                refused(&changed, &format!("{i} and {j} swapped"));
            }
            let mut changed = pieces.clone();
            changed.insert(j, pieces[i]);
            match (i, j) {
                // After all that is vouched for, it is so many bytes that are no record.
                (5, 5) => {
                    place.put(&[&whole[..RECORDS], &changed.concat()].concat());
                    let (opened, entries) = read(&place).unwrap();
                    assert!(entries.len() == 6 && opened.findings.len() == 1);
                }
                _ => refused(&changed, &format!("{i} again before {j}")),
            }
        }
        let mut changed = pieces.clone();
        changed.remove(i);
        refused(&changed, &format!("{i} left out"));
        let mut changed = pieces.clone();
        changed[i] = &foreign[at[i]..at[i + 1]];
        refused(&changed, &format!("{i} of another vault"));
    }
}

#[test]
fn an_older_head_or_other_last_record_is_noticed() {
    let place = Place::with(2);
    let old = place.bytes();
    for n in 2..5 {
        let (mut opened, _) = open(place.path()).unwrap();
        opened.vault.append(1, &message(n)).unwrap();
    }
    let new = place.bytes();
    let mut bytes = new.clone();
    bytes[HEADS..RECORDS].copy_from_slice(&old[HEADS..RECORDS]);
    place.put(&bytes);
    assert!(matches!(read(&place), Err(VaultError::OldHead { of: 2 })));
    // The heads of now over the records of then, which were gone on with.
    place.put(&old);
    for n in 12..15 {
        let (mut opened, _) = open(place.path()).unwrap();
        opened.vault.append(1, &message(n)).unwrap();
    }
    let mut bytes = place.bytes();
    bytes[HEADS..RECORDS].copy_from_slice(&new[HEADS..RECORDS]);
    place.put(&bytes);
    assert!(matches!(
        read(&place),
        Err(VaultError::Tampered { record: 5, of: 5 })
    ));
}

/// What is before the damage can be asked for, and comes with the damage.
#[test]
fn what_is_whole_of_a_damaged_vault_can_be_salvaged() {
    let place = Place::with(4);
    let (whole, (_, written)) = (place.bytes(), read(&place).unwrap());
    let at = records(&whole);
    let salvaged = |bytes: &[u8]| {
        place.put(bytes);
        let closed = Vaults::find(place.path()).unwrap().unwrap();
        let closed = closed.open(&name(), Access::Write).unwrap();
        let master = closed.unlock(PASSPHRASE).unwrap();
        let mut entries = Vec::new();
        let mut take = |id, entry: Entry| entries.push((id, super::bytes(&entry)));
        let (opened, damage) = closed.salvage(master, &mut take).unwrap();
        assert_eq!(opened.records, entries.len() as u64);
        assert!(place.bytes() == bytes, "it was written to");
        (entries, damage)
    };
    assert!(matches!(salvaged(&whole), (entries, None) if entries == written));
    for i in 0..4 {
        let mut bytes = whole.clone();
        bytes[at[i] + 50] ^= 1;
        let (entries, damage) = salvaged(&bytes);
        assert!(entries == written[..i] && damage.is_some_and(|e| is_refused(&e)));
        let (entries, damage) = salvaged(&whole[..at[i] + 50]);
        assert!(entries == written[..i] && damage.is_some_and(|e| is_refused(&e)));
    }
    let mut bytes = whole.clone();
    bytes[HEADS..RECORDS].fill(7);
    let (entries, damage) = salvaged(&bytes);
    assert!(entries == written && matches!(damage, Some(VaultError::HeadsDamaged)));
}

/// What nothing inside the file can show.
#[test]
fn an_older_copy_of_the_whole_file_is_noticed_with_an_anchor() {
    let place = Place::with(2);
    let anchor = place.path().join("anchor");
    let open = || open_as(place.path(), Access::Write, PASSPHRASE, Some(&anchor));
    let (opened, _) = open().unwrap();
    assert_eq!(opened.findings, [Finding::NewAnchor]);
    drop(opened);
    let old = place.bytes();
    let (mut opened, _) = open().unwrap();
    assert!(opened.findings.is_empty());
    opened.vault.append(1, &message(2)).unwrap();
    drop(opened);
    let new = place.bytes();
    place.put(&old);
    assert_eq!(
        read(&place).unwrap().1.len(),
        2,
        "without the anchor it is as good as any"
    );
    let rolled = open();
    assert!(matches!(
        rolled,
        Err(VaultError::RolledBack {
            seen_records: 3,
            records: 2,
            ..
        })
    ));
    // Written to meanwhile, so that it is as new as the anchor.
    let (mut opened, _) = super::open(place.path()).unwrap();
    opened.vault.append(1, &message(3)).unwrap();
    drop(opened);
    assert!(matches!(open(), Err(VaultError::Forked { .. })));
    place.put(&new);
    open().unwrap();
}

#[test]
fn what_is_no_vault_is_told_from_a_wrong_passphrase() {
    let place = Place::with(1);
    let wrong = open_as(place.path(), Access::Read, b"Correct horse", None);
    assert!(matches!(wrong, Err(VaultError::WrongPassphrase)));
    let whole = place.bytes();
    let mut bytes = whole.clone();
    (bytes[50], bytes[4096 + 50]) = (!bytes[50], !bytes[4096 + 50]);
    place.put(&bytes);
    assert!(matches!(read(&place), Err(VaultError::HeadersDamaged)));
    place.put(b"some text");
    assert!(matches!(read(&place), Err(VaultError::NotAVault)));
    let mut bytes = whole;
    (bytes[8], bytes[4096 + 8]) = (2, 2);
    place.put(&bytes);
    assert!(matches!(read(&place), Err(VaultError::Version(2))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed, cut out, doubled and put in, at random: an error, or all that was written, or that
    /// with a torn tail.
    #[test]
    fn whatever_is_done_to_the_file(edits in prop::collection::vec((0..5u8, 0..13_000usize, 0..600usize, any::<u8>()), 1..4)) {
        let place = Place::with(3);
        let (_, written) = read(&place).unwrap();
        let mut bytes = place.bytes();
        for (kind, at, len, value) in edits {
            let at = at.min(bytes.len());
            let end = (at + len).min(bytes.len());
            match kind {
                0 => bytes[at..end].fill(value),
                1 => drop(bytes.drain(at..end)),
                2 => { let part = bytes[at..end].to_vec(); bytes.splice(at..at, part); }
                3 => drop(bytes.splice(at..at, std::iter::repeat_n(value, len))),
                _ => bytes.truncate(at),
            }
        }
        place.put(&bytes);
        if let Ok((opened, entries)) = read(&place) {
            let is_damaged_head = opened.findings.contains(&Finding::Head);
            // Cutting off the last record and destroying the newer head are two changes, and are reported.
            prop_assert!(entries == written || (is_damaged_head && entries == written[..2]));
        }
    }
}
