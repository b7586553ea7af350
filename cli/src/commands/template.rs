//! `hob template`: the prompt that a model really sees. A conversation goes in, the text (or the tokens)
//! that the model's chat template makes of it comes out; no weight is read.

use crate::confined::ConfinementArgs;
use crate::model::Model;
use crate::terminal::{Answer, PlainJson, PlainLine, chain};
use anyhow::{Context, bail};
use clap::Args;
use hob::{ChatOptions, ChatTemplate, Engine, Json, Message};
use hob_models::reasoning::ReasoningFormat;
use hob_models::template::ChatTemplates;
use hob_models::text;
use hob_models::tokenizer::{Span, Tokenizer};
use hob_models::weights::Weights;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
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
    /// A conversation as JSON (may be given several times)
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    messages: Vec<PathBuf>,
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
    /// Print a JSON object for each conversation: the text, which parts of it are trusted to hold
    /// control tokens, the tokens, and how the model marks its reasoning; or the error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

/// A template that the user gave in a file, not parsed yet.
pub(crate) struct TemplateFile<'a> {
    path: &'a Path,
    source: String,
}

impl TemplateFile<'_> {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<TemplateFile<'_>> {
        let source = read_text(path)?;
        Ok(TemplateFile { path, source })
    }

    /// The template, for a loaded model.
    pub(crate) fn parse(&self, engine: &Engine) -> anyhow::Result<ChatTemplate> {
        parse(engine, &self.source, self.path)
    }
}

fn parse(engine: &Engine, source: &str, file: &Path) -> anyhow::Result<ChatTemplate> {
    let read = engine.read_template(source);
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

pub(crate) fn run(args: &TemplateArgs) -> anyhow::Result<ExitCode> {
    // All other files are read while files can be opened.
    let model = Model::find(&args.model)?;
    let given = Given::read(args)?;
    let files = args.messages.iter();
    let mut conversations: Vec<Conversation> =
        files.map(|file| in_file(file)).collect::<Result<_, _>>()?;
    let (templates, tokenizer) = open(&model, args.confinement)?;
    if args.names {
        templates
            .names()
            .for_each(|name| println!("{}", PlainLine(name)));
        return Ok(ExitCode::SUCCESS);
    }
    if args.source {
        let template = templates.get(args.name.as_deref(), !given.tools.is_empty())?;
        Answer::new().write(template.source())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.messages.is_empty() {
        conversations.push(said(args)?);
    }
    let mut code = ExitCode::SUCCESS;
    for conversation in conversations {
        let seen = see(args, &templates, given.with(conversation));
        match (seen, args.json) {
            (Ok(seen), true) => println!("{}", PlainJson(&seen.report(tokenizer.as_ref())?)),
            (Ok(seen), false) => seen.show()?,
            (Err(e), true) => {
                println!("{}", PlainJson(&serde_json::json!({ "error": chain(&e) })));
                code = ExitCode::FAILURE;
            }
            (Err(e), false) => return Err(e),
        }
    }
    Ok(code)
}

/// What the command line gives to every conversation.
struct Given {
    tools: Vec<Json>,
    variables: serde_json::Map<String, Json>,
    think: Option<bool>,
    generation_prompt: bool,
}

impl Given {
    fn read(args: &TemplateArgs) -> anyhow::Result<Given> {
        let tools = match &args.tools {
            Some(file) => array(read_json(file)?, file)?,
            None => Vec::new(),
        };
        let variables = match args.variables.as_deref().map(serde_json::from_str) {
            None => serde_json::Map::new(),
            Some(Ok(Json::Object(variables))) => variables,
            Some(_) => {
                bail!("--variables is not a JSON object, such as '{{\"enable_thinking\": false}}'")
            }
        };
        Ok(Given {
            tools,
            variables,
            think: match (args.think, args.no_think) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            generation_prompt: !args.no_generation_prompt,
        })
    }

    fn with(&self, mut conversation: Conversation) -> Conversation {
        conversation.generation_prompt &= self.generation_prompt;
        let options = &mut conversation.options;
        options.think = self.think;
        if !self.tools.is_empty() {
            options.tools.clone_from(&self.tools);
        }
        options.variables.extend(self.variables.clone());
        conversation
    }
}

/// A rendered conversation.
struct Seen {
    template: ChatTemplate,
    spans: Vec<Span>,
}

fn see(
    args: &TemplateArgs,
    templates: &ChatTemplates,
    conversation: Conversation,
) -> anyhow::Result<Seen> {
    let Conversation {
        messages,
        generation_prompt,
        options,
    } = conversation;
    let mut template = templates.get(args.name.as_deref(), !options.tools.is_empty())?;
    if let Some(seconds) = args.now {
        template = template.at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }
    let spans = hob::render_chat(&template, &messages, generation_prompt, &options)?;
    Ok(Seen { template, spans })
}

impl Seen {
    fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    fn show(&self) -> anyhow::Result<()> {
        let text = self.text();
        let mut out = Answer::new();
        out.write(&text)?;
        if std::io::stdout().is_terminal() && !text.ends_with('\n') {
            out.write("\n")?;
        }
        Ok(())
    }

    fn report(&self, tokenizer: Option<&Tokenizer>) -> anyhow::Result<Json> {
        let spans = self.spans.iter();
        let spans = spans.map(|s| serde_json::json!({ "text": s.text, "trusted": s.trusted }));
        let tokens = tokenizer.map(|t| t.encode_spans(&self.spans));
        let markers = self.template.reasoning().or_else(|| {
            let tokenizer = tokenizer?;
            ReasoningFormat::find(|sign| tokenizer.token_id(sign).is_some())
        });
        let switch = self
            .template
            .thinking_switch()
            .map(|s| serde_json::json!({ "variable": s.variable, "on": s.on, "off": s.off }));
        Ok(serde_json::json!({
            "text": self.text(),
            "spans": spans.collect::<Vec<_>>(),
            "tokens": tokens.transpose()?,
            "reasoning": {
                "markers": markers.map(|m| m.markers().collect::<Vec<_>>()),
                "switch": switch,
            },
        }))
    }
}

/// The templates of a model or of a file with one, and the tokenizer of a model.
/// The process is confined before they are parsed.
fn open(
    model: &Model,
    confinement: ConfinementArgs,
) -> anyhow::Result<(ChatTemplates, Option<Tokenizer>)> {
    let path = &model.path;
    let begun = confinement.begin()?;
    let is_template = path.extension().is_some_and(|end| {
        ["jinja", "jinja2", "j2", "txt"]
            .iter()
            .any(|known| end == *known)
    });
    if is_template {
        let sources = [("default".to_owned(), read_text(path)?)];
        begun.confine_reader()?;
        let templates = ChatTemplates::new(sources, "", "").context("no template")?;
        return Ok((templates, None));
    }
    let weights = Weights::parse(begun.read(model)?)?;
    let tokenizer = text::tokenizer(&weights).unwrap_or_else(|e| {
        eprintln!("(no tokens: {})", PlainLine(&e.to_string()));
        None
    });
    let templates = text::templates(&weights, tokenizer.as_ref());
    let templates = weights
        .files()
        .checked(Ok::<_, anyhow::Error>(templates))?
        .context("this model has no chat template (it may be a base model)")?;
    Ok((templates, tokenizer))
}

struct Conversation {
    messages: Vec<Message>,
    generation_prompt: bool,
    options: ChatOptions,
}

/// The conversation on the command line.
fn said(args: &TemplateArgs) -> anyhow::Result<Conversation> {
    let prompt = match args.prompt.as_deref().unwrap_or_default() {
        "-" => super::run::read_prompt(Some("-"))?,
        given => given.to_owned(),
    };
    let system = args.system.iter().map(|text| Message::new("system", text));
    Ok(Conversation {
        messages: system.chain([Message::new("user", prompt)]).collect(),
        generation_prompt: true,
        options: ChatOptions::default(),
    })
}

/// The conversation in a file.
fn in_file(file: &Path) -> anyhow::Result<Conversation> {
    let (messages, mut fields) = match read_json(file)? {
        Json::Object(mut fields) => match fields.remove("messages") {
            Some(messages) => (messages, fields),
            None => bail!("{}: the object has no `messages`", file.display()),
        },
        messages => (messages, serde_json::Map::new()),
    };
    let generation_prompt = match fields.remove("add_generation_prompt") {
        Some(flag) => flag.as_bool().unwrap_or(true),
        None => true,
    };
    let mut options = ChatOptions::default();
    // An empty list is a template's business: it differs from none.
    if fields
        .get("tools")
        .is_some_and(|t| t.as_array().is_none_or(|t| !t.is_empty()))
        && let Some(tools) = fields.remove("tools").filter(|tools| !tools.is_null())
    {
        options.tools = array(tools, file)?;
    }
    options.variables = BTreeMap::from_iter(fields);
    let messages = array(messages, file)?
        .into_iter()
        .map(|message| match message {
            Json::Object(fields) => Ok(Message::from_fields(fields)),
            _ => bail!("{}: a message is not an object", file.display()),
        });
    Ok(Conversation {
        messages: messages.collect::<Result<_, _>>()?,
        generation_prompt,
        options,
    })
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
