//! The contract of numbers, end to end: whatever the threads, the instruction set, the chunks of
//! prefill, the order of the weights or the company in a batch, the logits have the same bits.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ARCHS, Shape, ids, write};
use hob::{Cancel, Engine, EngineOptions, Isa, KvElem, SessionOptions, WeightsMode};
use hob_kernels::format::Format;
use std::path::Path;

fn options(threads: usize, isa: Isa) -> EngineOptions {
    EngineOptions {
        threads: Some(threads),
        isa: Some(isa.name().to_owned()),
        outputs: 64,
        batch: 64,
        ..EngineOptions::default()
    }
}

/// Bits of all logits `[tokens, vocab]`, read in chunks.
fn all_logits(path: &Path, options: &EngineOptions, ids: &[u32], chunk: usize) -> Vec<u32> {
    let engine = Engine::load(path, options).unwrap();
    let mut session = engine.session(SessionOptions::default());
    let mut bits = Vec::new();
    session
        .score(ids, chunk, &Cancel::new(), |_, l| {
            bits.extend(l.iter().map(|x| x.to_bits()))
        })
        .unwrap();
    assert_eq!(
        bits.len(),
        ids.len() * engine.model().hparams.vocab as usize
    );
    bits
}

/// Where two runs first differ, as (token, logit).
fn first_difference(a: &[u32], b: &[u32], vocab: usize) -> Option<(usize, usize)> {
    a.iter()
        .zip(b)
        .position(|(x, y)| x != y)
        .map(|i| (i / vocab, i % vocab))
}

#[track_caller]
fn same(a: &[u32], b: &[u32], vocab: u32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    if let Some((token, logit)) = first_difference(a, b, vocab as usize) {
        panic!("{what}: token {token}, logit {logit} differs");
    }
}

/// Formats that between them use every activation form and both block lengths.
const FORMATS: [Format; 5] = [
    Format::F32,
    Format::F16,
    Format::Q4_1,
    Format::Q4K,
    Format::Q6K,
];

#[test]
fn threads_chunks_and_instruction_sets_do_not_change_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    for arch in ARCHS {
        for format in FORMATS {
            let shape = Shape::wide(arch);
            let path = write(dir.path(), &shape, format, 1);
            let ids = ids(40, shape.vocab);
            let base = all_logits(&path, &options(1, Isa::Scalar), &ids, 64);
            for isa in Isa::available() {
                for (threads, chunk) in [(1, 64), (2, 7), (3, 64), (3, 1)] {
                    let got = all_logits(&path, &options(threads, isa), &ids, chunk);
                    let what = format!(
                        "{arch} {} {} threads {threads} chunk {chunk}",
                        format.name(),
                        isa.name()
                    );
                    same(&base, &got, shape.vocab, &what);
                }
            }
        }
    }
    print_kernels();
}

/// Over several attention spans, where decode splits the spans among workers.
#[test]
fn long_sequences_decode_as_they_prefill() {
    let dir = tempfile::tempdir().unwrap();
    for arch in ["llama", "gemma3"] {
        let shape = Shape {
            layers: 2,
            ..Shape::wide(arch)
        };
        let path = write(dir.path(), &shape, Format::Q4_0, 2);
        let ids = ids(600, shape.vocab);
        for kv in [KvElem::F32, KvElem::F16, KvElem::Q8_0] {
            let with = |threads| EngineOptions {
                kv,
                ..options(threads, Isa::best())
            };
            let base = all_logits(&path, &with(1), &ids, 64);
            for (threads, chunk) in [(2, 64), (2, 1), (3, 1), (2, 4), (3, 5)] {
                let got = all_logits(&path, &with(threads), &ids, chunk);
                same(
                    &base,
                    &got,
                    shape.vocab,
                    &format!("{arch} {kv:?} threads {threads} chunk {chunk}"),
                );
            }
        }
    }
}

#[test]
fn packed_cached_and_mapped_weights_give_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let shape = Shape {
            layers: 1,
            ..Shape::wide("qwen3")
        };
        let path = write(dir.path(), &shape, format, 3);
        let ids = ids(20, shape.vocab);
        let with = |weights| EngineOptions {
            weights,
            ..options(2, Isa::best())
        };
        let base = all_logits(&path, &with(WeightsMode::Auto), &ids, 8);
        let cached = WeightsMode::Cached(cache.path().to_owned());
        for (mode, what) in [
            (WeightsMode::Mapped, "mapped"),
            (cached.clone(), "packed into the cache"),
            (cached, "mapped from the cache"),
        ] {
            let got = all_logits(&path, &with(mode), &ids, 8);
            same(
                &base,
                &got,
                shape.vocab,
                &format!("{} {what}", format.name()),
            );
        }
    }
}

/// Sessions that share an engine, or a past, do not see each other.
#[test]
fn forks_and_neighbours_do_not_change_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::wide("llama");
    let path = write(dir.path(), &shape, Format::Q8_0, 4);
    let engine = Engine::load(&path, &options(2, Isa::best())).unwrap();
    let never = Cancel::new();
    let (common, a, b) = (ids(300, shape.vocab), ids(9, 100), ids(11, 200));
    let alone = |tail: &[u32]| {
        let mut s = engine.session(SessionOptions::default());
        s.prefill(&common, &never, |_, _| ()).unwrap();
        s.prefill(tail, &never, |_, _| ()).unwrap();
        bits(&s)
    };
    let mut first = engine.session(SessionOptions::default());
    first.prefill(&common, &never, |_, _| ()).unwrap();
    let mut second = first.fork();
    second.prefill(&b, &never, |_, _| ()).unwrap();
    first.prefill(&a, &never, |_, _| ()).unwrap();
    assert_eq!(bits(&first), alone(&a));
    assert_eq!(bits(&second), alone(&b));
    // Going back and on again is as if nothing had been there.
    first.truncate(common.len());
    first.prefill(&b, &never, |_, _| ()).unwrap();
    assert_eq!(bits(&first), alone(&b));
}

/// A conversation, turn by turn, has the bits of one prefill of all of it: with answers generated in
/// between, after going back, and when an early part was changed.
#[test]
fn a_resumed_session_is_as_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let never = Cancel::new();
    for arch in ["llama", "gemma3"] {
        let shape = Shape {
            layers: 2,
            ..Shape::wide(arch)
        };
        let path = write(dir.path(), &shape, Format::Q4_0, 6);
        let engine = Engine::load(&path, &options(2, Isa::best())).unwrap();
        let fresh = |ids: &[u32]| {
            let mut s = engine.session(SessionOptions::default());
            s.prefill(ids, &never, |_, _| ()).unwrap();
            bits(&s)
        };
        let mut chat = engine.session(SessionOptions::default());
        let mut turns: Vec<u32> = Vec::new();
        for turn in 0..4 {
            turns.extend(ids(90 + turn * 7, 300 - turn as u32));
            let before = chat.tokens().len();
            let kept = chat.resume(&turns, &never, |_, _| ()).unwrap();
            assert_eq!(kept, before, "{arch}: the history is not read again");
            assert_eq!(bits(&chat), fresh(&turns), "{arch} turn {turn}");
            let request = hob::Request {
                max_tokens: 20,
                ignore_end: true,
                ..Default::default()
            };
            chat.generate(&request, &never, |_| std::ops::ControlFlow::Continue(()))
                .unwrap();
            turns = chat.tokens().to_vec();
            assert_eq!(bits(&chat), fresh(&turns), "{arch} after answer {turn}");
        }
        // Another question in place of an earlier one; and then all of it again.
        let mut other = turns.clone();
        other.truncate(200);
        other.extend(ids(50, 77));
        assert_eq!(chat.resume(&other, &never, |_, _| ()).unwrap(), 200);
        assert_eq!(bits(&chat), fresh(&other), "{arch}");
        assert_eq!(chat.resume(&turns, &never, |_, _| ()).unwrap(), 200);
        assert_eq!(bits(&chat), fresh(&turns), "{arch}");
        // Nothing new to read: the last token is read again by what follows.
        chat.resume(&turns[..150], &never, |_, _| ()).unwrap();
        assert_eq!(chat.tokens(), &turns[..150]);
        // What does not fit changes nothing.
        let tight = SessionOptions {
            context: 160,
            ..SessionOptions::default()
        };
        chat.set_options(tight);
        assert!(chat.resume(&turns, &never, |_, _| ()).is_err());
        assert_eq!(chat.tokens(), &turns[..150]);
    }
}

/// Several sequences in one batch, against each alone; twice, so that decode is ragged too.
#[test]
fn a_batch_of_sessions_gives_each_its_own_bits() {
    let dir = tempfile::tempdir().unwrap();
    let never = Cancel::new();
    for arch in ["llama", "gemma3"] {
        let shape = Shape {
            layers: 2,
            ..Shape::wide(arch)
        };
        let path = write(dir.path(), &shape, Format::Q4K, 5);
        let engine = Engine::load(&path, &options(3, Isa::best())).unwrap();
        let texts = [ids(40, 300), ids(1, 50), ids(17, 250)];
        let mut sessions: Vec<_> = texts
            .iter()
            .map(|_| engine.session(SessionOptions::default()))
            .collect();
        let mut alone: Vec<_> = texts
            .iter()
            .map(|_| engine.session(SessionOptions::default()))
            .collect();
        for round in [texts.clone(), [vec![5], vec![6], vec![7]]] {
            let mut parts: Vec<(&mut hob::Session, &[u32])> = sessions
                .iter_mut()
                .zip(&round)
                .map(|(s, t)| (s, t.as_slice()))
                .collect();
            engine.advance(&mut parts, &never).unwrap();
            for ((batched, alone), t) in sessions.iter().zip(&mut alone).zip(&round) {
                alone.prefill(t, &never, |_, _| ()).unwrap();
                assert_eq!(bits(batched), bits(alone), "{arch}");
            }
        }
    }
}

fn bits(s: &hob::Session) -> Vec<u32> {
    s.logits().iter().map(|x| x.to_bits()).collect()
}

fn print_kernels() {
    println!("kernels that ran in this process:");
    for run in hob_kernels::counters::snapshot() {
        let format = run.format.map_or("-", Format::name);
        println!(
            "  {:<24} {:<8} {:<8} {:>10}",
            run.kernel,
            format,
            run.isa.name(),
            run.runs
        );
    }
}
