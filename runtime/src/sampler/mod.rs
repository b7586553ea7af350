//! From logits to a token: the sampler chain.
//!
//! In: logits `[vocab]`, the tokens so far, and [`Sampling`], whose documentation has the order of the
//! steps. Out: a token. `adjust` changes single logits (bias, penalties, DRY), `pool` leaves tokens out
//! (top-k to XTC); temperature, mirostat and the draw are here. The sum of nothing depends on how it
//! was computed, so a seed gives the same tokens on every machine and instruction set.

mod adjust;
mod pool;
#[cfg(test)]
mod tests;

use crate::sampling::{Sampling, SamplingError, Step};
use crate::scan;
pub(crate) use adjust::Past;
use hob_kernels::isa::Isa;
use hob_kernels::math::double::{exp, ln, pow};
use hob_kernels::private::wipe_vec;
use hob_models::tokenizer::Tokenizer;
use pool::{Buffers, Fraction, Pool};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The state of one sequence's choices: the random sequence, and mirostat's.
///
/// [`crate::Session::generate`] has one of its own. Programs that read several sessions in one batch
/// ([`crate::Engine::advance`]) keep one for each, and call [`crate::Session::sample`].
#[derive(Clone)]
pub struct Sampler {
    options: Sampling,
    isa: Isa,
    rng: ChaCha8Rng,
    /// Mirostat's largest surprise, in bits.
    mu: f64,
    adjusted: Vec<f32>,
    buffers: Buffers,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        wipe_vec(&mut self.adjusted);
    }
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    ///
    /// # Errors
    /// A field of the options is out of its range.
    pub fn new(options: &Sampling) -> Result<Sampler, SamplingError> {
        Sampler::on(Isa::best(), options)
    }

    /// On that instruction set; all give the same tokens.
    pub(crate) fn on(isa: Isa, options: &Sampling) -> Result<Sampler, SamplingError> {
        options.validate()?;
        Ok(Sampler {
            isa,
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            mu: 2.0 * f64::from(options.mirostat_tau),
            options: options.clone(),
            adjusted: Vec::new(),
            buffers: Buffers::default(),
        })
    }

    /// What it was made with.
    pub fn options(&self) -> &Sampling {
        &self.options
    }

    /// Chooses among `[vocab]` logits, none of which is NaN. `tokens` are those so far, prompt and
    /// answer, for the penalties; the tokenizer tells DRY where texts break.
    ///
    /// # Errors
    /// [`SamplingError::NoSuchToken`], [`SamplingError::AllForbidden`].
    pub fn sample(
        &mut self,
        logits: &[f32],
        tokens: &[u32],
        tokenizer: Option<&Tokenizer>,
    ) -> Result<u32, SamplingError> {
        let piece = |id| tokenizer.and_then(|t| t.piece(id));
        self.choose(
            logits,
            &Past {
                tokens,
                piece: &piece,
            },
        )
    }

    pub(crate) fn choose(&mut self, logits: &[f32], past: &Past<'_>) -> Result<u32, SamplingError> {
        let options = &self.options;
        let logits = match adjust::adjust(options, logits, past, &mut self.adjusted)? {
            true => &self.adjusted,
            false => logits,
        };
        let random = &mut self.rng;
        let mut random = || Fraction::new(random.next_u64());
        // Of a choice that is none, no scan but this one is made.
        let alone = options.order.first() == Some(&Step::TopK) && options.top_k == 1;
        if options.temperature <= 0.0 || (alone && !options.mirostat) {
            return scan::argmax(logits)
                .filter(|&id| logits.get(id as usize) > Some(&f32::NEG_INFINITY))
                .ok_or(SamplingError::AllForbidden);
        }
        let mut pool = Pool::new(self.isa, logits, &mut self.buffers);
        let mut temperature = 1.0;
        // Above 0.5 no two tokens can be.
        let excludes = options.xtc_probability > 0.0 && options.xtc_threshold <= 0.5;
        for step in &options.order {
            if options.mirostat && *step != Step::Temperature {
                continue;
            }
            match step {
                Step::TopK => pool.top_k(options.top_k),
                Step::Typical if options.typical_p < 1.0 => {
                    pool.typical(options.typical_p.into(), temperature)
                }
                Step::TopP if options.top_p < 1.0 => pool.top_p(options.top_p.into(), temperature),
                Step::MinP if options.min_p > 0.0 => pool.min_p(options.min_p.into(), temperature),
                Step::TopNSigma if options.top_n_sigma > 0.0 => {
                    pool.top_n_sigma(options.top_n_sigma.into())
                }
                Step::Xtc if excludes && random().value() < f64::from(options.xtc_probability) => {
                    pool.exclude_top(options.xtc_threshold.into(), temperature);
                }
                Step::Temperature => temperature = self::temperature(options, &mut pool),
                _ => {}
            }
        }
        if pool.top() == f32::NEG_INFINITY {
            return Err(SamplingError::AllForbidden);
        }
        let chosen = if temperature <= 0.0 {
            pool.best()
        } else if options.mirostat {
            mirostat(options, &mut pool, temperature, &mut self.mu, random())
        } else {
            pool.draw(random(), temperature, 0).map(|d| d.0)
        };
        // A set is never empty; if all its logits were NaN, it has no mass.
        chosen.or(pool.best()).ok_or(SamplingError::AllForbidden)
    }
}

/// The temperature for this set of tokens. With a dynamic range (kalomaze, llama.cpp pull request
/// 4972): `low + (high - low) * (H / ln n)^exponent`, for n tokens of entropy H.
fn temperature(options: &Sampling, pool: &mut Pool<'_>) -> f64 {
    let (middle, range) = (
        f64::from(options.temperature),
        f64::from(options.dynatemp_range),
    );
    if range <= 0.0 || pool.len() <= 1 {
        return middle;
    }
    let (low, high) = ((middle - range).max(0.0), middle + range);
    let share = pool.entropy(1.0).0 / ln(pool.len() as f64);
    low + (high - low) * pow(share.clamp(0.0, 1.0), options.dynatemp_exponent.into())
}

/// Mirostat 2.0 (Basu et al., "Mirostat", arXiv 2007.14966; version 2 is of the authors' repository):
/// leaves out tokens whose surprise `-log2 p` is more than `mu`, and corrects `mu` by the difference
/// of the chosen token's surprise, before others were left out, from the one aimed at.
fn mirostat(
    options: &Sampling,
    pool: &mut Pool<'_>,
    temperature: f64,
    mu: &mut f64,
    at: Fraction,
) -> Option<u32> {
    let total = pool.weigh(temperature) as f64;
    let least = (total * exp(-*mu * std::f64::consts::LN_2)).ceil() as u64;
    // The most probable token stays, if all surprise too much.
    let least = least.clamp(1, pool.unit());
    let (id, mass) = pool.draw(at, temperature, least)?;
    let surprise = ln(total / mass as f64) / std::f64::consts::LN_2;
    *mu -= f64::from(options.mirostat_eta) * (surprise - f64::from(options.mirostat_tau));
    Some(id)
}
