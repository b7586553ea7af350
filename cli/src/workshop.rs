//! Packing in a process of its own: whoever packs a model file parses it, and so opens it and then may
//! only write to the folder of the result ([`Mode::Pack`]).
//!
//! In: what to pack, on the standard input of this program started as `hob pack-worker`. Out: what came of
//! it, on standard output ([`crate::wire`]); progress on standard error. The process that asks parses
//! nothing, so it may hold a connection (`hob pull`) or wait for a prompt (`hob run --cache`).

use crate::facts::{self, Facts};
use crate::intake::{self, Original};
use crate::store::StoredFile;
use crate::terminal::chain;
use crate::view::View;
use crate::wire::{receive, send};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use hob::privacy::{self, Confinement, Mode};
use hob_fetch::make_private_dir;
use hob_models::files::ModelFiles;
use hob_models::packed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the process is told.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// First of all: the files that it will read, and the folder of the store, with all in it, that it will
    /// write to.
    Begin {
        read: Vec<PathBuf>,
        staging: PathBuf,
    },
    /// Pack a file of a model into that folder; answered by what the manifest says of it.
    Pack {
        original: Original,
        stored: String,
        /// What the bar is called, and whether there is none.
        file: Option<String>,
        is_quiet: bool,
    },
    /// Say what a model in that folder says of itself.
    Facts { model: PathBuf },
    /// Pack a model's files into a folder that keeps packed forms, unless they are there; alone.
    Cache { model: PathBuf, folder: PathBuf },
}

/// Packs files; started by commands that need that.
#[derive(Args)]
pub(crate) struct WorkerArgs {
    /// Without confinement
    #[arg(long)]
    no_sandbox: bool,
}

/// The process, seen from the one that started it.
pub(crate) enum Workshop {
    /// As it is.
    Apart {
        process: Child,
        to: ChildStdin,
        from: ChildStdout,
    },
    /// In this process, which is a test that cannot start itself again.
    #[cfg(test)]
    Here(Worker),
}

const ENDED: &str = "the process that packs the model ended early";

impl Workshop {
    /// Starts it. It waits, and so can be started by a process that gives up starting others.
    pub(crate) fn start() -> anyhow::Result<Workshop> {
        start(false)
    }

    #[cfg(test)]
    pub(crate) fn here() -> Workshop {
        Workshop::Here(Worker {
            confines: false,
            staging: None,
        })
    }

    /// Names what it will read, and where it will write; it can do nothing else from then on.
    pub(crate) fn begin(&mut self, read: &[Original], staging: &Path) -> anyhow::Result<()> {
        self.ask(&Ask::Begin {
            read: read.iter().map(|original| original.path.clone()).collect(),
            staging: staging.to_owned(),
        })
    }

    /// Has a file packed to this name; its hash is computed on the way, compared and recorded. A file that
    /// is packed already is copied, and checked.
    pub(crate) fn pack(
        &mut self,
        original: &Original,
        stored: &str,
        view: &View,
    ) -> anyhow::Result<StoredFile> {
        let (file, is_quiet) = view.shows();
        self.ask(&Ask::Pack {
            original: original.clone(),
            stored: stored.to_owned(),
            file,
            is_quiet,
        })
    }

    /// What a model in that folder says of itself.
    pub(crate) fn facts(&mut self, model: &Path) -> anyhow::Result<Facts> {
        let model = model.to_owned();
        self.ask(&Ask::Facts { model })
    }

    fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> anyhow::Result<T> {
        let (process, to, from) = match self {
            Workshop::Apart { process, to, from } => (process, to, from),
            #[cfg(test)]
            Workshop::Here(worker) => {
                let ask = serde_json::from_value(serde_json::to_value(ask)?)?;
                return Ok(serde_json::from_value(worker.answer(ask)?)?);
            }
        };
        let sent = send(to, ask);
        let answer: Result<Option<Result<T, String>>, _> = receive(from);
        if let Ok(Some(answer)) = answer {
            return answer.map_err(|why| anyhow!(why));
        }
        sent.context(ENDED)?;
        let status = process.wait().context(ENDED)?;
        bail!("{ENDED} ({status})")
    }
}

fn start(no_sandbox: bool) -> anyhow::Result<Workshop> {
    let what = "cannot start the process that packs the model";
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg("pack-worker");
    if no_sandbox {
        command.arg("--no-sandbox");
    }
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = started.context(what)?;
    let pipes = process.stdin.take().zip(process.stdout.take());
    let (to, from) = pipes.context(what)?;
    Ok(Workshop::Apart { process, to, from })
}

/// Has the packed form of a model's files made in this folder, unless it is there.
pub(crate) fn into_cache(model: &Path, folder: &Path, no_sandbox: bool) -> anyhow::Result<()> {
    let mut workshop = start(no_sandbox)?;
    workshop.ask(&Ask::Cache {
        model: model.to_owned(),
        folder: folder.to_owned(),
    })
    // It ends with its input.
}

/// The process itself.
pub(crate) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    // Nobody waits for what is packed any more if whoever asked is killed.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot tie this process to the one that started it")?;
    if !args.no_sandbox {
        privacy::shed().context(CONFINING)?;
    }
    let mut worker = Worker {
        confines: !args.no_sandbox,
        staging: None,
    };
    // Without buffers: whoever asks waits for each answer.
    let (mut from, mut to) = (std::io::stdin(), std::io::stdout());
    while let Some(ask) = receive(&mut from).context("cannot read what to pack")? {
        let done = worker.answer(ask).map_err(|e| chain(&e));
        send(&mut to, &done).context("cannot say what was packed")?;
    }
    Ok(())
}

const CONFINING: &str = "cannot confine the process that packs the model";

pub(crate) struct Worker {
    /// Whether it is still to confine itself.
    confines: bool,
    staging: Option<PathBuf>,
}

impl Worker {
    /// What this system lacks, whoever asked tells where it matters.
    fn confine(&mut self, rules: &Confinement) -> anyhow::Result<()> {
        if std::mem::take(&mut self.confines) {
            rules.enter().context(CONFINING)?;
        }
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> anyhow::Result<Value> {
        match ask {
            Ask::Begin { read, staging } => {
                make_private_dir(&staging)?;
                let rules = Confinement::new(Mode::Pack).writable(&staging);
                self.confine(&read.iter().fold(rules, Confinement::readable))?;
                self.staging = Some(staging);
                Ok(Value::Null)
            }
            Ask::Pack {
                original,
                stored,
                file,
                is_quiet,
            } => {
                let staging = self.staging.as_ref().context("no folder was named")?;
                let mut view = View::new(is_quiet);
                view.set_file(file);
                let done = intake::pack(&original, staging, &stored, &mut view)?;
                Ok(serde_json::to_value(done)?)
            }
            Ask::Facts { model } => Ok(serde_json::to_value(facts::of(&model)?)?),
            Ask::Cache { model, folder } => {
                make_private_dir(&folder)?;
                let files = ModelFiles::open(&model)?;
                self.confine(&Confinement::new(Mode::Pack).writable(&folder))?;
                packed::cached(files, &folder, &())?;
                Ok(Value::Null)
            }
        }
    }
}
