//! Confinement: a process gives up, for good, what inference does not need.
//!
//! A program calls [`shed`] first of all, opens the model ([`crate::ModelFiles::open`]), and calls
//! [`confine`] before it starts a thread and before any byte of the model or the prompt is parsed.
//! From then on the kernel refuses every open, socket and exec, to this process and to whatever
//! takes it over. What a layer is, and on which systems it is missing, [`Report`] says; nothing here
//! knows models or prompts.
//!
//! - [`lists`]: which system calls remain, all of them;
//! - [`attempts`]: what `hob privacy` tries, to prove that it is refused;
//! - `linux`: the layers themselves;
//! - [`memory`]: what is locked and wiped, and [`secret`]: memory for keys.
//!
//! An embedder's process usually has threads, files and sockets of its own. It may call [`confine`]
//! where it is still single-threaded; else [`ConfineError::Threads`] says that Landlock would not
//! reach the others, and the way is a process of its own for inference.

#[cfg(target_os = "linux")]
pub mod attempts;
#[cfg(target_os = "linux")]
mod fetch;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub mod lists;
pub mod memory;
mod pages;
pub mod secret;
mod wiping;

use std::fmt;

/// A layer of confinement, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Layer {
    /// System calls that are not on the list are refused, the network's among them (seccomp).
    SystemCalls,
    /// No file may be opened, created or run (but in [`Mode::Broker`]), no TCP port used (Landlock).
    Files,
    /// No capability is held, even when started by root.
    Capabilities,
    /// No other process of this user can attach or read its memory, and a crash leaves no core dump.
    Undumpable,
}

impl Layer {
    /// All.
    pub const ALL: [Layer; 4] = [
        Layer::SystemCalls,
        Layer::Files,
        Layer::Capabilities,
        Layer::Undumpable,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::SystemCalls => "seccomp",
            Layer::Files => "Landlock",
            Layer::Capabilities => "capabilities",
            Layer::Undumpable => "undumpable",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It does; how, in a few words.
    Holds(String),
    /// Part of it: what lacks.
    Partly(String),
    /// It does not: why.
    Missing(String),
}

/// What holds a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    layers: Vec<(Layer, State)>,
}

impl Report {
    /// Every layer with its state.
    pub fn layers(&self) -> &[(Layer, State)] {
        &self.layers
    }

    /// The names of the layers that hold.
    pub fn holding(&self) -> impl Iterator<Item = &'static str> {
        let holds = |(layer, state): &(Layer, State)| {
            matches!(state, State::Holds(_)).then_some(layer.name())
        };
        self.layers.iter().filter_map(holds)
    }

    /// Layers that do not hold as a whole, with what lacks.
    pub fn weaknesses(&self) -> impl Iterator<Item = (Layer, &str)> {
        self.layers.iter().filter_map(|(layer, state)| match state {
            State::Holds(_) => None,
            State::Partly(why) | State::Missing(why) => Some((*layer, why.as_str())),
        })
    }
}

/// Why a process was not confined. Layers that the system lacks are no error: see [`Report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// There are threads already, which Landlock would not reach.
    #[error(
        "the process has {found} threads, and Landlock confines the calling one only: confine it before it starts threads, or run inference in a process of its own"
    )]
    Threads {
        /// Threads.
        found: usize,
    },
    /// A layer that the system has could not be entered.
    #[error("cannot enter {layer}: {why}")]
    Layer {
        /// Which.
        layer: Layer,
        /// The system's words.
        why: String,
    },
}

/// What a process does that confines itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Inference: reads and writes what is open, computes on threads of its own. No open, socket or exec.
    Run,
    /// The same with a line editor on a terminal. What needs a file or a program after that is asked of a
    /// [`Mode::Broker`].
    Chat,
    /// A process beside the one that runs inference, which opens files and starts programs that the user
    /// names: no network, no way into other processes, the same for every program that it starts. It
    /// parses no model.
    Broker,
}

/// Closes all descriptors but standard input, output and error, lets no other process look into this
/// one, and core dumps be empty. For programs, as the first thing that they do: in a process that has
/// opened something it would close that too.
///
/// # Errors
/// [`ConfineError::Layer`] if the system refuses.
pub fn shed() -> Result<(), ConfineError> {
    #[cfg(target_os = "linux")]
    return linux::shed();
    #[cfg(not(target_os = "linux"))]
    Ok(())
}

/// Confines this process, for good. Call it single-threaded, with everything open that is needed.
///
/// What is asked of the system before, because it cannot be asked after: the number of cores, and the
/// memory that is available ([`crate::available_memory`] then gives the figure of this moment).
///
/// # Errors
/// [`ConfineError`]; the process may be confined in part then.
pub fn confine(mode: Mode) -> Result<Report, ConfineError> {
    confine_partly(mode, &Layer::ALL, None)
}

/// Confines a process that fetches models, which needs the network and so holds no prompt: from then on it
/// writes nowhere but in `folder` (which must be there), has no way into other processes, and, without
/// `programs`, starts none. So with what it starts. Call it single-threaded. Layers that the system lacks
/// are left out: no prompt depends on them.
///
/// # Errors
/// [`ConfineError`]; the process may be confined in part then.
pub fn confine_fetch(folder: &std::path::Path, programs: bool) -> Result<(), ConfineError> {
    #[cfg(target_os = "linux")]
    return fetch::confine(folder, programs);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (folder, programs);
        Ok(())
    }
}

/// [`confine`] with some layers only, or with one more system call than the list has (by its name, such
/// as `SYS_socket`): for tests that prove that each matters.
///
/// # Errors
/// As [`confine`]; and if there is no such system call among those that the attempts need.
pub fn confine_partly(
    mode: Mode,
    layers: &[Layer],
    permit: Option<&str>,
) -> Result<Report, ConfineError> {
    crate::memory::remember_available();
    hob_kernels::pool::cores();
    #[cfg(target_os = "linux")]
    return linux::confine(mode, layers, permit);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (mode, layers, permit);
        let why = format!("hob does not confine itself on {}", std::env::consts::OS);
        let missing = |layer| (layer, State::Missing(why.clone()));
        Ok(Report {
            layers: Layer::ALL.map(missing).into(),
        })
    }
}
