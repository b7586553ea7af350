//! `hob logits`: the logits of every token of a sequence, as raw floats, for comparisons.

use crate::args::EngineArgs;
use crate::confined::{self, ConfinementArgs};
use crate::model::Model;
use anyhow::Context;
use clap::Args;
use hob::privacy::Mode;
use hob::{Cancel, SessionOptions};
use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Rows of logits computed at a time.
const ROWS: u16 = 64;

#[derive(Args)]
pub(crate) struct LogitsArgs {
    /// Model file, or a name from the store
    model: PathBuf,
    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// Where to write little-endian f32, [tokens, vocab]; `-` is standard output
    #[arg(long, value_name = "FILE", overrides_with = "out")]
    out: OsString,
    /// Tokens read at a time (the logits do not depend on it)
    #[arg(long, value_name = "N", default_value_t = ROWS, value_parser = clap::value_parser!(u16).range(1..=512))]
    chunk: u16,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

pub(crate) fn run(args: &LogitsArgs) -> anyhow::Result<ExitCode> {
    if args.out == "-" {
        return compute(args).map(|()| ExitCode::SUCCESS);
    }
    let out = Path::new(&args.out);
    let folder = out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(".".as_ref());
    let name = || format!("cannot write {}", out.display());
    // A temporary file beside it: an interrupted run leaves no half result under the name. Whoever reads
    // the model may not rename files, so another process does: this program again, with the temporary
    // file as its standard output (the last `--out` counts).
    let file = tempfile::NamedTempFile::new_in(folder).with_context(name)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let status = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--out=-")
        .stdout(file.reopen().with_context(name)?)
        .status()
        .context("cannot start this program again")?;
    if !status.success() {
        // It has said why.
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(ExitCode::from(code.unwrap_or(1)));
    }
    file.as_file().sync_all().with_context(name)?;
    file.persist(out).map_err(|e| e.error).with_context(name)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the logits to standard output.
fn compute(args: &LogitsArgs) -> anyhow::Result<()> {
    let model = Model::find(&args.model)?;
    let engine = confined::load(
        Mode::Run,
        &model,
        &args.engine,
        args.chunk.into(),
        args.confinement,
    )?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut session = engine.session(SessionOptions {
        context: args.tokens.len(),
        ..Default::default()
    });
    let mut written = Ok(());
    session.score(
        &args.tokens,
        args.chunk.into(),
        &Cancel::new(),
        |_, logits| {
            if written.is_ok() {
                written = logits
                    .iter()
                    .try_for_each(|l| out.write_all(&l.to_le_bytes()));
            }
        },
    )?;
    written
        .and_then(|()| out.flush())
        .context("cannot write the logits")
}
