//! Snapshots from outside: a conversation that is gone on with has the answers that it would have had without
//! them, and reads only what is new; whatever happens to their files, it is read again and no more. (Their
//! format and every changed chunk: src/vault/snapshot/tests.rs.)
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "chat/model.rs"]
mod model;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Place {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A message of some `n` tokens: letters that are no words of the model are one each.
fn long(n: usize) -> String {
    "qwxz ".chars().cycle().take(n).collect()
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (_, flags) = model::write(folder.path());
        std::fs::write(folder.path().join("key"), "correct horse\n").unwrap();
        Place { folder, flags }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn hob(&self, home: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hob"));
        command
            .args(arguments)
            .args(["--passphrase-file", "key"])
            .current_dir(self.path())
            .env("HOB_HOME", self.path().join(home))
            .env_remove("HOB_VAULT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn chat(&self, home: &str, arguments: &[&str]) -> Command {
        let always = ["chat", "tiny.gguf", "--vault", "v", "--verbose"];
        let mut command = self.hob(home, &[&always[..], arguments].concat());
        command.args(["--threads", "2", "--max-tokens", "8"]);
        command.args(&self.flags);
        command
    }

    /// What a conversation whose lines come from a pipe says, and what is said about it; it must end well.
    fn script(&self, home: &str, arguments: &[&str], lines: &str) -> (String, String) {
        let mut child = self.chat(home, arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        assert!(status.success(), "{arguments:?}: {}", text(&stderr));
        (text(&stdout).to_owned(), text(&stderr).to_owned())
    }

    fn vault(&self, home: &str, arguments: &[&str]) {
        let done = self.hob(home, &[&["vault"], arguments].concat()).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    /// The files of snapshots that have something in them.
    fn snapshots(&self, home: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.path().join(home).join("vaults")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let kv = paths.filter(|path| path.extension().is_some_and(|e| e == "kv"));
        let kv: Vec<PathBuf> = kv.collect();
        for path in &kv {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        kv.into_iter()
            .filter(|path| std::fs::metadata(path).unwrap().len() > 0)
            .collect()
    }

    /// The same store again, under another name.
    fn copy(&self, from: &str, to: &str) {
        let mut copy = Command::new("cp");
        copy.args(["-a", from, to]).current_dir(self.path());
        assert!(copy.status().unwrap().success());
    }
}

/// How many tokens were taken over, by what is said when a conversation is gone on with.
fn taken_over(said: &str) -> Option<usize> {
    let (before, _) = said.split_once(" tokens of it need not be read again")?;
    before.rsplit('(').next()?.parse().ok()
}

/// How many tokens the first answer's message found in the session.
fn kept(said: &str) -> usize {
    let (before, _) = said.split_once(" kept from before").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_conversation_goes_on_as_if_it_had_been_read_again_whatever_became_of_its_snapshot() {
    let place = Place::new();
    let lines = format!("{}\nred green\n", long(600));
    place.script("home", &[], &lines);
    let [file] = &place.snapshots("home")[..] else {
        panic!("one snapshot, and the files that it was not written in are empty");
    };
    let name = file.file_name().unwrap().to_owned();
    let on = |home: &str, more: &[&str]| {
        let arguments = [&["--continue"], more].concat();
        place.script(home, &arguments, "blue?\nand a wide river\n")
    };
    place.copy("home", "plain");
    let (answers, said) = on("plain", &["--no-snapshots"]);
    assert_eq!((taken_over(&said), kept(&said)), (None, 0), "{said}");
    assert!(place.snapshots("plain").len() == 1, "nothing was written");

    place.copy("home", "whole");
    let (resumed, said) = on("whole", &[]);
    assert_eq!(resumed, answers);
    let n = taken_over(&said).unwrap();
    assert!(n > 600 && kept(&said) > 600, "{said}");
    assert_eq!(place.snapshots("whole").len(), 1);

    type Harm = fn(&Path);
    let flipped: Harm = |file| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    };
    let gone: Harm = |file| std::fs::remove_file(file).unwrap();
    for (home, harm) in [("flipped", flipped), ("gone", gone)] {
        place.copy("home", home);
        harm(&place.path().join(home).join("vaults").join(&name));
        let (again, said) = on(home, &[]);
        assert_eq!(again, answers, "{home}");
        assert_eq!((taken_over(&said), kept(&said)), (None, 0), "{said}");
        assert!(said.contains("it will be read again"), "{said}");
        // It is as good as new.
        assert_eq!(place.snapshots(home).len(), 1, "{home}");
    }
    // Other keys and values than those of this engine.
    let (_, said) = on("home", &["--kv", "q8_0"]);
    assert!(
        taken_over(&said).is_none() && said.contains("another type"),
        "{said}"
    );
    let (_, said) = on("home", &["--kv", "q8_0"]);
    assert!(taken_over(&said).is_some_and(|n| n > 600), "{said}");
    // The key goes with the conversation or with the vault's key; the file goes, too.
    place.vault("whole", &["rekey", "v"]);
    assert!(place.snapshots("whole").is_empty());
    let (_, said) = on("whole", &[]);
    assert_eq!((taken_over(&said), kept(&said)), (None, 0), "{said}");
    assert_eq!(place.snapshots("whole").len(), 1);
    place.vault("whole", &["rm", "v", "1", "--yes"]);
    assert!(place.snapshots("whole").is_empty());
}

#[test]
fn each_conversation_of_a_process_has_its_own_snapshot() {
    let place = Place::new();
    // The first one has two in the course of it; the third is too short for one.
    let (a, b) = (long(600), long(700));
    let lines = format!("{a}\n{b}\nred\n/reset\n{b}\nblue\n/reset\nred green\n");
    place.script("home", &[], &lines);
    assert_eq!(place.snapshots("home").len(), 2);
    for (id, tokens) in [("1", Some(1300)), ("2", Some(700)), ("3", None)] {
        let (_, said) = place.script("home", &["--conversation", id], "river\n");
        match (taken_over(&said), tokens) {
            (Some(n), Some(least)) => assert!(n > least, "{id}: {said}"),
            (found, expected) => assert_eq!(found, expected, "{id}: {said}"),
        }
    }
    // What was taken back is not gone on with.
    let (_, said) = place.script(
        "home",
        &["--conversation", "1"],
        "/undo\n/undo\n/undo\nmoon\n",
    );
    assert!(kept(&said) < taken_over(&said).unwrap() - 600, "{said}");
    let (_, said) = place.script("home", &["--conversation", "1"], "star\n");
    assert_eq!(kept(&said) / 100, 6, "{said}");
}

/// Killed after the first of its snapshots was written, and while the second may be.
#[test]
fn a_killed_conversation_goes_on() {
    let place = Place::new();
    let mut child = place.chat("home", &[]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    writeln!(stdin, "{}", long(600)).unwrap();
    stdout.next().unwrap().unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while place.snapshots("home").is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    for message in ["red".to_owned(), "green".to_owned(), long(1000)] {
        writeln!(stdin, "{message}").unwrap();
        stdout.next().unwrap().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.copy("home", "plain");
    let (again, _) = place.script("plain", &["--continue", "--no-snapshots"], "blue\n");
    let (resumed, said) = place.script("home", &["--continue"], "blue\n");
    assert_eq!(resumed, again);
    assert!(taken_over(&said).is_some_and(|n| n > 600), "{said}");
}
