//! Processes that are killed at every single step that they make on the disk: strace delivers SIGKILL at
//! the first, the second, the third such system call, and so on, until one comes to its end. After each,
//! the store must have the model from before or the one from after, whole.
//!
//! Without strace this is not tested, and says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};
use std::sync::Arc;

use common::mirror::Server;
use common::{Home, Ran, another, parts, publish, put, tiny};

/// The system calls that change what is on the disk, but for those that fill files under temporary names.
const STEPS: [&str; 16] = [
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "fsync",
    "ftruncate",
    "fallocate",
    "chmod",
    "fchmod",
    "fchmodat",
];
/// More steps of one kind than any of these commands makes.
const MOST: usize = 300;

/// Whether strace is here and may trace.
fn may_trace() -> bool {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-o", "/dev/null", "true"])
        .stdin(Stdio::null());
    let may = command.output().is_ok_and(|output| output.status.success());
    if !may {
        println!("strace is not here or may not trace; not tested");
    }
    may
}

/// Runs `hob ARGS` and kills it at its `n`-th call of this kind; whether it came to its end before.
fn killed_at(home: &Home, args: &[&str], call: &str, n: usize) -> bool {
    let plain = home.command(args);
    let mut command = Command::new("strace");
    command
        // Not every architecture has every call.
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace=?{call}"),
        ])
        .args(["-e", &format!("inject=?{call}:signal=SIGKILL:when={n}")])
        .arg(plain.get_program())
        .args(args)
        .env_clear()
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(home.path())
        .stdin(Stdio::null());
    Ran::of(command.output().unwrap()).is_ok
}

/// Kills `hob ARGS` at every step. `before` brings the store to where it starts; what is there after a kill
/// must be one of `states`: names in the store, each with its logits.
fn at_every_step(home: &Home, args: &[&str], before: &dyn Fn(), states: &[Vec<(&str, &[u8])>]) {
    let (mut seen, mut killed) = (vec![0; states.len()], 0);
    for call in STEPS {
        for n in 1.. {
            assert!(
                n < MOST,
                "hob {args:?} makes more than {MOST} calls of {call}"
            );
            before();
            let is_done = killed_at(home, args, call, n);
            let names = home.names();
            home.ok(&["verify", "--quiet"]);
            let there = names.iter().map(|name| (name.as_str(), home.logits(name)));
            let there: Vec<_> = there.collect();
            let is_it = |state: &Vec<(&str, &[u8])>| {
                let there = there.iter().map(|(name, bits)| (*name, bits.as_slice()));
                state.iter().copied().eq(there)
            };
            let Some(state) = states.iter().position(is_it) else {
                panic!("killed at {call} {n}, hob {args:?} left {names:?}, or other logits");
            };
            seen[state] += 1;
            if is_done {
                break;
            }
            killed += 1;
            // Whatever was left, the next one comes to its end.
            home.run(args);
            home.ok(&["verify", "--quiet"]);
        }
    }
    println!(
        "hob {}: killed at each of {killed} steps; states seen {seen:?}",
        args[0]
    );
    assert!(
        killed > 5 && seen.iter().all(|n| *n > 0),
        "{killed} kills: {seen:?}"
    );
}

/// A home with two models beside its store, in as many parts, so that their files have the same names
/// there.
fn with_models() -> (Home, [String; 2], [Vec<u8>; 2]) {
    let home = Home::new();
    let split = [parts(&tiny(), "one", 3), parts(&another(), "two", 3)];
    let paths = split.map(|split| {
        put(home.path(), &split);
        split[0].0.clone()
    });
    let logits = [home.logits(&paths[0]), home.logits(&paths[1])];
    (home, paths, logits)
}

#[test]
fn an_import_is_there_or_not() {
    if !may_trace() {
        return;
    }
    let (home, [path, _], [bits, _]) = with_models();
    let states = [vec![], vec![("m", bits.as_slice())]];
    let before = || {
        home.run(&["rm", "m", "-y"]);
    };
    at_every_step(&home, &["import", &path, "--name", "m"], &before, &states);
}

#[test]
fn a_replacement_is_the_old_model_or_the_new() {
    if !may_trace() {
        return;
    }
    let (home, paths, logits) = with_models();
    for (old, new) in [(0, 1), (1, 0)] {
        let states = [old, new].map(|i| vec![("m", logits[i].as_slice())]);
        let before = || {
            home.ok(&["import", &paths[old], "--name", "m", "--force"]);
        };
        let args = ["import", &paths[new], "--name", "m", "--force"];
        at_every_step(&home, &args, &before, &states);
    }
}

#[test]
fn a_removal_and_a_copy_are_whole_or_nothing() {
    if !may_trace() {
        return;
    }
    let (home, [path, _], [bits, _]) = with_models();
    home.ok(&["import", &path, "--name", "a"]);
    let one = vec![("a", bits.as_slice())];
    let two = vec![("a", bits.as_slice()), ("b", bits.as_slice())];
    let without = || {
        home.run(&["rm", "b", "-y"]);
    };
    at_every_step(
        &home,
        &["cp", "a", "b"],
        &without,
        &[one.clone(), two.clone()],
    );
    let with = || {
        home.run(&["cp", "a", "b"]);
    };
    at_every_step(&home, &["rm", "b", "-y"], &with, &[two, one]);
}

#[test]
fn models_of_a_bundle_are_there_or_not() {
    if !may_trace() {
        return;
    }
    let home = Home::new();
    let [a, b] = [("a", tiny()), ("b", another())].map(|(name, bytes)| {
        let file = format!("{name}.gguf");
        std::fs::write(home.path().join(&file), &*bytes).unwrap();
        home.ok(&["import", &file, "--name", name]);
        home.logits(name)
    });
    home.ok(&["bundle", "export", "a", "b", "--out", "models.tar"]);
    let one = vec![("a", a.as_slice())];
    let two = vec![("a", a.as_slice()), ("b", b.as_slice())];
    let without = || {
        home.run(&["rm", "a", "b", "-y"]);
        home.run(&["rm", "b", "-y"]);
    };
    at_every_step(
        &home,
        &["bundle", "import", "models.tar"],
        &without,
        &[vec![], one, two],
    );
}

#[test]
fn a_pull_is_there_or_not() {
    if !may_trace() {
        return;
    }
    let split = parts(&tiny(), "m", 2);
    let server = Server::start(&Arc::new(Vec::new()), vec![]);
    publish(&server, "owner/name", "mit", &split);
    let (mut home, _, [bits, _]) = with_models();
    home.set(
        "HF_ENDPOINT",
        &format!("http://127.0.0.1:{}", server.port()),
    );
    let states = [vec![], vec![("m", bits.as_slice())]];
    let before = || {
        home.run(&["rm", "m", "-y"]);
    };
    at_every_step(&home, &["pull", "hf:owner/name"], &before, &states);
}
