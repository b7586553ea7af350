//! Log-probabilities of tokens under the model's own distribution, before any sampler.
//!
//! In: logits `[vocab]`. Out: natural logarithms, in f64 with hob's own functions: the same bits on
//! every machine.

use crate::scan::{by_rank, largest};
use hob_kernels::math::double::{exp, ln};

/// A token and the natural logarithm of its probability under the unmodified distribution.
#[derive(Clone, Copy, PartialEq)]
pub struct LogProb {
    /// Token id.
    pub id: u32,
    /// `ln p`, at most 0.
    pub logprob: f64,
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
    use crate::scan::argmax;

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
