//! What is done that a user's words do not stay in memory, and figures of it.
//!
//! - Wiped when given back: keys and values, logits, tokens and working memory, in every program that links
//!   hob; everything else (texts above all) in programs that install [`Wiping`] as their allocator.
//! - Locked in memory (never swapped out) after [`guard`], as far as the process's limit goes, in this order:
//!   keys ([`super::secret`]), texts (half of the limit; with [`Wiping`] only), logits, tokens, and keys and
//!   values of the model until the limit is reached. [`figures`] tells how far that is.
//! - Left out of core dumps: all of these.
//!
//! Not covered: stacks and registers of threads, buffers of the kernel and of terminals, activations (wiped,
//! but not locked), single allocations of more than 4 MiB (the same), and what a program passes on.

use super::secret::{self, SecretKind};
pub use super::wiping::{Wiping, outside};
pub use hob_kernels::private::Held;
use hob_kernels::private::{self, Content};
use std::fmt;
use std::sync::OnceLock;

/// Bytes that the process may lock; `None` within for no limit.
static LIMIT: OnceLock<Option<u64>> = OnceLock::new();

/// Has what hob keeps of a user's content locked in memory from now on, as far as this process may: the
/// limit (`RLIMIT_MEMLOCK`) is raised as far as it can be without rights. The limit is the whole process's;
/// a program that locks memory for itself does so before. To be called before [`super::confine`].
pub fn guard() {
    raise_limit();
    private::lock_contents();
    if Wiping::is_installed() {
        super::wiping::hold(limit());
    }
}

#[cfg(target_os = "linux")]
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Memlock);
    limit.current = limit.maximum;
    // A refusal leaves the lower one, which is what is asked for next.
    let _ = setrlimit(Resource::Memlock, limit);
    LIMIT.get_or_init(|| getrlimit(Resource::Memlock).current);
}

#[cfg(not(target_os = "linux"))]
fn raise_limit() {
    LIMIT.get_or_init(|| Some(0));
}

fn limit() -> Option<u64> {
    LIMIT.get().copied().unwrap_or(Some(0))
}

/// How much of a user's content there is in memory, and how much of it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Bytes that this process may lock; `None` for no limit. 0 before [`guard`].
    pub limit: Option<u64>,
    /// Texts and all else that was allocated since [`guard`], but for [`outside`]; `None` in a program
    /// without [`Wiping`], whose texts are neither locked nor wiped.
    pub texts: Option<Held>,
    /// Logits of sessions and engines.
    pub logits: Held,
    /// Token ids of sessions.
    pub tokens: Held,
    /// Keys and values of sessions.
    pub kv: Held,
    /// Where keys of vaults lie, if there are any.
    pub keys: Option<SecretKind>,
}

impl Figures {
    /// All but keys together.
    pub fn total(&self) -> Held {
        let parts = [
            self.texts.unwrap_or_default(),
            self.logits,
            self.tokens,
            self.kv,
        ];
        Held {
            locked: parts.iter().map(|held| held.locked).sum(),
            unlocked: parts.iter().map(|held| held.unlocked).sum(),
        }
    }

    /// The parts by name.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Held)> {
        let texts = self.texts.map(|held| ("texts", held));
        let rest = [
            ("logits", self.logits),
            ("tokens", self.tokens),
            ("keys and values", self.kv),
        ];
        texts.into_iter().chain(rest)
    }
}

/// The figures of this moment.
pub fn figures() -> Figures {
    Figures {
        limit: limit(),
        texts: super::wiping::held(),
        logits: private::held(Content::Logits),
        tokens: private::held(Content::Tokens),
        kv: private::held(Content::Kv),
        keys: secret::kind(),
    }
}

/// One line for people, with figures in KiB.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| bytes.div_ceil(1024);
        let total = self.total();
        let (locked, unlocked) = (kib(total.locked), kib(total.unlocked));
        write!(f, "{locked} KiB locked, {unlocked} KiB not")?;
        match self.limit {
            None => write!(f, " (no limit)")?,
            Some(bytes) => write!(f, " (the limit is {} KiB)", bytes / 1024)?,
        }
        for (i, (name, held)) in self.parts().enumerate() {
            let all = held.locked + held.unlocked;
            let sign = if i == 0 { ':' } else { ',' };
            write!(f, "{sign} {name} {} of {}", kib(held.locked), kib(all))?;
        }
        Ok(())
    }
}
