//! The command line.

use crate::commands::{
    bench, bundle, chat, completions, cp, doctor, export, import, kernels, list, logits, path,
    perplexity, privacy, pull, recommend, rm, roofline, run, show, synth, template, tokenize,
    vault, verify,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hob::{EngineOptions, KvElem, WeightsMode};
use std::path::PathBuf;

/// Run language models on this computer. Nothing leaves it.
#[derive(Parser)]
#[command(name = "hob", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Without one: what to do next.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or a check found something wrong (`kernels`, `verify`, `doctor`);
2 wrong usage; 130 stopped with Ctrl-C; 141 the reader of the output went away.

`hob` alone says what to do next. `hob COMMAND --help` has the details of a command.";

#[derive(Subcommand)]
// There is one of them in a process.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Command {
    /// Answer a prompt
    Run(run::RunArgs),
    /// Talk with a model
    Chat(chat::ChatArgs),
    /// Download a model into the store
    Pull(pull::PullArgs),
    /// Take a model that is on this computer into the store
    Import(import::ImportArgs),
    /// List the models in the store, or those of other programs
    List(list::ListArgs),
    /// Show what a model is and what it needs
    Show(show::ShowArgs),
    /// Show the tokens of a text, or the text of tokens
    Tokenize(tokenize::TokenizeArgs),
    /// Delete models from the store
    Rm(rm::RmArgs),
    /// Compare models in the store with the hashes of their originals
    Verify(verify::VerifyArgs),
    /// Show, search, export and erase conversations that were kept
    Vault(vault::VaultArgs),
    /// Write a stored model's original file
    Export(export::ExportArgs),
    /// Take stored models to a machine without a network, in one file
    Bundle(bundle::BundleArgs),
    /// Give a stored model a second name
    Cp(cp::CpArgs),
    /// Print where a stored model lies
    Path(path::PathArgs),
    /// Prove that nothing can leave: everything that could is tried, and must be refused
    Privacy(privacy::PrivacyArgs),
    /// Check this machine, and say what would make hob faster
    Doctor(doctor::DoctorArgs),
    /// Say which models fit this machine, and how fast they could be
    Recommend(recommend::RecommendArgs),
    /// Write the logits of a token sequence to a file
    Logits(logits::LogitsArgs),
    /// Measure how well a model predicts a text
    Perplexity(perplexity::PerplexityArgs),
    /// Measure prefill and decode speed
    Bench(bench::BenchArgs),
    /// Measure what this machine could do at best: bandwidth, multiply-adds, synchronisation
    Roofline(roofline::RooflineArgs),
    /// Check every kernel bit for bit, and time it against this machine's ceiling
    Kernels(kernels::KernelsArgs),
    /// Make a random-weight model of a well-known shape, for benchmarks
    Synth(synth::SynthArgs),
    /// Show the prompt that a model really sees
    Template(template::TemplateArgs),
    /// Print what a shell needs to complete commands
    Completions(completions::CompletionsArgs),
    /// Write manual pages
    Man(completions::ManArgs),
    /// Open files for a conversation; started by `hob chat`
    #[command(hide = true)]
    ChatBroker(chat::BrokerArgs),
    /// Pack files; started by commands that need that
    #[command(hide = true)]
    PackWorker(crate::workshop::WorkerArgs),
}

/// How the engine runs; the same for every command that loads a model.
#[derive(Args, Clone)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Worker threads [default: one per core]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Force an instruction set: scalar; avx2, avxvnni, avx512; neon, dotprod, i8mm [default: $HOB_ISA, else the best]
    #[arg(long, value_name = "NAME")]
    pub(crate) isa: Option<String>,
    /// How weights are held
    #[arg(long, value_enum, default_value_t = WeightsArg::Auto)]
    pub(crate) weights: WeightsArg,
    /// Keep the packed form of a model file in this folder and map it from there
    #[arg(long, value_name = "FOLDER", conflicts_with = "weights")]
    pub(crate) cache: Option<PathBuf>,
    /// Element type of keys and values
    #[arg(long, value_enum, default_value_t = KvArg::F16)]
    pub(crate) kv: KvArg,
    /// Read the table of token embeddings from the mapped file, as all other weights: less memory and a
    /// quicker start, but other programs that can read the file may find out which tokens are read
    #[arg(long)]
    pub(crate) shared_embeddings: bool,
    /// Most tokens in one batch of prefill
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) batch: u32,
    /// Hash the whole model before it is used, though its files look as they did when they were hashed
    /// last (models of the store only)
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WeightsArg {
    /// Packed: from the store as it is, any other file packed into memory
    Auto,
    /// The file's own order, no copy; slower, same bits
    Mapped,
    /// As `auto`, with files read into private memory and not mapped
    Owned,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KvArg {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl EngineArgs {
    /// The engine's options, with room for `outputs` rows of logits a batch.
    pub(crate) fn options(&self, outputs: usize) -> EngineOptions {
        EngineOptions {
            threads: self.threads.map(usize::from),
            isa: self.isa.clone(),
            weights: match (&self.cache, self.weights) {
                (Some(folder), _) => WeightsMode::Cached(folder.clone()),
                (None, WeightsArg::Auto) => WeightsMode::Auto,
                (None, WeightsArg::Mapped) => WeightsMode::Mapped,
                (None, WeightsArg::Owned) => WeightsMode::Owned,
            },
            kv: match self.kv {
                KvArg::F32 => KvElem::F32,
                KvArg::F16 => KvElem::F16,
                KvArg::Q8_0 => KvElem::Q8_0,
            },
            batch: self.batch as usize,
            outputs,
            private_embeddings: !self.shared_embeddings,
        }
    }
}
