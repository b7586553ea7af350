//! The layers on Linux: descriptors, dump status, capabilities, Landlock, and the filters of system
//! calls. In: a mode. Out: a report, with the process confined.
//!
//! But for [`Mode::Broker`] two filters stand one after the other, because a filter has one answer for what
//! it does not let through. The first says that clone3 does not exist (so that the C library starts threads by clone,
//! whose flags can be examined: clone3's lie in memory); the second refuses all that [`lists`] does not
//! name. The kernel takes the stricter answer of the two.

use super::lists::{self, When};
use super::{ConfineError, Layer, Mode, Report, State};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::fmt::Display;

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

/// Landlock confines the calling thread and what it starts.
pub(super) fn check_threads() -> Result<(), ConfineError> {
    match std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        0 | 1 => Ok(()),
        found => Err(ConfineError::Threads { found }),
    }
}

/// See [`super::confine_partly`].
pub(super) fn confine(
    mode: Mode,
    layers: &[Layer],
    permit: Option<&str>,
) -> Result<Report, ConfineError> {
    check_threads()?;
    // Asked for once, and then remembered by the library that maps files.
    let _ = rustix::param::page_size();
    // The filter comes last: it would refuse the calls of the other layers.
    let mut states = Vec::new();
    for layer in Layer::ALL.into_iter().rev() {
        let state = if !layers.contains(&layer) {
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
                Layer::Files => landlock(mode)?,
                Layer::SystemCalls => filter(mode, permit)?,
            }
        };
        states.push((layer, state));
    }
    states.reverse();
    Ok(Report { layers: states })
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

/// Gives up all rights on files (but in a broker), TCP, abstract Unix sockets and other processes' signals
/// (but in a broker, whose editor is one).
fn landlock(mode: Mode) -> Result<State, ConfineError> {
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = rules.handle_access(AccessNet::from_all(LANDLOCK));
    let rules = match mode {
        Mode::Run | Mode::Chat => rules
            .and_then(|r| r.handle_access(AccessFs::from_all(LANDLOCK)))
            .and_then(|r| r.scope(Scope::from_all(LANDLOCK))),
        Mode::Broker => rules.and_then(|r| r.scope(Scope::AbstractUnixSocket)),
    };
    let status = rules
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(failed(Layer::Files))?;
    let what = match mode {
        Mode::Run | Mode::Chat => "no file, no TCP port",
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
fn filter(mode: Mode, permit: Option<&str>) -> Result<State, ConfineError> {
    let failed = |e: &dyn Display| ConfineError::Layer {
        layer: Layer::SystemCalls,
        why: e.to_string(),
    };
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(State::Missing(format!(
            "hob has no list of system calls for {}",
            std::env::consts::ARCH
        )));
    };
    if rustix::thread::secure_computing_mode().is_err() {
        return Ok(State::Missing("this kernel has no seccomp".into()));
    }
    let refusal = match cfg!(feature = "kill-on-refusal") {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(libc::EPERM.cast_unsigned()),
    };
    let (calls, more, named, others) = match mode {
        Mode::Run => (lists::RUN, &[][..], SeccompAction::Allow, refusal),
        Mode::Chat => (lists::RUN, lists::CHAT, SeccompAction::Allow, refusal),
        Mode::Broker => (
            lists::BROKER_REFUSES,
            &[][..],
            refusal,
            SeccompAction::Allow,
        ),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, number, alternatives) in calls.iter().chain(more) {
        let alternatives = rules_of(alternatives)?;
        rules.entry(*number).or_default().extend(alternatives);
    }
    #[cfg(target_arch = "x86_64")]
    if mode == Mode::Broker {
        let (bit, own_numbers) = lists::X32;
        let twins = calls.iter().map(|(_, number, _)| *number);
        for number in twins.chain(own_numbers) {
            rules.insert(bit | number, Vec::new());
        }
    }
    let left = rules.len();
    if let Some(name) = permit {
        let known = lists::FORBIDDEN.iter().find(|(known, _, _)| *known == name);
        let (_, number, _) =
            known.ok_or_else(|| failed(&format_args!("no system call {name} to permit")))?;
        match mode {
            Mode::Run | Mode::Chat => rules.insert(*number, Vec::new()),
            Mode::Broker => rules.remove(number),
        };
    }
    let mut filters = vec![SeccompFilter::new(rules, others, named, arch)];
    if mode != Mode::Broker {
        let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        filters.insert(
            0,
            SeccompFilter::new(no_clone3, SeccompAction::Allow, enosys, arch),
        );
    }
    for filter in filters {
        let program = filter.and_then(seccompiler::BpfProgram::try_from);
        let program = program.map_err(|e| failed(&e))?;
        apply_filter_all_threads(&program).map_err(|e| failed(&e))?;
    }
    Ok(State::Holds(match mode {
        Mode::Run | Mode::Chat => format!("{left} system calls are left; no open, socket or exec",),
        Mode::Broker => {
            "no socket, no way into other processes; so for an editor that it starts".into()
        }
    }))
}

/// The filter's rules for the alternatives of a call.
pub(super) fn rules_of(alternatives: &[&[When]]) -> Result<Vec<SeccompRule>, ConfineError> {
    let own = u64::from(std::process::id());
    let rules = alternatives.iter().map(|conditions| {
        let conditions = conditions.iter().map(|&when| condition(when, own));
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    });
    let rules = rules.collect::<Result<_, _>>();
    rules.map_err(failed(Layer::SystemCalls))
}

fn condition(when: When, own: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq};
    match when {
        When::Is(argument, value) => SeccompCondition::new(argument, Dword, Eq, value),
        When::Own(argument) => SeccompCondition::new(argument, Dword, Eq, own),
        When::Bits(argument, mask, value) => {
            SeccompCondition::new(argument, Qword, MaskedEq(mask), value)
        }
    }
}
