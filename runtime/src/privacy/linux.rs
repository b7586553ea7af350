//! The layers on Linux: descriptors, dump status, capabilities, Landlock, and the filters of system
//! calls. In: a mode. Out: a report, with the process confined.

use super::filter::Filter;
use super::{ConfineError, Confinement, Layer, Mode, Report, State};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use seccompiler::TargetArch;
use std::fmt::Display;
use std::path::PathBuf;

/// What Landlock is asked for: all rights of this version of its interface, which is Linux 6.15's.
pub(super) const LANDLOCK: ABI = ABI::V7;

fn failed<E: Display>(layer: Layer) -> impl FnOnce(E) -> ConfineError {
    move |e| ConfineError::Layer {
        layer,
        why: e.to_string(),
    }
}

/// See [`super::shed`].
pub(super) fn shed() -> Result<(), ConfineError> {
    close_inherited().map_err(failed(Layer::Files))?;
    undumpable().map_err(failed(Layer::Undumpable))
}

/// Closes descriptors from 3 on: a socket among them could be written to.
fn close_inherited() -> std::io::Result<()> {
    // SAFETY: programs call this before they open anything, so nobody owns these descriptors.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

fn undumpable() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// The version of Landlock's interface that this kernel has; 0 for none.
pub(super) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the call takes no parameters, and makes nothing.
    #[allow(unsafe_code)]
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// Whether a layer can be put on threads that are there already. (Capabilities are each thread's own, and
/// there is no call for another's: it can where no thread has any.)
fn reaches_threads(layer: Layer) -> bool {
    match layer {
        Layer::SystemCalls | Layer::Undumpable => true,
        // A kernel without it confines no thread, and the report says so.
        Layer::Files => landlock_abi() == 0 || landlock_abi() >= ABI::V8 as u32,
        Layer::Capabilities => {
            let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
            tasks.flatten().all(|task| {
                let status = std::fs::read_to_string(task.path().join("status"));
                // A thread that has ended meanwhile has none.
                status.is_ok_and(|s| s.lines().any(|l| is_zero(l, "CapPrm:")))
                    || !task.path().exists()
            })
        }
    }
}

fn is_zero(line: &str, key: &str) -> bool {
    let value = line.strip_prefix(key).map(str::trim);
    value.is_some_and(|v| v.bytes().all(|b| b == b'0'))
}

/// An error if there are threads that one of these layers would not reach.
pub(super) fn check_threads(layers: &[Layer]) -> Result<(), ConfineError> {
    let found = threads();
    let lacks = |&&layer: &&Layer| found > 1 && !reaches_threads(layer);
    match layers.iter().find(lacks) {
        Some(&layer) => Err(ConfineError::Threads { found, layer }),
        None => Ok(()),
    }
}

/// Has all threads to come share one heap. When the GNU C library gives back memory of a heap that a thread
/// has of its own, it opens a file first (`/proc/sys/vm/overcommit_memory`), which would be refused.
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator's, under its lock.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// See [`super::Confinement::enter`].
pub(super) fn confine(asked: &Confinement) -> Result<Report, ConfineError> {
    check_threads(&asked.layers)?;
    one_heap();
    // Asked for once, and then remembered by the library that maps files.
    let _ = rustix::param::page_size();
    let mut report = Report {
        layers: Vec::new(),
        landlock_abi: landlock_abi(),
        filter_sha256: None,
    };
    // The filter comes last: it would refuse the calls of the other layers.
    for layer in Layer::ALL.into_iter().rev() {
        let state = if !asked.layers.contains(&layer) {
            State::Missing("left out, as asked".into())
        } else {
            match layer {
                Layer::Undumpable => {
                    undumpable().map_err(failed(layer))?;
                    State::Holds("no core dump; other processes of this user cannot attach".into())
                }
                Layer::Capabilities => {
                    drop_capabilities().map_err(failed(layer))?;
                    State::Holds("none are held".into())
                }
                Layer::Files => landlock(asked, report.landlock_abi > 0 && threads() > 1)?,
                Layer::SystemCalls => filter(asked, &mut report)?,
            }
        };
        report.layers.push((layer, state));
    }
    report.layers.reverse();
    Ok(report)
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets)
}

/// Gives up all rights on files (but in a broker, and on reading models in a server), TCP, abstract Unix
/// sockets and other processes' signals (but in a broker, whose editor is one).
fn landlock(asked: &Confinement, all_threads: bool) -> Result<State, ConfineError> {
    let mode = asked.mode;
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = rules.handle_access(AccessNet::from_all(LANDLOCK));
    let rules = match mode {
        Mode::Run | Mode::Chat | Mode::Serve | Mode::Pack => rules
            .and_then(|r| r.handle_access(AccessFs::from_all(LANDLOCK)))
            .and_then(|r| r.scope(Scope::from_all(LANDLOCK))),
        Mode::Broker => rules.and_then(|r| r.scope(Scope::AbstractUnixSocket)),
    };
    let mut rules = rules
        .and_then(Ruleset::create)
        .map_err(failed(Layer::Files))?;
    let read: BitFlags<AccessFs> = AccessFs::ReadFile.into();
    let write = read
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let (readable, writable): (&[PathBuf], &[PathBuf]) = match mode {
        Mode::Serve => (&asked.readable, &[]),
        Mode::Pack => (&asked.readable, &asked.writable),
        _ => (&[], &[]),
    };
    let readable = readable.iter().map(|place| (place, read));
    let writable = writable.iter().map(|place| (place, write));
    for (place, rights) in readable.chain(writable) {
        let named = |e: &dyn Display| {
            failed(Layer::Files)(format!("cannot allow use of {}: {e}", place.display()))
        };
        let at = PathFd::new(place).map_err(|e| named(&e))?;
        // A file has none of a folder's rights.
        let rights = match place.is_dir() {
            true => rights,
            false => rights & AccessFs::from_file(LANDLOCK),
        };
        let rule = PathBeneath::new(at, rights);
        rules = rules.add_rule(rule).map_err(|e| named(&e))?;
    }
    if all_threads {
        // Where the kernel cannot, `confine` has refused already; here it would be an error, too.
        rules = rules
            .set_compatibility(CompatLevel::HardRequirement)
            .all_threads(true)
            .map_err(failed(Layer::Files))?;
    }
    let status = rules.restrict_self().map_err(failed(Layer::Files))?;
    let what = match mode {
        Mode::Run | Mode::Chat => "no file, no TCP port",
        Mode::Serve if asked.readable.is_empty() => "no file, no TCP port but what is open",
        Mode::Serve => {
            "files beneath the models' folders for reading, no TCP port but what is open"
        }
        Mode::Pack => "no file but beneath the folder of the result, no TCP port",
        Mode::Broker => "no TCP port; files stay open, for /save, /load and /edit",
    };
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            State::Holds(format!("ABI {effective_abi}: {what}"))
        }
        (RulesetStatus::FullyEnforced, _) => State::Holds(what.into()),
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            State::Partly(format!(
                "this kernel knows Landlock's ABI {effective_abi} of {LANDLOCK}: some rights could not be given up"
            ))
        }
        (RulesetStatus::PartiallyEnforced, _) => State::Partly("some rights could not be given up".into()),
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => State::Missing(
            "this kernel has Landlock, but it is not enabled (lsm=landlock,... on its command line)".into(),
        ),
        (RulesetStatus::NotEnforced, _) => {
            State::Missing("this kernel has no Landlock (Linux 5.13 and later can have it)".into())
        }
    })
}

/// Puts the filters on all threads, later ones included.
fn filter(asked: &Confinement, report: &mut Report) -> Result<State, ConfineError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(State::Missing(format!(
            "hob has no list of system calls for {}",
            std::env::consts::ARCH
        )));
    };
    if rustix::thread::secure_computing_mode().is_err() {
        return Ok(State::Missing("this kernel has no seccomp".into()));
    }
    let permit = asked.permit.as_deref();
    let filter =
        |own| Filter::new(asked.mode, arch, own, permit).map_err(failed(Layer::SystemCalls));
    let installed = filter(std::process::id())?;
    report.filter_sha256 = Some(filter(0)?.sha256());
    installed.install().map_err(failed(Layer::SystemCalls))?;
    let listed = installed.listed;
    Ok(State::Holds(match asked.mode {
        Mode::Run | Mode::Chat => {
            format!("{listed} system calls are left; no open, socket or exec")
        }
        Mode::Serve => format!(
            "{listed} system calls are left; no socket, connect, bind or exec, opening for reading only"
        ),
        Mode::Pack => format!("{listed} system calls are left; no socket or exec"),
        Mode::Broker => {
            "no socket, no way into other processes; so for an editor that it starts".into()
        }
    }))
}

/// See [`super::descriptors`].
pub(super) fn descriptors() -> Vec<(i32, String)> {
    (0..1024)
        .filter_map(|number| {
            // Directly, for the C library may ask by another call, which takes paths.
            // SAFETY: all zeros are a stat, in which the kernel writes; the number may be nobody's, which is
            // an error.
            #[allow(unsafe_code)]
            let found = unsafe {
                let mut stat: libc::stat = std::mem::zeroed();
                let result = libc::syscall(libc::SYS_fstat, number, &raw mut stat);
                (result == 0).then_some(stat)
            }?;
            let kind = match found.st_mode & libc::S_IFMT {
                libc::S_IFREG => format!("a file of {} bytes", found.st_size),
                libc::S_IFDIR => "a folder".into(),
                libc::S_IFCHR => "a terminal or another device".into(),
                libc::S_IFIFO => "a pipe".into(),
                libc::S_IFSOCK => "a socket".into(),
                _ => "something else".into(),
            };
            Some((number, kind))
        })
        .collect()
}
