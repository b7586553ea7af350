//! The commands of the store, as a user types them: whatever form a model comes in, it runs with the same
//! bits, comes back byte for byte, and goes without a trace.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::{Home, folder, parts, put, tiny};
use hob_fetch::Digest;
use serde_json::json;

/// A home with the tiny model beside its store.
fn with_file() -> (Home, String) {
    let home = Home::new();
    let path = home.path().join("Tiny-Q8_0.gguf");
    std::fs::write(&path, &*tiny()).unwrap();
    (home, path.to_str().unwrap().to_owned())
}

#[test]
fn a_gguf_comes_in_packed_and_goes_out_as_it_was() {
    let (home, path) = with_file();
    let expected = home.logits(&path);
    let report = home.json(&["import", &path, "--json"]);
    assert_eq!(report["name"], "Tiny-Q8_0");
    assert_eq!(report["quant"], "Q8_0");
    assert_eq!(report["licence"], "unknown");
    assert_eq!(
        report["files"][0]["sha256"],
        Digest::of(&tiny()).to_string()
    );
    let stored = report["path"].as_str().unwrap();
    assert_eq!(home.ok(&["path", "tiny-q8_0"]).trim_end(), stored);
    assert!(std::fs::metadata(stored).unwrap().permissions().readonly());
    assert_eq!(home.logits("tiny-q8_0"), expected);
    home.ok(&["export", "tiny-q8_0", "--out", "back.gguf"]);
    assert_eq!(
        std::fs::read(home.path().join("back.gguf")).unwrap(),
        *tiny()
    );
    // Not over what is there.
    assert!(
        home.fails(&["export", "tiny-q8_0", "--out", "back.gguf"])
            .contains("--force")
    );
    home.ok(&["export", "tiny-q8_0", "--out", "back.gguf", "--force"]);
    let out = home
        .command(&["export", "tiny-q8_0", "--out", "-"])
        .output()
        .unwrap();
    assert_eq!(out.stdout, *tiny());
    // The packed file itself is a model that can be imported.
    std::fs::copy(stored, home.path().join("other.hob")).unwrap();
    home.ok(&["import", "other.hob"]);
    assert_eq!(home.logits("other"), expected);
    assert!(home.ok(&["verify", "--all"]).matches("sound").count() == 2);
    let shown = home.ok(&["show", "other"]);
    assert!(shown.contains(&Digest::of(&tiny()).to_string()), "{shown}");
}

#[test]
fn parts_stay_parts_and_a_folder_stays_a_folder() {
    let home = Home::new();
    let split = parts(&tiny(), "M-Q8_0", 3);
    put(home.path(), &split);
    put(&home.path().join("Folder"), &folder());
    std::fs::write(home.path().join("whole.gguf"), &*tiny()).unwrap();
    let expected = [home.logits("whole.gguf"), home.logits("Folder")];
    // Any part means all.
    home.ok(&["import", "M-Q8_0-00002-of-00003.gguf"]);
    home.ok(&["import", "Folder"]);
    assert_eq!(home.names(), ["Folder", "M-Q8_0"]);
    let got = [home.logits("m-q8_0"), home.logits("folder")];
    assert!(got == expected);
    home.ok(&["verify"]);
    home.ok(&["export", "m-q8_0", "--out", "out"]);
    home.ok(&["export", "folder", "--out", "out"]);
    for (name, bytes) in split.iter().chain(&folder()) {
        let back = std::fs::read(home.path().join("out").join(name)).unwrap();
        assert!(back == **bytes, "{name}");
    }
    // One part less is an error that names it.
    std::fs::remove_file(home.path().join("M-Q8_0-00003-of-00003.gguf")).unwrap();
    let said = home.fails(&["import", "M-Q8_0-00001-of-00003.gguf", "--name", "n"]);
    assert!(said.contains("00003-of-00003"), "{said}");
}

#[test]
fn damage_is_found_and_named() {
    let (home, path) = with_file();
    for name in ["packed", "shared"] {
        let way = if name == "packed" {
            "--pack"
        } else {
            "--share"
        };
        home.ok(&["import", &path, way, "--name", name]);
        let stored = home.ok(&["path", name]);
        let stored = Path::new(stored.trim_end());
        let mut bytes = std::fs::read(stored).unwrap();
        let at = bytes.len() - 1000;
        bytes[at] ^= 1;
        // A new file: the shared one has another name outside.
        std::fs::remove_file(stored).unwrap();
        std::fs::write(stored, bytes).unwrap();
        let ran = home.run(&["verify", name]);
        assert!(!ran.is_ok && ran.out.contains("DAMAGED"), "{ran:?}");
        assert!(
            home.fails(&["export", name, "--out", "x"])
                .contains("SHA-256")
        );
        assert!(!home.path().join("x").exists());
    }
    let report = home.run(&["verify", "--json"]).out;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        [&report[0]["sound"], &report[1]["sound"]],
        [&json!(false); 2]
    );
}

#[test]
fn a_shared_model_takes_no_room_and_leaves_its_owner_alone() {
    let (home, path) = with_file();
    let before = std::fs::metadata(&path).unwrap();
    home.ok(&["import", &path, "--share", "--name", "s"]);
    let stored = home.ok(&["path", "s"]);
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(after.permissions().mode(), before.permissions().mode());
    let is_link =
        after.nlink() == 2 && std::fs::metadata(stored.trim_end()).unwrap().ino() == after.ino();
    // Or a clone, where the file system can.
    assert!(is_link || after.nlink() == 1);
    assert_eq!(home.logits("s"), home.logits(&path));
    home.ok(&["rm", "s", "--yes"]);
    assert_eq!(std::fs::read(&path).unwrap(), *tiny());
}

#[test]
fn names_are_given_taken_and_freed() {
    let (home, path) = with_file();
    home.ok(&["import", &path, "--name", "a"]);
    // The same again is no mistake, another one of the name is.
    home.ok(&["import", &path, "--name", "A"]);
    put(&home.path().join("f"), &folder());
    assert!(
        home.fails(&["import", "f", "--name", "a"])
            .contains("--force")
    );
    home.ok(&["import", "f", "--name", "a", "--force"]);
    assert_eq!(home.logits("a"), home.logits("f"));
    // Back, and back again: what was replaced is gone.
    for _ in 0..3 {
        home.ok(&["import", &path, "--name", "a", "--force"]);
        assert_eq!(home.logits("a"), home.logits(&path));
        home.ok(&["verify", "a"]);
    }
    // A manifest, a record of what was verified, and the model, in a folder or not.
    assert_eq!(home.count("models/a"), 3);

    home.ok(&["cp", "a", "b"]);
    assert!(home.fails(&["cp", "a", "b"]).contains("another model"));
    assert!(home.fails(&["cp", "a", "A"]).contains("already"));
    assert!(home.fails(&["cp", "none", "c"]).contains("hob list"));
    assert!(
        home.fails(&["cp", "a", "../c"])
            .contains("cannot be the name")
    );
    home.ok(&["rm", "a", "-y"]);
    assert_eq!(home.names(), ["b"]);
    assert_eq!(home.logits("b"), home.logits(&path));
    // Without a terminal nobody can be asked.
    assert!(home.fails(&["rm", "b"]).contains("--yes"));
    assert!(home.fails(&["rm", "a", "-y"]).contains("no model"));
    home.ok(&["rm", "b", "-y"]);
    assert_eq!(home.count("models") + home.count("staging"), 0);
}

#[test]
fn what_is_no_model_is_refused_with_a_word_of_help() {
    let home = Home::new();
    put(&home.path().join("empty"), &[]);
    std::fs::write(home.path().join("text.gguf"), "Dear diary").unwrap();
    std::fs::write(home.path().join("zero.gguf"), "").unwrap();
    let mut bytes = tiny().to_vec();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(home.path().join("cut.gguf"), bytes).unwrap();
    let lone = &folder()[0];
    put(&home.path().join("lone"), std::slice::from_ref(lone));
    for (what, expected) in [
        ("missing.gguf", "is not there"),
        ("text.gguf", "neither GGUF"),
        ("zero.gguf", "empty"),
        ("cut.gguf", "cut.gguf"),
        ("empty", "no model in it"),
        ("lone", "config.json"),
        ("ollama:none", "--other"),
        ("/dev/null", "regular"),
    ] {
        let said = home.fails(&["import", what]);
        assert!(
            said.contains(expected) && said.contains("error: "),
            "{what}: {said}"
        );
    }
    assert!(home.names().is_empty());
    assert_eq!(home.count("models") + home.count("staging"), 0);
    let (wrong, zeros) = (with_file(), "0".repeat(64));
    let said = wrong.0.fails(&["import", &wrong.1, "--sha256", &zeros]);
    assert!(said.contains("is expected"), "{said}");
    assert!(wrong.0.names().is_empty());
    assert_eq!(wrong.0.count("models") + wrong.0.count("staging"), 0);
}

#[test]
fn models_of_other_programs_are_found_and_not_copied() {
    let home = Home::new();
    let (whole, hash) = (tiny(), Digest::of(&tiny()));
    // Ollama.
    let ollama = home.path().join(".ollama/models");
    let layer = |kind: &str, digest: &str, size: usize| {
        json!({ "mediaType": format!("application/vnd.ollama.image.{kind}"),
            "digest": format!("sha256:{digest}"), "size": size })
    };
    let licence = Digest::of(b"MIT License\n...");
    let manifest = json!({ "layers": [
        layer("model", &hash.to_string(), whole.len()),
        layer("license", &licence.to_string(), 15),
    ] });
    let put_text = |path: std::path::PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put_text(ollama.join(format!("blobs/sha256-{hash}")), &whole);
    put_text(
        ollama.join(format!("blobs/sha256-{licence}")),
        b"MIT License\n...",
    );
    let text = manifest.to_string().into_bytes();
    put_text(
        ollama.join("manifests/registry.ollama.ai/library/tiny/latest"),
        &text,
    );
    put_text(
        ollama.join("manifests/registry.ollama.ai/someone/tiny/1b"),
        &text,
    );
    put_text(
        ollama.join("manifests/registry.ollama.ai/library/bad/1"),
        b"{",
    );
    // LM Studio and llama.cpp.
    put_text(
        home.path().join(".lmstudio/models/pub/repo/T-Q8_0.gguf"),
        &whole,
    );
    put_text(home.path().join(".cache/llama.cpp/pub_T.gguf"), &whole);
    // The Hub's cache, with its links.
    let hub = home.path().join(".cache/huggingface/hub");
    let cached = |repo: &str, files: &[(String, std::sync::Arc<Vec<u8>>)]| {
        let repo = hub.join(format!("models--{}", repo.replace('/', "--")));
        put_text(repo.join("refs/main"), b"abc");
        std::fs::create_dir_all(repo.join("snapshots/abc")).unwrap();
        for (name, bytes) in files {
            let blob = Digest::of(bytes).to_string();
            put_text(repo.join("blobs").join(&blob), bytes);
            let to = format!("../../blobs/{blob}");
            std::os::unix::fs::symlink(to, repo.join("snapshots/abc").join(name)).unwrap();
        }
    };
    cached("o/g", &[("g-Q8_0.gguf".to_owned(), whole.clone())]);
    cached("o/f", &folder());

    let list = home.json(&["list", "--other", "--json"]);
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "hf-cache:o/f",
            "hf-cache:o/g:g-Q8_0.gguf",
            "llama.cpp:pub_T.gguf",
            "lmstudio:pub/repo/T-Q8_0.gguf",
            "ollama:someone/tiny:1b",
            "ollama:tiny:latest",
        ]
    );
    let reference = home.path().join("whole.gguf");
    std::fs::write(&reference, &*whole).unwrap();
    let expected = home.logits(reference.to_str().unwrap());
    for (what, name) in [
        ("ollama:tiny", "tiny"),
        ("ollama:someone/tiny:1b", "someone-tiny-1b"),
        ("llama.cpp:pub_T.gguf", "pub_T"),
        ("hf-cache:o/g:g-Q8_0.gguf", "g-Q8_0"),
        // By its path.
        (".lmstudio/models/pub/repo/T-Q8_0.gguf", "T-Q8_0"),
    ] {
        let report = home.json(&["import", what, "--json"]);
        assert_eq!(report["name"], name);
        assert!(report["files"][0]["shared_with"].is_string(), "{report}");
        assert_eq!(report["stored_bytes"], whole.len());
        assert_eq!(home.logits(name), expected);
    }
    assert_eq!(
        home.json(&["show", "tiny", "--json"])["store"]["licence"],
        "MIT License"
    );
    home.ok(&["import", "hf-cache:o/f", "--name", "f"]);
    put(&home.path().join("Folder"), &folder());
    assert_eq!(home.logits("f"), home.logits("Folder"));
    home.ok(&["import", "ollama:tiny", "--pack", "--name", "packed"]);
    assert_eq!(home.logits("packed"), expected);
    home.ok(&["verify"]);
    // A blob that is not what its name says.
    home.ok(&["rm", "tiny", "someone-tiny-1b", "-y"]);
    let mut wrong = whole.to_vec();
    let at = wrong.len() - 9;
    wrong[at] ^= 1;
    std::fs::write(ollama.join(format!("blobs/sha256-{hash}")), wrong).unwrap();
    for way in ["--share", "--pack"] {
        let said = home.fails(&["import", "ollama:tiny", way]);
        assert!(said.contains("is expected"), "{said}");
    }
}
