//! `hob logits`: the logits of every token of a sequence, as raw floats, for comparisons.

use crate::args::EngineArgs;
use crate::model::Model;
use anyhow::Context;
use clap::Args;
use hob::{Cancel, SessionOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Rows of logits computed at a time.
const ROWS: u16 = 64;

#[derive(Args)]
pub(crate) struct LogitsArgs {
    /// Model file, or a name from the store
    model: PathBuf,
    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// Where to write little-endian f32, [tokens, vocab]
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Tokens read at a time (the logits do not depend on it)
    #[arg(long, value_name = "N", default_value_t = ROWS, value_parser = clap::value_parser!(u16).range(1..=512))]
    chunk: u16,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(crate) fn run(args: &LogitsArgs) -> anyhow::Result<()> {
    let engine = Model::find(&args.model)?.load(&args.engine, args.chunk.into())?;
    let folder = args
        .out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(".".as_ref());
    let name = || format!("cannot write {}", args.out.display());
    // A temporary file beside it: an interrupted run leaves no half result under the name.
    let mut file = BufWriter::new(tempfile::NamedTempFile::new_in(folder).with_context(name)?);
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
                    .try_for_each(|l| file.write_all(&l.to_le_bytes()));
            }
        },
    )?;
    written.with_context(name)?;
    let file = file
        .into_inner()
        .map_err(|e| e.into_error())
        .with_context(name)?;
    file.as_file().sync_all().with_context(name)?;
    file.persist(&args.out)
        .map_err(|e| e.error)
        .with_context(name)?;
    Ok(())
}
