//! A profile tells what a forward pass did: its work follows from the model's shape and the batch,
//! its times add up, and keeping it changes no bit.

mod common;

use common::{ARCHS, Shape, ids, write};
use hob::{Cancel, Engine, EngineOptions, Isa, Profile, SessionOptions};
use hob_kernels::Format;

fn run(engine: &Engine, ids: &[u32]) -> Vec<u32> {
    let mut session = engine.session(SessionOptions::default());
    session.prefill(ids, &Cancel::new(), |_, _| ()).unwrap();
    session.logits().iter().map(|l| l.to_bits()).collect()
}

fn macs(p: &Profile) -> u64 {
    p.regions.iter().map(|r| r.int8_macs + r.f32_macs).sum()
}

#[test]
fn a_profile_adds_up_and_changes_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    for arch in ARCHS {
        let shape = Shape::wide(arch);
        let path = write(dir.path(), &shape, Format::Q8_0, 1);
        for threads in [1, 2] {
            let options = EngineOptions {
                threads: Some(threads),
                isa: Some(Isa::best().name().into()),
                batch: 32,
                ..Default::default()
            };
            let engine = Engine::load(&path, &options).unwrap();
            let tokens = ids(50, shape.vocab);
            assert_eq!(engine.take_profile(), None);
            let bits = run(&engine, &tokens);
            engine.set_profiling(true);
            assert_eq!(run(&engine, &tokens), bits, "{arch}");
            let seen = engine.take_profile().unwrap();

            // Two batches: 32 tokens and 18.
            assert_eq!((seen.runs, seen.tokens), (2, 50));
            assert!(seen.region_seconds() > 0.0 && seen.region_seconds() <= seen.seconds);
            for r in &seen.regions {
                assert!(r.waited <= r.seconds && r.runs <= 2, "{arch} {r:?}");
            }
            // Every position sees itself and all before it, or its window.
            let s = shape;
            let heads = u64::from(s.heads * 2 * s.head_dim);
            let attention: u64 = seen
                .regions
                .iter()
                .filter(|r| r.label.starts_with("attention"))
                .map(|r| {
                    let window = match (r.label.contains("window"), s.window) {
                        (true, Some(n)) => u64::from(n),
                        _ => u64::MAX,
                    };
                    let positions: u64 = (1..=50).map(|n: u64| n.min(window)).sum();
                    assert_eq!(r.f32_macs, positions * heads, "{arch} {}", r.label);
                    r.f32_macs
                })
                .sum();
            assert!(attention > 0);
            let kinds = seen.by_label();
            assert_eq!(macs(&kinds), macs(&seen));
            assert!((kinds.region_seconds() - seen.region_seconds()).abs() < 1e-9);
            let one = |start: &str| {
                let found = kinds.regions.iter().find(|r| r.label.starts_with(start));
                found.unwrap_or_else(|| panic!("{arch} has no {start}: {kinds:?}"))
            };
            let mlp = u64::from(s.layers * 2 * s.ffn * s.hidden) * 50;
            // The last layer's MLP may run for the last token alone.
            let gate_up = one("ffn_gate + ffn_up").int8_macs;
            assert!(gate_up <= mlp && gate_up > 0, "{arch} {gate_up} {mlp}");
            // One output: the head ran once, on one row.
            let head = one("output head");
            assert_eq!(
                (head.runs, head.int8_macs),
                (1, u64::from(s.vocab * s.hidden))
            );

            // Taken is taken; off is off.
            assert_eq!(
                engine.take_profile().map(|p| (p.runs, macs(&p))),
                Some((0, 0))
            );
            engine.set_profiling(false);
            run(&engine, &tokens);
            assert_eq!(engine.take_profile(), None);
        }
    }
}
