//! The default model for commands that are given none: it is pulled, after a question, by a process of
//! its own, before anything else is read.

use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use hob_fetch::clean_environment;

use crate::catalogue::{self, Entry};
use crate::store::{Installed, Store, StoreError};
use crate::terminal::{Plain, bytes};

/// The default model; fetches it when it is missing: asks first where a person is at
/// the terminal (`interactive`) and has not said `yes`. Reads one line of standard input at most.
pub(crate) fn ensure_default_model(yes: bool, interactive: bool) -> anyhow::Result<Installed> {
    let store = Store::open()?;
    match store.default_model() {
        Ok(Some(installed)) => return Ok(installed),
        Ok(None) => {}
        Err(damaged @ StoreError::Damaged { .. }) => eprintln!("{}", Plain(&damaged.to_string())),
        Err(error) => return Err(error.into()),
    }
    let entry = catalogue::default_entry();
    if interactive && !yes && !ask(entry)? {
        bail!(
            "no model: `hob pull` fetches {}, or name a model file",
            entry.name
        );
    }
    pull_in_its_own_process(entry)?;
    let installed = store.default_model()?;
    installed.with_context(|| format!("{} is not in the store after the pull", entry.name))
}

fn ask(entry: &Entry) -> anyhow::Result<bool> {
    let mirrors: Vec<_> = entry
        .mirrors()
        .iter()
        .map(hob_fetch::Mirror::label)
        .collect();
    let mut err = std::io::stderr().lock();
    writeln!(
        err,
        "There is no model yet. The default is {} by {}:",
        entry.name, entry.author
    )?;
    writeln!(err, "  {}, licence {}", bytes(entry.size), entry.licence)?;
    writeln!(err, "  from {}", mirrors.join(", or the "))?;
    write!(err, "Download it now? [Y/n] ")?;
    err.flush()?;
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(false);
    }
    Ok(matches!(
        line.trim().to_lowercase().as_str(),
        "" | "y" | "yes"
    ))
}

/// `hob pull` as a process that shares neither memory, nor standard input, nor open files, nor the
/// environment's other contents with this one.
fn pull_in_its_own_process(entry: &Entry) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the program hob itself")?;
    let mut command = Command::new(&program);
    clean_environment(&mut command)
        .args(["pull", entry.name])
        .stdin(Stdio::null());
    if !std::io::stdout().is_terminal() {
        // Standard output is for the answer.
        command.stdout(Stdio::null());
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("fetching {} failed ({status})", entry.name);
    }
    Ok(())
}
