//! `hob verify`: reads models of the store through, back to the originals' bytes, and compares their
//! SHA-256 with what the manifests say.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use hob_fetch::Digest;
use hob_models::files::{Keep, Kind, ModelFile};
use hob_models::packed::unpack_to;
use rayon::prelude::*;
use serde_json::json;

use crate::store::{Installed, Store, StoreError, StoredFile};
use crate::terminal::{PlainJson, PlainLine, bytes, chain};
use crate::view::{BarWatch, View};

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
}

/// Runs `hob verify`; exit code 1 if a model is damaged.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
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
    let mut view = View::new(args.quiet || args.json);
    let mut out = std::io::stdout().lock();
    let (mut reports, mut is_sound) = (Vec::new(), true);
    for model in &models {
        let (name, outcome) = match model {
            Ok(model) => (model.manifest.name.as_str(), verify(model, &mut view)),
            Err(StoreError::Damaged { name, why }) => {
                (name.as_str(), Err(anyhow::anyhow!(why.clone())))
            }
            Err(error) => ("", Err(anyhow::anyhow!(error.to_string()))),
        };
        let damage = outcome.err().map(|error| chain(&error));
        is_sound &= damage.is_none();
        if args.json {
            reports.push(json!({ "name": name, "sound": damage.is_none(), "damage": damage }));
            continue;
        }
        match damage {
            None if args.quiet => {}
            None => {
                let size = model.as_ref().map_or(0, |model| model.manifest.size());
                writeln!(out, "{}: sound, {}", PlainLine(name), bytes(size))?;
            }
            Some(why) => writeln!(
                out,
                "{}: DAMAGED: {}; `hob rm {}`, then pull or import it again",
                PlainLine(name),
                PlainLine(&why),
                PlainLine(name)
            )?,
        }
    }
    if args.json {
        writeln!(out, "{:#}", PlainJson(&reports.into()))?;
    } else if models.is_empty() && !args.quiet {
        writeln!(out, "no models yet; `hob pull` fetches one")?;
    }
    Ok(if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Reads all files of a model through, several at a time.
fn verify(model: &Installed, view: &mut View) -> anyhow::Result<()> {
    let name = &model.manifest.name;
    view.begin(&format!("verifying {name}"), Some(model.manifest.size()), 0);
    let watch = view.watch();
    let checked = model
        .manifest
        .files
        .par_iter()
        .try_for_each(|file| check(&model.file(file), file, &watch.another()));
    match checked {
        Ok(()) => view.end(),
        Err(_) => view.clear(),
    }
    checked
}

fn check(path: &Path, stored: &StoredFile, watch: &BarWatch) -> anyhow::Result<()> {
    let found = digest(path, watch)?;
    if found.to_string() != stored.sha256 {
        anyhow::bail!(
            "{} holds bytes of SHA-256 {found}, and {} was recorded",
            stored.file,
            stored.sha256
        );
    }
    Ok(())
}

/// SHA-256 of the original of a stored file.
fn digest(path: &Path, watch: &BarWatch) -> anyhow::Result<Digest> {
    if let Ok(file) = ModelFile::open(path, Keep::Mapped)
        && file.kind == Kind::Packed
    {
        return Ok(Digest(unpack_to(&file, &mut std::io::sink(), watch)?));
    }
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (_, found) = hob_fetch::hash_file(&mut file, &mut |done| watch.at(done))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(found)
}
