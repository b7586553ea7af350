//! Memory for keys and passphrases: where not even the kernel's own map of memory reaches, if the system
//! has such, and wiped when it is dropped.
//!
//! In: how many bytes a secret has. Out: that many zero bytes, to be filled in. In order of preference they
//! lie in
//! - `memfd_secret` memory (Linux 5.14): taken out of the kernel's map of memory, so that other processes
//!   (`process_vm_readv`, `/proc/PID/mem`, for root too), core dumps and hibernation do not see it;
//! - pages locked in memory and left out of dumps;
//! - plain memory, which may be swapped out.
//!
//! Which it is, [`SecretBytes::kind`] tells. A confined process gets no new `memfd_secret`: a program that
//! will need keys calls [`reserve`] before it confines itself, and a program that will not does not:
//! Linux does not hibernate while there is such memory.

#![allow(unsafe_code)]

use super::pages::Pages;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a secret lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SecretKind {
    /// In plain memory: the system gave no other.
    Plain,
    /// In pages that are never swapped out, nor dumped.
    Locked,
    /// In memory that the kernel itself does not see (`memfd_secret`).
    Secret,
}

impl SecretKind {
    /// A few words for reports.
    pub const fn name(self) -> &'static str {
        match self {
            SecretKind::Secret => "memory that the kernel hides from all other processes",
            SecretKind::Locked => "locked memory",
            SecretKind::Plain => "plain memory, which may be swapped out",
        }
    }
}

/// The system has no memory for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a secret of {bytes} bytes; close other programs")]
pub struct SecretError {
    /// Bytes asked for.
    pub bytes: usize,
}

/// Bytes of a region: keys are small, and locked memory is scarce.
const REGION: usize = 16 << 10;
/// A secret begins at a multiple of this.
const GRAIN: usize = 64;

/// A part of memory that secrets lie in.
struct Region {
    pages: Pages,
    kind: SecretKind,
    /// Which grains are taken.
    taken: Mutex<Vec<bool>>,
}

static REGIONS: Mutex<Vec<Arc<Region>>> = Mutex::new(Vec::new());

/// Takes memory for secrets from the system now, and says of which kind it is. To be called before a
/// process confines itself, which forbids the best kind.
///
/// # Errors
/// There is no memory at all.
pub fn reserve() -> Result<SecretKind, SecretError> {
    let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(region) = regions.first() {
        return Ok(region.kind);
    }
    let region = Region::new(REGION)?;
    let kind = region.kind;
    regions.push(Arc::new(region));
    Ok(kind)
}

/// Of which kind the memory is that was taken first; `None` if there was no need yet.
pub fn kind() -> Option<SecretKind> {
    let regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
    regions.first().map(|region| region.kind)
}

impl Region {
    fn new(bytes: usize) -> Result<Region, SecretError> {
        let found = Pages::secret(bytes)
            .map(|pages| (pages, SecretKind::Secret))
            .or_else(|| {
                let pages = Pages::private(bytes)?;
                let kind = match pages.lock(bytes) {
                    true => SecretKind::Locked,
                    false => SecretKind::Plain,
                };
                Some((pages, kind))
            });
        let (pages, kind) = found.ok_or(SecretError { bytes })?;
        let taken = Mutex::new(vec![false; pages.len() / GRAIN]);
        Ok(Region { pages, kind, taken })
    }

    /// The first grain of so many free ones, which are taken then.
    fn take(&self, grains: usize) -> Option<usize> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = taken.windows(grains).position(|w| w.iter().all(|t| !t))?;
        taken.get_mut(first..first + grains)?.fill(true);
        Some(first)
    }
}

/// Bytes of a key or a passphrase: nothing shows them, nothing copies them, and they are wiped when they
/// are dropped.
pub struct SecretBytes {
    region: Arc<Region>,
    first: usize,
    len: usize,
}

impl SecretBytes {
    /// `len` zero bytes, to be filled in.
    ///
    /// # Errors
    /// There is no memory for them, of any kind.
    pub fn zeroed(len: usize) -> Result<SecretBytes, SecretError> {
        let refused = SecretError { bytes: len };
        let grains = len.div_ceil(GRAIN).max(1);
        let bytes = grains.checked_mul(GRAIN).ok_or(refused)?;
        reserve()?;
        let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
        for region in regions.iter() {
            if let Some(first) = region.take(grains) {
                let region = region.clone();
                return Ok(SecretBytes { region, first, len });
            }
        }
        let region = Arc::new(Region::new(bytes.max(REGION))?);
        let first = region.take(grains).ok_or(refused)?;
        regions.push(region.clone());
        Ok(SecretBytes { region, first, len })
    }

    /// Where they lie.
    pub fn kind(&self) -> SecretKind {
        self.region.kind
    }

    fn start(&self) -> *mut u8 {
        self.region.pages.start().wrapping_add(self.first * GRAIN)
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the grains are this secret's alone, and in the region's pages, which live as long.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        hob_kernels::private::wipe(self);
        let grains = self.len.div_ceil(GRAIN).max(1);
        let taken = self.region.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = taken.get_mut(self.first..self.first + grains) {
            mine.fill(false);
        }
    }
}

/// Shows the length only.
impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_apart_and_leave_zeros_behind() {
        let mut all: Vec<SecretBytes> = (1..=300u32)
            .map(|i| {
                let mut secret = SecretBytes::zeroed(i as usize).unwrap();
                assert!(secret.iter().all(|&b| b == 0), "left from before");
                secret.fill(i as u8);
                secret
            })
            .collect();
        for (i, secret) in (1..=300u32).zip(&all) {
            assert_eq!(secret.len(), i as usize);
            assert!(secret.iter().all(|&b| b == i as u8), "{i}");
        }
        all.retain(|secret| secret.len() % 3 != 0);
        for i in 1..=100 {
            let secret = SecretBytes::zeroed(3 * i).unwrap();
            assert!(secret.iter().all(|&b| b == 0), "left from before");
        }
        assert!(all.iter().all(|s| s.iter().all(|&b| b == s.len() as u8)));
        assert!(format!("{:?}", all[0]).len() < 20);
    }

    #[test]
    fn a_secret_may_be_larger_than_a_region() {
        let mut secret = SecretBytes::zeroed(5 * REGION + 1).unwrap();
        *secret.last_mut().unwrap() = 1;
        assert_eq!(secret.kind(), secret.kind().max(SecretKind::Plain));
    }

    /// What `memfd_secret` promises, where the kernel has it.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_best_kind_is_hidden_from_the_kernels_own_copying() {
        let mut secret = SecretBytes::zeroed(32).unwrap();
        secret.fill(0x5a);
        let found = Pages::seen_from_outside(&secret);
        match secret.kind() {
            SecretKind::Secret => assert_eq!(found, None),
            _ => assert_eq!(found.as_deref(), Some(&*secret)),
        }
    }
}
