//! `hob perplexity`: how well a model predicts a text.
//!
//! As llama.cpp's tool does it: the text's tokens in windows of 512, each window on its own with
//! its first token replaced by the beginning-of-text token (where the vocabulary wants one), and
//! the predictions in the second half of each window scored. Perplexity is `exp` of the mean
//! negative log-likelihood; its error is the standard error of that mean, carried through `exp`.

use crate::args::EngineArgs;
use crate::confined::{self, ConfinementArgs};
use crate::model::Model;
use anyhow::{Context, bail};
use clap::Args;
use hob::privacy::Mode;
use hob::{Cancel, SessionOptions, log_sum_exp};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

const ROWS: usize = 64;

#[derive(Args)]
pub(crate) struct PerplexityArgs {
    /// Model file, or a name from the store
    model: PathBuf,
    /// The text, UTF-8
    file: PathBuf,
    /// Tokens in a window
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..=1 << 20))]
    window: u32,
    /// Stop after this many windows
    #[arg(long, value_name = "N")]
    windows: Option<usize>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

/// Sums over scored tokens.
#[derive(Default)]
struct Score {
    n: u64,
    nll: f64,
    nll2: f64,
}

impl Score {
    fn add(&mut self, nll: f64) {
        self.n += 1;
        self.nll += nll;
        self.nll2 += nll * nll;
    }

    fn perplexity(&self) -> f64 {
        (self.nll / self.n as f64).exp()
    }

    fn standard_error(&self) -> f64 {
        let n = self.n as f64;
        let mean = self.nll / n;
        let variance = (self.nll2 / n - mean * mean).max(0.0);
        self.perplexity() * (variance / (n - 1.0)).sqrt()
    }
}

pub(crate) fn run(args: &PerplexityArgs) -> anyhow::Result<()> {
    let model = Model::find(&args.model)?;
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let engine = confined::load(Mode::Run, &model, &args.engine, ROWS, args.confinement)?;
    let Some(tokenizer) = engine.tokenizer() else {
        bail!("this model has no tokenizer that hob knows, so a text cannot be scored");
    };
    let window = args.window as usize;
    let mut session = engine.session(SessionOptions {
        context: window,
        ..Default::default()
    });
    let mut tokens = session.encode(&text)?;
    let windows = (tokens.len() / window).min(args.windows.unwrap_or(usize::MAX));
    if windows == 0 {
        bail!(
            "{} has {} tokens; a window needs {window} (use a longer text or a smaller --window)",
            args.file.display(),
            tokens.len()
        );
    }
    let bos = tokenizer.add_bos().then(|| tokenizer.bos()).flatten();
    let mut score = Score::default();
    let progress = std::io::stderr().is_terminal();
    for (i, ids) in tokens.chunks_exact_mut(window).take(windows).enumerate() {
        if let (Some(bos), Some(first)) = (bos, ids.first_mut()) {
            *first = bos;
        }
        let half = window / 2;
        session.truncate(0);
        session.prefill(
            ids.get(..half).unwrap_or_default(),
            &Cancel::new(),
            |_, _| (),
        )?;
        let scored = ids.get(half..window - 1).unwrap_or_default();
        session.score(scored, ROWS, &Cancel::new(), |j, logits| {
            // The prediction at position `half + j` is of the token after it.
            let next = ids
                .get(half + j + 1)
                .and_then(|&id| logits.get(id as usize));
            score.add(next.map_or(f64::INFINITY, |&l| log_sum_exp(logits) - f64::from(l)));
        })?;
        if progress {
            eprint!("\rwindow {}/{windows}: {:.4}", i + 1, score.perplexity());
            let _ = std::io::stderr().flush();
        }
    }
    if progress {
        eprintln!();
    }
    let (ppl, error) = (score.perplexity(), score.standard_error());
    if args.json {
        let report = serde_json::json!({ "perplexity": ppl, "standard_error": error, "tokens": score.n, "windows": windows, "window": window });
        println!("{report}");
    } else {
        println!(
            "perplexity {ppl:.4} +/- {error:.4} over {} tokens in {windows} windows of {window}",
            score.n
        );
    }
    Ok(())
}
