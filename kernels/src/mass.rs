//! Probability masses of a row of logits, in whole units: what a sampler sums, selects by and draws
//! from.
//!
//! In: `[n]` f32 logits. Out: `[n]` integers. Sums of integers do not depend on their order, so
//! whoever adds them up may do it in parts, by rank or by position, and gets the same bits.

use crate::dispatch::per_isa;
use crate::math::double::exp;

/// Adding it to a number below 2^52 leaves the nearest integer in the lower 52 bits, ties to even.
const INTEGER: f64 = 4_503_599_627_370_496.0; // 2^52

per_isa! {
    /// `out = unit * e^((x - max) / temperature)`, rounded to the nearest integer.
    ///
    /// `max` is the largest of `x` (or larger), `temperature` above 0, `unit` at most 2^51. Where `x` is
    /// `max`, the result is `unit`, also if both are infinite; NaN has no mass. If the lengths differ, the
    /// shorter one counts.
    pub fn masses(x: &[f32], max: f32, temperature: f64, unit: f64, out: &mut [u64]) {
        for (out, &x) in out.iter_mut().zip(x) {
            let below = if x == max { 0.0 } else { f64::from(x) - f64::from(max) };
            let share = exp(below / temperature);
            // False for NaN as well.
            let share = if share > 0.0 { share } else { 0.0 };
            let share = if share < 1.0 { share } else { 1.0 };
            *out = share.mul_add(unit, INTEGER).to_bits() & ((1 << 52) - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    const UNIT: f64 = 17_592_186_044_416.0; // 2^44

    #[test]
    fn every_instruction_set_gives_the_masses_of_the_formula() {
        let mut x: Vec<f32> = (0..1003u16)
            .map(|i| (f32::from(i) * 0.71).sin() * 25.0)
            .collect();
        x.extend([f32::NEG_INFINITY, f32::MIN, -0.0, 30.0, 1e-40]);
        for temperature in [1.0, 0.2, 1e-30, 5.5, 1e30] {
            let expected: Vec<f64> = x
                .iter()
                .map(|&x| ((f64::from(x) - 30.0) / temperature).exp() * UNIT)
                .collect();
            let mut first: Option<Vec<u64>> = None;
            for isa in Isa::available() {
                let mut out = vec![9; x.len()];
                masses(isa, &x, 30.0, temperature, UNIT, &mut out);
                for (&found, &expected) in out.iter().zip(&expected) {
                    let error = (found as f64 - expected).abs();
                    assert!(error <= 0.5 + expected * 1e-15, "{found} {expected}");
                }
                let first = first.get_or_insert_with(|| out.clone());
                assert_eq!(first, &out, "{isa} at {temperature}");
            }
        }
    }

    #[test]
    fn infinities_and_nan_are_defined() {
        let inf = f32::INFINITY;
        for isa in Isa::available() {
            let mut out = [9; 4];
            masses(isa, &[inf, 1e38, f32::NAN, -inf], inf, 1.0, UNIT, &mut out);
            assert_eq!(out, [1 << 44, 0, 0, 0]);
            masses(isa, &[-inf; 4], -inf, 1.0, UNIT, &mut out);
            assert_eq!(out, [1 << 44; 4]);
            masses(
                isa,
                &[2.0, 1.0, f32::NAN, -inf],
                2.0,
                f64::INFINITY,
                UNIT,
                &mut out,
            );
            assert_eq!(out[..3], [1 << 44, 1 << 44, 0]);
        }
    }
}
