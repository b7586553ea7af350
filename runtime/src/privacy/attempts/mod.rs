//! What a program would do to leak or to break out, each tried for real. In: sinks that wait for it.
//! Out: whether the system let it happen.
//!
//! `hob privacy` runs each attempt in an unconfined process first: one that fails there proves nothing
//! about confinement. System calls are made directly, so that no library's detour answers instead.
//!
//! - [`Sinks`]: what waits; [`Targets`]: what a process holds of it, from before it was confined;
//! - `network`, `neighbours`, `files`, `programs`, `system`: the attempts, by [`Kind`].

// Raw system calls: what a hostile program has.
#![allow(unsafe_code)]

mod files;
mod neighbours;
mod network;
mod programs;
mod system;
mod targets;

use super::Mode;
use libc::{c_int, c_long};
use std::io::{self, Error};
pub use targets::{Inherited, Sinks, Targets, Victim};

/// An attempt.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// Name, for scripts.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// The one system call, by name and number, that stands between this attempt and its success where
    /// everything else is allowed. None if several do.
    pub call: Option<(&'static str, c_long)>,
    /// Any Linux lets an unconfined program of any user do it: if it fails there, the test is broken, not
    /// the attempt impossible.
    pub required: bool,
    /// Modes that are meant to leave it possible.
    pub left: &'static [Mode],
    /// Modes whose list of system calls lets it through, so that another layer alone refuses it.
    pub one_layer: &'static [Mode],
    /// Error numbers besides EPERM and EACCES that are a refusal, for it succeeds unconfined.
    refusals: &'static [c_int],
    run: fn(&Targets) -> io::Result<()>,
}

/// What an attempt is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Data leaves by a network.
    Network,
    /// Other programs are reached: their sockets, memory, terminals, signals.
    Neighbours,
    /// Files are read, written or looked for.
    Files,
    /// Another program runs, or new code does.
    Programs,
    /// Confinement itself is got round or undone.
    System,
}

impl Attempt {
    /// Tries it.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn run(&self, targets: &Targets) -> io::Result<()> {
        (self.run)(targets)
    }

    /// Whether an error number is the answer of a system that refuses, rather than of one that cannot.
    pub fn is_refusal(&self, errno: i32) -> bool {
        matches!(errno, libc::EPERM | libc::EACCES) || self.refusals.contains(&errno)
    }

    /// Whether an error number says that this system does not have what was asked for.
    pub fn is_lack(errno: i32) -> bool {
        use libc::{
            EAFNOSUPPORT, ENODEV, ENOENT, ENOPROTOOPT, ENOSYS, EOPNOTSUPP, EPROTONOSUPPORT,
            ESOCKTNOSUPPORT,
        };
        [
            EAFNOSUPPORT,
            ENODEV,
            ENOENT,
            ENOPROTOOPT,
            ENOSYS,
            EOPNOTSUPP,
            EPROTONOSUPPORT,
            ESOCKTNOSUPPORT,
        ]
        .contains(&errno)
    }
}

/// All attempts, by kind.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    [
        network::ALL,
        neighbours::ALL,
        files::ALL,
        programs::ALL,
        system::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The system calls that attempts need and no list has, each once: a test permits one at a time, and the
/// self-test must notice.
pub fn calls() -> Vec<(&'static str, c_long)> {
    let mut calls: Vec<_> = all().filter_map(|attempt| attempt.call).collect();
    calls.sort_unstable();
    calls.dedup();
    calls
}

const BROKER: &[Mode] = &[Mode::Broker];
const PACK: &[Mode] = &[Mode::Pack];
const BROKER_AND_PACK: &[Mode] = &[Mode::Broker, Mode::Pack];
const SERVE: &[Mode] = &[Mode::Serve];

/// A row of the tables.
const fn attempt(
    name: &'static str,
    what: &'static str,
    kind: Kind,
    run: fn(&Targets) -> io::Result<()>,
) -> Attempt {
    Attempt {
        name,
        what,
        kind,
        call: None,
        required: false,
        left: &[],
        one_layer: &[],
        refusals: &[],
        run,
    }
}

impl Attempt {
    const fn by(mut self, call: &'static str, number: c_long) -> Self {
        self.call = Some((call, number));
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn left(mut self, modes: &'static [Mode]) -> Self {
        self.left = modes;
        self
    }

    const fn one_layer(mut self, modes: &'static [Mode]) -> Self {
        self.one_layer = modes;
        self
    }

    const fn refusals(mut self, errnos: &'static [c_int]) -> Self {
        self.refusals = errnos;
        self
    }
}

/// A descriptor that is closed at the end of the attempt.
struct Fd(c_int);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor.
        unsafe { libc::close(self.0) };
    }
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(result)
}

/// Takes an error that says "your call was let through, and cannot be done twice" for success.
fn or_done(result: io::Result<()>, done: &[c_int]) -> io::Result<()> {
    match result {
        Err(e) if e.raw_os_error().is_some_and(|e| done.contains(&e)) => Ok(()),
        other => other,
    }
}

/// A system call with up to six arguments; those left out are 0.
macro_rules! sys {
    ($number:expr $(, $argument:expr)*) => {
        $crate::privacy::attempts::check(libc::syscall($number as libc::c_long $(, $argument)*))
    };
}
use sys;

/// The least program that Linux runs here: a file that an attempt can start.
pub fn program() -> Vec<u8> {
    programs::elf()
}
