//! Where an answer's reasoning goes: dimmed before the answer on a terminal, nowhere into pipes unless
//! asked for. Pieces of reasoning and of answer go in, in the order in which the model writes them.

use crate::stdio::Output;
use crate::terminal::Answer;
use clap::Args;
use std::io::{self, IsTerminal, Write};

/// Reasoning of models that have it.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Reasoning")]
pub(crate) struct ThinkArgs {
    /// Let the model think before it answers, if its chat template can say so
    #[arg(long, conflicts_with = "no_think")]
    think: bool,
    /// Let it answer at once
    #[arg(long)]
    no_think: bool,
    /// Do not show what it thinks [default on a pipe]
    #[arg(long)]
    hide_thinking: bool,
    /// Show what it thinks, before the answer [default on a terminal]
    #[arg(long, conflicts_with = "hide_thinking")]
    show_thinking: bool,
}

impl ThinkArgs {
    /// Whether to think; `None` leaves it to the template.
    pub(crate) fn think(&self) -> Option<bool> {
        match (self.think, self.no_think) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// Whether what the model thinks is shown; `terminal` says whether a person sees it.
    pub(crate) fn shown(&self, terminal: bool) -> bool {
        !self.hide_thinking && (terminal || self.show_thinking)
    }
}

/// How reasoning is shown.
#[derive(Clone, Copy, PartialEq)]
enum Show {
    No,
    Plain,
    Dimmed,
}

/// Standard output for an answer with its reasoning.
pub(crate) struct ThoughtfulAnswer {
    answer: Answer,
    show: Show,
    /// Whether reasoning was written last.
    in_thought: bool,
    /// Whether a person waits for the end of hidden thoughts, and was told so.
    told: bool,
    /// Whether there were thoughts that were not shown, and no answer yet.
    only_hidden: bool,
}

impl ThoughtfulAnswer {
    pub(crate) fn new(args: &ThinkArgs) -> ThoughtfulAnswer {
        let terminal = io::stdout().is_terminal();
        let colours = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let show = match () {
            () if !args.shown(terminal) => Show::No,
            () if terminal && colours => Show::Dimmed,
            () => Show::Plain,
        };
        ThoughtfulAnswer {
            answer: Answer::new(),
            show,
            in_thought: false,
            told: false,
            only_hidden: false,
        }
    }

    /// Writes a piece of reasoning.
    pub(crate) fn think(&mut self, text: &str) -> io::Result<()> {
        self.only_hidden = self.show == Show::No;
        match self.show {
            Show::No if !self.told && io::stderr().is_terminal() => {
                self.told = true;
                eprint!("thinking...");
                return Ok(());
            }
            Show::No => return Ok(()),
            Show::Dimmed if !self.in_thought => steer("\x1b[2m")?,
            _ => {}
        }
        self.in_thought = true;
        self.answer.write(text)
    }

    /// Writes a piece of the answer.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.only_hidden = false;
        if self.end_thought()? {
            self.answer.write("\n\n")?;
        }
        self.answer.write(text)
    }

    /// Whether all that the model wrote was hidden.
    pub(crate) fn shows_nothing(&self) -> bool {
        self.only_hidden
    }

    /// Ends the reasoning: the terminal's letters are as they were. Whether there was any to end.
    pub(crate) fn end_thought(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.told) {
            eprint!("\r\x1b[K");
        }
        let was_in_thought = std::mem::take(&mut self.in_thought);
        if was_in_thought && self.show == Show::Dimmed {
            steer("\x1b[0m")?;
        }
        Ok(was_in_thought)
    }
}

/// Sends a terminal hob's own control sequence.
fn steer(sequence: &str) -> io::Result<()> {
    Output.write_all(sequence.as_bytes())
}
