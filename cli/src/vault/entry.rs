//! What a record of a vault says: a change to a conversation. Played back in order, the entries of a
//! conversation give its state ([`super::History`]).
//!
//! An entry is a kind (one byte) and a body: JSON, but for snapshots, whose keys do not belong into
//! text. Kinds and fields are part of the file's format: they are added to, and never change meaning.

use super::VaultError;
use super::secret::{KEY_BYTES, Key};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The number of a conversation in its vault, from 1 on.
pub(crate) type ConversationId = u64;

/// Name of a snapshot's file: sixteen random bytes.
pub(crate) type SnapshotId = [u8; 16];

/// A change to a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// The conversation begins.
    Begin(Begin),
    /// The system prompt is this; `None`: there is none.
    System(Option<String>),
    /// A message was finished.
    Message(Box<Said>),
    /// All messages but the first so many were taken back.
    Keep(u64),
    /// So many of the oldest messages are no longer shown to the model.
    Forgotten(u64),
    /// What the user set, all of it; what is missing here is as the model or the program has it.
    Settings(Set),
    /// The session's keys and values after so many tokens lie in a file of their own, beside the
    /// vault; it replaces the conversation's snapshot from before.
    Snapshot(SnapshotRef),
}

/// How a conversation begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// When, in seconds since 1970 (UTC).
    pub(crate) time: u64,
    /// The model's name; untrusted.
    pub(crate) model: String,
}

/// A finished message.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// When it was finished, in seconds since 1970 (UTC).
    pub(crate) time: u64,
    /// The message's fields: role, content, and what else it has.
    pub(crate) message: Map<String, Value>,
}

/// Sizes only: what was said does not belong into logs.
impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Said {{ {} fields }}", self.message.len())
    }
}

/// What the user set of what answers depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Set {
    /// Parameters by name, as `/params` takes them.
    pub(crate) parameters: Vec<(String, String)>,
    /// Texts that end an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    /// Whether the model shall think first; `None` leaves it to its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) think: Option<bool>,
}

/// Where a snapshot is, and what opens it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRef {
    /// The name of its file: [`super::place::snapshot_name`].
    pub(crate) id: SnapshotId,
    /// Encrypts the file; random, for this file alone.
    pub(crate) key: Key,
    /// A hash of what the file must be, of the snapshot's own choice.
    pub(crate) digest: [u8; 32],
    /// Tokens whose keys and values it has.
    pub(crate) tokens: u64,
}

const BEGIN: u8 = 1;
const SYSTEM: u8 = 2;
const MESSAGE: u8 = 3;
const KEEP: u8 = 4;
const FORGOTTEN: u8 = 5;
const SETTINGS: u8 = 6;
const SNAPSHOT: u8 = 7;

/// Bytes of a snapshot's body: id, key, digest, tokens.
const SNAPSHOT_BYTES: usize = 16 + KEY_BYTES + 32 + 8;

impl Entry {
    /// Its kind and body.
    pub(super) fn encode(&self) -> Result<(u8, Zeroizing<Vec<u8>>), VaultError> {
        let mut body = Zeroizing::new(Vec::new());
        let kind = match self {
            Entry::Begin(begin) => (BEGIN, to_json(&mut body, begin)),
            Entry::System(text) => (SYSTEM, to_json(&mut body, text)),
            Entry::Message(said) => (MESSAGE, to_json(&mut body, said)),
            Entry::Keep(count) => (KEEP, to_json(&mut body, count)),
            Entry::Forgotten(count) => (FORGOTTEN, to_json(&mut body, count)),
            Entry::Settings(set) => (SETTINGS, to_json(&mut body, set)),
            Entry::Snapshot(at) => {
                body.reserve_exact(SNAPSHOT_BYTES);
                body.extend(at.id);
                body.extend(at.key.bytes());
                body.extend(at.digest);
                body.extend(at.tokens.to_le_bytes());
                (SNAPSHOT, Some(()))
            }
        };
        match kind {
            (kind, Some(())) => Ok((kind, body)),
            (kind, None) => Err(VaultError::Unreadable { kind }),
        }
    }

    /// Reads one; errors do not quote it.
    pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Entry, VaultError> {
        let entry = match kind {
            BEGIN => from_json(body).map(Entry::Begin),
            SYSTEM => from_json(body).map(Entry::System),
            MESSAGE => from_json(body).map(|said| Entry::Message(Box::new(said))),
            KEEP => from_json(body).map(Entry::Keep),
            FORGOTTEN => from_json(body).map(Entry::Forgotten),
            SETTINGS => from_json(body).map(Entry::Settings),
            SNAPSHOT => snapshot(body).transpose()?.map(Entry::Snapshot),
            _ => None,
        };
        entry.ok_or(VaultError::Unreadable { kind })
    }
}

fn to_json(body: &mut Vec<u8>, value: &impl Serialize) -> Option<()> {
    // Room for most entries, so that growing leaves no half of one behind.
    body.reserve(4096);
    serde_json::to_writer(body, value).ok()
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

fn snapshot(body: &[u8]) -> Option<Result<SnapshotRef, VaultError>> {
    let (id, rest) = body.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (digest, tokens) = rest.split_first_chunk()?;
    let tokens = u64::from_le_bytes(tokens.try_into().ok()?);
    Some(Key::of(key).map(|key| SnapshotRef {
        id: *id,
        key,
        digest: *digest,
        tokens,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let message = Map::from_iter([("role".to_owned(), Value::from("user"))]);
        let entries = [
            Entry::Begin(Begin {
                time: 7,
                model: "m".into(),
            }),
            Entry::System(Some("be brief".into())),
            Entry::System(None),
            Entry::Message(Box::new(Said { time: 8, message })),
            Entry::Keep(3),
            Entry::Forgotten(2),
            Entry::Settings(Set {
                parameters: vec![("seed".into(), "4".into())],
                stop: vec!["\n".into()],
                think: Some(false),
            }),
            Entry::Snapshot(SnapshotRef {
                id: [1; 16],
                key: Key::random().unwrap(),
                digest: [3; 32],
                tokens: 2000,
            }),
        ];
        for entry in entries {
            let (kind, body) = entry.encode().unwrap();
            let (again, bytes) = Entry::decode(kind, &body).unwrap().encode().unwrap();
            assert_eq!((again, &bytes), (kind, &body));
            // A kind that this version does not know, or a body cut short, is an error.
            assert!(Entry::decode(kind + 100, &body).is_err());
            assert!(body.is_empty() || Entry::decode(kind, &body[..body.len() - 1]).is_err());
        }
    }
}
