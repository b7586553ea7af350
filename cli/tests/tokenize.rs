//! `hob tokenize` as a user runs it, on a small tokenizer.json made here.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Bytes `a`, `b`, a space and a line break, a merge, and a control token.
const TOKENIZER: &str = r#"{
    "added_tokens": [{"id": 5, "content": "<|end|>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "TemplateProcessing", "single": [
        {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}]},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ċ": 4, "Ã": 6, "©": 7}, "merges": ["a b"]}
}"#;

fn hob(words: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, TOKENIZER).unwrap();
    run(&file, words, input)
}

fn run(file: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hob"))
        .arg("tokenize")
        .arg(file)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails may not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(words: &[&str], input: &str) -> String {
    let done = hob(words, input);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_text_becomes_ids_and_pieces() {
    let shown = out(&["ab a\né"], "");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0].trim(), "2  \"ab\"");
    assert_eq!(lines[3].trim(), "4  \"\\n\"");
    assert_eq!(lines[4].trim(), "6  \"\\xc3\"");
    assert!(
        lines[6].starts_with("6 tokens, 6 characters, 7 B"),
        "{shown}"
    );
    assert_eq!(
        out(&["-c"], "ab\n"),
        "2\n",
        "a line break at the end is part of the text"
    );
    let json: serde_json::Value = serde_json::from_str(&out(&["--json", "aé"], "")).unwrap();
    assert_eq!(json["ids"], serde_json::json!([0, 6, 7]));
    assert_eq!(json["pieces"][1]["bytes"], serde_json::json!([0xc3]));
    assert_eq!((&json["tokens"], &json["bytes"]), (&3.into(), &3.into()));
}

#[test]
fn special_tokens_come_when_asked_for() {
    let ids = |words: &[&str]| -> serde_json::Value {
        let shown = out(words, "");
        let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
        json["ids"].clone()
    };
    assert_eq!(
        ids(&["--json", "a", "--special"]),
        serde_json::json!([0, 5])
    );
    assert_eq!(
        ids(&["--json", "a<|end|>", "-p"]),
        serde_json::json!([0, 5])
    );
    let plain = ids(&["--json", "a<|end|>"]);
    assert!(!plain.as_array().unwrap().contains(&5.into()), "{plain}");
}

#[test]
fn ids_become_text() {
    assert_eq!(out(&["-d", "2,3, 0"], ""), "ab a\n");
    assert_eq!(out(&["-d"], "6 7 5"), "é<|end|>\n");
    assert_eq!(out(&["-d", "--skip-special", "6 7 5"], ""), "é\n");
    let done = hob(&["-d", "99"], "");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        !done.status.success() && said.contains("no token 99"),
        "{said}"
    );
}

#[test]
fn lines_go_through_one_process_both_ways() {
    let texts = "\"a\\nb\"\n\"\"\n\"ab\"\n";
    let ids = out(&["--lines"], texts);
    assert_eq!(ids, "[0,4,1]\n[]\n[2]\n");
    assert_eq!(out(&["--lines", "-d"], &ids), texts);
    let done = hob(&["--lines"], "\"a\"\nsecret\n");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("line 2"), "{said}");
    assert!(!said.contains("secret"), "no error quotes the text");
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, "{}").unwrap();
    let done = run(&file, &["a"], "");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        !done.status.success() && said.contains("tokenizer.json"),
        "{said}"
    );
}
