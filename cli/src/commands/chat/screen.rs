//! What a person sees of a conversation: answers, what commands show, and notices. Answers and what was
//! asked for go to standard output; notices and errors to standard error.

use super::markdown::Markdown;
use super::page::{self, Page};
use crate::stdio::Output;
use crate::style::{ColorArg, Look};
use crate::terminal::{Answer, Plain, PlainLine};
use std::io::{self, IsTerminal, Write};

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// The two streams, and how an answer is shown on the first.
pub(super) struct Screen {
    color: bool,
    notices_color: bool,
    /// Wrap and colour answers; else they go out as they are.
    dressed: bool,
    wrap: bool,
    writing: Option<Writing>,
    /// Show what the model thinks.
    pub(super) thoughts: bool,
    thinking: Thinking,
}

/// What the answer was doing last.
#[derive(PartialEq)]
enum Thinking {
    /// It answers.
    No,
    /// It thinks, for all to see.
    Shown,
    /// It thinks unseen; so many words.
    Hidden { words: usize },
}

/// An answer being shown.
enum Writing {
    Dressed(Box<Markdown>),
    Bare { answer: Answer, ends_line: bool },
}

impl Screen {
    pub(super) fn new(color: ColorArg, wrap: bool, thoughts: bool) -> Screen {
        let terminal = io::stdout().is_terminal();
        let capable = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let wrap = wrap && terminal && capable;
        let color_on = color.enabled(terminal);
        Screen {
            color: color_on,
            notices_color: color.enabled(io::stderr().is_terminal()),
            dressed: wrap || color_on,
            wrap,
            writing: None,
            thoughts,
            thinking: Thinking::No,
        }
    }

    pub(super) fn color(&self) -> bool {
        self.color
    }

    /// Shows a piece of what the model thinks, or that it does.
    pub(super) fn think(&mut self, text: &str) -> io::Result<()> {
        if self.thoughts {
            if self.thinking != Thinking::Shown {
                self.end()?;
            }
            self.thinking = Thinking::Shown;
            return self.write(text, Look::Dim);
        }
        let words = match self.thinking {
            Thinking::Hidden { words } => words,
            _ => 0,
        };
        let words = words + text.matches(char::is_whitespace).count();
        self.thinking = Thinking::Hidden { words };
        self.progress(&format!("thinking: {words} words"));
        Ok(())
    }

    /// Shows a piece of the answer.
    pub(super) fn answer(&mut self, text: &str) -> io::Result<()> {
        match std::mem::replace(&mut self.thinking, Thinking::No) {
            Thinking::Shown => {
                self.end()?;
                put("\n")?;
            }
            Thinking::Hidden { words } => self.fold(words),
            Thinking::No => {}
        }
        self.write(text, Look::Plain)
    }

    /// What is left of thoughts that were not shown.
    fn fold(&self, words: usize) {
        self.progress("");
        if io::stderr().is_terminal() {
            self.note(&format!(
                "thought in {words} words; `/think show` shows thoughts"
            ));
        }
    }

    /// Shows a piece of a text, at once; `base` is the look of what has no mark in it.
    pub(super) fn write(&mut self, text: &str, base: Look) -> io::Result<()> {
        let (dressed, color) = (self.dressed, self.color);
        let writing = self.writing.get_or_insert_with(|| match dressed {
            true => Writing::Dressed(Box::new(Markdown::new(color, base))),
            false => Writing::Bare {
                answer: Answer::new(),
                ends_line: true,
            },
        });
        let width = self.wrap.then(columns);
        match writing {
            Writing::Dressed(markdown) => put(&markdown.push(text, width)),
            Writing::Bare { answer, ends_line } => {
                *ends_line = text.ends_with('\n');
                answer.write(text)
            }
        }
    }

    /// The end of a text: its last line is ended.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Thinking::Hidden { words } = std::mem::replace(&mut self.thinking, Thinking::No) {
            self.fold(words);
        }
        match self.writing.take() {
            Some(Writing::Dressed(mut markdown)) => put(&markdown.finish(self.wrap.then(columns))),
            Some(Writing::Bare {
                mut answer,
                ends_line: false,
            }) => answer.write("\n"),
            _ => Ok(()),
        }
    }

    /// Shows what a command was asked for.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        let mut text_shown = Markdown::new(false, Look::Plain);
        let width = self.wrap.then(columns);
        put(&text_shown.push(text, width))?;
        put(&text_shown.finish(width))
    }

    /// Shows pairs of a name and a text, in two columns.
    pub(super) fn rows(&self, rows: &[(String, String)]) -> io::Result<()> {
        let key_columns = rows.iter().map(|(key, _)| page::columns(key)).max();
        let hang = key_columns.unwrap_or(0) + 2;
        let mut page = Page::new(self.color);
        page.width = self.wrap.then(columns);
        for (key, text) in rows {
            let (key, text) = (Plain(key).to_string(), PlainLine(text).to_string());
            page.verbatim(&key, Look::Mark);
            page.space(&" ".repeat(hang - page::columns(&key).min(hang)));
            page.hang = hang;
            for word in text.split_whitespace() {
                page.word(&[(Look::Plain, word.to_owned())]);
                page.space(" ");
            }
            page.line_end();
        }
        put(&page.take())
    }

    /// An empty line after an answer, where a person reads.
    pub(super) fn part(&self) -> io::Result<()> {
        match io::stdout().is_terminal() && io::stdin().is_terminal() {
            true => put("\n"),
            false => Ok(()),
        }
    }

    /// A notice: what happened, in one line.
    pub(super) fn note(&self, text: &str) {
        self.tell(&format!("({text})"), Look::Dim);
    }

    pub(super) fn error(&self, text: &str) {
        self.tell(&format!("error: {text}"), Look::Error);
    }

    /// A line that the next one replaces, on a terminal; an empty text removes it.
    pub(super) fn progress(&self, text: &str) {
        let mut err = io::stderr();
        let capable = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        if err.is_terminal() && capable {
            let _ = write!(err, "\r\x1b[K{}", Plain(text));
            let _ = err.flush();
        }
    }

    fn tell(&self, text: &str, look: Look) {
        // A person who is not there misses nothing.
        let mut notice = Markdown::new(self.notices_color, look);
        let width = match self.wrap && io::stderr().is_terminal() {
            true => Some(columns()),
            false => None,
        };
        let line = PlainLine(text).to_string();
        let text = notice.push(&line, width) + &notice.finish(width);
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

fn put(text: &str) -> io::Result<()> {
    Output.write_all(text.as_bytes())
}

/// Columns of the terminal now.
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS,
    }
}

/// While it lives, the terminal does not show what is typed, and keeps it for the next prompt. Ctrl-C
/// still raises its signal.
pub(super) struct Hush(Option<rustix::termios::Termios>);

impl Hush {
    pub(super) fn new() -> Hush {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Hush(None);
        };
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        let done = tcsetattr(&stdin, OptionalActions::Now, &quiet);
        Hush(done.is_ok().then_some(before))
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(io::stdin(), now, before);
        }
    }
}
