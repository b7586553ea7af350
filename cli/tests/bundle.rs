//! `hob bundle`, as a user types it: models go to another machine in one file, and run there with the same
//! bits; what is not the same is refused, and leaves nothing.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{Home, another, folder, parts, put, tiny};

/// A home with three models in its store: a GGUF, one of parts, and a folder.
fn with_models() -> (Home, [&'static str; 3]) {
    let home = Home::new();
    std::fs::write(home.path().join("one.gguf"), &*tiny()).unwrap();
    put(home.path(), &parts(&another(), "several", 3));
    put(&home.path().join("folder"), &folder());
    home.ok(&["import", "one.gguf"]);
    home.ok(&["import", "several-00001-of-00003.gguf"]);
    home.ok(&["import", "folder"]);
    (home, ["one", "several", "folder"])
}

#[test]
fn models_come_to_another_machine_with_their_bits() {
    let (home, names) = with_models();
    let expected = names.map(|name| home.logits(name));
    let export = |out: &str| {
        let args = [&["bundle", "export"], &names[..], &["--json", "--out", out]];
        home.json(&args.concat())
    };
    let written = export("models.tar");
    // The same models make the same file.
    export("again.tar");
    let bundle = home.path().join("models.tar");
    let bytes = std::fs::read(&bundle).unwrap();
    assert!(bytes == std::fs::read(home.path().join("again.tar")).unwrap());
    assert_eq!(written["bytes"], bytes.len());
    let hash = written["index_sha256"].as_str().unwrap();

    let other = Home::new();
    let path = bundle.to_str().unwrap();
    assert!(other.ok(&["bundle", "show", path]).contains(hash));
    // What was compared over another channel.
    let said = other.fails(&["bundle", "import", path, "--index-sha256", &"0".repeat(64)]);
    assert!(said.contains("is expected"), "{said}");
    assert!(other.names().is_empty());
    let said = other.ok(&["bundle", "import", path, "--index-sha256", hash]);
    assert!(said.contains(hash), "{said}");
    for (name, expected) in names.iter().zip(&expected) {
        assert!(other.logits(name) == *expected, "{name}");
        let of = |home: &Home| {
            let list = home.json(&["list", "--json"]);
            let mut models = list.as_array().unwrap().iter();
            models.find(|m| m["name"] == *name).unwrap().clone()
        };
        let (there, here) = (of(&other), of(&home));
        for key in ["name", "kind", "quant", "source", "licence", "bytes"] {
            assert_eq!(there[key], here[key], "{name}: {key}");
        }
    }
    other.ok(&["verify"]);
    assert_eq!(other.count("staging"), 0);
    // And back: nothing is lost on the way.
    let args = [&["bundle", "export"], &names[..], &["--out", "back.tar"]];
    other.ok(&args.concat());
    assert!(bytes == std::fs::read(other.path().join("back.tar")).unwrap());
    // Once more is no mistake.
    let again = other.run(&["bundle", "import", path]);
    assert!(
        again.is_ok && again.err.contains("here already"),
        "{again:?}"
    );
}

#[test]
fn a_bundle_is_a_tar_file_of_the_originals() {
    let (home, _) = with_models();
    home.ok(&["bundle", "export", "one", "folder", "--out", "b.tar"]);
    let mut archive = tar::Archive::new(std::fs::File::open(home.path().join("b.tar")).unwrap());
    archive.unpack(home.path().join("out")).unwrap();
    let mut wanted = vec![tiny()];
    wanted.extend(folder().into_iter().map(|(_, bytes)| bytes));
    for bytes in wanted {
        let hash = hob_fetch::Digest::of(&bytes).to_string();
        let file = home.path().join("out/files").join(hash);
        assert!(std::fs::read(file).unwrap() == *bytes);
    }
    // Not over what is there.
    let args = ["bundle", "export", "one", "--out", "b.tar"];
    assert!(home.fails(&args).contains("--force"));
    home.ok(&[&args[..], &["--force"]].concat());
}

#[test]
fn a_damaged_bundle_leaves_nothing() {
    let (home, _) = with_models();
    home.ok(&["bundle", "export", "one", "several", "--out", "b.tar"]);
    let bundle = home.path().join("b.tar");
    let bytes = std::fs::read(&bundle).unwrap();
    let other = Home::new();
    let path = bundle.to_str().unwrap();
    // In the last model: the first is sound, and is not taken either.
    for at in [bytes.len() - 4096, bytes.len() / 2] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&bundle, damaged).unwrap();
        let said = other.fails(&["bundle", "import", path]);
        assert!(
            said.contains("is damaged") && said.contains("pinned"),
            "{said}"
        );
    }
    std::fs::write(&bundle, &bytes[..bytes.len() - 10]).unwrap();
    assert!(
        other
            .fails(&["bundle", "import", path])
            .contains("cut short")
    );
    std::fs::write(&bundle, b"no bundle").unwrap();
    assert!(
        other
            .fails(&["bundle", "import", path])
            .contains("no bundle")
    );
    assert!(other.names().is_empty());
    assert_eq!(other.count("models") + other.count("staging"), 0);
}

#[test]
fn names_that_are_taken_stay_what_they_are() {
    let (home, _) = with_models();
    home.ok(&["bundle", "export", "one", "several", "--out", "b.tar"]);
    let bundle = home.path().join("b.tar");
    let path = bundle.to_str().unwrap();
    let other = Home::new();
    std::fs::write(other.path().join("x.gguf"), &*tiny()).unwrap();
    other.ok(&["import", "x.gguf", "--name", "SEVERAL"]);
    let expected = other.logits("several");
    let said = other.fails(&["bundle", "import", path]);
    assert!(said.contains("another model"), "{said}");
    // Not the one whose name is free, either.
    assert_eq!(other.names(), ["SEVERAL"]);
    assert!(other.logits("several") == expected);
    other.ok(&["bundle", "import", path, "--force"]);
    assert!(other.logits("several") == home.logits("several"));
    assert_eq!(other.names(), ["one", "several"]);
    other.ok(&["verify"]);
}

#[test]
fn what_is_damaged_here_is_not_exported() {
    let (home, _) = with_models();
    let stored = home.ok(&["path", "one"]);
    let stored = std::path::Path::new(stored.trim_end());
    let mut bytes = std::fs::read(stored).unwrap();
    let at = bytes.len() - 1000;
    bytes[at] ^= 1;
    std::fs::remove_file(stored).unwrap();
    std::fs::write(stored, bytes).unwrap();
    let said = home.fails(&["bundle", "export", "several", "one", "--out", "b.tar"]);
    assert!(said.contains("is damaged"), "{said}");
    let left = std::fs::read_dir(home.path()).unwrap().flatten();
    assert_eq!(
        left.filter(|e| e.path().is_file()).count(),
        4,
        "one.gguf and three parts"
    );
}

/// As on the machine that bundles are for. Without the right to make such a namespace, not tested.
#[cfg(target_os = "linux")]
#[test]
fn no_network_is_needed() {
    let (home, _) = with_models();
    let expected = home.logits("one");
    home.ok(&["bundle", "export", "one", "--out", "b.tar"]);
    home.ok(&["rm", "one", "-y"]);
    let import = home.command(&["bundle", "import", "b.tar"]);
    let mut apart = std::process::Command::new("unshare");
    apart
        .arg("-rn")
        .arg(import.get_program())
        .args(import.get_args())
        .env_clear()
        .envs(
            import
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(home.path());
    let output = apart.output();
    if output.as_ref().map_or(true, |o| {
        String::from_utf8_lossy(&o.stderr).contains("unshare failed")
    }) {
        println!("no network namespace can be made here; not tested");
        return;
    }
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(home.logits("one") == expected);
}
