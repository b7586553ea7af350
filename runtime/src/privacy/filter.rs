//! The filter of system calls of a mode, as programs for the kernel. In: the lists. Out: programs, which
//! can be put on this process, and their hash.
//!
//! But for [`Mode::Broker`] two filters stand one after the other, because a filter has one answer for
//! what it does not let through. The first says that clone3 does not exist (so that the C library starts
//! threads by clone, whose flags can be examined: clone3's lie in memory); the second refuses all that
//! [`lists`] does not name. The kernel takes the stricter answer of the two.

use super::lists::{self, Call, When};
use super::{Mode, attempts};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The programs of a mode.
pub(super) struct Filter {
    pub(super) programs: Vec<BpfProgram>,
    /// System calls on the list.
    pub(super) listed: usize,
}

impl Filter {
    /// For a process of this id, with one more call than the list has, if `permit` names one.
    pub(super) fn new(
        mode: Mode,
        arch: TargetArch,
        own: u32,
        permit: Option<&str>,
    ) -> Result<Filter, String> {
        let permit = permit.map(|name| {
            let known = attempts::calls().into_iter().find(|(n, _)| *n == name);
            known.ok_or_else(|| format!("no attempt needs a system call {name}"))
        });
        let permit = permit.transpose()?.map(|(_, number)| number);
        Filter::compile(mode, arch, own, permit).map_err(|e| e.to_string())
    }

    fn compile(
        mode: Mode,
        arch: TargetArch,
        own: u32,
        permit: Option<i64>,
    ) -> Result<Filter, BackendError> {
        let refusal = match cfg!(feature = "kill-on-refusal") {
            true => SeccompAction::KillProcess,
            false => SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        };
        let allow = SeccompAction::Allow;
        let mut rules = rules(listed(mode), own)?;
        let listed = rules.len();
        if mode == Mode::Broker {
            #[cfg(target_arch = "x86_64")]
            {
                let (bit, own_numbers) = lists::X32;
                let twins: Vec<i64> = rules.keys().copied().collect();
                for number in twins.into_iter().chain(own_numbers) {
                    rules.insert(bit | number, Vec::new());
                }
            }
            if let Some(number) = permit {
                rules.remove(&number);
            }
            let filter = SeccompFilter::new(rules, allow, refusal, arch)?;
            return Ok(Filter {
                programs: vec![filter.try_into()?],
                listed,
            });
        }
        if let Some(number) = permit {
            rules.insert(number, Vec::new());
        }
        let mut programs = Vec::new();
        if permit != Some(libc::SYS_clone3) {
            let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
            let filter = SeccompFilter::new(no_clone3, allow.clone(), enosys, arch)?;
            programs.push(filter.try_into()?);
        }
        programs.push(SeccompFilter::new(rules, refusal, allow, arch)?.try_into()?);
        Ok(Filter { programs, listed })
    }

    /// Puts it on all threads of this process, and on those to come.
    pub(super) fn install(&self) -> Result<(), seccompiler::Error> {
        self.programs
            .iter()
            .try_for_each(|program| apply_filter_all_threads(program))
    }

    /// The hash of the programs, one after the other, as the kernel is given them (each instruction 8
    /// bytes: code, jt, jf, k, little-endian).
    pub(super) fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for i in self.programs.iter().flatten() {
            hash.update(i.code.to_le_bytes());
            hash.update([i.jt, i.jf]);
            hash.update(i.k.to_le_bytes());
        }
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The calls that a mode's filter names: those that it allows, or in a broker those that it refuses.
fn listed(mode: Mode) -> impl Iterator<Item = &'static Call> {
    let (calls, more) = match mode {
        Mode::Run => (lists::RUN, &[][..]),
        Mode::Chat => (lists::RUN, lists::CHAT),
        Mode::Serve => (lists::RUN, lists::SERVE),
        Mode::Pack => (lists::RUN, lists::PACK),
        Mode::Broker => (lists::BROKER_REFUSES, lists::INTO_OTHERS),
    };
    calls.iter().chain(more)
}

/// By number, the alternatives under which a call is meant; none: always.
pub(super) fn rules(
    calls: impl Iterator<Item = &'static Call>,
    own: u32,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always = Vec::new();
    for (_, number, alternatives) in calls {
        if alternatives.is_empty() {
            always.push(*number);
        }
        let rule = rules.entry(*number).or_default();
        for conditions in *alternatives {
            let conditions = conditions.iter().map(|&when| condition(when, own));
            rule.push(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?);
        }
    }
    for number in always {
        rules.insert(number, Vec::new());
    }
    Ok(rules)
}

fn condition(when: When, own: u32) -> Result<SeccompCondition, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq};
    match when {
        When::Is(argument, value) => SeccompCondition::new(argument, Dword, Eq, value),
        When::Own(argument) => SeccompCondition::new(argument, Dword, Eq, own.into()),
        When::Bits(argument, mask, value) => {
            SeccompCondition::new(argument, Qword, MaskedEq(mask), value)
        }
    }
}

#[cfg(test)]
mod tests;
