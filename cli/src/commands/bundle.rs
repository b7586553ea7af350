//! `hob bundle`: models go into one file, and come out of it on a machine without a network. Nothing
//! connects here.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hob_fetch::{Digest, make_private_dir, need_space, sync_dir};
use hob_models::files::{Keep, ModelFile};
use serde_json::json;

use super::export::elsewhere;
use crate::bundle::{self, Bundle, BundleError, BundledModel, Written};
use crate::intake::{self, Original, PACKING_SPACE};
use crate::model::{on_all_cores, settle};
use crate::store::{Arrival, How, Installed, ModelKind, Store, StoreError, StoredFile, Verified};
use crate::terminal::{PlainJson, PlainLine, bytes};
use crate::view::View;
use crate::workshop::Workshop;

#[derive(Args)]
#[command(after_help = "\
A bundle is a tar file of the models' original files and an index with their hashes. Whoever knows
the SHA-256 of the index, which every command here shows, knows all of the bundle: compare it over
another channel than the bundle's own, or give it to `hob bundle import --index-sha256`.

Examples:
  hob bundle export smollm2 qwen3-0.6b --out models.tar
  hob bundle import models.tar")]
pub(crate) struct BundleArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write models of the store into one file
    Export(ExportArgs),
    /// Take all models of a bundle into the store
    Import(ImportArgs),
    /// Show what a bundle holds
    Show(ShowArgs),
}

#[derive(Args)]
struct ExportArgs {
    /// Names from the store
    #[arg(required = true)]
    names: Vec<String>,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Show errors only, and the hash
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object about the bundle
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ImportArgs {
    /// The bundle
    file: PathBuf,
    /// SHA-256 that its index must have, in hexadecimal digits
    #[arg(long, value_name = "HEX")]
    index_sha256: Option<String>,
    /// Replace other models of the same names
    #[arg(long)]
    force: bool,
    /// Show errors only, and the hash
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object about the bundle
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ShowArgs {
    /// The bundle
    file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `hob bundle`.
pub(crate) fn run(args: &BundleArgs) -> anyhow::Result<()> {
    match &args.action {
        Action::Export(args) => export(args),
        Action::Import(args) => import(args),
        Action::Show(args) => {
            let bundle = open(&args.file)?;
            if !args.json {
                for model in &bundle.index.models {
                    println!("{}", PlainLine(&line(model)));
                    for file in &model.files {
                        let (size, name) = (bytes(file.size), PlainLine(&file.original));
                        println!("  {}  {name}, {size}", file.sha256);
                    }
                }
            }
            say(
                args.json,
                &args.file,
                bundle.bytes,
                bundle.sha256,
                &bundle.index.models,
            )
        }
    }
}

/// `Name: 93.8 MiB, Q4_1, licence apache-2.0, from huggingface`.
fn line(model: &BundledModel) -> String {
    let quant = match model.quant.as_str() {
        "" => String::new(),
        quant => format!(", {quant}"),
    };
    format!(
        "{}: {}{quant}, licence {}, from {}",
        model.name,
        bytes(model.size()),
        model.licence,
        model.source
    )
}

/// The last word of each: the hash that people compare.
fn say(
    is_json: bool,
    path: &Path,
    bytes: u64,
    sha256: Digest,
    models: &[BundledModel],
) -> anyhow::Result<()> {
    if is_json {
        let report = json!({
            "path": path, "bytes": bytes, "index_sha256": sha256.to_string(), "models": models,
        });
        println!("{:#}", PlainJson(&report));
    } else {
        println!("SHA-256 of the index: {sha256}");
    }
    Ok(())
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let store = Store::open()?;
    let named = args.names.iter().map(|name| store.need(name));
    let models: Vec<Installed> = named.collect::<Result<_, _>>()?;
    if args.out.exists() && !args.force {
        bail!(
            "{} is there already; --force replaces it",
            args.out.display()
        );
    }
    let folder = args.out.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut view = View::new(args.quiet);
    let written = Written::of(&models)?;
    need_space(folder, written.bytes).map_err(elsewhere)?;
    // Under another name, for this user alone, until it is whole.
    let failed = || format!("cannot write {}", args.out.display());
    let mut temp = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    let done = bundle::write(&written, &models, temp.as_file_mut(), &mut view);
    if done.is_err() {
        view.clear();
    }
    done?;
    temp.as_file().sync_all().with_context(failed)?;
    match args.force {
        true => temp.persist(&args.out),
        false => temp.persist_noclobber(&args.out),
    }
    .map_err(|e| e.error)
    .with_context(failed)?;
    sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))?;
    view.say(&format!("{}: {}", args.out.display(), bytes(written.bytes)));
    say(
        args.json,
        &args.out,
        written.bytes,
        written.index,
        written.models(),
    )
}

fn open(path: &Path) -> anyhow::Result<Bundle> {
    Bundle::open(path).with_context(|| path.display().to_string())
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let bundle = open(&args.file)?;
    if let Some(text) = &args.index_sha256 {
        let expected = Digest::from_hex(text.trim());
        let expected = expected.context("--index-sha256 is not 64 hexadecimal digits")?;
        if expected != bundle.sha256 {
            let (found, expected) = (bundle.sha256.to_string(), expected.to_string());
            return Err(BundleError::OtherIndex { found, expected })
                .with_context(|| args.file.display().to_string());
        }
    }
    let store = Store::open()?;
    let mut view = View::new(args.quiet);
    // Whatever can be refused is refused before anything is written.
    let mut wanted = Vec::new();
    for model in &bundle.index.models {
        match present(&store, model, args.force, &mut view)? {
            true => view.say(&format!("{} is here already", model.name)),
            false => wanted.push(model),
        }
    }
    check(&bundle, &wanted, &mut view).with_context(|| args.file.display().to_string())?;
    need_room(&store, &wanted)?;
    for model in wanted {
        let done = take(&store, &bundle, model, args.force, &mut view);
        if done.is_err() {
            view.clear();
            store.sweep();
        }
        let done = done.with_context(|| args.file.display().to_string())?;
        super::import::say_ready(&done, &mut view);
    }
    say(
        args.json,
        &args.file,
        bundle.bytes,
        bundle.sha256,
        &bundle.index.models,
    )
}

/// Whether this very model is in the store, sound; an error if another one has its name.
fn present(
    store: &Store,
    model: &BundledModel,
    force: bool,
    view: &mut View,
) -> Result<bool, StoreError> {
    let found = match store.find(&model.name) {
        Err(damaged @ StoreError::Damaged { .. }) => {
            view.say(&damaged.to_string());
            return Ok(false);
        }
        other => other?,
    };
    let Some(found) = found else { return Ok(false) };
    if found.manifest.hashes() == model.hashes() {
        let settled = found
            .open(false)
            .and_then(|mut open| settle(&mut open, view));
        return match settled {
            Ok(_) => Ok(true),
            Err(damaged @ StoreError::Damaged { .. }) => {
                view.say(&damaged.to_string());
                Ok(false)
            }
            Err(other) => Err(other),
        };
    }
    if force {
        return Ok(false);
    }
    let Installed { manifest, .. } = found;
    Err(StoreError::Taken {
        name: manifest.name,
        source_: manifest.source,
    })
}

/// Hashes all that will be taken, before the first of it is.
fn check(bundle: &Bundle, wanted: &[&BundledModel], view: &mut View) -> Result<(), BundleError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let total = wanted.iter().map(|model| model.size());
    let total = total.fold(0, u64::saturating_add);
    view.begin("checking the bundle", Some(total), 0);
    let watch = view.watch();
    let checked = on_all_cores(|| bundle.check(wanted, || watch.another()));
    match checked {
        Ok(()) => view.end(),
        Err(_) => view.clear(),
    }
    checked
}

/// Space for all, and for the largest original beside its packed form.
fn need_room(store: &Store, wanted: &[&BundledModel]) -> anyhow::Result<()> {
    let Some(first) = wanted.first() else {
        return Ok(());
    };
    let total = wanted.iter().map(|model| model.size());
    let files = wanted.iter().flat_map(|model| &model.files);
    let largest = files.map(|file| file.size).max().unwrap_or(0);
    let needed = total.fold(largest.saturating_add(PACKING_SPACE), u64::saturating_add);
    // Whose free space is asked for must exist.
    let staging = store.staging(&first.name)?;
    make_private_dir(&staging)?;
    let enough = need_space(&staging, needed);
    if enough.is_err() {
        store.sweep();
    }
    Ok(enough?)
}

/// Takes a model into the store.
fn take(
    store: &Store,
    bundle: &Bundle,
    model: &BundledModel,
    force: bool,
    view: &mut View,
) -> anyhow::Result<Installed> {
    let lock = store.lock(&model.name, view)?;
    // Another process may have brought it while this one waited.
    if present(store, model, force, view)?
        && let Some(found) = store.find(&model.name)?
    {
        return Ok(found);
    }
    let staging = store.staging(&model.name)?;
    make_private_dir(&staging)?;
    // What a bundle holds is parsed by a process that can do nothing else.
    let mut workshop = Workshop::start()?;
    workshop.begin(&[], &staging)?;
    let weights = model.files.iter().filter(|file| model.is_weights(file));
    let count = weights.count();
    let mut files = Vec::new();
    for (i, file) in model.files.iter().enumerate() {
        view.set_file(Some(format!("{}: {}", model.name, file.original)));
        let stored = intake::stored_name(model.kind, &file.original, i + 1, count, "hob");
        // No file of a model is called so.
        let path = staging.join(".original");
        view.begin("unpacking", Some(file.size), 0);
        hob_fetch::remove_if_there(&path)?;
        let out = File::create_new(&path);
        let mut out = out.with_context(|| format!("cannot write {}", path.display()))?;
        bundle.extract(file, &mut out, &view.watch())?;
        view.end();
        let digest = Digest::from_hex(&file.sha256).context("a hash is none")?;
        let original = Original {
            path,
            name: file.original.clone(),
            expect: Some(digest),
        };
        files.push(match i < count {
            true => packed(model, &original, &stored, &mut workshop, view)?,
            false => intake::keep(&original, &staging, &stored)?,
        });
        hob_fetch::remove_if_there(&original.path)?;
    }
    view.set_file(None);
    let arrived = match (model.kind, files.first()) {
        (ModelKind::Gguf, Some(first)) => staging.join(&first.file),
        _ => staging.clone(),
    };
    // That it is a model at all.
    workshop.facts(&arrived)?;
    let arrival = Arrival {
        name: model.name.clone(),
        kind: model.kind,
        files,
        source: model.source.clone(),
        licence: model.licence.clone(),
        quant: model.quant.clone(),
        verified: Some(Verified::now(How::Arrived)),
    };
    Ok(store.install(&lock, arrival)?)
}

/// Packs a file that was taken out of a bundle.
fn packed(
    model: &BundledModel,
    original: &Original,
    stored: &str,
    workshop: &mut Workshop,
    view: &View,
) -> anyhow::Result<StoredFile> {
    let found = ModelFile::open(&original.path, Keep::Mapped)?.kind;
    if ModelKind::of(found) != Some(model.kind) {
        bail!(
            "{} of {} is {}, and its index says otherwise",
            original.name,
            model.name,
            found.name()
        );
    }
    workshop.pack(original, stored, view)
}
