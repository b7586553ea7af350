//! `hob chat`: a conversation with a model, on a terminal or from a script.
//!
//! `repl` reads lines and runs commands, `turn` has a message answered, `conversation` holds what was
//! said, `screen` shows it. History is in memory; nothing of a conversation is written unless `/save` is
//! asked for.

mod commands;
mod conversation;
mod editor;
mod info;
mod input;
mod markdown;
mod page;
mod repl;
mod saved;
mod screen;
mod settings;
mod turn;

use super::template::TemplateFile;
use crate::args::EngineArgs;
use crate::confined::{self, ConfinementArgs, Opened};
use crate::sampling_args::SamplingArgs;
use crate::store::{self, Installed, Store};
use crate::style::ColorArg;
use crate::terminal::PlainLine;
use crate::thinking::ThinkArgs;
use anyhow::{Context, bail};
use clap::Args;
use conversation::Conversation;
use hob::privacy::{Mode, Report};
use hob::{Cancel, ChatOptions, Engine, Session, SessionOptions};
use input::Input;
use screen::Screen;
use settings::{Settings, WhenFullArg};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Args)]
#[command(after_help = "\
Without MODEL, the default model answers (fetched first if the store lacks it).
In the conversation, /help shows the commands. Ctrl-C stops an answer, Ctrl-D leaves.

From a pipe or a file, each line is a message or a command, and is answered in turn; standard output
holds the answers and what commands were asked to show. The first error ends it.

Examples:
  hob chat
  hob chat ./model.gguf --system \"Answer in French.\"
  hob chat --load story.json --when-full drop-oldest
  hob chat < questions.txt > answers.txt")]
pub(crate) struct ChatArgs {
    /// Model file or name from the store
    model: Option<String>,
    /// Instructions that precede the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Go on with a conversation from a file that /save wrote
    #[arg(long, value_name = "FILE")]
    load: Option<String>,
    /// Most tokens of one answer [default: what the context has room for]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Most tokens of the whole conversation [default: what the model was trained for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// What happens when the context is full
    #[arg(long, value_enum, default_value_t = WhenFullArg::Stop)]
    when_full: WhenFullArg,
    /// End answers before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Render the conversation with the chat template in this file, not with the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    #[command(flatten)]
    thinking: ThinkArgs,
    /// Show speed and context after each answer
    #[arg(long, short = 'v')]
    verbose: bool,
    /// Colours [auto: on a terminal, unless NO_COLOR or CLICOLOR=0 is set]
    #[arg(long, value_enum, default_value_t = ColorArg::Auto, value_name = "WHEN")]
    color: ColorArg,
    /// Leave lines as the model writes them, however long
    #[arg(long)]
    no_wrap: bool,
    /// Fetch a missing default model without asking
    #[arg(long, short = 'y')]
    yes: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

/// A conversation that is going on.
struct Chat {
    engine: Engine,
    /// What holds this process.
    confinement: Option<Report>,
    session: Session,
    conversation: Conversation,
    /// How the conversation is rendered.
    options: ChatOptions,
    settings: Settings,
    /// The settings that the program was started with.
    first_settings: Settings,
    /// How often the last message was answered again; part of the seed.
    retries: u64,
    stats: bool,
    screen: Screen,
    cancel: Cancel,
    /// Where the conversation was saved or loaded last.
    place: Option<PathBuf>,
    model: ModelFile,
    /// A person is there, and not a script.
    person: bool,
}

/// Where the model came from.
struct ModelFile {
    path: PathBuf,
    installed: Option<Installed>,
}

impl ModelFile {
    fn find(name: Option<&str>, yes: bool) -> anyhow::Result<ModelFile> {
        let Some(name) = name else {
            // The question is asked on the terminal, which messages must not come from then.
            let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
            let path = store::ensure_default_model(yes, interactive)?;
            let installed = Store::open()?.default_model()?;
            return Ok(ModelFile { path, installed });
        };
        let path = super::model_path(Path::new(name))?;
        let installed = Store::open().ok().and_then(|s| s.find(name).ok().flatten());
        let installed = installed.filter(|found| found.path == path);
        Ok(ModelFile { path, installed })
    }
}

impl Chat {
    /// The model's name for people; untrusted.
    fn model_name(&self) -> String {
        let stored = self
            .model
            .installed
            .as_ref()
            .map(|i| i.manifest.name.clone());
        let file = || self.model.path.file_stem().unwrap_or_default();
        stored
            .or_else(|| self.engine.name().map(str::to_owned))
            .unwrap_or_else(|| file().to_string_lossy().into_owned())
    }
}

pub(crate) fn run(args: ChatArgs) -> anyhow::Result<ExitCode> {
    // Mistakes that need no model are found first.
    let loaded = args.load.as_deref().map(saved::path);
    let mut conversation = match &loaded {
        Some(path) => saved::load(path)?,
        None => Conversation::default(),
    };
    if let Some(system) = &args.system {
        conversation.set_system(system.clone());
    }
    let model = ModelFile::find(args.model.as_deref(), args.yes)?;
    let thoughts = args.thinking.shown(std::io::stdout().is_terminal());
    let screen = Screen::new(args.color, !args.no_wrap, thoughts);
    screen.progress("loading the model");
    let opened = confined::open(Mode::Chat, &model.path, &args.engine, 1, args.confinement);
    let loaded_model = opened.and_then(Opened::load);
    screen.progress("");
    let (engine, confinement) = loaded_model?;
    if let (None, Some(why)) = (engine.tokenizer(), engine.tokenizer_refusal()) {
        bail!("this model's text cannot be read: {why}");
    }
    if let Some(caveat) = engine.tokenizer().and_then(|tokenizer| tokenizer.caveat()) {
        let path = model.path.display().to_string();
        eprintln!("hob: {}: {caveat}", PlainLine(&path));
    }
    let options = ChatOptions {
        template: match &args.template {
            Some(file) => Some(TemplateFile::read(file)?.parse(&engine)?),
            None => None,
        },
        think: args.thinking.think(),
        ..ChatOptions::default()
    };
    let trained = engine.model().hparams.context;
    let settings = Settings {
        sampling: args.sampling.over(engine.sampling_defaults())?,
        max_tokens: args.max_tokens.map(|n| n as usize),
        context: args.context.unwrap_or(trained) as usize,
        when_full: args.when_full,
        stop: args.stop,
    };
    let session = engine.session(SessionOptions {
        context: settings.context,
        ..SessionOptions::default()
    });
    let cancel = Cancel::new();
    let input = Input::open(screen.color(), Settings::names())?;
    let (raised, waits) = (cancel.clone(), input.waits_for_lines());
    let stop = move || match waits.load(Relaxed) {
        // Nobody else would notice: lines are read without an editor.
        true => std::process::exit(130),
        false => raised.cancel(),
    };
    ctrlc::set_handler(stop).context("cannot watch for Ctrl-C")?;
    let mut chat = Chat {
        engine,
        confinement,
        session,
        conversation,
        options,
        first_settings: settings.clone(),
        settings,
        retries: 0,
        stats: args.verbose,
        screen,
        cancel,
        place: None,
        model,
        person: input.person(),
    };
    chat.check_template()?;
    chat.check_context();
    repl::greet(&mut chat, loaded.as_deref())?;
    repl::run(&mut chat, input)
}
