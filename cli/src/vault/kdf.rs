//! From a passphrase to a key: Argon2id (RFC 9106), with a cost that is measured when a vault is made.
//!
//! In: passphrase, salt, and the cost that a header states, which is refused before anything is
//! allocated if it is beyond reason. Out: the key that unwraps the vault's own.

use super::VaultError;
use super::secret::Key;
use argon2::{Algorithm, Argon2, Params, Version};
use std::time::Duration;

/// The most memory that a header may ask for: 4 GiB.
pub(super) const MAX_MEMORY_KIB: u32 = 4 << 20;
/// The most passes over it.
pub(super) const MAX_PASSES: u32 = 64;
/// The most lanes.
pub(super) const MAX_LANES: u32 = 16;

/// What one try of a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    /// Passes over that memory.
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

/// What a new vault has at least, on however slow a machine: the memory and passes of RFC 9106's second
/// recommended option.
const LEAST: Cost = Cost {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 1,
};
/// A new vault's memory is at most this, so that it also opens on a smaller machine.
const MOST_MEMORY_KIB: u32 = 512 << 10;
/// How long opening a new vault shall take.
const AIM: Duration = Duration::from_secs(1);

impl Cost {
    /// Refuses what no honest header states.
    pub(super) fn check(self) -> Result<Cost, VaultError> {
        let Cost {
            memory_kib,
            passes,
            lanes,
        } = self;
        let known = Params::new(memory_kib, passes, lanes, None).is_ok();
        if known && memory_kib <= MAX_MEMORY_KIB && passes <= MAX_PASSES && lanes <= MAX_LANES {
            return Ok(self);
        }
        Err(VaultError::Cost {
            memory_kib,
            passes,
            lanes,
        })
    }

    /// The cost that takes about a second of this machine's time, and at most a quarter of its available
    /// memory. More memory comes before more passes: memory is what costs those who try many passphrases
    /// at once.
    pub(crate) fn measured() -> Result<Cost, VaultError> {
        // A trial warms the memory up, another one counts; the processor's time, so that other programs
        // do not make the vault weaker.
        derive(b"trial", &[0; 16], LEAST)?;
        let start = now();
        derive(b"trial", &[0; 16], LEAST)?;
        let took = now().saturating_sub(start);
        let available = hob::available_memory().map_or(u64::MAX, |bytes| bytes / 4 / 1024);
        Ok(fitted(took, available))
    }
}

/// The cost that takes [`AIM`] where [`LEAST`] takes `took`, within `available` KiB.
fn fitted(took: Duration, available: u64) -> Cost {
    let times = AIM.as_secs_f64() / took.as_secs_f64().max(1e-3);
    let most = u64::from(MOST_MEMORY_KIB).min(available) as f64;
    // In whole MiB.
    let memory_mib = (f64::from(LEAST.memory_kib) * times).min(most) / 1024.0;
    let memory_kib = ((memory_mib as u32) << 10).max(LEAST.memory_kib);
    // What more memory does not use up of the second, more passes do.
    let left = times * f64::from(LEAST.memory_kib) / f64::from(memory_kib);
    let passes = (f64::from(LEAST.passes) * left).round() as u32;
    Cost {
        memory_kib,
        passes: passes.clamp(LEAST.passes, MAX_PASSES),
        lanes: LEAST.lanes,
    }
}

/// The time that this thread has had of a processor.
fn now() -> Duration {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }
    #[cfg(not(unix))]
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The key of a passphrase at this cost.
pub(super) fn derive(passphrase: &[u8], salt: &[u8; 16], cost: Cost) -> Result<Key, VaultError> {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = cost.check()?;
    let failed = |_| VaultError::Memory { memory_kib };
    let params = Params::new(memory_kib, passes, lanes, None).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Key::filled(|out| {
        argon2
            .hash_password_into(passphrase, salt, out)
            .map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106, 5.3, has a secret and associated data, which this does not take; so: the reference
    /// implementation's own vector (phc-winner-argon2, src/test.c, Argon2id, 64 MiB, 2 passes, 1 lane).
    #[test]
    fn the_key_is_argon2ids() {
        let cost = Cost {
            memory_kib: 1 << 16,
            passes: 2,
            lanes: 1,
        };
        let salt = *b"somesaltsomesalt";
        let argon2 = |salt: &[u8]| {
            let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None).unwrap();
            let mut out = [0; 32];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(b"password", salt, &mut out)
                .unwrap();
            out
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(
            hex(&argon2(b"somesalt")),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
        assert_eq!(
            *derive(b"password", &salt, cost).unwrap().bytes(),
            argon2(&salt)
        );
    }

    #[test]
    fn costs_beyond_reason_are_refused_before_they_are_paid() {
        for (memory_kib, passes, lanes) in [
            (MAX_MEMORY_KIB + 1, 1, 1),
            (u32::MAX, 1, 1),
            (64, MAX_PASSES + 1, 1),
            (1024, 1, MAX_LANES + 1),
            (0, 1, 1),
            (64, 0, 1),
            (64, 1, 0),
            (8, 1, 16),
        ] {
            let cost = Cost {
                memory_kib,
                passes,
                lanes,
            };
            let refused = derive(b"x", &[0; 16], cost);
            assert!(matches!(refused, Err(VaultError::Cost { .. })), "{cost:?}");
        }
    }

    #[test]
    fn new_vaults_cost_what_the_machine_affords_and_never_less_than_recommended() {
        let plenty = u64::MAX;
        // Whatever takes a millisecond or an hour.
        for (millis, available) in [(1, plenty), (100, plenty), (100, 1 << 10), (3_600_000, 0)] {
            let cost = fitted(Duration::from_millis(millis), available);
            assert!(cost.memory_kib >= LEAST.memory_kib && cost.memory_kib <= MOST_MEMORY_KIB);
            assert!(
                cost.passes >= LEAST.passes && cost.check().is_ok(),
                "{cost:?}"
            );
        }
        let work = |c: Cost| u64::from(c.memory_kib) * u64::from(c.passes);
        // Ten times as fast as needed: ten times the work, within a pass.
        let fast = fitted(Duration::from_millis(100), plenty);
        assert!(
            work(fast).abs_diff(10 * work(LEAST)) <= u64::from(fast.memory_kib),
            "{fast:?}"
        );
    }
}
