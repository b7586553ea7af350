//! Confinement, as the program itself proves it: everything is refused, and the proof notices when
//! something is not. Linux only. (A build that dies at a refusal cannot say that there was one.)
#![cfg(all(target_os = "linux", not(feature = "kill-on-refusal")))]

use serde_json::Value;
use std::process::Command;

/// Runs `hob privacy` with an empty store; whether it was proven, and what it says.
fn privacy(args: &[&str]) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_hob");
    let home = tempfile::tempdir().unwrap();
    let out = Command::new(program)
        .arg("privacy")
        .args(args)
        .env("HOB_HOME", home.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

fn json(args: &[&str]) -> (bool, Value) {
    let (proven, text) = privacy(&[args, &["--json"]].concat());
    (proven, serde_json::from_str(&text).unwrap())
}

/// The attempts of a mode.
fn attempts(mode: &Value) -> &[Value] {
    mode["attempts"].as_array().unwrap()
}

fn verdict<'a>(mode: &'a Value, name: &str) -> &'a str {
    let attempt = attempts(mode).iter().find(|a| a["name"] == name);
    attempt.unwrap()["verdict"].as_str().unwrap()
}

/// A kernel without Landlock cannot prove it; then the report must say so.
fn has_landlock(report: &Value) -> bool {
    report["modes"][0]["layers"][1]["holds"] == true
}

#[test]
fn everything_that_can_be_tried_is_refused_in_every_mode() {
    let (proven, report) = json(&["--run", "--chat", "--broker", "--serve"]);
    assert_eq!(proven, has_landlock(&report), "{report:#}");
    assert_eq!(report["bytes_leaked"], 0);
    assert!(
        report["bytes_received_without_confinement"]
            .as_u64()
            .unwrap()
            > 0
    );
    let modes = report["modes"].as_array().unwrap();
    assert_eq!(modes.len(), 4);
    for mode in modes {
        let bad: Vec<_> = attempts(mode).iter().filter(|a| a["bad"] == true).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", mode["mode"]);
        assert_eq!(mode["dumpable"], false);
        let hash = mode["filter_sha256"].as_str().unwrap();
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        // Three standard streams, for there is no model here.
        assert_eq!(mode["descriptors"].as_array().unwrap().len(), 3, "{mode:#}");
    }
    let hashes: std::collections::BTreeSet<_> =
        modes.iter().map(|m| m["filter_sha256"].as_str()).collect();
    assert_eq!(hashes.len(), 4);
    for mode in &modes[..2] {
        let refused = |a: &&Value| a["refused"] == true;
        assert!(
            attempts(mode).iter().filter(refused).count() >= 55,
            "{mode:#}"
        );
        for name in [
            "tcp",
            "udp",
            "dns",
            "unix",
            "inherited-sendto",
            "inherited-bind",
            "accept",
        ] {
            assert!(
                verdict(mode, name).starts_with("refused by seccomp"),
                "{name}: {mode:#}"
            );
        }
        for name in [
            "read-file",
            "write-file",
            "read-model",
            "exec",
            "fork",
            "make-executable",
        ] {
            assert!(
                verdict(mode, name).starts_with("refused by seccomp"),
                "{name}: {mode:#}"
            );
        }
    }
    let (broker, serve) = (&modes[2], &modes[3]);
    for name in ["tcp", "dns", "inherited-send", "namespace"] {
        assert!(verdict(broker, name).starts_with("refused"), "{broker:#}");
    }
    for name in ["read-file", "write-file", "exec"] {
        assert!(verdict(broker, name).starts_with("left"), "{broker:#}");
    }
    for name in ["accept", "read-model"] {
        assert!(verdict(serve, name).starts_with("left"), "{serve:#}");
    }
    let write_model = verdict(serve, "write-model");
    assert!(write_model.starts_with("refused by seccomp"), "{serve:#}");
    if has_landlock(&report) {
        assert_eq!(verdict(serve, "read-file"), "refused by Landlock");
    }
}

/// Threads: each that the report has a column for was tried.
#[test]
fn old_and_new_threads_are_tried() {
    let (_, report) = json(&["--run", "--no-crash"]);
    let mode = &report["modes"][0];
    for attempt in attempts(mode) {
        assert_eq!(
            attempt["seccomp_alone"].as_array().unwrap().len(),
            3,
            "{attempt:#}"
        );
    }
    // Landlock reaches threads that were there before from ABI 8 on; else a process that has some is
    // refused, not confined by half.
    if report["landlock_abi"].as_u64().unwrap() < 8 {
        assert_eq!(mode["refused_while_it_had_threads"], true);
    }
}

#[test]
fn one_permitted_system_call_is_noticed_whichever_it_is() {
    let (all_noticed, found) = json(&["--mutations"]);
    let found = found.as_array().unwrap();
    assert!(all_noticed, "{found:#?}");
    let unseen: Vec<_> = found
        .iter()
        .filter(|m| m["noticed_by"] == Value::Array(vec![]))
        .collect();
    // What an unprivileged user may not do, and what old kernels and containers lack.
    let excusable = [
        "SYS_bpf",
        "SYS_setns",
        "SYS_fsopen",
        "SYS_perf_event_open",
        "SYS_userfaultfd",
        "SYS_ioctl",
        "SYS_io_uring_setup",
        "SYS_add_key",
        "SYS_keyctl",
        "SYS_pidfd_getfd",
        "SYS_process_vm_readv",
        "SYS_process_vm_writev",
        "SYS_ptrace",
        "SYS_pidfd_open",
        "SYS_pidfd_send_signal",
        "SYS_mq_open",
        "SYS_shmget",
        "SYS_openat2",
        "SYS_clone3",
        "SYS_execveat",
        "SYS_pkey_mprotect",
    ];
    for mutation in unseen {
        let call = mutation["call"].as_str().unwrap();
        assert!(excusable.contains(&call), "{mutation:#}");
        println!("not seen here: {mutation}");
    }
    assert!(found.len() >= 80, "{}", found.len());
}

/// The whole command, too, ends with a failure: as it stands in the documentation.
#[test]
fn a_permitted_system_call_fails_the_command() {
    for (mode, call) in [
        ("--run", "SYS_socket"),
        ("--chat", "SYS_sendto"),
        ("--serve", "SYS_connect"),
    ] {
        let (proven, text) = privacy(&[mode, "--no-crash", "--permit", call]);
        assert!(!proven && text.starts_with("NOT PROVEN"), "{call}: {text}");
        let named = text.contains(": NOT refused") || text.contains(": NOT proven");
        assert!(named, "{call}: {text}");
    }
}

#[test]
fn a_layer_left_out_is_named() {
    for layer in hob::privacy::Layer::ALL {
        let (proven, text) = privacy(&["--run", "--without", layer.name()]);
        assert!(!proven, "{layer}: {text}");
        let line = text.lines().find(|l| l.starts_with(layer.name()));
        assert!(
            line.is_some_and(|l| l.contains("MISSING")),
            "{layer}: {text}"
        );
    }
    // What is no longer refused is named.
    let (_, text) = privacy(&["--run", "--without", "seccomp"]);
    assert!(text.contains("send a UDP datagram: NOT refused"), "{text}");
}

#[test]
fn the_report_is_one_screen() {
    let (_, text) = privacy(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        (20..=40).contains(&lines.len()),
        "{} lines\n{text}",
        lines.len()
    );
    for line in lines {
        assert!(line.chars().count() <= 110, "{line}");
    }
}

#[test]
fn a_model_s_hash_is_told_and_a_wrong_one_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.gguf");
    std::fs::write(&file, "abc").unwrap();
    let (_, report) = json(&["--run", "--no-crash", file.to_str().unwrap()]);
    let hashed = &report["model"]["files"][0];
    // The example of FIPS 180-2, appendix B.1.
    assert_eq!(
        hashed["actual_sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(hashed["pinned_sha256"], Value::Null);
}
