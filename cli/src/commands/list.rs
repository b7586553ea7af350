//! `hob list`: the models in the store, or those that other programs have on this computer.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::catalogue;
use crate::other;
use crate::store::{Installed, Manifest, Store, StoreError};
use crate::terminal::{PlainJson, PlainLine, bytes};

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Models of other programs on this computer (Ollama, LM Studio, llama.cpp, the Hugging Face
    /// cache), which `hob import` takes by the name shown
    #[arg(long)]
    other: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs `hob list`.
pub(crate) fn run(args: &ListArgs) -> anyhow::Result<()> {
    match args.other {
        true => list_other(args.json),
        false => list(args.json),
    }
}

/// A stored model as JSON.
pub(crate) fn report(model: &Installed) -> Value {
    let Manifest {
        name,
        kind,
        files,
        source,
        licence,
        quant,
        ..
    } = &model.manifest;
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "path": model.file(file), "stored_bytes": file.stored_size, "original": file.original,
                "bytes": file.size, "sha256": file.sha256, "shared_with": file.shared_with,
            })
        })
        .collect();
    json!({
        "name": name, "path": model.path, "kind": kind, "quant": quant,
        "stored_bytes": model.manifest.stored_size(), "bytes": model.manifest.size(),
        "source": source, "licence": licence, "files": files,
    })
}

fn list(is_json: bool) -> anyhow::Result<()> {
    let store = Store::open()?;
    let (models, unfinished) = (store.list()?, store.unfinished()?);
    let mut out = std::io::stdout().lock();
    if is_json {
        let models = models.iter().map(|model| match model {
            Ok(model) => report(model),
            Err(StoreError::Damaged { name, why }) => json!({ "name": name, "damaged": why }),
            Err(error) => json!({ "damaged": error.to_string() }),
        });
        let rest = unfinished
            .iter()
            .map(|part| json!({ "name": part.name, "unfinished_bytes": part.bytes }));
        let all: Vec<_> = models.chain(rest).collect();
        writeln!(out, "{:#}", PlainJson(&Value::from(all)))?;
        return Ok(());
    }
    if models.is_empty() {
        writeln!(
            out,
            "no models yet; `hob pull` fetches {}, `hob list --other` shows what other programs have here",
            catalogue::default_entry().name
        )?;
    } else {
        let rows = models.iter().flatten().map(|model| {
            let m = &model.manifest;
            let quant = if m.quant.is_empty() { "-" } else { &m.quant };
            vec![
                m.name.clone(),
                bytes(m.stored_size()),
                quant.to_owned(),
                m.licence.clone(),
                m.source.clone(),
            ]
        });
        let head = ["NAME", "SIZE", "QUANT", "LICENCE", "SOURCE"];
        table(&mut out, &head, rows.collect())?;
        for error in models.iter().filter_map(|model| model.as_ref().err()) {
            writeln!(out, "{}", PlainLine(&error.to_string()))?;
        }
    }
    for part in unfinished {
        writeln!(
            out,
            "{}: {} of an unfinished download; the same `hob pull` goes on, `hob rm {}` deletes it",
            PlainLine(&part.name),
            bytes(part.bytes),
            PlainLine(&part.name)
        )?;
    }
    Ok(())
}

fn list_other(is_json: bool) -> anyhow::Result<()> {
    let found = other::find_all();
    let mut out = std::io::stdout().lock();
    if is_json {
        let offers = found.iter().map(|offer| {
            json!({
                "name": offer.name, "kind": offer.kind, "bytes": offer.size, "path": offer.path(),
                "licence": offer.licence,
            })
        });
        let offers = Value::from(offers.collect::<Vec<_>>());
        writeln!(out, "{:#}", PlainJson(&offers))?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(
            out,
            "none found (looked for those of Ollama, LM Studio and llama.cpp, and the Hugging Face cache)"
        )?;
        return Ok(());
    }
    let rows = found.iter().map(|offer| {
        vec![
            offer.name.clone(),
            bytes(offer.size),
            offer.path().display().to_string(),
        ]
    });
    table(&mut out, &["NAME", "SIZE", "PATH"], rows.collect())?;
    writeln!(out, "`hob import NAME` takes one of them into the store")?;
    Ok(())
}

/// Rows under a head, in columns; sizes to the right.
fn table(out: &mut impl Write, head: &[&str], rows: Vec<Vec<String>>) -> std::io::Result<()> {
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    // Made harmless before they are measured.
    let plain = |row: Vec<String>| row.iter().map(|cell| PlainLine(cell).to_string()).collect();
    let rows: Vec<Vec<_>> = std::iter::once(head)
        .chain(rows.into_iter().map(plain))
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            1 => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
