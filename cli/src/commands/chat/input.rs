//! Where messages come from: a line editor on a terminal, plain lines from a pipe, a file or a terminal
//! that cannot edit. What was typed is remembered in memory only.
//!
//! A message of several lines: pasted at once, between `"""`, with `\` at the ends of lines, or with
//! Alt-Enter.

use super::broker::Broker;
use super::commands;
use crate::stdio;
use crate::style::Look;
use crate::terminal::{Plain, bytes, steers};
use anyhow::Context as _;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{History as _, MemHistory};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Behavior, Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor,
    Event, EventContext, EventHandler, Helper, KeyCode, KeyEvent, Modifiers, RepeatCount,
};
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The longest message.
const MAX_BYTES: usize = 64 << 20;
/// Begins and ends a message of several lines.
const BLOCK: &str = "\"\"\"";
/// Follows a `\` that was typed at the end of a line: a character that nobody sees (U+2063).
const JOINT: char = '\u{2063}';
const PROMPT: &str = ">>> ";
/// What is remembered of the lines typed.
const HISTORY: usize = 1000;

/// What was read.
pub(super) enum Read {
    Text(String),
    /// Ctrl-C; `idle` if nothing had been typed.
    Interrupted {
        idle: bool,
    },
    /// What was typed cannot be used, and why.
    Unusable(String),
    End,
}

/// A source of messages.
pub(super) enum Input {
    Editor {
        editor: Box<Editor<Typing, MemHistory>>,
        /// Nothing was typed when Ctrl-C was.
        idle: Arc<AtomicBool>,
    },
    Lines {
        /// A person types them, so they are asked for.
        person: bool,
        /// Lines read so far.
        count: usize,
        /// A line is being waited for.
        waits: Arc<AtomicBool>,
        source: stdio::Lines,
    },
}

impl Input {
    /// The standard input as it is; `parameters` are what `/params` completes, `files` lists folders.
    pub(super) fn open(
        color: bool,
        parameters: Vec<String>,
        files: Rc<Broker>,
    ) -> anyhow::Result<Input> {
        let person = std::io::stdin().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !person || dumb {
            return Ok(Input::Lines {
                person,
                count: 0,
                waits: Arc::default(),
                source: stdio::Lines::default(),
            });
        }
        let typing = Typing {
            color,
            parameters,
            files,
        };
        let idle = Arc::new(AtomicBool::new(false));
        let editor = Box::new(editor(typing, &idle)?);
        Ok(Input::Editor { editor, idle })
    }

    /// Forgets what was typed: what arrow keys would bring back, what was cut, and what the keyboard's
    /// buffer held.
    pub(super) fn forget(&mut self) {
        let Input::Editor {
            editor: old, idle, ..
        } = self
        else {
            // Lines are not kept.
            return;
        };
        old.history_mut().clear().ok();
        // Where answers go elsewhere, the editor has opened the terminal, which it can no more.
        if std::io::stdout().is_terminal()
            && let Some(typing) = old.helper().cloned()
            && let Ok(new) = editor(typing, idle)
        {
            **old = new;
        }
    }

    /// Whether a person types.
    pub(super) fn person(&self) -> bool {
        match self {
            Input::Editor { .. } => true,
            Input::Lines { person, .. } => *person,
        }
    }

    /// Whether a line is being waited for now, where no editor sees Ctrl-C.
    pub(super) fn waits_for_lines(&self) -> Arc<AtomicBool> {
        match self {
            Input::Editor { .. } => Arc::default(),
            Input::Lines { waits, .. } => waits.clone(),
        }
    }

    /// Lines read from a file or a pipe so far, for error messages.
    pub(super) fn lines(&self) -> usize {
        match self {
            Input::Editor { .. } => 0,
            Input::Lines { count, .. } => *count,
        }
    }

    /// The next message or command.
    pub(super) fn next(&mut self) -> anyhow::Result<Read> {
        let (editor, idle) = match self {
            Input::Lines {
                person,
                count,
                waits,
                source,
            } => {
                waits.store(true, Relaxed);
                let read = lines(*person, count, source);
                waits.store(false, Relaxed);
                return read;
            }
            Input::Editor { editor, idle } => (editor, idle),
        };
        match editor.readline(PROMPT) {
            Ok(text) => {
                if text.len() > MAX_BYTES {
                    let limit = bytes(MAX_BYTES as u64);
                    return Ok(Read::Unusable(format!(
                        "the message is longer than {limit}"
                    )));
                }
                if !text.trim().is_empty() {
                    editor.add_history_entry(text.as_str()).context("history")?;
                }
                Ok(Read::Text(text.replace(&format!("\\{JOINT}\n"), "\n")))
            }
            Err(ReadlineError::Interrupted) => Ok(Read::Interrupted {
                idle: idle.swap(false, Relaxed),
            }),
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(ReadlineError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => Ok(
                Read::Unusable("what was typed is not UTF-8; set the terminal to UTF-8".to_owned()),
            ),
            Err(e) => Err(e).context("cannot read from the terminal"),
        }
    }
}

/// A line editor; it notes in `idle` whether Ctrl-C came on an empty line.
fn editor(typing: Typing, idle: &Arc<AtomicBool>) -> anyhow::Result<Editor<Typing, MemHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY)
        .and_then(|c| c.history_ignore_dups(true))
        .context("cannot set up the line editor")?
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        // The helper decides about colours; it also hides what would steer the terminal.
        .color_mode(ColorMode::Forced)
        .behavior(match std::io::stdout().is_terminal() {
            true => Behavior::Stdio,
            // The answers go elsewhere; the person is at the terminal.
            false => Behavior::PreferTerm,
        })
        .build();
    let mut editor = Editor::with_history(config.clone(), MemHistory::with_config(&config))
        .context("cannot set up the line editor")?;
    editor.set_helper(Some(typing));
    let key = |code, modifiers| Event::from(KeyEvent(code, modifiers));
    let on = |handler: Box<dyn ConditionalEventHandler>| EventHandler::Conditional(handler);
    editor.bind_sequence(
        key(KeyCode::Char('C'), Modifiers::CTRL),
        on(Box::new(Interrupt(idle.clone()))),
    );
    editor.bind_sequence(key(KeyCode::Enter, Modifiers::NONE), on(Box::new(Enter)));
    editor.bind_sequence(key(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
    Ok(editor)
}

/// A message from plain lines.
fn lines(person: bool, count: &mut usize, source: &mut stdio::Lines) -> anyhow::Result<Read> {
    let mut text = String::new();
    loop {
        if person {
            let mut err = std::io::stderr();
            let _ = write!(err, "{PROMPT}");
            let _ = err.flush();
        }
        let limit = MAX_BYTES - text.len().min(MAX_BYTES) + 1;
        let raw = source.next(limit);
        let raw = raw.context("cannot read from standard input")?;
        *count += 1;
        if text.len() + raw.len() > MAX_BYTES {
            let limit = bytes(MAX_BYTES as u64);
            return Ok(Read::Unusable(format!(
                "line {count} of standard input makes a message longer than {limit}"
            )));
        }
        if raw.is_empty() {
            // A block that is never closed ends with the input.
            return Ok(match text.is_empty() {
                true => Read::End,
                false => Read::Text(text),
            });
        }
        // The error must not quote the line.
        let line = match String::from_utf8(raw) {
            Ok(line) => line,
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                return Ok(Read::Unusable(format!(
                    "line {count} of standard input is not UTF-8 (byte {at})"
                )));
            }
        };
        let line = line.strip_suffix('\n').unwrap_or(&line);
        text.push_str(line.strip_suffix('\r').unwrap_or(line));
        if open_block(&text) {
            text.push('\n');
        } else if text.ends_with('\\') {
            text.pop();
            text.push('\n');
        } else {
            return Ok(Read::Text(text));
        }
    }
}

/// Whether a message was begun with `"""` and not ended.
fn open_block(text: &str) -> bool {
    let begins = text.trim_start().starts_with(BLOCK)
        || text
            .strip_prefix("/system")
            .is_some_and(|t| t.trim_start().starts_with(BLOCK));
    begins && text.matches(BLOCK).count() % 2 == 1
}

/// The name of a file as it was typed: a `\\` takes the meaning of what follows it, as completion writes
/// it, and so do quotes around the whole.
pub(super) fn file_name(text: &str) -> String {
    let quoted = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
    match quoted('"').or_else(|| quoted('\'')) {
        Some(inner) => inner.to_owned(),
        None => rustyline::completion::unescape(text, Some('\\')).into_owned(),
    }
}

/// A message without the `"""` around it.
pub(super) fn unquote(text: &str) -> &str {
    let inner = text.trim().strip_prefix(BLOCK);
    match inner.map(|t| t.strip_suffix(BLOCK).unwrap_or(t)) {
        Some(inner) => inner.trim_matches(['\n', '\r']),
        None => text,
    }
}

/// Notes whether Ctrl-C came on an empty line; what it does stays the editor's.
struct Interrupt(Arc<AtomicBool>);

impl ConditionalEventHandler for Interrupt {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        self.0.store(context.line().is_empty(), Relaxed);
        None
    }
}

/// Enter after a `\` at the end begins a new line. The two are joined by a mark, for backslashes at the
/// ends of pasted lines are part of the text.
struct Enter;

impl ConditionalEventHandler for Enter {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        let continues = context.pos() == context.line().len() && context.line().ends_with('\\');
        continues.then(|| Cmd::Insert(1, format!("{JOINT}\n")))
    }
}

/// Completion, looks and the end of what is being typed.
#[derive(Clone)]
pub(super) struct Typing {
    color: bool,
    parameters: Vec<String>,
    /// Lists folders.
    files: Rc<Broker>,
}

impl Helper for Typing {}

impl Hinter for Typing {
    type Hint = String;
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match open_block(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Highlighter for Typing {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        // Pasted text may hold such characters; the editor counts them as having no width.
        let unseen = |c: char| steers(c) || c == JOINT;
        match line.contains(unseen) {
            true => Cow::Owned(line.chars().filter(|&c| !unseen(c)).collect()),
            false => Cow::Borrowed(line),
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Owned(Look::Mark.paint(prompt, self.color))
    }

    fn highlight_candidate<'c>(&self, candidate: &'c str, _: CompletionType) -> Cow<'c, str> {
        // Names of files may hold anything.
        Cow::Owned(Plain(candidate).to_string())
    }
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or_default();
        if !typed.starts_with('/') {
            return Ok((pos, Vec::new()));
        }
        let Some((command, _)) = typed.split_once(' ') else {
            return Ok((0, matching(typed, commands::names())));
        };
        let start = typed.rfind([' ', '=']).map_or(0, |at| at + 1);
        let last = typed.get(start..).unwrap_or_default();
        match command {
            // What cannot be listed has no completions, and neither has a name that would steer the
            // terminal.
            "/load" | "/save" => {
                let (start, mut names) = self.files.complete(line, pos).unwrap_or_default();
                let is_plain =
                    |text: &str| !text.contains(|c| steers(c) || matches!(c, '\n' | '\t'));
                names.retain(|(display, replacement)| is_plain(display) && is_plain(replacement));
                let pair = |(display, replacement)| Pair {
                    display,
                    replacement,
                };
                Ok((start, names.into_iter().map(pair).collect()))
            }
            "/params" if typed.matches(' ').count() == 1 => {
                let names = self.parameters.iter().map(String::as_str);
                Ok((start, matching(last, names.chain(["reset"]))))
            }
            "/think" => {
                let values = ["on", "off", "auto", "show", "hide"];
                Ok((start, matching(last, values.into_iter())))
            }
            _ => Ok((pos, Vec::new())),
        }
    }
}

fn matching<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<Pair> {
    names
        .filter(|name| name.starts_with(typed))
        .map(|name| Pair {
            display: name.to_owned(),
            replacement: format!("{name} "),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_open_and_close() {
        for open in ["\"\"\"", "\"\"\"a\nb", "/system \"\"\"a"] {
            assert!(open_block(open), "{open:?}");
        }
        for closed in [
            "",
            "a\"\"\"",
            "\"\"\"a\"\"\"",
            "say \"\"\" now",
            "/system a",
        ] {
            assert!(!open_block(closed), "{closed:?}");
        }
        assert_eq!(file_name("a\\ b\\(1\\).json"), "a b(1).json");
        assert_eq!(file_name("\"a b.json\""), "a b.json");
        assert_eq!(unquote("\"\"\"\n a\nb\n\"\"\""), " a\nb");
        assert_eq!(unquote("a \"\"\"b\"\"\""), "a \"\"\"b\"\"\"");
    }
}
