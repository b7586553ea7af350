//! How measurements are shown: tables, CSV, JSON, pictures.

pub(crate) mod csv;
mod json;
pub(crate) mod picture;
pub(crate) mod table;

pub(crate) use json::{ceiling, figure, steadiness};

use anyhow::Context;
use clap::Args;
use hob_kernels::ceiling::{Figure, Host, Steadiness};
use std::path::Path;

/// In which form a report is printed; a table unless asked otherwise.
#[derive(Args, Clone, Copy, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct Form {
    /// Print a JSON object
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print comma-separated values, a line a figure
    #[arg(long)]
    pub(crate) csv: bool,
}

/// A number with three significant digits, in as few characters.
pub(crate) fn number(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => "-".to_owned(),
        a if a >= 99.95 => format!("{x:.0}"),
        a if a >= 9.995 => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}

/// A fraction as a percentage; a dash for none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |x| format!("{:.0}%", 100.0 * x))
}

/// "low..high" of a figure.
pub(crate) fn range(f: &Figure) -> String {
    format!("{}..{}", number(f.low), number(f.high))
}

/// "2 threads".
pub(crate) fn threads(n: usize) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}

/// One line on the machine.
pub(crate) fn machine(host: &Host, steadiness: &Steadiness) -> String {
    let caches: Vec<String> = host
        .caches
        .iter()
        .map(|c| {
            let name = crate::terminal::bytes(c.bytes as u64);
            match c.shared_by {
                1 => format!("L{} {name}", c.level),
                n => format!("L{} {name} for {n} cores", c.level),
            }
        })
        .collect();
    format!(
        "{}, {} cores at {} GHz, {}{}",
        host.cpu,
        host.cores,
        number(steadiness.clock_ghz.median),
        caches.join(", "),
        if host.caches_known { "" } else { " (assumed)" },
    )
}

/// Writes a picture.
pub(crate) fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Says on standard error if the machine was disturbed, in every form of report.
pub(crate) fn warn(steadiness: &Steadiness) {
    if let Some(warning) = steadiness.warning() {
        eprintln!("warning: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.1234, 1.0, 9.996, 12.34, 99.96, 12345.6, f64::NAN].map(number);
        assert_eq!(shown, ["0.12", "1.00", "10.0", "12.3", "100", "12346", "-"]);
        assert_eq!(percent(Some(0.934)), "93%");
        assert_eq!(percent(None), "-");
        assert_eq!(threads(1), "1 thread");
        assert_eq!(threads(2), "2 threads");
    }
}
