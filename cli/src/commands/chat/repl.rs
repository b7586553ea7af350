//! The loop: a line is read, a command is run or a message answered, until the end. A person sees an error
//! and goes on; a script ends at its first one.

use super::commands::{self, Command, Think};
use super::input::{Input, Read, unquote};
use super::kept::{self, Kept};
use super::{Chat, saved};
use crate::style::Look;
use crate::terminal::{chain, is_broken_pipe};
use crate::vault::SnapshotError;
use anyhow::{Context, anyhow, bail};
use hob::{Message, SessionError};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

/// Bytes of a message that a notice repeats.
const PREVIEW: usize = 60;

/// The first lines that a person sees; takes up a conversation that was loaded.
pub(super) fn greet(chat: &mut Chat, loaded: Option<&Path>) -> anyhow::Result<()> {
    if chat.person {
        let name = chat.model_name();
        let kept = match &chat.kept {
            Some(kept) => format!("it is kept in {}, encrypted", kept.place()),
            None => "nothing is written unless you /save it".to_owned(),
        };
        chat.screen.note(&format!(
            "{name}; /help shows the commands, Ctrl-D leaves; {kept}"
        ));
    }
    if let Some(path) = loaded {
        chat.take_up(&path.display().to_string())?;
        chat.place = Some(path.to_owned());
    }
    let kept = chat.kept.as_ref().filter(|kept| kept.talk().is_some());
    if let Some(place) = kept.map(Kept::place) {
        chat.take_up(&place)?;
        chat.take_up_session();
    }
    chat.keep()
}

/// Runs the conversation.
pub(super) fn run(chat: &mut Chat, input: Input) -> anyhow::Result<ExitCode> {
    let done = lines(chat, input);
    chat.leave();
    done
}

fn lines(chat: &mut Chat, mut input: Input) -> anyhow::Result<ExitCode> {
    // Ctrl-C was typed at an empty prompt just before.
    let mut leaving = false;
    loop {
        let text = match input.next() {
            Ok(Read::Text(text)) => text,
            Ok(Read::End) => return Ok(ExitCode::SUCCESS),
            Ok(Read::Interrupted { idle }) => {
                if idle && leaving {
                    return Ok(ExitCode::SUCCESS);
                }
                if idle {
                    chat.screen.note("Ctrl-C again leaves, as Ctrl-D does");
                }
                leaving = idle;
                continue;
            }
            Ok(Read::Unusable(why)) if chat.person => {
                chat.screen.error(&why);
                continue;
            }
            Ok(Read::Unusable(why)) => bail!(why),
            Err(e) => return Err(e),
        };
        leaving = false;
        let done = chat.line(&text);
        // What a line that failed has changed is kept, too.
        let kept = chat.keep();
        let done = done.and_then(|flow| kept.map(|()| flow));
        if std::mem::take(&mut chat.forget_typed) {
            input.forget();
        }
        match done {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(ExitCode::SUCCESS),
            Err(e) if is_broken_pipe(&e) => return Err(e),
            Err(e) if chat.person => chat.screen.error(&chain(&e)),
            Err(e) => {
                return Err(e.context(format!("line {} of standard input", input.lines())));
            }
        }
        // A script is stopped by Ctrl-C as a whole.
        if !chat.person && chat.cancel.is_cancelled() {
            return Ok(ExitCode::from(130));
        }
    }
}

impl Chat {
    /// Runs a command or answers a message; breaks at `/exit`.
    fn line(&mut self, text: &str) -> anyhow::Result<ControlFlow<()>> {
        if text.trim().is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        match commands::parse(text) {
            Some(Ok(Command::Exit)) => return Ok(ControlFlow::Break(())),
            Some(Ok(command)) => self.command(command)?,
            Some(Err(why)) => bail!(why),
            None => {
                let text = unquote(text);
                if text.trim().is_empty() {
                    bail!("the message is empty");
                }
                self.message(text)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn message(&mut self, text: &str) -> anyhow::Result<()> {
        let retries = std::mem::take(&mut self.retries);
        let result = self.turn(|chat| chat.conversation.push(Message::new("user", text)));
        if result.is_err() {
            self.retries = retries;
        }
        result
    }

    fn command(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Help => {
                let (rows, keys) = commands::help();
                self.screen.rows(&rows)?;
                self.screen.say(keys)?;
            }
            Command::Info => self.screen.rows(&self.info())?,
            Command::Params => self.screen.rows(&self.settings.rows())?,
            Command::Set(pairs) => self.set(&pairs)?,
            Command::ResetParams => {
                self.settings = self.first_settings.clone();
                self.screen.note("the parameters are as at the start");
            }
            Command::Reset => {
                let n = self.conversation.messages().len();
                self.conversation.reset();
                self.session.truncate(0);
                (self.retries, self.place) = (0, None);
                match &self.kept {
                    Some(kept) => self.screen.note(&format!(
                        "a new conversation; the {n} messages before stay in {}, and `hob vault rm` erases them",
                        kept.place()
                    )),
                    None => self.screen.note(&format!("{n} messages forgotten")),
                }
                self.forget_typed = true;
                self.keep_another()?;
            }
            Command::System(None) => match self.conversation.system() {
                Some(text) => self.screen.say(&format!("{text}\n"))?,
                None => self
                    .screen
                    .note("there is no system prompt; `/system TEXT` sets one"),
            },
            Command::System(Some(text)) => self.set_system(text)?,
            Command::Save { path, overwrite } => self.save(path.as_deref(), overwrite)?,
            Command::Load(path) => {
                let (path, conversation) = self.broker.load(&path)?;
                let before = std::mem::replace(&mut self.conversation, conversation);
                if let Err(e) = self.take_up(&path.display().to_string()) {
                    self.conversation = before;
                    return Err(e);
                }
                self.place = Some(path);
                drop(before);
                self.forget_unsaid();
                self.keep_another()?;
            }
            Command::Undo => match self.conversation.undo() {
                Some(text) => {
                    self.retries = 0;
                    self.forget_unsaid();
                    // A script's notices may end up in a log.
                    let what = match self.person {
                        true => preview(&text),
                        false => "the last message".to_owned(),
                    };
                    self.screen.note(&format!("taken back: {what}"));
                }
                None => bail!("there is nothing to undo"),
            },
            Command::Retry => self.retry()?,
            Command::Edit => self.edit()?,
            Command::Stats => {
                self.stats = !self.stats;
                let now = if self.stats {
                    "shown after each answer"
                } else {
                    "not shown any more"
                };
                self.screen.note(&format!("speed and context are {now}"));
            }
            Command::Think(None) => {
                let thinks = match self.options.think {
                    Some(true) => "shall think first",
                    Some(false) => "shall not think first",
                    None => "thinks first if its template says so",
                };
                let shown = if self.screen.thoughts {
                    "shown"
                } else {
                    "hidden"
                };
                self.screen
                    .note(&format!("the model {thinks}; thoughts are {shown}"));
            }
            Command::Think(Some(Think::Shown(shown))) => {
                self.screen.thoughts = shown;
                self.screen.note(if shown {
                    "thoughts are shown"
                } else {
                    "thoughts are hidden"
                });
            }
            Command::Think(Some(Think::Model(think))) => {
                let before = std::mem::replace(&mut self.options.think, think);
                if let Err(e) = self.check_template() {
                    self.options.think = before;
                    return Err(e);
                }
                self.command(Command::Think(None))?;
            }
            // Taken before.
            Command::Exit => {}
        }
        Ok(())
    }

    fn set(&mut self, pairs: &[(String, String)]) -> anyhow::Result<()> {
        let mut settings = self.settings.clone();
        for (name, value) in pairs {
            settings.set(name, value).map_err(|why| anyhow!(why))?;
        }
        let larger = settings.context > self.settings.context;
        self.settings = settings;
        let now: Vec<String> = pairs
            .iter()
            .map(|(name, _)| format!("{name} is {}", self.settings.get(name)))
            .collect();
        self.screen.note(&now.join(", "));
        if larger {
            self.check_context();
        }
        Ok(())
    }

    fn set_system(&mut self, text: String) -> anyhow::Result<()> {
        let before = self.conversation.clone();
        self.conversation.set_system(text);
        if let Err(e) = self.check_template() {
            self.conversation = before;
            return Err(e);
        }
        self.screen.note(match self.conversation.system() {
            Some(_) => "the system prompt is set, from the next answer on",
            None => "there is no system prompt any more",
        });
        Ok(())
    }

    fn save(&mut self, path: Option<&str>, overwrite: bool) -> anyhow::Result<()> {
        let given = path.map(saved::path);
        let place = given.or_else(|| self.place.clone());
        let place = place.context("give the name of a file, as in `/save chat.json`")?;
        // What was saved there or loaded from there is this conversation.
        let own = self.place.as_ref() == Some(&place);
        let name = self.model_name();
        self.broker
            .save(&self.conversation, &name, place.clone(), overwrite || own)?;
        self.screen.note(&format!(
            "{} messages saved in {}, NOT encrypted: whoever can read the file can read them",
            self.conversation.messages().len(),
            place.display()
        ));
        self.place = Some(place);
        Ok(())
    }

    /// Has the vault, if there is one, keep what has changed.
    pub(super) fn keep(&mut self) -> anyhow::Result<()> {
        let model = self.model_name();
        if let Some(kept) = &mut self.kept {
            let set = kept::set(&self.settings, &self.base, self.options.think);
            kept.keep(&self.conversation, &set, &model)?;
            let snapshot = kept.settle(false);
            self.tell_snapshot(snapshot);
        }
        Ok(())
    }

    /// Goes on with the session of a kept conversation as it was left; if that cannot be done, the
    /// conversation is read again.
    fn take_up_session(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        self.screen.progress("resuming the conversation");
        let resumed = kept.resume(&self.engine, self.session.options());
        self.screen.progress("");
        match resumed {
            None => {}
            Some(Ok(session)) => {
                self.session = session;
                self.forget_unsaid();
                let n = self.session.tokens().len();
                self.screen
                    .note(&format!("{n} tokens of it need not be read again"));
            }
            Some(Err(why)) => self.screen.note(&format!(
                "it will be read again, because its snapshot cannot be used: {why}"
            )),
        }
    }

    /// The end of the conversation, for this time.
    fn leave(&mut self) {
        if let Some(kept) = &mut self.kept {
            self.screen.progress("writing a snapshot");
            let snapshot = kept.leave(&self.session);
            self.screen.progress("");
            self.tell_snapshot(snapshot);
        }
    }

    /// A snapshot that was not written is no error: it would only save time.
    fn tell_snapshot(&self, written: Result<(), SnapshotError>) {
        if let Err(why) = written {
            self.screen.note(&format!(
                "the conversation is kept, and will be read again when it is gone on with: no snapshot of it could be written: {why}"
            ));
        }
    }

    /// Has the vault keep what follows as another conversation.
    fn keep_another(&mut self) -> anyhow::Result<()> {
        let model = self.model_name();
        if let Some(kept) = &mut self.kept {
            let set = kept::set(&self.settings, &self.base, self.options.think);
            kept.begin_another(&self.conversation, &set, &model)?;
        }
        Ok(())
    }

    /// Shows where a loaded conversation ended, and goes on there; `from` says where it is from.
    fn take_up(&mut self, from: &str) -> anyhow::Result<()> {
        self.check_template()?;
        let shown = self.conversation.shown();
        let tokens = match self.conversation.messages() {
            [] => 0,
            _ => self
                .encode(&shown)
                .with_context(|| format!("{from} does not suit this model"))?
                .ids
                .len(),
        };
        self.retries = 0;
        let messages = self.conversation.messages();
        let last = messages
            .iter()
            .rposition(|m| m.role() == "user")
            .unwrap_or(messages.len());
        // In a script, standard output is for answers.
        let last = if self.person { last } else { messages.len() };
        for message in messages.get(last..).unwrap_or_default() {
            let look = match message.role() {
                "user" => Look::Mark,
                "assistant" => Look::Plain,
                _ => Look::Dim,
            };
            self.screen.write(message.content(), look)?;
            self.screen.end()?;
        }
        let waits = messages.last().is_some_and(|m| m.role() == "user");
        let remedy = if waits {
            "; /retry has the last one answered"
        } else {
            ""
        };
        self.screen.note(&format!(
            "{} messages from {from}, {tokens} tokens{remedy}",
            messages.len()
        ));
        Ok(())
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        if self.conversation.last_question().is_none() {
            bail!("there is no message yet that could be answered again");
        }
        if self.settings.sampling.temperature <= 0.0 {
            self.screen.note(
                "the temperature is 0, so the answer will be the same; `/params temperature 0.8` changes that",
            );
        }
        self.retries += 1;
        self.turn(|chat| {
            chat.conversation.drop_answer();
        })
    }

    fn edit(&mut self) -> anyhow::Result<()> {
        if !self.person {
            bail!("there is no terminal for an editor; /undo, and give the message anew");
        }
        let old = self
            .conversation
            .last_question()
            .unwrap_or_default()
            .to_owned();
        let new = self.broker.edit(&old);
        // Ctrl-C in the editor was meant for the editor.
        self.cancel.reset();
        let new = new?;
        if new.trim().is_empty() {
            self.screen.note("the text is empty; nothing has changed");
            return Ok(());
        }
        if new == old {
            self.screen
                .note("the text is unchanged; /retry has it answered again");
            return Ok(());
        }
        self.retries = 0;
        self.turn(|chat| {
            chat.conversation.undo();
            chat.conversation.push(Message::new("user", new));
        })
    }

    /// Whether the model has a template that takes the system prompt.
    pub(super) fn check_template(&self) -> anyhow::Result<()> {
        let question = Message::new("user", "x");
        match self.encode(std::slice::from_ref(&question)) {
            Err(SessionError::NoTemplate) => bail!(
                "this model has no chat template (it may be a base model): `--template FILE` gives it one, and `hob run --raw` continues a text with it"
            ),
            Err(SessionError::NoThinkingSwitch) => bail!(
                "this model's chat template has no switch for thinking: leave `--think` and `--no-think` away, or use a model that thinks; `/think hide` hides thoughts"
            ),
            Err(e) => return Err(e.into()),
            Ok(_) => {}
        }
        let Some(system) = self.conversation.system() else {
            return Ok(());
        };
        self.encode(&[Message::new("system", system), question])
            .map(|_| ())
            .context("this model takes no such system prompt; leave it away (`/system clear`)")
    }

    /// Says so if the context is larger than what the model knows.
    pub(super) fn check_context(&self) {
        let trained = self.engine.model().hparams.context as usize;
        if self.settings.context > trained {
            self.screen.note(&format!(
                "the model was trained for {trained} tokens; beyond that its answers may make no sense"
            ));
        }
    }
}

/// The beginning of a text, on one line.
fn preview(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().find(|&(at, _)| at >= PREVIEW) {
        Some((at, _)) => format!("{}\u{2026}", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
