//! Records: a kind, a conversation and a body, sealed and chained, so that none can be changed, moved,
//! left out or put between others.
//!
//! ```text
//! length u32 | nonce 24 | sealed text | tag 16        length: of what follows it
//! text: kind u8 | conversation u64 | length of the body u32 | body | zeros
//! authenticated with it: vault id | number of the record u64 | tag of the one before | length
//! ```
//! The text is filled up to a power of two, at least 256: from outside, a file tells the number of
//! records and the order of magnitude of each.

use super::VaultError;
use super::entry::{ConversationId, Entry};
use super::header::{Reader, Writer};
use super::seal::{self, NONCE, TAG, Tag, VaultId};
use super::secret::Key;
use std::io::{self, Read};
use zeroize::Zeroizing;

/// The shortest text of a record, and the longest.
const LEAST_TEXT: usize = 256;
const MOST_TEXT: usize = 256 << 20;
/// Bytes of a text before the body.
const BEFORE_BODY: usize = 1 + 8 + 4;
/// Bytes of a record that are not its text, without its length.
const AROUND: usize = NONCE + TAG;

/// Where a chain of records has got to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    id: VaultId,
    /// Records so far.
    pub(super) records: u64,
    /// The last one's tag; zeros before the first.
    pub(super) last_tag: Tag,
}

/// What stands where a record might.
pub(super) enum Next {
    Record {
        conversation: ConversationId,
        entry: Entry,
        /// Bytes in the file.
        size: u64,
    },
    /// Less than a record.
    Short,
    /// Bytes that are not the next record of this chain.
    Wrong,
}

impl Chain {
    pub(super) fn new(id: VaultId) -> Chain {
        Chain {
            id,
            records: 0,
            last_tag: [0; TAG],
        }
    }

    /// What is authenticated with the next record.
    fn context(&self, len: u32) -> [u8; 16 + 8 + TAG + 4] {
        let mut context = [0; 16 + 8 + TAG + 4];
        let mut writer = Writer(&mut context);
        writer.put(&self.id);
        writer.put(&(self.records + 1).to_le_bytes());
        writer.put(&self.last_tag);
        writer.put(&len.to_le_bytes());
        context
    }

    /// The next record, and the chain after it.
    pub(super) fn seal(
        &self,
        key: &Key,
        conversation: ConversationId,
        entry: &Entry,
    ) -> Result<(Vec<u8>, Chain), VaultError> {
        let (kind, body) = entry.encode()?;
        let padded = (BEFORE_BODY + body.len())
            .max(LEAST_TEXT)
            .next_power_of_two();
        if padded > MOST_TEXT {
            let limit = MOST_TEXT - BEFORE_BODY;
            return Err(VaultError::TooLong { limit });
        }
        let mut text = Zeroizing::new(vec![0; padded]);
        let mut writer = Writer(&mut text);
        writer.put(&[kind]);
        writer.put(&conversation.to_le_bytes());
        writer.put(&(body.len() as u32).to_le_bytes());
        writer.put(&body);
        let len = (AROUND + padded) as u32;
        let (nonce, tag) = seal::seal(key, &self.context(len), &mut text)?;
        let record = [&len.to_le_bytes()[..], &nonce, &text, &tag].concat();
        let after = Chain {
            id: self.id,
            records: self.records + 1,
            last_tag: tag,
        };
        Ok((record, after))
    }

    /// Reads what may be the next record, of at most `left` bytes; if it is, the chain goes on after it.
    pub(super) fn next(
        &mut self,
        key: &Key,
        reader: &mut impl Read,
        left: u64,
    ) -> Result<Next, ReadError> {
        if left < 4 {
            return Ok(Next::Short);
        }
        let mut len = [0; 4];
        reader.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        let padded = (len as usize).checked_sub(AROUND);
        let is_padded = |n: &usize| n.is_power_of_two() && (LEAST_TEXT..=MOST_TEXT).contains(n);
        let Some(padded) = padded.filter(is_padded) else {
            return Ok(Next::Wrong);
        };
        if left - 4 < u64::from(len) {
            return Ok(Next::Short);
        }
        let (mut nonce, mut tag) = ([0; NONCE], [0; TAG]);
        let mut text = Zeroizing::new(vec![0; padded]);
        reader.read_exact(&mut nonce)?;
        reader.read_exact(&mut text)?;
        reader.read_exact(&mut tag)?;
        if seal::open(key, &nonce, &self.context(len), &mut text, &tag).is_none() {
            return Ok(Next::Wrong);
        }
        self.records += 1;
        self.last_tag = tag;
        let mut reader = Reader(&text);
        let parts = (|| {
            let [kind] = reader.take()?;
            let conversation = u64::from_le_bytes(reader.take()?);
            let len = u32::from_le_bytes(reader.take()?);
            Some((kind, conversation, reader.0.get(..len as usize)?))
        })();
        // What is authentic has these parts; an empty body of no kind is an error all the same.
        let (kind, conversation, body) = parts.unwrap_or((0, 0, &[]));
        Ok(Next::Record {
            conversation,
            entry: Entry::decode(kind, body)?,
            size: 4 + u64::from(len),
        })
    }
}

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Disk(io::Error),
    Record(VaultError),
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> ReadError {
        ReadError::Disk(e)
    }
}

impl From<VaultError> for ReadError {
    fn from(e: VaultError) -> ReadError {
        ReadError::Record(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_tell_only_the_order_of_magnitude() {
        let (key, chain) = (Key::random().unwrap(), Chain::new([1; 16]));
        let size = |n: usize| {
            let entry = Entry::System(Some("x".repeat(n)));
            chain.seal(&key, 1, &entry).unwrap().0.len()
        };
        for n in 0..200 {
            assert_eq!(size(n), size(0), "{n}");
        }
        assert_eq!(size(0), 4 + AROUND + 256);
        assert_eq!(size(300), 4 + AROUND + 512);
        assert_eq!(size(100_000), 4 + AROUND + 131_072);
    }

    #[test]
    fn a_record_is_read_in_its_place_alone() {
        let key = Key::random().unwrap();
        let first = Chain::new([1; 16]);
        let entry = Entry::Keep(5);
        let (record, second) = first.seal(&key, 9, &entry).unwrap();
        let read = |mut chain: Chain, record: &[u8]| {
            let next = chain
                .next(&key, &mut &*record, record.len() as u64)
                .unwrap();
            matches!(
                next,
                Next::Record {
                    conversation: 9,
                    entry: Entry::Keep(5),
                    ..
                }
            )
        };
        assert!(read(first, &record));
        assert!(!read(second, &record), "after itself");
        assert!(!read(Chain::new([2; 16]), &record), "in another vault");
        let moved = Chain {
            records: 1,
            ..first
        };
        assert!(!read(moved, &record), "under another number");
        let other = Chain {
            last_tag: [1; 16],
            ..first
        };
        assert!(!read(other, &record), "after another record");
        for n in 0..record.len() {
            assert!(!read(first, &record[..n]));
            let mut flipped = record.clone();
            flipped[n] ^= 4;
            assert!(!read(first, &flipped), "byte {n}");
        }
    }
}
