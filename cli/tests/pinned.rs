//! Stored models are pinned: what runs has the bytes that came in, or is refused.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{File, FileTimes};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{Home, Ran, folder, put, tiny};

/// A home with the tiny model in its store, under the name `m`.
fn with_model(way: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let path = home.path().join("m.gguf");
    std::fs::write(&path, &*tiny()).unwrap();
    home.ok(&["import", "m.gguf", way, "--name", "m"]);
    // The shared bytes have no other name.
    std::fs::remove_file(&path).unwrap();
    let stored = home.ok(&["path", "m"]);
    (home, PathBuf::from(stored.trim_end()))
}

/// Flips a bit in place, whatever the file's rights are; where `keep`, the file keeps the time of its
/// last change.
fn flip(path: &Path, keep: bool) {
    let before = std::fs::metadata(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (at, mut byte) = (before.len() - 1000, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    if keep {
        let times = FileTimes::new().set_modified(before.modified().unwrap());
        file.set_times(times).unwrap();
        std::fs::set_permissions(path, before.permissions()).unwrap();
    }
}

/// The logits of the model, or what was said instead.
fn logits(home: &Home, more: &[&str]) -> Ran {
    let out = home.path().join("logits");
    let out = out.to_str().unwrap();
    home.run(&[&["logits", "m", "--tokens", "1,2,3", "--out", out], more].concat())
}

#[test]
fn a_model_that_looks_unchanged_is_not_hashed_again() {
    for way in ["--pack", "--share"] {
        let (home, _) = with_model(way);
        let ran = logits(&home, &[]);
        // A shared file was unlinked elsewhere, which touches it.
        assert_eq!(ran.err.is_empty(), way == "--pack", "{ran:?}");
        assert_eq!(logits(&home, &[]).err, "");
        // Only when asked.
        assert!(logits(&home, &["--verify"]).err.contains("as asked"));
        assert_eq!(logits(&home, &[]).err, "");
    }
}

#[test]
fn a_changed_byte_is_refused_with_a_remedy() {
    for way in ["--pack", "--share"] {
        for keep in [false, true] {
            let (home, stored) = with_model(way);
            home.ok(&["verify", "m"]);
            flip(&stored, keep);
            for _ in 0..2 {
                for args in [
                    &["run", "m", "Hi"][..],
                    &["show", "m"],
                    &["tokenize", "m", "a"],
                ] {
                    let said = home.fails(args);
                    assert!(
                        said.contains("SHA-256") && said.contains("hob rm m"),
                        "{said}"
                    );
                }
            }
            let ran = home.run(&["verify"]);
            assert!(!ran.is_ok && ran.out.contains("DAMAGED"), "{ran:?}");
            // Back as it was, it is hashed once, and runs.
            flip(&stored, keep);
            let ran = logits(&home, &[]);
            assert!(ran.is_ok && ran.err.contains("verifying m"), "{ran:?}");
            assert_eq!(logits(&home, &[]).err, "");
        }
    }
}

#[test]
fn verify_finds_what_looks_unchanged_in_every_respect() {
    let (home, stored) = with_model("--pack");
    let record = home.store("models/m/verified.json");
    flip(&stored, true);
    // Whoever may write to the store can also forge the record of what its files look like.
    let found = std::fs::metadata(&stored).unwrap();
    let text = std::fs::read_to_string(&record).unwrap();
    let mut line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let stamp = &mut line["files"][0];
    stamp["inode"] = found.ino().into();
    stamp["mtime"] = serde_json::json!([found.mtime(), found.mtime_nsec()]);
    stamp["ctime"] = serde_json::json!([found.ctime(), found.ctime_nsec()]);
    let line = line.to_string();
    let sum = hob_fetch::Digest::of(line.as_bytes());
    std::fs::write(&record, format!("{line}\n{sum}\n")).unwrap();
    // This is the limit of looks.
    let ran = logits(&home, &[]);
    assert!(ran.is_ok && ran.err.is_empty(), "{ran:?}");
    let said = home.fails(&["run", "m", "Hi", "--verify"]);
    assert!(said.contains("SHA-256"), "{said}");
    // From then on without it, too.
    assert!(home.fails(&["run", "m", "Hi"]).contains("SHA-256"));
}

#[test]
fn innocent_changes_cost_one_look_at_all_bytes() {
    let (home, stored) = with_model("--pack");
    let expected = home.logits("m");
    let record = home.store("models/m/verified.json");
    let touched: [(&str, &dyn Fn()); 5] = [
        ("a store from before records", &|| {
            std::fs::remove_file(&record).unwrap()
        }),
        ("a damaged record", &|| {
            std::fs::write(&record, "{}").unwrap()
        }),
        ("another time", &|| {
            std::fs::set_permissions(&stored, std::fs::Permissions::from_mode(0o600)).unwrap();
            let file = File::options().write(true).open(&stored).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        }),
        ("a backup that was restored", &|| {
            let copy = stored.with_extension("copy");
            std::fs::copy(&stored, &copy).unwrap();
            std::fs::rename(&copy, &stored).unwrap();
        }),
        ("a folder that was moved", &|| {
            let (from, to) = (home.store("models"), home.store("moved"));
            std::fs::rename(&from, &to).unwrap();
            std::fs::create_dir(&from).unwrap();
            std::fs::create_dir(from.join("m")).unwrap();
            for entry in std::fs::read_dir(to.join("m")).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), from.join("m").join(entry.file_name())).unwrap();
            }
        }),
    ];
    for (what, touch) in touched {
        touch();
        let ran = logits(&home, &[]);
        assert!(
            ran.is_ok && ran.err.contains("verifying m"),
            "{what}: {ran:?}"
        );
        let again = logits(&home, &[]);
        assert!(again.is_ok && again.err.is_empty(), "{what}: {again:?}");
        assert_eq!(home.logits("m"), expected);
    }
}

#[test]
fn a_store_that_cannot_be_written_works() {
    let (home, _) = with_model("--pack");
    let expected = home.logits("m");
    let record = home.store("models/m/verified.json");
    std::fs::remove_file(&record).unwrap();
    // Root may write to what nobody may write to; a folder of that name stops it, too.
    std::fs::create_dir(&record).unwrap();
    for _ in 0..2 {
        let ran = logits(&home, &[]);
        assert!(ran.is_ok && ran.err.contains("cannot remember"), "{ran:?}");
        assert_eq!(std::fs::read(home.path().join("logits")).unwrap(), expected);
    }
}

#[test]
fn files_that_describe_a_model_are_pinned_too() {
    let home = Home::new();
    put(&home.path().join("f"), &folder());
    home.ok(&["import", "f", "--name", "m"]);
    assert_eq!(logits(&home, &[]).err, "");
    let config = home.store("models/m/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("512"));
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&config, text.replace("512", "513")).unwrap();
    let ran = logits(&home, &[]);
    assert!(!ran.is_ok && ran.err.contains("config.json"), "{ran:?}");
    std::fs::write(&config, text).unwrap();
    assert!(logits(&home, &[]).is_ok);
    // What the manifest does not name is not read.
    std::fs::write(home.store("models/m/generation_config.json"), "{").unwrap();
    std::fs::write(home.store("models/m/x.safetensors"), "{").unwrap();
    assert!(logits(&home, &[]).is_ok);
}

#[test]
fn links_in_the_store_are_not_followed() {
    let (home, stored) = with_model("--pack");
    let elsewhere = home.path().join("elsewhere");
    let folders = [stored.clone(), home.store("models/m"), home.store("models")];
    for place in folders {
        std::fs::rename(&place, &elsewhere).unwrap();
        symlink(&elsewhere, &place).unwrap();
        let said = home.fails(&["run", "m", "Hi"]);
        assert!(said.contains("symbolic link"), "{place:?}: {said}");
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&elsewhere, &place).unwrap();
    }
    assert!(logits(&home, &[]).is_ok);
}

#[test]
fn the_store_is_its_owners_alone() {
    let (home, stored) = with_model("--pack");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folders = ["", "models", "models/m", "locks"].map(|below| home.store(below));
    for folder in &folders {
        assert_eq!(mode(folder), 0o700, "{folder:?}");
    }
    assert_eq!(mode(&stored) & 0o077, 0, "{stored:?}");
    // What was opened up (but for the root, which is the user's word) is closed by the next change.
    for folder in &folders[1..] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    home.ok(&["cp", "m", "n"]);
    for folder in &folders[1..] {
        assert_eq!(mode(folder), 0o700, "{folder:?}");
    }
}

#[test]
fn a_second_name_stays_known_and_so_does_the_first() {
    let (home, _) = with_model("--pack");
    home.ok(&["cp", "m", "n"]);
    let quiet = |name: &str| {
        let ran = home.run(&["show", name]);
        assert!(
            ran.is_ok && !ran.err.contains("verifying"),
            "{name}: {ran:?}"
        );
    };
    quiet("m");
    quiet("n");
    home.ok(&["cp", "n", "o"]);
    home.ok(&["rm", "n", "-y"]);
    quiet("m");
    quiet("o");
    put(&home.path().join("f"), &folder());
    home.ok(&["import", "f", "--name", "o", "--force"]);
    quiet("m");
}

#[test]
fn a_path_into_the_store_is_as_pinned_as_a_name() {
    let (home, stored) = with_model("--pack");
    flip(&stored, false);
    let said = home.fails(&["run", stored.to_str().unwrap(), "Hi"]);
    assert!(said.contains("SHA-256"), "{said}");
    // Of other files nothing is known.
    std::fs::write(home.path().join("x.gguf"), &*tiny()).unwrap();
    home.ok(&["show", "x.gguf"]);
    let said = home.fails(&["run", "x.gguf", "Hi", "--verify"]);
    assert!(said.contains("hob import"), "{said}");
}

#[test]
fn a_damaged_model_comes_in_again() {
    let (home, stored) = with_model("--pack");
    let expected = home.logits("m");
    flip(&stored, false);
    std::fs::write(home.path().join("m.gguf"), &*tiny()).unwrap();
    home.ok(&["import", "m.gguf", "--name", "m"]);
    assert_eq!(home.logits("m"), expected);
}
