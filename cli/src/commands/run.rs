//! `hob run`: one answer to one prompt, streamed.
//!
//! What the answer costs and how it ended goes to standard error, and only where a person looks
//! on; standard output holds the answer and nothing else.

use super::template::TemplateFile;
use crate::args::EngineArgs;
use crate::confined::ConfinementArgs;
use crate::model::Model;
use crate::sampling_args::SamplingArgs;
use crate::stdio;
use crate::store::{self, Store};
use crate::terminal::{PlainLine, bytes};
use crate::thinking::{ThinkArgs, ThoughtfulAnswer};
use anyhow::{Context, bail};
use clap::Args;
use hob::privacy::Mode;
use hob::{
    Cancel, ChatOptions, ChatPrompt, Engine, Event, Finish, Message, Request, Session,
    SessionOptions,
};
use std::io::{IsTerminal, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// The longest prompt read from a pipe.
const MAX_PROMPT_BYTES: u64 = 64 << 20;

#[derive(Args)]
#[command(after_help = "\
Without MODEL, the default model answers (fetched first if the store lacks it).
Without PROMPT, or with `-`, the prompt is read from standard input. Prompts on the command line
can be seen by other users of this computer (in the process list); standard input cannot.

Examples:
  hob run \"What is the capital of France?\"
  hob run ./model.gguf \"Write a haiku.\" --temperature 0.8 --seed 3
  hob run < question.txt > answer.txt")]
pub(crate) struct RunArgs {
    /// Model file or name from the store, then the prompt
    #[arg(value_name = "[MODEL] [PROMPT]", num_args = 0..=2, hide_possible_values = true)]
    words: Vec<String>,
    /// Instructions that precede the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens to generate
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1024)]
    max_tokens: usize,
    /// Most tokens of prompt and answer together [default: what the model was trained for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// End the answer before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Continue the prompt as plain text, without the model's chat template
    #[arg(long, conflicts_with_all = ["system", "think", "no_think"])]
    raw: bool,
    /// Render the conversation with the chat template in this file, not with the model's own
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    template: Option<PathBuf>,
    #[command(flatten)]
    thinking: ThinkArgs,
    /// Fetch a missing default model without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// Show speed and token counts at the end
    #[arg(long, short = 'v')]
    verbose: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

/// Whether a lone word names a model rather than being the prompt.
fn names_model(word: &str) -> anyhow::Result<bool> {
    let path = Path::new(word);
    let by_name = ["gguf", "safetensors", "hob"]
        .iter()
        .any(|e| path.extension().is_some_and(|x| x == *e));
    let is_known = || crate::catalogue::find(word).is_some() || super::pull::is_source(word);
    Ok(by_name || path.exists() || Store::open()?.find(word)?.is_some() || is_known())
}

/// Whether a lone word that names no model here was meant as one: `llama3.2`, `qwen:7b`, `owner/repo`.
fn looks_like_a_model(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:/".contains(c);
    let parts = |c: char| c.is_ascii_digit() || c == ':' || c == '/';
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(plain)
        && word.ends_with(|c: char| c.is_ascii_alphanumeric())
        && word.contains(parts)
        && !word.contains("//")
}

/// Splits the words into model and prompt.
fn split(words: &[String]) -> anyhow::Result<(Option<&str>, Option<&str>)> {
    Ok(match words {
        [] => (None, None),
        [model, prompt, ..] => (Some(model), Some(prompt)),
        [word] if word != "-" && names_model(word)? => (Some(word), None),
        [word] if looks_like_a_model(word) => bail!(
            "no model `{word}` here (`hob list` shows the store, `hob pull` fills it){}; if that is the prompt, pipe it in: echo {word} | hob run",
            crate::nearest::did_you_mean(word)
        ),
        [word] => (None, Some(word)),
    })
}

pub(crate) fn read_prompt(given: Option<&str>) -> anyhow::Result<String> {
    if let Some(text) = given.filter(|&t| t != "-") {
        if text.trim().is_empty() {
            bail!("the prompt is empty: give one (`hob run \"...\"`), or pipe it in");
        }
        return Ok(text.to_owned());
    }
    let stdin = std::io::stdin();
    if given.is_none() && stdin.is_terminal() {
        bail!("no prompt: give one (`hob run \"...\"`), or pipe it in");
    }
    let mut raw = Vec::new();
    stdio::Input
        .take(MAX_PROMPT_BYTES + 1)
        .read_to_end(&mut raw)
        .context("cannot read the prompt from standard input")?;
    if raw.len() as u64 > MAX_PROMPT_BYTES {
        bail!(
            "the prompt on standard input is longer than {}",
            bytes(MAX_PROMPT_BYTES)
        );
    }
    // The error must not quote the prompt.
    let text = String::from_utf8(raw).map_err(|e| {
        anyhow::anyhow!(
            "the prompt on standard input is not UTF-8 (byte {})",
            e.utf8_error().valid_up_to()
        )
    })?;
    if text.trim().is_empty() {
        bail!("the prompt on standard input is empty");
    }
    // The end of a last line is not part of what was asked: `echo` and files have one.
    let text = text
        .strip_suffix('\n')
        .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(text.to_owned())
}

pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (model, prompt) = split(&args.words)?;
    let prompt_is_piped = prompt.is_none_or(|p| p == "-");
    let model = match model {
        Some(m) => Model::find(Path::new(m))?,
        None => {
            // The question is asked on the terminal, which the prompt must not come from then.
            let interactive = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
            store::ensure_default_model(args.yes, interactive)?.into()
        }
    };
    let template = args.template.as_deref().map(TemplateFile::read);
    let template = template.transpose()?;
    let person = std::io::stderr().is_terminal();
    let start = Instant::now();
    let begun = args.confinement.begin()?;
    let opened = begun.open(Mode::Run, &model, &args.engine, 1)?;
    let mut loaded = start.elapsed();
    let prompt = read_prompt(if prompt_is_piped {
        prompt.filter(|&p| p == "-")
    } else {
        prompt
    })?;
    let start = Instant::now();
    let (engine, report) = opened.load()?;
    loaded += start.elapsed();
    if let Some(caveat) = engine.tokenizer().and_then(|tokenizer| tokenizer.caveat()) {
        let path = model.path.display().to_string();
        eprintln!("hob: {}: {caveat}", PlainLine(&path));
    }
    for refusal in engine.sampling_refusals().iter().filter(|_| person) {
        eprintln!(
            "(of the model's own settings, {}; left out)",
            PlainLine(&refusal.to_string())
        );
    }
    let context = args.context.unwrap_or(engine.model().hparams.context) as usize;
    let mut session = engine.session(SessionOptions {
        context,
        ..Default::default()
    });
    let ChatPrompt { ids, reasoning } =
        encode(&args, template.as_ref(), &engine, &session, &prompt)?;

    let cancel = Cancel::new();
    let raised = cancel.clone();
    ctrlc::set_handler(move || raised.cancel()).context("cannot watch for Ctrl-C")?;

    let start = Instant::now();
    session.prefill(&ids, &cancel, |done, of| {
        if person && of > 2048 && done < of {
            eprint!("\rreading the prompt: {done}/{of} tokens");
        } else if person && of > 2048 {
            eprint!("\r\x1b[K");
        }
    })?;
    let read = start.elapsed();
    let request = Request {
        sampling: args.sampling.over(engine.sampling_defaults())?,
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        reasoning,
        ..Default::default()
    };
    let mut answer = ThoughtfulAnswer::new(&args.thinking);
    let (mut failed, mut ends_line) = (None, true);
    let start = Instant::now();
    let done = session.generate(&request, &cancel, |event| {
        let written = match event {
            Event::Text(text) => {
                ends_line = text.ends_with('\n');
                answer.write(text)
            }
            Event::Reasoning(text) => answer.think(text),
            _ => Ok(()),
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failed = Some(e);
                ControlFlow::Break(())
            }
        }
    });
    // Whatever happened, the terminal is left as it was.
    let ends_in_thought = answer.end_thought();
    let done = done?;
    let wrote = start.elapsed();
    if let Some(e) = failed {
        return Err(e).context("cannot write the answer to standard output");
    }
    if !ends_line || matches!(ends_in_thought, Ok(true)) {
        answer
            .write("\n")
            .context("cannot write the answer to standard output")?;
    }
    if answer.shows_nothing() {
        eprintln!(
            "(the model thought and did not answer; `--show-thinking` shows what it thought)"
        );
    }
    match &done.finish {
        Finish::ContextFull => {
            eprintln!("(stopped: the context of {context} tokens is full; `--context` sets it)")
        }
        Finish::MaxTokens if person => eprintln!(
            "(stopped after {} tokens; `--max-tokens` sets the limit)",
            done.tokens
        ),
        _ => {}
    }
    if args.verbose {
        let rate = |n: usize, t: std::time::Duration| n as f64 / t.as_secs_f64().max(1e-9);
        eprintln!(
            "{} threads, {}; loaded in {:.3} s; prompt {} tokens, {:.1}/s; answer {} tokens, {:.1}/s; cache {}",
            engine.threads(),
            engine.isa().name(),
            loaded.as_secs_f64(),
            ids.len(),
            rate(ids.len(), read),
            done.tokens,
            rate(done.tokens, wrote),
            bytes(session.kv_bytes() as u64),
        );
        let confined = report.as_ref().map_or_else(
            || "nothing".to_owned(),
            |report| report.holding().collect::<Vec<_>>().join(", "),
        );
        eprintln!("confined by: {confined}");
    }
    Ok(if done.finish == Finish::Cancelled {
        ExitCode::from(130)
    } else {
        ExitCode::SUCCESS
    })
}

/// The prompt as token ids: by the model's template, or as plain text.
fn encode(
    args: &RunArgs,
    template: Option<&TemplateFile<'_>>,
    engine: &Engine,
    session: &Session,
    prompt: &str,
) -> anyhow::Result<ChatPrompt> {
    if let (None, Some(why)) = (engine.tokenizer(), engine.tokenizer_refusal()) {
        bail!("this model's text cannot be read: {why}");
    }
    if args.raw {
        return Ok(ChatPrompt {
            ids: session.encode(prompt)?,
            reasoning: None,
        });
    }
    let mut messages = Vec::new();
    if let Some(system) = &args.system {
        messages.push(Message::new("system", system));
    }
    messages.push(Message::new("user", prompt));
    let template = template.map(|file| file.parse(engine)).transpose()?;
    let options = ChatOptions {
        template,
        think: args.thinking.think(),
        ..Default::default()
    };
    Ok(session.chat_prompt(&messages, &options)?)
}
