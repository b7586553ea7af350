//! The program and hostile model files, from outside: texts in them that would steer a terminal, and files
//! that are cut short while they are in use.
#![cfg(target_os = "linux")]

#[path = "../chat/model.rs"]
mod model;
#[path = "../chat/terminal.rs"]
#[allow(dead_code)]
mod terminal;

mod cut_short;
mod escapes;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder that is home, store and current folder of the program.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// `hob`, without arguments, not started.
    pub(crate) fn hob(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hob"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path())
            .env("HOB_HOME", self.file("store"))
            .env("TERM", "xterm-256color")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Both streams of a program that has ended.
pub(crate) fn both(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
