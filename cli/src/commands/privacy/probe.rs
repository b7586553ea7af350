//! A child of `hob privacy`: confines itself as it is told, tries everything, and writes what happened to
//! standard output. Other children stand by to be attacked, crash, or count their open files.

use super::sinks::UNIX;
use anyhow::{Context, bail};
use hob::privacy::attempts::{self, Inherited, Targets, Victim};
use hob::privacy::{self, ConfineError, Confinement, Layer, Mode, Report, State, memory};
use rustix::process::{DumpableBehavior, PTracer, Resource, Rlimit};
use rustix::process::{
    dumpable_behavior, getrlimit, set_dumpable_behavior, set_ptracer, setrlimit,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What a child does.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// Tries all attempts.
    Attempts,
    /// Waits to be attacked.
    Victim,
    /// Crashes, having asked for a core dump.
    Crash,
    /// Opens the model as `hob run` does, and says what is open.
    Census,
}

/// How a child is told.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) work: Work,
    pub(super) mode: Cow<'static, str>,
    /// By name; none: no confinement.
    pub(super) layers: Vec<String>,
    pub(super) permit: Option<String>,
    pub(super) places: Option<Places>,
    pub(super) model: Option<PathBuf>,
    /// Whether the model is loaded and asked something, too.
    pub(super) load: bool,
}

/// Where the sinks are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Places {
    /// Whether there is such an interface.
    pub(super) loopback: bool,
    /// Ports of the loopback interface.
    pub(super) tcp: u16,
    pub(super) udp: u16,
    pub(super) dns: u16,
    /// Of the abstract Unix socket.
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) models: PathBuf,
    /// Its id, and where its secret lies.
    pub(super) victim: (i32, usize),
}

/// What came of one try: 0 if it happened, else the error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome(pub(super) i32);

impl Outcome {
    pub(super) const NOT_TRIED: Outcome = Outcome(-1);

    pub(super) fn happened(self) -> bool {
        self.0 == 0
    }

    fn of(result: io::Result<()>) -> Outcome {
        match result {
            Ok(()) => Outcome(0),
            Err(e) => Outcome(e.raw_os_error().unwrap_or(-1)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("it happened"),
            -1 => f.write_str("not tried"),
            e => {
                let text = io::Error::from_raw_os_error(e).to_string();
                // Without "(os error 1)".
                f.write_str(text.split(" (os").next().unwrap_or(&text))
            }
        }
    }
}

/// An attempt on the first thread, on one that was started before confinement (where that may be), and on
/// one started after.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tried {
    pub(super) name: Cow<'static, str>,
    pub(super) first: Outcome,
    pub(super) earlier: Option<Outcome>,
    pub(super) later: Outcome,
}

/// A layer of the report.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LayerState {
    pub(super) name: Cow<'static, str>,
    pub(super) holds: bool,
    pub(super) how: String,
}

/// What a child says that tried all attempts.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) tried: Vec<Tried>,
    pub(super) layers: Vec<LayerState>,
    pub(super) landlock_abi: u32,
    pub(super) filter_sha256: Option<String>,
    /// It refused to be confined while it had a second thread.
    pub(super) refused_threads: bool,
}

/// What a child says of itself, confined.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Census {
    /// Number, and what it is.
    pub(super) descriptors: Vec<(i32, String)>,
    pub(super) is_dumpable: bool,
    /// What a user's words occupy, and what of it is locked.
    pub(super) memory: Memory,
}

/// Figures of [`memory::figures`], in bytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Memory {
    /// None: no limit.
    pub(super) may_lock: Option<u64>,
    pub(super) locked: usize,
    pub(super) unlocked: usize,
    /// Tokens of the prompt that the model had read then; none if no model was loaded.
    pub(super) tokens: Option<usize>,
}

impl Spec {
    pub(super) fn new(work: Work, mode: Mode, layers: &[&str]) -> Spec {
        Spec {
            work,
            mode: mode.name().into(),
            layers: layers.iter().map(|&name| name.to_owned()).collect(),
            permit: None,
            places: None,
            model: None,
            load: false,
        }
    }

    pub(super) fn victim() -> Spec {
        Spec::new(Work::Victim, Mode::Run, &[])
    }

    fn confinement(&self) -> anyhow::Result<Option<Confinement>> {
        if self.layers.is_empty() {
            return Ok(None);
        }
        let mode = Mode::ALL.into_iter().find(|m| m.name() == self.mode);
        let named = |layer: &Layer| self.layers.iter().any(|name| name == layer.name());
        let layers: Vec<Layer> = Layer::ALL.into_iter().filter(named).collect();
        let mut confinement =
            Confinement::new(mode.context("no such mode of confinement")?).only(&layers);
        if let Some(call) = &self.permit {
            confinement = confinement.permitting(call);
        }
        if let Some(places) = &self.places {
            confinement = confinement
                .readable(&places.models)
                .writable(&places.models);
        }
        Ok(Some(confinement))
    }
}

/// This program as a child that does it.
pub(super) fn command(spec: &Spec) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command
        .args(["privacy", "--probe", &serde_json::to_string(spec)?])
        .stdin(Stdio::null());
    Ok(command)
}

/// Has a child do its work, and reads its answer.
pub(super) fn ask<T: for<'a> Deserialize<'a>>(spec: &Spec) -> anyhow::Result<T> {
    let out = command(spec)?
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start a probe")?;
    if !out.status.success() {
        let (mode, layers) = (&spec.mode, spec.layers.join(", "));
        bail!(
            "the probe for {mode} with [{layers}] failed ({})",
            out.status
        );
    }
    serde_json::from_slice(&out.stdout).context("the probe's answer cannot be read")
}

/// Does the work of a child.
pub(super) fn run(spec: &str) -> anyhow::Result<()> {
    let spec: Spec = serde_json::from_str(spec).context("a probe needs to be told what to do")?;
    let answer = match spec.work {
        Work::Attempts => serde_json::to_string(&try_attempts(&spec)?)?,
        Work::Census => serde_json::to_string(&census(&spec)?)?,
        Work::Victim => return be_attacked(),
        Work::Crash => return crash(&spec),
    };
    println!("{answer}");
    Ok(())
}

fn targets(places: Places, shed: bool) -> anyhow::Result<Targets> {
    let local = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let sinks = attempts::Sinks {
        loopback: places.loopback,
        tcp: local(places.tcp),
        udp: local(places.udp),
        dns: local(places.dns),
        unix: places.folder.join(UNIX),
        unix_abstract: places.name,
        folder: places.folder,
        models: places.models,
        victim: Victim {
            pid: places.victim.0,
            address: places.victim.1,
        },
    };
    let inherited = Inherited::open(&sinks).context("cannot reach the sinks")?;
    if shed {
        privacy::shed()?;
    }
    Targets::open(sinks, inherited).context("cannot open what is to be kept")
}

fn try_attempts(spec: &Spec) -> anyhow::Result<Answer> {
    let places = spec.places.clone().context("a probe needs its sinks")?;
    // As `hob run` does; a lone layer is tried without, to see what it refuses by itself.
    let targets = Arc::new(targets(places, spec.layers.len() > 1)?);
    let mut refused_threads = false;
    let mut report = None;
    let mut earlier = None;
    if let Some(confinement) = spec.confinement()? {
        let worker = Worker::start(targets.clone());
        match confinement.enter() {
            Ok(entered) => {
                report = Some(entered);
                earlier = Some(worker);
            }
            Err(ConfineError::Threads { .. }) => {
                refused_threads = true;
                worker.dismiss();
                report = Some(confinement.enter()?);
            }
            Err(e) => return Err(e.into()),
        }
    }
    let first = try_all(&targets);
    let earlier = earlier.map(Worker::try_all).transpose()?;
    let later = thread::spawn(move || try_all(&targets)).join();
    let later = later.map_err(|_| anyhow::anyhow!("the later thread failed"))?;
    let tried = attempts::all().enumerate().map(|(i, attempt)| Tried {
        name: attempt.name.into(),
        first: first[i],
        earlier: earlier.as_ref().map(|outcomes| outcomes[i]),
        later: later[i],
    });
    Ok(Answer {
        tried: tried.collect(),
        layers: report.as_ref().map(layer_states).unwrap_or_default(),
        landlock_abi: report.as_ref().map_or(0, Report::landlock_abi),
        filter_sha256: report
            .as_ref()
            .and_then(|r| r.filter_sha256().map(str::to_owned)),
        refused_threads,
    })
}

/// In the order of [`attempts::all`].
fn try_all(targets: &Targets) -> Vec<Outcome> {
    attempts::all()
        .map(|attempt| Outcome::of(attempt.run(targets)))
        .collect()
}

/// A thread from before confinement, which waits to try everything.
struct Worker {
    thread: thread::JoinHandle<Vec<Outcome>>,
    go: mpsc::Sender<()>,
}

impl Worker {
    fn start(targets: Arc<Targets>) -> Worker {
        let (go, wait) = mpsc::channel();
        let thread = thread::spawn(move || match wait.recv() {
            Ok(()) => try_all(&targets),
            Err(_) => Vec::new(),
        });
        Worker { thread, go }
    }

    fn try_all(self) -> anyhow::Result<Vec<Outcome>> {
        self.go.send(())?;
        let outcomes = self.thread.join();
        outcomes.map_err(|_| anyhow::anyhow!("the earlier thread failed"))
    }

    /// Ends it, and waits until the system says so, too.
    fn dismiss(self) {
        drop(self.go);
        // It has nothing to say.
        let _ = self.thread.join();
        let deadline = Instant::now() + Duration::from_secs(5);
        let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        while threads() > 1 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn layer_states(report: &Report) -> Vec<LayerState> {
    let state = |(layer, state): &(Layer, State)| {
        let (holds, how) = match state {
            State::Holds(how) => (true, how.clone()),
            State::Partly(how) | State::Missing(how) => (false, how.clone()),
            _ => (false, String::new()),
        };
        LayerState {
            name: layer.name().into(),
            holds,
            how,
        }
    };
    report.layers().iter().map(state).collect()
}

/// Says who it is and where its secret lies, lets everybody in, and waits for the end of its input.
fn be_attacked() -> anyhow::Result<()> {
    let secret = Box::new(*Victim::SECRET);
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    // For systems where only a parent may attach (Yama); others do not know the call.
    let _ = set_ptracer(PTracer::Any);
    let address = std::hint::black_box(secret.as_ptr()) as usize;
    println!("{}", serde_json::to_string(&(std::process::id(), address))?);
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(std::hint::black_box(secret));
    Ok(())
}

/// Asks for a dump of any size, confines itself, and crashes.
fn crash(spec: &Spec) -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    if spec.layers.is_empty() {
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    }
    if let Some(confinement) = spec.confinement()? {
        if spec.layers.len() > 1 {
            privacy::shed()?;
        }
        confinement.enter()?;
    }
    std::process::abort();
}

/// What is open, and what is locked, in a process that has done what `hob run` does.
fn census(spec: &Spec) -> anyhow::Result<Census> {
    memory::guard();
    privacy::shed()?;
    let options = hob::EngineOptions::default();
    // A model that cannot be opened is reported where its hash is.
    let model = spec.model.as_deref();
    let model = model.and_then(|m| hob::Engine::open(m, &options).ok());
    let name = |number: i32| {
        let name = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        name.is_absolute().then(|| name.display().to_string())
    };
    let names: Vec<Option<String>> = (0..64).map(name).collect();
    if let Some(confinement) = spec.confinement()? {
        confinement.enter()?;
    }
    let named = |(number, kind): (i32, String)| {
        let known = usize::try_from(number).ok();
        let name = known.and_then(|n| names.get(n)?.clone());
        (number, name.unwrap_or(kind))
    };
    let descriptors = privacy::descriptors().into_iter().map(named).collect();
    let session = model
        .filter(|_| spec.load)
        .and_then(|files| prompted(files, &options).ok());
    let figures = memory::figures();
    let total = figures.total();
    Ok(Census {
        descriptors,
        is_dumpable: dumpable_behavior()? != DumpableBehavior::NotDumpable,
        memory: Memory {
            may_lock: figures.limit,
            locked: total.locked,
            unlocked: total.unlocked,
            tokens: session.map(|s| s.tokens().len()),
        },
    })
}

/// A session whose model has read a prompt.
fn prompted(files: hob::ModelFiles, options: &hob::EngineOptions) -> anyhow::Result<hob::Session> {
    let engine = memory::outside(|| hob::Engine::load_files(files, options))?;
    let mut session = engine.session(hob::SessionOptions::default());
    let prompt = session.encode("What stays on this computer?")?;
    session.prefill(&prompt, &hob::Cancel::new(), |_, _| ())?;
    Ok(session)
}
