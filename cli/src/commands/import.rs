//! `hob import`: models that are on this computer already come into the store. Nothing connects here.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use hob_fetch::{Digest, make_private_dir};
use hob_models::files::{Keep, Kind, ModelFile, ModelFiles};
use hob_models::packed::Preamble;

use super::pull::name_of_file;
use crate::facts;
use crate::intake::{self, Original, PACKING_SPACE, Unshared};
use crate::model::settle;
use crate::other::{self, Offer};
use crate::store::{
    Arrival, How, Installed, ModelKind, Store, StoreError, StoredFile, Verified, plain_name,
};
use crate::terminal::{PlainJson, bytes};
use crate::view::View;
use crate::workshop::Workshop;

#[derive(Args)]
#[command(after_help = "\
A packed copy starts fastest: it is mapped as it is. A model that another program keeps on this
computer (`hob list --other`) is not copied where the file system allows: hob then uses the same
bytes, and arranges them in memory at every start. The other program may delete its file, but must
not write to it. --pack and --share choose otherwise.

Examples:
  hob import ~/Downloads/model-Q4_K_M.gguf
  hob import ./folder-with-config-and-safetensors --name my-model
  hob import ollama:llama3.2:1b")]
pub(crate) struct ImportArgs {
    /// GGUF file (any part, if it has several), folder with safetensors, packed .hob file, or a model
    /// of `hob list --other`
    model: String,
    /// Name in the store [default: that of the file]
    #[arg(long)]
    name: Option<String>,
    /// Copy and pack, wherever the model is
    #[arg(long, conflicts_with = "share")]
    pack: bool,
    /// Use the bytes where they are, without a copy: a clone or a link on the same file system
    #[arg(long)]
    share: bool,
    /// SHA-256 that the file must have, in hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Replace another model of the same name
    #[arg(long)]
    force: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object about the model at the end
    #[arg(long)]
    json: bool,
}

/// How the bytes come into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pack,
    /// `or_pack`: where they cannot be shared, pack.
    Share {
        or_pack: bool,
    },
}

/// Runs `hob import`.
pub(crate) fn run(args: ImportArgs) -> anyhow::Result<()> {
    let mut view = View::new(args.quiet);
    let found = other::find(&args.model);
    let way = match (args.pack, args.share, &found) {
        (true, ..) => Way::Pack,
        (_, true, _) => Way::Share { or_pack: false },
        (_, _, Some(_)) => Way::Share { or_pack: true },
        _ => Way::Pack,
    };
    let source = match &found {
        Some(offer) => offer.name.clone(),
        None => "a file on this computer".to_owned(),
    };
    let mut offer = match found {
        Some(offer) => offer,
        None => of_path(&args.model)?,
    };
    if let Some(text) = &args.sha256 {
        let digest = Digest::from_hex(text).context("--sha256 is not 64 hexadecimal digits")?;
        let [only] = offer.weights.as_mut_slice() else {
            bail!(
                "--sha256 is for one file, and {} has several",
                args.model.escape_debug()
            );
        };
        only.expect = Some(digest);
    }
    let name = args.name.unwrap_or_else(|| offer.short.clone());
    let store = Store::open()?;
    let model = import(&store, &offer, &name, &source, way, args.force, &mut view);
    if model.is_err() {
        view.clear();
        store.sweep();
    }
    let model = model?;
    say_ready(&model, &mut view);
    if args.json {
        println!("{}", PlainJson(&super::list::report(&model)));
    }
    Ok(())
}

/// The last line of what brought a model: where it is, and what hob thinks of it.
pub(crate) fn say_ready(model: &Installed, view: &mut View) {
    let name = &model.manifest.name;
    view.say(&format!("{name} is ready: {}", model.path.display()));
    match hob::Inspection::open(&model.path, &hob::EngineOptions::default()) {
        Ok(_) => {}
        Err(why) => view.say(&format!("hob does not run it yet: {why}")),
    }
}

/// The model at a path that the user gave.
fn of_path(text: &str) -> anyhow::Result<Offer> {
    if let Some((program, _)) = text.split_once(':')
        && other::is_program(program)
    {
        bail!(
            "no model `{}` was found; `hob list --other` shows what other programs have here",
            text.escape_debug()
        );
    }
    let path = Path::new(text);
    if !path.exists() {
        bail!(
            "`{}` is not there; give a model file or folder, or a name that `hob list --other` shows \
             (`hob pull` downloads)",
            text.escape_debug()
        );
    }
    let path = match path.is_dir() {
        true => the_one_in(path)?,
        false => path.to_owned(),
    };
    let files = ModelFiles::open(&path)?;
    let first = files.parts.first().context("the model has no files")?;
    let kind = match first.kind {
        Kind::Packed => Preamble::read(&first.path, &first.bytes)?.kind,
        other => other,
    };
    let kind = ModelKind::of(kind).context("a packed file within a packed file")?;
    if kind == ModelKind::Safetensors && !files.side.contains_key("config.json") {
        bail!(
            "{} lacks config.json beside it, without which hob does not know what the model is",
            first.path.display()
        );
    }
    let original = |path: &Path| Original {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        path: path.to_owned(),
        expect: None,
    };
    let dir = if path.is_dir() {
        Some(path.as_path())
    } else {
        path.parent()
    };
    let dir = dir.unwrap_or(Path::new(""));
    let folder = std::fs::canonicalize(dir).unwrap_or_default();
    let short = match kind {
        ModelKind::Gguf => name_of_file(&original(&first.path).name),
        ModelKind::Safetensors => {
            plain_name(&folder.file_name().unwrap_or_default().to_string_lossy())
        }
    };
    Ok(Offer {
        name: text.to_owned(),
        short,
        kind,
        size: files.parts.iter().map(|part| part.bytes.len() as u64).sum(),
        weights: files
            .parts
            .iter()
            .map(|part| original(&part.path))
            .collect(),
        side: files
            .side
            .keys()
            .map(|name| original(&dir.join(name)))
            .collect(),
        licence: None,
    })
}

/// What to open for a folder: itself if it has safetensors, else its only GGUF model.
fn the_one_in(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut ggufs = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            return Ok(dir.to_owned());
        }
        if path
            .extension()
            .is_some_and(|end| end == "gguf" || end == "hob")
        {
            ggufs.push(path);
        }
    }
    ggufs.sort();
    let is_later_part = |path: &PathBuf| {
        hob_models::gguf::split::SplitName::of(path).is_some_and(|split| split.number > 1)
    };
    ggufs.retain(|path| !is_later_part(path));
    match ggufs.as_slice() {
        [] => bail!(
            "{} has no model in it: neither .gguf nor .safetensors",
            dir.display()
        ),
        [only] => Ok(only.clone()),
        several => bail!(
            "{} has {} models; give one of the files",
            dir.display(),
            several.len()
        ),
    }
}

fn import(
    store: &Store,
    offer: &Offer,
    name: &str,
    source: &str,
    way: Way,
    force: bool,
    view: &mut View,
) -> anyhow::Result<Installed> {
    let lock = store.lock(name, view)?;
    match store.find(name) {
        Ok(Some(present)) if !force => {
            if is_same(&present, offer, view)? {
                let settled = present
                    .open(false)
                    .and_then(|mut open| settle(&mut open, view));
                match settled {
                    Ok(_) => {
                        view.say("it is here already");
                        return Ok(present);
                    }
                    // The same model, sound, is what is about to come.
                    Err(damaged @ StoreError::Damaged { .. }) => view.say(&damaged.to_string()),
                    Err(other) => return Err(other.into()),
                }
            } else {
                let name = present.manifest.name;
                let source_ = present.manifest.source;
                return Err(StoreError::Taken { name, source_ }.into());
            }
        }
        Ok(_) => {}
        Err(damaged @ StoreError::Damaged { .. }) => view.say(&damaged.to_string()),
        Err(error) => return Err(error.into()),
    }
    let staging = store.staging(name)?;
    make_private_dir(&staging)?;
    let mut workshop = Workshop::start()?;
    workshop.begin(&offer.weights, &staging)?;
    let mut files = match way {
        Way::Pack => packed(offer, &staging, &mut workshop, view)?,
        Way::Share { or_pack } => match shared(offer, &staging, view)? {
            Ok(files) => {
                view.say(&format!(
                    "{} are shared with {}, not copied; --pack makes a copy that starts faster",
                    bytes(offer.size),
                    offer.path().display()
                ));
                files
            }
            Err(unshared) if or_pack => {
                view.say(&format!("{} are copied: {unshared}", bytes(offer.size)));
                packed(offer, &staging, &mut workshop, view)?
            }
            Err(unshared) => bail!("{} cannot be shared: {unshared}", offer.path().display()),
        },
    };
    for original in &offer.side {
        files.push(intake::keep(original, &staging, &original.name)?);
    }
    let arrived = match (offer.kind, files.first()) {
        (ModelKind::Gguf, Some(first)) => staging.join(&first.file),
        _ => staging.clone(),
    };
    let facts = workshop.facts(&arrived)?;
    let licence = offer.licence.clone().or(facts.licence);
    let arrival = Arrival {
        name: name.to_owned(),
        kind: offer.kind,
        files,
        source: source.to_owned(),
        licence: licence.unwrap_or_else(|| facts::UNKNOWN.to_owned()),
        quant: facts.quant,
        verified: Some(Verified::now(How::Arrived)),
    };
    Ok(store.install(&lock, arrival)?)
}

/// Whether a stored model has the bytes of this one.
fn is_same(present: &Installed, offer: &Offer, view: &mut View) -> anyhow::Result<bool> {
    let files = present.manifest.files.iter();
    let sizes: u64 = files
        .clone()
        .take(offer.weights.len())
        .map(|file| file.size)
        .sum();
    if sizes != offer.size {
        return Ok(false);
    }
    for (stored, original) in files.zip(&offer.weights) {
        if intake::hash(&original.path, view)?.1.to_string() != stored.sha256 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Packed copies of all files with weights.
fn packed(
    offer: &Offer,
    staging: &Path,
    workshop: &mut Workshop,
    view: &mut View,
) -> anyhow::Result<Vec<StoredFile>> {
    hob_fetch::need_space(staging, offer.size + PACKING_SPACE)?;
    let count = offer.weights.len();
    let mut files = Vec::new();
    for (i, original) in offer.weights.iter().enumerate() {
        let stored = intake::stored_name(offer.kind, &original.name, i + 1, count, "hob");
        if count > 1 {
            view.set_file(Some(format!("{} ({} of {count})", original.name, i + 1)));
        }
        files.push(workshop.pack(original, &stored, view)?);
    }
    view.set_file(None);
    Ok(files)
}

/// All files with weights, their bytes shared with the originals.
fn shared(
    offer: &Offer,
    staging: &Path,
    view: &mut View,
) -> anyhow::Result<Result<Vec<StoredFile>, Unshared>> {
    let count = offer.weights.len();
    let mut files = Vec::new();
    for (i, original) in offer.weights.iter().enumerate() {
        let kind = ModelFile::open(&original.path, Keep::Mapped)?.kind;
        if kind == Kind::Packed {
            bail!(
                "{} is packed already; import it without --share",
                original.path.display()
            );
        }
        let stored = intake::stored_name(offer.kind, &original.name, i + 1, count, "gguf");
        match intake::share(original, staging, &stored, view)? {
            Ok(file) => files.push(file),
            Err(unshared) => return Ok(Err(unshared)),
        }
    }
    Ok(Ok(files))
}
