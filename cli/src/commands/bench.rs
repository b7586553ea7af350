//! `hob bench`: prefill and decode speed, medians over several rounds; with `--profile`, also where
//! the time goes.

mod profile;

use crate::args::EngineArgs;
use crate::confined::{self, ConfinementArgs};
use crate::model::Model;
use crate::report;
use crate::terminal::PlainJson;
use anyhow::bail;
use clap::Args;
use hob::privacy::{Confinement, Mode};
use hob::{Cancel, Engine, Profile, Request, Sampling, SessionOptions};
use hob_kernels::ceiling::Ceiling;
use profile::Phase;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  hob bench model.gguf                          256 tokens of prompt, 32 generated
  hob bench model.gguf --prompt 512 --json      for a script
  hob bench model.gguf --profile --threads 1    each step against this machine's roof

With --profile, `of roof` is the least time that a step's bytes and multiply-adds could take, as a
share of the time it took: at the bandwidth at which the same threads read the model's own weights
just before, in every round, and at the machine's peaks; the median over the rounds. Over 100% means
that caches helped. `waited` is time at barriers.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
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
    /// Report also where the time goes, step by step, against this machine's roof
    #[arg(long)]
    profile: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
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

/// How this process is confined. A profile watches the machine meanwhile, in files that say nothing else.
fn rules(profile: bool) -> Confinement {
    if !profile {
        return Mode::Run.into();
    }
    let files = ["/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/self"];
    let caches = "/sys/devices/system/cpu/cpu0/cache";
    let there = files
        .into_iter()
        .chain([caches])
        .filter(|path| Path::new(path).exists());
    there.fold(Confinement::new(Mode::Serve), Confinement::readable)
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.prompt == 0 {
        bail!("--prompt must be at least 1");
    }
    let model = Model::find(&args.model)?;
    let start = Instant::now();
    let engine = confined::load(
        rules(args.profile),
        &model,
        &args.engine,
        1,
        args.confinement,
    )?;
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
    let round = || -> anyhow::Result<Round> {
        let never = Cancel::new();
        let mut session = engine.session(SessionOptions {
            context: args.prompt + args.r#gen,
            ..Default::default()
        });
        let start = Instant::now();
        session.prefill(&ids, &never, |_, _| ())?;
        let prefill_s = start.elapsed().as_secs_f64();
        let prefill = engine.take_profile();
        let start = Instant::now();
        let done = session.generate(&request, &never, |_| ControlFlow::Continue(()))?;
        Ok(Round {
            prefill_s,
            decode_s: start.elapsed().as_secs_f64(),
            generated: done.tokens,
            profiles: prefill.zip(engine.take_profile()),
        })
    };
    // One round that is not counted: it faults pages in and wakes the threads.
    round()?;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..args.repeat {
        let r = round()?;
        prefill.push(args.prompt as f64 / r.prefill_s);
        if r.generated > 0 {
            decode.push(r.generated as f64 / r.decode_s);
        }
    }
    let (prefill_tok_s, decode_tok_s) = (median(prefill), median(decode));
    let profiled = match args.profile {
        true => Some(profiled(&engine, args.repeat, round)?),
        false => None,
    };
    if args.json {
        let mut report = serde_json::json!({
            "model": model.path.file_name().map(|n| n.to_string_lossy()),
            "prompt": args.prompt, "gen": args.r#gen, "repeat": args.repeat,
            "threads": engine.threads(), "isa": engine.isa().name(), "load_s": load_s,
            "prefill_tok_s": prefill_tok_s, "decode_tok_s": decode_tok_s,
        });
        if let Some(p) = &profiled {
            report["profile"] = serde_json::json!({
                "roof": profile::roof_json(&p.roof, &p.measured),
                "prefill": p.phases[0].json(), "decode": p.phases[1].json(),
            });
        }
        println!("{}", PlainJson(&report));
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
        if let Some(p) = &profiled {
            println!("\n{}", profile::roof_text(&p.roof, engine.isa()));
            for phase in &p.phases {
                print!("\n{}", phase.text());
            }
        }
    }
    for c in profiled.iter().flat_map(|p| &p.measured) {
        report::warn(&c.steadiness);
    }
    Ok(())
}

/// What one round took.
struct Round {
    prefill_s: f64,
    decode_s: f64,
    generated: usize,
    /// Of prefill and of decode, if the engine keeps profiles.
    profiles: Option<(Profile, Profile)>,
}

/// Where the time went, in rounds of their own.
struct Profiled {
    roof: profile::Roof,
    measured: Vec<Ceiling>,
    phases: [Phase; 2],
}

/// Measures the peaks, profiles as many rounds as were timed, each beside the bandwidth at that moment,
/// and measures the peaks again.
fn profiled(
    engine: &Engine,
    rounds: u16,
    round: impl Fn() -> anyhow::Result<Round>,
) -> anyhow::Result<Profiled> {
    let (before, first) = profile::roof(engine.threads(), engine.isa())?;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    engine.set_profiling(true);
    for _ in 0..rounds {
        let gb_s = engine.read_bandwidth()?;
        let r = round()?;
        let Some((p, d)) = r.profiles else { continue };
        let keep = |profile, seconds| profile::Round {
            profile,
            seconds,
            gb_s,
        };
        prefill.push(keep(p, r.prefill_s));
        decode.push(keep(d, r.decode_s));
    }
    engine.set_profiling(false);
    let (after, second) = profile::roof(engine.threads(), engine.isa())?;
    let roof = profile::Roof {
        gb_s: median(prefill.iter().map(|r| r.gb_s).collect()),
        ..before.or_higher(after)
    };
    let (prompts, tokens) = (
        prefill.len() as u64,
        decode.iter().map(|r| r.profile.tokens).sum(),
    );
    Ok(Profiled {
        roof,
        measured: vec![first, second],
        phases: [
            Phase::new("prefill", ("prompt", prompts), prefill, roof),
            Phase::new("decode", ("token", tokens), decode, roof),
        ],
    })
}
