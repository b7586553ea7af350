//! Rotary position embedding (arXiv 2104.09864): frequencies, their scalings, angles of a position.
//!
//! In: the base, the number of rotated dimensions and a [`RopeScaling`]. Out: a [`RopeTable`],
//! which fills the cosines and sines of a position for `rowwise::rope`. Frequencies and angles
//! are f64 with fixed bits (`math::double`); cosines and sines are rounded once, to f32.

use crate::dispatch::per_isa;
use crate::isa::Isa;
use crate::math::double;

/// Which elements of a head form pair `i` of `n/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// `2i` and `2i + 1` (the original; GGUF files of llama).
    Normal,
    /// `i` and `i + n/2` (GPT-NeoX, Hugging Face transformers).
    Neox,
}

/// How the frequencies `base^(-2i/n)` are changed for contexts longer than the trained one.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by `factor` (position interpolation, arXiv 2306.15595).
    Linear {
        /// New context over trained context.
        factor: f64,
    },
    /// YaRN (arXiv 2309.00071), with the formula that transformers and llama.cpp share:
    /// `dim(b) = n ln(orig_ctx / (2 pi b)) / (2 ln base)`; `low = floor(dim(beta_fast))` at least
    /// 0, `high = ceil(dim(beta_slow))` at most n - 1 (both left whole only if `truncate`);
    /// `ramp(i) = clamp((i - low) / max(high - low, 0.001), 0, 1)` over pairs `i`;
    /// `mix = (1 - ramp) * ext_factor`; frequency `f/factor * (1 - mix) + f * mix`;
    /// magnitude `attn_factor * (0.1 ln(factor) + 1)`, or `attn_factor` if `ext_factor` is 0 or
    /// `factor` at most 1.
    Yarn {
        /// New context over trained context.
        factor: f64,
        /// The trained context.
        orig_ctx: f64,
        /// Rotations over the trained context above which a frequency is kept (32).
        beta_fast: f64,
        /// Rotations below which it is fully interpolated (1).
        beta_slow: f64,
        /// Share of the kept part (1).
        ext_factor: f64,
        /// Factor on the magnitude (1). A model that states its own magnitude `m` (DeepSeek's
        /// mscale over mscale_all_dim) is expressed as `m / (0.1 ln(factor) + 1)`.
        attn_factor: f64,
        /// Whether `low` and `high` are rounded outward; gpt-oss in transformers does not.
        truncate: bool,
    },
    /// Each divided by its own factor (llama 3's `rope_freqs`, LongRoPE).
    Factors {
        /// Divisors `[dims / 2]`.
        factors: Vec<f32>,
        /// Factor on cosines and sines; 1 for llama 3.
        magnitude: f64,
    },
}

/// Why a table was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RopeError {
    /// Pairs need an even number of dimensions.
    #[error(
        "rope over {0} dimensions: it must be an even number, at most 65536; check the model's rope.dimension_count"
    )]
    Dims(usize),
    /// A parameter is outside its domain.
    #[error(
        "rope parameter {name} is {value}: it must be a finite number above {above}; check the model's metadata"
    )]
    Parameter {
        /// Which.
        name: &'static str,
        /// As given.
        value: f64,
        /// Lower bound, excluded.
        above: f64,
    },
    /// One factor a pair.
    #[error(
        "{found} rope factors for {expected} pairs of dimensions; check the model's rope_freqs tensor"
    )]
    Factors {
        /// Pairs.
        expected: usize,
        /// Factors given.
        found: usize,
    },
}

/// Frequencies of a model's rotation, in radians per position.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTable {
    inv_freq: Vec<f64>,
    magnitude: f64,
}

fn above(name: &'static str, value: f64, above: f64) -> Result<f64, RopeError> {
    if value.is_finite() && value > above {
        Ok(value)
    } else {
        Err(RopeError::Parameter { name, value, above })
    }
}

impl RopeTable {
    /// Frequencies over `dims` rotated dimensions of a head.
    ///
    /// # Errors
    /// [`RopeError`] names the parameter.
    pub fn new(base: f64, dims: usize, scaling: &RopeScaling) -> Result<RopeTable, RopeError> {
        if !dims.is_multiple_of(2) || dims > 1 << 16 {
            return Err(RopeError::Dims(dims));
        }
        let base = above("base", base, 0.0)?;
        let n = dims as f64;
        let mut inv_freq: Vec<f64> = (0..dims / 2)
            .map(|i| double::pow(base, -((2 * i) as f64 / n)))
            .collect();
        let mut magnitude = 1.0;
        match scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => {
                let factor = above("factor", *factor, 0.0)?;
                inv_freq.iter_mut().for_each(|f| *f /= factor);
            }
            RopeScaling::Factors {
                factors,
                magnitude: m,
            } => {
                if factors.len() != inv_freq.len() {
                    return Err(RopeError::Factors {
                        expected: inv_freq.len(),
                        found: factors.len(),
                    });
                }
                for (f, &by) in inv_freq.iter_mut().zip(factors) {
                    *f /= above("factors", f64::from(by), 0.0)?;
                }
                magnitude = above("magnitude", *m, 0.0)?;
            }
            &RopeScaling::Yarn {
                factor,
                orig_ctx,
                beta_fast,
                beta_slow,
                ext_factor,
                attn_factor,
                truncate,
            } => {
                let factor = above("factor", factor, 0.0)?;
                let orig_ctx = above("original context", orig_ctx, 0.0)?;
                let base = above("base", base, 1.0)?;
                above("ext_factor", ext_factor, -1e-300)?;
                let dim = |beta: f64| {
                    n * double::ln(orig_ctx / (beta * std::f64::consts::TAU))
                        / (2.0 * double::ln(base))
                };
                let (low, high) = (
                    dim(above("beta_fast", beta_fast, 0.0)?),
                    dim(above("beta_slow", beta_slow, 0.0)?),
                );
                let (low, high) = if truncate {
                    (low.floor(), high.ceil())
                } else {
                    (low, high)
                };
                let (low, high) = (low.max(0.0), high.min(n - 1.0));
                for (i, f) in inv_freq.iter_mut().enumerate() {
                    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    let mix = (1.0 - ramp) * ext_factor;
                    *f = *f / factor * (1.0 - mix) + *f * mix;
                }
                magnitude = above("attn_factor", attn_factor, 0.0)?;
                if ext_factor != 0.0 && factor > 1.0 {
                    magnitude *= 0.1 * double::ln(factor) + 1.0;
                }
            }
        }
        Ok(RopeTable {
            inv_freq,
            magnitude,
        })
    }

    /// Rotated dimensions: twice the number of angles.
    pub fn dims(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// Radians per position of each pair, `[dims / 2]`.
    pub fn inv_freq(&self) -> &[f64] {
        &self.inv_freq
    }

    /// The factor on all cosines and sines.
    pub fn magnitude(&self) -> f64 {
        self.magnitude
    }

    /// Writes a position's cosines and sines, `[dims / 2]` each (shorter slices take fewer).
    pub fn fill(&self, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        fill(
            Isa::best(),
            &self.inv_freq,
            self.magnitude,
            position,
            cos,
            sin,
        );
    }
}

per_isa! {
    /// [`RopeTable::fill`]; compiled per instruction set only for the sake of its speed.
    fn fill(inv_freq: &[f64], magnitude: f64, position: u32, cos: &mut [f32], sin: &mut [f32]) {
        for ((cos, sin), f) in cos.iter_mut().zip(sin).zip(inv_freq) {
            let (s, c) = double::sin_cos(f64::from(position) * f);
            *cos = (c * magnitude) as f32;
            *sin = (s * magnitude) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yarn(factor: f64, ext_factor: f64) -> RopeScaling {
        RopeScaling::Yarn {
            factor,
            orig_ctx: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            ext_factor,
            attn_factor: 1.0,
            truncate: true,
        }
    }

    #[test]
    fn frequencies_are_the_powers_of_the_base() {
        let t = RopeTable::new(10_000.0, 128, &RopeScaling::None).unwrap();
        assert_eq!((t.dims(), t.magnitude(), t.inv_freq()[0]), (128, 1.0, 1.0));
        for (i, f) in t.inv_freq().iter().enumerate() {
            let want = 10_000f64.powf(-(i as f64) / 64.0);
            assert!((f / want - 1.0).abs() < 1e-15, "{i}");
        }
    }

    #[test]
    fn angles_are_those_of_f64() {
        let t = RopeTable::new(500_000.0, 64, &RopeScaling::Linear { factor: 8.0 }).unwrap();
        let (mut cos, mut sin) = ([0.0; 32], [0.0; 32]);
        for position in [0, 1, 777, 131_071, 9_999_999] {
            t.fill(position, &mut cos, &mut sin);
            for (i, (c, s)) in cos.iter().zip(&sin).enumerate() {
                let angle = f64::from(position) * 500_000f64.powf(-(i as f64) / 32.0) / 8.0;
                assert!((f64::from(*c) - angle.cos()).abs() < 4e-8, "{position} {i}");
                assert!((f64::from(*s) - angle.sin()).abs() < 4e-8, "{position} {i}");
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_angles() {
        let t = RopeTable::new(10_000.0, 96, &yarn(4.0, 1.0)).unwrap();
        let angles = |isa, position| {
            let (mut cos, mut sin) = ([0.0f32; 48], [0.0f32; 48]);
            fill(
                isa,
                t.inv_freq(),
                t.magnitude(),
                position,
                &mut cos,
                &mut sin,
            );
            (cos.map(f32::to_bits), sin.map(f32::to_bits))
        };
        for position in (0..2_000_000).step_by(9_973) {
            for isa in Isa::available() {
                assert_eq!(
                    angles(isa, position),
                    angles(Isa::Scalar, position),
                    "{isa} {position}"
                );
            }
        }
    }

    #[test]
    fn yarn_keeps_fast_frequencies_and_interpolates_slow_ones() {
        let plain = RopeTable::new(10_000.0, 128, &RopeScaling::None).unwrap();
        let t = RopeTable::new(10_000.0, 128, &yarn(16.0, 1.0)).unwrap();
        // The correction range of the paper's example, by hand: dim(32) = 20.94.., dim(1) = 45.03...
        for (i, (f, p)) in t.inv_freq().iter().zip(plain.inv_freq()).enumerate() {
            let kept = f / p;
            match i {
                0..=20 => assert_eq!(kept, 1.0),
                46.. => assert!((kept - 1.0 / 16.0).abs() < 1e-15),
                _ => {
                    let ramp = (i as f64 - 20.0) / 26.0;
                    assert!((kept - (ramp / 16.0 + 1.0 - ramp)).abs() < 1e-12, "{i}");
                }
            }
        }
        assert!((t.magnitude() - (0.1 * 16f64.ln() + 1.0)).abs() < 1e-15);
        // Without extrapolation it is linear interpolation.
        let linear = RopeTable::new(10_000.0, 128, &RopeScaling::Linear { factor: 16.0 }).unwrap();
        assert_eq!(
            RopeTable::new(10_000.0, 128, &yarn(16.0, 0.0)).unwrap(),
            linear
        );
    }

    #[test]
    fn wrong_parameters_are_named() {
        let new =
            |base, dims, scaling: RopeScaling| RopeTable::new(base, dims, &scaling).unwrap_err();
        assert_eq!(new(1e4, 63, RopeScaling::None), RopeError::Dims(63));
        assert!(matches!(
            new(f64::NAN, 64, RopeScaling::None),
            RopeError::Parameter { name: "base", .. }
        ));
        assert!(matches!(
            new(1e4, 64, RopeScaling::Linear { factor: 0.0 }),
            RopeError::Parameter { name: "factor", .. }
        ));
        assert_eq!(
            new(
                1e4,
                64,
                RopeScaling::Factors {
                    factors: vec![1.0; 31],
                    magnitude: 1.0
                }
            ),
            RopeError::Factors {
                expected: 32,
                found: 31
            }
        );
    }
}
