//! A proof for people and for scripts.

use super::judge::{Verdict, outcomes};
use super::model::HashedModel;
use super::probe::{LayerState, Outcome};
use super::prove::{CRASH, ModeProof, Mutation, Proof};
use crate::terminal::{Plain, bytes};
use hob::privacy::Mode;
use hob::privacy::attempts::Kind;
use serde_json::{Value, json};
use std::fmt::Write;

/// The commands with which somebody checks who does not trust this program, and what they show.
const OUTSIDE: [(&str, &str); 3] = [
    (
        "strace -f -e trace=%network hob run \"Hello\"",
        "shows no network call",
    ),
    (
        "strace -f -o calls hob run \"Hello\"",
        "after the last seccomp(): no open, socket, exec",
    ),
    (
        "sha256sum \"$(command -v hob)\"",
        "the program that you run",
    ),
];

const KINDS: [(Kind, &str); 5] = [
    (Kind::Network, "Send something by a network"),
    (Kind::Neighbours, "Reach into other programs"),
    (Kind::Files, "Read, write or look for files"),
    (Kind::Programs, "Start programs, run new code"),
    (Kind::System, "Get round or undo the guard"),
];

/// What is confined so.
fn who(mode: Mode) -> &'static str {
    match mode {
        Mode::Run => "hob run",
        Mode::Chat => "hob chat",
        Mode::Broker => "its helper*",
        Mode::Serve => "a server*",
        Mode::Pack => "packing*",
        _ => "another mode",
    }
}

/// The verdicts of a mode that are of one kind.
fn of_kind(mode: &ModeProof, kind: Kind) -> Vec<&Verdict> {
    let mut found: Vec<&Verdict> = mode
        .verdicts
        .iter()
        .filter_map(|(a, v)| (a.kind == kind).then_some(v))
        .collect();
    found.extend(mode.crash.iter().filter(|_| kind == Kind::System));
    found
}

/// What became of attempts of one kind, in a few words.
fn summary(verdicts: &[&Verdict]) -> String {
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|v| is(v)).count();
    let refused = count(|v| matches!(v, Verdict::Refused(_)));
    let left = count(|v| *v == Verdict::Left);
    match (count(Verdict::is_bad), refused, left) {
        (0, 0, 0) => "-".into(),
        (0, _, 0) => "all refused".into(),
        (0, 0, _) => "left".into(),
        (0, refused, left) => format!("{refused} refused, {left} left"),
        (bad, _, _) => format!("{bad} NOT REFUSED"),
    }
}

pub(super) fn text(proof: &Proof, all: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_text(&mut out, proof, all);
    out
}

fn write_text(out: &mut String, proof: &Proof, all: bool) -> std::fmt::Result {
    writeln!(out, "{}\n", headline(proof))?;
    let Some(first) = proof.modes.first() else {
        return Ok(());
    };
    let tried = first.all().filter(|(_, _, v)| v.is_tried()).count();
    let (worked, got) = (bytes(proof.control_bytes), bytes(proof.leaked));
    writeln!(
        out,
        "{tried} ways out were tried. Each worked in a process without confinement (test servers in this\n\
         computer received {worked}); then processes confined as below tried them, on several threads\n\
         (the servers received {got})."
    )?;
    if all {
        every_attempt(out, proof)?;
    } else {
        writeln!(out)?;
        table(out, proof)?;
    }
    let notes = [
        (
            Mode::Broker,
            "* opens and saves files and starts your editor for /save, /load and /edit of hob chat",
        ),
        (
            Mode::Serve,
            "* answers callers, and reads models; for programs that use hob as a library",
        ),
        (
            Mode::Pack,
            "* reads a model that was fetched or imported, and writes its packed form to one folder",
        ),
    ];
    for (mode, note) in notes {
        if proof.modes.iter().any(|m| m.mode == mode) {
            writeln!(out, "  {note}")?;
        }
    }
    let lacks = |(_, what, v): (_, &'static str, &Verdict)| {
        (!v.is_tried()).then(|| what.split(" (").next().unwrap_or(what))
    };
    let impossible: Vec<_> = first.all().filter_map(lacks).collect();
    if !impossible.is_empty() && !all {
        let list = format!(
            "Not possible here without confinement either: {}",
            impossible.join(", ")
        );
        writeln!(out, "{}", wrapped(&list, "  ", 4))?;
    }
    writeln!(out)?;
    for layer in &first.confined.layers {
        let LayerState { name, holds, how } = layer;
        let mark = if *holds { "" } else { "MISSING: " };
        fact(out, name, &format!("{mark}{how}"))?;
    }
    for mode in &proof.modes {
        if let Some(hash) = &mode.confined.filter_sha256 {
            let who = who(mode.mode).trim_end_matches('*');
            fact(out, "its filter", &format!("SHA-256 {hash} ({who})"))?;
        }
    }
    let open = first.census.descriptors.iter();
    let open: Vec<_> = open.map(|(n, what)| format!("{n}={what}")).collect();
    let open = format!("{}; nothing else", Plain(&open.join(", ")));
    fact(out, "open files", &open)?;
    fact(out, "memory", &memory(first))?;
    model(out, proof.model.as_ref())?;
    writeln!(out, "\nCheck from outside, without trusting hob:")?;
    for (command, what) in OUTSIDE {
        writeln!(out, "  {command:45} {what}")?;
    }
    writeln!(
        out,
        "Not covered: whoever is root, other programs of yours, the screen, prompts given as arguments."
    )?;
    Ok(())
}

/// What of a user's words may be swapped out or dumped.
fn memory(mode: &ModeProof) -> String {
    let memory = mode.census.memory;
    let of = match memory.tokens {
        Some(n) => format!("after a prompt of {n} tokens"),
        None => "before a model is loaded".into(),
    };
    let limit = memory
        .may_lock
        .map_or("no limit".into(), |n| format!("at most {}", bytes(n)));
    format!(
        "{} locked, never swapped out ({limit}), {} not, {of}; dumps are {}",
        bytes(memory.locked as u64),
        bytes(memory.unlocked as u64),
        if mode.census.is_dumpable {
            "POSSIBLE"
        } else {
            "off"
        },
    )
}

/// The verdict, in words.
fn headline(proof: &Proof) -> String {
    let bad: usize = proof.modes.iter().map(ModeProof::bad).sum();
    let mut missing: Vec<&str> = proof
        .modes
        .iter()
        .flat_map(|m| m.confined.layers.iter().filter(|l| !l.holds))
        .map(|l| l.name.as_ref())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    let mut wrong = Vec::new();
    if bad > 0 {
        wrong.push(format!("{bad} attempts were not shown to be refused"));
    }
    if proof.leaked > 0 {
        wrong.push(format!("{} arrived", bytes(proof.leaked)));
    }
    if !missing.is_empty() {
        wrong.push(format!("{} does not hold", missing.join(" and ")));
    }
    if proof.modes.iter().any(|m| m.census.is_dumpable) {
        wrong.push("memory can be dumped".into());
    }
    if proof.model.as_ref().is_some_and(HashedModel::is_wrong) {
        wrong.push("the model is not the one that was pinned".into());
    }
    match wrong.as_slice() {
        [] if matches!(proof.modes.as_slice(), [only] if only.mode == Mode::Serve) => {
            "PROVEN: such a server answers its callers. The system refuses to let it reach anybody else."
                .into()
        }
        [] => "PROVEN: what you type stays on this computer. The system refuses to let hob send it anywhere."
            .into(),
        wrong if bad == 0 && proof.leaked == 0 => {
            format!("PROVEN IN PART: every attempt was refused, but {}.", wrong.join(", "))
        }
        wrong => format!("NOT PROVEN: {}.", wrong.join(", ")),
    }
}

fn table(out: &mut String, proof: &Proof) -> std::fmt::Result {
    write!(out, "  {:30}{:>6}", "", "tried")?;
    for mode in &proof.modes {
        write!(out, "  {:20}", who(mode.mode))?;
    }
    *out = out.trim_end().to_owned();
    writeln!(out)?;
    for (kind, what) in KINDS {
        let of = |mode| of_kind(mode, kind);
        let tried = proof
            .modes
            .first()
            .map_or(0, |m| of(m).iter().filter(|v| v.is_tried()).count());
        write!(out, "  {what:30}{tried:>6}")?;
        for mode in &proof.modes {
            write!(out, "  {:20}", summary(&of(mode)))?;
        }
        *out = out.trim_end().to_owned();
        writeln!(out)?;
    }
    for mode in &proof.modes {
        for (_, what, verdict) in mode.all().filter(|(_, _, v)| v.is_bad()) {
            writeln!(out, "  {}: {what}: {}", who(mode.mode), verdict.words())?;
        }
    }
    Ok(())
}

/// All attempts in all modes, with what happened on each thread.
fn every_attempt(out: &mut String, proof: &Proof) -> std::fmt::Result {
    for mode in &proof.modes {
        let who = who(mode.mode);
        writeln!(
            out,
            "\n{who}: with all layers on its first and a later thread | with seccomp alone on its first, an \
             earlier and a later one"
        )?;
        for (name, what, verdict) in mode.all() {
            let mut line = format!("  {name:18} {what:52} {}", verdict.words());
            if name != CRASH.0 {
                let codes = |answer| {
                    let all: Vec<_> = outcomes(answer, name).iter().map(|o| code(*o)).collect();
                    all.join(" ")
                };
                line = format!(
                    "{line:108}  {} | {}",
                    codes(&mode.confined),
                    codes(&mode.filter)
                );
            }
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// An outcome as errno(3) names it.
fn code(outcome: Outcome) -> String {
    match outcome.0 {
        0 => "done".into(),
        1 => "EPERM".into(),
        9 => "EBADF".into(),
        13 => "EACCES".into(),
        38 => "ENOSYS".into(),
        -1 => "untried".into(),
        errno => format!("errno {errno}"),
    }
}

fn model(out: &mut String, model: Option<&HashedModel>) -> std::fmt::Result {
    let Some(model) = model else {
        return fact(
            out,
            "model",
            "none in the store; `hob privacy MODEL` checks another",
        );
    };
    for (i, file) in model.files.iter().enumerate() {
        let name = if i == 0 { &model.name } else { &file.name };
        let said = match (&file.pinned, &file.actual) {
            (Some(pinned), Some(actual)) if pinned == actual => {
                format!("is the one that was pinned: SHA-256 {actual}")
            }
            (Some(pinned), Some(actual)) => {
                format!("IS NOT THE ONE THAT WAS PINNED: SHA-256 {actual}, pinned {pinned}")
            }
            (Some(pinned), None) => format!("pinned as SHA-256 {pinned}; --verify reads it all"),
            (None, Some(actual)) => format!("not from the store: SHA-256 {actual}"),
            (None, None) => "not from the store; --verify says its hash".into(),
        };
        let text = format!("{} {said}", Plain(name));
        fact(out, if i == 0 { "model" } else { "" }, &text)?;
    }
    Ok(())
}

/// Columns of a screen.
const WIDTH: usize = 100;

/// A fact with its name in front.
fn fact(out: &mut String, name: &str, text: &str) -> std::fmt::Result {
    writeln!(out, "{}", wrapped(text, &format!("{name:13} "), 14))
}

/// Breaks a line between words; lines after the first are indented.
fn wrapped(text: &str, first: &str, indent: usize) -> String {
    let mut lines = vec![first.to_owned()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line + word.chars().count() + 1 > WIDTH {
            lines.push(" ".repeat(indent));
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

pub(super) fn json(proof: &Proof) -> Value {
    let modes: Vec<Value> = proof.modes.iter().map(mode_json).collect();
    let files = |m: &HashedModel| -> Vec<Value> {
        let file = |f: &super::model::HashedFile| json!({"name": f.name, "pinned_sha256": f.pinned, "actual_sha256": f.actual});
        m.files.iter().map(file).collect()
    };
    json!({
        "proven": proof.is_proven(),
        "summary": headline(proof),
        "bytes_leaked": proof.leaked,
        "bytes_received_without_confinement": proof.control_bytes,
        "landlock_abi": proof.modes.first().map(|m| m.confined.landlock_abi),
        "modes": modes,
        "model": proof.model.as_ref().map(|m| {
            json!({"name": m.name, "path": m.path, "as_pinned": !m.is_wrong(), "files": files(m)})
        }),
        "check_from_outside": OUTSIDE.map(|(command, what)| json!({"command": command, "shows": what})),
    })
}

fn mode_json(mode: &ModeProof) -> Value {
    let attempts: Vec<Value> = mode
        .all()
        .map(|(name, what, verdict)| {
            let kind = mode
                .verdicts
                .iter()
                .find(|(a, _)| a.name == name)
                .map(|(a, _)| a.kind);
            let by: &[&str] = match verdict {
                Verdict::Refused(by) => by,
                _ => &[],
            };
            let words = |answer| -> Vec<String> {
                outcomes(answer, name)
                    .iter()
                    .map(Outcome::to_string)
                    .collect()
            };
            json!({
                "name": name, "what": what, "kind": kind.map(|k| format!("{k:?}").to_lowercase()),
                "verdict": verdict.words(), "refused": matches!(verdict, Verdict::Refused(_)),
                "refused_by": by, "bad": verdict.is_bad(), "tried": verdict.is_tried(),
                "confined": words(&mode.confined), "seccomp_alone": words(&mode.filter),
            })
        })
        .collect();
    let layers: Vec<Value> = mode
        .confined
        .layers
        .iter()
        .map(|l| json!({"name": l.name, "holds": l.holds, "how": l.how}))
        .collect();
    let open: Vec<Value> = mode
        .census
        .descriptors
        .iter()
        .map(|(number, what)| json!({"number": number, "what": what}))
        .collect();
    json!({
        "mode": mode.mode.name(),
        "proven": mode.bad() == 0 && !mode.is_weak(),
        "attempts": attempts,
        "layers": layers,
        "filter_sha256": mode.confined.filter_sha256,
        "refused_while_it_had_threads": mode.confined.refused_threads,
        "descriptors": open,
        "dumpable": mode.census.is_dumpable,
        "memory": {
            "locked_bytes": mode.census.memory.locked, "unlocked_bytes": mode.census.memory.unlocked,
            "limit_bytes": mode.census.memory.may_lock, "prompt_tokens": mode.census.memory.tokens,
        },
    })
}

pub(super) fn mutations(found: &[Mutation], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let each = |m: &Mutation| json!({"mode": m.mode.name(), "call": m.call, "noticed_by": m.noticed_by, "excuse": m.excuse});
        let all: Vec<Value> = found.iter().map(each).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for m in found {
        let said = match (m.noticed_by.as_slice(), &m.excuse) {
            ([], Some(why)) => format!("cannot be seen here: {why}"),
            ([], None) => "NOT NOTICED".into(),
            (by, _) => format!("noticed by {}", by.join(", ")),
        };
        println!("{:6} {:26} {said}", m.mode.name(), m.call);
    }
    let noticed = found.iter().filter(|m| !m.noticed_by.is_empty()).count();
    println!(
        "\n{noticed} of {} forbidden calls were noticed when they were allowed.",
        found.len()
    );
    Ok(())
}
