//! `hob rm`: deletes a model of the store, or what was left of its download.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;

use crate::store::{Store, StoreError};
use crate::terminal::{Plain, bytes};
use crate::view::View;

#[derive(Args)]
pub(crate) struct RmArgs {
    /// Names from the store
    #[arg(required = true)]
    names: Vec<String>,
    /// Delete without asking
    #[arg(long, short)]
    yes: bool,
}

/// Runs `hob rm`.
pub(crate) fn run(args: &RmArgs) -> anyhow::Result<()> {
    let store = Store::open()?;
    let mut view = View::new(false);
    for name in &args.names {
        let (folder, what) = match store.find(name) {
            Ok(Some(model)) => {
                let m = model.manifest;
                let shared = match m.files.iter().any(|file| file.shared_with.is_some()) {
                    true => ", whose bytes stay with the program that shares them",
                    false => "",
                };
                (
                    m.name.clone(),
                    format!("{} ({}{shared})", m.name, bytes(m.stored_size())),
                )
            }
            Ok(None) => (name.clone(), format!("what is left of {name}")),
            Err(StoreError::Damaged { name, why }) => {
                let what = format!("{name}, which is damaged ({why})");
                (name, what)
            }
            Err(other) => return Err(other.into()),
        };
        if !store.has(&folder)? {
            return Err(StoreError::NoModel(name.escape_debug().to_string()).into());
        }
        if !args.yes && !ask(&what)? {
            bail!("nothing was deleted");
        }
        store.remove(&folder, &mut view)?;
        view.say(&format!("deleted {what}"));
    }
    Ok(())
}

fn ask(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is nobody to ask: `--yes` deletes {}", Plain(what));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "Delete {}? [y/N] ", Plain(what))?;
    err.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
