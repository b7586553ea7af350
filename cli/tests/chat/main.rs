//! `hob chat` from outside: as a script uses it, and as a person does, in a terminal. The model is random and
//! tiny; chat_tmux.sh does the same with a real one.
#![cfg(unix)]

mod model;
mod terminal;

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use terminal::Terminal;

struct Place {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (_, flags) = model::write(folder.path());
        Place { folder, flags }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn chat(&self, arguments: &[&str]) -> Command {
        let mut command = self.hob(&["chat", "tiny.gguf", "--threads", "1"]);
        command.args(&self.flags).args(arguments);
        command
    }

    fn hob(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hob"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env("HOB_HOME", self.path().join("home"))
            .env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM_PROGRAM"] {
            command.env_remove(name);
        }
        command
    }

    /// The end of a conversation whose lines come from a pipe.
    fn script(&self, arguments: &[&str], lines: &str) -> Output {
        self.fed(&mut self.chat(arguments), lines)
    }

    fn fed(&self, command: &mut Command, lines: &str) -> Output {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that ended at an error has closed its end.
        let _ = stdin.write_all(lines.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn terminal(&self, columns: u16, rows: u16, arguments: &[&str]) -> Terminal {
        let mut terminal = Terminal::new(columns, rows, &self.chat(arguments));
        terminal.prompt();
        terminal
    }

    /// What was said, by a file that /save wrote.
    fn said(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        let saved: Value = serde_json::from_str(&text).unwrap();
        let content = |m: &Value| m["content"].as_str().unwrap().to_owned();
        saved["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(content)
            .collect()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Each answer is that of a process of its own, which reads all that came before at once.
#[test]
fn a_conversation_turn_by_turn_is_one_prefill() {
    let place = Place::new();
    let questions = ["First?", "Second: 日本語?", "And the third?"];
    let lines = questions.join("\n") + "\n/save whole.json\n";
    let limits = ["--max-tokens", "12", "--seed", "5"];
    let whole = place.script(&limits, &lines);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let said = place.said("whole.json");
    assert_eq!(said.len(), 6);
    let answers: Vec<&str> = said.iter().skip(1).step_by(2).map(String::as_str).collect();
    assert_eq!(text(&whole.stdout), answers.join("\n") + "\n");
    assert!(
        answers.iter().all(|a| a.split_whitespace().count() == 12),
        "{answers:?}"
    );
    assert_ne!(answers[0], answers[1]);
    for turn in 0..questions.len() {
        let before: Vec<Value> = said[..2 * turn]
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let role = if i % 2 == 0 { "user" } else { "assistant" };
                serde_json::json!({"role": role, "content": s})
            })
            .collect();
        std::fs::write(
            place.path().join("part.json"),
            Value::from(before).to_string(),
        )
        .unwrap();
        let arguments = [&limits[..], &["--load", "part.json"]].concat();
        let part = place.script(&arguments, questions[turn]);
        assert_eq!(text(&part.stdout).trim_end(), answers[turn], "turn {turn}");
    }
}

#[test]
fn commands_go_back_and_forth() {
    let place = Place::new();
    let lines = "One?\nTwo?\n/undo\n/save undone.json\n/retry\n/save retried.json\n/system Be \"\"\"brief\"\"\"\n\
                 /system\nThree?\n/reset\n/save -f undone.json\n/load retried.json\n/params top_k=1\n/retry\n\
                 /retry\n/save last.json\n";
    let done = place.script(&["--max-tokens", "8"], lines);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(place.said("undone.json"), ["Be \"\"\"brief\"\"\""]);
    let (retried, last) = (place.said("retried.json"), place.said("last.json"));
    assert_eq!((retried.len(), last.len()), (2, 2));
    let answers: Vec<&str> = text(&done.stdout).lines().collect();
    // One, Two, One again with another seed, the system prompt, Three, and twice the most probable.
    assert_eq!(answers.len(), 7, "{answers:?}");
    assert_ne!(answers[0], answers[2], "another seed");
    assert_eq!(answers[2], retried[1]);
    assert_eq!(answers[3], "Be \"\"\"brief\"\"\"");
    assert_eq!(answers[5], answers[6], "greedy");
    assert_eq!(answers[6], last[1]);
}

#[test]
fn a_script_ends_at_its_first_error_and_names_the_line() {
    let place = Place::new();
    for (lines, line, why) in [
        ("Hi\n\n/nonsense\nHi\n", 3, "no command"),
        ("/undo\n", 1, "nothing to undo"),
        ("/retry\n", 1, "no message yet"),
        ("/edit\n", 1, "no terminal"),
        ("/load missing.json\n", 1, "cannot read missing.json"),
        ("/save\n", 1, "name of a file"),
        ("/think on\n", 1, "no switch"),
        (
            "/params context 30\nA message that is too long for it\n",
            2,
            "alone",
        ),
        ("\"\"\"a\n\nb\"\"\"\n/params seed x\n", 4, "seed"),
    ] {
        let done = place.script(&["--max-tokens", "3"], lines);
        let error = text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{lines:?}: {error}");
        assert!(
            error.contains(&format!("line {line} of standard input")),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
        assert!(
            !error.contains("too long for it"),
            "a message is quoted: {error}"
        );
    }
}

#[test]
fn the_oldest_messages_are_forgotten_if_that_is_wanted() {
    let place = Place::new();
    let lines = "The first question, of some length.\nThe second one, no shorter.\nThe third?\n/save all.json\n";
    let full = place.script(&["--max-tokens", "20", "--context", "130"], lines);
    assert_eq!(full.status.code(), Some(1));
    assert!(
        text(&full.stderr).contains("when_full drop-oldest"),
        "{}",
        text(&full.stderr)
    );
    let drops = [
        "--max-tokens",
        "20",
        "--context",
        "130",
        "--when-full",
        "drop-oldest",
    ];
    let done = place.script(&drops, lines);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("no longer sees the oldest 2 messages"));
    assert_eq!(place.said("all.json").len(), 6, "they are saved");
}

#[test]
fn pipes_get_plain_text_unless_colour_is_asked_for() {
    let place = Place::new();
    let of = |arguments: &[&str]| place.script(arguments, "Hi\n/info\n");
    let plain = of(&["--max-tokens", "30"]);
    assert!(!text(&plain.stdout).contains('\u{1b}') && !text(&plain.stderr).contains('\u{1b}'));
    assert!(text(&plain.stdout).contains("seccomp"));
    assert!(text(&plain.stdout).contains("never written unless you /save it"));
    let coloured = of(&["--max-tokens", "30", "--color", "always"]);
    assert!(text(&coloured.stdout).contains("\u{1b}["));
}

#[test]
fn info_says_which_bytes_answer() {
    let place = Place::new();
    let mut import = place.hob(&["import", "tiny.gguf", "--name", "m"]);
    assert!(import.output().unwrap().status.success());
    let of = |arguments: &[&str]| {
        let mut chat = place.hob(&[&["chat", "m", "--threads", "1"], arguments].concat());
        let done = place.fed(&mut chat, "/info\n");
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout).to_owned()
    };
    let bytes = std::fs::read(place.path().join("tiny.gguf")).unwrap();
    let hash = hob_fetch::Digest::of(&bytes).to_string();
    let info = of(&[]);
    for part in [
        hash.as_str(),
        "models/m/model.hob",
        "pinned",
        "came into the store, just now; unchanged since",
        "seccomp",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    assert!(of(&["--verify"]).contains("as it lies in the store, just now; unchanged since"));
    assert!(of(&[]).contains("as it lies in the store, just now; unchanged since"));
    let plain = place.script(&[], "/info\n");
    assert!(text(&plain.stdout).contains("not in the store"));
}

#[test]
fn an_answer_is_wrapped_stopped_and_kept() {
    let place = Place::new();
    let mut t = place.terminal(40, 20, &["--max-tokens", "30"]);
    t.say("Hi");
    let words: Vec<String> = t
        .rows()
        .iter()
        .skip_while(|row| !row.starts_with(">>> Hi"))
        .skip(1)
        .take_while(|row| !row.starts_with('('))
        .flat_map(|row| {
            row.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    t.say("/save wrapped.json");
    // The words are whole: none was broken by the edge.
    let said = place.said("wrapped.json").remove(1);
    assert_eq!(words, said.split_whitespace().collect::<Vec<_>>());
    // Without a limit it would go on for a million tokens.
    t.say("/params max_tokens=unlimited");
    t.keys("Go on\r");
    t.until("a long answer", |rows| {
        !rows.iter().any(|row| row.contains(">>>"))
    });
    t.keys("not seen");
    t.keys("\u{3}");
    t.expect("what there is of the answer");
    t.prompt();
    assert!(!t.rows().concat().contains("not seen"));
    t.say("/save stopped.json");
    assert_eq!(place.said("stopped.json").len(), 4);
    // At an empty prompt: once to ask, twice to leave.
    t.keys("typed");
    t.last("typed");
    t.keys("\u{3}");
    t.prompt();
    t.keys("\u{3}");
    t.expect("Ctrl-C again leaves");
    t.prompt();
    t.keys("\u{3}");
    assert_eq!(t.exit_code(), Some(0));
}

#[test]
fn lines_are_pasted_joined_and_edited() {
    let place = Place::new();
    let mut t = place.terminal(60, 24, &["--max-tokens", "2", "--color", "never"]);
    // A paste of lines, with backslashes and with what would steer the terminal.
    t.keys("\u{1b}[200~first \\\rsecond\u{9b}31m\u{7}\r\tthird\u{1b}[201~");
    t.enter("third");
    t.keys("one \\\r");
    t.last("one \\");
    t.say("two");
    t.keys("\"\"\"block\r");
    t.last("block");
    t.say("ends\"\"\"");
    t.keys("alt\u{1b}\renter");
    t.enter("enter");
    // Wide and joined characters: the cursor passes each as one.
    t.keys("日本語🙂e\u{301}x");
    t.last("e\u{301}x");
    t.keys("\u{1b}[D\u{1b}[D|\u{1b}[D\u{1b}[D\u{1b}[D!");
    t.enter("日本!語🙂|e\u{301}x");
    t.say("/save lines.json");
    let said: Vec<String> = place.said("lines.json").into_iter().step_by(2).collect();
    assert_eq!(
        said,
        [
            "first \\\nsecond\u{9b}31m\u{7}\n\tthird",
            "one \ntwo",
            "block\nends",
            "alt\nenter",
            "日本!語🙂|e\u{301}x",
        ]
    );
    // Commands are completed, and what was typed comes back.
    t.keys("/sys\t");
    t.last("/system");
    t.keys("\u{3}");
    t.prompt();
    t.keys("\u{1b}[A\u{1b}[A");
    t.last("日本!語🙂|e\u{301}x");
    t.keys("\u{3}");
    t.prompt();
    t.keys("\u{4}");
    assert_eq!(t.exit_code(), Some(0));
    // Nothing of it is on the disk but what was saved.
    let mut files: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["lines.json", "tiny.gguf"]);
}

#[test]
fn a_resize_is_respected() {
    let place = Place::new();
    let mut t = place.terminal(60, 20, &["--max-tokens", "60"]);
    t.keys("a line that is longer than thirty columns");
    t.last("thirty columns");
    t.resize(30, 20);
    t.keys("!");
    // After the prompt's four columns, 26 of the line are in its first row.
    t.last("thirty columns!");
    t.enter("columns!");
    t.say("/save resized.json");
    assert_eq!(
        place.said("resized.json")[0],
        "a line that is longer than thirty columns!"
    );
    t.say("Again");
    let rows = t.rows();
    let from = rows
        .iter()
        .position(|row| row.starts_with(">>> Again"))
        .unwrap();
    t.say("/save resized.json");
    let words: Vec<&str> = rows[from + 1..]
        .iter()
        .take_while(|row| !row.starts_with('('))
        .flat_map(|row| row.split_whitespace())
        .collect();
    let said = place.said("resized.json").remove(3);
    assert_eq!(words, said.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn colours_are_left_away_where_they_are_not_wanted() {
    let place = Place::new();
    let colourful = |set: &[(&str, &str)]| {
        let mut command = place.chat(&["--max-tokens", "2"]);
        command.envs(set.iter().copied());
        let mut t = Terminal::new(60, 20, &command);
        t.prompt();
        t.say("Hi");
        let formatted = t.screen().contents_formatted();
        ["[2m", "[31m", "[35m", "[36m"]
            .iter()
            .any(|look| formatted.contains(look))
    };
    assert!(colourful(&[]));
    assert!(!colourful(&[("NO_COLOR", "1")]));
    assert!(!colourful(&[("CLICOLOR", "0")]));
    assert!(!colourful(&[("TERM", "dumb")]));
}
