//! Packing in a process of its own: whoever packs a model file parses it, and so opens it and then may
//! only write to the folder of the result ([`Mode::Pack`]).
//!
//! In: a [`Job`], on the standard input of this program started as `hob pack-worker`. Out: what came of
//! it, on standard output; progress on standard error. The process that asks parses nothing, so it may
//! hold a connection (`hob pull`) or wait for a prompt (`hob run --cache`).

use crate::intake::{self, Original};
use crate::store::StoredFile;
use crate::terminal::chain;
use crate::view::View;
use crate::wire::{receive, send};
use anyhow::{Context, anyhow};
use clap::Args;
use hob::privacy::{self, Confinement, Mode};
use hob_fetch::make_private_dir;
use hob_models::files::{Keep, ModelFile, ModelFiles};
use hob_models::packed;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What is packed, and where to.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    /// A file of a model, into a staging folder of the store.
    Store {
        original: Original,
        staging: PathBuf,
        stored: String,
        /// What the bar is called, and whether there is none.
        file: Option<String>,
        is_quiet: bool,
    },
    /// A model's files, into a folder that keeps packed forms, unless they are there.
    Cache { model: PathBuf, folder: PathBuf },
}

/// Packs files; started by commands that need that.
#[derive(Args)]
pub(crate) struct WorkerArgs {
    /// Without confinement
    #[arg(long)]
    no_sandbox: bool,
}

/// Has a process do a job; what it stored, if it did that.
pub(crate) fn have_done(job: &Job, no_sandbox: bool) -> anyhow::Result<Option<StoredFile>> {
    let what = "the process that packs the model ended early";
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg("pack-worker");
    if no_sandbox {
        command.arg("--no-sandbox");
    }
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = started.context("cannot start a process that packs the model")?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (mut to, mut from) = pipes.context(what)?;
    let sent = send(&mut to, job);
    drop(to);
    let answer: Result<Option<Result<Option<StoredFile>, String>>, _> = receive(&mut from);
    let status = child.wait().context(what)?;
    match answer {
        Ok(Some(answer)) => answer.map_err(|why| anyhow!(why)),
        _ => {
            sent.context(what)?;
            Err(anyhow!("{what} ({status})"))
        }
    }
}

/// The process itself.
pub(crate) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    // Nobody waits for what is packed any more if whoever asked is killed.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot tie this process to the one that started it")?;
    let confined = !args.no_sandbox;
    let what = "cannot confine the process that packs the model";
    if confined {
        privacy::shed().context(what)?;
    }
    let job: Option<Job> = receive(&mut std::io::stdin()).context("cannot read what to pack")?;
    let job = job.context("there is nothing to pack")?;
    let done = work(job, |rules| {
        if confined {
            // What this system lacks, whoever asked tells where it matters.
            rules.enter().context(what)?;
        }
        Ok(())
    });
    let done = done.map_err(|e| chain(&e));
    send(&mut std::io::stdout(), &done).context("cannot say what was packed")
}

/// Opens what is packed, confines the process, and packs.
fn work(
    job: Job,
    confine: impl FnOnce(Confinement) -> anyhow::Result<()>,
) -> anyhow::Result<Option<StoredFile>> {
    Ok(match job {
        Job::Store {
            original,
            staging,
            stored,
            file,
            is_quiet,
        } => {
            make_private_dir(&staging)?;
            let opened = ModelFile::open(&original.path, Keep::Mapped)?;
            // One that is packed already is copied, by its name.
            confine(
                Confinement::new(Mode::Pack)
                    .readable(&original.path)
                    .writable(&staging),
            )?;
            let mut view = View::new(is_quiet);
            view.set_file(file);
            let stored = intake::pack_here(opened, &original, &staging, &stored, &mut view)?;
            Some(stored)
        }
        Job::Cache { model, folder } => {
            make_private_dir(&folder)?;
            let files = ModelFiles::open(&model)?;
            confine(Confinement::new(Mode::Pack).writable(&folder))?;
            packed::cached(files, &folder, &())?;
            None
        }
    })
}
