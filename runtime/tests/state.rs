//! A session that was saved and restored is the session that read the tokens: bit for bit, whatever
//! engine of the same model restores it, and whatever is done next. Damaged bytes are refused or harmless.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shape, ids, write};
use hob::{
    Cancel, Engine, EngineOptions, Event, Isa, KvElem, Request, Sampling, Session, SessionOptions,
    StateError, WeightsMode,
};
use hob_kernels::format::Format;
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

const ELEMS: [KvElem; 3] = [KvElem::F32, KvElem::F16, KvElem::Q8_0];

fn load(path: &Path, kv: KvElem, threads: usize, isa: Isa) -> Engine {
    let options = EngineOptions {
        threads: Some(threads),
        isa: Some(isa.name().to_owned()),
        kv,
        batch: 64,
        ..EngineOptions::default()
    };
    Engine::load(path, &options).unwrap()
}

fn read(engine: &Engine, ids: &[u32]) -> Session {
    let mut session = engine.session(SessionOptions::default());
    go_on(&mut session, ids);
    session
}

fn go_on(session: &mut Session, ids: &[u32]) {
    session.prefill(ids, &Cancel::new(), |_, _| ()).unwrap();
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, session.state_bytes());
    bytes
}

fn restored(engine: &Engine, mut bytes: &[u8]) -> Session {
    let session = engine
        .restore(&mut bytes, SessionOptions::default())
        .unwrap();
    assert!(bytes.is_empty(), "all of the state is read");
    session
}

fn bits(session: &Session) -> Vec<u32> {
    session.logits().iter().map(|x| x.to_bits()).collect()
}

/// Tokens that are chosen at random, and the logits after them.
fn generated(session: &mut Session) -> (Vec<u32>, Vec<u32>) {
    let request = Request {
        sampling: Sampling {
            temperature: 1.0,
            ..Sampling::default()
        },
        max_tokens: 12,
        ignore_end: true,
        ..Request::default()
    };
    let mut ids = Vec::new();
    let on = |event: Event<'_>| {
        if let Event::Token { id, .. } = event {
            ids.push(id);
        }
        ControlFlow::Continue(())
    };
    session.generate(&request, &Cancel::new(), on).unwrap();
    (ids, bits(session))
}

/// Both sessions go on in every way that there is, with the same bits.
#[track_caller]
fn same_from_here(a: &Session, b: &Session, what: &str) {
    assert_eq!(a.tokens(), b.tokens(), "{what}");
    assert_eq!(bits(a), bits(b), "{what}: logits");
    let (len, more) = (a.tokens().len(), ids(20, 250));
    for cut in [len, len.saturating_sub(1), len * 2 / 3, len / 2 / 16 * 16] {
        let (mut a, mut b) = (a.fork(), b.fork());
        a.truncate(cut);
        b.truncate(cut);
        if cut > 0 {
            let (mut a, mut b) = (a.fork(), b.fork());
            assert_eq!(
                generated(&mut a),
                generated(&mut b),
                "{what}: generation from {cut}"
            );
        }
        for n in [1, 20] {
            go_on(&mut a, &more[..n]);
            go_on(&mut b, &more[..n]);
            assert_eq!(bits(&a), bits(&b), "{what}: {n} more tokens after {cut}");
        }
    }
}

#[test]
fn a_restored_session_goes_on_with_the_bits_of_one_that_read_the_tokens() {
    let dir = tempfile::tempdir().unwrap();
    for (arch, kv, lengths) in [
        ("llama", KvElem::F32, &[1, 16, 255][..]),
        ("llama", KvElem::F16, &[15, 256, 513][..]),
        ("gemma3", KvElem::F16, &[47, 300][..]),
        ("qwen2", KvElem::Q8_0, &[17, 257][..]),
    ] {
        let shape = Shape {
            layers: 2,
            ..Shape::wide(arch)
        };
        let path = write(dir.path(), &shape, Format::Q4K, 3);
        let writer = load(&path, kv, 2, Isa::best());
        let scalar = load(&path, kv, 1, Isa::Scalar);
        for &n in lengths {
            let session = read(&writer, &ids(n, shape.vocab));
            let bytes = saved(&session);
            for (engine, who) in [(&writer, "itself"), (&scalar, "scalar")] {
                let what = format!("{arch} {} {n} tokens, restored by {who}", kv.name());
                let other = restored(engine, &bytes);
                if who == "scalar" {
                    // Slow, and the same code: only that the bits are there.
                    assert_eq!(bits(&other), bits(&session), "{what}");
                    let (mut a, mut b) = (session.fork(), other.fork());
                    assert_eq!(generated(&mut a), generated(&mut b), "{what}");
                } else {
                    same_from_here(&session, &other, &what);
                }
                assert_eq!(saved(&other), bytes, "{what}: saved again");
            }
        }
    }
}

/// Nothing of what was taken back is in the bytes: they are those of a session that never had it.
#[test]
fn a_state_depends_on_the_tokens_alone() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape {
        layers: 2,
        ..Shape::wide("llama")
    };
    let path = write(dir.path(), &shape, Format::Q4_0, 4);
    for kv in ELEMS {
        let engine = load(&path, kv, 2, Isa::best());
        let all = ids(400, shape.vocab);
        for n in [1, 30, 256, 283] {
            let straight = read(&engine, &all[..n]);
            let mut winding = read(&engine, &all[..n - 1]);
            let before = winding.fork();
            go_on(&mut winding, &ids(90, 77));
            winding.truncate(n - 1);
            go_on(&mut winding, &all[n - 1..n]);
            assert_eq!(saved(&winding), saved(&straight), "{} {n}", kv.name());
            // Saving did not disturb who shares the pages.
            drop(winding);
            let mut before = before;
            go_on(&mut before, &all[n - 1..n]);
            assert_eq!(bits(&before), bits(&straight));
        }
        // Without logits, as after a truncation; and with nothing at all.
        let mut cut = read(&engine, &all);
        cut.truncate(100);
        let back = restored(&engine, &saved(&cut));
        same_from_here(&cut, &back, "truncated, then saved");
        let empty = engine.session(SessionOptions::default());
        let mut back = restored(&engine, &saved(&empty));
        assert!(
            back.generate(&Request::default(), &Cancel::new(), |_| ControlFlow::Break(
                ()
            ))
            .is_err()
        );
        go_on(&mut back, &all[..5]);
        assert_eq!(bits(&back), bits(&read(&engine, &all[..5])));
    }
}

#[test]
fn a_state_is_never_taken_for_another_models() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape {
        layers: 2,
        ..Shape::wide("llama")
    };
    let path = write(dir.path(), &shape, Format::Q8_0, 5);
    let engine = load(&path, KvElem::F16, 1, Isa::best());
    let bytes = saved(&read(&engine, &ids(20, shape.vocab)));
    let refusal = |engine: &Engine| {
        engine
            .restore(&mut bytes.as_slice(), SessionOptions::default())
            .map(|_| ())
    };
    assert!(refusal(&load(&path, KvElem::F16, 3, Isa::Scalar)).is_ok());
    // Other weights of the same shape; other numbers in the plan; one bit of one weight.
    let other_weights = write(dir.path(), &shape, Format::Q8_0, 6);
    let longer = Shape {
        context: 1000,
        ..shape
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let other_plan = write(elsewhere.path(), &longer, Format::Q8_0, 5);
    let mut flipped = std::fs::read(&path).unwrap();
    let at = flipped.len() - 5000;
    flipped[at] ^= 1;
    let one_bit = elsewhere.path().join("flipped.gguf");
    std::fs::write(&one_bit, flipped).unwrap();
    for path in [&other_weights, &other_plan, &one_bit] {
        let result = refusal(&load(path, KvElem::F16, 1, Isa::best()));
        assert!(matches!(result, Err(StateError::OtherModel)), "{path:?}");
    }
    let result = refusal(&load(&path, KvElem::Q8_0, 1, Isa::best()));
    assert!(matches!(result, Err(StateError::KvType { .. })));

    // A name that the caller vouches for stands for the weights, in whatever order they lie in memory.
    let named = |name: u8, weights: WeightsMode| {
        let options = EngineOptions {
            weights,
            ..EngineOptions::default()
        };
        let engine = Engine::load(&path, &options).unwrap();
        assert!(engine.identify([name; 32]));
        assert_ne!(engine.fingerprint(), self::fingerprint(&path));
        assert!(!engine.identify([9; 32]), "too late");
        engine
    };
    let (a, b) = (named(1, WeightsMode::Auto), named(1, WeightsMode::Mapped));
    let session = read(&a, &ids(20, shape.vocab));
    same_from_here(&session, &restored(&b, &saved(&session)), "mapped");
    assert_ne!(named(2, WeightsMode::Auto).fingerprint(), a.fingerprint());
}

fn fingerprint(path: &Path) -> hob::Fingerprint {
    load(path, KvElem::F16, 1, Isa::best()).fingerprint()
}

/// An engine and the state of a session on it, of 40 tokens.
static HOSTILE: LazyLock<(Engine, Vec<u8>)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape {
        layers: 1,
        ..Shape::wide("llama")
    };
    let path = write(dir.path(), &shape, Format::F16, 7);
    let engine = load(&path, KvElem::F16, 1, Isa::best());
    let bytes = saved(&read(&engine, &ids(40, shape.vocab)));
    (engine, bytes)
});

/// Restores, and uses what was restored; says whether it was refused.
fn try_out(mut bytes: &[u8]) -> Result<(), StateError> {
    let (engine, _) = &*HOSTILE;
    let options = SessionOptions {
        context: 300,
        ..SessionOptions::default()
    };
    let mut session = engine.restore(&mut bytes, options)?;
    if !bytes.is_empty() {
        return Err(StateError::Malformed("it is longer than it says"));
    }
    // Any keys and values may be computed with; those that are no numbers are an error.
    let _ = session.prefill(&[1, 2], &Cancel::new(), |_, _| ());
    session.truncate(30);
    let _ = session.prefill(&[1, 2], &Cancel::new(), |_, _| ());
    Ok(())
}

#[test]
fn every_cut_is_an_error() {
    let (_, state) = &*HOSTILE;
    assert!(try_out(state).is_ok());
    for len in (0..300).chain((300..state.len()).step_by(97)) {
        assert!(
            matches!(try_out(&state[..len]), Err(StateError::Truncated)),
            "{len}"
        );
    }
}

#[test]
fn sizes_that_the_bytes_do_not_bear_out_are_refused() {
    let (_, state) = &*HOSTILE;
    for (at, value) in [
        (48, u64::MAX),
        (48, 301),
        (48, 1 << 62),
        (48, 41),
        (48, 300),
        (56, u64::MAX),
        (56, 1),
        (56, 330),
        (48, 0),
    ] {
        let mut state = state.clone();
        state[at..at + 8].copy_from_slice(&value.to_le_bytes());
        assert!(try_out(&state).is_err(), "{value} at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        head in any::<bool>(),
    ) {
        let (_, state) = &*HOSTILE;
        let mut damaged = state.clone();
        let span = if head { 300 } else { damaged.len() };
        for (at, bits) in &flips {
            damaged[at.index(span)] ^= bits;
        }
        let refused = try_out(&damaged).is_err();
        // What says whose state it is, and of what form, admits no change.
        prop_assert!(refused || damaged[..64] == state[..64]);
    }
}
