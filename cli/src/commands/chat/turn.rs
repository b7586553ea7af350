//! One turn: the conversation is rendered by the model's template, what the session has not read of it
//! yet is read, and the answer is generated, shown and kept.

use super::Chat;
use super::screen::Hush;
use super::settings::WhenFullArg;
use crate::terminal::bytes;
use anyhow::{Context, bail};
use hob::{
    ChatPrompt, Completion, Event, Finish, Message, ReasoningSplitter, Request, SessionError,
    SessionOptions, WhenFull,
};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What a turn cost.
struct Cost {
    prompt: usize,
    kept: usize,
    read: Duration,
    tokens: usize,
    wrote: Duration,
}

/// What the model wrote.
#[derive(Default)]
struct Said {
    thoughts: String,
    answer: String,
    /// So many of the oldest tokens had to be forgotten on the way.
    dropped: usize,
}

impl Chat {
    /// Makes a change to the conversation and has the last message answered. If that fails, or is
    /// stopped before the answer began, the conversation is as before.
    pub(super) fn turn(&mut self, change: impl FnOnce(&mut Chat)) -> anyhow::Result<()> {
        let before = self.conversation.clone();
        change(self);
        // The message is safe before the answer is begun.
        match self.keep().and_then(|()| self.answer()) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.conversation = before;
                self.forget_unsaid();
                self.screen
                    .note("stopped before the answer began; the conversation is as before");
                Ok(())
            }
            Err(e) => {
                self.conversation = before;
                self.forget_unsaid();
                Err(e)
            }
        }
    }

    /// Has the session forget what is not, or no longer, part of the conversation; it would read as much
    /// anew for the next answer.
    pub(super) fn forget_unsaid(&mut self) {
        let kept = match self.conversation.messages() {
            [] => 0,
            _ => self.encode(&self.conversation.shown()).map_or(0, |prompt| {
                let pairs = self.session.tokens().iter().zip(&prompt.ids);
                pairs.take_while(|(read, said)| read == said).count()
            }),
        };
        self.session.truncate(kept);
    }

    /// Has the last message answered. `false` if that was stopped before there was anything to keep.
    fn answer(&mut self) -> anyhow::Result<bool> {
        self.cancel.reset();
        let ChatPrompt { ids, reasoning } = self.fit()?;
        self.check_memory(ids.len())?;
        self.session.set_options(SessionOptions {
            context: self.settings.context,
            when_full: self.when_full(),
        });
        let quiet = Hush::new();
        let start = Instant::now();
        let screen = &self.screen;
        let read = self.session.resume(&ids, &self.cancel, |done, of| {
            if done < of {
                screen.progress(&format!("reading: {done} of {of} tokens"));
            } else if of > 0 {
                screen.progress("");
            }
        });
        let kept = match read {
            Err(SessionError::Cancelled) => {
                self.screen.progress("");
                return Ok(false);
            }
            other => other?,
        };
        let read = start.elapsed();
        let start = Instant::now();
        let (said, done) = self.generate(reasoning)?;
        drop(quiet);
        let cost = Cost {
            prompt: ids.len(),
            kept,
            read,
            tokens: done.tokens,
            wrote: start.elapsed(),
        };
        if done.finish == Finish::Cancelled && said.answer.is_empty() {
            return Ok(false);
        }
        self.tell_end(&done, &said);
        let mut message = Message::new("assistant", said.answer);
        if !said.thoughts.is_empty() {
            message = message.with("reasoning_content", said.thoughts);
        }
        self.conversation.push(message);
        if let Some(kept) = &mut self.kept {
            // Tokens that were dropped have moved all that followed them.
            let first = if said.dropped > 0 { 0 } else { cost.kept };
            kept.answered(&self.session, first);
        }
        if self.stats {
            self.tell_cost(&cost);
        }
        self.screen.part()?;
        Ok(true)
    }

    /// Generates and shows the answer; its text and how it ended.
    fn generate(
        &mut self,
        reasoning: Option<ReasoningSplitter>,
    ) -> anyhow::Result<(Said, Completion)> {
        let mut sampling = self.settings.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(self.retries);
        let request = Request {
            sampling,
            // Dropping the oldest, an answer would never end by itself.
            max_tokens: self.settings.max_tokens.unwrap_or(self.settings.context),
            stop: self.settings.stop.clone(),
            reasoning,
            ..Request::default()
        };
        let mut said = Said::default();
        let mut failed = None;
        let screen = &mut self.screen;
        let done = self.session.generate(&request, &self.cancel, |event| {
            let shown = match event {
                Event::Text(text) => {
                    said.answer.push_str(text);
                    screen.answer(text)
                }
                Event::Reasoning(text) => {
                    said.thoughts.push_str(text);
                    screen.think(text)
                }
                Event::Dropped { tokens } => {
                    said.dropped += tokens;
                    Ok(())
                }
                _ => Ok(()),
            };
            match shown {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            }
        });
        let ended = self.screen.end();
        if let Some(e) = failed {
            return Err(e).context("cannot write the answer to standard output");
        }
        ended.context("cannot write the answer to standard output")?;
        Ok((said, done?))
    }

    /// The conversation's tokens, if they fit; the oldest messages are forgotten if that is wanted.
    fn fit(&mut self) -> anyhow::Result<ChatPrompt> {
        let context = self.settings.context;
        let mut prompt = self.encode(&self.conversation.shown())?;
        let drops = self.settings.when_full == WhenFullArg::DropOldest;
        // Room for an answer, not for its first word only.
        let reserve = match drops {
            true => (context / 4).min(self.settings.max_tokens.unwrap_or(context)),
            false => 1,
        };
        if prompt.ids.len() + reserve <= context {
            return Ok(prompt);
        }
        let before = self.conversation.forgotten();
        // Down to half, so that this does not happen again at once.
        while drops && prompt.ids.len() > context / 2 && self.conversation.forget_oldest() > 0 {
            prompt = self.encode(&self.conversation.shown())?;
        }
        let dropped = self.conversation.forgotten() - before;
        if dropped > 0 {
            self.screen.note(&format!(
                "the context of {context} tokens is full: the model no longer sees the oldest {dropped} messages; /save still keeps them"
            ));
        }
        if prompt.ids.len() < context {
            return Ok(prompt);
        }
        let alone = self.conversation.last_question().map(|question| {
            let system = self
                .conversation
                .system()
                .map(|s| Message::new("system", s));
            let question = Message::new("user", question);
            let both: Vec<Message> = system.into_iter().chain([question]).collect();
            self.encode(&both).map_or(0, |alone| alone.ids.len())
        });
        let trained = self.engine.model().hparams.context as usize;
        let larger = match trained > context {
            true => format!("make the context larger (`/params context {trained}`), "),
            false => String::new(),
        };
        match alone.filter(|&n| n >= context) {
            Some(n) => bail!(
                "this message alone is {n} tokens, and the context has {context}: {larger}shorten it, or give it in parts"
            ),
            None => bail!(
                "the context is full: the conversation is {} tokens, and the context has {context}; {larger}go back with /undo, begin anew with /reset, or let the oldest messages be forgotten with `/params when_full drop-oldest`",
                prompt.ids.len()
            ),
        }
    }

    /// What the session does when an answer reaches the limit: the system prompt is never forgotten.
    fn when_full(&self) -> WhenFull {
        match self.settings.when_full {
            WhenFullArg::Stop => WhenFull::Stop,
            WhenFullArg::DropOldest => WhenFull::DropOldest {
                keep: self.head_tokens(),
            },
        }
    }

    /// How many tokens of every rendering come before the first message's text.
    fn head_tokens(&self) -> usize {
        let with = |word: &str| {
            let system = self
                .conversation
                .system()
                .map(|s| Message::new("system", s));
            let both: Vec<Message> = system
                .into_iter()
                .chain([Message::new("user", word)])
                .collect();
            self.encode(&both).map_or_else(|_| Vec::new(), |p| p.ids)
        };
        let (a, b) = (with("a"), with("b"));
        a.iter().zip(&b).take_while(|(x, y)| x == y).count()
    }

    /// Messages, rendered for an answer.
    pub(super) fn encode(&self, messages: &[Message]) -> Result<ChatPrompt, SessionError> {
        self.session.chat_prompt(messages, &self.options)
    }

    /// Refuses a conversation whose keys and values the machine has no memory for.
    fn check_memory(&self, tokens: usize) -> anyhow::Result<()> {
        let wanted = self.engine.memory().kv(tokens);
        let more = wanted.saturating_sub(self.session.kv_bytes() as u64);
        match hob::available_memory() {
            Some(available) if more > available => bail!(
                "the conversation is {tokens} tokens and needs {} more memory, and {} are available; close other programs, go back with /undo or /reset, or start with `--kv q8_0`",
                bytes(more),
                bytes(available)
            ),
            _ => Ok(()),
        }
    }

    fn tell_end(&self, done: &Completion, said: &Said) {
        let context = self.settings.context;
        if said.dropped > 0 {
            self.screen.note(&format!(
                "the context of {context} tokens was full while the answer was written: its oldest {} tokens are forgotten",
                said.dropped
            ));
        }
        match &done.finish {
            Finish::Cancelled => self.screen.note("stopped; what there is of the answer stays"),
            Finish::MaxTokens => self.screen.note(&format!(
                "stopped after {} tokens; `/params max_tokens N` sets the limit",
                done.tokens
            )),
            Finish::ContextFull => self.screen.note(&format!(
                "stopped: the context of {context} tokens is full; /undo or /reset make room, `/params context N` sets its size, `/params when_full drop-oldest` forgets the oldest messages"
            )),
            _ => {}
        }
        if said.answer.trim().is_empty() {
            self.screen.note("the model answered nothing");
        }
    }

    fn tell_cost(&self, cost: &Cost) {
        let rate = |n: usize, t: Duration| n as f64 / t.as_secs_f64().max(1e-9);
        let (held, context) = (self.session.tokens().len(), self.settings.context);
        let new = cost.prompt - cost.kept;
        let read = match new {
            0 => "read nothing".to_owned(),
            n => format!("read {n} tokens at {:.1}/s", rate(n, cost.read)),
        };
        self.screen.note(&format!(
            "{read}, {} kept from before; wrote {} at {:.1}/s; context {held} of {context} ({:.0}%), {}",
            cost.kept,
            cost.tokens,
            rate(cost.tokens, cost.wrote),
            100.0 * held as f64 / context as f64,
            bytes(self.session.kv_bytes() as u64),
        ));
    }
}
