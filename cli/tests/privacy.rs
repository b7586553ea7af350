//! Confinement, as the program itself proves it: everything is refused, and the proof notices when
//! something is not. Linux only.
#![cfg(target_os = "linux")]

use std::process::Command;

fn privacy(args: &[&str]) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_hob");
    let out = Command::new(program)
        .arg("privacy")
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

#[test]
fn everything_that_can_be_tried_is_refused() {
    let (proven, text) = privacy(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    // A kernel without Landlock cannot prove it; then the report must say so.
    let has_landlock = report["layers"][1]["holds"] == true;
    assert_eq!(proven, has_landlock, "{text}");
    assert_eq!(report["bytes_leaked"], 0);
    let refused = report["attempts"].as_array().unwrap();
    assert!(
        refused.iter().filter(|a| a["refused"] == true).count() >= 20,
        "{text}"
    );
}

#[test]
fn a_conversation_has_files_and_no_network() {
    let (proven, text) = privacy(&["--chat", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(proven, report["layers"][1]["holds"] == true, "{text}");
    let verdict = |name: &str| {
        let attempts = report["attempts"].as_array().unwrap();
        let attempt = attempts.iter().find(|a| a["name"] == name).unwrap();
        attempt["verdict"].as_str().unwrap().to_owned()
    };
    for name in ["tcp", "udp", "unix", "mptcp", "inherited-send"] {
        assert!(verdict(name).starts_with("refused by seccomp"), "{text}");
    }
    for name in ["read-file", "write-file", "exec"] {
        assert!(verdict(name).starts_with("left"), "{text}");
    }
    let (proven, _) = privacy(&["--chat", "--permit", "SYS_socket"]);
    assert!(!proven);
}

#[test]
fn one_permitted_system_call_is_noticed_whichever_it_is() {
    for (name, _, _) in hob::privacy::lists::FORBIDDEN {
        // The C library makes files by openat and removes them by unlink.
        if *name == "SYS_open" {
            continue;
        }
        let (proven, text) = privacy(&["--permit", name]);
        assert!(!proven && text.contains("NOT REFUSED"), "{name}: {text}");
    }
}

#[test]
fn a_layer_left_out_is_named() {
    for layer in hob::privacy::Layer::ALL {
        let (proven, text) = privacy(&["--without", layer.name()]);
        assert!(!proven, "{layer}: {text}");
        let line = text.lines().find(|l| l.trim().starts_with(layer.name()));
        assert!(
            line.is_some_and(|l| l.contains("MISSING")),
            "{layer}: {text}"
        );
    }
}
