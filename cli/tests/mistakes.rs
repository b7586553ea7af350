//! The mistakes of someone who is new: each ends with the exit code that the help names, and is answered
//! with what was wrong and what to do. (Mistyped names: help.rs; downloads that fail: pull.rs.)
#![cfg(unix)]

#[path = "chat/model.rs"]
mod model;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Exit code and standard error of `hob` with these arguments, a line of input, and an environment.
fn hob(place: &Path, arguments: &[&str], input: &str, run: &[&str]) -> (Option<i32>, String) {
    let mut words = run.to_vec();
    words.push(env!("CARGO_BIN_EXE_hob"));
    words.extend(arguments);
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(place)
        .env("HOB_HOME", place.join("home"))
        .env_remove("HOB_ISA")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn mistakes_are_answered_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (whole, _) = model::write(place);
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(place.join("cut.gguf"), &bytes[..bytes.len() - 100_000]).unwrap();
    std::fs::write(place.join("header.gguf"), &bytes[..3000]).unwrap();
    std::fs::write(place.join("empty.gguf"), "").unwrap();
    std::fs::write(place.join("notes.txt"), "Some words, no model.").unwrap();
    std::fs::create_dir(place.join("folder")).unwrap();
    let long = "word ".repeat(2000);
    let answer = ["chat", "tiny.gguf", "--max-tokens", "3"];
    let with = |more: &[&'static str]| [&answer[..], more].concat();
    let cases: Vec<(Vec<&str>, &str, i32, &[&str])> = vec![
        // A model that is not there, under a name of nobody's.
        (
            vec!["chat", "frobnicator"],
            "",
            1,
            &["`hob list`", "`hob pull`"],
        ),
        (
            vec!["run", "frob:70b"],
            "",
            1,
            &["`hob pull`", "pipe it in"],
        ),
        // A wrong flag, and a wrong value of a right one.
        (with(&["--temprature", "1"]), "", 2, &["--temperature"]),
        (with(&["--temperature", "hot"]), "", 2, &["at least 0"]),
        (
            with(&["--isa", "mmx"]),
            "",
            1,
            &["`scalar`", "leave the choice out"],
        ),
        // What is no model, or no whole one.
        (
            vec!["chat", "notes.txt"],
            "",
            1,
            &["is no model file", "`hob list`"],
        ),
        (vec!["chat", "folder"], "", 1, &["give the file itself"]),
        (vec!["chat", "empty.gguf"], "", 1, &["fetch it again"]),
        (vec!["chat", "header.gguf"], "", 1, &["fetch it again"]),
        (
            vec!["chat", "cut.gguf"],
            "",
            1,
            &["cut short, fetch it again"],
        ),
        // Nothing to say, and too much.
        (
            vec!["run", "tiny.gguf", " "],
            "",
            1,
            &["the prompt is empty", "pipe it in"],
        ),
        (vec!["run", "tiny.gguf"], "\n", 1, &["is empty"]),
        (
            with(&["--context", "100"]),
            &long,
            1,
            &["this message alone", "shorten it", "/params context"],
        ),
        // A text as a template, a switch that the template does not have.
        (
            with(&["--template", "notes.txt"]),
            "",
            1,
            &["is no chat template", "--source"],
        ),
        (with(&["--think"]), "", 1, &["leave `--think`"]),
        // Places where nothing can be saved, files that hold no conversation.
        (
            with(&[]),
            "/save no/such/x.json\n",
            1,
            &["there is no folder", "give another place"],
        ),
        (with(&[]), "/save folder\n", 1, &["is a folder"]),
        (
            with(&[]),
            "/save notes.txt\n",
            1,
            &["`/save -f notes.txt` replaces it"],
        ),
        (
            with(&["--load", "notes.txt"]),
            "",
            1,
            &["is not a saved conversation"],
        ),
        (with(&[]), "/hepl\n", 1, &["did you mean /help?"]),
    ];
    for (arguments, input, code, remedies) in cases {
        let (found, said) = hob(place, &arguments, input, &[]);
        let what = format!("hob {} < {:.20?}: {said}", arguments.join(" "), input);
        assert_eq!(found, Some(code), "{what}");
        for remedy in remedies {
            assert!(said.contains(remedy), "no \"{remedy}\": {what}");
        }
        // No message, no text of a file in full; nothing that looks like a crash.
        for never in ["word word word", "Some words, no", "panicked", "\u{1b}"] {
            assert!(!said.contains(never), "{what}");
        }
    }
}

/// Files of another user, and a machine without memory; what a file's rights are only means something to
/// who is not root.
#[test]
fn files_of_others_and_full_memory_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (whole, _) = model::write(place);
    std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    // Not root here, or a program that nobody else may run: then there is nothing to see.
    let run = Command::new(nobody[0])
        .args(&nobody[1..])
        .args([env!("CARGO_BIN_EXE_hob"), "--version"])
        .output();
    if run.is_ok_and(|done| done.status.success()) {
        let chat = ["chat", "tiny.gguf", "--max-tokens", "3"];
        let (code, said) = hob(place, &chat, "/save x.json\n", &nobody);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("give another place"), "{said}");
        std::fs::set_permissions(&whole, PermissionsExt::from_mode(0o600)).unwrap();
        let (code, said) = hob(place, &chat, "", &nobody);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("chmod a+r"), "{said}");
    }
    std::fs::write(place.join("large.gguf"), "").unwrap();
    let synth = ["synth", "smollm2-135m", "--out", "large.gguf"];
    assert_eq!(hob(place, &synth, "", &[]).0, Some(0));
    // Room for the program and for the mapped file, and not for a packed copy of it.
    let short = ["prlimit", "--as=250000000"];
    let bench = [
        "bench",
        "large.gguf",
        "--threads",
        "1",
        "--prompt",
        "1",
        "--gen",
        "1",
    ];
    let (code, said) = hob(place, &bench, "", &short);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`--weights mapped`"), "{said}");
}
