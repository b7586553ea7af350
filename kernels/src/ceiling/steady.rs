//! Whether the machine held still while it was measured.
//!
//! A [`Watch`] runs a fixed chain of dependent additions now and then, one a cycle, so that its
//! speed is the core's clock: thermal throttling and boost show as drift, a busy or stolen core as
//! spread. The system's own counts (Linux) say who was to blame: the hypervisor (steal), other
//! processes, the scheduler.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use super::figure::Figure;
use super::host;

/// What the system has counted so far, in its ticks; all zero where it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Time of all cores, idle time included.
    pub total: u64,
    /// Of it, spent working for any process.
    pub busy: u64,
    /// Of it, taken by the hypervisor.
    pub steal: u64,
    /// Spent working for this process.
    pub own: u64,
    /// How often a thread of this process was put off its core.
    pub involuntary: u64,
}

impl Counts {
    fn now() -> Counts {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (total, busy, steal) = cpu_times(&read("/proc/stat")).unwrap_or_default();
        let involuntary = fs::read_dir("/proc/self/task")
            .map(|tasks| {
                tasks
                    .flatten()
                    .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
                    .filter_map(|status| {
                        let n = host::field(&status, "nonvoluntary_ctxt_switches")?;
                        n.parse::<u64>().ok()
                    })
                    .sum()
            })
            .unwrap_or_default();
        Counts {
            total,
            busy,
            steal,
            own: own_time(&read("/proc/self/stat")).unwrap_or_default(),
            involuntary,
        }
    }
}

/// Total, busy and stolen ticks of all cores, from `/proc/stat`.
fn cpu_times(stat: &str) -> Option<(u64, u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let n: Vec<u64> = line
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is counted in user already.
    let &[user, nice, system, idle, iowait, irq, softirq, steal] = n.first_chunk::<8>()?;
    let busy = user + nice + system + irq + softirq;
    Some((busy + idle + iowait + steal, busy, steal))
}

/// Ticks of this process, from `/proc/self/stat`: the name may hold anything, so count behind it.
fn own_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Looks at the clock and the counts from its start to its end.
#[derive(Debug)]
pub struct Watch {
    clocks: Vec<f64>,
    before: Counts,
}

impl Watch {
    /// Starts to watch.
    pub fn start() -> Watch {
        clock();
        Watch {
            clocks: vec![clock()],
            before: Counts::now(),
        }
    }

    /// Looks at the clock: some 30 us.
    pub fn sample(&mut self) {
        self.clocks.push(clock());
    }

    /// What was seen.
    pub fn finish(self) -> Steadiness {
        judge(&self.clocks, self.before, Counts::now())
    }
}

/// How still the machine held.
#[derive(Clone, Debug, PartialEq)]
pub struct Steadiness {
    /// Clock of the core that the measuring thread ran on, estimated.
    pub clock_ghz: Figure,
    /// How much faster (or, negative, slower) the clock was at the end than at the beginning.
    pub drift: f64,
    /// Share of the cores' time that the hypervisor took.
    pub steal: f64,
    /// Share of the cores' time that other processes used.
    pub others: f64,
    /// How often a thread was put off its core.
    pub involuntary: u64,
}

/// Most that the clock may move, from beginning to end or between its first and last tenth.
const DRIFT: f64 = 0.05;
/// Most that may be stolen.
const STEAL: f64 = 0.01;
/// Most that other processes may use.
const OTHERS: f64 = 0.05;

/// The verdict on looks at the clock, in order, and on the counts before and after.
pub fn judge(clocks: &[f64], before: Counts, after: Counts) -> Steadiness {
    let quarter = clocks.len().div_ceil(4);
    let median = |part: Option<&[f64]>| Figure::of(part.unwrap_or_default().to_vec()).median;
    let first = median(clocks.get(..quarter));
    let last = median(clocks.get(clocks.len() - quarter..));
    let total = after.total.saturating_sub(before.total);
    let of_total = |ticks: u64| match total {
        0 => 0.0,
        _ => ticks as f64 / total as f64,
    };
    let spent = |f: fn(&Counts) -> u64| f(&after).saturating_sub(f(&before));
    Steadiness {
        clock_ghz: Figure::of(clocks.to_vec()),
        drift: last / first - 1.0,
        steal: of_total(spent(|c| c.steal)),
        others: of_total(spent(|c| c.busy).saturating_sub(spent(|c| c.own))),
        involuntary: spent(|c| c.involuntary),
    }
}

impl Steadiness {
    /// Whether the figures can be trusted.
    pub fn is_steady(&self) -> bool {
        self.warning().is_none()
    }

    /// One line on what disturbed the measurement, if something did.
    pub fn warning(&self) -> Option<String> {
        let percent = |x: f64| format!("{:.1}%", 100.0 * x);
        let mut causes = Vec::new();
        if self.others > OTHERS {
            causes.push(format!(
                "other processes used {} of the cores",
                percent(self.others)
            ));
        }
        if self.steal > STEAL {
            causes.push(format!("the hypervisor stole {}", percent(self.steal)));
        }
        if self.drift.abs() > DRIFT {
            let way = if self.drift < 0.0 { "slower" } else { "faster" };
            causes.push(format!(
                "the clock ended {} {way} than it began",
                percent(self.drift.abs())
            ));
        } else if self.clock_ghz.spread() > DRIFT {
            causes.push(format!(
                "the clock moved between {:.2} and {:.2} GHz",
                self.clock_ghz.low, self.clock_ghz.high
            ));
        }
        (!causes.is_empty()).then(|| {
            format!(
                "the machine did not hold still: {}; measure again on an idle one",
                causes.join(", ")
            )
        })
    }
}

/// Additions of a look at the clock.
const ADDITIONS: usize = 100_000;

/// The clock of this core in GHz: a chain of additions of registers takes one cycle each.
fn clock() -> f64 {
    let step = black_box(3_u64);
    let mut x = black_box(1_u64);
    let start = Instant::now();
    for _ in 0..ADDITIONS / 20 {
        for _ in 0..20 {
            x = unknown(x.wrapping_add(step));
        }
    }
    let nanos = start.elapsed().as_nanos();
    black_box(x);
    ADDITIONS as f64 / nanos.max(1) as f64
}

/// The same number, of which the compiler knows nothing, in its register.
#[inline(always)]
fn unknown(x: u64) -> u64 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut x = x;
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) x, options(nomem, nostack, preserves_flags));
        }
        x
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    black_box(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Counts = Counts {
        total: 1000,
        busy: 400,
        steal: 1,
        own: 390,
        involuntary: 3,
    };

    fn after(clocks: &[f64], counts: Counts) -> Steadiness {
        judge(clocks, Counts::default(), counts)
    }

    #[test]
    fn a_still_machine_is_not_warned_of() {
        let clocks: Vec<f64> = (0..40).map(|i| 3.6 + 0.01 * f64::from(i % 3)).collect();
        let s = after(&clocks, IDLE);
        assert_eq!(s.warning(), None);
        assert!(s.is_steady() && s.involuntary == 3 && (s.others - 0.01).abs() < 1e-9);
        // One outlier, a preempted look, is no drift.
        let mut one = clocks;
        one[20] = 0.4;
        assert!(after(&one, IDLE).is_steady());
    }

    #[test]
    fn throttling_noise_steal_and_neighbours_are_told_apart() {
        let throttled: Vec<f64> = (0..40).map(|i| 3.6 - 0.02 * f64::from(i)).collect();
        let s = after(&throttled, IDLE);
        assert!(s.drift < -0.05);
        assert!(s.warning().is_some_and(|w| w.contains("slower")));
        let warming: Vec<f64> = throttled.into_iter().rev().collect();
        assert!(
            after(&warming, IDLE)
                .warning()
                .is_some_and(|w| w.contains("faster"))
        );
        let noisy: Vec<f64> = (0..40).map(|i| 3.0 + 0.3 * f64::from(i % 2)).collect();
        assert!(
            after(&noisy, IDLE)
                .warning()
                .is_some_and(|w| w.contains("moved"))
        );
        let stolen = Counts { steal: 20, ..IDLE };
        assert!(
            after(&[3.6; 9], stolen)
                .warning()
                .is_some_and(|w| w.contains("stole 2.0%"))
        );
        let crowded = Counts { own: 100, ..IDLE };
        let warning = after(&[3.6; 9], crowded).warning().unwrap();
        assert!(warning.contains("other processes used 30.0%"), "{warning}");
    }

    #[test]
    fn nothing_known_is_nothing_wrong() {
        let s = judge(&[3.0], Counts::default(), Counts::default());
        assert_eq!((s.steal, s.others, s.drift), (0.0, 0.0, 0.0));
        assert!(s.is_steady());
        assert!(judge(&[], Counts::default(), Counts::default()).is_steady());
    }

    #[test]
    fn the_counts_of_linux_are_read() {
        let stat = "cpu  100 1 20 800 5 2 3 7 50 0\ncpu0 1 2\n";
        assert_eq!(cpu_times(stat), Some((938, 126, 7)));
        assert_eq!(cpu_times("cpu 1 2"), None);
        let own = "12 (a b) c) R 1 2 3 4 5 6 7 8 9 10 42 17 0 0";
        assert_eq!(own_time(own), Some(59));
        assert_eq!(own_time(""), None);
    }

    #[test]
    fn a_watch_sees_a_clock() {
        let mut watch = Watch::start();
        watch.sample();
        let seen = watch.finish();
        assert!(seen.clock_ghz.median > 0.01 && seen.clock_ghz.samples == 2);
    }
}
