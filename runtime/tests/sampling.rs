//! What is drawn against the formulas: for each sampler alone, and for chains, 100,000 draws are held
//! beside the probabilities that its definition gives on a small distribution, computed here in the
//! plainest way with the platform's own functions. Pearson's chi-square statistic must stay below the
//! value that one in 1,000 true distributions exceeds, and what has no probability is never drawn.
//!
//! `cargo test --release -p hob --test sampling -- --nocapture` prints the table.
#![allow(clippy::unwrap_used)]

mod common;

use hob::{
    Cancel, Engine, EngineOptions, Event, Request, Sampler, Sampling, SessionError, SessionOptions,
    Step,
};
use std::ops::ControlFlow;

const DRAWS: u32 = 100_000;

/// Twelve tokens, in no order, two of them equal.
const LOGITS: [f32; 12] = [
    0.3, 2.1, -1.0, 1.4, 2.9, 0.3, -3.5, 1.9, 0.9, -0.4, 2.3, -7.0,
];

fn off() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        seed: 1,
        ..Sampling::default()
    }
}

/// A distribution in the plainest form: logits, minus infinity where a token is out.
type Dist = Vec<f64>;

fn start() -> Dist {
    LOGITS.iter().map(|&l| f64::from(l)).collect()
}

fn softmax(d: &Dist) -> Vec<f64> {
    let sum: f64 = d.iter().map(|l| l.exp()).sum();
    d.iter().map(|l| l.exp() / sum).collect()
}

/// Tokens by falling probability, ties by id.
fn ranked(d: &Dist) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..d.len()).collect();
    ids.sort_by(|&a, &b| d[b].total_cmp(&d[a]).then(a.cmp(&b)));
    ids
}

fn keep(d: &Dist, stays: impl Fn(usize) -> bool) -> Dist {
    (0..d.len())
        .map(|i| if stays(i) { d[i] } else { f64::NEG_INFINITY })
        .collect()
}

fn until(d: &Dist, order: &[usize], share: f64) -> Dist {
    let p = softmax(d);
    let mut sum = 0.0;
    let mut kept = Vec::new();
    for &i in order {
        kept.push(i);
        sum += p[i];
        if sum >= share {
            break;
        }
    }
    keep(d, |i| kept.contains(&i))
}

fn top_k(d: &Dist, k: usize) -> Dist {
    let best = &ranked(d)[..k];
    keep(d, |i| best.contains(&i))
}

fn top_p(d: &Dist, share: f64) -> Dist {
    until(d, &ranked(d), share)
}

fn min_p(d: &Dist, share: f64) -> Dist {
    let p = softmax(d);
    let most = p.iter().copied().fold(0.0, f64::max);
    keep(d, |i| p[i] >= share * most)
}

fn top_n_sigma(d: &Dist, n: f64) -> Dist {
    let count = d.len() as f64;
    let mean = d.iter().sum::<f64>() / count;
    let sigma = (d.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / count).sqrt();
    let max = d.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    keep(d, |i| d[i] >= max - n * sigma)
}

fn entropy(d: &Dist) -> f64 {
    let p = softmax(d);
    p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

fn typical(d: &Dist, share: f64) -> Dist {
    let (p, h) = (softmax(d), entropy(d));
    let mut order = ranked(d);
    order.sort_by(|&a, &b| (-p[a].ln() - h).abs().total_cmp(&(-p[b].ln() - h).abs()));
    until(d, &order, share)
}

fn temperature(d: &Dist, t: f64) -> Dist {
    d.iter().map(|l| l / t).collect()
}

fn dynamic(d: &Dist, middle: f64, range: f64, exponent: f64) -> Dist {
    let n = d.iter().filter(|l| l.is_finite()).count() as f64;
    let (low, high) = ((middle - range).max(0.0), middle + range);
    temperature(d, low + (high - low) * (entropy(d) / n.ln()).powf(exponent))
}

fn without_top(d: &Dist, threshold: f64) -> Dist {
    let p = softmax(d);
    let above: Vec<usize> = ranked(d)
        .into_iter()
        .filter(|&i| p[i] >= threshold)
        .collect();
    keep(d, |i| !above.contains(&i) || above.last() == Some(&i))
}

fn mixed(a: &Dist, b: &Dist, share_of_a: f64) -> Vec<f64> {
    let (a, b) = (softmax(a), softmax(b));
    (0..a.len())
        .map(|i| share_of_a * a[i] + (1.0 - share_of_a) * b[i])
        .collect()
}

/// The value that chi-square of `df` degrees of freedom exceeds with that probability, by bisection of
/// the regularized incomplete gamma function's series.
fn critical(df: usize, probability: f64) -> f64 {
    let a = df as f64 / 2.0;
    // ln gamma(a) of half-integers, from gamma(1) or gamma(1/2) up.
    let (mut log_gamma, mut x) = match df % 2 {
        0 => (0.0, 1.0),
        _ => (std::f64::consts::PI.sqrt().ln(), 0.5),
    };
    while x < a {
        log_gamma += x.ln();
        x += 1.0;
    }
    let below = |x: f64| {
        let (mut term, mut sum, mut k) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-16 {
            k += 1.0;
            term *= x / k;
            sum += term;
        }
        (a * x.ln() - x - log_gamma).exp() * sum
    };
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if 1.0 - below(middle / 2.0) > probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[test]
fn critical_values_are_those_of_tables() {
    // NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.4.
    for (df, at_5_percent, at_0_1_percent) in [
        (1, 3.841, 10.828),
        (5, 11.070, 20.515),
        (11, 19.675, 31.264),
        (100, 124.342, 149.449),
    ] {
        assert!((critical(df, 0.05) - at_5_percent).abs() < 1e-3);
        assert!((critical(df, 0.001) - at_0_1_percent).abs() < 1e-3);
    }
}

/// Statistic and degrees of freedom; infinite if something impossible was drawn. Tokens that are
/// expected less than 5 times count as one.
fn chi_square(counts: &[u32], p: &[f64]) -> (f64, usize) {
    let n: u32 = counts.iter().sum();
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut rare = (0.0, 0.0);
    for (&count, &p) in counts.iter().zip(p) {
        let expected = p * f64::from(n);
        if expected == 0.0 && count > 0 {
            return (f64::INFINITY, 1);
        }
        match expected {
            e if e >= 5.0 => cells.push((f64::from(count), e)),
            e => rare = (rare.0 + f64::from(count), rare.1 + e),
        }
    }
    if rare.1 >= 5.0 {
        cells.push(rare);
    }
    let statistic = cells.iter().map(|(o, e)| (o - e).powi(2) / e).sum();
    (statistic, cells.len().saturating_sub(1))
}

fn counts(options: &Sampling, past: &[u32]) -> Vec<u32> {
    let mut sampler = Sampler::new(options).unwrap();
    let mut counts = vec![0; LOGITS.len()];
    for _ in 0..DRAWS {
        counts[sampler.sample(&LOGITS, past, None).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn draws_follow_the_formulas() {
    let d = start();
    // Ends with 4 7 1, which was followed by 10 once, and its end 1 by 3.
    let past = [4, 7, 1, 10, 1, 3, 0, 0, 4, 7, 1];
    let penalized = |change: &dyn Fn(usize, f64) -> f64| -> Dist {
        d.iter().enumerate().map(|(i, &l)| change(i, l)).collect()
    };
    let count = |i: usize| past.iter().filter(|&&t| t as usize == i).count() as f64;
    let xtc = |threshold: f32, probability: f32| Sampling {
        xtc_threshold: threshold,
        xtc_probability: probability,
        ..off()
    };
    let t = |x: f32| f64::from(x);
    let cases: Vec<(&str, Sampling, Vec<f64>)> = vec![
        ("none", off(), softmax(&d)),
        (
            "temperature 0.5",
            Sampling {
                temperature: 0.5,
                ..off()
            },
            softmax(&temperature(&d, 0.5)),
        ),
        (
            "temperature 2.5",
            Sampling {
                temperature: 2.5,
                ..off()
            },
            softmax(&temperature(&d, 2.5)),
        ),
        (
            "top_k 5",
            Sampling { top_k: 5, ..off() },
            softmax(&top_k(&d, 5)),
        ),
        (
            "top_p 0.8",
            Sampling {
                top_p: 0.8,
                ..off()
            },
            softmax(&top_p(&d, t(0.8))),
        ),
        (
            "min_p 0.15",
            Sampling {
                min_p: 0.15,
                ..off()
            },
            softmax(&min_p(&d, t(0.15))),
        ),
        (
            "typical_p 0.5",
            Sampling {
                typical_p: 0.5,
                ..off()
            },
            softmax(&typical(&d, 0.5)),
        ),
        (
            "top_n_sigma 0.7",
            Sampling {
                top_n_sigma: 0.7,
                ..off()
            },
            softmax(&top_n_sigma(&d, t(0.7))),
        ),
        (
            "xtc 1.0 at 0.1",
            xtc(0.1, 1.0),
            softmax(&without_top(&d, t(0.1))),
        ),
        (
            "xtc 0.3 at 0.1",
            xtc(0.1, 0.3),
            mixed(&without_top(&d, t(0.1)), &d, t(0.3)),
        ),
        ("xtc off above 0.5", xtc(0.51, 1.0), softmax(&d)),
        (
            "dynatemp 1 +- 0.8",
            Sampling {
                dynatemp_range: 0.8,
                ..off()
            },
            softmax(&dynamic(&d, 1.0, t(0.8), 1.0)),
        ),
        (
            "dynatemp 1 +- 2 ^ 3",
            Sampling {
                dynatemp_range: 2.0,
                dynatemp_exponent: 3.0,
                ..off()
            },
            softmax(&dynamic(&d, 1.0, 2.0, 3.0)),
        ),
        (
            // Without correction it is a fixed threshold: -log2 p <= 2 tau.
            "mirostat tau 1.5 eta 0",
            Sampling {
                mirostat: true,
                mirostat_tau: 1.5,
                mirostat_eta: 0.0,
                ..off()
            },
            softmax(&keep(&d, |i| -softmax(&d)[i].log2() <= 3.0)),
        ),
        (
            "mirostat at temperature 2",
            Sampling {
                mirostat: true,
                mirostat_eta: 0.0,
                mirostat_tau: 1.7,
                temperature: 2.0,
                top_k: 2,
                ..off()
            },
            softmax(&keep(&temperature(&d, 2.0), |i| {
                -softmax(&temperature(&d, 2.0))[i].log2() <= 2.0 * t(1.7)
            })),
        ),
        (
            "logit_bias",
            Sampling {
                logit_bias: vec![(4, f32::NEG_INFINITY), (11, 9.5), (0, -1.0)],
                ..off()
            },
            softmax(&penalized(&|i, l| match i {
                4 => f64::NEG_INFINITY,
                11 => l + 9.5,
                0 => l - 1.0,
                _ => l,
            })),
        ),
        (
            "repetition_penalty 1.5",
            Sampling {
                repetition_penalty: 1.5,
                ..off()
            },
            softmax(&penalized(&|i, l| match (count(i) > 0.0, l > 0.0) {
                (false, _) => l,
                (true, true) => l / 1.5,
                (true, false) => l * 1.5,
            })),
        ),
        (
            "frequency_penalty 0.6",
            Sampling {
                frequency_penalty: 0.6,
                ..off()
            },
            softmax(&penalized(&|i, l| l - count(i) * t(0.6))),
        ),
        (
            "presence_penalty 1.1",
            Sampling {
                presence_penalty: 1.1,
                ..off()
            },
            softmax(&penalized(&|i, l| {
                if count(i) > 0.0 { l - t(1.1) } else { l }
            })),
        ),
        (
            "penalty_window 2",
            Sampling {
                presence_penalty: 1.1,
                penalty_window: 2,
                ..off()
            },
            softmax(&penalized(&|i, l| {
                if i == 7 || i == 1 { l - t(1.1) } else { l }
            })),
        ),
        (
            "dry 0.8 * 1.75^(n - 2)",
            Sampling {
                dry_multiplier: 0.8,
                ..off()
            },
            softmax(&penalized(&|i, l| {
                if i == 10 { l - t(0.8) * 1.75 } else { l }
            })),
        ),
        (
            "dry allowing 1",
            Sampling {
                dry_multiplier: 0.5,
                dry_base: 2.0,
                dry_allowed_length: 1,
                ..off()
            },
            softmax(&penalized(&|i, l| match i {
                10 => l - 0.5 * 4.0,
                3 => l - 0.5,
                _ => l,
            })),
        ),
        (
            "top_k, top_p, temperature",
            Sampling {
                top_k: 8,
                top_p: 0.9,
                temperature: 1.7,
                ..off()
            },
            softmax(&temperature(&top_p(&top_k(&d, 8), t(0.9)), t(1.7))),
        ),
        (
            "temperature, top_k, top_p",
            Sampling {
                top_k: 8,
                top_p: 0.9,
                temperature: 1.7,
                order: vec![Step::Temperature, Step::TopK, Step::TopP],
                ..off()
            },
            softmax(&top_p(&top_k(&temperature(&d, t(1.7)), 8), t(0.9))),
        ),
        (
            "all but mirostat",
            Sampling {
                presence_penalty: 0.5,
                top_k: 10,
                typical_p: 0.95,
                top_p: 0.97,
                min_p: 0.05,
                top_n_sigma: 1.2,
                xtc_probability: 0.4,
                xtc_threshold: 0.2,
                temperature: 1.3,
                dynatemp_range: 0.4,
                ..off()
            },
            {
                let d = penalized(&|i, l| if count(i) > 0.0 { l - 0.5 } else { l });
                let sigma = top_n_sigma(&d, t(1.2));
                let cut = min_p(&top_p(&typical(&top_k(&d, 10), t(0.95)), t(0.97)), t(0.05));
                let cut = keep(&cut, |i| sigma[i].is_finite());
                let end = |d: &Dist| dynamic(d, t(1.3), t(0.4), 1.0);
                mixed(&end(&without_top(&cut, t(0.2))), &end(&cut), t(0.4))
            },
        ),
    ];
    println!(
        "{:<28}{:>9}{:>12}{:>10}{:>4}",
        "sampler", "draws", "chi-square", "critical", "df"
    );
    let mut wrong = Vec::new();
    for (name, options, expected) in &cases {
        assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let (statistic, df) = chi_square(&counts(options, &past), expected);
        assert!(df > 0, "{name} leaves one token");
        let limit = critical(df, 0.001);
        println!("{name:<28}{DRAWS:>9}{statistic:>12.2}{limit:>10.2}{df:>4}");
        if statistic > limit {
            wrong.push(name);
        }
    }
    println!(
        "{}/{} below the critical value (p = 0.001)",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The test above would see a wrong temperature, a token too many, and a biased draw.
#[test]
fn chi_square_sees_small_differences() {
    let d = start();
    let limit = |df| critical(df, 0.001);
    for (options, wrong) in [
        (
            Sampling {
                temperature: 1.03,
                ..off()
            },
            softmax(&d),
        ),
        (Sampling { top_k: 6, ..off() }, softmax(&top_k(&d, 5))),
        (Sampling { top_k: 5, ..off() }, softmax(&top_k(&d, 6))),
        (
            Sampling {
                top_p: 0.8,
                ..off()
            },
            softmax(&top_p(&d, 0.9)),
        ),
    ] {
        let (statistic, df) = chi_square(&counts(&options, &[]), &wrong);
        assert!(statistic > limit(df), "{options:?}: {statistic}");
    }
}

/// Mirostat's point: whatever the distribution, the mean surprise comes to what was asked for.
#[test]
fn mirostat_keeps_the_mean_surprise() {
    // Zipf's law over 2,000 tokens; the aims lie between the most probable token's surprise and the
    // mean of plain draws.
    for (s, aims) in [(1.0f64, [3.5f32, 5.0, 6.5]), (1.5, [2.0, 3.0, 4.0])] {
        let logits: Vec<f32> = (1..=2000)
            .map(|k| -(s * f64::from(k).ln()) as f32)
            .collect();
        let p = softmax(&logits.iter().map(|&l| l.into()).collect());
        for tau in aims {
            let options = Sampling {
                mirostat: true,
                mirostat_tau: tau,
                ..off()
            };
            let mut sampler = Sampler::new(&options).unwrap();
            let n = 20_000;
            let sum: f64 = (0..n)
                .map(|_| -p[sampler.sample(&logits, &[], None).unwrap() as usize].log2())
                .sum();
            let mean = sum / f64::from(n);
            println!("mirostat, Zipf {s}: mean surprise {mean:.3} bits of {tau}");
            assert!((mean - f64::from(tau)).abs() < 0.02, "{mean} {tau}");
        }
    }
}

/// A session's penalties see its prompt and its answer, and [`hob::Session::sample`] chooses as
/// generation does.
#[test]
fn a_session_gives_its_tokens_to_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let shape = common::Shape::wide("llama");
    let path = common::write(dir.path(), &shape, hob_kernels::format::Format::Q8_0, 3);
    let engine = Engine::load(path, &EngineOptions::default()).unwrap();
    let prompt: Vec<u32> = (0..40).map(|i| i * 7 % 100).collect();
    let never = Cancel::new();
    let answer = |sampling: &Sampling| {
        let mut session = engine.session(SessionOptions::default());
        session.prefill(&prompt, &never, |_, _| ()).unwrap();
        let mut by_hand = session.fork();
        let mut generated = Vec::new();
        let request = Request {
            sampling: sampling.clone(),
            max_tokens: 60,
            ..Request::default()
        };
        session
            .generate(&request, &never, |event| {
                if let Event::Token { id, .. } = event {
                    generated.push(id);
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        let mut sampler = Sampler::new(sampling).unwrap();
        for &id in &generated {
            assert_eq!(by_hand.sample(&mut sampler).unwrap(), id);
            by_hand.prefill(&[id], &never, |_, _| ()).unwrap();
        }
        generated
    };
    // A penalty that nothing outweighs: each token once, and none of the prompt's.
    let once = Sampling {
        presence_penalty: 1e6,
        penalty_window: usize::MAX,
        ..off()
    };
    let mut seen: Vec<u32> = answer(&once);
    seen.extend(&prompt);
    seen.sort_unstable();
    let n = seen.len();
    seen.dedup();
    assert_eq!((n, seen.len()), (100, 100));
    // Without any, tokens recur.
    let mut free = answer(&off());
    free.sort_unstable();
    free.dedup();
    assert!(free.len() < 60);

    let mut session = engine.session(SessionOptions::default());
    let request = Request {
        sampling: Sampling {
            top_p: 2.0,
            ..off()
        },
        ..Request::default()
    };
    let refused = session.generate(&request, &never, |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(SessionError::Sampling(_))));
    let sampled = session.sample(&mut Sampler::new(&off()).unwrap());
    assert!(matches!(sampled, Err(SessionError::Empty)));
}

/// The same model file with more metadata.
fn with_metadata(path: &std::path::Path, more: &[(&str, hob_models::gguf::Owned)]) -> Vec<u8> {
    use hob_models::gguf::{Gguf, GgufWriter, Owned, TensorType};
    let bytes: hob_models::mapping::Bytes = std::fs::read(path).unwrap().into();
    let gguf = Gguf::parse(&bytes).unwrap();
    let mut writer = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        writer.metadata(key, Owned::from(value)).unwrap();
    }
    for (key, value) in more {
        writer.metadata(key, value.clone()).unwrap();
    }
    for tensor in gguf.tensors() {
        let TensorType::Run(format) = tensor.kind else {
            panic!("{:?}", tensor.kind);
        };
        let dims = &tensor.dims[..tensor.n_dims as usize];
        writer.tensor(tensor.name, format, dims).unwrap();
    }
    let mut data = writer.begin(Vec::new()).unwrap();
    for tensor in gguf.tensors() {
        let range = tensor.data.start as usize..tensor.data.end as usize;
        data.tensor(&bytes[range]).unwrap();
    }
    data.finish().unwrap().0
}

/// What a model's makers wrote into its file reaches the engine, also from a packed file.
#[test]
fn a_models_own_settings_are_the_engines_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let shape = common::Shape::wide("qwen3");
    let plain = common::write(dir.path(), &shape, hob_kernels::format::Format::Q8_0, 4);
    let options = EngineOptions::default();
    let engine = Engine::load(&plain, &options).unwrap();
    assert_eq!(engine.sampling_defaults(), &Sampling::default());

    let key = |k: &'static str| format!("general.sampling.{k}");
    let keys = [key("temp"), key("top_k"), key("min_p")];
    let more = [
        (keys[0].as_str(), 0.6f32.into()),
        (keys[1].as_str(), 20i32.into()),
        (keys[2].as_str(), 1.5f32.into()),
    ];
    let path = dir.path().join("told.gguf");
    std::fs::write(&path, with_metadata(&plain, &more)).unwrap();
    let expected = Sampling {
        temperature: 0.6,
        top_k: 20,
        ..Sampling::default()
    };
    let cached = EngineOptions {
        weights: hob::WeightsMode::Cached(dir.path().join("cache")),
        ..EngineOptions::default()
    };
    for options in [&options, &cached, &cached] {
        let engine = Engine::load(&path, options).unwrap();
        assert_eq!(engine.sampling_defaults(), &expected);
        // There is no such probability; it is left out, and told.
        let refusals: Vec<String> = engine
            .sampling_refusals()
            .iter()
            .map(|r| r.to_string())
            .collect();
        assert_eq!(refusals.len(), 1);
        assert!(
            refusals[0].contains("min_p") && refusals[0].contains("1.5"),
            "{refusals:?}"
        );
    }
}
