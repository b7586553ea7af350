//! What was said: the system prompt and the messages, and the changes that commands make to them. Knows
//! no model; what the model is shown of it is [`Conversation::shown`].

use hob::Message;

/// A conversation. Messages alternate as they were said; the last one of the user may lack an answer.
#[derive(Clone, Default)]
pub(super) struct Conversation {
    system: Option<String>,
    messages: Vec<Message>,
    /// So many of the oldest messages are no longer shown to the model.
    forgotten: usize,
}

impl Conversation {
    pub(super) fn new(system: Option<String>, messages: Vec<Message>) -> Conversation {
        Conversation {
            system: system.filter(|s| !s.is_empty()),
            messages,
            forgotten: 0,
        }
    }

    pub(super) fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Sets the system prompt; an empty one is none.
    pub(super) fn set_system(&mut self, text: String) {
        self.system = Some(text).filter(|s| !s.is_empty());
    }

    /// All messages but the system prompt.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// So many of the oldest are no longer shown to the model; never all.
    pub(super) fn set_forgotten(&mut self, count: usize) {
        self.forgotten = if count < self.messages.len() {
            count
        } else {
            0
        };
    }

    /// How many of them the model no longer sees.
    pub(super) fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// What the model is shown: the system prompt and what is not forgotten.
    pub(super) fn shown(&self) -> Vec<Message> {
        let system = self.system.as_ref().map(|s| Message::new("system", s));
        let rest = self.messages.get(self.forgotten..).unwrap_or_default();
        system.into_iter().chain(rest.iter().cloned()).collect()
    }

    pub(super) fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Forgets all messages; the system prompt stays.
    pub(super) fn reset(&mut self) {
        self.messages.clear();
        self.forgotten = 0;
    }

    /// Removes the last message of the user and all that came after it; gives its text.
    pub(super) fn undo(&mut self) -> Option<String> {
        let at = self.last_user()?;
        let text = self.messages.get(at).map(|m| m.content().to_owned());
        self.cut(at);
        text
    }

    /// Removes what came after the last message of the user. `false` if there is no such message.
    pub(super) fn drop_answer(&mut self) -> bool {
        match self.last_user() {
            Some(at) => {
                self.cut(at + 1);
                true
            }
            None => false,
        }
    }

    /// The text of the user's last message.
    pub(super) fn last_question(&self) -> Option<&str> {
        self.messages.get(self.last_user()?).map(Message::content)
    }

    /// Forgets the oldest message of the user that is still shown, with its answers; never the last one.
    /// Returns how many messages that were.
    pub(super) fn forget_oldest(&mut self) -> usize {
        let shown = self.messages.get(self.forgotten..).unwrap_or_default();
        let next = shown.iter().skip(1).position(|m| m.role() == "user");
        let count = next.map_or(0, |at| at + 1);
        self.forgotten += count;
        count
    }

    fn last_user(&self) -> Option<usize> {
        self.messages.iter().rposition(|m| m.role() == "user")
    }

    fn cut(&mut self, len: usize) {
        self.messages.truncate(len);
        // If all that is left was forgotten, it is remembered: it fits again.
        if self.forgotten >= self.messages.len() {
            self.forgotten = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[(&str, &str)]) -> Conversation {
        let messages = words.iter().map(|&(role, text)| Message::new(role, text));
        Conversation::new(Some("be brief".into()), messages.collect())
    }

    fn texts(c: &Conversation) -> Vec<String> {
        c.shown().iter().map(|m| m.content().to_owned()).collect()
    }

    #[test]
    fn undo_and_retry_take_back_whole_exchanges() {
        let mut c = said(&[
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
            ("assistant", "d"),
        ]);
        assert!(c.drop_answer());
        assert_eq!(texts(&c), ["be brief", "a", "b", "c"]);
        assert_eq!(c.undo().as_deref(), Some("c"));
        assert_eq!(texts(&c), ["be brief", "a", "b"]);
        assert_eq!(c.undo().as_deref(), Some("a"));
        assert_eq!(c.undo(), None);
        assert!(!c.drop_answer());
        c.set_system(String::new());
        assert!(texts(&c).is_empty());
    }

    #[test]
    fn the_oldest_exchanges_are_forgotten_and_the_last_message_is_not() {
        let mut c = said(&[
            ("user", "a"),
            ("assistant", "b"),
            ("tool", "t"),
            ("user", "c"),
            ("assistant", "d"),
            ("user", "e"),
        ]);
        assert_eq!(c.forget_oldest(), 3);
        assert_eq!(texts(&c), ["be brief", "c", "d", "e"]);
        assert_eq!(c.forget_oldest(), 2);
        assert_eq!(c.forget_oldest(), 0);
        assert_eq!(texts(&c), ["be brief", "e"]);
        assert_eq!(c.messages().len(), 6);
        c.undo();
        assert_eq!(c.forgotten(), 0);
    }
}
