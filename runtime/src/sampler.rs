//! From logits to a token: temperature, top-k, top-p, and log-probabilities.
//!
//! Order: temperature, top-k, softmax, top-p, draw. Everything is computed in f64 with hob's own
//! exponential and ties go to the lower id, so a seed gives the same tokens on every machine.

use crate::sampling::Sampling;
use crate::scan::{Entry, argmax, by_rank, largest};
use hob_kernels::math::double::{exp, ln};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A token and the natural logarithm of its probability under the unmodified distribution.
#[derive(Clone, Copy, PartialEq)]
pub struct LogProb {
    /// Token id.
    pub id: u32,
    /// `ln p`, at most 0.
    pub logprob: f64,
}

/// The state of one sequence's choices.
#[derive(Clone)]
pub(crate) struct Sampler {
    options: Sampling,
    rng: ChaCha8Rng,
    kept: Vec<Entry>,
}

impl Sampler {
    /// A sampler at the start of its random sequence. Values out of range are clamped.
    pub(crate) fn new(options: Sampling) -> Sampler {
        Sampler {
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            options,
            kept: Vec::new(),
        }
    }

    /// Chooses among `[vocab]` logits, none of which is NaN; `None` if there are none.
    pub(crate) fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        let Sampling {
            temperature,
            top_k,
            top_p,
            ..
        } = self.options;
        if temperature.is_nan() || temperature <= 0.0 || top_k == 1 {
            return argmax(logits);
        }
        let n = if top_k == 0 { logits.len() } else { top_k };
        largest(logits, n, &mut self.kept);
        let max = self
            .kept
            .iter()
            .map(|k| k.0)
            .fold(f32::NEG_INFINITY, f32::max);
        if top_p < 1.0 {
            self.kept.sort_unstable_by(by_rank);
        } else {
            // The draw below must not depend on the selection's inner order.
            self.kept.sort_unstable_by_key(|k| k.1);
        }
        let weight = |l: f32| exp((f64::from(l) - f64::from(max)) / f64::from(temperature));
        let total: f64 = self.kept.iter().map(|k| weight(k.0)).sum();
        let mut mass = total;
        if top_p < 1.0 {
            let wanted = total * f64::from(top_p.max(0.0));
            let mut sum = 0.0;
            let keep = self.kept.iter().position(|k| {
                sum += weight(k.0);
                sum >= wanted
            });
            if let Some(last) = keep {
                self.kept.truncate(last + 1);
                mass = sum;
            }
        }
        // 53 random bits: a uniform number in [0, 1).
        let mut left = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * mass;
        for k in &self.kept {
            left -= weight(k.0);
            if left < 0.0 {
                return Some(k.1);
            }
        }
        self.kept.last().map(|k| k.1)
    }
}

/// `ln sum exp` of the logits, in f64 and ascending order.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if max.is_infinite() {
        return max;
    }
    max + ln(logits.iter().map(|&l| exp(f64::from(l) - max)).sum())
}

/// Log-probability of one token, and of the `top` most probable ones in descending order.
pub fn log_probs(logits: &[f32], id: u32, top: usize) -> (LogProb, Vec<LogProb>) {
    let lse = log_sum_exp(logits);
    let of = |id: u32| {
        logits
            .get(id as usize)
            .map_or(f64::NEG_INFINITY, |&l| f64::from(l) - lse)
    };
    let mut ranked = Vec::new();
    largest(logits, top, &mut ranked);
    ranked.sort_unstable_by(by_rank);
    let top = ranked
        .iter()
        .map(|&(_, id)| LogProb {
            id,
            logprob: of(id),
        })
        .collect();
    (
        LogProb {
            id,
            logprob: of(id),
        },
        top,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution() {
        // p = softmax([0, ln 2, ln 5]) = [1, 2, 5] / 8
        let logits = [0.0, 2f32.ln(), 5f32.ln()];
        let mut s = Sampler::new(Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            seed: 7,
            ..Sampling::default()
        });
        let mut counts = [0u32; 3];
        for _ in 0..80_000 {
            counts[s.sample(&logits).unwrap() as usize] += 1;
        }
        for (count, eighths) in counts.iter().zip([1.0, 2.0, 5.0]) {
            let expected = eighths * 10_000.0;
            assert!(
                (f64::from(*count) - expected).abs() < 4.0 * f64::sqrt(expected),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn top_k_and_top_p_drop_the_rest() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let draw = |top_k, top_p| {
            let mut s = Sampler::new(Sampling {
                temperature: 2.0,
                top_k,
                top_p,
                seed: 1,
                ..Sampling::default()
            });
            let mut seen: Vec<u32> = (0..2000).filter_map(|_| s.sample(&logits)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(draw(2, 1.0), [1, 3]);
        assert_eq!(draw(3, 1.0), [1, 2, 3]);
        assert_eq!(draw(0, 1.0), [0, 1, 2, 3]);
        assert_eq!(draw(0, 0.3), [1]);
        assert_eq!(draw(1, 1.0), [1]);
    }

    #[test]
    fn log_probs_are_normalized() {
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
        let (_, all) = log_probs(&logits, 0, 1000);
        let sum: f64 = all.iter().map(|l| l.logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!(all.windows(2).all(|w| w[0].logprob >= w[1].logprob));
        assert_eq!(Some(all[0].id), argmax(&logits));
    }
}
