//! Processes that are killed at random moments, and disks that are full: whatever happens, the store
//! works afterwards.
//!
//! A few kills by default; `HOB_TEST_KILLS=50 HOB_TEST_MODEL=FILE.gguf cargo test --release -p hob-cli
//! --test killed` for many, on a real model.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::mirror::{Random, Server};
use common::{Home, Ran, gguf, kills, parts, publish, publish_one, throttle, tiny};

/// The property: whatever `hob` lists is whole, and runs with the right bits. Gives whether it is there.
fn is_there_and_right(home: &Home, expected: &[u8]) -> bool {
    let names = home.names();
    home.ok(&["verify", "--quiet"]);
    for name in &names {
        assert!(home.logits(name) == expected, "{name} has other logits");
    }
    !names.is_empty()
}

/// Runs `hob ARGS` and kills it at random moments, [`kills`] times. When it came to its end, `renew` makes
/// it begin anew.
fn kill_often(home: &Home, args: &[&str], expected: &[u8], renew: &dyn Fn()) {
    let whole = Instant::now();
    home.ok(args);
    let whole = whole.elapsed().as_micros() as usize;
    renew();
    let mut random = Random(args.len() as u64 + 40);
    let (mut killed, mut finished, mut moments) = (0, 0, 0);
    while killed < kills() {
        moments += 1;
        assert!(
            moments < 10 * kills() + 20,
            "only {killed} of {moments} were killed at work"
        );
        let mut child = home.start(args);
        std::thread::sleep(Duration::from_micros(random.below(whole + whole / 8) as u64));
        let _ = child.kill();
        killed += usize::from(!Ran::ended(child).is_ok);
        if is_there_and_right(home, expected) {
            finished += 1;
            renew();
        }
    }
    println!(
        "hob {}: {killed} killed of {moments}, {finished} came to the end",
        args.join(" ")
    );
    home.ok(args);
    assert!(is_there_and_right(home, expected));
    // Nothing of the killed ones stays.
    assert_eq!((home.count("staging"), home.count("models")), (0, 1));
}

/// A home, the model's file in it, and its logits.
fn with_file() -> (Home, String, Vec<u8>) {
    let home = Home::new();
    let path = home.path().join("m.gguf");
    std::fs::write(&path, &*gguf()).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let expected = home.logits(&path);
    (home, path, expected)
}

#[test]
fn a_pull_that_is_killed_leaves_a_store_that_works() {
    let bytes = gguf();
    let server = Server::throttled(&bytes, vec![], throttle());
    publish_one(&server, &bytes);
    let (mut home, _, expected) = with_file();
    home.set(
        "HF_ENDPOINT",
        &format!("http://127.0.0.1:{}", server.port()),
    );
    kill_often(&home, &["pull", "hf:owner/name"], &expected, &|| {
        home.ok(&["rm", "m", "-y"]);
    });
}

#[test]
fn a_pull_of_several_parts_that_is_killed_leaves_a_store_that_works() {
    let split = parts(&gguf(), "M", 3);
    let server = Server::throttled(&split[0].1, vec![], throttle());
    publish(&server, "owner/name", "mit", &split);
    let (mut home, _, expected) = with_file();
    home.set(
        "HF_ENDPOINT",
        &format!("http://127.0.0.1:{}", server.port()),
    );
    kill_often(
        &home,
        &["pull", "hf:owner/name", "--quiet"],
        &expected,
        &|| {
            home.ok(&["rm", "m", "-y"]);
        },
    );
}

#[test]
fn an_import_that_is_killed_leaves_a_store_that_works() {
    let (home, path, expected) = with_file();
    kill_often(&home, &["import", &path], &expected, &|| {
        home.ok(&["rm", "m", "-y"]);
    });
    assert!(home.path().join("m.gguf").exists());
}

#[test]
fn packing_that_is_killed_leaves_a_cache_that_works() {
    let (home, path, expected) = with_file();
    let cache = home.path().join("cache");
    let cache_args = ["--cache", cache.to_str().unwrap()];
    let out = home.path().join("out");
    let args = [
        "logits",
        &path,
        "--tokens",
        "1",
        "--out",
        out.to_str().unwrap(),
    ];
    let args = [&args[..], &cache_args].concat();
    let whole = Instant::now();
    home.ok(&args);
    let whole = whole.elapsed().as_micros() as usize;
    let mut random = Random(3);
    let (mut killed, mut moments) = (0, 0);
    while killed < kills() {
        moments += 1;
        assert!(
            moments < 10 * kills() + 20,
            "only {killed} of {moments} were killed at work"
        );
        let _ = std::fs::remove_dir_all(&cache);
        let mut child = home.start(&args);
        std::thread::sleep(Duration::from_micros(random.below(whole) as u64));
        let _ = child.kill();
        killed += usize::from(!Ran::ended(child).is_ok);
        assert!(home.logits_with(&path, &cache_args) == expected);
        let partial = std::fs::read_dir(&cache).unwrap().flatten();
        let partial = partial.filter(|f| f.file_name().to_string_lossy().ends_with(".partial"));
        assert_eq!(partial.count(), 0, "left behind");
    }
    println!("packing: {killed} killed of {moments}");
}

/// Runs `hob ARGS` with the store on a file system of `mib` MiB, and lists the store there; `None` where
/// this user may not mount one.
fn on_a_small_disk(home: &Home, mib: usize, args: &[&str]) -> Option<Ran> {
    on_a_small_disk_run(home, mib, env!("CARGO_BIN_EXE_hob"), args)
}

fn on_a_small_disk_run(home: &Home, mib: usize, program: &str, args: &[&str]) -> Option<Ran> {
    let store = home.store("");
    std::fs::create_dir_all(&store).unwrap();
    let script = "mount -t tmpfs -o size=\"$2\"m none \"$1\" || exit 99\n\
        hob=$3; shift 3; \"$@\"; code=$?; \"$hob\" list --json >&2; exit $code";
    let plain = home.command(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&store)
        .arg(mib.to_string())
        .arg(plain.get_program())
        .arg(program)
        .args(args)
        .env_clear()
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir(home.path());
    let output = command.output().ok()?;
    // 1: unshare itself may not.
    let is_refused = output.status.code() == Some(99)
        || String::from_utf8_lossy(&output.stderr).starts_with("unshare:");
    (!is_refused).then(|| Ran::of(output))
}

#[test]
fn a_full_disk_is_said_in_words_before_anything_is_written() {
    let bytes = tiny();
    let server = Server::start(&bytes, vec![]);
    publish_one(&server, &bytes);
    let home = Home::with_hub(&server);
    std::fs::write(home.path().join("m.gguf"), &*bytes).unwrap();
    for args in [["pull", "hf:owner/name"], ["import", "m.gguf"]] {
        // Packing wants 65 MiB more than the model.
        let Some(ran) = on_a_small_disk(&home, 40, &args) else {
            println!("no file system may be mounted here; not tested");
            return;
        };
        assert!(!ran.is_ok, "{args:?}: {}", ran.err);
        assert!(
            ran.err.contains("is full") && ran.err.contains("HOB_HOME"),
            "{}",
            ran.err
        );
        assert!(ran.err.ends_with("[]\n"), "{}", ran.err);
        // With room it goes on.
        let ran = on_a_small_disk(&home, 200, &args).unwrap();
        assert!(ran.is_ok, "{}", ran.err);
    }
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_said_in_words_and_breaks_nothing() {
    let bytes = tiny();
    let server = Server::throttled(&bytes, vec![], Duration::from_millis(5));
    publish_one(&server, &bytes);
    let home = Home::with_hub(&server);
    // The download takes longer than to fill the disk; then room is made, and it goes on.
    let script = "\"$@\" & pull=$!; sleep 0.15\n\
        dd if=/dev/zero of=\"$HOB_HOME/filler\" bs=1M 2>/dev/null\n\
        wait $pull && exit 98; rm \"$HOB_HOME/filler\"; exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_hob");
    let args = ["-c", script, "sh", program, "pull", "hf:owner/name"];
    let Some(ran) = on_a_small_disk_run(&home, 90, "sh", &args) else {
        println!("no file system may be mounted here; not tested");
        return;
    };
    assert!(ran.is_ok && ran.err.contains("is full"), "{}", ran.err);
    assert!(
        ran.err.contains("here already") && ran.err.contains("M is ready"),
        "{}",
        ran.err
    );
}

#[test]
fn a_write_that_fails_in_the_middle_breaks_nothing() {
    // A limit on the size of files: the kernel refuses a write that the check of the free space has let
    // through.
    let bytes = tiny();
    let server = Server::start(&bytes, vec![]);
    publish_one(&server, &bytes);
    let home = Home::with_hub(&server);
    let path = home.path().join("m.gguf");
    std::fs::write(&path, &*bytes).unwrap();
    let path = path.to_str().unwrap();
    let expected = home.logits(path);
    home.ok(&["import", path, "--name", "before"]);
    let blocks = (bytes.len() / 2 / 512).to_string();
    for args in [["pull", "hf:owner/name"], ["import", path]] {
        let plain = home.command(&args);
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
                "sh",
                &blocks,
            ])
            .arg(plain.get_program())
            .args(args)
            .env_clear()
            .envs(
                plain
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(home.path());
        let ran = Ran::of(command.output().unwrap());
        assert!(!ran.is_ok && ran.err.contains("error: "), "{}", ran.err);
        assert_eq!(home.names(), ["before"]);
        home.ok(&["verify"]);
        home.ok(&args);
        assert_eq!(home.names().len(), 2);
        assert!(is_there_and_right(&home, &expected));
        home.ok(&["rm", "m", "-y"]);
    }
}
