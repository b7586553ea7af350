//! `hob chat`: a conversation with a model, on a terminal or from a script.
//!
//! `repl` reads lines and runs commands, `turn` has a message answered, `conversation` holds what was
//! said, `screen` shows it. History is in memory; nothing of a conversation is written unless `/save` is
//! asked for, or a vault, in which `kept` keeps it. The process that does all this may open nothing once it is confined; `broker` is the one
//! beside it that opens files and starts editors.

mod broker;
mod commands;
mod conversation;
mod info;
mod input;
mod kept;
mod markdown;
mod page;
mod repl;
mod saved;
mod screen;
mod settings;
mod snapshots;
mod turn;

use super::template::TemplateFile;
use crate::args::EngineArgs;
use crate::confined::{ConfinementArgs, Opened};
use crate::model::Model;
use crate::sampling_args::SamplingArgs;
use crate::store;
use crate::style::ColorArg;
use crate::terminal::PlainLine;
use crate::thinking::ThinkArgs;
use anyhow::{Context, bail};
use broker::Broker;
use clap::Args;
use conversation::Conversation;
use hob::privacy::{Mode, Report};
use hob::{Cancel, ChatOptions, Engine, Session, SessionOptions};
use input::Input;
use kept::{KeepArgs, Kept};
use screen::Screen;
use settings::{Settings, WhenFullArg};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
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
  hob chat --vault diary                        (kept, encrypted; --continue goes on with it)
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
    /// What happens when the context is full [default: stop]
    #[arg(long, value_enum)]
    when_full: Option<WhenFullArg>,
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
    keep: KeepArgs,
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
    /// What opens files for it.
    broker: Rc<Broker>,
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
    /// The vault that keeps it.
    kept: Option<Kept>,
    /// What the settings would be if nobody had set any.
    base: Settings,
    model: Model,
    /// A person is there, and not a script.
    person: bool,
    /// What was typed so far is to be forgotten.
    forget_typed: bool,
}

/// The model that is meant, or the default one.
fn find_model(name: Option<&str>, yes: bool) -> anyhow::Result<Model> {
    match name {
        Some(name) => Model::find(Path::new(name)),
        None => {
            // The question is asked on the terminal, which messages must not come from then.
            let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
            Ok(store::ensure_default_model(yes, interactive)?.into())
        }
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

pub(crate) use broker::{BrokerArgs, run as run_broker};
pub(crate) use kept::talk_document;
pub(crate) use saved::save_json;

pub(crate) fn run(args: ChatArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.keep.wanted()?;
    let begun = args.confinement.begin()?;
    let broker = Rc::new(Broker::start(&begun)?);
    // A missing model is fetched, by a process of its own, before anything of a conversation is read.
    let model = find_model(args.model.as_deref(), args.yes)?;
    let (loaded, mut conversation) = match &args.load {
        Some(path) => {
            let (path, conversation) = broker.load(path)?;
            (Some(path), conversation)
        }
        None => (None, Conversation::default()),
    };
    let template = args.template.as_deref().map(TemplateFile::read);
    let template = template.transpose()?;
    // After the broker was started, which must not have it.
    let kept = wanted.map(|wanted| args.keep.open(wanted)).transpose()?;
    if let Some(talk) = kept.as_ref().and_then(Kept::talk) {
        conversation = kept::conversation(talk);
    }
    if let Some(system) = &args.system {
        conversation.set_system(system.clone());
    }
    let thoughts = args.thinking.shown(std::io::stdout().is_terminal());
    let screen = Screen::new(args.color, !args.no_wrap, thoughts);
    // The terminal is opened while that can be done.
    let input = Input::open(screen.color(), Settings::names(), broker.clone())?;
    screen.progress("loading the model");
    let opened = begun.open(Mode::Chat, &model, &args.engine, 1);
    let loaded_model = opened.and_then(Opened::load);
    screen.progress("");
    let (engine, confinement) = loaded_model?;
    // Else the first snapshot has all weights hashed.
    if let Some(installed) = &model.installed {
        engine.identify(installed.manifest.digest());
    }
    if let (None, Some(why)) = (engine.tokenizer(), engine.tokenizer_refusal()) {
        bail!("this model's text cannot be read: {why}");
    }
    if let Some(caveat) = engine.tokenizer().and_then(|tokenizer| tokenizer.caveat()) {
        let path = model.path.display().to_string();
        eprintln!("hob: {}: {caveat}", PlainLine(&path));
    }
    let options = ChatOptions {
        template: template.map(|file| file.parse(&engine)).transpose()?,
        think: args.thinking.think(),
        ..ChatOptions::default()
    };
    let base = Settings {
        sampling: engine.sampling_defaults().clone(),
        max_tokens: None,
        context: engine.model().hparams.context as usize,
        when_full: WhenFullArg::Stop,
        stop: Vec::new(),
    };
    let mut settings = base.clone();
    let was_set = kept
        .as_ref()
        .and_then(Kept::talk)
        .map(|talk| talk.set.clone());
    if let Some(set) = &was_set {
        for (name, value) in &set.parameters {
            if let Err(why) = settings.set(name, value) {
                screen.note(&format!(
                    "as kept in the vault, {name} cannot be set: {why}"
                ));
            }
        }
        settings.stop.clone_from(&set.stop);
    }
    // What is said now goes before what was set then.
    settings.sampling = args.sampling.over(&settings.sampling)?;
    settings.max_tokens = args.max_tokens.map(|n| n as usize).or(settings.max_tokens);
    settings.context = args.context.map_or(settings.context, |n| n as usize);
    settings.when_full = args.when_full.unwrap_or(settings.when_full);
    if !args.stop.is_empty() {
        settings.stop = args.stop;
    }
    let session = engine.session(SessionOptions {
        context: settings.context,
        ..SessionOptions::default()
    });
    let cancel = Cancel::new();
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
        broker,
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
        kept,
        base,
        model,
        person: input.person(),
        forget_typed: false,
    };
    chat.check_template()?;
    if let (None, Some(think)) = (chat.options.think, was_set.and_then(|set| set.think)) {
        chat.options.think = Some(think);
        // Another model may have no switch for it.
        if chat.check_template().is_err() {
            chat.options.think = None;
        }
    }
    chat.check_context();
    repl::greet(&mut chat, loaded.as_deref())?;
    repl::run(&mut chat, input)
}
