//! Whatever mirrors do, a fetch ends with the pinned bytes or with an error and no file of that name.

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Fault, Random, Server, content, hash, hasty, request};
use hob_fetch::{
    Event, FetchError, Mirror, MirrorError, ModelRequest, Pin, Progress, Silent, fetch_with,
};

const LEN: usize = 3_000_000;

fn fetch(request: &ModelRequest, dir: &Path) -> Result<(), FetchError> {
    let fetched = fetch_with(request, dir, &hasty(), &mut Silent)?;
    assert_eq!(fetched.path, dir.join("file.gguf"));
    assert_eq!(Some(fetched.size), request.size);
    assert_eq!(Pin::Sha256(fetched.sha256), request.pin);
    Ok(())
}

/// The property: the right file, or none. Gives whether it is there.
fn right_or_absent(dir: &Path, wanted: &[u8]) -> bool {
    match std::fs::read(dir.join("file.gguf")) {
        Ok(found) => {
            assert!(found == wanted, "a wrong file has the final name");
            true
        }
        Err(_) => false,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn only_error(result: Result<(), FetchError>) -> MirrorError {
    match result {
        Err(FetchError::NoMirror { mut failures, .. }) if failures.len() == 1 => {
            failures.remove(0).1
        }
        other => panic!("expected one mirror's failure, got {other:?}"),
    }
}

#[test]
fn twenty_random_cuts_end_right_and_no_byte_is_fetched_twice() {
    let bytes = content(LEN, 1);
    let mut random = Random(7);
    let plan = (0..20)
        .map(|_| Fault::Cut(1 + random.below(LEN / 20)))
        .collect();
    let server = Server::start(&bytes, plan);
    let dir = tempfile::tempdir().unwrap();
    fetch(&request(&bytes, vec![server.mirror()]), dir.path()).unwrap();
    assert!(right_or_absent(dir.path(), &bytes));
    assert_eq!(server.requests().len(), 21);
    // A cut may cost what was in flight, not more.
    assert!(
        server.sent() < LEN as u64 * 3 / 2,
        "{} bytes sent",
        server.sent()
    );
    assert_eq!(
        names(dir.path()),
        ["fetch.lock", "file.gguf", "file.gguf.source.json"]
    );
}

#[test]
fn random_faults_end_right_or_leave_nothing_half_done() {
    let bytes = content(200_000, 2);
    let other = content(150_000, 3);
    let mut delivered = 0;
    for seed in 1..=60_u64 {
        let mut random = Random(seed * 0x9e37_79b9);
        let plan = (0..random.below(7))
            .map(|_| random_fault(&mut random, &other))
            .collect();
        let spare = (0..random.below(5))
            .map(|_| random_fault(&mut random, &other))
            .collect();
        let (first, second) = (Server::start(&bytes, plan), Server::start(&bytes, spare));
        let dir = tempfile::tempdir().unwrap();
        let request = request(&bytes, vec![first.mirror(), second.mirror()]);
        let result = fetch(&request, dir.path());
        let is_there = right_or_absent(dir.path(), &bytes);
        assert_eq!(is_there, result.is_ok(), "seed {seed}: {result:?}");
        delivered += usize::from(is_there);
        // Whatever was left behind, an honest mirror then completes it.
        let honest = Server::start(&bytes, vec![]);
        fetch(&common::request(&bytes, vec![honest.mirror()]), dir.path()).unwrap();
        assert!(right_or_absent(dir.path(), &bytes));
    }
    // Two mirrors that recover: most must have been delivered at the first call.
    assert!(delivered >= 40, "only {delivered} of 60 were delivered");
}

fn random_fault(random: &mut Random, other: &[u8]) -> Fault {
    match random.below(14) {
        0 | 1 => Fault::Cut(random.below(200_000)),
        2 => Fault::Hang,
        3 => Fault::WrongBytes,
        4 => Fault::WrongLength(other.len()),
        5 => Fault::IgnoreRange,
        6 => Fault::IgnoreRangeCut(random.below(200_000)),
        7 => Fault::Status([404, 403, 416, 429, 500, 503][random.below(6)]),
        8 => Fault::LyingRange,
        9 => Fault::Chunked,
        10 => Fault::Garbage,
        11 => Fault::RedirectLoop,
        12 => Fault::Compressed,
        _ => Fault::None,
    }
}

#[test]
fn wrong_bytes_are_deleted_named_and_the_next_mirror_is_asked() {
    let bytes = content(LEN, 4);
    let always_wrong = || Server::start(&bytes, vec![Fault::WrongBytes; 9]);
    let (wrong, right) = (always_wrong(), Server::start(&bytes, vec![]));
    let dir = tempfile::tempdir().unwrap();
    let error = only_error(fetch(&request(&bytes, vec![wrong.mirror()]), dir.path()));
    assert!(matches!(error, MirrorError::WrongHash { expected, .. } if expected == hash(&bytes)));
    assert_eq!(names(dir.path()), ["fetch.lock"]);
    assert_eq!(
        wrong.requests().len(),
        1,
        "a mirror that lies is not asked again"
    );
    let wrong = always_wrong();
    fetch(
        &request(&bytes, vec![wrong.mirror(), right.mirror()]),
        dir.path(),
    )
    .unwrap();
    assert!(right_or_absent(dir.path(), &bytes));
}

#[test]
fn a_wrong_length_is_refused_before_the_body() {
    let bytes = content(LEN, 5);
    for len in [LEN - 1, LEN + 1, 10] {
        let server = Server::start(&bytes, vec![Fault::WrongLength(len); 9]);
        let dir = tempfile::tempdir().unwrap();
        let error = only_error(fetch(&request(&bytes, vec![server.mirror()]), dir.path()));
        assert!(
            matches!(error, MirrorError::WrongSize { found, .. } if found == len as u64),
            "{error}"
        );
        assert!(!right_or_absent(dir.path(), &bytes));
    }
}

#[test]
fn a_body_without_length_is_taken_whole_and_never_beyond_its_size() {
    let bytes = content(LEN, 6);
    let server = Server::start(&bytes, vec![Fault::Chunked]);
    let dir = tempfile::tempdir().unwrap();
    fetch(&request(&bytes, vec![server.mirror()]), dir.path()).unwrap();
    assert!(right_or_absent(dir.path(), &bytes));

    let half: Arc<Vec<u8>> = Arc::new(bytes[..LEN / 2].to_vec());
    let endless = Server::start(&half, vec![Fault::Endless; 9]);
    let dir = tempfile::tempdir().unwrap();
    let result = fetch(&request(&bytes, vec![endless.mirror()]), dir.path());
    assert!(result.is_err());
    assert!(!right_or_absent(dir.path(), &bytes));
    let on_disk: u64 = names(dir.path())
        .iter()
        .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len())
        .sum();
    assert!(on_disk <= LEN as u64 + 4096, "{on_disk} bytes on the disk");
}

#[test]
fn a_server_without_ranges_is_restarted_from_the_beginning() {
    let bytes = content(LEN, 7);
    let plan = vec![
        Fault::Cut(LEN / 2),
        Fault::IgnoreRangeCut(LEN / 3),
        Fault::IgnoreRange,
    ];
    let server = Server::start(&bytes, plan);
    let dir = tempfile::tempdir().unwrap();
    fetch(&request(&bytes, vec![server.mirror()]), dir.path()).unwrap();
    assert!(right_or_absent(dir.path(), &bytes));
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn endless_cutting_without_progress_is_bounded() {
    let bytes = content(LEN, 8);
    let server = Server::start(&bytes, vec![Fault::Cut(0); 1000]);
    let dir = tempfile::tempdir().unwrap();
    let error = only_error(fetch(&request(&bytes, vec![server.mirror()]), dir.path()));
    assert!(matches!(error, MirrorError::Broken { .. }), "{error}");
    assert!(server.requests().len() <= 2 * hasty().fruitless_tries as usize);
}

#[test]
fn a_mirror_that_is_silent_or_refuses_is_passed_over_quickly() {
    let bytes = content(LEN, 9);
    let faults = [
        Fault::Slow(Duration::from_secs(4)),
        Fault::Status(404),
        Fault::Status(403),
        Fault::Garbage,
        Fault::Hang,
        Fault::RedirectLoop,
        Fault::Compressed,
    ];
    for fault in faults {
        let bad = Server::start(&bytes, vec![fault.clone(); 30]);
        let good = Server::start(&bytes, vec![]);
        let dir = tempfile::tempdir().unwrap();
        let start = Instant::now();
        fetch(
            &request(&bytes, vec![bad.mirror(), good.mirror()]),
            dir.path(),
        )
        .unwrap();
        assert!(right_or_absent(dir.path(), &bytes));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{fault:?} took {took:?}");
    }
}

#[test]
fn a_file_that_changes_under_the_download_is_fetched_anew() {
    let (old, new) = (content(LEN, 10), content(LEN, 11));
    let server = Server::start(&old, vec![Fault::Cut(LEN / 2)]);
    let dir = tempfile::tempdir().unwrap();
    struct Swap<'a>(&'a Server, &'a Arc<Vec<u8>>);
    impl Progress for Swap<'_> {
        fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
            if matches!(event, Event::Retry { .. }) {
                self.0.replace(self.1);
            }
            ControlFlow::Continue(())
        }
    }
    let request = request(&new, vec![server.mirror()]);
    fetch_with(&request, dir.path(), &hasty(), &mut Swap(&server, &new)).unwrap();
    assert!(right_or_absent(dir.path(), &new));
}

/// Stops after some bytes.
struct StopAt(u64);

impl Progress for StopAt {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Bytes { done } if done >= self.0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn a_cancelled_download_goes_on_where_it_was() {
    let bytes = content(LEN, 12);
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(1));
    let dir = tempfile::tempdir().unwrap();
    let request = request(&bytes, vec![server.mirror()]);
    let stopped = fetch_with(&request, dir.path(), &hasty(), &mut StopAt(LEN as u64 / 2));
    assert!(matches!(stopped, Err(FetchError::Cancelled)));
    assert!(!right_or_absent(dir.path(), &bytes));
    fetch(&request, dir.path()).unwrap();
    assert!(right_or_absent(dir.path(), &bytes));
    let second = server.requests().pop().unwrap().to_lowercase();
    let from = second
        .split("range: bytes=")
        .nth(1)
        .unwrap()
        .split('-')
        .next()
        .unwrap();
    assert!(from.parse::<usize>().unwrap() >= LEN / 2);
    assert!(second.contains("if-range: \"v1\""));
}

#[test]
fn a_damaged_partial_file_costs_one_more_download_and_nothing_else() {
    let bytes = content(LEN, 13);
    let server = Server::start(&bytes, vec![]);
    for damage in [
        vec![0; LEN / 2],
        vec![0; LEN],
        vec![0; LEN + 5],
        bytes[1..].to_vec(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join(format!("{}.part", hash(&bytes)));
        std::fs::write(part, damage).unwrap();
        fetch(&request(&bytes, vec![server.mirror()]), dir.path()).unwrap();
        assert!(right_or_absent(dir.path(), &bytes));
    }
}

#[test]
fn a_wrong_file_of_the_final_name_is_replaced_and_a_right_one_is_kept() {
    let bytes = content(LEN, 14);
    let server = Server::start(&bytes, vec![]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file.gguf"), vec![1; LEN]).unwrap();
    let request = request(&bytes, vec![server.mirror()]);
    fetch(&request, dir.path()).unwrap();
    assert!(right_or_absent(dir.path(), &bytes));
    fetch(&request, dir.path()).unwrap();
    assert_eq!(
        server.requests().len(),
        1,
        "what is here is not asked for again"
    );
}

#[test]
fn fetches_at_once_take_turns_and_download_once() {
    let bytes = content(LEN, 15);
    let server = Server::throttled(&bytes, vec![], Duration::from_micros(500));
    let dir = tempfile::tempdir().unwrap();
    let request = request(&bytes, vec![server.mirror()]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch(&request, dir.path()).unwrap());
        }
    });
    assert!(right_or_absent(dir.path(), &bytes));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn without_room_nothing_is_written_and_what_is_there_stays() {
    let bytes = content(LEN, 16);
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(1));
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(&bytes, vec![server.mirror()]);
    let stopped = fetch_with(&request, dir.path(), &hasty(), &mut StopAt(LEN as u64 / 2));
    assert!(matches!(stopped, Err(FetchError::Cancelled)));
    let before = names(dir.path());
    request.reserve = u64::MAX / 2;
    let full = fetch(&request, dir.path());
    assert!(matches!(full, Err(FetchError::DiskFull { .. })), "{full:?}");
    assert_eq!(names(dir.path()), before);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let bytes = content(10, 17);
    let dir = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", "a/b", "../x", "c:\\x", ".hidden", "a\nb"] {
        let mut request = request(&bytes, vec![Mirror::Url("http://127.0.0.1:9/x".to_owned())]);
        request.file = name.to_owned();
        assert!(
            matches!(fetch(&request, dir.path()), Err(FetchError::BadRequest(_))),
            "{name:?}"
        );
    }
}
