//! What the program says to someone who does not know it: alone, of the machine, to slips; and its exit
//! codes.
#![allow(clippy::unwrap_used)]

mod common;

use common::Home;

#[test]
fn alone_it_says_what_to_do_next() {
    let home = Home::new();
    let said = home.ok(&[]);
    assert!(said.contains("no model in the store"), "{said}");
    // Every command that it names exists.
    let commands: Vec<&str> = said
        .lines()
        .skip(1)
        .filter_map(|l| l.trim().strip_prefix("hob ")?.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 4, "{said}");
    for command in commands {
        home.ok(&["help", command]);
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let home = Home::new();
    let code = |args: &[&str]| home.command(args).output().unwrap().status.code();
    assert!(
        home.ok(&["--help"])
            .contains("Exit codes: 0 done; 1 failed")
    );
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["show", "nothing"]), Some(1));
    assert_eq!(code(&["shwo", "nothing"]), Some(2));
    assert_eq!(code(&["run", "--top-p", "7", "x"]), Some(2));
    assert_eq!(code(&["run", "--top-q", "0.7", "x"]), Some(2));
}

#[test]
fn slips_are_answered_with_what_was_meant() {
    let home = Home::new();
    for (args, meant) in [
        (&["shwo", "x"][..], "show"),
        (&["run", "--tempreature", "1", "x"], "--temperature"),
        (&["show", "smollm2-135m-instuct"], "SmolLM2-135M-Instruct"),
        (
            &["run", "smollm2-135m-instuct", "x"],
            "SmolLM2-135M-Instruct",
        ),
        (&["pull", "smollm2-135m-instuct"], "SmolLM2-135M-Instruct"),
        (&["run", "--top-p", "7", "x"], "a number from 0 to 1"),
        (
            &["run", "--sampler-order", "top_k,topp", "x"],
            "top_n_sigma",
        ),
        (&["completions", "csh"], "bash"),
    ] {
        let said = home.fails(args);
        assert!(said.contains(meant), "hob {args:?}: {said}");
    }
}

#[test]
fn the_doctor_and_the_recommendation_speak_json() {
    let home = Home::new();
    let found = home.json(&["doctor", "--seconds", "0.05", "--json"]);
    assert_eq!(found["works"], true, "{found}");
    let check = |name: &str| {
        let all = found["checks"].as_array().unwrap();
        all.iter().find(|c| c["name"] == name).unwrap()["values"].clone()
    };
    assert!(check("cores")["available"].as_u64().unwrap() > 0);
    assert!(check("speed")["read_gb_s"].as_f64().unwrap() > 0.0);
    assert_eq!(check("store")["models"], 0);
    // What `hob privacy` says, and nothing of its own.
    let proven = home.run(&["privacy", "--json"]).out;
    let proven: serde_json::Value = serde_json::from_str(&proven).unwrap();
    for what in ["confined run", "confined chat"] {
        assert_eq!(check(what)["proven"], proven["proven"]);
    }

    let found = home.json(&["recommend", "--seconds", "0.05", "--json"]);
    let models = found["models"].as_array().unwrap();
    assert!(models.len() > 1);
    for model in models {
        let (size, memory) = (&model["size_bytes"], &model["memory_bytes"]);
        assert!(memory.as_u64() > size.as_u64(), "{model}");
        assert!(model["decode_tok_s"].as_f64().unwrap() > 0.0, "{model}");
    }
}

/// A store that cannot be is what `hob doctor` is for.
#[cfg(target_os = "linux")]
#[test]
fn the_doctor_says_what_keeps_hob_from_working() {
    let mut home = Home::new();
    home.set("HOB_HOME", "/proc/nothing");
    let ran = home.command(&["doctor", "--no-measure"]).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("HOB_HOME"), "{said}");
}
