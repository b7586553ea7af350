//! Bundles as hostile input: whatever is changed in one, it is refused.

use std::path::Path;

use super::read::Bundle;
use super::{BLOCK, BundleError, END, INDEX, entry_name, header, padding};
use hob_fetch::Digest;
use hob_models::packed::Watch;
use serde_json::{Value, json};

/// A tar file of these entries, as `hob bundle export` lays them out.
fn archive(entries: &[(String, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in entries {
        out.extend(header(name, bytes.len() as u64).unwrap().as_bytes());
        out.extend(*bytes);
        out.resize(out.len() + padding(bytes.len() as u64) as usize, 0);
    }
    out.resize(out.len() + END as usize, 0);
    out
}

const WEIGHTS: &[u8] = b"GGUF and so on";

fn index() -> Value {
    json!({
        "format": "hob bundle", "version": 1,
        "models": [{
            "name": "Some-Model", "kind": "gguf", "source": "here", "licence": "MIT", "quant": "",
            "files": [{
                "original": "x.gguf", "size": WEIGHTS.len(), "sha256": Digest::of(WEIGHTS).to_string(),
            }],
        }],
    })
}

/// A bundle with this index and the files that the real one has.
fn with(index: &Value) -> Vec<u8> {
    let text = serde_json::to_vec(index).unwrap();
    let name = entry_name(&Digest::of(WEIGHTS).to_string());
    archive(&[(INDEX.to_owned(), &text), (name, WEIGHTS)])
}

/// Reads a bundle and all its files.
fn read(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    std::fs::write(path, bytes).unwrap();
    let bundle = Bundle::open(path)?;
    let models: Vec<_> = bundle.index.models.iter().collect();
    bundle.check(&models, || ())
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    let whole = with(&index());
    read(&path, &whole).unwrap();
    let sha256 = Bundle::open(&path).unwrap().sha256;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        if read(&path, &changed).is_ok() {
            // A word of the index may be another one; then so is the hash that people compare.
            let other = Bundle::open(&path).unwrap().sha256;
            assert!(other != sha256, "byte {at}");
        }
    }
    for len in (0..whole.len()).step_by(37) {
        assert!(read(&path, &whole[..len]).is_err(), "{len} bytes");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(matches!(
        read(&path, &longer),
        Err(BundleError::Length { .. })
    ));
}

#[test]
fn hostile_indexes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    let file = "/models/0/files/0";
    let long = "x".repeat(2000);
    let changes: [(&str, Value); 21] = [
        ("/models/0/name", json!("../x")),
        ("/models/0/name", json!("a/b")),
        ("/models/0/name", json!("")),
        ("/models/0/name", json!("a\u{1b}[2J")),
        ("/models/0/source", json!(long)),
        ("/models/0/kind", json!("pickle")),
        ("/models/0/kind", json!("safetensors")),
        ("/models/0/files", json!([])),
        ("/models", json!([])),
        ("/format", json!("other")),
        ("/version", json!(2)),
        ("file/original", json!("../x.gguf")),
        ("file/original", json!("/etc/passwd")),
        ("file/original", json!("..")),
        ("file/original", json!("")),
        ("file/size", json!(0)),
        ("file/size", json!(u64::MAX)),
        ("file/size", json!(1_u64 << 40)),
        ("file/size", json!(WEIGHTS.len() - 1)),
        ("file/sha256", json!("../../x")),
        ("file/sha256", json!("0".repeat(64))),
    ];
    for (place, value) in changes {
        let mut index = index();
        let place = place.replace("file/", &format!("{file}/"));
        *index.pointer_mut(&place).unwrap() = value.clone();
        let refused = read(&path, &with(&index));
        assert!(refused.is_err(), "{place} {value}");
        let words = refused.unwrap_err().to_string();
        assert!(words.len() < 500 && !words.contains('\u{1b}'), "{words}");
    }
    // Twice the same name, in whatever case.
    let mut twice = index();
    let mut second = twice["models"][0].clone();
    second["name"] = json!("some-model");
    twice["models"].as_array_mut().unwrap().push(second);
    assert!(matches!(
        read(&path, &with(&twice)),
        Err(BundleError::Index(_))
    ));
    // Twice the same file.
    let mut twice = index();
    let mut second = twice["models"][0]["files"][0].clone();
    second["original"] = json!("y.gguf");
    twice["models"][0]["files"]
        .as_array_mut()
        .unwrap()
        .push(second);
    assert!(matches!(
        read(&path, &with(&twice)),
        Err(BundleError::Index(_))
    ));
}

#[test]
fn other_archives_are_no_bundles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    let text = serde_json::to_vec(&index()).unwrap();
    let name = entry_name(&Digest::of(WEIGHTS).to_string());
    let right = [(INDEX.to_owned(), text.as_slice()), (name.clone(), WEIGHTS)];
    let archive_of = |entries: &[(String, &[u8])]| archive(entries);
    let mut wrong = vec![
        Vec::new(),
        b"GGUF".to_vec(),
        vec![0; 4096],
        archive_of(&[]),
        // Another order, an entry too many.
        archive_of(&[right[1].clone(), right[0].clone()]),
        archive_of(&[right[0].clone(), right[1].clone(), ("x".to_owned(), b"x")]),
    ];
    let places = |size: usize| BLOCK as usize + size.next_multiple_of(BLOCK as usize);
    for elsewhere in [&b"../../x"[..], b"/etc/x", b"files/x"] {
        let mut bytes = archive_of(&right);
        let at = places(text.len());
        let mut head = header(&name, WEIGHTS.len() as u64).unwrap();
        let field = &mut head.as_old_mut().name;
        field.fill(0);
        field[..elsewhere.len()].copy_from_slice(elsewhere);
        head.set_cksum();
        bytes[at..at + BLOCK as usize].copy_from_slice(head.as_bytes());
        wrong.push(bytes);
    }
    // A link, a folder and a long name of GNU's in place of a file.
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
    ] {
        let mut bytes = archive_of(&right);
        let at = places(text.len());
        let mut head = header(&name, WEIGHTS.len() as u64).unwrap();
        head.set_entry_type(kind);
        head.set_cksum();
        bytes[at..at + BLOCK as usize].copy_from_slice(head.as_bytes());
        wrong.push(bytes);
    }
    // An index of a size that nobody reads.
    let huge = header(INDEX, 1 << 40).unwrap();
    wrong.push([huge.as_bytes().as_slice(), &[0; 4096]].concat());
    for (i, bytes) in wrong.iter().enumerate() {
        assert!(read(&path, bytes).is_err(), "{i}");
    }
    assert!(Bundle::open(dir.path()).is_err());
    assert!(Bundle::open(&dir.path().join("none")).is_err());
}

#[test]
fn a_check_can_be_stopped() {
    struct Stop;
    impl Watch for Stop {
        fn cancelled(&self) -> bool {
            true
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle");
    std::fs::write(&path, with(&index())).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let models: Vec<_> = bundle.index.models.iter().collect();
    let stopped = bundle.check(&models, || Stop);
    assert!(matches!(stopped, Err(BundleError::Stopped)));
}
