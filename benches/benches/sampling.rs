//! Criterion benches of the samplers on 262,144 logits: `cargo bench -p hob-bench --bench sampling`.
//! `peaked` falls off as a model's distribution does (Zipf's law with noise); `flat` is the worst case,
//! in which most tokens stay. `tokens so far` are 8,192.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hob::{Sampler, Sampling, Step};
use std::hint::black_box;

const VOCAB: usize = 262_144;

/// Fixed numbers in [0, 1).
fn noise(mut x: u32) -> impl FnMut() -> f32 {
    move || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as f32 / (1 << 24) as f32
    }
}

fn peaked() -> Vec<f32> {
    let mut next = noise(7);
    let mut ranks: Vec<u32> = (1..=VOCAB as u32).collect();
    for i in (1..VOCAB).rev() {
        ranks.swap(i, (next() * (i + 1) as f32) as usize % (i + 1));
    }
    ranks
        .iter()
        .map(|&r| 20.0 - 1.2 * (r as f32).ln() + next())
        .collect()
}

fn flat() -> Vec<f32> {
    let mut next = noise(9);
    (0..VOCAB).map(|_| next() * 0.5).collect()
}

fn samplers(c: &mut Criterion) {
    let off = || Sampling {
        temperature: 0.8,
        top_k: 0,
        top_p: 1.0,
        ..Sampling::default()
    };
    let cases: Vec<(&str, Sampling)> = vec![
        ("greedy", Sampling::greedy()),
        ("default", Sampling::default()),
        (
            "temperature first",
            Sampling {
                order: vec![Step::Temperature, Step::TopK, Step::TopP],
                ..Sampling::default()
            },
        ),
        ("temperature", off()),
        ("top_k 40", Sampling { top_k: 40, ..off() }),
        (
            "top_p 0.95",
            Sampling {
                top_p: 0.95,
                ..off()
            },
        ),
        (
            "min_p 0.05",
            Sampling {
                min_p: 0.05,
                ..off()
            },
        ),
        (
            "typical_p 0.9",
            Sampling {
                typical_p: 0.9,
                ..off()
            },
        ),
        (
            "top_n_sigma 1",
            Sampling {
                top_n_sigma: 1.0,
                ..off()
            },
        ),
        (
            "xtc",
            Sampling {
                xtc_probability: 1.0,
                ..off()
            },
        ),
        (
            "dynatemp",
            Sampling {
                dynatemp_range: 0.5,
                ..off()
            },
        ),
        (
            "mirostat",
            Sampling {
                mirostat: true,
                ..off()
            },
        ),
        (
            "penalties of 64",
            Sampling {
                repetition_penalty: 1.1,
                ..Sampling::greedy()
            },
        ),
        (
            "penalties of all",
            Sampling {
                repetition_penalty: 1.1,
                penalty_window: usize::MAX,
                ..Sampling::greedy()
            },
        ),
        (
            "dry",
            Sampling {
                dry_multiplier: 0.8,
                ..Sampling::greedy()
            },
        ),
        (
            "logit_bias",
            Sampling {
                logit_bias: vec![(5, 1.0)],
                ..Sampling::greedy()
            },
        ),
    ];
    let mut next = noise(3);
    let past: Vec<u32> = (0..8192).map(|_| (next() * 500.0) as u32).collect();
    for (shape, logits) in [("peaked", peaked()), ("flat", flat())] {
        let mut group = c.benchmark_group(shape);
        group.sample_size(20);
        for (name, options) in &cases {
            let mut sampler = Sampler::new(options).expect("valid options");
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| sampler.sample(black_box(&logits), &past, None));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, samplers);
criterion_main!(benches);
