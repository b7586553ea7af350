//! Vaults from outside: `hob chat --vault` as a script and as a person use it, `hob vault`, and what is on the
//! disk then. (The file's format, kills at every step and every changed byte: src/vault/tests.)
//!
//! Opening a vault takes about a second, on purpose. Most of these begin with one that is made in advance, under
//! the passphrase `correct horse`, and on which it takes no time (data/empty.vault); hob makes none like
//! that.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "chat/model.rs"]
mod model;
#[path = "chat/terminal.rs"]
#[allow(dead_code)]
mod terminal;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use terminal::Terminal;

/// Words that are said, and must not be found on the disk.
const CANARY: &str = "zebracanary";

struct Place {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (_, flags) = model::write(folder.path());
        std::fs::write(folder.path().join("key"), "correct horse\nanother line\n").unwrap();
        Place { folder, flags }
    }

    /// With an empty vault.
    fn with(vault: &str) -> Place {
        let place = Place::new();
        place.put(vault);
        place
    }

    /// Puts an empty vault there.
    fn put(&self, vault: &str) {
        let folder = self.path().join("home/vaults");
        std::fs::create_dir_all(&folder).unwrap();
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/empty.vault");
        std::fs::copy(made, folder.join(vault).with_extension("vault")).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn hob(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hob"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("HOB_HOME", self.path().join("home"))
            .env("TERM", "xterm-256color")
            .env_remove("HOB_VAULT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn chat(&self, arguments: &[&str]) -> Command {
        let mut command = self.hob(&["chat", "tiny.gguf", "--threads", "1", "--max-tokens", "8"]);
        command.args(&self.flags).args(arguments);
        command
    }

    /// What a conversation whose lines come from a pipe says; it must end well.
    fn script(&self, arguments: &[&str], lines: &str) -> Output {
        let arguments = [&["--passphrase-file", "key"], arguments].concat();
        let done = feed(self.chat(&arguments), lines);
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            text(&done.stderr)
        );
        done
    }

    fn vault(&self, arguments: &[&str]) -> Output {
        let arguments = [&["vault"], arguments, &["--passphrase-file", "key"]].concat();
        self.hob(&arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let done = self.vault(arguments);
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            text(&done.stderr)
        );
        text(&done.stdout).to_owned()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let done = self.vault(arguments);
        assert_eq!(
            done.status.code(),
            Some(1),
            "{arguments:?}: {}",
            text(&done.stdout)
        );
        text(&done.stderr).to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// Messages of a file that /save or export wrote.
    fn said(&self, file: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        said(&serde_json::from_str(&text).unwrap())
    }
}

fn said(document: &Value) -> Vec<(String, String)> {
    let messages = document["messages"].as_array().unwrap().iter();
    let field = |m: &Value, name: &str| m[name].as_str().unwrap().to_owned();
    messages
        .map(|m| (field(m, "role"), field(m, "content")))
        .collect()
}

fn feed(mut command: Command, lines: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that ended at an error has closed its end.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Whether a word is in a file of a folder, or in those below.
fn found_below(folder: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(found_below(&path, word));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(word.len()).any(|w| w == word.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Whatever commands did to a conversation, opening it again gives the same one.
#[test]
fn a_conversation_is_gone_on_with_as_it_was() {
    let place = Place::with("diary");
    let lines = format!(
        "/system Be a {CANARY}.\nOne {CANARY}?\nTwo?\n/undo\nThree?\n/retry\n/params min_p 0.05\n/params repetition_penalty=1.1\n/save was.json\n"
    );
    place.script(&["--vault", "Diary", "--seed", "3"], &lines);
    let was = place.said("was.json");
    assert_eq!(was.len(), 5);
    let done = place.script(
        &["--vault", "diary", "--continue"],
        "/save again.json\n/params\nFour?\n/save four.json\n/reset\n/params seed 4\n",
    );
    assert_eq!(place.said("again.json"), was);
    let params = text(&done.stdout);
    for set in [
        ["min_p", "0.05"],
        ["repetition_penalty", "1.1"],
        ["seed", "3"],
    ] {
        let is_set = |line: &str| line.split_whitespace().take(2).eq(set);
        assert!(params.lines().any(is_set), "{set:?}: {params}");
    }
    assert!(
        text(&done.stderr).contains("was last written 2"),
        "{}",
        text(&done.stderr)
    );
    // The same answer as when it was not interrupted: one process reads it all at once.
    let four = place.said("four.json");
    assert_eq!(four[..5], was);
    std::fs::write(place.path().join("flat.json"), {
        let list: Vec<Value> = four[..5]
            .iter()
            .map(|(role, content)| serde_json::json!({ "role": role, "content": content }))
            .collect();
        Value::from(list).to_string()
    })
    .unwrap();
    let limits = [
        "--load",
        "flat.json",
        "--min-p",
        "0.05",
        "--repetition-penalty",
        "1.1",
        "--seed",
        "3",
    ];
    let flat = feed(place.chat(&limits), "Four?\n/save flat2.json\n");
    assert!(flat.status.success(), "{}", text(&flat.stderr));
    assert_eq!(place.said("flat2.json"), four);

    // After /reset it is another conversation, with the same system prompt.
    place.script(
        &["--vault", "diary", "--continue"],
        "/save reset.json\nFive?\n",
    );
    assert_eq!(place.said("reset.json"), was[..1]);
    let shown = place.json(&["show", "diary", "--json"]);
    let talks = shown["conversations"].as_array().unwrap();
    let count = |i: usize| talks[i]["messages"].as_u64().unwrap();
    assert_eq!((talks.len(), count(0), count(1)), (2, 6, 2), "{shown}");
    assert_eq!(talks[0]["title"], format!("One {CANARY}?"));
    place.script(
        &["--vault", "diary", "--conversation", "1", "--seed", "9"],
        "/save one.json\n/undo\n",
    );
    assert_eq!(place.said("one.json"), four);
    assert_eq!(
        place.json(&["show", "diary", "--json"])["conversations"][0]["messages"],
        4
    );
}

#[test]
fn vaults_are_listed_shown_searched_exported_changed_and_erased() {
    let place = Place::new();
    assert!(place.ok_without(&["list"]).contains("no vaults yet"));
    place.put("diary");
    assert!(place.fails(&["create", "diary"]).contains("already"));
    place.script(
        &["--vault", "diary"],
        &format!("The {CANARY}\u{1b}[31m garden?\n/reset\nAnother?\n"),
    );
    let list = place.ok_without(&["list", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (list[0]["name"].as_str(), list.as_array().unwrap().len()),
        (Some("diary"), 1)
    );

    let table = place.ok(&["show", "diary"]);
    assert!(
        table.contains("2 messages") && table.contains(CANARY),
        "{table}"
    );
    let shown = place.ok(&["show", "diary", "1"]);
    assert!(
        shown.contains("user (") && shown.contains("assistant ("),
        "{shown}"
    );
    for shown in [&table, &shown] {
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    assert!(
        place
            .fails(&["show", "diary", "7"])
            .contains("no conversation 7")
    );
    let found = place.ok(&["search", "diary", "ZEBRACANARY"]);
    assert!(
        found.contains("message 1, user") && found.lines().count() == 1,
        "{found}"
    );
    let mut quiet = place.hob(&[
        "vault",
        "search",
        "diary",
        "--json",
        "--passphrase-file",
        "key",
    ]);
    quiet.stdin(Stdio::piped());
    let found = feed(quiet, "no such words\n");
    assert_eq!(text(&found.stdout).trim(), "[]");

    let one: Value = serde_json::from_str(&place.ok(&["export", "diary", "1"])).unwrap();
    let all: Value = serde_json::from_str(&place.ok(&["export", "diary"])).unwrap();
    assert!(all[0] == one && all.as_array().unwrap().len() == 2);
    assert_eq!(said(&one)[0].1, format!("The {CANARY}\u{1b}[31m garden?"));
    assert!(one["note"].as_str().unwrap().contains("Not encrypted"));
    place.ok(&["export", "diary", "1", "--out", "out.json"]);
    assert!(
        place
            .fails(&["export", "diary", "1", "--out", "out.json"])
            .contains("--force")
    );
    let loaded = feed(place.chat(&["--load", "out.json"]), "/save loaded.json\n");
    assert!(loaded.status.success());
    assert_eq!(place.said("loaded.json"), said(&one));

    assert!(place.fails(&["rm", "diary", "1"]).contains("--yes"));
    assert!(
        place
            .fails(&["rm", "diary", "1", "9", "--yes"])
            .contains("no conversation 9")
    );
    place.ok(&["rm", "diary", "1", "--yes"]);
    let left = place.json(&["show", "diary", "--json"]);
    assert_eq!(left["conversations"].as_array().unwrap().len(), 1);
    assert_eq!(left["conversations"][0]["id"], 2);
    place.ok(&["rekey", "diary"]);

    std::fs::write(place.path().join("new"), "battery staple").unwrap();
    place.ok(&["passwd", "diary", "--new-passphrase-file", "new"]);
    assert!(
        place
            .fails(&["show", "diary"])
            .contains("passphrase is wrong")
    );
    std::fs::rename(place.path().join("new"), place.path().join("key")).unwrap();
    assert!(place.ok(&["show", "diary"]).contains("Another?"));
    place.ok(&["rm", "diary", "--all", "--yes"]);
    assert!(place.fails(&["show", "diary"]).contains("no vault `diary`"));
    let left = std::fs::read_dir(place.path().join("home/vaults")).unwrap();
    assert_eq!(
        left.flatten()
            .filter(|file| file.file_name() != ".lock")
            .count(),
        0
    );
}

impl Place {
    /// `hob vault`, where no passphrase is needed.
    fn ok_without(&self, arguments: &[&str]) -> String {
        let done = self
            .hob(&[&["vault"], arguments].concat())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout).to_owned()
    }
}

#[test]
fn nothing_is_kept_unless_asked_for_and_then_nothing_in_plain_text() {
    let place = Place::new();
    let words = format!("The {CANARY} is said.\n/undo\nThe {CANARY} again.\n");
    let done = feed(place.chat(&[]), &words);
    assert!(done.status.success());
    let home = place.path().join("home");
    assert!(!home.join("vaults").exists());
    // By the environment, and against it.
    let mut command = place.chat(&["--passphrase-file", "key"]);
    command.env("HOB_VAULT", "v");
    let done = feed(command, &words);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(home.join("vaults/v.vault").exists());
    let size = || {
        std::fs::metadata(home.join("vaults/v.vault"))
            .unwrap()
            .len()
    };
    let before = size();
    let mut command = place.chat(&["--no-vault"]);
    command.env("HOB_VAULT", "v");
    assert!(feed(command, &words).status.success());
    assert_eq!(size(), before);
    assert!(place.ok(&["show", "v", "1"]).contains(CANARY));
    place.ok(&["rekey", "v"]);
    assert_eq!(found_below(place.path(), CANARY), Vec::<String>::new());

    for (arguments, why) in [
        (&["--continue"][..], "which vault?"),
        (&["--vault", "w", "--continue"], "no vault `w`"),
        (
            &["--vault", "v", "--conversation", "9"],
            "no conversation 9",
        ),
        (&["--vault", "../v"], "cannot be the name"),
        (
            &["--vault", "v", "--passphrase-file", "missing"],
            "cannot read a passphrase from missing",
        ),
        (
            &["--vault", "v", "--passphrase-file", "tiny.gguf"],
            "passphrase",
        ),
    ] {
        let key: &[&str] = match arguments.contains(&"--passphrase-file") {
            true => &[],
            false => &["--passphrase-file", "key"],
        };
        let done = feed(place.chat(&[arguments, key].concat()), "Hi\n");
        let error = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}

/// A process killed while an answer is written: the question and all before it are kept.
#[test]
fn a_kill_loses_at_most_the_answer_being_written() {
    let place = Place::with("v");
    let mut command = place.chat(&["--vault", "v", "--passphrase-file", "key"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdin.write_all(b"First?\n").unwrap();
    stdout.read_line(&mut first).unwrap();
    stdin
        .write_all(b"/params max_tokens unlimited\nSecond?\n")
        .unwrap();
    // Some of the second answer, which would go on for a million tokens.
    stdout.read_exact(&mut [0; 200]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = said(&serde_json::from_str(&place.ok(&["export", "v", "1"])).unwrap());
    let kept: Vec<_> = kept.iter().map(|(_, content)| content.as_str()).collect();
    assert_eq!(kept, ["First?", first.trim_end(), "Second?"]);
    // And gone on with.
    place.script(&["--vault", "v", "--continue"], "/retry\n");
    assert_eq!(
        place.json(&["show", "v", "--json"])["conversations"][0]["messages"],
        4
    );
}

#[test]
fn an_older_copy_is_refused_with_an_anchor() {
    let place = Place::with("v");
    let file = place.path().join("home/vaults/v.vault");
    let arguments = ["--vault", "v", "--anchor", "anchor"];
    let first = place.script(&arguments, "One?\n");
    assert!(text(&first.stderr).contains("anchor was not there"));
    let old = std::fs::read(&file).unwrap();
    place.script(&arguments, "Two?\n");
    std::fs::write(&file, old).unwrap();
    let rolled = place.vault(&["show", "v", "--anchor", "anchor"]);
    assert!(
        text(&rolled.stderr).contains("ROLLED BACK"),
        "{}",
        text(&rolled.stderr)
    );
    assert_eq!(rolled.status.code(), Some(1));
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert!(place.fails(&["show", "v"]).contains("TAMPERED"));
    std::fs::write(&file, &bytes[..last]).unwrap();
    assert!(place.fails(&["show", "v"]).contains("TRUNCATED"));
    let salvaged = place.vault(&["export", "v", "1", "--salvage"]);
    assert!(text(&salvaged.stderr).contains("TRUNCATED"));
    let salvaged: Value = serde_json::from_slice(&salvaged.stdout).unwrap();
    assert_eq!(said(&salvaged)[0], ("user".to_owned(), "One?".to_owned()));
}

#[test]
fn a_passphrase_is_typed_unseen() {
    let place = Place::new();
    let mut t = Terminal::new(120, 24, &place.chat(&["--vault", "v", "--color", "never"]));
    t.expect("Passphrase of the new vault v:");
    t.keys("häßliche\u{7f}\u{7f}\u{7f} zebra\r");
    t.expect("The same again:");
    t.keys("nonsense\u{15}häßli zebra\r");
    t.prompt();
    t.expect("is kept in the vault v, encrypted");
    let rows = t.rows().concat();
    assert!(!rows.contains("zebra") && !rows.contains("liche"), "{rows}");
    t.say("Hi");
    t.say("/info");
    t.expect("conversation 1 of the vault v, encrypted");
    t.keys("\u{4}");
    assert_eq!(t.exit_code(), Some(0));
    place.put("w");
    let mut t = Terminal::new(80, 24, &place.hob(&["vault", "show", "w"]));
    t.expect("Passphrase of the vault w:");
    t.keys("correct pony\r");
    t.expect("the passphrase is wrong");
    // What is typed before it is asked for is echoed, as in every program.
    t.until("a second question", |rows| {
        rows.concat().matches("Passphrase of the vault w:").count() == 2
    });
    t.keys("nonsense\u{15}correct pony\u{7f}\u{7f}\u{7f}\u{7f}horse\r");
    t.expect("no conversations yet");
    let rows = t.rows().concat();
    assert!(!rows.contains("pony") && !rows.contains("horse"), "{rows}");
    assert_eq!(t.exit_code(), Some(0));
    // Ctrl-C ends it, and leaves the terminal as it was.
    let mut t = Terminal::new(80, 24, &place.hob(&["vault", "show", "w"]));
    t.expect("Passphrase of the vault w:");
    t.keys("\u{3}");
    assert_eq!(t.exit_code(), Some(130));
    // Nobody is there to be asked.
    let mut command = Command::new("setsid");
    let plain = place.hob(&["vault", "show", "w"]);
    command
        .arg("--wait")
        .arg(plain.get_program())
        .args(plain.get_args());
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        text(&done.stderr).contains("--passphrase-file"),
        "{}",
        text(&done.stderr)
    );
}
