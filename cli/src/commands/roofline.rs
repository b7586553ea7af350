//! `hob roofline`: what this machine could do at best.

use crate::report::picture::{Picture, Roof};
use crate::report::{self, Form, csv, number, range, table::Table, threads};
use clap::Args;
use hob_kernels::Format;
use hob_kernels::ceiling::{Ceiling, Elem, Level, Pages, Read, Scope, measure, share};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  hob roofline                      all cores, about 8 seconds
  hob roofline --threads 1 --json   one core, for a script
  hob roofline --csv > roof.csv     every reader and peak, a line each
  hob roofline --svg roof.svg       the picture (`hob kernels --svg` adds the kernels)

Every figure is the median of many short pieces of work, taken in turn; low..high are the first and
the last tenth of them. Bandwidth is that of the best of several readers. A warning on standard error
says if the machine was busy or its clock drifted.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RooflineArgs {
    /// Most threads [default: one per core]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 8.0, value_parser = seconds)]
    seconds: f64,
    /// Draw a roofline picture into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

/// Seconds on the command line: a positive number, at most an hour.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("a number of seconds, more than 0 and at most 3600".to_owned()),
    }
}

pub(crate) fn run(args: &RooflineArgs) -> anyhow::Result<()> {
    let n = super::threads(args.threads);
    let ceiling = measure(n, args.seconds, Scope::Full)?;
    if let Some(path) = &args.svg {
        report::save(path, &picture(&ceiling).to_string())?;
    }
    if args.form.json {
        println!("{}", report::ceiling(&ceiling));
    } else if args.form.csv {
        print!("{}", to_csv(&ceiling));
    } else {
        print!("{}", to_text(&ceiling));
    }
    report::warn(&ceiling.steadiness);
    Ok(())
}

/// One line a figure.
fn to_csv(c: &Ceiling) -> String {
    let mut out = csv::line([
        "kind",
        "what",
        "isa",
        "pages",
        "streams",
        "set_bytes",
        "threads",
        "unit",
        "median",
        "low",
        "high",
        "samples",
    ]);
    let mut line = |start: [String; 7], unit: &str, f: &hob_kernels::ceiling::Figure| {
        let figures = [
            unit.to_owned(),
            f.median.to_string(),
            f.low.to_string(),
            f.high.to_string(),
            f.samples.to_string(),
        ];
        out.push_str(&csv::line(start.into_iter().chain(figures)));
    };
    for r in &c.reads {
        let start = [
            "read".to_owned(),
            r.level.name().to_owned(),
            r.isa.name().to_owned(),
            r.pages.name().to_owned(),
            r.streams.to_string(),
            r.set_bytes.to_string(),
            r.threads.to_string(),
        ];
        line(start, "GB/s", &r.gb_s);
    }
    let start = |kind: &str, what: &str, isa: &str, n: usize| {
        [kind, what, isa, "", "", "", &n.to_string()].map(str::to_owned)
    };
    for p in &c.peaks {
        let start = start("peak", p.elem.name(), p.isa.name(), p.threads);
        line(start, "GMAC/s", &p.gmac_s);
    }
    for s in &c.syncs {
        line(start("sync", s.kind.name(), "", s.threads), "us", &s.us);
    }
    line(
        start("clock", "estimate", "", 1),
        "GHz",
        &c.steadiness.clock_ghz,
    );
    out
}

/// The numbers of threads that were measured.
fn steps(c: &Ceiling) -> Vec<usize> {
    let mut steps: Vec<usize> = c.reads.iter().map(|r| r.threads).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// The best reader of a level, pages of a kind, and threads.
fn best(c: &Ceiling, level: Level, pages: Pages, n: usize) -> Option<&Read> {
    c.reads
        .iter()
        .filter(|r| r.level == level && r.pages == pages && r.threads == n)
        .max_by(|a, b| a.gb_s.median.total_cmp(&b.gb_s.median))
}

fn to_text(c: &Ceiling) -> String {
    let mut out = format!("{}\n\n", report::machine(&c.host, &c.steadiness));
    let mut t = Table::new(
        3,
        [
            "read from",
            "pages",
            "best reader",
            "threads",
            "GB/s",
            "low..high",
        ],
    );
    for level in Level::ALL {
        for pages in [Pages::Small, Pages::Huge] {
            for n in steps(c) {
                let Some(r) = best(c, level, pages, n) else {
                    continue;
                };
                let granted = match (pages, r.huge_share) {
                    (Pages::Huge, Some(x)) if x < 0.99 => format!("huge ({:.0}%)", 100.0 * x),
                    _ => pages.name().to_owned(),
                };
                let streams = if r.streams == 1 { "stream" } else { "streams" };
                t.row([
                    level.name().to_owned(),
                    granted,
                    format!("{}, {} {streams}", r.isa.name(), r.streams),
                    n.to_string(),
                    number(r.gb_s.median),
                    range(&r.gb_s),
                ]);
            }
        }
    }
    out.push_str(&format!("{t}\n"));
    let mut t = Table::new(
        2,
        [
            "multiply",
            "isa",
            "threads",
            "GMAC/s",
            "low..high",
            "MAC/cycle",
        ],
    );
    for p in &c.peaks {
        let a_core = p.gmac_s.median / p.threads as f64;
        t.row([
            p.elem.name().to_owned(),
            p.isa.name().to_owned(),
            p.threads.to_string(),
            number(p.gmac_s.median),
            range(&p.gmac_s),
            number(share(a_core, c.steadiness.clock_ghz.median).unwrap_or(f64::NAN)),
        ]);
    }
    out.push_str(&format!("{t}\n"));
    let mut t = Table::new(1, ["meet", "threads", "us", "low..high"]);
    for s in &c.syncs {
        t.row([
            s.kind.name().to_owned(),
            s.threads.to_string(),
            number(s.us.median),
            range(&s.us),
        ]);
    }
    out.push_str(&format!("{t}\n"));
    out.push_str(&meaning(c));
    out
}

/// All roofs on all threads, and memory's on one.
fn picture(c: &Ceiling) -> Picture {
    let roof = |level: Level, n| {
        let read = c.bandwidth(level, n)?;
        let label = match (level, n) {
            (Level::Dram, n) => format!("DRAM, {}", threads(n)),
            _ => level.name().to_owned(),
        };
        Some(Roof {
            label,
            rate: read.gb_s.median,
            dashed: n != c.threads,
        })
    };
    let mut memory: Vec<Roof> = Level::ALL
        .iter()
        .filter_map(|&l| roof(l, c.threads))
        .collect();
    if c.threads > 1 {
        memory.extend(roof(Level::Dram, 1));
    }
    let peaks = c.peaks.iter().filter(|p| p.threads == c.threads);
    Picture {
        title: format!("Roofline of {}", c.host.cpu),
        subtitle: format!(
            "{}, {} GHz, measured in {} s",
            threads(c.threads),
            number(c.steadiness.clock_ghz.median),
            number(c.seconds),
        ),
        memory,
        peaks: peaks
            .map(|p| Roof {
                label: format!("{} {}", p.isa.name(), p.elem.name()),
                rate: p.gmac_s.median,
                dashed: false,
            })
            .collect(),
        points: Vec::new(),
        // What one token multiplies for each byte of its weights.
        guides: [
            Format::F32,
            Format::F16,
            Format::Q8_0,
            Format::Q4K,
            Format::Q2K,
        ]
        .map(|f| {
            let each = f.block_len() as f64 / f.block_bytes() as f64;
            (format!("one token, {f}"), each)
        })
        .to_vec(),
        series: Vec::new(),
    }
}

/// What the figures mean for a model, in two lines.
fn meaning(c: &Ceiling) -> String {
    let isa = hob::Isa::best();
    let (Some(read), Some(peak)) = (
        c.bandwidth(Level::Dram, c.threads),
        c.peak(Elem::Int8, isa, c.threads),
    ) else {
        return String::new();
    };
    let (gb_s, gmac_s) = (read.gb_s.median, peak.gmac_s.median);
    format!(
        "On {}, decode can reach at most {} tokens/s for each GB of weights that a token reads, and\n\
         prefill at most {} tokens/s for each 1e9 weights; below {} multiply-adds a byte, memory is the limit.\n",
        threads(c.threads),
        number(gb_s),
        number(gmac_s),
        number(gmac_s / gb_s),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "3601", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_form_has_every_figure() {
        let c = measure(2, 0.0, Scope::Full).unwrap();
        let lines = c.reads.len() + c.peaks.len() + c.syncs.len() + 1;
        let csv = to_csv(&c);
        assert_eq!(csv.lines().count(), 1 + lines);
        assert!(csv.lines().all(|l| l.matches(',').count() == 11), "{csv}");
        let json = report::ceiling(&c);
        let len = |key: &str| json[key].as_array().unwrap().len();
        assert_eq!(len("reads") + len("peaks") + len("syncs") + 1, lines);
        assert!(json["reads"][0]["gb_s"]["median"].as_f64().unwrap() > 0.0);
        assert!(json["machine"]["steady"].is_boolean());
        let text = to_text(&c);
        for name in ["L1", "DRAM", "int8", "barrier", "sleep and wake"] {
            assert!(text.contains(name), "{text}");
        }
    }
}
