//! Processes that are killed: at random moments while they add records, and at every step that they make
//! on the disk while they make, change, rewrite or delete a vault.
//!
//! The process is this test program again, told by its environment what to do (`child`).
//! `HOB_TEST_VAULT_KILLS=1000` for many random kills.
#![cfg(unix)]

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const TASK: &str = "HOB_TEST_VAULT_TASK";
const STORE: &str = "HOB_TEST_VAULT_STORE";
const NEW_PASSPHRASE: &[u8] = b"battery staple";

/// This program, doing one thing to the vault in this store.
fn child(task: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // Of all tests only the one below.
    command
        .args([
            "--exact",
            "vault::tests::killed::does_its_task",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(TASK, task)
        .env(STORE, store)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// In a process of [`child`]; in the tests' own there is nothing to do.
#[test]
fn does_its_task() {
    let (Ok(task), Some(store)) = (std::env::var(TASK), std::env::var_os(STORE)) else {
        return;
    };
    let store = Path::new(&store);
    match task.as_str() {
        "append" => {
            let (opened, entries) = open(store).unwrap();
            let (mut vault, mut out) = (opened.vault, std::io::stdout().lock());
            for n in entries.len() as u64.. {
                vault.append(1, &message(n)).unwrap();
                // Finished: the record with this number is safe.
                if writeln!(out, "finished {n}")
                    .and_then(|()| out.flush())
                    .is_err()
                {
                    return;
                }
            }
        }
        "create" => drop(make(store)),
        "passwd" => {
            let (opened, _) = open(store).unwrap();
            opened
                .vault
                .change_passphrase(&opened.master, NEW_PASSPHRASE, CHEAP)
                .unwrap();
        }
        "rekey" => {
            let history = history(store);
            let (opened, _) = open(store).unwrap();
            opened
                .vault
                .rekey(&opened.master, history.into_entries(), &[])
                .unwrap();
        }
        "rm" => {
            let mut history = history(store);
            history.remove(2).unwrap();
            let (opened, _) = open(store).unwrap();
            opened
                .vault
                .rekey(&opened.master, history.into_entries(), &[])
                .unwrap();
        }
        "delete" => {
            let closed = Vaults::find(store)
                .unwrap()
                .unwrap()
                .open(&name(), Access::Write)
                .unwrap();
            closed.delete().unwrap();
        }
        other => panic!("{other}"),
    }
}

/// A sequence of numbers that look random (a linear congruential generator, Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

#[test]
fn kills_at_random_moments_lose_no_finished_record() {
    let kills = std::env::var("HOB_TEST_VAULT_KILLS").map_or(25, |n| n.parse().unwrap());
    let mut random = Random(11);
    let mut place = Place::with(0);
    let (mut torn, mut unvouched, mut finished_in_all) = (0, 0, 0);
    for kill in 0..kills {
        // Not ever longer.
        if kill % 20 == 19 {
            place = Place::with(0);
        }
        let before = open_as(place.path(), Access::Read, PASSPHRASE, None)
            .unwrap()
            .1
            .len() as u64;
        let mut child = child("append", place.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut finished = before;
        let mut took = |line: std::io::Result<String>| {
            // The test program's own words go before the first line, on the same line.
            let line = line.unwrap();
            if let Some((_, n)) = line.split_once("finished ") {
                assert_eq!(n.parse::<u64>().unwrap(), finished);
                finished += 1;
            }
        };
        // At work, from the first record on.
        for line in lines.by_ref() {
            let is_first = line.as_ref().unwrap().contains("finished ");
            took(line);
            if is_first {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(took);
        assert!(finished > before, "the process did not get to work");
        let (opened, entries) = open(place.path()).unwrap();
        let found = entries.len() as u64;
        assert!(
            found == finished || found == finished + 1,
            "{finished} finished, {found} found"
        );
        for (n, entry) in entries.iter().enumerate() {
            assert!(*entry == (1, bytes(&message(n as u64))), "record {n}");
        }
        torn += opened.findings.len();
        unvouched += found - finished;
        finished_in_all += finished - before;
    }
    println!(
        "{kills} kills; {finished_in_all} records finished, none lost; {unvouched} times one more was there, {torn} times one was torn"
    );
}

/// The system calls that change what is on the disk.
const STEPS: [&str; 9] = [
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "ftruncate",
];

fn may_trace() -> bool {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", "/dev/null", "true"])
        .stdin(Stdio::null());
    let may = command.output().is_ok_and(|output| output.status.success());
    if !may {
        println!("strace is not here or may not trace; not tested");
    }
    may
}

/// Kills a task at each of its steps; after each kill `check` says which state it sees, of `states`, all of
/// which must be seen.
fn at_every_step(
    task: &str,
    before: &dyn Fn() -> Place,
    check: &dyn Fn(&Place) -> usize,
    states: usize,
) {
    if !may_trace() {
        return;
    }
    let (mut seen, mut killed) = (vec![0; states], 0);
    for call in STEPS {
        for n in 1..200 {
            let place = before();
            let plain = child(task, place.path());
            let mut command = Command::new("strace");
            command
                .args([
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    &format!("trace=?{call}"),
                ])
                .args(["-e", &format!("inject=?{call}:signal=SIGKILL:when={n}")])
                .arg(plain.get_program())
                .args(plain.get_args())
                .envs(
                    plain
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                )
                .stdin(Stdio::null());
            let is_done = command.output().unwrap().status.success();
            seen[check(&place)] += 1;
            // What was left by the way is gone after the next one has opened the folder.
            assert!(
                place.files().iter().all(|file| file == "v.vault"),
                "{:?}",
                place.files()
            );
            if is_done {
                break;
            }
            killed += 1;
        }
    }
    println!("{task}: killed at each of {killed} steps; states seen {seen:?}");
    assert!(
        killed > 5 && seen.iter().all(|n| *n > 0),
        "{task}: {killed} kills, {seen:?}"
    );
}

fn messages(place: &Place, passphrase: &[u8]) -> Option<Vec<usize>> {
    let vaults = Vaults::find(place.path()).unwrap()?;
    let closed = match vaults.open(&name(), Access::Write) {
        Err(VaultError::Missing { .. }) => return None,
        other => other.unwrap(),
    };
    let master = match closed.unlock(passphrase) {
        Err(VaultError::WrongPassphrase) => return None,
        other => other.unwrap(),
    };
    let mut history = History::default();
    closed
        .read(master, None, &mut |id, entry| history.take(id, entry))
        .unwrap();
    Some(
        history
            .talks()
            .map(|(_, talk)| talk.messages.len())
            .collect(),
    )
}

#[test]
fn a_new_vault_is_there_or_not() {
    let check = |place: &Place| match messages(place, PASSPHRASE) {
        None => 0,
        Some(found) => {
            assert!(found.is_empty());
            1
        }
    };
    at_every_step("create", &|| Place::new(), &check, 2);
}

#[test]
fn a_passphrase_is_the_old_or_the_new() {
    let check = |place: &Place| {
        let (old, new) = (messages(place, PASSPHRASE), messages(place, NEW_PASSPHRASE));
        assert!(old.iter().chain(&new).all(|found| *found == [2, 2, 2]));
        // Who opens with the new one makes it the only one.
        assert!(new.is_none() || messages(place, PASSPHRASE).is_none());
        match (old, new) {
            (Some(_), None) => 0,
            (_, Some(_)) => 1,
            (None, None) => panic!("no passphrase opens it"),
        }
    };
    at_every_step("passwd", &|| Place::with(6), &check, 2);
}

#[test]
fn a_rewritten_vault_has_all_that_it_had() {
    let check = |place: &Place| {
        assert_eq!(messages(place, PASSPHRASE).unwrap(), [2, 2, 2]);
        0
    };
    at_every_step("rekey", &|| Place::with(6), &check, 1);
}

#[test]
fn a_conversation_is_there_or_erased() {
    let check = |place: &Place| match messages(place, PASSPHRASE).unwrap()[..] {
        [2, 2, 2] => 0,
        [2, 2] => 1,
        ref other => panic!("{other:?}"),
    };
    at_every_step("rm", &|| Place::with(6), &check, 2);
}

#[test]
fn a_deleted_vault_is_there_or_gone() {
    let check = |place: &Place| match messages(place, PASSPHRASE) {
        Some(found) => {
            assert_eq!(found, [2, 2, 2]);
            0
        }
        None => 1,
    };
    at_every_step("delete", &|| Place::with(6), &check, 2);
}
