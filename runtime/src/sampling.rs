//! How the next token is chosen: the options of the sampler chain, as fields and by name.
//!
//! In: values from a program, a command line or a model's own settings. Out: a checked [`Sampling`];
//! a value out of its range is an error that names it. [`crate::sampler`] does the choosing, and
//! names the source of every formula.

use std::fmt;

/// A step that narrows or reshapes the distribution; see [`Sampling::order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Sampling::top_k`].
    TopK,
    /// [`Sampling::typical_p`].
    Typical,
    /// [`Sampling::top_p`].
    TopP,
    /// [`Sampling::min_p`].
    MinP,
    /// [`Sampling::top_n_sigma`].
    TopNSigma,
    /// [`Sampling::xtc_probability`] and [`Sampling::xtc_threshold`].
    Xtc,
    /// [`Sampling::temperature`] and its dynamic range.
    Temperature,
}

impl Step {
    /// The steps in the order in which they run unless another is given.
    pub const ORDER: [Step; 7] = [
        Step::TopK,
        Step::Typical,
        Step::TopP,
        Step::MinP,
        Step::TopNSigma,
        Step::Xtc,
        Step::Temperature,
    ];

    /// Its name in [`Sampling::set`] and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Step::TopK => "top_k",
            Step::Typical => "typical",
            Step::TopP => "top_p",
            Step::MinP => "min_p",
            Step::TopNSigma => "top_n_sigma",
            Step::Xtc => "xtc",
            Step::Temperature => "temperature",
        }
    }

    /// The step of that name, also by the names that llama.cpp's `general.sampling.sequence` has.
    pub fn from_name(name: &str) -> Option<Step> {
        let name = plain(name);
        match name.as_str() {
            "typ_p" | "typical_p" => Some(Step::Typical),
            "temp" => Some(Step::Temperature),
            _ => Step::ORDER.into_iter().find(|s| s.name() == name),
        }
    }
}

/// How the next token is chosen. The steps run from top to bottom, each on what the one before it
/// left:
///
/// 1. [`logit_bias`](Sampling::logit_bias);
/// 2. repetition, frequency and presence penalties; 3. DRY;
/// 4. top-k; 5. typical; 6. top-p; 7. min-p; 8. top-n-sigma; 9. XTC; 10. temperature
///    ([`order`](Sampling::order) can rearrange or leave out these seven);
/// 11. mirostat, if it is on, in place of steps 4 to 9;
/// 12. the draw, or at temperature 0 the most probable token of what step 3 gave.
///
/// All of it is computed in f64 and integers with hob's own functions, and ties go to the lower id:
/// the same seed gives the same tokens on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Added to the logits of these tokens before all else; minus infinity forbids a token. Off:
    /// empty.
    pub logit_bias: Vec<(u32, f32)>,
    /// How many of the last tokens, the prompt's included, the next three look at. Off: 0; all:
    /// [`usize::MAX`].
    pub penalty_window: usize,
    /// Positive logits of tokens in the window are divided by it, negative ones multiplied. More
    /// than 0. Off: 1.
    pub repetition_penalty: f32,
    /// Taken from a token's logit for each time it occurs in the window. Any finite number. Off: 0.
    pub frequency_penalty: f32,
    /// Taken from a token's logit if it occurs in the window at all. Any finite number. Off: 0.
    pub presence_penalty: f32,
    /// DRY: strength of the penalty for a token that would lengthen a repeated sequence. At least 0.
    /// Off: 0.
    pub dry_multiplier: f32,
    /// DRY: the penalty's growth with every further repeated token. At least 1.
    pub dry_base: f32,
    /// DRY: sequences of fewer repeated tokens are let be. At least 1.
    pub dry_allowed_length: usize,
    /// DRY: no repetition reaches back over any of these texts. (Without a tokenizer: over none.)
    pub dry_breakers: Vec<String>,
    /// DRY: how many of the last tokens are looked through for repetitions. Off: 0; all:
    /// [`usize::MAX`].
    pub dry_window: usize,
    /// Keep this many of the most probable tokens. Off: 0.
    pub top_k: usize,
    /// Keep the tokens whose surprise is nearest to the expected one, until their probabilities reach
    /// this sum. 0 to 1. Off: 1.
    pub typical_p: f32,
    /// Keep the most probable tokens until their probabilities reach this sum. 0 to 1. Off: 1.
    pub top_p: f32,
    /// Keep the tokens that are at least this share as probable as the most probable one. 0 to 1.
    /// Off: 0.
    pub min_p: f32,
    /// Keep the tokens whose logits are within this many standard deviations of the highest. At
    /// least 0. Off: 0.
    pub top_n_sigma: f32,
    /// XTC: how often the most probable tokens are left out, as a probability. 0 to 1. Off: 0.
    pub xtc_probability: f32,
    /// XTC: of the tokens of at least this probability, all but the least probable are left out. 0 to
    /// 1. Off: above 0.5.
    pub xtc_threshold: f32,
    /// Divides the logits; 0 always takes the most probable token. At least 0. Off: 1.
    pub temperature: f32,
    /// The temperature moves by up to this much below and above, by how uncertain the model is. At
    /// least 0. Off: 0.
    pub dynatemp_range: f32,
    /// Above 1, dynamic temperature rises late, with great uncertainty only; below 1, early. At
    /// least 0.
    pub dynatemp_exponent: f32,
    /// Mirostat 2: tokens are chosen so that their surprise stays near
    /// [`mirostat_tau`](Sampling::mirostat_tau); top-k, typical, top-p, min-p, top-n-sigma and XTC do
    /// not apply then.
    pub mirostat: bool,
    /// Mirostat: the surprise aimed at, in bits. At least 0.
    pub mirostat_tau: f32,
    /// Mirostat: how fast it corrects. 0 to 1.
    pub mirostat_eta: f32,
    /// The order of steps 4 to 10; a step that is not listed does not run. Each at most once.
    pub order: Vec<Step>,
    /// Starts the random sequence; the same seed gives the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            logit_bias: Vec::new(),
            penalty_window: 64,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).into(),
            dry_window: usize::MAX,
            top_k: 40,
            typical_p: 1.0,
            top_p: 0.9,
            min_p: 0.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            temperature: 0.2,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            mirostat: false,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            order: Step::ORDER.into(),
            seed: 0,
        }
    }
}

/// Why sampling options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// No parameter has this name.
    #[error("there is no sampling parameter `{name}`; there are {}", known())]
    Unknown {
        /// The name as given, escaped.
        name: String,
    },
    /// A value is malformed or out of range.
    #[error("{name} is `{found}`, but must be {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The value, escaped.
        found: String,
        /// What it may be.
        wanted: &'static str,
    },
    /// A biased token does not exist.
    #[error("logit_bias names the token {id}, but the vocabulary has {vocab} tokens")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// No token is left to choose.
    #[error("logit_bias forbids every token that the model could choose; forbid fewer")]
    AllForbidden,
}

fn known() -> String {
    let names: Vec<_> = PARAMETERS.iter().map(|p| p.name).collect();
    names.join(", ")
}

/// A parameter that [`Sampling::set`] knows.
pub struct Parameter {
    /// Its name: that of the field.
    pub name: &'static str,
    /// The values it may have, as in "must be ...".
    pub wanted: &'static str,
    field: Field,
}

/// Where a parameter is kept and what is allowed there.
enum Field {
    Float(fn(&mut Sampling) -> &mut f32, fn(f32) -> bool),
    /// A count of at least the second.
    Count(fn(&mut Sampling) -> &mut usize, usize),
    /// A count or `all`.
    Window(fn(&mut Sampling) -> &mut usize),
    Switch(fn(&mut Sampling) -> &mut bool),
    Bias,
    Breakers,
    Order,
    Seed,
}

fn share(x: f32) -> bool {
    (0.0..=1.0).contains(&x)
}

fn at_least_zero(x: f32) -> bool {
    x.is_finite() && x >= 0.0
}

const SHARE: &str = "a number from 0 to 1";
const AT_LEAST_ZERO: &str = "a number of at least 0";
const WINDOW: &str = "a number of tokens, or `all`";

const fn float(
    name: &'static str,
    wanted: &'static str,
    field: fn(&mut Sampling) -> &mut f32,
    allowed: fn(f32) -> bool,
) -> Parameter {
    Parameter {
        name,
        wanted,
        field: Field::Float(field, allowed),
    }
}

const fn other(name: &'static str, wanted: &'static str, field: Field) -> Parameter {
    Parameter {
        name,
        wanted,
        field,
    }
}

/// All parameters, those that people change most first.
const PARAMETERS: &[Parameter] = &[
    float(
        "temperature",
        AT_LEAST_ZERO,
        |s| &mut s.temperature,
        at_least_zero,
    ),
    other(
        "top_k",
        "a number of tokens (0: off)",
        Field::Count(|s| &mut s.top_k, 0),
    ),
    float("top_p", SHARE, |s| &mut s.top_p, share),
    float("min_p", SHARE, |s| &mut s.min_p, share),
    other("seed", "a whole number", Field::Seed),
    float(
        "repetition_penalty",
        "a number above 0",
        |s| &mut s.repetition_penalty,
        |x| x.is_finite() && x > 0.0,
    ),
    float(
        "frequency_penalty",
        "a number",
        |s| &mut s.frequency_penalty,
        f32::is_finite,
    ),
    float(
        "presence_penalty",
        "a number",
        |s| &mut s.presence_penalty,
        f32::is_finite,
    ),
    other(
        "penalty_window",
        WINDOW,
        Field::Window(|s| &mut s.penalty_window),
    ),
    float(
        "dry_multiplier",
        AT_LEAST_ZERO,
        |s| &mut s.dry_multiplier,
        at_least_zero,
    ),
    float(
        "dry_base",
        "a number of at least 1",
        |s| &mut s.dry_base,
        |x| x.is_finite() && x >= 1.0,
    ),
    other(
        "dry_allowed_length",
        "a number of tokens, at least 1",
        Field::Count(|s| &mut s.dry_allowed_length, 1),
    ),
    other(
        "dry_breakers",
        r"texts with a space between (\n, \r, \t, \s for a space and \\ are understood), or `none`",
        Field::Breakers,
    ),
    other("dry_window", WINDOW, Field::Window(|s| &mut s.dry_window)),
    float("typical_p", SHARE, |s| &mut s.typical_p, share),
    float(
        "top_n_sigma",
        AT_LEAST_ZERO,
        |s| &mut s.top_n_sigma,
        at_least_zero,
    ),
    float("xtc_probability", SHARE, |s| &mut s.xtc_probability, share),
    float("xtc_threshold", SHARE, |s| &mut s.xtc_threshold, share),
    float(
        "dynatemp_range",
        AT_LEAST_ZERO,
        |s| &mut s.dynatemp_range,
        at_least_zero,
    ),
    float(
        "dynatemp_exponent",
        AT_LEAST_ZERO,
        |s| &mut s.dynatemp_exponent,
        at_least_zero,
    ),
    other(
        "mirostat",
        "`on` or `off`",
        Field::Switch(|s| &mut s.mirostat),
    ),
    float(
        "mirostat_tau",
        AT_LEAST_ZERO,
        |s| &mut s.mirostat_tau,
        at_least_zero,
    ),
    float("mirostat_eta", SHARE, |s| &mut s.mirostat_eta, share),
    other(
        "logit_bias",
        "ID:BIAS pairs with commas between, as 17:-inf,30:1.5 (BIAS: a number or -inf), or `none`",
        Field::Bias,
    ),
    other(
        "order",
        "names out of top_k, typical, top_p, min_p, top_n_sigma, xtc, temperature, each once, with commas between",
        Field::Order,
    ),
];

/// Lower case with underscores: `Top-P` is `top_p`.
fn plain(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('-', "_")
}

/// Names that other programs have for the same.
const ALIASES: [(&str, &str); 6] = [
    ("temp", "temperature"),
    ("repeat_penalty", "repetition_penalty"),
    ("repeat_last_n", "penalty_window"),
    ("typical", "typical_p"),
    ("top_nsigma", "top_n_sigma"),
    ("samplers", "order"),
];

impl Parameter {
    /// The parameter of that name (`-` and `_` are the same), or of the name that Ollama or llama.cpp
    /// has for it.
    pub fn find(name: &str) -> Option<&'static Parameter> {
        let name = plain(name);
        let alias = ALIASES.iter().find(|a| a.0 == name);
        let name = alias.map_or(name.as_str(), |a| a.1);
        PARAMETERS.iter().find(|p| p.name == name)
    }

    /// Its value as text that [`Parameter::set`] reads.
    pub fn get(&self, from: &Sampling) -> String {
        let s = &mut from.clone();
        let window = |n: usize| match n {
            usize::MAX => "all".to_owned(),
            n => n.to_string(),
        };
        match self.field {
            Field::Float(at, _) => at(s).to_string(),
            Field::Count(at, _) => at(s).to_string(),
            Field::Window(at) => window(*at(s)),
            Field::Switch(at) => if *at(s) { "on" } else { "off" }.to_owned(),
            Field::Seed => s.seed.to_string(),
            Field::Bias => list(s.logit_bias.iter().map(|(id, b)| format!("{id}:{b}")), ","),
            Field::Breakers => list(s.dry_breakers.iter().map(|b| escape(b)), " "),
            Field::Order => list(s.order.iter().map(|s| s.name().to_owned()), ","),
        }
    }

    /// Reads a value from text; on an error nothing has changed.
    ///
    /// # Errors
    /// [`SamplingError::Value`].
    pub fn set(&self, into: &mut Sampling, value: &str) -> Result<(), SamplingError> {
        let mut changed = into.clone();
        self.read(&mut changed, value.trim())
            .filter(|()| self.is_valid(&changed))
            .ok_or_else(|| SamplingError::Value {
                name: self.name,
                found: value.escape_debug().to_string(),
                wanted: self.wanted,
            })?;
        *into = changed;
        Ok(())
    }

    fn read(&self, s: &mut Sampling, value: &str) -> Option<()> {
        match self.field {
            Field::Float(at, _) => *at(s) = value.parse().ok()?,
            Field::Count(at, _) => *at(s) = value.parse().ok()?,
            Field::Window(at) => {
                *at(s) = match value {
                    "all" | "-1" => usize::MAX,
                    n => n.parse().ok()?,
                }
            }
            Field::Switch(at) => {
                *at(s) = match value.to_ascii_lowercase().as_str() {
                    // 2 is the version of mirostat, in other programs.
                    "on" | "true" | "yes" | "1" | "2" => true,
                    "off" | "false" | "no" | "0" => false,
                    _ => return None,
                }
            }
            Field::Seed => s.seed = value.parse().ok()?,
            Field::Bias => {
                s.logit_bias = items(value, &[','])
                    .map(|pair| {
                        let (id, bias) = pair.split_once([':', '='])?;
                        Some((id.trim().parse().ok()?, bias.trim().parse().ok()?))
                    })
                    .collect::<Option<_>>()?;
            }
            Field::Breakers => {
                s.dry_breakers = items(value, &[' ']).map(unescape).collect::<Option<_>>()?;
            }
            Field::Order => {
                s.order = items(value, &[',', ';'])
                    .map(Step::from_name)
                    .collect::<Option<_>>()?;
            }
        }
        Some(())
    }

    fn is_valid(&self, s: &Sampling) -> bool {
        let s = &mut s.clone();
        match self.field {
            Field::Float(at, allowed) => allowed(*at(s)),
            Field::Count(at, least) => *at(s) >= least,
            Field::Bias => s.logit_bias.iter().all(|b| b.1 < f32::INFINITY),
            Field::Breakers => s.dry_breakers.iter().all(|b| !b.is_empty()),
            Field::Order => {
                let mut rest = s.order.iter();
                std::iter::from_fn(|| rest.next().map(|step| (step, rest.clone())))
                    .all(|(step, mut later)| later.all(|l| l != step))
            }
            Field::Window(_) | Field::Switch(_) | Field::Seed => true,
        }
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.wanted)
    }
}

fn list(items: impl Iterator<Item = String>, between: &str) -> String {
    let items: Vec<_> = items.collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(between),
    }
}

fn items<'a>(text: &'a str, between: &'a [char]) -> impl Iterator<Item = &'a str> {
    let text = if text == "none" { "" } else { text };
    text.split(between).map(str::trim).filter(|i| !i.is_empty())
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => r"\n".to_owned(),
            '\t' => r"\t".to_owned(),
            '\r' => r"\r".to_owned(),
            ' ' => r"\s".to_owned(),
            '\\' => r"\\".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// The text that an escaped one means; `None` if it ends within an escape or has an unknown one.
fn unescape(text: &str) -> Option<String> {
    let mut chars = text.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                's' => ' ',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

impl Sampling {
    /// Always the most probable token.
    pub fn greedy() -> Sampling {
        Sampling {
            temperature: 0.0,
            ..Sampling::default()
        }
    }

    /// What [`Sampling::set`] can set, those that people change most first.
    pub fn parameters() -> &'static [Parameter] {
        PARAMETERS
    }

    /// Sets a parameter by its name: `top_p` (or `top-p`) to `0.95`, say.
    ///
    /// # Errors
    /// The name is unknown, or the value not allowed; nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SamplingError> {
        match Parameter::find(name) {
            Some(parameter) => parameter.set(self, value),
            None => Err(SamplingError::Unknown {
                name: name.escape_debug().to_string(),
            }),
        }
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`SamplingError::Value`] of the first that is out of it.
    pub fn validate(&self) -> Result<(), SamplingError> {
        match PARAMETERS.iter().find(|p| !p.is_valid(self)) {
            None => Ok(()),
            Some(p) => Err(SamplingError::Value {
                name: p.name,
                found: p.get(self).escape_debug().to_string(),
                wanted: p.wanted,
            }),
        }
    }
}

/// What a model's files say of sampling.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelSampling {
    /// hob's defaults, with what they say.
    pub(crate) defaults: Sampling,
    /// What could not be taken.
    pub(crate) refusals: Vec<SamplingError>,
}

impl ModelSampling {
    /// Of pairs of a parameter and its value.
    pub(crate) fn new(settings: Vec<(&str, String)>) -> ModelSampling {
        let mut found = ModelSampling::default();
        for (name, value) in settings {
            let refusal = found.defaults.set(name, &value).err();
            found.refusals.extend(refusal);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_written_as_it_is_read() {
        let mut odd = Sampling {
            logit_bias: vec![(3, f32::NEG_INFINITY), (70_000, 1.5)],
            dry_breakers: vec!["\n\n".into(), "a b".into(), "\\".into()],
            penalty_window: usize::MAX,
            mirostat: true,
            order: vec![Step::Temperature, Step::MinP],
            seed: u64::MAX,
            ..Sampling::default()
        };
        for _ in 0..2 {
            let mut copy = Sampling::default();
            for p in Sampling::parameters() {
                copy.set(p.name, &p.get(&odd)).unwrap();
                assert_eq!(Parameter::find(p.name).unwrap().name, p.name);
            }
            assert_eq!(copy, odd);
            odd = Sampling::default();
        }
        odd.set("dry-breakers", "none").unwrap();
        odd.set("Logit-Bias", "none").unwrap();
        assert!(odd.dry_breakers.is_empty() && odd.logit_bias.is_empty());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name_and_change_nothing() {
        for (name, bad) in [
            ("temperature", "-0.1"),
            ("temperature", "nan"),
            ("temperature", "inf"),
            ("top_k", "-1"),
            ("top_p", "1.01"),
            ("min_p", "-0.5"),
            ("typical_p", "NaN"),
            ("top_n_sigma", "-1"),
            ("xtc_probability", "2"),
            ("xtc_threshold", ""),
            ("repetition_penalty", "0"),
            ("frequency_penalty", "inf"),
            ("presence_penalty", "x"),
            ("penalty_window", "-2"),
            ("dry_base", "0.9"),
            ("dry_allowed_length", "0"),
            ("dry_breakers", r"a\q"),
            ("dynatemp_exponent", "-1"),
            ("mirostat", "3"),
            ("mirostat_eta", "1.5"),
            ("logit_bias", "5"),
            ("logit_bias", "5:inf"),
            ("logit_bias", "5:nan"),
            ("order", "top_k,top_k"),
            ("order", "top_q"),
            ("seed", "-1"),
        ] {
            let mut s = Sampling::default();
            let error = s.set(name, bad).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
            assert_eq!(s, Sampling::default());
        }
        let error = Sampling::default().set("warmth", "1").unwrap_err();
        assert!(error.to_string().contains("temperature"), "{error}");
    }

    #[test]
    fn fields_are_checked_as_names_are() {
        assert_eq!(Sampling::default().validate(), Ok(()));
        assert_eq!(Sampling::greedy().validate(), Ok(()));
        for (name, bad) in [
            (
                "top_p",
                Sampling {
                    top_p: f32::NAN,
                    ..Sampling::default()
                },
            ),
            (
                "order",
                Sampling {
                    order: vec![Step::Xtc, Step::TopK, Step::Xtc],
                    ..Sampling::default()
                },
            ),
            (
                "logit_bias",
                Sampling {
                    logit_bias: vec![(1, f32::NAN)],
                    ..Sampling::default()
                },
            ),
        ] {
            match bad.validate() {
                Err(SamplingError::Value { name: found, .. }) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_models_settings_go_over_the_defaults_and_bad_ones_are_told() {
        let of = |name, value: &str| (name, value.to_owned());
        let found = ModelSampling::new(vec![
            of("temperature", "0.6"),
            of("top_p", "7"),
            of("order", "top_k,typ_p,temperature"),
        ]);
        let expected = Sampling {
            temperature: 0.6,
            order: vec![Step::TopK, Step::Typical, Step::Temperature],
            ..Sampling::default()
        };
        assert_eq!(found.defaults, expected);
        assert_eq!(found.refusals.len(), 1);
        assert!(found.refusals[0].to_string().contains("top_p"));
    }

    proptest::proptest! {
        /// Whatever the text: a valid value that reads back as itself, or an error and no change.
        #[test]
        fn any_text_is_a_value_or_an_error(
            i in 0..PARAMETERS.len(),
            text in proptest::prop_oneof!["\\PC{0,12}", "[0-9.,:;e+\\-\\\\ nts]{0,12}"],
        ) {
            let parameter = &PARAMETERS[i];
            let mut set = Sampling::default();
            if parameter.set(&mut set, &text).is_ok() {
                assert_eq!(set.validate(), Ok(()));
                let mut again = Sampling::default();
                parameter.set(&mut again, &parameter.get(&set)).unwrap();
                assert_eq!(again, set);
            } else {
                assert_eq!(set, Sampling::default());
            }
        }
    }
}
