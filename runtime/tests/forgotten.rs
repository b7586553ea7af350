//! What a program that links hob finds of a user's words in its memory when a session forgot them: nothing.
//! This program has not installed the allocator that wipes everything.
#![cfg(target_os = "linux")]

mod common;

use common::{Shape, write};
use hob::privacy::memory::{Held, figures, guard};
use hob::{Cancel, Engine, EngineOptions, SessionOptions};
use hob_models::format::Format;

/// Token `i` of a text that occurs nowhere else in memory: it is never stored.
fn id(i: usize) -> u32 {
    let x = (i as u32 + 77).wrapping_mul(2_654_435_761);
    (x >> 16) % 97 + 3
}

const LEN: usize = 300;

/// How often so many words that `word` gives lie one after the other in this process's memory.
fn occurrences(n: usize, word: impl Fn(usize) -> u32) -> usize {
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, _) = rest.split_once(' ').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = vec![0; 4096];
        let mut matched = 0;
        for at in (from..to).step_by(bytes.len()) {
            if memory.read_exact_at(&mut bytes, at).is_err() {
                continue;
            }
            for four in bytes.chunks_exact(4) {
                let found = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
                matched = match found == word(matched) {
                    true => matched + 1,
                    false => usize::from(found == word(0)),
                };
                if matched == n {
                    (count, matched) = (count + 1, 0);
                }
            }
            // This is not what is looked for.
            std::hint::black_box(&mut bytes).fill(0);
        }
    }
    count
}

#[test]
fn a_session_that_ended_is_not_in_memory() {
    guard();
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &Shape::wide("llama"), Format::Q8_0, 1);
    let engine = Engine::load(&path, &EngineOptions::default()).unwrap();
    let before = figures();
    let mut session = engine.session(SessionOptions::default());
    let mut ids: Vec<u32> = (0..LEN).map(id).collect();
    session.prefill(&ids, &Cancel::new(), |_, _| ()).unwrap();
    std::hint::black_box(&mut ids).fill(0);

    // The logits, turned around so that this copy is not found.
    let logits: Vec<u32> = session.logits().iter().map(|x| !x.to_bits()).collect();
    let (tokens_there, logits_there) = (|| occurrences(40, id), || occurrences(40, |i| !logits[i]));
    assert_eq!(tokens_there(), 1, "the session's");
    assert!(logits_there() >= 1, "the session's, and the engine's");
    let during = figures();
    let grown =
        |held: Held, before: Held| held.locked + held.unlocked > before.locked + before.unlocked;
    assert!(grown(during.kv, before.kv) && grown(during.tokens, before.tokens));
    assert!(during.texts.is_none(), "this program has another allocator");
    if during.limit.is_none_or(|limit| limit >= 1 << 20) {
        assert!(during.tokens.locked > 0, "{during}");
        assert!(during.kv.locked > 0, "{during}");
    }

    // A second one goes on with a part of it.
    let mut fork = session.fork();
    assert_eq!(tokens_there(), 2);
    fork.truncate(20);
    assert_eq!(tokens_there(), 1);
    session.truncate(0);
    assert_eq!((tokens_there(), logits_there()), (0, 0));
    drop((session, fork));
    assert_eq!(figures().kv, before.kv);
    assert_eq!(figures().tokens, before.tokens);
}
