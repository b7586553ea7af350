//! `hob bench --profile`: each kind of step against the machine's ceiling.

use crate::report::{self, number, percent, table::Table};
use hob::{Isa, Profile, RegionProfile};
use hob_kernels::ceiling::{Ceiling, Elem, Level, Scope, measure, share};
use serde_json::{Value, json};

/// Bandwidth and peaks on the engine's threads. Bandwidth drifts with what else the machine does, so it
/// is measured in every round, and a step is compared with that of its round. Peaks hardly do: of the
/// pieces measured, what the best tenth reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roof {
    pub(super) gb_s: f64,
    pub(super) int8_gmac_s: f64,
    pub(super) f32_gmac_s: f64,
}

/// Measures the roof for about a second, its bandwidth on other bytes than the model's.
pub(super) fn roof(threads: usize, isa: Isa) -> anyhow::Result<(Roof, Ceiling)> {
    let c = measure(threads, 1.0, Scope::Quick(isa))?;
    let peak = |elem| {
        c.peak(elem, isa, threads)
            .map_or(f64::NAN, |p| p.gmac_s.high)
    };
    let reads = c.reads.iter().filter(|r| r.level == Level::Dram);
    let roof = Roof {
        gb_s: reads.map(|r| r.gb_s.high).fold(f64::NAN, f64::max),
        int8_gmac_s: peak(Elem::Int8),
        f32_gmac_s: peak(Elem::F32),
    };
    Ok((roof, c))
}

impl Roof {
    /// The higher of two measurements: a disturbed one is too low.
    pub(super) fn or_higher(self, other: Roof) -> Roof {
        Roof {
            gb_s: self.gb_s.max(other.gb_s),
            int8_gmac_s: self.int8_gmac_s.max(other.int8_gmac_s),
            f32_gmac_s: self.f32_gmac_s.max(other.f32_gmac_s),
        }
    }
}

/// One phase of one round: what the machine saw of it, what the whole of it took, and the bandwidth at
/// which the weights were read just before.
pub(super) struct Round {
    pub(super) profile: Profile,
    pub(super) seconds: f64,
    pub(super) gb_s: f64,
}

/// One phase of all rounds.
pub(super) struct Phase {
    /// "prefill" or "decode".
    name: &'static str,
    /// What a millisecond figure is for: "token" or "prompt".
    unit: &'static str,
    /// How many of those there were.
    units: u64,
    rounds: Vec<Round>,
    /// All rounds together.
    all: Round,
    /// The bandwidth is the median.
    roof: Roof,
}

/// A line of the report.
struct Row {
    step: String,
    /// "Q4_K+Q6_K"; empty if there are no weights.
    formats: String,
    work: RegionProfile,
}

impl Round {
    /// Kinds of steps, then what is left; the seconds add up to the phase's.
    fn rows(&self) -> Vec<Row> {
        let kinds = self.profile.by_label();
        let mut rows: Vec<Row> = kinds
            .regions
            .into_iter()
            .filter(|r| r.runs > 0)
            .map(|r| {
                let formats: Vec<&str> = r.formats.iter().map(|f| f.name()).collect();
                Row {
                    step: r.label.clone(),
                    formats: formats.join("+"),
                    work: r,
                }
            })
            .collect();
        let other = |step: &str, seconds: f64| Row {
            step: step.to_owned(),
            formats: String::new(),
            work: RegionProfile {
                runs: self.profile.runs,
                seconds,
                ..RegionProfile::default()
            },
        };
        let outside = self.profile.seconds - self.profile.region_seconds();
        rows.push(other("(start and end of batches)", outside));
        let rest = self.seconds - self.profile.seconds;
        rows.push(other("(sampling and session)", rest));
        rows
    }

    fn total(&self) -> RegionProfile {
        let mut total = RegionProfile {
            seconds: self.seconds,
            ..RegionProfile::default()
        };
        for r in &self.profile.regions {
            total.bytes += r.bytes;
            total.int8_macs += r.int8_macs;
            total.f32_macs += r.f32_macs;
            total.waited += r.waited;
        }
        total
    }
}

impl Phase {
    /// The rounds as one; `units` is what figures are per, and how many of those there were.
    pub(super) fn new(
        name: &'static str,
        (unit, units): (&'static str, u64),
        rounds: Vec<Round>,
        roof: Roof,
    ) -> Phase {
        let mut all = Round {
            profile: Profile::default(),
            seconds: 0.0,
            gb_s: roof.gb_s,
        };
        for r in &rounds {
            all.profile.add(&r.profile);
            all.seconds += r.seconds;
        }
        Phase {
            name,
            unit,
            units,
            rounds,
            all,
            roof,
        }
    }

    /// The lines, and the total as the last.
    fn rows(&self) -> Vec<Row> {
        let mut rows = self.all.rows();
        rows.push(Row {
            step: "total".into(),
            formats: String::new(),
            work: self.all.total(),
        });
        rows
    }

    /// Each line's share of its roof: the median over the rounds, each at its own bandwidth.
    fn of_roof(&self) -> Vec<Option<f64>> {
        let shares = |r: &Round| -> Vec<Option<f64>> {
            let roof = Roof {
                gb_s: r.gb_s,
                ..self.roof
            };
            let works = r.rows().into_iter().map(|row| row.work);
            let works = works.chain([r.total()]);
            works.map(|work| of_roof(&work, &roof)).collect()
        };
        let rounds: Vec<_> = self.rounds.iter().map(shares).collect();
        (0..rounds.first().map_or(0, Vec::len))
            .map(|i| {
                let of: Option<Vec<f64>> = rounds.iter().map(|r| *r.get(i)?).collect();
                of.map(super::median)
            })
            .collect()
    }

    fn ms(&self, seconds: f64) -> f64 {
        1e3 * seconds / self.units.max(1) as f64
    }

    /// The phase as a table.
    pub(super) fn text(&self) -> String {
        let ms = format!("ms/{}", self.unit);
        let mut t = Table::new(
            2,
            [
                "step", "weights", "runs", &ms, "share", "waited", "GB/s", "GMAC/s", "of roof",
                "bound by",
            ],
        );
        for (r, of_roof) in self.rows().into_iter().zip(self.of_roof()) {
            let work = &r.work;
            let runs = work.runs as f64 / self.units.max(1) as f64;
            let runs = match (work.runs, runs.fract() == 0.0) {
                (0, _) => String::new(), // the total
                (_, true) => format!("{runs:.0}"),
                (_, false) => format!("{runs:.1}"),
            };
            t.row([
                r.step,
                r.formats,
                runs,
                format!("{:.3}", self.ms(work.seconds)),
                percent(share(work.seconds, self.all.seconds)),
                percent(share(work.waited, work.seconds)),
                rate(work.bytes, work.seconds),
                rate(work.int8_macs + work.f32_macs, work.seconds),
                percent(of_roof),
                bound(work, &self.roof).unwrap_or("").to_owned(),
            ]);
        }
        format!("{}\n{t}", self.name)
    }

    /// The phase as JSON, with the same numbers in seconds, bytes and multiply-adds.
    pub(super) fn json(&self) -> Value {
        let of = |(r, of_roof): (Row, Option<f64>)| {
            let work = &r.work;
            json!({
                "step": r.step, "weights": r.formats, "runs": work.runs, "seconds": work.seconds,
                "waited_seconds": work.waited, "bytes": work.bytes,
                "int8_macs": work.int8_macs, "f32_macs": work.f32_macs,
                "of_roof": of_roof, "bound": bound(work, &self.roof),
            })
        };
        let mut rows: Vec<Value> = self
            .rows()
            .into_iter()
            .zip(self.of_roof())
            .map(of)
            .collect();
        let total = rows.pop();
        json!({
            "unit": self.unit, "units": self.units, "seconds": self.all.seconds,
            "batches": self.all.profile.runs, "tokens": self.all.profile.tokens,
            "read_gb_s": self.rounds.iter().map(|r| r.gb_s).collect::<Vec<_>>(),
            "steps": rows, "total": total,
        })
    }
}

/// What the roof is, in one line.
pub(super) fn roof_text(roof: &Roof, isa: Isa) -> String {
    format!(
        "roof: {} GB/s read, {} GMAC/s int8 and {} GMAC/s f32 with {isa}",
        number(roof.gb_s),
        number(roof.int8_gmac_s),
        number(roof.f32_gmac_s),
    )
}

/// The roof and what it was measured among.
pub(super) fn roof_json(roof: &Roof, measured: &[Ceiling]) -> Value {
    let machine: Vec<Value> = measured
        .iter()
        .map(|c| report::steadiness(&c.steadiness))
        .collect();
    json!({
        "gb_s": roof.gb_s, "int8_gmac_s": roof.int8_gmac_s, "f32_gmac_s": roof.f32_gmac_s,
        "machine": machine,
    })
}

fn rate(amount: u64, seconds: f64) -> String {
    match amount {
        0 => String::new(),
        _ => number(amount as f64 / 1e9 / seconds),
    }
}

/// The least time at the roof, as a fraction of the time taken.
fn of_roof(work: &RegionProfile, roof: &Roof) -> Option<f64> {
    let least = work.least_seconds(roof.gb_s, roof.int8_gmac_s, roof.f32_gmac_s)?;
    share(least, work.seconds)
}

/// Which roof is the nearer one.
fn bound(work: &RegionProfile, roof: &Roof) -> Option<&'static str> {
    let least = work.least_seconds(roof.gb_s, roof.int8_gmac_s, roof.f32_gmac_s)?;
    let read = work.bytes as f64 / (roof.gb_s * 1e9);
    Some(match read >= least {
        true => "memory",
        false => "compute",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOF: Roof = Roof {
        gb_s: 10.0,
        int8_gmac_s: 100.0,
        f32_gmac_s: 50.0,
    };

    fn phase(roof: Roof) -> Phase {
        let region = |label: &str, seconds, bytes, int8_macs| RegionProfile {
            label: label.into(),
            runs: 4,
            seconds,
            waited: 0.1 * seconds,
            bytes,
            int8_macs,
            ..RegionProfile::default()
        };
        let never = RegionProfile {
            label: "never".into(),
            ..RegionProfile::default()
        };
        let round = Round {
            gb_s: roof.gb_s,
            profile: Profile {
                runs: 4,
                tokens: 4,
                seconds: 3.5,
                regions: vec![
                    region("up", 1.0, 8_000_000_000, 16_000_000_000),
                    region("norm", 0.5, 0, 0),
                    region("up", 1.0, 8_000_000_000, 16_000_000_000),
                    region("norm", 0.5, 0, 0),
                    never,
                ],
            },
            seconds: 4.0,
        };
        Phase::new("decode", ("token", 4), vec![round], roof)
    }

    #[test]
    fn rows_add_up_to_the_phase() {
        let p = phase(ROOF);
        let rows = p.all.rows();
        let steps: Vec<&str> = rows.iter().map(|r| r.step.as_str()).collect();
        assert_eq!(
            steps,
            [
                "up",
                "norm",
                "(start and end of batches)",
                "(sampling and session)"
            ]
        );
        assert_eq!(
            rows.iter().map(|r| r.work.seconds).sum::<f64>(),
            p.all.seconds
        );
        let json = p.json();
        let steps = json["steps"].as_array().unwrap();
        let sum: f64 = steps.iter().map(|s| s["seconds"].as_f64().unwrap()).sum();
        assert_eq!(sum, json["total"]["seconds"].as_f64().unwrap());
    }

    #[test]
    fn a_step_is_seen_against_its_nearer_roof() {
        let p = phase(ROOF);
        let json = p.json();
        // 16 GB at 10 GB/s are 1.6 s, of 2 s taken; 32 GMAC would take 0.32 s.
        assert_eq!(json["steps"][0]["of_roof"], 0.8);
        assert_eq!(json["steps"][0]["bound"], "memory");
        assert!(json["steps"][1]["of_roof"].is_null());
        let slow = Roof {
            int8_gmac_s: 16.0,
            ..ROOF
        };
        assert_eq!(phase(slow).json()["steps"][0]["bound"], "compute");
        let text = p.text();
        assert!(text.contains("80%") && text.contains("memory"), "{text}");
        assert!(text.contains("500.000"), "{text}");
    }

    #[test]
    fn of_two_roofs_the_higher_counts() {
        let low = Roof {
            gb_s: 5.0,
            f32_gmac_s: 60.0,
            ..ROOF
        };
        let r = ROOF.or_higher(low);
        assert_eq!((r.gb_s, r.int8_gmac_s, r.f32_gmac_s), (10.0, 100.0, 60.0));
    }
}
