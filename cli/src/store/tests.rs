//! The store as a reader finds it.

use super::{Store, StoreError, folder_name, plain_name};

fn with_manifest(text: &str) -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("models/some-model");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest.json"), text).unwrap();
    std::fs::write(folder.join("model.gguf"), "12345").unwrap();
    std::fs::write(root.path().join("outside"), "12345").unwrap();
    let store = Store::at(root.path());
    (root, store)
}

fn manifest(file: &str) -> String {
    format!(
        r#"{{"name":"Some-Model","file":"{file}","stored_size":5,"original":"x.gguf","size":5,
        "sha256":"00","source":"here","licence":"MIT"}}"#
    )
}

#[test]
fn a_model_is_found_by_its_name_in_any_case() {
    let (root, store) = with_manifest(&manifest("model.gguf"));
    for name in ["Some-Model", "some-model", "SOME-MODEL.GGUF", "some:model"] {
        let found = store.find(name).unwrap().unwrap();
        assert_eq!(found.path, root.path().join("models/some-model/model.gguf"));
    }
    assert_eq!(store.list().unwrap().len(), 1);
    for name in [
        "",
        ".",
        "..",
        "../models/some-model",
        "some-model/",
        "a b",
        "\u{202e}x",
    ] {
        assert!(store.find(name).unwrap().is_none(), "{name:?}");
    }
}

#[test]
fn a_manifest_cannot_point_outside() {
    for file in [
        "../../outside",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/../model.gguf",
    ] {
        let (_root, store) = with_manifest(&manifest(file));
        let found = store.find("some-model");
        assert!(
            matches!(found, Err(StoreError::Damaged { .. })),
            "{file}: {found:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let (root, store) = with_manifest(&manifest("model.gguf"));
    let path = root.path().join("models/some-model/model.gguf");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(root.path().join("outside"), path).unwrap();
    assert!(matches!(
        store.find("some-model"),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn folder_names_stay_plain() {
    assert_eq!(folder_name("SmolLM2:135M").unwrap(), "smollm2-135m");
    for name in ["", ".x", "a/b", "a\\b", "a\u{0}", "é", "-x"] {
        assert!(folder_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn whatever_a_source_calls_a_model_makes_a_name() {
    for name in [
        "",
        "..",
        "owner/Name 7B",
        "-x-",
        "日本語",
        "a\u{1b}[2Jb",
        &"x".repeat(999),
    ] {
        let made = plain_name(name);
        assert!(folder_name(&made).is_ok(), "{name:?} became {made:?}");
    }
    assert_eq!(plain_name("Llama-3.2-1B-Q4_K_M"), "Llama-3.2-1B-Q4_K_M");
}
