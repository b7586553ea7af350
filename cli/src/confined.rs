//! Loading a model in a process that has given up the network, files and programs.
//!
//! In: the model, and how much confinement the user wants. Out: a loaded engine, in a process confined by
//! [`hob::privacy`] before the first byte of the model was parsed. What this system cannot enforce is said
//! on standard error, before the first prompt is read; and a model of the store is compared with what is
//! pinned: by its looks when it is opened, and where that is not enough by its bytes, after confinement.

use crate::args::EngineArgs;
use crate::model::Model;
use crate::workshop;
use anyhow::{Context, bail};
use clap::Args;
use hob::privacy::{self, Confinement, Mode, Report, memory};
use hob::{Engine, EngineOptions, ModelFiles, WeightsMode};
use hob_models::packed::cache_lookup;

/// How a command confines itself.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Confinement")]
pub(crate) struct ConfinementArgs {
    /// Do not go on where this system cannot enforce all layers of confinement
    #[arg(long, conflicts_with = "no_sandbox")]
    require_sandbox: bool,
    /// Run without confinement: the process keeps the right to open files and connections
    #[arg(long)]
    no_sandbox: bool,
}

/// The first step: what was inherited is closed, and nobody may look in. What else the process will need
/// is opened between this and [`Begun::open`].
pub(crate) struct Begun {
    how: ConfinementArgs,
}

/// A model whose files are open, in a confined process.
pub(crate) struct Opened {
    files: ModelFiles,
    options: EngineOptions,
    /// What holds the process; none without confinement.
    report: Option<Report>,
}

impl ConfinementArgs {
    /// Begins; before anything is opened that shall stay open.
    pub(crate) fn begin(self) -> anyhow::Result<Begun> {
        memory::guard();
        match self.no_sandbox {
            true => eprintln!(
                "warning: without confinement, as asked: this process may open files and connections"
            ),
            false => privacy::shed().context("cannot confine this process")?,
        }
        Ok(Begun { how: self })
    }
}

/// A loaded model, in a process confined by these rules (`hob run`'s are [`Mode::Run`]): for commands that
/// read all else before.
pub(crate) fn load(
    rules: impl Into<Confinement>,
    model: &Model,
    engine: &EngineArgs,
    outputs: usize,
    confinement: ConfinementArgs,
) -> anyhow::Result<Engine> {
    let opened = confinement.begin()?.open(rules, model, engine, outputs)?;
    Ok(opened.load()?.0)
}

impl Begun {
    /// Whether the user wants no confinement.
    pub(crate) fn is_off(&self) -> bool {
        self.how.no_sandbox
    }

    /// Opens the model, then gives up the right to open anything else. Everything but the model and
    /// standard input must have been read or opened, and no thread started.
    pub(crate) fn open(
        self,
        rules: impl Into<Confinement>,
        model: &Model,
        engine: &EngineArgs,
        outputs: usize,
    ) -> anyhow::Result<Opened> {
        let options = engine.options(outputs);
        let opened = model.open(engine.verify)?;
        let files = self.packed(opened.files().clone(), &options)?;
        let report = self.confine(&rules.into())?;
        model.settle(opened)?;
        Ok(Opened {
            files,
            options,
            report,
        })
    }

    /// A model's files as `--weights` wants them, or their packed forms in `--cache`, which another process
    /// makes, for it parses them.
    pub(crate) fn packed(
        &self,
        files: ModelFiles,
        options: &EngineOptions,
    ) -> anyhow::Result<ModelFiles> {
        let WeightsMode::Cached(folder) = &options.weights else {
            return Ok(Engine::open_files(files, options)?);
        };
        workshop::into_cache(&files.path, folder, self.is_off())?;
        Ok(cache_lookup(files, folder)?)
    }

    /// Opens the model, then gives up the right to open anything else: for commands that read a model's
    /// metadata, and load no engine.
    pub(crate) fn read(self, model: &Model) -> anyhow::Result<ModelFiles> {
        let opened = model.open(false)?;
        self.confine_reader()?;
        model.settle(opened)
    }

    /// Gives up the right to open anything else, as `hob run` does: for commands that read a model's
    /// metadata, and load no engine.
    pub(crate) fn confine_reader(self) -> anyhow::Result<()> {
        self.confine(&Mode::Run.into())?;
        // Asked for the number of cores, rayon would read files that say it.
        let threads = rayon::ThreadPoolBuilder::new().num_threads(hob_kernels::pool::cores());
        threads.build_global().context("cannot start threads")
    }

    /// Without confinement, if that is the user's wish, there is no report.
    pub(crate) fn confine(self, rules: &Confinement) -> anyhow::Result<Option<Report>> {
        if self.how.no_sandbox {
            return Ok(None);
        }
        let report = rules
            .enter()
            .context("cannot confine this process; `--no-sandbox` runs without confinement")?;
        let weaknesses: Vec<String> = report
            .weaknesses()
            .map(|(layer, why)| format!("{layer}: {why}"))
            .collect();
        if !weaknesses.is_empty() {
            let weaknesses = weaknesses.join("; ");
            if self.how.require_sandbox {
                bail!(
                    "this system cannot enforce all that --require-sandbox asks for: {weaknesses}"
                );
            }
            eprintln!("warning: this system enforces confinement in part: {weaknesses}");
        }
        Ok(Some(report))
    }
}

impl Opened {
    /// Parses and loads the model.
    pub(crate) fn load(self) -> anyhow::Result<(Engine, Option<Report>)> {
        // What a model's file says is nobody's secret, and locked memory is scarce.
        let engine = memory::outside(|| Engine::load_files(self.files, &self.options))?;
        Ok((engine, self.report))
    }
}
