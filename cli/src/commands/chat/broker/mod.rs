//! What a conversation needs files and programs for, done by a process beside it: `/save`, `/load`,
//! `/edit`, and the completion of file names.
//!
//! The process that runs inference may open nothing ([`hob::privacy::Mode::Chat`]). Before it gives that
//! up it starts a broker, this program again, which keeps files and programs and gives up the network
//! ([`hob::privacy::Mode::Broker`]). The broker parses no model. It does these four things only, and what
//! it writes is always a conversation: so an inference process that was taken over by a hostile model
//! could make such files, but not write programs, nor read anything that is no conversation.
//!
//! Questions and answers go by two pipes: a length of four bytes, little-endian, then JSON. The broker
//! ends when its questions do, so also when the conversation is killed.

mod editor;
mod serve;

use super::conversation::Conversation;
use super::saved;
use crate::confined::Begun;
use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

pub(crate) use serve::{BrokerArgs, run};

/// The longest question or answer: a conversation of the longest kind that is read, as JSON.
const LIMIT: u32 = 512 << 20;

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

/// Writes a message.
fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let len = u32::try_from(text.len()).ok().filter(|&len| len <= LIMIT);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the conversation is too long");
    to.write_all(&len.ok_or_else(too_long)?.to_le_bytes())?;
    to.write_all(&text)?;
    to.flush()
}

/// Reads a message; none at the end.
fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(len);
    // Errors do not quote what was said.
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if len > LIMIT {
        return Err(wrong("a message is too long"));
    }
    let mut text = Vec::new();
    let read = from.take(len.into()).read_to_end(&mut text)?;
    if read < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&text);
    message
        .map(Some)
        .map_err(|_| wrong("a message is not of the expected form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_and_wrong_ones_are_refused() {
        let mut wire = Vec::new();
        send(&mut wire, &("a\u{1b}\n", 3)).unwrap();
        send(&mut wire, &Ok::<u8, String>(4)).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(
            receive::<(String, u32)>(&mut from).unwrap(),
            Some(("a\u{1b}\n".to_owned(), 3))
        );
        assert_eq!(
            receive::<Result<u8, String>>(&mut from).unwrap(),
            Some(Ok(4))
        );
        assert_eq!(receive::<u8>(&mut from).unwrap(), None);
        for len in 5..wire.len() - 9 {
            let cut = wire.get(..len).unwrap_or_default();
            assert!(receive::<(String, u32)>(&mut &*cut).is_err(), "{len}");
        }
        let too_long = [0xff; 8];
        assert!(receive::<u8>(&mut &too_long[..]).is_err());
        let error = receive::<u8>(&mut &b"\x08\0\0\0\"SECRET\""[..]).unwrap_err();
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}
