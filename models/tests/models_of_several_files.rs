//! Models in several files: GGUF splits and sharded safetensors. All parts are found from any one of them;
//! missing, mixed up, repeated and hostile parts are errors that name the file.

mod common;

use std::path::{Path, PathBuf};

use common::{gguf, noise, put, safetensors};
use hob_models::format::Format;
use hob_models::gguf::Owned;
use hob_models::weights::{Source, Weights};

fn name(number: u32, count: u32) -> String {
    format!("m-{number:05}-of-{count:05}.gguf")
}

/// One part of three, with one tensor of its own.
fn part(number: u16, edit: impl FnOnce(&mut Vec<(&'static str, Owned)>)) -> Vec<u8> {
    let mut metadata: Vec<(&str, Owned)> = vec![
        ("split.no", (number - 1).into()),
        ("split.count", 3u16.into()),
        ("split.tensors.count", 3i32.into()),
    ];
    if number == 1 {
        metadata.push(("general.architecture", "llama".into()));
    }
    edit(&mut metadata);
    let tensor = format!("blk.{number}.weight");
    gguf(&metadata, &[(&tensor, Format::F32, &[32, 16])])
}

fn three(dir: &Path) -> Vec<PathBuf> {
    (1..=3)
        .map(|n| put(dir, &name(n.into(), 3), part(n, |_| ())))
        .collect()
}

fn set(metadata: &mut [(&'static str, Owned)], key: &str, value: impl Into<Owned>) {
    metadata.iter_mut().find(|(k, _)| *k == key).unwrap().1 = value.into();
}

#[test]
fn any_part_opens_all() {
    let dir = tempfile::tempdir().unwrap();
    for path in three(dir.path()) {
        let w = Weights::open(&path).unwrap();
        assert_eq!(w.tensors().len(), 3);
        assert_eq!(
            w.gguf().unwrap().str_("general.architecture").unwrap(),
            "llama"
        );
        let packed = w.packed_in_memory(&()).unwrap();
        assert!(packed.require("blk.3.weight").is_ok());
        assert!(
            packed
                .require("blk.4.weight")
                .unwrap_err()
                .to_string()
                .contains("blk.4.weight")
        );
    }
}

#[test]
fn parts_that_do_not_belong_are_named() {
    type Edit = fn(&Path);
    let cases: &[(&str, &str, Edit)] = &[
        ("00002-of-00003", "open", |d| {
            std::fs::remove_file(d.join(name(2, 3))).unwrap()
        }),
        ("00002-of-00003", "split.no", |d| {
            drop(put(d, &name(2, 3), part(1, |_| ())))
        }),
        ("00003-of-00003", "split.no", |d| {
            drop(put(d, &name(3, 3), part(3, |m| set(m, "split.no", 1u16))));
        }),
        ("00003-of-00003", "split.count", |d| {
            drop(put(
                d,
                &name(3, 3),
                part(3, |m| set(m, "split.count", 4u16)),
            ));
        }),
        ("00002-of-00003", "split.count", |d| {
            drop(put(d, &name(2, 3), part(2, |m| m.clear())))
        }),
        ("00002-of-00003", "split.no", |d| {
            drop(put(
                d,
                &name(2, 3),
                part(2, |m| m.retain(|(k, _)| *k != "split.no")),
            ));
        }),
        ("00002-of-00003", "split.tensors.count", |d| {
            drop(put(
                d,
                &name(2, 3),
                part(2, |m| set(m, "split.tensors.count", 9i32)),
            ));
        }),
        ("00001-of-00003", "split.tensors.count", |d| {
            for n in 1..=3 {
                put(
                    d,
                    &name(n.into(), 3),
                    part(n, |m| set(m, "split.tensors.count", 9i32)),
                );
            }
        }),
        ("00003-of-00003", "tensor \"blk.1.weight\"", |d| {
            let metadata: Vec<(&str, Owned)> = vec![
                ("split.no", 2u16.into()),
                ("split.count", 3u16.into()),
                ("split.tensors.count", 3i32.into()),
            ];
            put(
                d,
                &name(3, 3),
                gguf(&metadata, &[("blk.1.weight", Format::F32, &[32])]),
            );
        }),
        ("00002-of-00003", "safetensors", |d| {
            drop(put(d, &name(2, 3), safetensors(&[])))
        }),
        ("00002-of-00003", "begins with", |d| {
            drop(put(d, &name(2, 3), b"<!DOCTYPE html>"))
        }),
        ("00002-of-00003", "empty", |d| {
            drop(put(d, &name(2, 3), b""))
        }),
    ];
    for (file, problem, edit) in cases {
        let dir = tempfile::tempdir().unwrap();
        let paths = three(dir.path());
        edit(dir.path());
        let error = Weights::open(&paths[0]).expect_err(problem).to_string();
        assert!(
            error.contains(file) && error.contains(problem),
            "{file}, {problem}: {error}"
        );
    }
}

#[test]
fn a_part_under_another_name_says_that_others_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "renamed.gguf", part(1, |_| ()));
    let error = Weights::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("split.count") && error.contains('3'),
        "{error}"
    );
}

fn sharded(dir: &Path) {
    let (a, b) = (noise(32 * 16 * 4, 1), noise(64, 2));
    put(
        dir,
        "model-00001-of-00002.safetensors",
        safetensors(&[("a", "F32", &[16, 32], &a)]),
    );
    put(
        dir,
        "model-00002-of-00002.safetensors",
        safetensors(&[("b", "BF16", &[32], &b), ("c", "I8", &[64], &b)]),
    );
    put(
        dir,
        "consolidated.safetensors",
        safetensors(&[("a", "F32", &[16, 32], &a)]),
    );
    put(
        dir,
        "config.json",
        r#"{"model_type": "llama", "hidden_size": 32}"#,
    );
    put(dir, "tokenizer.json", r#"{"version": "1.0"}"#);
    index(
        dir,
        r#""a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors""#,
    );
}

fn index(dir: &Path, map: &str) {
    put(
        dir,
        "model.safetensors.index.json",
        format!(r#"{{"metadata": {{}}, "weight_map": {{{map}}}}}"#),
    );
}

#[test]
fn a_directory_opens_the_shards_that_its_index_names() {
    let dir = tempfile::tempdir().unwrap();
    sharded(dir.path());
    for path in [
        dir.path().to_owned(),
        dir.path().join("model-00002-of-00002.safetensors"),
    ] {
        let w = Weights::open(path).unwrap();
        assert_eq!(
            w.files().parts.len(),
            2,
            "the consolidated copy is not part of the model"
        );
        let a = w.tensor("a").unwrap();
        // The shape is reversed: contiguous first.
        assert_eq!(
            (a.cols(), a.rows(), a.format, a.n_dims),
            (32, 16, Format::F32, 2)
        );
        assert_eq!(w.tensor("b").unwrap().shape(), [32]);
        let error = w.require("c").unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("I8"), "{error}");
        let Source::Safetensors(s) = w.source() else {
            panic!("not safetensors")
        };
        assert_eq!(s.config["hidden_size"], 32);
        assert_eq!(
            &s.file("tokenizer.json").unwrap()[..],
            br#"{"version": "1.0"}"#
        );
        assert!(s.file("tokenizer_config.json").is_none());
    }
}

#[test]
fn a_lone_file_needs_no_index_and_takes_the_config_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let a = noise(64, 1);
    let path = put(
        dir.path(),
        "x.safetensors",
        safetensors(&[("a", "F16", &[2, 16], &a), ("s", "F32", &[], &a[..4])]),
    );
    let w = Weights::open(&path).unwrap();
    assert_eq!(w.tensor("s").unwrap().shape(), [1]);
    let Source::Safetensors(s) = w.source() else {
        panic!("not safetensors")
    };
    assert!(s.config.is_null());
    put(dir.path(), "config.json", "{}");
    assert_eq!(Weights::open(dir.path()).unwrap().tensors().len(), 2);
}

#[test]
fn hostile_directories_are_refused_by_what_is_wrong() {
    type Edit = fn(&Path);
    let cases: &[(&str, &str, Edit)] = &[
        ("index.json", "\"../secret\"", |d| {
            index(d, r#""a": "../secret""#)
        }),
        ("index.json", "\"/etc/passwd\"", |d| {
            index(d, r#""a": "/etc/passwd""#)
        }),
        ("index.json", "\"..\"", |d| index(d, r#""a": "..""#)),
        ("index.json", "C:", |d| index(d, r#""a": "C:x""#)),
        ("index.json", "\"\"", |d| index(d, r#""a": """#)),
        ("index.json", "no string", |d| index(d, r#""a": 7"#)),
        ("index.json", "none.safetensors", |d| {
            index(d, r#""a": "none.safetensors""#)
        }),
        ("index.json", "weight_map", |d| index(d, "")),
        ("index.json", "not JSON", |d| {
            drop(put(d, "model.safetensors.index.json", "{\"weight_map\": {"))
        }),
        ("index.json", "not JSON", |d| {
            drop(put(d, "model.safetensors.index.json", "[".repeat(100_000)))
        }),
        ("index.json", "model-00001-of-00002", |d| {
            index(
                d,
                r#""a": "consolidated.safetensors", "b": "model-00001-of-00002.safetensors""#,
            )
        }),
        ("index.json", "none of the shards", |d| {
            index(
                d,
                r#""a": "model-00001-of-00002.safetensors", "zzz": "model-00001-of-00002.safetensors""#,
            );
        }),
        ("consolidated", "also in part", |d| {
            index(
                d,
                r#""a": "model-00001-of-00002.safetensors", "b": "consolidated.safetensors""#,
            );
        }),
        ("config.json", "not JSON", |d| {
            drop(put(d, "config.json", "{"))
        }),
        ("consolidated", "begins with", |d| {
            drop(put(d, "consolidated.safetensors", "not a model"))
        }),
    ];
    for (file, problem, edit) in cases {
        let dir = tempfile::tempdir().unwrap();
        sharded(dir.path());
        edit(dir.path());
        let error = match Weights::open(dir.path()) {
            Ok(_) => panic!("{file}, {problem}: accepted"),
            Err(e) => e.to_string(),
        };
        assert!(error.contains(problem), "{file}, {problem}: {error}");
        // A tensor in two files is reported at the second, which is named by its order.
        assert!(
            error.contains(file) || error.contains("also in part"),
            "{file}, {problem}: {error}"
        );
    }
    let empty = tempfile::tempdir().unwrap();
    let error = Weights::open(empty.path()).unwrap_err().to_string();
    assert!(error.contains("no .safetensors"), "{error}");
}

#[test]
#[cfg(unix)]
fn links_out_of_the_directory_are_refused_but_the_hub_cache_is_not() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let a = noise(64, 1);
    let outside = put(
        dir.path(),
        "outside",
        safetensors(&[("a", "F16", &[2, 16], &a)]),
    );
    symlink(&outside, model.join("model.safetensors")).unwrap();
    let error = Weights::open(&model).unwrap_err().to_string();
    assert!(
        error.contains("symbolic link") && error.contains("outside"),
        "{error}"
    );

    // models--NAME/{blobs, snapshots/REVISION}
    let repository = dir.path().join("models--x");
    let snapshot = repository.join("snapshots").join("0123abcd");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir(repository.join("blobs")).unwrap();
    std::fs::rename(&outside, repository.join("blobs").join("hash")).unwrap();
    symlink("../../blobs/hash", snapshot.join("model.safetensors")).unwrap();
    Weights::open(&snapshot).unwrap();
    let passwd = snapshot.join("config.json");
    symlink("/etc/hostname", passwd).unwrap();
    assert!(
        Weights::open(&snapshot)
            .unwrap_err()
            .to_string()
            .contains("symbolic link")
    );
}

#[test]
fn a_safetensors_file_cut_or_changed_anywhere_is_an_error_or_sound() {
    let a = noise(16 * 32 * 4, 1);
    let b = noise(64, 2);
    let good = safetensors(&[
        ("a", "F32", &[16, 32], &a),
        ("b", "BF16", &[32], &b),
        ("c", "I8", &[8, 8], &b),
    ]);
    let read = |bytes: Vec<u8>| {
        let files = hob_models::files::ModelFiles::from_bytes("m.safetensors", bytes.into())?;
        Weights::parse(files)
    };
    assert_eq!(read(good.clone()).unwrap().tensors().len(), 2);
    for len in 0..good.len() {
        assert!(read(good[..len].to_vec()).is_err(), "cut to {len}");
    }
    let header = good.len() - a.len() - 2 * b.len();
    for at in 0..header {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(w) = read(bad) {
                for t in w.tensors() {
                    let bytes = t.format.row_bytes(t.cols()).unwrap() * t.rows() * t.matrices();
                    assert_eq!(bytes, t.bytes.len());
                }
                w.packed_in_memory(&()).unwrap();
            }
        }
    }
}
