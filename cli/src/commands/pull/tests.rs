//! Pulls as whole processes, against a mirror of the test's own: killed at random moments, several
//! at once, with wrong bytes.
//!
//! The child is this very test program, running the test [`child`] with its store and mirror in the
//! environment.

#[path = "../../../fetch/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Fault, Random, Server, content};
use hob_fetch::Digest;
use hob_models::files::{Keep, ModelFile};
use hob_models::format::Format;
use hob_models::gguf::GgufWriter;
use hob_models::packed::verify;

use super::{Plan, Pulled, pull};
use crate::catalogue::{Entry, Source};
use crate::store::{Store, StoreError};
use crate::view::View;
use crate::workshop::Workshop;

/// Rows and columns of each of the model's matrices.
const SHAPE: (usize, usize) = (512, 256);

/// A GGUF of a few matrices, about 2 MB.
fn model() -> Arc<Vec<u8>> {
    let (rows, cols) = SHAPE;
    let bytes = rows * cols * 4;
    let mut writer = GgufWriter::new();
    writer.metadata("general.architecture", "none").unwrap();
    for name in ["a.weight", "b.weight", "c.weight", "d.weight"] {
        writer
            .tensor(name, Format::F32, &[cols as u64, rows as u64])
            .unwrap();
    }
    let mut data = writer.begin(Vec::new()).unwrap();
    for seed in 1..=4 {
        data.tensor(&content(bytes, seed)).unwrap();
    }
    Arc::new(data.finish().unwrap().0)
}

fn entry(bytes: &[u8]) -> Entry {
    Entry {
        name: "Test-Model",
        aliases: &[],
        file: "test-model.gguf",
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
        licence: "MIT",
        author: "nobody",
        sources: &[
            Source::Hub {
                repo: "owner/name",
                revision: "main",
            },
            Source::Hub {
                repo: "other/name",
                revision: "main",
            },
        ],
    }
}

/// Not a test of its own: what the child processes do.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    if std::env::var_os("HOB_TEST_CHILD").is_none() {
        return;
    }
    let pulled = pull(
        &Store::open().unwrap(),
        &Plan::of_entry(&entry(&model())),
        false,
        Workshop::here(),
        &mut View::new(false),
    );
    match pulled {
        Ok(Pulled::Now(_)) => eprintln!("pulled now"),
        Ok(Pulled::Here(_)) => eprintln!("here already"),
        Err(error) => panic!("{error:#}"),
    }
}

fn start(root: &Path, server: &Server) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "commands::pull::tests::child",
            "--nocapture",
        ])
        .env("HOB_TEST_CHILD", "1")
        .env("HOB_HOME", root)
        .env("HF_ENDPOINT", format!("http://127.0.0.1:{}", server.port()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits; gives whether it succeeded and what it said.
fn ended(child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Whether the model is there; if it is, its every byte is the right one.
fn is_there_and_right(root: &Path, bytes: &[u8]) -> bool {
    let Some(installed) = Store::at(root).find("test-MODEL.gguf").unwrap() else {
        return false;
    };
    let file = ModelFile::open(&installed.path, Keep::Mapped).unwrap();
    assert_eq!(Digest(verify(&file, &()).unwrap()), Digest::of(bytes));
    assert_eq!(
        installed.manifest.files[0].sha256,
        Digest::of(bytes).to_string()
    );
    assert!(
        std::fs::metadata(&installed.path)
            .unwrap()
            .permissions()
            .readonly()
    );
    true
}

#[test]
fn killed_at_any_moment_leaves_a_store_that_works() {
    let bytes = model();
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(1));
    let mut random = Random(21);
    let mut root = tempfile::tempdir().unwrap();
    // How long it takes on this machine, now.
    let whole = Instant::now();
    assert!(ended(start(root.path(), &server)).0);
    let whole = whole.elapsed().as_millis() as usize;
    root = tempfile::tempdir().unwrap();
    let (mut killed, mut finished) = (0, 0);
    for _ in 0..30 {
        let mut child = start(root.path(), &server);
        std::thread::sleep(Duration::from_millis(random.below(whole + whole / 8) as u64));
        let _ = child.kill();
        let is_done = ended(child).0;
        killed += usize::from(!is_done);
        if is_there_and_right(root.path(), &bytes) {
            finished += 1;
            root = tempfile::tempdir().unwrap();
        }
    }
    assert!(killed >= 10, "only {killed} of 30 were killed at work");
    assert!(
        finished >= 1,
        "only {finished} came to the end; the last steps were not hit"
    );
    let (is_done, said) = ended(start(root.path(), &server));
    assert!(is_done, "{said}");
    assert!(is_there_and_right(root.path(), &bytes));
    // Nothing of the killed ones stays.
    assert_eq!(
        std::fs::read_dir(root.path().join("staging"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        std::fs::read_dir(root.path().join("models/test-model"))
            .unwrap()
            .count(),
        3
    );
}

#[test]
fn pulls_at_once_are_one_download() {
    let bytes = model();
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(1));
    let root = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..4).map(|_| start(root.path(), &server)).collect();
    let said: Vec<_> = children.into_iter().map(ended).collect();
    assert!(said.iter().all(|(is_done, _)| *is_done), "{said:?}");
    assert_eq!(
        said.iter()
            .filter(|(_, said)| said.contains("pulled now"))
            .count(),
        1
    );
    assert!(is_there_and_right(root.path(), &bytes));
    // One probe and one download.
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_mirror_with_wrong_bytes_is_refused_and_another_takes_over() {
    let bytes = model();
    let server = Server::start(&bytes, vec![]);
    let mut wrong = bytes.to_vec();
    let at = wrong.len() / 2;
    wrong[at] ^= 1;
    server.put("/owner/name/resolve/main/test-model.gguf", Arc::new(wrong));
    let root = tempfile::tempdir().unwrap();
    let (is_done, said) = ended(start(root.path(), &server));
    assert!(is_done, "{said}");
    assert!(
        said.contains("owner/name: wrong bytes") && said.contains("deleted"),
        "{said}"
    );
    assert!(is_there_and_right(root.path(), &bytes));
    let installed = Store::at(root.path()).find("test-model").unwrap().unwrap();
    assert_eq!(installed.manifest.source, "Hugging Face other/name");
}

#[test]
fn wrong_bytes_do_not_get_into_the_store() {
    let bytes = model();
    let server = Server::start(&bytes, vec![Fault::WrongBytes; 50]);
    let root = tempfile::tempdir().unwrap();
    let (is_done, said) = ended(start(root.path(), &server));
    assert!(!is_done && said.contains("wrong bytes"), "{said}");
    assert!(!is_there_and_right(root.path(), &bytes));
    assert!(Store::at(root.path()).list().unwrap().is_empty());
}

#[test]
fn a_damaged_model_is_named_and_pulled_again() {
    let bytes = model();
    let server = Server::start(&bytes, vec![]);
    let root = tempfile::tempdir().unwrap();
    assert!(ended(start(root.path(), &server)).0);
    let folder = root.path().join("models/test-model");
    let breaks: [&dyn Fn(); 3] = [
        &|| std::fs::write(folder.join("manifest.json"), "{").unwrap(),
        &|| std::fs::remove_file(folder.join("model.hob")).unwrap(),
        &|| {
            std::fs::remove_file(folder.join("model.hob")).unwrap();
            std::fs::write(folder.join("model.hob"), "short").unwrap();
        },
    ];
    for damage in breaks {
        damage();
        let found = Store::at(root.path()).find("test-model");
        assert!(
            matches!(found, Err(StoreError::Damaged { .. })),
            "{found:?}"
        );
        let (is_done, said) = ended(start(root.path(), &server));
        assert!(
            is_done && said.contains("damaged") && said.contains("pulled now"),
            "{said}"
        );
        assert!(is_there_and_right(root.path(), &bytes));
    }
    // And a good one is left alone.
    let before = server.requests().len();
    assert!(
        ended(start(root.path(), &server))
            .1
            .contains("here already")
    );
    assert_eq!(server.requests().len(), before);
}
