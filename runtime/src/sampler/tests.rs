//! Every step against the set that sorting everything gives, the chain against the plainest way to
//! compute it, and that nothing panics.

use super::*;
use crate::scan::by_rank;
use hob_kernels::mass::masses;
use proptest::prelude::*;

const NO_PAST: Past<'static> = Past {
    tokens: &[],
    piece: &|_| None,
};

fn off() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        ..Sampling::default()
    }
}

/// Logits of many kinds: few levels (ties), smooth, infinite, one.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let level = (-8i8..8).prop_map(|l| f32::from(l) / 2.0);
    let special = prop_oneof![
        Just(f32::NEG_INFINITY),
        Just(f32::INFINITY),
        Just(-0.0),
        Just(1e38),
        Just(-1e38)
    ];
    prop_oneof![
        prop::collection::vec(level.clone(), 1..50),
        prop::collection::vec(-20.0f32..20.0, 1..700),
        prop::collection::vec(prop_oneof![4 => level, 1 => special], 1..50),
        // As many as take several looks: peaked, and flat.
        (
            any::<u32>(),
            prop_oneof![Just(30.0f32), Just(1.0), Just(0.01)]
        )
            .prop_map(|(seed, spread)| noise(9000, spread, seed)),
    ]
}

fn noise(n: usize, spread: f32, seed: u32) -> Vec<f32> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as f32 / u32::MAX as f32 - 0.5
    };
    (0..n).map(|_| next() * spread).collect()
}

/// Tokens with their masses, by falling key; then those that a sum of `share` takes.
fn sorted_until(
    set: &[(f32, u32)],
    masses: &[u64],
    share: f64,
    key: impl Fn(f32) -> f32,
) -> Vec<u32> {
    let total: u64 = masses.iter().sum();
    let mut items: Vec<_> = set
        .iter()
        .zip(masses)
        .map(|(&(l, id), &m)| ((key(l), id), m))
        .collect();
    items.sort_by(|a, b| by_rank(&a.0, &b.0));
    let wanted = (total as f64 * share).ceil() as u64;
    let mut sum = 0;
    let mut kept = Vec::new();
    for ((_, id), m) in items {
        kept.push(id);
        sum += m;
        if sum >= wanted {
            break;
        }
    }
    kept
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// On the whole vocabulary, and on what top-k left of it.
    #[test]
    fn steps_keep_what_sorting_everything_keeps(
        logits in logits(),
        first in prop_oneof![Just(0usize), 1usize..8000],
        k in 0usize..60,
        share in prop_oneof![Just(0.0), Just(0.5), 0.0f64..1.0, Just(0.999)],
        temperature in prop_oneof![Just(1.0), 0.05f64..3.0],
        sigma in 0.0f64..3.0,
    ) {
        prop_assume!(scan::max(&logits) > f32::NEG_INFINITY);
        let isa = Isa::best();
        let mut buffers = Buffers::default();
        let mut set: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        set.sort_by(by_rank);
        if first > 0 {
            set.truncate(first);
        }
        let by_id = |mut set: Vec<(f32, u32)>| {
            set.sort_by_key(|e| e.1);
            set
        };
        let set = by_id(set);
        let top = set.iter().map(|e| e.0).fold(f32::NEG_INFINITY, f32::max);
        let values: Vec<f32> = set.iter().map(|e| e.0).collect();
        let mut weights = vec![0; set.len()];
        let mut after = |step: &mut dyn FnMut(&mut Pool<'_>)| {
            let mut pool = Pool::new(isa, &logits, &mut buffers);
            pool.top_k(first);
            step(&mut pool);
            pool.ids()
        };
        let unit = Pool::new(isa, &logits, &mut Buffers::default()).unit() as f64;
        masses(isa, &values, top, temperature, unit, &mut weights);

        // top-k
        let mut expected = set.clone();
        expected.sort_by(by_rank);
        if k > 0 {
            expected.truncate(k);
        }
        let expected: Vec<u32> = by_id(expected).iter().map(|e| e.1).collect();
        prop_assert_eq!(after(&mut |p| p.top_k(k)), expected);

        // top-p: also in the order of probability
        let expected = sorted_until(&set, &weights, share, |l| l);
        let found = after(&mut |p| p.top_p(share, temperature));
        if expected.len() <= 4096 {
            prop_assert_eq!(&found, &expected);
        }
        prop_assert_eq!(sorted(found), sorted(expected));

        // min-p: p_i >= share * max p, up to the rounding of the formula's two sides
        let least = share.max(1e-6);
        let found = after(&mut |p| p.min_p(least, temperature));
        for &(l, id) in &set {
            let ratio = if l == top { 1.0 } else { ((f64::from(l) - f64::from(top)) / temperature).exp() };
            if (ratio - least).abs() > 1e-9 * least {
                prop_assert_eq!(found.contains(&id), ratio > least, "{} {}", ratio, least);
            }
        }

        // top-n-sigma: the deviation is of all finite logits
        let finite: Vec<f64> = logits.iter().filter(|l| l.is_finite()).map(|&l| l.into()).collect();
        let n = finite.len().max(1) as f64;
        let mean = finite.iter().sum::<f64>() / n;
        let deviation = (finite.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n).sqrt();
        let found = after(&mut |p| p.top_n_sigma(sigma));
        for &(l, id) in &set {
            let room = f64::from(l) - (f64::from(top) - sigma * deviation);
            if room.abs() > 1e-9 * deviation.max(1.0) || l == top {
                prop_assert_eq!(found.contains(&id), room >= 0.0 || l == top);
            }
        }

        // typical: |-ln p - H|, in the formula's own terms
        let total: f64 = weights.iter().map(|&m| m as f64).sum();
        let surprise = |l: f32| {
            let below = if l == top { 0.0 } else { f64::from(l) - f64::from(top) };
            (total / unit).ln() - below / temperature
        };
        let entropy: f64 = set.iter().zip(&weights).filter(|(_, m)| **m > 0)
            .map(|(e, &m)| m as f64 / total * surprise(e.0)).sum();
        let mut pool_entropy = 0.0;
        let found = after(&mut |p| {
            pool_entropy = p.entropy(temperature).0;
            p.typical(share, temperature);
        });
        prop_assert!((pool_entropy - entropy).abs() < 1e-9 * (1.0 + entropy), "{pool_entropy} {entropy}");
        // (with the entropy as found: its last bits may order two tokens the other way round)
        let key = |l: f32| {
            let below = if l == top { 0.0 } else { f64::from(l) - f64::from(top) };
            let surprise = ln(total / unit) - below / temperature;
            -(surprise - pool_entropy).abs() as f32
        };
        let expected = sorted_until(&set, &weights, share, key);
        prop_assert_eq!(sorted(found), sorted(expected));

        // XTC
        let total: u64 = weights.iter().sum();
        let mut above: Vec<_> = set.iter().zip(&weights)
            .filter(|(_, m)| **m > 0 && **m as f64 >= total as f64 * share).map(|(e, _)| *e).collect();
        above.sort_by(by_rank);
        let last = above.pop();
        let expected: Vec<u32> = set.iter().filter(|e| !above.contains(e)).map(|e| e.1).collect();
        prop_assert!(above.is_empty() || last.is_some());
        prop_assert_eq!(after(&mut |p| p.exclude_top(share, temperature)), expected);
    }

    /// Whatever the logits and options: a token that exists and is not forbidden, or an error; and the
    /// same on every instruction set.
    #[test]
    fn nothing_panics_and_all_sets_agree(
        mut logits in prop_oneof![
            logits(),
            Just(Vec::new()),
            prop::collection::vec(any::<f32>(), 0..20),
        ],
        tokens in prop::collection::vec(0u32..40, 0..60),
        options in options(),
    ) {
        let mut choices = Vec::new();
        for isa in Isa::available() {
            let mut sampler = Sampler::on(isa, &options).unwrap();
            let past = Past { tokens: &tokens, piece: &|id| (id % 7 == 3).then_some(b"\n") };
            choices.push([(); 3].map(|()| sampler.choose(&logits, &past)));
        }
        for choice in &choices {
            prop_assert_eq!(choice, &choices[0]);
        }
        // NaN is the caller's error; it must do no harm.
        let nan = logits.iter().any(|l| l.is_nan());
        logits.iter_mut().filter(|l| l.is_nan()).for_each(|l| *l = f32::NEG_INFINITY);
        for choice in &choices[0] {
            match choice {
                Ok(id) => prop_assert!(nan || logits[*id as usize] > f32::NEG_INFINITY),
                Err(SamplingError::AllForbidden) => {
                    prop_assert!(nan || logits.iter().all(|&l| l == f32::NEG_INFINITY));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

fn options() -> impl Strategy<Value = Sampling> {
    let share = || prop_oneof![Just(0.0f32), Just(1.0), 0.0f32..1.0];
    let strength = || prop_oneof![2 => Just(0.0f32), 2 => 0.0f32..3.0, 1 => Just(1e30)];
    let window = || prop_oneof![Just(0), Just(usize::MAX), 1usize..50];
    let steps = || Just(Step::ORDER.to_vec()).prop_shuffle();
    (
        (share(), share(), share(), share(), share(), share()),
        (
            strength(),
            strength(),
            strength(),
            strength(),
            -2.0f32..2.0,
            -2.0f32..2.0,
        ),
        (window(), window(), 0usize..50, 1usize..4, any::<u64>()),
        (any::<bool>(), 0.0f32..8.0, steps(), 0usize..8, 0.1f32..3.0),
    )
        .prop_map(|(a, b, c, d)| Sampling {
            typical_p: a.0,
            top_p: a.1,
            min_p: a.2,
            xtc_probability: a.3,
            xtc_threshold: a.4,
            mirostat_eta: a.5,
            temperature: b.0,
            dynatemp_range: b.1,
            top_n_sigma: b.2,
            dry_multiplier: b.3,
            frequency_penalty: b.4,
            presence_penalty: b.5,
            penalty_window: c.0,
            dry_window: c.1,
            top_k: c.2,
            dry_allowed_length: c.3,
            seed: c.4,
            mirostat: d.0,
            mirostat_tau: d.1,
            order: d.2[..d.3.min(7)].to_vec(),
            repetition_penalty: d.4,
            ..Sampling::default()
        })
}

/// Temperature, top-k, softmax and top-p in f64 by sorting, and the draw by running differences.
fn plainly(options: &Sampling, rng: &mut ChaCha8Rng, logits: &[f32]) -> u32 {
    let mut all: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
    all.sort_by(by_rank);
    if options.top_k > 0 {
        all.truncate(options.top_k);
    }
    let max = f64::from(all[0].0);
    if options.top_p == 1.0 {
        all.sort_by_key(|e| e.1);
    }
    let weight = |l: f32| exp((f64::from(l) - max) / f64::from(options.temperature));
    let total: f64 = all.iter().map(|e| weight(e.0)).sum();
    let mut mass = total;
    if options.top_p < 1.0 {
        let mut sum = 0.0;
        let last = all.iter().position(|e| {
            sum += weight(e.0);
            sum >= total * f64::from(options.top_p)
        });
        all.truncate(last.unwrap() + 1);
        mass = sum;
    }
    let mut left = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * mass;
    let found = all.iter().find(|e| {
        left -= weight(e.0);
        left < 0.0
    });
    found.unwrap_or(all.last().unwrap()).1
}

#[test]
fn temperature_top_k_and_top_p_choose_as_the_plain_way_does() {
    for (temperature, top_k, top_p) in [
        (0.2, 40, 0.9),
        (1.0, 0, 1.0),
        (0.7, 0, 0.5),
        (1.5, 500, 1.0),
        (3.0, 0, 0.97),
    ] {
        let options = Sampling {
            temperature,
            top_k,
            top_p,
            seed: 11,
            order: vec![Step::Temperature, Step::TopK, Step::TopP],
            ..off()
        };
        let mut sampler = Sampler::new(&options).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for i in 0..300 {
            let logits = noise(3000, 30.0, i);
            let found = sampler.choose(&logits, &NO_PAST).unwrap();
            assert_eq!(found, plainly(&options, &mut rng, &logits), "{options:?}");
        }
    }
}

#[test]
fn seeds_repeat_and_differ() {
    let draw = |seed| {
        let mut sampler = Sampler::new(&Sampling { seed, ..off() }).unwrap();
        (0..50u32)
            .map(|i| sampler.choose(&noise(100, 3.0, i), &NO_PAST).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

#[test]
fn greedy_is_the_highest_after_penalties_whatever_else_is_set() {
    let mut options = Sampling {
        temperature: 0.0,
        xtc_probability: 1.0,
        typical_p: 0.1,
        mirostat: true,
        dynatemp_range: 2.0,
        ..off()
    };
    let logits = [1.0, 3.0, 3.0, 2.5];
    let choose = |options: &Sampling| {
        let past = Past {
            tokens: &[1],
            piece: &|_| None,
        };
        Sampler::new(options).unwrap().choose(&logits, &past)
    };
    assert_eq!(choose(&options), Ok(1));
    options.presence_penalty = 0.1;
    assert_eq!(choose(&options), Ok(2));
    options.logit_bias = vec![(2, f32::NEG_INFINITY)];
    assert_eq!(choose(&options), Ok(1));
    options.logit_bias = (0..4).map(|id| (id, f32::NEG_INFINITY)).collect();
    assert_eq!(choose(&options), Err(SamplingError::AllForbidden));
    options.temperature = 1.0;
    assert_eq!(choose(&options), Err(SamplingError::AllForbidden));
}

#[test]
fn options_out_of_range_are_refused() {
    let options = Sampling {
        top_p: f32::NAN,
        ..off()
    };
    assert!(matches!(
        Sampler::new(&options),
        Err(SamplingError::Value { name: "top_p", .. })
    ));
}
