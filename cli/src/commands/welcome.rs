//! `hob` alone: what to do next, by what the store has.

use crate::args::Cli;
use crate::catalogue;
use crate::store::Store;
use crate::terminal::{Plain, bytes};
use clap::CommandFactory;
use std::io::Write;

/// Most models that are named.
const NAMED: usize = 6;

pub(crate) fn run() -> anyhow::Result<()> {
    // An unusable store is told by the command that needs it; here it is an empty one.
    let models = Store::open().and_then(|s| s.list()).unwrap_or_default();
    let names: Vec<String> = models
        .into_iter()
        .flatten()
        .map(|m| m.manifest.name)
        .collect();
    let text = text(&names);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn text(names: &[String]) -> String {
    let command = Cli::command();
    // Of commands and what they do; one that this program lacks is not shown.
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut offer = |line: &str, what: String| {
        let name = line.split(' ').nth(1).unwrap_or_default();
        if command.find_subcommand(name).is_some() {
            lines.push((line.to_owned(), what));
        }
    };
    let default = catalogue::default_entry();
    let state = match names {
        [] => {
            let what = format!(
                "answer once ({} is fetched first, {})",
                default.name,
                bytes(default.size)
            );
            offer("hob run \"Why is the sky blue?\"", what);
            offer(
                "hob recommend",
                "models that fit this machine, and how fast they would be".into(),
            );
            offer(
                "hob list --other",
                "models of other programs on this computer".into(),
            );
            "There is no model in the store yet.".to_owned()
        }
        [first, ..] => {
            let has_default = names.iter().any(|n| n == default.name);
            let model = if has_default {
                String::new()
            } else {
                format!(" {first}")
            };
            offer(&format!("hob chat{model}"), "a conversation".into());
            offer(
                &format!("hob run{model} \"Why is the sky blue?\""),
                "one answer".into(),
            );
            offer(
                "hob recommend",
                "further models that fit this machine".into(),
            );
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                n => format!(" and {n} more (`hob list`)"),
            };
            let named = names.iter().take(NAMED).map(String::as_str);
            format!(
                "In the store: {}{more}.",
                named.collect::<Vec<_>>().join(", ")
            )
        }
    };
    offer("hob doctor", "check this machine".into());
    offer("hob help", "all commands".into());
    lines.push(("hob help".into(), "all commands".into()));
    let width = lines.iter().map(|l| l.0.chars().count()).max().unwrap_or(0);
    let mut out = format!(
        "hob {}: language models on this computer; nothing you type leaves it.\n\n{}\n\n",
        env!("CARGO_PKG_VERSION"),
        Plain(&state)
    );
    for (line, what) in &lines {
        out.push_str(&format!("  {:<width$}  {what}\n", Plain(line).to_string()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_leads_to_the_first_answer() {
        let text = text(&[]);
        assert!(text.contains("no model"), "{text}");
        assert!(text.contains("hob run \"") && text.contains("hob recommend"));
        assert!(text.contains(catalogue::default_entry().name));
    }

    #[test]
    fn the_models_here_are_named_and_offered() {
        let names: Vec<String> = (1..9).map(|i| format!("Model-{i}")).collect();
        let text = text(&names);
        assert!(text.contains("hob run Model-1 \""), "{text}");
        assert!(text.contains("Model-6 and 2 more") && !text.contains("Model-7"));
        let with_default = [names, vec![catalogue::default_entry().name.to_owned()]].concat();
        assert!(super::text(&with_default).contains("hob run \""));
    }
}
