//! Where passphrases come from: the terminal, without echo, or a file or descriptor that its user names.
//! Never an argument or the environment, which other processes can read.

use anyhow::{Context, bail};
use clap::Args;
use hob::privacy::secret::SecretBytes;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest passphrase, in bytes.
const MOST: usize = 1024;

/// A passphrase, in memory made for secrets. It is overwritten when it goes.
pub(crate) struct Passphrase {
    bytes: SecretBytes,
    len: usize,
}

impl Passphrase {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn empty() -> anyhow::Result<Passphrase> {
        let bytes = SecretBytes::zeroed(MOST)?;
        Ok(Passphrase { bytes, len: 0 })
    }

    fn push(&mut self, byte: u8) -> anyhow::Result<()> {
        let Some(place) = self.bytes.get_mut(self.len) else {
            bail!("the passphrase is longer than {MOST} bytes");
        };
        *place = byte;
        self.len += 1;
        Ok(())
    }

    /// Takes the last byte away.
    fn pop(&mut self) -> Option<u8> {
        self.len = self.len.checked_sub(1)?;
        self.bytes.get_mut(self.len).map(std::mem::take)
    }

    /// The first line of a file, which may be a pipe or a descriptor (`/dev/fd/3`).
    pub(crate) fn of_file(path: &Path) -> anyhow::Result<Passphrase> {
        let what = || format!("cannot read a passphrase from {}", path.display());
        let mut file = File::open(path).with_context(what)?;
        let mut passphrase = Passphrase::empty()?;
        let mut byte = Zeroizing::new([0]);
        // A byte at a time, so that what follows the line stays in a pipe for who reads it next.
        while file.read(&mut byte[..]).with_context(what)? > 0 && byte[0] != b'\n' {
            passphrase.push(byte[0])?;
        }
        if passphrase.bytes().last() == Some(&b'\r') {
            passphrase.pop();
        }
        if passphrase.len == 0 {
            bail!(
                "the first line of {} is empty: it has to be the passphrase",
                path.display()
            );
        }
        Ok(passphrase)
    }

    /// Asks on the terminal; what is typed is not shown.
    pub(crate) fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
        terminal::ask(prompt)
    }

    /// Asks for a new one, twice.
    pub(crate) fn ask_twice(prompt: &str) -> anyhow::Result<Passphrase> {
        let first = Passphrase::ask(prompt)?;
        if first.len == 0 {
            bail!("the passphrase is empty; give one");
        }
        let second = Passphrase::ask("The same again: ")?;
        if first.bytes() != second.bytes() {
            bail!("the two are not the same; nothing was done");
        }
        Ok(first)
    }
}

/// How a command comes by a vault's passphrase.
#[derive(Args, Clone, Debug)]
pub(crate) struct PassphraseArgs {
    /// Read the vault's passphrase from the first line of this file (or descriptor: /dev/fd/3) [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase from the file, if one was named: to be read before a process closes what it has open.
    pub(crate) fn given(&self) -> anyhow::Result<Option<Passphrase>> {
        let file = self.passphrase_file.as_deref();
        file.map(Passphrase::of_file).transpose()
    }
}

#[cfg(unix)]
mod terminal {
    use super::*;
    use anyhow::anyhow;
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };
    use std::io::Write;

    /// A terminal that does not show what is typed; it does again when this goes.
    struct Silent {
        terminal: File,
        before: Termios,
    }

    impl Silent {
        fn new() -> std::io::Result<Silent> {
            let mut options = std::fs::OpenOptions::new();
            let terminal = options.read(true).write(true).open("/dev/tty")?;
            let before = tcgetattr(&terminal)?;
            let mut silent = before.clone();
            // Nor does Ctrl-C end the process before the terminal is as it was.
            let modes =
                LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
            silent.local_modes.remove(modes);
            silent.special_codes[SpecialCodeIndex::VMIN] = 1;
            silent.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&terminal, OptionalActions::Drain, &silent)?;
            Ok(Silent { terminal, before })
        }
    }

    impl Drop for Silent {
        fn drop(&mut self) {
            let _ = writeln!(self.terminal);
            let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
        }
    }

    pub(super) fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
        let mut silent = Silent::new().map_err(|_| {
            anyhow!(
                "there is no terminal to ask for the passphrase: `--passphrase-file FILE` reads it"
            )
        })?;
        write!(silent.terminal, "{prompt}").context("cannot write to the terminal")?;
        let mut passphrase = Passphrase::empty()?;
        let mut byte = Zeroizing::new([0]);
        loop {
            let n = silent.terminal.read(&mut byte[..]);
            match (n.context("cannot read from the terminal")?, byte[0]) {
                (0, _) => bail!("the terminal went away"),
                (_, b'\r' | b'\n') => return Ok(passphrase),
                // Ctrl-D on an empty line, and Ctrl-C: the user thought better of it.
                (_, 4) if passphrase.len > 0 => return Ok(passphrase),
                (_, 3 | 4) => {
                    drop(silent);
                    drop(passphrase);
                    std::process::exit(130);
                }
                // Backspace takes a whole character.
                (_, 8 | 127) => while passphrase.pop().is_some_and(|b| b & 0xc0 == 0x80) {},
                // Ctrl-U takes the line.
                (_, 21) => while passphrase.pop().is_some() {},
                (_, typed) if typed >= b' ' => passphrase.push(typed)?,
                _ => {}
            }
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    use super::*;

    pub(super) fn ask(_: &str) -> anyhow::Result<Passphrase> {
        bail!(
            "on this system a passphrase cannot be typed unseen: `--passphrase-file FILE` reads it"
        )
    }
}
