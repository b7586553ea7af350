//! Confinement: a process gives up, for good, what inference does not need.
//!
//! A program calls [`shed`] first of all, opens the model ([`crate::ModelFiles::open`]), and calls
//! [`confine`] before it starts a thread and before any byte of the model or the prompt is parsed.
//! From then on the kernel refuses every open, socket and exec, to this process and to whatever
//! takes it over. What a layer is, and on which systems it is missing, [`Report`] says; nothing here
//! knows models or prompts.
//!
//! - [`lists`]: which system calls remain, all of them;
//! - `filter`: the same, as programs for the kernel;
//! - [`attempts`]: what `hob privacy` tries, to prove that it is refused;
//! - `linux`: the layers themselves;
//! - [`memory`]: what is locked and wiped, and [`secret`]: memory for keys.
//!
//! An embedder's process usually has threads, files and sockets of its own. It may call [`confine`]
//! where it is still single-threaded; else [`ConfineError::Threads`] says which layer would not reach the
//! others, and the way is a process of its own for inference: `runtime/examples/worker.rs`. (Landlock
//! reaches all threads from ABI 8 on; capabilities are each thread's own.) A server confines itself with
//! [`Mode::Serve`]: `runtime/examples/serve.rs`.

#[cfg(target_os = "linux")]
pub mod attempts;
#[cfg(target_os = "linux")]
mod fetch;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub mod lists;
pub mod memory;
mod pages;
pub mod secret;
mod wiping;

use std::fmt;
use std::path::PathBuf;

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
    landlock_abi: u32,
    filter_sha256: Option<String>,
}

impl Report {
    /// Every layer with its state.
    pub fn layers(&self) -> &[(Layer, State)] {
        &self.layers
    }

    /// The version of Landlock's interface that this system has; 0 for none.
    pub fn landlock_abi(&self) -> u32 {
        self.landlock_abi
    }

    /// SHA-256, in hexadecimal digits, of the filter's programs as they were given to the kernel, but for
    /// the process's own id in them, which is taken as 0: so it is the same wherever the same lists hold.
    /// None without a filter.
    pub fn filter_sha256(&self) -> Option<&str> {
        self.filter_sha256.as_deref()
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
    /// There are threads already, which a layer would not reach. Nothing was done.
    #[error(
        "the process has {found} threads, and {layer} would confine the calling one only: confine it before it starts threads, or run inference in a process of its own"
    )]
    Threads {
        /// Threads.
        found: usize,
        /// The first layer that lacks.
        layer: Layer,
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
    /// A server for callers of this machine or others: it answers on sockets that listen already, makes no
    /// connection and no socket, and opens files for reading beneath the folders that
    /// [`Confinement::readable`] names, none else. For embedders; hob has no command that serves.
    Serve,
    /// A process that makes packed files of model files that it has open: it reads and writes beneath the
    /// folders that [`Confinement::writable`] names, and does nothing else.
    Pack,
}

impl Mode {
    /// All.
    pub const ALL: [Mode; 5] = [Mode::Run, Mode::Chat, Mode::Broker, Mode::Serve, Mode::Pack];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Run => "run",
            Mode::Chat => "chat",
            Mode::Broker => "broker",
            Mode::Serve => "serve",
            Mode::Pack => "pack",
        }
    }
}

/// How to confine a process, in full: [`confine`] is [`Confinement::new`] and [`Confinement::enter`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Confinement {
    mode: Mode,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    layers: Vec<Layer>,
    permit: Option<String>,
}

impl Confinement {
    /// With all layers.
    pub fn new(mode: Mode) -> Confinement {
        Confinement {
            mode,
            readable: Vec::new(),
            writable: Vec::new(),
            layers: Layer::ALL.into(),
            permit: None,
        }
    }

    /// Has a file, or the files beneath a folder, be readable in [`Mode::Serve`] and [`Mode::Pack`]; the
    /// other modes know no such place. (A link there that leads elsewhere is not followed to where
    /// reading is not allowed.)
    pub fn readable(mut self, folder: impl Into<PathBuf>) -> Confinement {
        self.readable.push(folder.into());
        self
    }

    /// Has files beneath a folder be readable, made, written, renamed and deleted in [`Mode::Pack`]; the
    /// other modes know no such folder.
    pub fn writable(mut self, folder: impl Into<PathBuf>) -> Confinement {
        self.writable.push(folder.into());
        self
    }

    /// With these layers only: for tests that prove that each matters, and, with [`Layer::SystemCalls`]
    /// alone, for that layer's reach to threads that are there already.
    pub fn only(mut self, layers: &[Layer]) -> Confinement {
        self.layers = layers.into();
        self
    }

    /// With one more system call than the list has, by a name that `attempts::calls` knows, such as
    /// `SYS_socket`: for tests that prove that the list matters.
    pub fn permitting(mut self, call: &str) -> Confinement {
        self.permit = Some(call.into());
        self
    }

    /// Confines this process, for good: see [`confine`].
    ///
    /// # Errors
    /// [`ConfineError`]; but for [`ConfineError::Threads`], the process may be confined in part then.
    pub fn enter(&self) -> Result<Report, ConfineError> {
        crate::memory::remember_available();
        hob_kernels::pool::cores();
        #[cfg(target_os = "linux")]
        return linux::confine(self);
        #[cfg(not(target_os = "linux"))]
        {
            let why = format!("hob does not confine itself on {}", std::env::consts::OS);
            let missing = |layer| (layer, State::Missing(why.clone()));
            Ok(Report {
                layers: Layer::ALL.map(missing).into(),
                landlock_abi: 0,
                filter_sha256: None,
            })
        }
    }
}

/// With all layers, and no place that is left.
impl From<Mode> for Confinement {
    fn from(mode: Mode) -> Confinement {
        Confinement::new(mode)
    }
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
    Confinement::new(mode).enter()
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

/// Open descriptors of this process below 1024, each with what it is; works in a confined process.
pub fn descriptors() -> Vec<(i32, String)> {
    #[cfg(target_os = "linux")]
    return linux::descriptors();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}
