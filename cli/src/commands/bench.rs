//! `hob bench`: prefill and decode speed, medians over several rounds.

use crate::args::EngineArgs;
use anyhow::bail;
use clap::Args;
use hob::{Cancel, Engine, Request, Sampling, SessionOptions};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Model file, or a name from the store
    model: PathBuf,
    /// Tokens of prompt
    #[arg(long, value_name = "N", default_value_t = 256)]
    prompt: usize,
    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 32)]
    r#gen: usize,
    /// Rounds, of which the medians are reported
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The middle of a sample; the mean of the middle two of an even one.
fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    let n = xs.len();
    match (xs.get(n / 2), xs.get(n.wrapping_sub(1) / 2)) {
        (Some(a), Some(b)) => (a + b) / 2.0,
        _ => f64::NAN,
    }
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.prompt == 0 {
        bail!("--prompt must be at least 1");
    }
    let path = super::model_path(&args.model)?;
    let start = Instant::now();
    let engine = Engine::load(&path, &args.engine.options(1))?;
    let load_s = start.elapsed().as_secs_f64();
    let vocab = engine.model().hparams.vocab;
    // A fixed sequence over the whole vocabulary: speed does not depend on which tokens.
    let ids: Vec<u32> = (0..args.prompt as u64)
        .map(|i| (i * 7919 % u64::from(vocab)) as u32)
        .collect();
    let request = Request {
        sampling: Sampling::greedy(),
        max_tokens: args.r#gen,
        ignore_end: true,
        ..Default::default()
    };
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    let never = Cancel::new();
    // One round more, first, that is not counted: it faults pages in and wakes the threads.
    for round in 0..=args.repeat {
        let mut session = engine.session(SessionOptions {
            context: args.prompt + args.r#gen,
            ..Default::default()
        });
        let start = Instant::now();
        session.prefill(&ids, &never, |_, _| ())?;
        let prefill_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let done = session.generate(&request, &never, |_| ControlFlow::Continue(()))?;
        let decode_s = start.elapsed().as_secs_f64();
        if round > 0 {
            prefill.push(args.prompt as f64 / prefill_s);
            if done.tokens > 0 {
                decode.push(done.tokens as f64 / decode_s);
            }
        }
    }
    let (prefill_tok_s, decode_tok_s) = (median(prefill), median(decode));
    if args.json {
        let report = serde_json::json!({
            "model": path.file_name().map(|n| n.to_string_lossy()),
            "prompt": args.prompt, "gen": args.r#gen, "repeat": args.repeat,
            "threads": engine.threads(), "isa": engine.isa().name(), "load_s": load_s,
            "prefill_tok_s": prefill_tok_s, "decode_tok_s": decode_tok_s,
        });
        println!("{report}");
    } else {
        println!(
            "{} threads, {}, median of {} rounds",
            engine.threads(),
            engine.isa().name(),
            args.repeat
        );
        println!("load     {load_s:9.3} s");
        println!(
            "prefill  {prefill_tok_s:9.1} tokens/s   ({} tokens)",
            args.prompt
        );
        println!(
            "decode   {decode_tok_s:9.1} tokens/s   ({} tokens)",
            args.r#gen
        );
    }
    Ok(())
}
