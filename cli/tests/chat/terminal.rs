//! A terminal with a program in it: keys go in, the screen comes out.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn some(size: u16) -> NonZero<u16> {
    NonZero::new(size).unwrap()
}

pub(crate) struct Terminal {
    keys: File,
    written: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// All that came, as it came.
    raw: Vec<u8>,
    child: Child,
}

impl Terminal {
    /// Runs a program in a new terminal.
    pub(crate) fn new(columns: u16, rows: u16, program: &Command) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let stdio = || Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
        // setsid(1) makes it the controlling terminal, so that Ctrl-C is a signal.
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(program.get_program())
            .args(program.get_args());
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        let mut terminal = Terminal {
            keys: File::from(ours),
            written: channel().1,
            screen: vt100::Parser::new(some(rows), some(columns), 1000),
            raw: Vec::new(),
            child: command
                .stdin(stdio())
                .stdout(stdio())
                .stderr(stdio())
                .spawn()
                .unwrap(),
        };
        terminal.resize(columns, rows);
        let (send, receive) = channel();
        let mut from = terminal.keys.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the program has left.
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                if send.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        terminal.written = receive;
        terminal
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.keys, size).unwrap();
        self.screen.screen_mut().set_size(some(rows), some(columns));
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn show(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.raw.extend_from_slice(bytes);
    }

    /// All that was written to the terminal so far.
    #[allow(dead_code)] // Not every test looks.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// The rows that are shown, without white space at their ends.
    pub(crate) fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let columns = screen.size().1;
        screen
            .rows(0, columns.get())
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// Waits until the screen is as wanted; fails with the screen that it is.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        while !wanted(&self.rows()) {
            match self.written.recv_timeout(PATIENCE) {
                Ok(bytes) => self.show(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!(
                        "{what} did not come; the screen:\n{}",
                        self.rows().join("\n")
                    )
                }
            }
        }
    }

    /// Waits for a text on one row.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        self.until(text, |rows| rows.iter().any(|row| row.contains(text)));
    }

    /// Waits until the last row that is used ends so. After keys, what they show must be waited for before
    /// the next prompt is: the screen is as it was until then.
    #[track_caller]
    pub(crate) fn last(&mut self, end: &str) {
        self.until(end, |rows| {
            let last = rows.iter().rfind(|row| !row.is_empty());
            last.is_some_and(|row| row.ends_with(end))
        });
    }

    /// Waits for an empty prompt in the last row that is used.
    #[track_caller]
    pub(crate) fn prompt(&mut self) {
        self.last(">>>");
    }

    /// Types a text, enters it when its end is shown, and waits for the next prompt.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.keys(text);
        self.enter(text.lines().last().unwrap());
    }

    /// Enters what was typed when it is shown to end so, and waits for the next prompt.
    #[track_caller]
    pub(crate) fn enter(&mut self, end: &str) {
        let chars = end.chars().count();
        let end: String = end.chars().skip(chars.saturating_sub(8)).collect();
        self.last(&end);
        self.keys("\r");
        self.prompt();
    }

    /// The exit code, when the program has left.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        // The terminal's other end is closed then; a program that stays is an error.
        loop {
            match self.written.recv_timeout(PATIENCE) {
                Ok(bytes) => self.show(&bytes),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap().code(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not leave; the screen:\n{}", self.rows().join("\n"))
                }
            }
        }
    }

    /// The process that was started; the program may be a child of it.
    #[allow(dead_code)] // Not all tests look at it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The screen with its looks.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.screen.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
