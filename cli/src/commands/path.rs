//! `hob path`: where a model of the store lies, for scripts.

use std::io::{IsTerminal, Write};

use clap::Args;

use crate::store::Store;
use crate::terminal::PlainLine;

#[derive(Args)]
pub(crate) struct PathArgs {
    /// Name from the store
    name: String,
}

/// Runs `hob path`. Into a pipe the path goes out as it is: it is the user's own, and scripts read it.
pub(crate) fn run(args: &PathArgs) -> anyhow::Result<()> {
    let model = Store::open()?.need(&args.name)?;
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "{}", PlainLine(&model.path.to_string_lossy()))?;
        return Ok(());
    }
    out.write_all(model.path.as_os_str().as_encoded_bytes())?;
    writeln!(out)?;
    Ok(())
}
