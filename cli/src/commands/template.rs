//! `hob template`: the prompt that a model really sees. A conversation goes in, the text (or the tokens)
//! that the model's chat template makes of it comes out; no weight is read.

use crate::terminal::Answer;
use anyhow::{Context, bail};
use clap::Args;
use hob::{ChatOptions, ChatTemplate, Engine, Json, Message};
use hob_models::files::ModelFiles;
use hob_models::reasoning::ReasoningFormat;
use hob_models::template::ChatTemplates;
use hob_models::text;
use hob_models::tokenizer::Tokenizer;
use hob_models::weights::Weights;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Longest file of messages, tools or a template.
const MAX_FILE_BYTES: u64 = 64 << 20;

#[derive(Args)]
#[command(after_help = "\
A file of messages is a JSON array of them ({\"role\": \"user\", \"content\": \"...\"}, and whatever else the
template reads, such as tool_calls), or an object with `messages` and optionally `tools`,
`add_generation_prompt`, and variables of the template.

Examples:
  hob template model.gguf \"What is the capital of France?\" --no-think
  hob template model.gguf --messages conversation.json --tools tools.json --json
  hob template mine.jinja --messages conversation.json
  hob template model.gguf --source > mine.jinja")]
pub(crate) struct TemplateArgs {
    /// Model file, name from the store, or a file with a template (.jinja)
    model: PathBuf,
    /// What the user says; `-` reads it from standard input
    #[arg(required_unless_present_any = ["messages", "source", "names"])]
    prompt: Option<String>,
    /// Instructions that precede it
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    system: Option<String>,
    /// A conversation as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    messages: Option<PathBuf>,
    /// Definitions of tools as a JSON array
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Further variables of the template, as a JSON object
    #[arg(long, value_name = "JSON")]
    variables: Option<String>,
    /// Which of the model's templates, by name [default: `tool_use` with tools, if the model has it]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Let the model think first, if the template can say so
    #[arg(long, conflicts_with = "no_think")]
    think: bool,
    /// Let it answer at once
    #[arg(long)]
    no_think: bool,
    /// End with the last message, not with the beginning of an answer
    #[arg(long)]
    no_generation_prompt: bool,
    /// The time that the template sees, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    now: Option<u64>,
    /// Print the template itself
    #[arg(long, conflicts_with_all = ["prompt", "messages"])]
    source: bool,
    /// Print the names of the model's templates
    #[arg(long, conflicts_with_all = ["prompt", "messages", "source"])]
    names: bool,
    /// Print a JSON object: the text, which parts of it are trusted to hold control tokens, the
    /// tokens, and how the model marks its reasoning
    #[arg(long)]
    json: bool,
}

/// A template given by the user in a file, for a loaded model.
pub(crate) fn read(engine: &Engine, file: &Path) -> anyhow::Result<ChatTemplate> {
    let source = read_text(file)?;
    let read = engine.read_template(&source);
    let template = read.with_context(|| format!("cannot use {}", file.display()))?;
    // Any text is a template, though most show the model nothing of what is said.
    let with = |word: &str| {
        let options = ChatOptions::default();
        hob::render_chat(&template, &[Message::new("user", word)], true, &options).ok()
    };
    if let (Some(a), Some(b)) = (with("a"), with("b"))
        && a == b
    {
        bail!(
            "{} is no chat template: what it renders does not hold the messages; `hob template MODEL --source` shows what one looks like",
            file.display()
        );
    }
    Ok(template)
}

pub(crate) fn run(args: &TemplateArgs) -> anyhow::Result<()> {
    let (templates, tokenizer) = open(&args.model)?;
    if args.names {
        templates.names().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let mut conversation = conversation(args)?;
    if let Some(file) = &args.tools {
        conversation.options.tools = array(read_json(file)?, file)?;
    }
    if let Some(given) = &args.variables {
        let Json::Object(given) = serde_json::from_str(given).context("--variables is not JSON")?
        else {
            bail!("--variables is not a JSON object, such as '{{\"enable_thinking\": false}}'");
        };
        conversation.options.variables.extend(given);
    }
    let has_tools = !conversation.options.tools.is_empty();
    let mut template = templates.get(args.name.as_deref(), has_tools)?;
    if args.source {
        return Ok(Answer::new().write(template.source())?);
    }
    if let Some(seconds) = args.now {
        template = template.at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }
    let Conversation {
        messages,
        generation_prompt,
        options,
    } = conversation;
    let spans = hob::render_chat(&template, &messages, generation_prompt, &options)?;
    let text: String = spans.iter().map(|span| span.text.as_str()).collect();
    if !args.json {
        let mut out = Answer::new();
        out.write(&text)?;
        if std::io::stdout().is_terminal() && !text.ends_with('\n') {
            out.write("\n")?;
        }
        return Ok(());
    }
    let tokens = tokenizer.as_ref().map(|t| t.encode_spans(&spans));
    let switch = template.thinking_switch();
    let markers = template.reasoning().or_else(|| {
        let tokenizer = tokenizer.as_ref()?;
        ReasoningFormat::find(|sign| tokenizer.token_id(sign).is_some())
    });
    let report = serde_json::json!({
        "text": text,
        "spans": spans.iter().map(|s| serde_json::json!({ "text": s.text, "trusted": s.trusted })).collect::<Vec<_>>(),
        "tokens": tokens.transpose()?,
        "reasoning": {
            "markers": markers.map(|m| m.markers().collect::<Vec<_>>()),
            "switch": switch.map(|s| serde_json::json!({ "variable": s.variable, "on": s.on, "off": s.off })),
        },
    });
    println!("{report}");
    Ok(())
}

/// The templates of a model or of a file with one, and the tokenizer of a model.
fn open(path: &Path) -> anyhow::Result<(ChatTemplates, Option<Tokenizer>)> {
    let path = super::model_path(path)?;
    let is_template = path.extension().is_some_and(|end| {
        ["jinja", "jinja2", "j2", "txt"]
            .iter()
            .any(|known| end == *known)
    });
    if is_template {
        let sources = [("default".to_owned(), read_text(&path)?)];
        let templates = ChatTemplates::new(sources, "", "").context("no template")?;
        return Ok((templates, None));
    }
    let weights = Weights::parse(ModelFiles::open(&path)?)?;
    let tokenizer = text::tokenizer(&weights)
        .context("this model's text cannot be read")?
        .context("this model has no tokenizer in its file")?;
    let templates = text::templates(&weights, &tokenizer)
        .context("this model has no chat template (it may be a base model)")?;
    Ok((templates, Some(tokenizer)))
}

struct Conversation {
    messages: Vec<Message>,
    generation_prompt: bool,
    options: ChatOptions,
}

fn conversation(args: &TemplateArgs) -> anyhow::Result<Conversation> {
    let mut made = Conversation {
        messages: Vec::new(),
        generation_prompt: !args.no_generation_prompt,
        options: ChatOptions {
            think: match (args.think, args.no_think) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            ..ChatOptions::default()
        },
    };
    let Some(file) = &args.messages else {
        let system = args.system.iter().map(|text| Message::new("system", text));
        made.messages.extend(system);
        let prompt = args.prompt.as_deref().unwrap_or_default();
        let prompt = if prompt == "-" {
            super::run::read_prompt(Some("-"))?
        } else {
            prompt.to_owned()
        };
        made.messages.push(Message::new("user", prompt));
        return Ok(made);
    };
    let messages = match read_json(file)? {
        Json::Object(mut fields) => {
            let Some(messages) = fields.remove("messages") else {
                bail!("{}: the object has no `messages`", file.display());
            };
            if let Some(flag) = fields.remove("add_generation_prompt") {
                made.generation_prompt &= flag.as_bool().unwrap_or(true);
            }
            if let Some(tools) = fields.remove("tools").filter(|tools| !tools.is_null()) {
                made.options.tools = array(tools, file)?;
            }
            made.options.variables = BTreeMap::from_iter(fields);
            messages
        }
        other => other,
    };
    for message in array(messages, file)? {
        let Json::Object(fields) = message else {
            bail!("{}: a message is not an object", file.display());
        };
        made.messages.push(Message::from_fields(fields));
    }
    Ok(made)
}

fn array(value: Json, file: &Path) -> anyhow::Result<Vec<Json>> {
    match value {
        Json::Array(items) => Ok(items),
        _ => bail!("{}: not a JSON array", file.display()),
    }
}

/// The error does not quote the file: it may hold a conversation.
fn read_json(file: &Path) -> anyhow::Result<Json> {
    serde_json::from_str(&read_text(file)?).map_err(|e| {
        anyhow::anyhow!(
            "{} is not JSON (line {}, column {})",
            file.display(),
            e.line(),
            e.column()
        )
    })
}

fn read_text(file: &Path) -> anyhow::Result<String> {
    let mut raw = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_end(&mut raw))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if raw.len() as u64 > MAX_FILE_BYTES {
        bail!("{} is longer than 64 MiB", file.display());
    }
    String::from_utf8(raw).map_err(|_| anyhow::anyhow!("{} is not UTF-8", file.display()))
}
