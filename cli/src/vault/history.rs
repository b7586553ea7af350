//! The conversations of a vault: what its entries give, played back in order; and the entries that lead
//! from what a vault has of a conversation to what the conversation is now.

use super::entry::{Begin, ConversationId, Entry, Said, Set, SnapshotId, SnapshotRef};
use super::file::now;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// All conversations of a vault.
#[derive(Default)]
pub(crate) struct History {
    talks: BTreeMap<ConversationId, Talk>,
    /// Entries so far.
    entries: u64,
}

/// A conversation, as a vault has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    /// `None` only where a newer hob left it out.
    pub(crate) begin: Option<Begin>,
    pub(crate) system: Option<String>,
    pub(crate) messages: Vec<Said>,
    /// So many of the oldest messages are no longer shown to the model.
    pub(crate) forgotten: u64,
    pub(crate) set: Set,
    pub(crate) snapshot: Option<SnapshotRef>,
    /// The number of its last entry among those of the vault.
    last: u64,
}

/// A conversation, as it is now.
pub(crate) struct Now<'a> {
    pub(crate) system: Option<&'a str>,
    pub(crate) messages: &'a [hob::Message],
    pub(crate) forgotten: usize,
    pub(crate) set: &'a Set,
}

impl History {
    /// Plays back the next entry of the vault.
    pub(crate) fn take(&mut self, conversation: ConversationId, entry: Entry) {
        self.entries += 1;
        let talk = self.talks.entry(conversation).or_default();
        talk.last = self.entries;
        talk.apply(entry);
    }

    /// The conversations, in the order in which they began.
    pub(crate) fn talks(&self) -> impl Iterator<Item = (ConversationId, &Talk)> {
        self.talks.iter().map(|(id, talk)| (*id, talk))
    }

    pub(crate) fn get(&self, conversation: ConversationId) -> Option<&Talk> {
        self.talks.get(&conversation)
    }

    /// The conversation that was written to last.
    pub(crate) fn latest(&self) -> Option<ConversationId> {
        let latest = self.talks().max_by_key(|(_, talk)| talk.last);
        latest.map(|(id, _)| id)
    }

    /// The number of the next conversation.
    pub(crate) fn next_id(&self) -> ConversationId {
        self.talks.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// Takes a conversation out.
    pub(crate) fn remove(&mut self, conversation: ConversationId) -> Option<Talk> {
        self.talks.remove(&conversation)
    }

    /// The snapshots that conversations have.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = SnapshotId> {
        self.talks()
            .filter_map(|(_, talk)| Some(talk.snapshot.as_ref()?.id))
    }

    /// The same, beginning with that of the conversation that was written to last.
    pub(crate) fn newest_snapshots(&self) -> impl Iterator<Item = SnapshotId> {
        let mut talks: Vec<_> = self.talks.values().collect();
        talks.sort_by_key(|talk| std::cmp::Reverse(talk.last));
        talks
            .into_iter()
            .filter_map(|talk| Some(talk.snapshot.as_ref()?.id))
    }

    /// Leaves all snapshots away.
    pub(crate) fn forget_snapshots(&mut self) {
        self.talks
            .values_mut()
            .for_each(|talk| talk.snapshot = None);
    }

    /// What a new file needs to have these conversations, and nothing that was taken back in them; in the
    /// order in which they were written to last.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (ConversationId, Entry)> {
        let mut talks: Vec<_> = self.talks.into_iter().collect();
        talks.sort_by_key(|(_, talk)| talk.last);
        talks
            .into_iter()
            .flat_map(|(id, talk)| talk.into_entries().map(move |entry| (id, entry)))
    }
}

impl Talk {
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Begin(begin) => self.begin = Some(begin),
            Entry::System(text) => self.system = text,
            Entry::Message(said) => self.messages.push(*said),
            Entry::Keep(count) => {
                self.messages
                    .truncate(usize::try_from(count).unwrap_or(usize::MAX));
                // As a conversation does: if all that is left was forgotten, it fits again.
                if self.forgotten >= self.messages.len() as u64 {
                    self.forgotten = 0;
                }
            }
            Entry::Forgotten(count) => self.forgotten = count,
            Entry::Settings(set) => self.set = set,
            Entry::Snapshot(snapshot) => self.snapshot = Some(snapshot),
        }
    }

    fn into_entries(self) -> impl Iterator<Item = Entry> {
        let messages = self.messages.into_iter();
        let is_set = self.set != Set::default();
        self.begin
            .map(Entry::Begin)
            .into_iter()
            .chain(self.system.map(|text| Entry::System(Some(text))))
            .chain(is_set.then_some(Entry::Settings(self.set)))
            .chain(messages.map(|said| Entry::Message(Box::new(said))))
            .chain((self.forgotten > 0).then_some(Entry::Forgotten(self.forgotten)))
            .chain(self.snapshot.map(Entry::Snapshot))
    }

    /// The entries that make of this what the conversation is now.
    pub(crate) fn changes(&self, to: &Now) -> Vec<Entry> {
        let mut changes = Vec::new();
        if self.set != *to.set {
            changes.push(Entry::Settings(to.set.clone()));
        }
        if self.system.as_deref() != to.system {
            changes.push(Entry::System(to.system.map(str::to_owned)));
        }
        let pairs = self.messages.iter().zip(to.messages);
        let same = pairs.take_while(|(a, b)| a.message == *b.fields()).count();
        let mut forgotten = self.forgotten;
        if same < self.messages.len() {
            changes.push(Entry::Keep(same as u64));
            forgotten = if forgotten >= same as u64 {
                0
            } else {
                forgotten
            };
        }
        for message in to.messages.get(same..).unwrap_or_default() {
            changes.push(Entry::Message(Box::new(Said {
                time: now(),
                message: message.fields().clone(),
            })));
        }
        if forgotten != to.forgotten as u64 {
            changes.push(Entry::Forgotten(to.forgotten as u64));
        }
        changes
    }

    /// The first words of the user's first message, on one line; empty if there is none.
    pub(crate) fn title(&self) -> String {
        const MOST: usize = 60;
        let first = self
            .messages
            .iter()
            .find(|said| text(&said.message, "role") == "user");
        let first = first.map_or("", |said| text(&said.message, "content"));
        let line = first
            .split_whitespace()
            .take(MOST)
            .collect::<Vec<_>>()
            .join(" ");
        match line.char_indices().nth(MOST) {
            Some((at, _)) => format!("{}\u{2026}", line.get(..at).unwrap_or_default().trim_end()),
            None => line,
        }
    }

    /// When the conversation began and when its last message was finished; `None` if nobody knows.
    pub(crate) fn times(&self) -> (Option<u64>, Option<u64>) {
        let begun = self.begin.as_ref().map(|begin| begin.time);
        (begun, self.messages.last().map(|said| said.time).or(begun))
    }

    /// The model that it began with; untrusted.
    pub(crate) fn model(&self) -> &str {
        self.begin.as_ref().map_or("", |begin| &begin.model)
    }
}

/// A field of a message that is a text; empty if it is not.
pub(crate) fn text<'a>(message: &'a Map<String, Value>, field: &str) -> &'a str {
    message
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hob::Message;

    /// Whatever a conversation does, the entries of each step, played back, give it as it is; and so do
    /// those that are copied when the vault is written anew.
    #[test]
    fn what_is_played_back_is_the_conversation() {
        let said = |words: &[&str]| -> Vec<Message> {
            let role = |i: usize| {
                if i.is_multiple_of(2) {
                    "user"
                } else {
                    "assistant"
                }
            };
            let messages = words.iter().enumerate();
            messages
                .map(|(i, text)| Message::new(role(i), *text))
                .collect()
        };
        let (none, hot) = (
            Set::default(),
            Set {
                parameters: vec![("temperature".into(), "2".into())],
                ..Set::default()
            },
        );
        let steps: Vec<(Option<&str>, Vec<Message>, usize, &Set)> = vec![
            (None, said(&["a"]), 0, &none),
            (None, said(&["a", "b"]), 0, &none),
            (Some("be brief"), said(&["a", "b", "c", "d"]), 0, &hot),
            // Forgotten, retried, undone, edited.
            (
                Some("be brief"),
                said(&["a", "b", "c", "d", "e", "f"]),
                2,
                &hot,
            ),
            (
                Some("be brief"),
                said(&["a", "b", "c", "d", "e", "g"]),
                4,
                &hot,
            ),
            (None, said(&["a", "b"]), 0, &none),
            (None, said(&["a"]), 0, &none),
            (None, said(&["h", "i"]), 0, &none),
            (None, said(&[]), 0, &none),
        ];
        let mut history = History::default();
        history.take(
            3,
            Entry::Begin(Begin {
                time: 1,
                model: "m".into(),
            }),
        );
        for (system, messages, forgotten, set) in steps {
            let now = Now {
                system,
                messages: &messages,
                forgotten,
                set,
            };
            for entry in history.get(3).unwrap().changes(&now) {
                history.take(3, entry);
            }
            let mut copy = History::default();
            let all = std::mem::take(&mut history);
            let entries: Vec<_> = all.into_entries().collect();
            for (id, entry) in entries {
                copy.take(id, entry.clone());
                history.take(id, entry);
            }
            for history in [&history, &copy] {
                assert!(history.get(3).unwrap().changes(&now).is_empty());
                assert_eq!(history.latest(), Some(3));
            }
        }
        assert_eq!(history.next_id(), 4);
    }

    #[test]
    fn a_title_is_one_short_line() {
        let mut talk = Talk::default();
        assert_eq!(talk.title(), "");
        let long = "a\n\tb  ".repeat(1000);
        let message = Message::new("user", long).fields().clone();
        talk.messages.push(Said { time: 0, message });
        let title = talk.title();
        assert!(
            title.starts_with("a b a b") && title.chars().count() <= 61 && !title.contains('\n')
        );
    }
}
