//! The same bits on every architecture: the logits of small random models have the hashes written
//! here, whatever machine computes them. CI runs this on x86-64, and on emulated ARM64 CPUs.
//!
//! A change that is meant to change bits (of an operation's definition, or of a quantizer) changes the
//! hashes, and raises `hob_kernels::NUMBERS_VERSION`, so that nobody goes on with a state that was saved
//! before; the failing test prints the new ones.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shape, ids, write};
use hob::{Cancel, Engine, EngineOptions, Isa, KvElem, SessionOptions};
use hob_kernels::format::Format;

/// Architecture, format of the matrices, element type of the cache; then the hashes of the model file
/// and of the logits of all tokens.
const GOLDEN: [(&str, Format, KvElem, u64, u64); 5] = [
    (
        "llama",
        Format::Q4K,
        KvElem::F16,
        0xc7eb_f7d4_0344_19f2,
        0x7991_07d1_400c_7043,
    ),
    (
        "llama",
        Format::Mxfp4,
        KvElem::F32,
        0xdd2c_3191_3366_9095,
        0x623a_ec33_68fe_d40c,
    ),
    (
        "qwen2",
        Format::Q5_0,
        KvElem::Q8_0,
        0xfe11_5260_d225_5c0b,
        0x5e70_1a73_4241_33d8,
    ),
    (
        "qwen3",
        Format::Q6K,
        KvElem::F16,
        0x7ff1_2d97_096f_eeab,
        0x4427_aa57_be00_772e,
    ),
    (
        "gemma3",
        Format::BF16,
        KvElem::F16,
        0xdabf_3621_af1a_c40d,
        0x745a_10e7_d17d_4f32,
    ),
];

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn logits_have_the_bits_written_here_on_every_architecture() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = 0;
    for (arch, format, kv, file, expected) in GOLDEN {
        let shape = Shape {
            layers: 2,
            ..Shape::wide(arch)
        };
        let path = write(dir.path(), &shape, format, 6);
        let found = hash(std::fs::read(&path).unwrap());
        let mut check = |what: &str, found: u64, expected: u64| {
            let same = found == expected;
            wrong += usize::from(!same);
            let verdict = if same { "as ever" } else { "DIFFERENT" };
            println!(
                "{:<8} {arch:<7} {:<6} {what:<12} {found:#018x} {verdict}",
                std::env::consts::ARCH,
                format.name()
            );
        };
        check("file", found, file);
        // Decode and prefill, of few tokens and of many.
        let ids = ids(25, shape.vocab);
        for isa in Isa::available() {
            let options = EngineOptions {
                threads: Some(2),
                isa: Some(isa.name().to_owned()),
                outputs: 64,
                batch: 64,
                kv,
                ..EngineOptions::default()
            };
            let engine = Engine::load(&path, &options).unwrap();
            for chunk in [25, 1] {
                let mut session = engine.session(SessionOptions::default());
                let mut logits = Vec::new();
                let never = Cancel::new();
                session
                    .score(&ids, chunk, &never, |_, l| logits.extend_from_slice(l))
                    .unwrap();
                assert!(logits.iter().all(|l| l.is_finite()));
                let found = hash(logits.iter().flat_map(|l| l.to_le_bytes()));
                check(&format!("{isa} by {chunk}"), found, expected);
            }
        }
    }
    assert_eq!(wrong, 0, "see the hashes above");
}
