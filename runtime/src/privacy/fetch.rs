//! What a process gives up that fetches models: it must reach the network, and holds no prompt, so that this
//! protects the rest of the machine from what an answer of the network might make of it. In: the one folder
//! that it writes to, and whether it starts programs.

use super::filter::rules;
use super::lists::{FETCH_REFUSES, INTO_OTHERS, PROGRAMS};
use super::{ConfineError, Layer};
use landlock::{
    Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads};
use std::fmt::Display;
use std::path::Path;

fn failed<E: Display>(layer: Layer) -> impl FnOnce(E) -> ConfineError {
    move |e| ConfineError::Layer {
        layer,
        why: e.to_string(),
    }
}

/// See [`super::confine_fetch`].
pub(super) fn confine(folder: &Path, programs: bool) -> Result<(), ConfineError> {
    super::linux::check_threads(&[Layer::Files, Layer::SystemCalls])?;
    landlock(folder, programs).map_err(failed(Layer::Files))?;
    filter(programs)
}

/// Gives up writing elsewhere, and running what it is not to run.
fn landlock(folder: &Path, programs: bool) -> Result<(), landlock::RulesetError> {
    let writing = AccessFs::from_write(super::linux::LANDLOCK);
    let handled = match programs {
        true => writing,
        false => writing | AccessFs::Execute,
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .scope(Scope::from_all(super::linux::LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules([folder], writing))?
        // What programs throw away.
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
        .restrict_self()?;
    Ok(())
}

/// Gives up the ways into other processes, and running programs if it runs none.
fn filter(programs: bool) -> Result<(), ConfineError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(());
    };
    if rustix::thread::secure_computing_mode().is_err() {
        return Ok(());
    }
    let more = if programs { &[][..] } else { PROGRAMS };
    let calls = FETCH_REFUSES.iter().chain(INTO_OTHERS).chain(more);
    let rules = rules(calls, std::process::id()).map_err(failed(Layer::SystemCalls))?;
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch);
    let program = filter.and_then(seccompiler::BpfProgram::try_from);
    let program = program.map_err(failed(Layer::SystemCalls))?;
    apply_filter_all_threads(&program).map_err(failed(Layer::SystemCalls))
}
