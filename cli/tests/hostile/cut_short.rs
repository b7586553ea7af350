//! A model file is cut short while the confined program loads it, or answers from it: an error that says
//! so and exit code 1, or an answer that was complete before; a conversation goes on.

use crate::terminal::Terminal;
use crate::{Place, both, model};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const MAPPED: [&str; 2] = ["--weights", "mapped"];

fn cut(path: &Path, left: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(left).unwrap();
}

/// `hob run` of a file that never ends by itself, its prompt on standard input.
fn endless(place: &Place, flags: &[String], threads: &str) -> Command {
    std::fs::write(place.file("prompt"), "Hi").unwrap();
    let mut command = place.hob();
    command
        .args(["run", "tiny.gguf", "-", "--max-tokens", "1000000"])
        .args(["--threads", threads])
        .args(MAPPED)
        .args(flags)
        .stdin(Stdio::from(File::open(place.file("prompt")).unwrap()));
    command
}

#[test]
fn an_answer_from_a_file_that_is_cut_short_ends_with_an_error() {
    for threads in ["1", "2"] {
        for eighths in [0, 1, 5] {
            let place = Place::new();
            let (path, flags) = model::write(place.path());
            let len = path.metadata().unwrap().len();
            let mut child = endless(&place, &flags, threads).spawn().unwrap();
            let mut answer = child.stdout.take().unwrap();
            answer.read_exact(&mut [0; 100]).unwrap();
            cut(&path, len * eighths / 8);
            std::io::copy(&mut answer, &mut std::io::sink()).unwrap();
            let end = child.wait_with_output().unwrap();
            let said = both(&end);
            // And not a signal.
            assert_eq!(end.status.code(), Some(1), "{eighths}: {said}");
            assert!(
                said.contains("tiny.gguf") && said.contains("cut short"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_file_that_is_cut_short_at_any_moment_is_no_crash() {
    let place = Place::new();
    let (path, flags) = model::write(place.path());
    let whole = std::fs::read(&path).unwrap();
    let mut errors = 0;
    for moment in 0..30 {
        std::fs::write(&path, &whole).unwrap();
        let child = endless(&place, &flags, "2")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // From before it is opened to when it answers.
        std::thread::sleep(Duration::from_micros(700 * moment));
        cut(&path, whole.len() as u64 * (moment % 8) / 8);
        let end = child.wait_with_output().unwrap();
        let said = both(&end);
        assert_eq!(end.status.code(), Some(1), "{moment}: {said}");
        assert!(said.contains("tiny.gguf"), "{moment}: {said}");
        errors += u32::from(said.contains("cut short"));
    }
    assert!(errors > 0);
}

#[test]
fn a_signal_that_is_no_fault_of_a_file_still_ends_the_program() {
    use std::os::unix::process::ExitStatusExt;
    let place = Place::new();
    let (_, flags) = model::write(place.path());
    let mut child = endless(&place, &flags, "2").spawn().unwrap();
    let mut answer = child.stdout.take().unwrap();
    answer.read_exact(&mut [0; 10]).unwrap();
    let pid = child.id().to_string();
    // The first is taken by Rust's own handler, which then steps back.
    let twice = ["-c", "kill -BUS $0; sleep 0.2; kill -BUS $0", &pid];
    let sent = Command::new("/bin/sh").args(twice).status();
    assert!(sent.unwrap().success());
    std::io::copy(&mut answer, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(7));
}

#[test]
fn a_conversation_survives_its_model() {
    let place = Place::new();
    let (path, flags) = model::write(place.path());
    let mut chat = place.hob();
    chat.args(["chat", "tiny.gguf", "--threads", "2", "--max-tokens", "5"])
        .args(MAPPED)
        .args(&flags);
    let mut terminal = Terminal::new(100, 40, &chat);
    terminal.prompt();
    terminal.say("First question");
    cut(&path, 4096);
    terminal.say("Second question");
    terminal.expect("cut short");
    terminal.say("/save kept.json");
    terminal.keys("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
    let saved = std::fs::read_to_string(place.file("kept.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    let messages = saved["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "a question and its answer");
    assert_eq!(messages[0]["content"], "First question");
}
