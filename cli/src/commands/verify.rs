//! `hob verify`: reads models of the store through, back to the originals' bytes, and compares their
//! SHA-256 with what the manifests say.
//!
//! Packed files are unpacked for that, so parsed: all files are opened first, and then the process confines
//! itself as `hob run` does.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use crate::confined::ConfinementArgs;
use crate::model::on_all_cores;
use crate::store::{Installed, Pinned, Store, StoreError, remedy};
use crate::terminal::{PlainJson, PlainLine, bytes};
use crate::view::View;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Names from the store [default: all]
    names: Vec<String>,
    /// All models of the store
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Show damaged models only
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

/// A model, and what became of it.
struct Checked {
    name: String,
    bytes: u64,
    outcome: Result<(), StoreError>,
}

/// Runs `hob verify`; exit code 1 if a model is damaged, 130 if it was stopped.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let begun = args.confinement.begin()?;
    let store = Store::open()?;
    let models: Vec<Result<Installed, StoreError>> = match args.names.as_slice() {
        [] => store.list()?,
        names => {
            let mut found = Vec::new();
            for name in names {
                match store.need(name) {
                    Err(missing @ StoreError::NoModel(_)) => return Err(missing.into()),
                    other => found.push(other),
                }
            }
            found
        }
    };
    let mut open: Vec<_> = models.into_iter().map(|model| open(model?)).collect();
    begun.confine_reader()?;
    let mut view = View::new(args.quiet || args.json);
    let checked = check(&mut open, &mut view)?;
    report(args, &checked)
}

/// Opens a model, to be hashed whole.
fn open(model: Installed) -> Result<(u64, Pinned), StoreError> {
    Ok((model.manifest.size(), model.open(true)?))
}

/// Hashes all models, and the files of each, at the same time.
fn check(
    models: &mut [Result<(u64, Pinned), StoreError>],
    view: &mut View,
) -> anyhow::Result<Vec<Checked>> {
    let sound: Vec<_> = models.iter().flatten().collect();
    let what = match sound.as_slice() {
        [(_, only)] => format!("verifying {}", only.name),
        several => format!("verifying {} models", several.len()),
    };
    if !sound.is_empty() {
        let total = sound.iter().map(|(_, pinned)| pinned.size()).sum();
        view.begin(&what, Some(total), 0);
    }
    let watch = view.watch();
    let stop = watch.stopper();
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))
        .context("cannot watch for Ctrl-C")?;
    let one = |model: &mut Result<(u64, Pinned), StoreError>| match model {
        Ok((bytes, pinned)) => Checked {
            name: pinned.name.clone(),
            bytes: *bytes,
            outcome: pinned.settle(|| watch.another()).map(|_| ()),
        },
        Err(error) => {
            let error = std::mem::replace(error, StoreError::Stopped);
            let name = match &error {
                StoreError::Damaged { name, .. } => name.clone(),
                _ => String::new(),
            };
            Checked {
                name,
                bytes: 0,
                outcome: Err(error),
            }
        }
    };
    let checked: Vec<_> = on_all_cores(|| models.par_iter_mut().map(one).collect());
    match checked.iter().all(|model| model.outcome.is_ok()) {
        true => view.end(),
        false => view.clear(),
    }
    Ok(checked)
}

fn report(args: &VerifyArgs, checked: &[Checked]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let (mut reports, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for model in checked {
        let name = PlainLine(&model.name);
        let damage = match &model.outcome {
            Ok(()) => None,
            Err(StoreError::Damaged { why, .. }) => Some(why.clone()),
            Err(error) => Some(error.to_string()),
        };
        if damage.is_some() {
            code = ExitCode::FAILURE;
        }
        if args.json {
            reports
                .push(json!({ "name": model.name, "sound": damage.is_none(), "damage": damage }));
            continue;
        }
        match (&model.outcome, damage) {
            (_, None) if args.quiet => {}
            (_, None) => writeln!(out, "{name}: sound, {}", bytes(model.bytes))?,
            (Err(StoreError::Stopped), _) => writeln!(out, "{name}: not verified")?,
            (_, Some(why)) => writeln!(
                out,
                "{name}: DAMAGED: {}; {}",
                PlainLine(&why),
                PlainLine(&remedy(&model.name))
            )?,
        }
    }
    if args.json {
        writeln!(out, "{:#}", PlainJson(&reports.into()))?;
    } else if checked.is_empty() && !args.quiet {
        writeln!(out, "no models yet; `hob pull` fetches one")?;
    }
    let is_stopped = |model: &Checked| matches!(model.outcome, Err(StoreError::Stopped));
    Ok(match checked.iter().any(is_stopped) {
        true => ExitCode::from(130),
        false => code,
    })
}
