//! `hob pull` against mirrors and a Hub of the tests' own: every kind of source, and everything that goes
//! wrong on the way.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]
#![expect(
    clippy::disallowed_methods,
    reason = "a proxy of the test's own, on this machine"
)]

mod common;
#[path = "../fetch/tests/common/wheel.rs"]
mod make;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::mirror::{Fault, Random, Server};
use common::{COMMIT, Home, Ran, folder, gguf, parts, publish, publish_one, put, throttle, tiny};
use hob_fetch::Digest;

/// A Hub with the tiny model in three forms.
fn hub(plan: Vec<Fault>) -> Server {
    let server = Server::start(&tiny(), plan);
    let mut files = vec![
        ("README.md".to_owned(), Arc::new(b"hello".to_vec())),
        ("M-Q8_0.gguf".to_owned(), tiny()),
        ("M-Q4_K_M.gguf".to_owned(), tiny()),
    ];
    let split = parts(&tiny(), "big/M-F16", 2).into_iter();
    files.extend(split);
    publish(&server, "owner/m-gguf", "apache-2.0", &files);
    publish(&server, "owner/folder", "mit", &folder());
    server
}

#[test]
fn a_repository_gives_the_file_that_is_named_by_its_quantization() {
    let server = hub(vec![]);
    let home = Home::with_hub(&server);
    let report = home.json(&["pull", "hf:owner/m-gguf:q8_0", "--json"]);
    assert_eq!(report["name"], "M-Q8_0");
    assert_eq!(report["licence"], "apache-2.0");
    assert_eq!(
        report["source"],
        format!("hf:owner/m-gguf@{COMMIT}:M-Q8_0.gguf")
    );
    // The usual one, all parts of one, and a folder with what describes it.
    assert_eq!(
        home.json(&["pull", "hf:owner/m-gguf", "--json"])["name"],
        "M-Q4_K_M"
    );
    home.ok(&[
        "pull",
        "https://huggingface.co/owner/m-gguf/blob/main/big/M-F16-00001-of-00002.gguf",
    ]);
    home.ok(&["pull", "hf:owner/folder", "--name", "unquantized"]);
    assert_eq!(home.names(), ["M-F16", "M-Q4_K_M", "M-Q8_0", "unquantized"]);
    std::fs::write(home.path().join("whole.gguf"), &*tiny()).unwrap();
    put(&home.path().join("Folder"), &folder());
    let expected = home.logits("whole.gguf");
    for name in ["m-f16", "m-q4_k_m", "m-q8_0"] {
        assert_eq!(home.logits(name), expected, "{name}");
    }
    assert_eq!(home.logits("unquantized"), home.logits("Folder"));
    home.ok(&["verify"]);
    // What is here is not asked for again.
    let before = server.requests().len();
    let said = home.run(&["pull", "hf:owner/m-gguf:q8_0"]).err;
    assert!(said.contains("here already"), "{said}");
    assert_eq!(
        server.requests().len(),
        before + 1,
        "the list of files, and nothing else"
    );
    assert_eq!(home.count("staging"), 0);
}

#[test]
fn what_a_repository_does_not_have_is_answered_with_what_it_has() {
    let server = hub(vec![]);
    let home = Home::with_hub(&server);
    let said = home.fails(&["pull", "hf:owner/m-gguf:Q2_K"]);
    assert!(
        said.contains("M-Q4_K_M.gguf (") && said.contains("2 parts"),
        "{said}"
    );
    let said = home.fails(&["pull", "hf:owner/none"]);
    assert!(
        said.contains("no repository owner/none") && said.contains("HF_TOKEN"),
        "{said}"
    );
    assert!(home.fails(&["pull", "hf:owner"]).contains("hf:OWNER/REPO"));
    assert!(home.names().is_empty());
}

#[test]
fn a_gated_model_wants_the_token_from_its_usual_places_and_nothing_else_gets_it() {
    let server = hub(vec![]);
    let mut home = Home::with_hub(&server);
    home.set("HF_TOKEN", "hf_secret");
    home.ok(&["pull", "hf:owner/m-gguf:Q8_0"]);
    assert!(
        server
            .requests()
            .iter()
            .all(|head| !head.contains("hf_secret"))
    );

    server.gate("hf_secret");
    let home = Home::with_hub(&server);
    let said = home.fails(&["pull", "hf:owner/m-gguf:Q8_0"]);
    assert!(
        said.contains("is gated") && said.contains("https://huggingface.co/owner/m-gguf"),
        "{said}"
    );
    let mut other = Home::with_hub(&server);
    other.set("HF_TOKEN", "hf_other");
    let said = other.fails(&["pull", "hf:owner/m-gguf:Q8_0"]);
    assert!(
        said.contains("no access yet") && !said.contains("hf_other"),
        "{said}"
    );
    // In the file of the Hub's tools.
    let dir = home.path().join(".cache/huggingface");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("token"), "hf_secret\n").unwrap();
    home.ok(&["pull", "hf:owner/m-gguf:Q8_0"]);
    assert_eq!(home.names(), ["M-Q8_0"]);
}

#[test]
fn small_files_that_are_not_those_of_gits_id_are_refused() {
    let server = hub(vec![]);
    let path = format!("/owner/folder/resolve/{COMMIT}/config.json");
    let config = folder()
        .into_iter()
        .find(|(name, _)| name == "config.json")
        .unwrap()
        .1;
    let mut wrong = config.to_vec();
    wrong[5] ^= 1;
    server.put(&path, Arc::new(wrong));
    let home = Home::with_hub(&server);
    let said = home.fails(&["pull", "hf:owner/folder"]);
    assert!(said.contains("wrong bytes"), "{said}");
    assert!(home.names().is_empty());
    // And when the right one is there, what was right before is not fetched again.
    server.put(&path, config);
    let before = server.requests().len();
    home.ok(&["pull", "hf:owner/folder"]);
    let later = &server.requests()[before..];
    assert!(
        later.iter().all(|head| !head.contains(".safetensors ")),
        "{later:?}"
    );
    home.ok(&["verify"]);
}

#[test]
fn an_address_needs_its_hash_and_the_hash_decides() {
    let bytes = tiny();
    let server = Server::start(&bytes, vec![]);
    let url = format!("http://127.0.0.1:{}/a/Tiny.gguf?key=secret", server.port());
    let hash = Digest::of(&bytes).to_string();
    let home = Home::new();
    assert!(home.fails(&["pull", &url]).contains("--sha256"));
    assert!(
        home.fails(&["pull", &url, "--sha256", "12"])
            .contains("64 hexadecimal")
    );
    let wrong = Digest::of(b"other").to_string();
    let said = home.fails(&["pull", &url, "--sha256", &wrong]);
    assert!(
        said.contains("wrong bytes") && said.contains(&hash),
        "{said}"
    );
    assert!(home.names().is_empty());
    assert_eq!(
        home.json(&["list", "--json"]),
        serde_json::json!([]),
        "what was wrong is gone"
    );
    home.ok(&["pull", &url, "--sha256", &hash]);
    let report = home.json(&["list", "--json"]);
    assert_eq!(report[0]["name"], "Tiny");
    assert!(!report.to_string().contains("secret"));
    // Parts have a hash each.
    let split = parts(&bytes, "S", 2);
    for (name, bytes) in &split {
        server.put(&format!("/b/{name}"), Arc::clone(bytes));
    }
    let url = format!("http://127.0.0.1:{}/b/{}", server.port(), split[0].0);
    let hashes: Vec<_> = split
        .iter()
        .map(|(_, b)| Digest::of(b).to_string())
        .collect();
    assert!(
        home.fails(&["pull", &url, "--sha256", &hashes[0]])
            .contains("2 times")
    );
    home.ok(&["pull", &url, "--sha256", &hashes[0], "--sha256", &hashes[1]]);
    assert_eq!(home.logits("s"), home.logits("tiny"));
    // No model at all, with the right hash.
    let text = Arc::new(b"Dear diary".to_vec());
    server.put("/c.gguf", Arc::clone(&text));
    let url = format!("http://127.0.0.1:{}/c.gguf", server.port());
    let said = home.fails(&["pull", &url, "--sha256", &Digest::of(&text).to_string()]);
    assert!(said.contains("neither GGUF"), "{said}");
    assert_eq!(home.names(), ["S", "Tiny"]);
}

#[test]
fn a_package_gives_the_model_in_its_wheel() {
    let home = Home::new();
    let served = make::wheel(&[("p/models/Tiny-Q8_0.gguf", &tiny())]);
    let server = Server::start(&served, vec![]);
    let url = format!(
        "http://127.0.0.1:{}/some_package-1.2-py3-none-any.whl",
        server.port()
    );
    // A pip that names the wheel and its hash, as pip does with -vv.
    let line = format!(
        "  Found link {url}#sha256={} (from x), version: 1.2",
        Digest::of(&served)
    );
    let pip = home.path().join("tools/pip3");
    std::fs::create_dir_all(home.path().join("tools")).unwrap();
    std::fs::write(&pip, format!("#!/bin/sh\necho '{line}'\n/bin/sleep 5\n")).unwrap();
    std::fs::set_permissions(&pip, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut home = home;
    let tools = home.path().join("tools").to_str().unwrap().to_owned();
    home.set("PATH", &tools);
    let report = home.json(&["pull", "pypi:some-package==1.2", "--json"]);
    assert_eq!(report["name"], "some-package");
    assert_eq!(report["source"], "pypi:some-package==1.2");
    assert_eq!(report["files"][0]["original"], "Tiny-Q8_0.gguf");
    assert_eq!(
        report["files"][0]["sha256"],
        Digest::of(&tiny()).to_string()
    );
    home.ok(&[
        "pull",
        "pypi:some-package==1.2/Tiny-Q8_0.gguf",
        "--name",
        "named",
    ]);
    assert_eq!(home.logits("named"), home.logits("some-package"));
    let said = home.fails(&["pull", "pypi:some-package==1.2/none.gguf"]);
    assert!(said.contains("there is no none.gguf in it"), "{said}");
    let wrong = Digest::of(b"other").to_string();
    let args = [
        "pull",
        "pypi:some-package==1.2",
        "--name",
        "w",
        "--sha256",
        &wrong,
    ];
    assert!(home.fails(&args).contains("wrong bytes"));
    assert_eq!(home.names(), ["named", "some-package"]);
    assert!(
        home.fails(&["logits", "hf:a/b", "--tokens", "1", "--out", "x"])
            .contains("hob pull hf:a/b")
    );
}

/// A proxy on the loopback interface that ends a connection after some bytes, once for each number of
/// them. One that ended before gives its number to another.
fn cutting_proxy(cuts: Vec<usize>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    // It ends with the test's process.
    std::thread::spawn(move || {
        let cuts = Arc::new(Mutex::new(cuts));
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let cut = cuts.lock().unwrap().pop();
            let (counter, cuts) = (Arc::clone(&counter), Arc::clone(&cuts));
            std::thread::spawn(move || {
                let is_cut = relay(&client, cut).is_ok_and(|is_cut| is_cut);
                counter.fetch_add(usize::from(is_cut), Ordering::SeqCst);
                cuts.lock().unwrap().extend(cut.filter(|_| !is_cut));
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    (port, done)
}

/// Serves one connection; whether it was cut.
fn relay(client: &TcpStream, cut: Option<usize>) -> std::io::Result<bool> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let mut server = TcpStream::connect(target.ok_or(std::io::ErrorKind::InvalidData)?)?;
    (&mut &*client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let mut up = server.try_clone()?;
    let mut from = client.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut from, &mut up));
    let mut left = cut.unwrap_or(usize::MAX);
    let mut buffer = [0; 8192];
    loop {
        let n = server.read(&mut buffer)?;
        if n == 0 {
            return Ok(false);
        }
        let n = n.min(left);
        (&mut &*client).write_all(&buffer[..n])?;
        left -= n;
        if left == 0 {
            let _ = server.shutdown(Shutdown::Both);
            return Ok(true);
        }
    }
}

#[test]
fn a_proxy_that_cuts_the_connection_twenty_times_changes_nothing() {
    let bytes = gguf();
    let server = Server::start(&bytes, vec![]);
    publish(
        &server,
        "owner/name",
        "mit",
        &[("M-Q8_0.gguf".to_owned(), Arc::clone(&bytes))],
    );
    let mut random = Random(77);
    let each = bytes.len() / 20;
    let cuts: Vec<_> = (0..20).map(|_| 1 + random.below(each)).collect();
    let (port, done) = cutting_proxy(cuts);
    let mut home = Home::with_hub(&server);
    home.set("ALL_PROXY", &format!("http://127.0.0.1:{port}"));
    let ran = home.run(&["pull", "hf:owner/name"]);
    assert!(ran.is_ok, "{}", ran.err);
    let said = ran.err;
    assert!(said.contains("through the proxy 127.0.0.1"), "{said}");
    assert_eq!(done.load(Ordering::SeqCst), 20, "{said}");
    let report = home.json(&["list", "--json"]);
    assert_eq!(
        report[0]["files"][0]["sha256"],
        Digest::of(&bytes).to_string()
    );
    home.ok(&["verify"]);
    println!("{} bytes through 20 cuts", bytes.len());
}

#[test]
fn pulls_at_once_are_one_download_and_all_succeed() {
    let bytes = tiny();
    let server = Server::throttled(&bytes, vec![], throttle());
    publish_one(&server, &bytes);
    let home = Home::with_hub(&server);
    let children: Vec<_> = (0..4)
        .map(|_| home.start(&["pull", "hf:owner/name"]))
        .collect();
    for child in children {
        let ran = Ran::ended(child);
        assert!(ran.is_ok, "{}", ran.err);
    }
    let downloads = server
        .requests()
        .iter()
        .filter(|head| head.contains("/resolve/"))
        .count();
    assert_eq!(downloads, 2, "one probe and one download");
    assert_eq!(home.names(), ["M"]);
    home.ok(&["verify"]);
}

#[test]
fn an_unfinished_download_is_shown_resumed_and_deleted() {
    let bytes = tiny();
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(5));
    publish_one(&server, &bytes);
    let home = Home::with_hub(&server);
    let start_and_kill = || {
        let before = server.sent();
        let mut child = home.start(&["pull", "hf:owner/name"]);
        while server.sent() < before + bytes.len() as u64 / 4 {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    start_and_kill();
    let listed = home.ok(&["list"]);
    assert!(listed.contains("unfinished download"), "{listed}");
    home.ok(&["pull", "hf:owner/name"]);
    let last = server.requests().pop().unwrap().to_lowercase();
    assert!(
        last.contains("range: bytes=") && !last.contains("bytes=0-"),
        "{last}"
    );
    home.ok(&["rm", "m", "-y"]);
    start_and_kill();
    home.ok(&["rm", "m", "-y"]);
    assert_eq!(home.count("staging"), 0);
    assert_eq!(home.json(&["list", "--json"]), serde_json::json!([]));
}

#[test]
fn a_proxy_that_is_no_address_is_not_gone_past() {
    let server = hub(vec![]);
    let mut home = Home::with_hub(&server);
    home.set("HTTPS_PROXY", "http://user:secret@");
    let said = home.fails(&["pull", "hf:owner/gguf"]);
    assert!(said.contains("HTTPS_PROXY"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_proxy_is_named_without_its_login() {
    let server = hub(vec![]);
    let mut home = Home::with_hub(&server);
    // Nobody is there.
    home.set("ALL_PROXY", "http://user:secret@127.0.0.1:1");
    home.set("NO_PROXY", "other.example");
    let said = home.fails(&["pull", "hf:owner/gguf"]);
    let named = "through the proxy 127.0.0.1:1, but for the hosts in NO_PROXY";
    assert!(said.contains(named), "{said}");
    assert!(!said.contains("secret"), "{said}");
    assert!(server.requests().is_empty());
}

/// What `hob run` starts to fetch a missing model, seen by what that starts in turn: a pip of the test's own.
#[cfg(target_os = "linux")]
#[test]
fn a_fetch_for_a_prompt_sees_nothing_of_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut home = Home::new();
    // It may write to the store, and nowhere else.
    let outside = home.path().join("outside");
    let (bin, seen) = (home.path().join("bin"), home.store("seen"));
    std::fs::create_dir_all(&bin).unwrap();
    let pip = format!(
        "#!/bin/sh\ncd {}\ntr '\\0' '\\n' </proc/$PPID/cmdline >argv\n\
         ls -l /proc/$PPID/fd /proc/$$/fd >files 2>/dev/null\n\
         {{ env; tr '\\0' '\\n' </proc/$PPID/environ; }} >environment 2>/dev/null\n\
         echo >{} 2>/dev/null\nexit 1\n",
        seen.display(),
        outside.display()
    );
    std::fs::create_dir_all(&seen).unwrap();
    std::fs::write(bin.join("python3"), pip).unwrap();
    let rights = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("python3"), rights).unwrap();
    home.set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    // No mirror answers, so that pip's turn comes.
    home.set("HF_ENDPOINT", "http://127.0.0.1:1");
    home.set("SECRET_OF_ANOTHER", "canary-environment");
    let kept = home.path().join("canary-file");
    std::fs::write(&kept, "").unwrap();
    let run = home.command(&["run", "--yes", "canary-prompt"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", "exec 7<\"$0\"; exec \"$@\""])
        .arg(&kept)
        .arg(run.get_program())
        .args(run.get_args())
        .env_clear()
        .envs(
            run.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(home.path());
    let ran = Ran::of(shell.output().unwrap());
    assert!(!ran.is_ok, "{ran:?}");
    let read = |name: &str| std::fs::read_to_string(seen.join(name)).unwrap();
    assert!(read("argv").contains("pull"), "{}", read("argv"));
    assert!(read("files").contains("/dev/null"), "{}", read("files"));
    assert!(read("environment").contains("HOB_HOME"));
    let report = home.run(&["privacy", "--json"]).out;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    match report["landlock_abi"].as_u64() {
        Some(1..) => assert!(!outside.exists()),
        _ => println!("no Landlock here; writing elsewhere is not tested"),
    }
    for name in ["argv", "files", "environment"] {
        assert!(!read(name).contains("canary"), "{name}: {}", read(name));
    }
}

/// The network's answers are fetched by a process that writes to its store alone, and starts nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_fetch_writes_nowhere_but_in_its_store() {
    let server = hub(vec![]);
    let mut home = Home::with_hub(&server);
    // A folder of another program's that the client's library might like to fill.
    home.set(
        "HF_HOME",
        home.path().join("hf").to_str().unwrap().to_owned().as_str(),
    );
    home.ok(&["pull", "hf:owner/m-gguf:q8_0"]);
    let left = std::fs::read_dir(home.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["store"]);
}
