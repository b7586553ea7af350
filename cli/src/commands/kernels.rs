//! `hob kernels`: every kernel checked against its definition, then timed against the ceiling.

use crate::report::picture::{Picture, Point, Roof};
use crate::report::{self, Form, csv, number, percent, table::Table, threads};
use anyhow::Context;
use clap::Args;
use hob::Isa;
use hob_kernels::ceiling::{Figure, Host, Steadiness};
use hob_kernels::trial::{Bench, Run, Subject, Trial, Work, check};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  hob kernels                                  all kernels, all instruction sets, about a minute
  hob kernels --format Q4_K,Q6_K --threads 1   two formats on one core
  hob kernels --isa avx2 --tokens 1,4,16,512   how speed grows with the tokens that go together
  hob kernels --check                          only whether every bit is right
  hob kernels --csv > kernels.csv; hob kernels --svg kernels.svg

Every kernel must first equal its scalar definition bit for bit; if one does not, nothing is timed
and the exit code is 1. `of roof` compares with the memory bandwidth of the best reader, or the
multiply-add peak if that is lower, measured in the same rounds on the same memory and threads.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KernelsArgs {
    /// Weight formats, as Q4_K, and types of keys and values, as kv-f16 [default: all]
    #[arg(long, value_name = "F,..", value_delimiter = ',', value_parser = subject)]
    format: Vec<Subject>,
    /// Instruction sets [default: all that this processor has; the scalar one only if named]
    #[arg(long, value_name = "I,..", value_delimiter = ',', value_parser = isa)]
    isa: Vec<Isa>,
    /// Threads [default: one per core]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Tokens that go together: 1 is decode
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1, 512], value_parser = clap::value_parser!(u16).range(1..=4096))]
    tokens: Vec<u16>,
    /// How long to time each kernel
    #[arg(long, value_name = "S", default_value_t = 1.5, value_parser = super::roofline::seconds)]
    seconds: f64,
    /// Only check, do not time
    #[arg(long, conflicts_with_all = ["json", "csv", "svg"])]
    check: bool,
    /// Draw a roofline picture of the kernels into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

fn subject(name: &str) -> Result<Subject, String> {
    Subject::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = Subject::all().into_iter().map(Subject::name).collect();
        format!("unknown; there are {}", all.join(", "))
    })
}

fn isa(name: &str) -> Result<Isa, String> {
    Isa::choose(Some(name)).map_err(|e| e.to_string())
}

/// Everything that was found out.
struct Report {
    host: Host,
    threads: usize,
    tokens: Vec<usize>,
    trials: Vec<Trial>,
    steadiness: Steadiness,
}

pub(crate) fn run(args: &KernelsArgs) -> anyhow::Result<()> {
    let subjects = match args.format.is_empty() {
        true => Subject::all(),
        false => args.format.clone(),
    };
    let (checked, timed) = sets(&args.isa);
    let mut progress = Progress::new(subjects.len());
    let mut outputs = 0;
    for &s in &subjects {
        progress.next("checking", s);
        outputs += check(s, &checked).context("nothing was timed")?;
    }
    progress.done();
    let names: Vec<&str> = checked.iter().map(|isa| isa.name()).collect();
    let equal = format!(
        "{} kernels on {} equal their definitions in all of {outputs} outputs, bit for bit",
        subjects.len(),
        names.join(", "),
    );
    if args.check {
        println!("{equal}");
        return Ok(());
    }
    let n = super::threads(args.threads);
    let tokens: Vec<usize> = args.tokens.iter().map(|&t| usize::from(t)).collect();
    let mut bench = Bench::new(n)?;
    let mut progress = Progress::new(subjects.len());
    let mut trials = Vec::new();
    for &s in &subjects {
        progress.next("timing", s);
        trials.push(bench.time(s, &timed, &tokens, args.seconds)?);
    }
    progress.done();
    let report = Report {
        host: bench.host.clone(),
        threads: n,
        tokens,
        trials,
        steadiness: bench.finish(),
    };
    if let Some(path) = &args.svg {
        report::save(path, &report.picture().to_string())?;
    }
    if args.form.json {
        println!("{}", report.json(outputs));
    } else if args.form.csv {
        print!("{}", report.csv());
    } else {
        println!(
            "{}\n{equal}\n",
            report::machine(&report.host, &report.steadiness)
        );
        print!("{}", report.text());
    }
    report::warn(&report.steadiness);
    Ok(())
}

/// Which sets are checked, and which are timed: those asked for, else all, the scalar one being too
/// slow to be worth the wait.
fn sets(asked: &[Isa]) -> (Vec<Isa>, Vec<Isa>) {
    if !asked.is_empty() {
        return (asked.to_vec(), asked.to_vec());
    }
    let all = Isa::available();
    let fast: Vec<Isa> = all.iter().copied().filter(|&i| i != Isa::Scalar).collect();
    match fast.is_empty() {
        true => (all.clone(), all),
        false => (all, fast),
    }
}

impl Report {
    /// A kernel and instruction set a line.
    fn text(&self) -> String {
        let mut head = vec!["kernel".to_owned(), "isa".to_owned()];
        for &t in &self.tokens {
            head.push(match t {
                1 => "1 token, GB/s".to_owned(),
                t => format!("{t} tokens, GMAC/s"),
            });
            head.push("of roof".to_owned());
        }
        head.extend(["row-major, GB/s", "pack, GB/s", "read, GB/s"].map(str::to_owned));
        let mut table = Table::new(2, head);
        for trial in &self.trials {
            for &(isa, _) in &trial.peak_gmac_s {
                let find = |work| trial.runs.iter().find(|r| r.isa == isa && r.work == work);
                let mut cells = vec![trial.subject.name().to_owned(), isa.name().to_owned()];
                for &t in &self.tokens {
                    let run = find(Work::Tokens(t));
                    let rate = |r: &Run| match t {
                        1 => r.gb_s.median,
                        _ => r.gmac_s().median,
                    };
                    cells.push(run.map_or(String::new(), |r| number(rate(r))));
                    cells.push(percent(run.and_then(|r| trial.of_roof(r))));
                }
                for work in [Work::Rows, Work::Pack] {
                    cells.push(find(work).map_or(String::new(), |r| number(r.gb_s.median)));
                }
                cells.push(number(trial.read_gb_s.median));
                table.row(cells);
            }
        }
        format!("{}\n{table}", threads(self.threads))
    }

    /// A run a line.
    fn csv(&self) -> String {
        let mut out = csv::line([
            "kernel",
            "isa",
            "work",
            "tokens",
            "threads",
            "gb_s",
            "gb_s_low",
            "gb_s_high",
            "gmac_s",
            "macs_per_byte",
            "read_gb_s",
            "peak_gmac_s",
            "of_roof",
            "samples",
        ]);
        for trial in &self.trials {
            for run in &trial.runs {
                let (work, tokens) = work(run.work);
                let peak = trial.peak_gmac_s.iter().find(|(isa, _)| *isa == run.isa);
                let cells = [
                    trial.subject.name().to_owned(),
                    run.isa.name().to_owned(),
                    work.to_owned(),
                    tokens.map_or(String::new(), |t| t.to_string()),
                    trial.threads.to_string(),
                    run.gb_s.median.to_string(),
                    run.gb_s.low.to_string(),
                    run.gb_s.high.to_string(),
                    run.gmac_s().median.to_string(),
                    run.macs_per_byte.to_string(),
                    trial.read_gb_s.median.to_string(),
                    peak.map_or(String::new(), |(_, p)| p.median.to_string()),
                    trial.of_roof(run).map_or(String::new(), |x| x.to_string()),
                    run.gb_s.samples.to_string(),
                ];
                out.push_str(&csv::line(cells));
            }
        }
        out
    }

    fn json(&self, outputs: u64) -> Value {
        let trial = |t: &Trial| {
            let peaks: Vec<Value> = t
                .peak_gmac_s
                .iter()
                .map(|(isa, p)| json!({ "isa": isa.name(), "gmac_s": report::figure(p) }))
                .collect();
            let runs: Vec<Value> = t
                .runs
                .iter()
                .map(|r| {
                    let (work, tokens) = work(r.work);
                    json!({
                        "isa": r.isa.name(), "work": work, "tokens": tokens,
                        "gb_s": report::figure(&r.gb_s), "gmac_s": report::figure(&r.gmac_s()),
                        "macs_per_byte": r.macs_per_byte, "of_roof": t.of_roof(r),
                    })
                })
                .collect();
            json!({
                "kernel": t.subject.name(), "elem": t.subject.elem().name(),
                "read_gb_s": report::figure(&t.read_gb_s), "peaks": peaks, "runs": runs,
            })
        };
        json!({
            "cpu": self.host.cpu, "threads": self.threads, "outputs_equal": outputs,
            "kernels": self.trials.iter().map(trial).collect::<Vec<_>>(),
            "machine": report::steadiness(&self.steadiness),
        })
    }

    fn picture(&self) -> Picture {
        let best = |figures: &mut dyn Iterator<Item = Figure>| {
            figures.map(|f| f.median).fold(f64::NAN, f64::max)
        };
        let dram = best(&mut self.trials.iter().map(|t| t.read_gb_s));
        let mut peaks: Vec<Roof> = Vec::new();
        for t in &self.trials {
            for &(isa, _) in &t.peak_gmac_s {
                let label = format!("{} {}", isa.name(), t.subject.elem().name());
                if peaks.iter().any(|p| p.label == label) {
                    continue;
                }
                let same = self
                    .trials
                    .iter()
                    .filter(|o| o.subject.elem() == t.subject.elem());
                let mut figures = same
                    .flat_map(|o| &o.peak_gmac_s)
                    .filter(|(i, _)| *i == isa)
                    .map(|p| p.1);
                peaks.push(Roof {
                    label,
                    rate: best(&mut figures),
                    dashed: false,
                });
            }
        }
        let series: Vec<Isa> = {
            let mut isas: Vec<Isa> = self
                .trials
                .iter()
                .flat_map(|t| t.peak_gmac_s.iter().map(|p| p.0))
                .collect();
            isas.sort_unstable();
            isas.dedup();
            isas.reverse();
            isas
        };
        let mut points = Vec::new();
        for t in &self.trials {
            for r in &t.runs {
                let Work::Tokens(n) = r.work else { continue };
                points.push(Point {
                    label: t.subject.name().to_owned(),
                    note: format!(
                        "{} {}, {n} tokens: {} GB/s, {} GMAC/s, {} of its roof",
                        t.subject.name(),
                        r.isa,
                        number(r.gb_s.median),
                        number(r.gmac_s().median),
                        percent(t.of_roof(r)),
                    ),
                    macs_per_byte: r.macs_per_byte,
                    gmac_s: r.gmac_s().median,
                    series: series.iter().position(|&i| i == r.isa).unwrap_or(0),
                });
            }
        }
        let tokens: Vec<String> = self.tokens.iter().map(usize::to_string).collect();
        Picture {
            title: format!("hob kernels on {}", self.host.cpu),
            subtitle: format!(
                "{}, {} GHz; weights and keys streamed from memory for {} tokens",
                threads(self.threads),
                number(self.steadiness.clock_ghz.median),
                tokens.join(", "),
            ),
            memory: vec![Roof {
                label: "DRAM".to_owned(),
                rate: dram,
                dashed: false,
            }],
            peaks,
            points,
            guides: Vec::new(),
            series: series.iter().map(|i| i.name().to_owned()).collect(),
        }
    }
}

/// The name of a kind of work, and its tokens.
fn work(work: Work) -> (&'static str, Option<usize>) {
    match work {
        Work::Tokens(t) => ("kernel", Some(t)),
        Work::Rows => ("row-major", Some(1)),
        Work::Pack => ("pack", None),
    }
}

/// A line on standard error that says what is done now, if a person watches.
struct Progress {
    shown: bool,
    at: usize,
    of: usize,
}

impl Progress {
    fn new(of: usize) -> Progress {
        Progress {
            shown: std::io::stderr().is_terminal(),
            at: 0,
            of,
        }
    }

    fn next(&mut self, what: &str, subject: Subject) {
        self.at += 1;
        if self.shown {
            // Nobody reads it if it cannot be written.
            let mut err = std::io::stderr();
            let name = subject.name();
            let _ = write!(err, "\r{what} {name:<8} {}/{}", self.at, self.of);
            let _ = err.flush();
        }
    }

    fn done(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r{:40}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut bench = Bench::new(1).unwrap();
        let isas = sets(&[]).1;
        let trials = ["Q4_K", "F16", "kv-f16"]
            .map(|name| {
                let s = subject(name).unwrap();
                bench.time(s, &isas, &[1, 16], 0.0).unwrap()
            })
            .to_vec();
        Report {
            host: bench.host.clone(),
            threads: 1,
            tokens: vec![1, 16],
            trials,
            steadiness: bench.finish(),
        }
    }

    #[test]
    fn every_form_has_every_run() {
        let r = report();
        let runs: usize = r.trials.iter().map(|t| t.runs.len()).sum();
        let csv = r.csv();
        assert_eq!(csv.lines().count(), 1 + runs);
        assert!(csv.lines().all(|l| l.matches(',').count() == 13), "{csv}");
        let json = r.json(7);
        let kernels = json["kernels"].as_array().unwrap();
        let in_json: usize = kernels
            .iter()
            .map(|k| k["runs"].as_array().unwrap().len())
            .sum();
        assert_eq!((in_json, &json["outputs_equal"]), (runs, &json!(7)));
        assert_eq!(kernels[0]["elem"], "int8");
        assert!(kernels[0]["runs"][0]["of_roof"].as_f64().unwrap() > 0.0);
        let text = r.text();
        assert_eq!(text.lines().count(), 2 + 3 * sets(&[]).1.len(), "{text}");
        let drawn = r.picture();
        assert!(drawn.points.len() == 3 * 2 * sets(&[]).1.len());
    }

    #[test]
    fn names_that_are_unknown_are_refused_with_the_known_ones() {
        assert!(subject("Q9_K").unwrap_err().contains("Q4_K"));
        assert!(isa("sse9").unwrap_err().contains("scalar"));
        assert_eq!(sets(&[Isa::Scalar]), (vec![Isa::Scalar], vec![Isa::Scalar]));
        assert!(sets(&[]).0.contains(&Isa::Scalar));
    }
}
