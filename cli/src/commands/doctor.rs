//! `hob doctor`: what this machine and its settings are to hob, and what would make it faster.
//!
//! Nothing is changed, and nothing leaves this computer. `look` has the checks; this file shows them.

mod look;

use crate::report::{self, number};
use crate::terminal::{Plain, PlainJson};
use clap::Args;
use hob_kernels::ceiling::{Ceiling, Elem, Level, Scope, measure};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "\
Exit code 1 if something keeps hob from working here, else 0.")]
pub(crate) struct DoctorArgs {
    /// Worker threads [default: one per core]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = super::roofline::seconds)]
    seconds: f64,
    /// Do not measure
    #[arg(long, conflicts_with = "seconds")]
    no_measure: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing to do.
    Good,
    /// Something could be better.
    Better,
    /// hob does not work here, or not all of it.
    Bad,
    /// Just so that it is known.
    Told,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Better => "could be better",
            State::Bad => "bad",
            State::Told => "told",
        }
    }

    /// In front of a line.
    fn mark(self) -> char {
        match self {
            State::Good => '+',
            State::Better => '!',
            State::Bad => 'x',
            State::Told => ' ',
        }
    }
}

/// What was looked at.
#[derive(Clone, Debug)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found, for people.
    found: String,
    /// What to do, if there is something.
    remedy: Option<String>,
    /// The same in figures, for scripts.
    values: Map<String, Value>,
}

impl Check {
    /// One of which nothing is to be done; `values` is a JSON object.
    fn new(name: &'static str, found: impl Into<String>, values: Value) -> Check {
        Check {
            name,
            state: State::Good,
            found: found.into(),
            remedy: None,
            values: match values {
                Value::Object(map) => map,
                _ => Map::new(),
            },
        }
    }

    fn told(self) -> Check {
        Check {
            state: State::Told,
            ..self
        }
    }

    fn but(self, state: State, remedy: impl Into<String>) -> Check {
        Check {
            state,
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The first of the pairs whose condition holds says what to do.
    fn unless<const N: usize>(self, state: State, remedies: [(bool, &str); N]) -> Check {
        match remedies.into_iter().find(|r| r.0) {
            Some((_, remedy)) => self.but(state, remedy),
            None => self,
        }
    }
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let threads = super::threads(args.threads);
    let mut checks = look::all(threads);
    let mut warning = None;
    if !args.no_measure {
        match measure(threads, args.seconds, Scope::Quick(hob::Isa::best())) {
            Ok(ceiling) => {
                checks.push(speed(&ceiling));
                warning = Some(ceiling.steadiness);
            }
            Err(e) => checks.push(
                Check::new("speed", "not measured", json!({})).but(State::Bad, e.to_string()),
            ),
        }
    }
    if args.json {
        println!("{}", PlainJson(&to_json(&checks)));
    } else {
        print!("{}", to_text(&checks));
    }
    if let Some(steadiness) = warning {
        report::warn(&steadiness);
    }
    let bad = checks.iter().any(|c| c.state == State::Bad);
    Ok(ExitCode::from(u8::from(bad)))
}

/// What the machine allows at most.
fn speed(c: &Ceiling) -> Check {
    let read = c.bandwidth(Level::Dram, c.threads).map(|r| r.gb_s.median);
    let isa = hob::Isa::best();
    let peak = c.peak(Elem::Int8, isa, c.threads).map(|p| p.gmac_s.median);
    let shown = |x: Option<f64>| x.map_or("-".to_owned(), number);
    let found = format!(
        "{} GB/s read, {} int8 GMAC/s on {}: at most {} tokens/s for each GB of weights, \
         prompts {} tokens/s for each 1e9 weights",
        shown(read),
        shown(peak),
        report::threads(c.threads),
        shown(read),
        shown(peak),
    );
    let values = json!({ "read_gb_s": read, "int8_gmac_s": peak, "threads": c.threads });
    Check::new("speed", found, values).told()
}

fn to_json(checks: &[Check]) -> Value {
    let each = |c: &Check| {
        json!({
            "name": c.name, "state": c.state.name(), "found": c.found, "remedy": c.remedy,
            "values": c.values,
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "works": checks.iter().all(|c| c.state != State::Bad),
        "checks": checks.iter().map(each).collect::<Vec<_>>(),
    })
}

fn to_text(checks: &[Check]) -> String {
    let mut out = format!("hob {}\n\n", env!("CARGO_PKG_VERSION"));
    let width = checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
    for c in checks {
        let (mark, name) = (c.state.mark(), c.name);
        out.push_str(&format!("{mark} {name:<width$}  {}\n", Plain(&c.found)));
    }
    for (state, head) in [
        (State::Bad, "To make it work:"),
        (State::Better, "Would make it faster, or safer:"),
    ] {
        let remedies: Vec<String> = checks
            .iter()
            .filter(|c| c.state == state)
            .filter_map(|c| Some(format!("  {}: {}\n", c.name, Plain(c.remedy.as_ref()?))))
            .collect();
        if !remedies.is_empty() {
            out.push_str(&format!("\n{head}\n{}", remedies.concat()));
        }
    }
    if checks
        .iter()
        .all(|c| matches!(c.state, State::Good | State::Told))
    {
        out.push_str("\nNothing to improve.\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_listed_by_what_they_are_for() {
        let checks = [
            Check::new("cpu", "fine", json!({ "cores": 2 })),
            Check::new("pages", "off", json!({})).but(State::Better, "turn them on"),
            Check::new("store", "read-only", json!({}))
                .unless(State::Bad, [(false, "no"), (true, "make it writable")]),
        ];
        let text = to_text(&checks);
        assert!(text.contains("+ cpu    fine\n"), "{text}");
        assert!(
            text.contains("work:\n  store: make it writable\n"),
            "{text}"
        );
        assert!(text.contains("safer:\n  pages: turn them on\n"), "{text}");
        assert!(to_text(&checks[..1]).contains("Nothing to improve"));
        let json = to_json(&checks);
        assert_eq!(json["works"], false);
        assert_eq!(json["checks"][0]["values"]["cores"], 2);
    }

    #[test]
    fn every_check_answers_on_this_machine() {
        let checks = look::all(2);
        let names: Vec<_> = checks.iter().map(|c| c.name).collect();
        for name in ["processor", "cores", "memory", "store", "limits", "pip"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(
            names.iter().any(|name| name.starts_with("confine")),
            "{names:?}"
        );
        assert!(checks.iter().all(|c| !c.found.is_empty()));
        let asks = |c: &Check| matches!(c.state, State::Better | State::Bad);
        assert!(checks.iter().all(|c| asks(c) == c.remedy.is_some()));
    }
}
