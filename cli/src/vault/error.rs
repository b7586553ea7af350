//! What can be wrong with a vault, what was found, and what to do. Errors name no passphrase, no key and
//! nothing that was said.

use super::kdf::{MAX_LANES, MAX_MEMORY_KIB, MAX_PASSES};
use std::io;
use std::path::PathBuf;

/// What to do with a vault that is not whole.
const RESTORE: &str =
    "restore it from a backup (`hob vault export --salvage` writes what can still be read)";

/// Why a vault could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error(
        "`{0}` cannot be the name of a vault: letters, digits, `.`, `_` and `-` can, a letter or digit first"
    )]
    Name(String),
    #[error(
        "there is no vault `{name}`: `hob vault list` shows those there are, `hob vault create {name}` makes it{guess}"
    )]
    Missing { name: String, guess: String },
    #[error("there is a vault `{0}` already; give the new one another name")]
    Exists(String),
    #[error("the vault `{0}` is in use by another hob: end that one first")]
    InUse(String),
    #[error("{} is no ordinary file: a vault is not opened through a link", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "this is no vault, or both copies of its header were overwritten (as `hob vault rm` and `rekey` do \
         with the old file): nothing can be read; restore it from a backup"
    )]
    NotAVault,
    #[error("the vault is of version {0}, and this hob reads version 1: use a newer hob")]
    Version(u32),
    #[error(
        "both copies of the vault's header are damaged: without one, no passphrase opens it; restore it from a backup"
    )]
    HeadersDamaged,
    #[error(
        "the vault's header asks for {memory_kib} KiB, {passes} passes and {lanes} lanes of Argon2id, and hob \
         allows {MAX_MEMORY_KIB}, {MAX_PASSES} and {MAX_LANES} at most: it was not made by hob, or it was \
         tampered with; restore it from a backup"
    )]
    Cost {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    #[error(
        "opening this vault takes {} MiB of memory, which this machine does not give: close other programs", memory_kib / 1024
    )]
    Memory { memory_kib: u32 },
    #[error(
        "the passphrase is wrong, or the vault's header was tampered with (the two look alike): try again; if you are \
         sure of the passphrase, restore the vault from a backup"
    )]
    WrongPassphrase,
    #[error("the passphrase is empty; give one")]
    EmptyPassphrase,
    #[error(
        "TAMPERED: both of the vault's heads, which say how many records there are, are damaged or missing: what follows cannot \
         be trusted; {RESTORE}"
    )]
    HeadsDamaged,
    #[error(
        "TAMPERED: record {record} of {of} is not what was written (changed, moved, or damaged by the disk): the vault is not \
         opened; {RESTORE}"
    )]
    Tampered { record: u64, of: u64 },
    #[error(
        "TRUNCATED: the vault's head vouches for {of} records, and {found} are there: the vault is not opened; {RESTORE}"
    )]
    Truncated { found: u64, of: u64 },
    #[error(
        "TAMPERED: the vault's head vouches for {of} records, and there are more, which no honest writer leaves: an older head \
         was put in its place; {RESTORE}"
    )]
    OldHead { of: u64 },
    #[error(
        "ROLLED BACK: {} has seen this vault at generation {seen}, with {seen_records} records, and it is at {found} now, with {records}: an older copy was put in its \
         place; restore the newer one, or, if you put it there yourself, delete the anchor",
        anchor.display()
    )]
    RolledBack {
        anchor: PathBuf,
        seen: u64,
        seen_records: u64,
        found: u64,
        records: u64,
    },
    #[error(
        "ROLLED BACK: {} has seen other records of this vault at generation {generation}: an older copy was put in its place, and written \
         to since; restore the newer one, or, if you did that yourself, delete the anchor",
        anchor.display()
    )]
    Forked { anchor: PathBuf, generation: u64 },
    #[error("{} is the anchor of another vault; give each vault an anchor of its own", .0.display())]
    OtherAnchor(PathBuf),
    #[error(
        "{} is no anchor of a vault, or it is damaged: if it was one, delete it, and look whether the vault's last write and number of records are what you expect", .0.display()
    )]
    BadAnchor(PathBuf),
    #[error("the vault has no conversation {0}; `hob vault show` lists those it has")]
    NoConversation(u64),
    #[error(
        "a record of kind {kind} of this vault is not understood: it was written by a newer hob; use that one"
    )]
    Unreadable { kind: u8 },
    #[error(
        "a message of more than {limit} bytes cannot be kept in a vault; nothing of it was written"
    )]
    TooLong { limit: usize },
    #[error("the system gives no random numbers ({0}), and without them nothing is encrypted")]
    Random(String),
    #[error(transparent)]
    Secret(#[from] hob::privacy::secret::SecretError),
    #[error("encryption failed; nothing was written")]
    Seal,
    #[error(
        "the disk failed while the vault was written, so nothing more is written now: what was said before is kept; end this hob, and look what the disk has"
    )]
    Stopped,
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// [`VaultError::Io`] of doing this to that.
pub(super) fn io_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> VaultError {
    move |source| VaultError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
