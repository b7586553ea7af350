//! The flags of sampling, for every command that answers.
//!
//! In: a command line. Out: the engine's [`Sampling`]: hob's defaults, over them the model's own
//! settings, over them the flags that were given. A flag's value is read by the library
//! ([`Sampling::set`]), as `/params` of a conversation is, so both allow the same.

use clap::Args;
use hob::{Parameter, Sampling, SamplingError};

/// How tokens are chosen. The steps run in this order: bias, penalties, DRY, top-k, typical, top-p,
/// min-p, top-n-sigma, XTC, temperature, mirostat, the draw.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling (a model's own settings replace these defaults)")]
pub(crate) struct SamplingArgs {
    /// Randomness: 0 always takes the most probable token [default: 0.2]
    #[arg(long, visible_alias = "temp", value_name = "T", value_parser = reader("temperature"))]
    temperature: Option<String>,
    /// Choose among the N most probable tokens; 0: all [default: 40]
    #[arg(long, value_name = "N", value_parser = reader("top_k"))]
    top_k: Option<String>,
    /// Choose among the most probable tokens that together reach this probability; 1: all [default: 0.9]
    #[arg(long, value_name = "P", value_parser = reader("top_p"))]
    top_p: Option<String>,
    /// Choose among tokens at least this share as probable as the most probable one; 0: all [default: 0]
    #[arg(long, value_name = "P", value_parser = reader("min_p"))]
    min_p: Option<String>,
    /// Starts the random choices; the same seed gives the same answer [default: 0]
    #[arg(long, value_name = "N", value_parser = reader("seed"))]
    seed: Option<String>,
    /// Divide the logits of tokens that occurred lately; 1: off [default: 1]
    #[arg(long, visible_alias = "repeat-penalty", value_name = "X", value_parser = reader("repetition_penalty"))]
    repetition_penalty: Option<String>,
    /// Take this from a logit for each time the token occurred lately; 0: off [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true, hide_short_help = true, value_parser = reader("frequency_penalty"))]
    frequency_penalty: Option<String>,
    /// Take this from a logit if the token occurred lately; 0: off [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true, hide_short_help = true, value_parser = reader("presence_penalty"))]
    presence_penalty: Option<String>,
    /// How many tokens back "lately" reaches, prompt included, or `all` [default: 64]
    #[arg(long, alias = "repeat-last-n", value_name = "N", allow_hyphen_values = true, hide_short_help = true, value_parser = reader("penalty_window"))]
    penalty_window: Option<String>,
    /// DRY: strength of the penalty on repeating sequences; 0: off [default: 0]
    #[arg(long, value_name = "X", hide_short_help = true, value_parser = reader("dry_multiplier"))]
    dry_multiplier: Option<String>,
    /// DRY: growth of the penalty with each repeated token [default: 1.75]
    #[arg(long, value_name = "X", hide_short_help = true, value_parser = reader("dry_base"))]
    dry_base: Option<String>,
    /// DRY: the shortest repetition that is penalised, in tokens [default: 2]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = reader("dry_allowed_length"))]
    dry_allowed_length: Option<String>,
    /// DRY: texts that end a repetition, with spaces between, or `none` [default: \n : " *]
    #[arg(long, value_name = "TEXTS", hide_short_help = true, value_parser = reader("dry_breakers"))]
    dry_breakers: Option<String>,
    /// DRY: how many tokens back repetitions are looked for, or `all` [default: all]
    #[arg(long, value_name = "N", allow_hyphen_values = true, hide_short_help = true, value_parser = reader("dry_window"))]
    dry_window: Option<String>,
    /// Choose among the tokens of most typical surprise that together reach this probability; 1: all [default: 1]
    #[arg(long, alias = "typical", value_name = "P", hide_short_help = true, value_parser = reader("typical_p"))]
    typical_p: Option<String>,
    /// Choose among tokens whose logits are within N standard deviations of the highest; 0: off [default: 0]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = reader("top_n_sigma"))]
    top_n_sigma: Option<String>,
    /// XTC: how often the most probable tokens are left out, from 0 to 1 [default: 0]
    #[arg(long, value_name = "P", hide_short_help = true, value_parser = reader("xtc_probability"))]
    xtc_probability: Option<String>,
    /// XTC: leave out all but the least probable of the tokens above this probability [default: 0.1]
    #[arg(long, value_name = "P", hide_short_help = true, value_parser = reader("xtc_threshold"))]
    xtc_threshold: Option<String>,
    /// Dynamic temperature: how far it moves below and above, by uncertainty; 0: off [default: 0]
    #[arg(long, value_name = "T", hide_short_help = true, value_parser = reader("dynatemp_range"))]
    dynatemp_range: Option<String>,
    /// Dynamic temperature: how late it rises [default: 1]
    #[arg(long, value_name = "X", hide_short_help = true, value_parser = reader("dynatemp_exponent"))]
    dynatemp_exponent: Option<String>,
    /// Mirostat 2, in place of top-k to XTC: `on` or `off` [default: off]
    #[arg(long, value_name = "on|off", hide_short_help = true, value_parser = reader("mirostat"))]
    mirostat: Option<String>,
    /// Mirostat: the surprise aimed at, in bits [default: 5]
    #[arg(long, value_name = "BITS", hide_short_help = true, value_parser = reader("mirostat_tau"))]
    mirostat_tau: Option<String>,
    /// Mirostat: how fast it corrects, from 0 to 1 [default: 0.1]
    #[arg(long, value_name = "X", hide_short_help = true, value_parser = reader("mirostat_eta"))]
    mirostat_eta: Option<String>,
    /// Add to the logits of tokens, as 17:-inf,30:1.5 (`hob tokenize` shows ids) [default: none]
    #[arg(long, value_name = "ID:BIAS,...", hide_short_help = true, value_parser = reader("logit_bias"))]
    logit_bias: Option<String>,
    /// The steps from top-k on, in another order; those left out do not run
    /// [default: top_k,typical,top_p,min_p,top_n_sigma,xtc,temperature]
    #[arg(long = "sampler-order", alias = "samplers", value_name = "STEPS", hide_short_help = true, value_parser = reader("order"))]
    order: Option<String>,
}

/// Checks a flag's value as the library reads it, and keeps the text.
fn reader(
    name: &'static str,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |text| {
        let wanted = || Parameter::find(name).map_or("", |p| p.wanted);
        Sampling::default()
            .set(name, text)
            .map(|()| text.to_owned())
            .map_err(|_| format!("must be {}", wanted()))
    }
}

impl SamplingArgs {
    /// The flags that were given, over `base`: the model's settings
    /// (`Engine::sampling_defaults`).
    pub(crate) fn over(&self, base: &Sampling) -> Result<Sampling, SamplingError> {
        let mut sampling = base.clone();
        for (name, value) in self.given() {
            sampling.set(name, value)?;
        }
        Ok(sampling)
    }

    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("temperature", &self.temperature),
            ("top_k", &self.top_k),
            ("top_p", &self.top_p),
            ("min_p", &self.min_p),
            ("seed", &self.seed),
            ("repetition_penalty", &self.repetition_penalty),
            ("frequency_penalty", &self.frequency_penalty),
            ("presence_penalty", &self.presence_penalty),
            ("penalty_window", &self.penalty_window),
            ("dry_multiplier", &self.dry_multiplier),
            ("dry_base", &self.dry_base),
            ("dry_allowed_length", &self.dry_allowed_length),
            ("dry_breakers", &self.dry_breakers),
            ("dry_window", &self.dry_window),
            ("typical_p", &self.typical_p),
            ("top_n_sigma", &self.top_n_sigma),
            ("xtc_probability", &self.xtc_probability),
            ("xtc_threshold", &self.xtc_threshold),
            ("dynatemp_range", &self.dynatemp_range),
            ("dynatemp_exponent", &self.dynatemp_exponent),
            ("mirostat", &self.mirostat),
            ("mirostat_tau", &self.mirostat_tau),
            ("mirostat_eta", &self.mirostat_eta),
            ("logit_bias", &self.logit_bias),
            ("order", &self.order),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    #[test]
    fn every_parameter_has_a_flag_and_its_default_in_the_help() {
        let odd = Sampling {
            frequency_penalty: -0.5,
            logit_bias: vec![(7, f32::NEG_INFINITY)],
            ..Sampling::default()
        };
        let mut words = vec!["hob".to_owned()];
        let help = <Line as clap::CommandFactory>::command()
            .term_width(0)
            .render_long_help()
            .to_string();
        for p in Sampling::parameters() {
            let flag = match p.name {
                "order" => "--sampler-order".to_owned(),
                name => format!("--{}", name.replace('_', "-")),
            };
            let default = format!("[default: {}]", p.get(&Sampling::default()));
            let at = help.find(&format!("{flag} ")).expect(&flag);
            assert!(help[at..].contains(&default), "{flag} {default}");
            words.extend([flag, p.get(&odd)]);
        }
        let line = Line::try_parse_from(words).unwrap();
        assert_eq!(line.sampling.over(&Sampling::greedy()), Ok(odd));
    }

    #[test]
    fn a_flag_not_given_leaves_the_models_setting() {
        let base = Sampling {
            top_k: 20,
            top_p: 0.95,
            ..Sampling::default()
        };
        let line = Line::try_parse_from(["hob", "--top-p", "0.5", "--mirostat", "on"]).unwrap();
        let sampling = line.sampling.over(&base).unwrap();
        assert_eq!((sampling.top_k, sampling.top_p), (20, 0.5));
        assert!(sampling.mirostat);
        assert!(Line::try_parse_from(["hob", "--top-p", "1.5"]).is_err());
    }
}
