//! `hob recommend`: which models of the catalogue fit this machine, and how fast they could be.
//!
//! Speeds are rooflines, from what is measured here and now: a decoded token reads all weights once, so
//! memory's bandwidth bounds it; a prompt's tokens share the reads, so multiplications bound them. What
//! hob reaches of them, `hob bench MODEL --profile` says.

mod needs;

use crate::catalogue;
use crate::report::{self, number, table::Table};
use crate::store::Store;
use crate::terminal::bytes;
use clap::Args;
use hob_kernels::ceiling::{Elem, Level, Scope, measure};
use needs::Shape;
use serde_json::json;

/// Tokens a second, at most: below this, answers come slower than most people read.
const READING: f64 = 10.0;
/// Memory that is left to everything else.
const SPARE: u64 = 256 << 20;

#[derive(Args)]
#[command(after_help = "\
Speeds are upper bounds: this machine's read bandwidth divided by the bytes that a decoded token reads,
and its int8 multiply-adds divided by the weights of all layers. `hob bench MODEL` measures what is
reached; less, above all of the second.")]
pub(crate) struct RecommendArgs {
    /// Positions of keys and values to count, prompt and answer together
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    context: u32,
    /// Worker threads [default: one per core]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = super::roofline::seconds)]
    seconds: f64,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// A model of the catalogue on this machine.
struct Row {
    name: &'static str,
    chats: bool,
    here: bool,
    size: u64,
    memory: u64,
    /// `None`: the system does not say how much memory there is.
    fits: Option<bool>,
    decode: Option<f64>,
    prefill: Option<f64>,
}

/// What the machine has.
struct Machine {
    available: Option<u64>,
    gb_s: Option<f64>,
    gmac_s: Option<f64>,
}

pub(crate) fn run(args: &RecommendArgs) -> anyhow::Result<()> {
    let (threads, isa) = (super::threads(args.threads), hob::Isa::best());
    let available = hob::available_memory();
    let ceiling = measure(threads, args.seconds, Scope::Quick(isa))?;
    let read = ceiling.bandwidth(Level::Dram, threads);
    let peak = ceiling.peak(Elem::Int8, isa, threads);
    let machine = Machine {
        available,
        gb_s: read.map(|r| r.gb_s.median),
        gmac_s: peak.map(|p| p.gmac_s.median),
    };
    let store = Store::open().ok();
    let here = |name: &str| {
        store
            .as_ref()
            .is_some_and(|s| matches!(s.find(name), Ok(Some(_))))
    };
    let rows = rows(&machine, args.context.into(), here);
    let best = best(&rows).map(|r| r.name);
    if args.json {
        let models: Vec<_> = rows
            .iter()
            .map(|r| {
                json!({
                    "name": r.name, "chats": r.chats, "in_store": r.here, "size_bytes": r.size,
                    "memory_bytes": r.memory, "fits": r.fits,
                    "decode_tok_s": r.decode, "prefill_tok_s": r.prefill,
                })
            })
            .collect();
        let report = json!({
            "context": args.context, "threads": threads, "isa": isa.name(),
            "available_bytes": machine.available, "read_gb_s": machine.gb_s,
            "int8_gmac_s": machine.gmac_s, "recommended": best, "models": models,
        });
        println!("{report}");
    } else {
        print!("{}", text(&rows, &machine, args.context, threads, best));
    }
    report::warn(&ceiling.steadiness);
    Ok(())
}

fn rows(machine: &Machine, context: u64, here: impl Fn(&str) -> bool) -> Vec<Row> {
    catalogue::all()
        .iter()
        .filter_map(|entry| {
            let shape = Shape::of(entry.name)?;
            let memory = shape.memory(entry.size, context);
            let rate = |per_second: Option<f64>, each: u64| Some(per_second? * 1e9 / each as f64);
            Some(Row {
                name: entry.name,
                chats: shape.chats,
                here: here(entry.name),
                size: entry.size,
                memory,
                fits: machine.available.map(|a| memory.saturating_add(SPARE) <= a),
                decode: rate(machine.gb_s, shape.read_per_token(entry.size)),
                prefill: rate(machine.gmac_s, shape.multiplied_in_prompts()),
            })
        })
        .collect()
}

/// The largest that chats, fits, and is as fast as people read; if none is, the smallest that fits.
fn best(rows: &[Row]) -> Option<&Row> {
    let fits = || rows.iter().filter(|r| r.chats && r.fits != Some(false));
    let fluent = fits().filter(|r| r.decode.is_none_or(|d| d >= READING));
    fluent
        .max_by_key(|r| r.size)
        .or(fits().min_by_key(|r| r.size))
}

fn text(
    rows: &[Row],
    machine: &Machine,
    context: u32,
    threads: usize,
    best: Option<&str>,
) -> String {
    let known = |x: Option<f64>, unit: &str| match x {
        Some(x) => format!("{} {unit}", number(x)),
        None => format!("unknown {unit}"),
    };
    let available = machine.available.map_or("unknown".to_owned(), bytes);
    let mut out = format!(
        "{available} of memory available; {} read, {} int8 on {}\n\n",
        known(machine.gb_s, "GB/s"),
        known(machine.gmac_s, "GMAC/s"),
        report::threads(threads),
    );
    let mut t = Table::new(
        2,
        [
            "model",
            "fits",
            "download",
            "memory",
            "decode tok/s",
            "prefill tok/s",
        ],
    );
    for r in rows {
        let fits = match (r.fits, r.here) {
            (Some(false), _) => "no",
            (_, true) => "yes, and is here",
            (None, _) => "unknown",
            (Some(true), _) => "yes",
        };
        t.row([
            r.name.to_owned(),
            fits.to_owned(),
            bytes(r.size),
            bytes(r.memory),
            r.decode.map_or("-".to_owned(), number),
            r.prefill.map_or("-".to_owned(), number),
        ]);
    }
    out.push_str(&format!(
        "{t}\nMemory with {context} positions; speeds are the most that this machine allows.\n"
    ));
    out.push_str(&match best {
        Some(name) if rows.iter().any(|r| r.name == name && r.here) => {
            format!("Recommended: {name}, which is here: hob run {name} \"...\"\n")
        }
        Some(name) => format!("Recommended: {name}: hob pull {name}\n"),
        None => "None of them fits; close other programs, or use a smaller --context.\n".to_owned(),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(available: u64, gb_s: f64) -> Vec<Row> {
        let machine = Machine {
            available: Some(available),
            gb_s: Some(gb_s),
            gmac_s: Some(500.0),
        };
        rows(&machine, 4096, |_| false)
    }

    #[test]
    fn the_largest_fluent_model_that_fits_is_recommended() {
        let name = |available, gb_s| best(&on(available, gb_s)).map(|r| r.name);
        assert_eq!(name(64 << 30, 200.0), Some("Qwen3-8B"));
        // It would fit, but not be fluent.
        let small = on(64 << 30, 10.0);
        let chosen = best(&small).unwrap();
        assert!(chosen.decode.unwrap() >= READING && chosen.size < 2_000_000_000);
        assert_eq!(name(600 << 20, 10.0), Some("SmolLM2-135M-Instruct"));
        assert_eq!(name(1 << 20, 10.0), None);
        // Nothing is fluent: the smallest.
        assert_eq!(name(64 << 30, 0.1), Some("SmolLM2-135M-Instruct"));
    }

    #[test]
    fn decode_is_bandwidth_by_bytes() {
        let rows = on(64 << 30, 20.0);
        let row = rows
            .iter()
            .find(|r| r.name == "SmolLM2-135M-Instruct")
            .unwrap();
        assert!((row.decode.unwrap() - 20e9 / 98_362_432.0).abs() < 1e-6);
        let shown = text(
            &rows,
            &Machine {
                available: None,
                gb_s: None,
                gmac_s: None,
            },
            4096,
            2,
            None,
        );
        assert!(
            shown.contains("SmolLM2-135M-Instruct  yes") && shown.contains("203"),
            "{shown}"
        );
    }
}
