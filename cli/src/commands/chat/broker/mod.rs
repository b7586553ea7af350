//! What a conversation needs files and programs for, done by a process beside it: `/save`, `/load`,
//! `/edit`, and the completion of file names.
//!
//! The process that runs inference may open nothing ([`hob::privacy::Mode::Chat`]). Before it gives that
//! up it starts a broker, this program again, which keeps files and programs and gives up the network
//! ([`hob::privacy::Mode::Broker`]). The broker parses no model. It does these four things only, and what
//! it writes is always a conversation: so an inference process that was taken over by a hostile model
//! could make such files, but not write programs, nor read anything that is no conversation.
//!
//! Questions and answers go by two pipes ([`crate::wire`]). The broker ends when its questions do, so also
//! when the conversation is killed.

mod editor;
mod serve;

use super::conversation::Conversation;
use super::saved;
use crate::confined::Begun;
use crate::wire::{receive, send};
use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

pub(crate) use serve::{BrokerArgs, run};

/// What the broker is asked. Paths are as the user typed them.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Write a conversation, in the form of [`saved::document`]; answered by the path.
    Save {
        path: PathBuf,
        overwrite: bool,
        model: String,
        document: Value,
    },
    /// Read one; answered by the path and the document.
    Load { path: String },
    /// Have the user edit a text; answered by what became of it.
    Edit { text: String },
    /// Complete the file name before a position; answered by where it begins, and pairs of what is shown
    /// and what is put there.
    Complete { line: String, at: usize },
}

/// The conversation's end of the pipes.
pub(super) struct Broker(RefCell<(ChildStdin, ChildStdout)>);

impl Broker {
    /// Starts the process.
    pub(super) fn start(begun: &Begun) -> anyhow::Result<Broker> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg("chat-broker");
        if begun.is_off() {
            command.arg("--no-sandbox");
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let what = "cannot start the process that opens files for this conversation";
        let mut child = started.context(what)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        Ok(Broker(RefCell::new(pipes.context(what)?)))
    }

    /// Writes a conversation; the path is where it lies now.
    pub(super) fn save(
        &self,
        conversation: &Conversation,
        model: &str,
        path: PathBuf,
        overwrite: bool,
    ) -> anyhow::Result<()> {
        self.ask(&Ask::Save {
            path,
            overwrite,
            model: model.to_owned(),
            document: saved::document(conversation, model),
        })
    }

    /// Reads a conversation, and says where it lies.
    pub(super) fn load(&self, path: &str) -> anyhow::Result<(PathBuf, Conversation)> {
        let path = path.to_owned();
        let (path, document): (PathBuf, Value) = self.ask(&Ask::Load { path })?;
        let conversation = saved::parse(document).map_err(|why| anyhow!(why))?;
        Ok((path, conversation))
    }

    /// Has the user edit a text.
    pub(super) fn edit(&self, text: &str) -> anyhow::Result<String> {
        let text = text.to_owned();
        self.ask(&Ask::Edit { text })
    }

    /// File names that complete what is typed before byte `at` of a line: where the name begins, and for
    /// each what is shown and what is put there.
    pub(super) fn complete(
        &self,
        line: &str,
        at: usize,
    ) -> anyhow::Result<(usize, Vec<(String, String)>)> {
        let line = line.to_owned();
        self.ask(&Ask::Complete { line, at })
    }

    fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> anyhow::Result<T> {
        let (to, from) = &mut *self.0.borrow_mut();
        let gone = "the process that opens files for this conversation has ended; what was said is still here, but /save, /load and /edit are not";
        send(to, ask).context(gone)?;
        let answer: Option<Result<T, String>> = receive(from).context(gone)?;
        match answer {
            Some(answer) => answer.map_err(|why| anyhow!(why)),
            None => bail!(gone),
        }
    }
}
