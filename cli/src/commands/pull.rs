//! `hob pull` and `hob list`: models come into the store here, and nowhere else.
//!
//! This process talks to the network and holds no prompt. `hob run` without a model starts it as a
//! separate process, in a cleaned environment, before it has read anything.

mod view;

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use hob_fetch::{ModelRequest, clean_environment, fetch, proxy_in_use};

use crate::catalogue::{self, Entry};
use crate::store::{Installed, Store, StoreError};
use crate::terminal::{Plain, bytes};
use hob_models::files::{Keep, ModelFile};
use hob_models::packed::{PackOptions, pack_file};
use view::View;

/// File name of a packed model.
const PACKED: &str = "model.hob";
/// What packing wants free beside the size of the original.
const PACKING_SPACE: u64 = 65 << 20;

#[derive(Args)]
pub(crate) struct PullArgs {
    /// Model to download [default: SmolLM2-135M-Instruct]
    name: Option<String>,
    /// Download again what is here already
    #[arg(long)]
    force: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Runs `hob pull`.
pub(crate) fn run(args: PullArgs) -> anyhow::Result<()> {
    let entry = match &args.name {
        None => catalogue::default_entry(),
        Some(name) => catalogue::find(name).with_context(|| unknown(name))?,
    };
    let mut view = View::new(args.quiet);
    match pull(&Store::open()?, entry, args.force, &mut view)? {
        Pulled::Here(m) => {
            let (name, size) = (&m.manifest.name, bytes(m.manifest.stored_size));
            view.say(&format!(
                "{name} is here already ({size}): {}",
                m.path.display()
            ));
        }
        Pulled::Now(m) => view.say(&format!(
            "{} is ready: {}",
            m.manifest.name,
            m.path.display()
        )),
    }
    Ok(())
}

/// How a model came to be in the store.
enum Pulled {
    /// It was here; its size was compared, its bytes were not.
    Here(Installed),
    /// It was downloaded, verified and packed.
    Now(Installed),
}

/// Gets a model into the store, unless it is there (`force`: even then). Any number of processes may
/// do so at once, and any of them may be killed.
fn pull(store: &Store, entry: &Entry, force: bool, view: &mut View) -> anyhow::Result<Pulled> {
    if !force && let Some(installed) = usable(store, entry, view)? {
        return Ok(Pulled::Here(installed));
    }
    let lock = store.lock(entry, view)?;
    // Another process may have fetched it while this one waited.
    if !force && let Some(installed) = usable(store, entry, view)? {
        return Ok(Pulled::Here(installed));
    }
    let (size, licence) = (bytes(entry.size), entry.licence);
    view.say(&format!(
        "{} by {}, {size}, licence {licence}",
        entry.name, entry.author
    ));
    if let Some(proxy) = proxy_in_use() {
        view.say(&format!("through the proxy {proxy}"));
    }
    let staging = store.staging(entry)?;
    let request = ModelRequest {
        name: entry.name.to_owned(),
        file: entry.file.to_owned(),
        size: entry.size,
        sha256: entry.sha256,
        mirrors: entry.mirrors(),
        reserve: entry.size + PACKING_SPACE,
    };
    let original = fetch(&request, &staging, view)?;
    let source = remember_source(&staging, view.source())?;
    let packed = pack(entry, &original, &staging, view)?;
    Ok(Pulled::Now(
        store.install(&lock, entry, &packed, PACKED, &source)?,
    ))
}

/// Where the file came from. A pull that was killed after its download left a note for this one.
fn remember_source(staging: &Path, source: Option<&str>) -> anyhow::Result<String> {
    let note = staging.join("source");
    if let Some(source) = source {
        std::fs::write(&note, source)
            .with_context(|| format!("cannot write {}", note.display()))?;
        return Ok(source.to_owned());
    }
    let noted = std::fs::read_to_string(&note).ok();
    Ok(noted.unwrap_or_else(|| "an earlier download".to_owned()))
}

/// Packs the verified file; its hash is computed once more on the way, and recorded.
fn pack(
    entry: &Entry,
    original: &Path,
    staging: &Path,
    view: &mut View,
) -> anyhow::Result<PathBuf> {
    let packed = staging.join(PACKED);
    let options = PackOptions {
        expect: Some(entry.sha256.0),
        ..PackOptions::default()
    };
    view.begin("packing", Some(entry.size), 0);
    let file = ModelFile::open(original, Keep::Mapped)?;
    pack_file(&file, &packed, options, &view.watch())
        .with_context(|| format!("cannot pack {}; nothing is lost, run it again", entry.name))?;
    view.end();
    Ok(packed)
}

/// The installed model; a damaged one counts as missing, and says so.
fn usable(store: &Store, entry: &Entry, view: &mut View) -> anyhow::Result<Option<Installed>> {
    match store.find(entry.name) {
        Err(damaged @ StoreError::Damaged { .. }) => {
            view.say(&damaged.to_string());
            Ok(None)
        }
        other => Ok(other?),
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = catalogue::all().iter().map(|entry| entry.name).collect();
    format!(
        "no model `{name}` in the catalogue; it has {}",
        known.join(", ")
    )
}

/// Runs `hob list`.
pub(crate) fn list() -> anyhow::Result<()> {
    let models = Store::open()?.list()?;
    let mut out = std::io::stdout().lock();
    if models.is_empty() {
        writeln!(
            out,
            "no models yet; `hob pull` fetches {}",
            catalogue::default_entry().name
        )?;
        return Ok(());
    }
    let name_width = |model: &Result<Installed, StoreError>| match model {
        Ok(model) => model.manifest.name.chars().count(),
        Err(_) => 0,
    };
    let width = models.iter().map(name_width).max().unwrap_or(0).max(4);
    writeln!(
        out,
        "{:width$}  {:>9}  {:12}  SOURCE",
        "NAME", "SIZE", "LICENCE"
    )?;
    for model in &models {
        match model {
            Ok(Installed { manifest: m, .. }) => {
                let size = bytes(m.stored_size);
                let line = format!(
                    "{:width$}  {size:>9}  {:12}  {}",
                    m.name, m.licence, m.source
                );
                writeln!(out, "{}", Plain(&line))?;
            }
            Err(error) => writeln!(out, "{}", Plain(&error.to_string()))?,
        }
    }
    Ok(())
}

/// The file of the default model; fetches it when it is missing: asks first where a person is at
/// the terminal (`interactive`) and has not said `yes`. Reads one line of standard input at most.
pub(crate) fn ensure_default_model(yes: bool, interactive: bool) -> anyhow::Result<PathBuf> {
    let store = Store::open()?;
    match store.default_model() {
        Ok(Some(installed)) => return Ok(installed.path),
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
    let installed =
        installed.with_context(|| format!("{} is not in the store after the pull", entry.name))?;
    Ok(installed.path)
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

#[cfg(test)]
mod tests;
