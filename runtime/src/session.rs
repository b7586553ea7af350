//! One sequence: its tokens, its cache, and generating from them.

use crate::engine::{Engine, Inner};
use crate::error::SessionError;
use crate::generate::{Completion, Event, Finish, Request, StopScan};
use crate::logprob::{LogProb, log_probs};
use crate::sampler::Sampler;
use hob_kernels::private::{Content, PrivateVec, WipedText};
use hob_kernels::program::{Batch, KvCache, RunError, Seq};
use hob_models::reasoning::Part;
use hob_models::tokenizer::{DecodeOptions, EncodeOptions, TokenKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Stops work from another thread. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A handle that nobody has raised.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Asks everything that was given this handle to stop soon.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Lets the handle be used again.
    pub fn reset(&self) {
        self.0.store(false, Relaxed);
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What to do when the next token has no position left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Generation ends with [`Finish::ContextFull`]; a prompt that does not fit is an error.
    #[default]
    Stop,
    /// Forget the older half of what follows the first `keep` tokens, and read the rest again.
    /// Reported as [`Event::Dropped`].
    DropOldest {
        /// Tokens at the start that are never forgotten (the system prompt, say).
        keep: usize,
    },
}

/// Limits of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most positions. Memory grows with use, not with this.
    pub context: usize,
    /// What happens at that limit.
    pub when_full: WhenFull,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            context: 4096,
            when_full: WhenFull::Stop,
        }
    }
}

/// A sequence of tokens with the state that the model keeps of it. What a session gives up (on
/// [`Session::truncate`], when work is cancelled, when it is dropped) is wiped from memory; what an
/// earlier session shared by [`Session::fork`] goes with the last of them.
pub struct Session {
    engine: Arc<Inner>,
    cache: KvCache,
    tokens: PrivateVec<u32>,
    logits: PrivateVec<f32>,
    options: SessionOptions,
}

/// Shows numbers only: what was said does not belong into logs.
impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} tokens)", self.tokens.len())
    }
}

/// The working memory of the last batch may be this session's.
impl Drop for Session {
    fn drop(&mut self) {
        self.engine.wipe();
    }
}

impl Session {
    pub(crate) fn new(engine: Arc<Inner>, options: SessionOptions) -> Session {
        let cache = KvCache::new(engine.layouts.clone());
        Session {
            engine,
            cache,
            tokens: PrivateVec::new(Content::Tokens),
            logits: PrivateVec::new(Content::Logits),
            options,
        }
    }

    /// A session that holds `tokens`, with their keys and values and the logits of the last.
    pub(crate) fn with_state(
        engine: Arc<Inner>,
        options: SessionOptions,
        cache: KvCache,
        tokens: PrivateVec<u32>,
        logits: PrivateVec<f32>,
    ) -> Session {
        Session {
            engine,
            cache,
            tokens,
            logits,
            options,
        }
    }

    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// The engine that the session runs on.
    pub fn engine(&self) -> Engine {
        Engine {
            inner: self.engine.clone(),
        }
    }

    /// Tokens held so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The session's limits.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// Bytes of keys and values held now.
    pub fn kv_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// A second session with the same past; pages are shared until one of them writes. (Without memory
    /// for its tokens it is empty; for its logits, it reads the last token again.)
    pub fn fork(&self) -> Session {
        let mut fork = Session::new(self.engine.clone(), self.options);
        if let Some(tokens) = self.tokens.copy() {
            (fork.tokens, fork.cache) = (tokens, self.cache.clone());
            if let Some(logits) = self.logits.copy() {
                fork.logits = logits;
            }
        }
        fork
    }

    /// Forgets everything from position `len` on, and wipes it from memory. The logits of the last token
    /// are forgotten too, so [`Session::generate`] reads that token again. With 0, the engine's working
    /// memory is wiped as well.
    pub fn truncate(&mut self, len: usize) {
        if len < self.tokens.len() {
            self.tokens.truncate(len);
            self.cache.truncate(len);
            self.logits.truncate(0);
        }
        if len == 0 {
            self.engine.wipe();
        }
    }

    /// Changes the session's limits from now on. Tokens that are beyond a smaller context stay; nothing
    /// follows them until [`Session::truncate`] or [`Session::resume`] makes room.
    pub fn set_options(&mut self, options: SessionOptions) {
        self.options = options;
    }

    /// Makes the session hold exactly `ids`: what it shares with them from the start is kept, the rest
    /// is forgotten and read anew (as by [`Session::prefill`]). Returns how many tokens were kept. The
    /// bits are those of a new session that read all of `ids`.
    ///
    /// # Errors
    /// As [`Session::prefill`]. If `ids` are more than the context holds, nothing has changed.
    pub fn resume(
        &mut self,
        ids: &[u32],
        cancel: &Cancel,
        progress: impl FnMut(usize, usize),
    ) -> Result<usize, SessionError> {
        let shared = self.tokens.iter().zip(ids).take_while(|(a, b)| a == b);
        let kept = shared.count();
        let rest = ids.get(kept..).unwrap_or_default();
        if ids.len() > self.options.context {
            return Err(SessionError::ContextFull {
                len: kept,
                context: self.options.context,
                wanted: rest.len(),
            });
        }
        self.truncate(kept);
        self.prefill(rest, cancel, progress)?;
        Ok(kept)
    }

    /// The token ids of raw text, with the special tokens that the model starts texts with.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, SessionError> {
        let tokenizer = self
            .engine
            .tokenizer
            .as_ref()
            .ok_or(SessionError::NoTokenizer)?;
        let special = self.tokens.is_empty();
        Ok(tokenizer.encode(
            text,
            EncodeOptions {
                special,
                parse_special: false,
            },
        )?)
    }

    /// Reads tokens, in batches. `progress` is told how many of them are done; on an error or a
    /// cancellation the session holds the batches that were completed.
    pub fn prefill(
        &mut self,
        ids: &[u32],
        cancel: &Cancel,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), SessionError> {
        self.room(ids.len())?;
        let mut done = 0;
        for chunk in ids.chunks(self.engine.batch) {
            let last = done + chunk.len() == ids.len();
            let output = [chunk.len() as u32 - 1];
            self.run(chunk, if last { &output } else { &[] }, cancel, |_, _| ())?;
            done += chunk.len();
            progress(done, ids.len());
        }
        Ok(())
    }

    /// Reads tokens in batches of at most `chunk` and hands out the logits `[vocab]` of every one,
    /// with its index in `ids`. For measuring; needs an engine with several `outputs` to be quick.
    pub fn score(
        &mut self,
        ids: &[u32],
        chunk: usize,
        cancel: &Cancel,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        self.room(ids.len())?;
        let chunk = chunk
            .clamp(1, self.engine.outputs.max(1))
            .min(self.engine.batch);
        let mut done = 0;
        for part in ids.chunks(chunk) {
            let outputs: Vec<u32> = (0..part.len() as u32).collect();
            self.run(part, &outputs, cancel, |i, logits| each(done + i, logits))?;
            done += part.len();
        }
        Ok(())
    }

    /// Logits of the next token, `[vocab]`; empty if nothing was read yet.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Chooses the next token by the logits and the tokens so far; the session does not change. For
    /// programs that read several sessions in one batch ([`crate::Engine::advance`]).
    ///
    /// # Errors
    /// Nothing was read yet, or the sampler's options leave no token to choose.
    pub fn sample(&self, sampler: &mut Sampler) -> Result<u32, SessionError> {
        if self.logits.is_empty() {
            return Err(SessionError::Empty);
        }
        Ok(sampler.sample(&self.logits, &self.tokens, self.engine.tokenizer.as_ref())?)
    }

    /// Generates until the model ends its turn or a limit of the request is met, handing each
    /// piece to `on`, which may break it off. The generated tokens join the session, but for an
    /// end-of-generation token.
    pub fn generate(
        &mut self,
        request: &Request,
        cancel: &Cancel,
        mut on: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion, SessionError> {
        let engine = self.engine.clone();
        let mut sampler = Sampler::on(engine.isa, &request.sampling)?;
        if self.logits.is_empty() {
            // After a truncation: read the last token again.
            let last = *self.tokens.last().ok_or(SessionError::Empty)?;
            self.truncate(self.tokens.len() - 1);
            self.run(&[last], &[0], cancel, |_, _| ())?;
        }
        let mut text = engine
            .tokenizer
            .as_ref()
            .map(|t| t.decode_stream(DecodeOptions::default()));
        let mut splitter = request.reasoning.clone();
        let mut scan = StopScan::new(&request.stop);
        let mut tokens = 0;
        let finish = loop {
            if cancel.is_cancelled() {
                break Finish::Cancelled;
            }
            if tokens >= request.max_tokens {
                break Finish::MaxTokens;
            }
            let id = self.sample(&mut sampler)?;
            if engine.tokenizer.as_ref().is_some_and(|t| t.is_eog(id)) && !request.ignore_end {
                break Finish::EndOfTurn(id);
            }
            tokens += 1;
            let (logprob, top): (Option<LogProb>, Vec<LogProb>) = match request.log_probs {
                Some(n) => {
                    let (own, top) = log_probs(&self.logits, id, n);
                    (Some(own), top)
                }
                None => (None, Vec::new()),
            };
            let mut flow = on(Event::Token {
                id,
                logprob,
                top: &top,
            });
            if let Some(stream) = &mut text {
                let mut answer = WipedText::default();
                if let Some(splitter) = &mut splitter {
                    let mut out = |part, text: &str| match part {
                        Part::Answer => answer.push_str(text),
                        Part::Reasoning if flow.is_continue() => flow = on(Event::Reasoning(text)),
                        Part::Reasoning => {}
                    };
                    let tokenizer = engine.tokenizer.as_ref();
                    let control = tokenizer
                        .filter(|t| t.kind(id) == Some(TokenKind::Control))
                        .and_then(|t| t.piece(id));
                    match control {
                        // Control tokens may mark reasoning; the splitter leaves them out.
                        Some(name) => {
                            splitter.push(&WipedText::from(stream.flush()), false, &mut out);
                            splitter.push(&String::from_utf8_lossy(name), true, &mut out);
                        }
                        None => splitter.push(&WipedText::from(stream.push(id)), false, &mut out),
                    }
                } else {
                    answer = stream.push(id).into();
                }
                let (ready, hit) = scan.push(&answer);
                if !ready.is_empty() && flow.is_continue() {
                    flow = on(Event::Text(&ready));
                }
                if let Some(stop) = hit {
                    // The stop string's last token is part of the text, so of the sequence.
                    self.append_unread(id);
                    break Finish::Stop(stop);
                }
            }
            if flow.is_break() {
                self.append_unread(id);
                break Finish::Cancelled;
            }
            if self.tokens.len() + 1 > self.options.context {
                match self.options.when_full {
                    WhenFull::Stop => break Finish::ContextFull,
                    WhenFull::DropOldest { keep } => {
                        let dropped = self.drop_oldest(keep, cancel)?;
                        if dropped == 0 {
                            break Finish::ContextFull;
                        }
                        let _ = on(Event::Dropped { tokens: dropped });
                    }
                }
            }
            match self.run(&[id], &[0], cancel, |_, _| ()) {
                Err(SessionError::Cancelled) => break Finish::Cancelled,
                other => other?,
            }
        };
        let mut rest = WipedText::from(text.as_mut().map(|s| s.flush()).unwrap_or_default());
        if let Some(splitter) = &mut splitter {
            let piece = std::mem::take(&mut rest);
            let mut end = |part, text: &str| match part {
                Part::Answer => rest.push_str(text),
                Part::Reasoning => {
                    let _ = on(Event::Reasoning(text));
                }
            };
            splitter.push(&piece, false, &mut end);
            splitter.finish(&mut end);
        }
        if !matches!(finish, Finish::Stop(_)) {
            rest = scan.finish(&rest);
            if !rest.is_empty() {
                let _ = on(Event::Text(&rest));
            }
        }
        Ok(Completion { tokens, finish })
    }

    /// The last generated token joins the tokens without having been read: its logits are not
    /// wanted, and it is read before anything that follows.
    fn append_unread(&mut self, id: u32) {
        if self.tokens.len() < self.options.context
            && self.run(&[id], &[], &Cancel::new(), |_, _| ()).is_ok()
        {
            self.logits.truncate(0);
        }
    }

    fn room(&self, wanted: usize) -> Result<(), SessionError> {
        let (len, context) = (self.tokens.len(), self.options.context);
        if wanted > context.saturating_sub(len) {
            return Err(SessionError::ContextFull {
                len,
                context,
                wanted,
            });
        }
        Ok(())
    }

    /// Drops the older half of the tokens after the first `keep`, and reads the rest again from
    /// where they moved. Returns how many were dropped.
    fn drop_oldest(&mut self, keep: usize, cancel: &Cancel) -> Result<usize, SessionError> {
        let keep = keep.min(self.tokens.len());
        let dropped = (self.tokens.len() - keep) / 2;
        if dropped == 0 {
            return Ok(0);
        }
        let rest = self
            .tokens
            .get(keep + dropped..)
            .unwrap_or_default()
            .to_vec();
        // On a copy, so that a cancellation half-way loses nothing.
        let mut moved = self.fork();
        moved.truncate(keep);
        moved.prefill(&rest, cancel, |_, _| ())?;
        *self = moved;
        Ok(dropped)
    }

    /// Runs one batch of new tokens; the last output's logits are kept, each is shown to `each`.
    fn run(
        &mut self,
        ids: &[u32],
        outputs: &[u32],
        cancel: &Cancel,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        let engine = self.engine.clone();
        let mut machine = engine.machine();
        let start = self.tokens.len();
        self.reserve(ids.len())?;
        let mut seqs = [Seq {
            cache: &mut self.cache,
            start,
            tokens: ids.len(),
        }];
        let mut batch = Batch {
            seqs: &mut seqs,
            ids,
            outputs,
        };
        let ran = machine.run(&mut batch, &cancel.0);
        // First: numbers that are none and the like may be its consequence.
        let ran = engine
            .check_files()
            .and_then(|()| ran.map_err(SessionError::from));
        if let Err(e) = ran {
            // What there is of the batch is not the session's.
            self.cache.truncate(start);
            machine.wipe();
            return Err(e);
        }
        for (i, &output) in outputs.iter().enumerate() {
            let checked = check(machine.logits(i), start + output as usize);
            checked.inspect_err(|_| self.cache.truncate(start))?;
        }
        for i in 0..outputs.len() {
            each(i, machine.logits(i));
        }
        self.accept(
            ids,
            outputs
                .len()
                .checked_sub(1)
                .map(|last| machine.logits(last)),
        );
        Ok(())
    }

    /// Makes room for new tokens and for logits: nothing can fail once they were read.
    fn reserve(&mut self, tokens: usize) -> Result<(), SessionError> {
        let vocab = self.engine.vocab.saturating_sub(self.logits.len());
        if self.tokens.reserve(tokens) && self.logits.reserve(vocab) {
            return Ok(());
        }
        let position = self.tokens.len();
        Err(SessionError::Run(RunError::Memory { position }))
    }

    /// The tokens were read; `logits` are of the last one, if they were wanted. There is room for both.
    fn accept(&mut self, ids: &[u32], logits: Option<&[f32]>) {
        self.logits.truncate(0);
        let _ = self.tokens.extend(ids) && self.logits.extend(logits.unwrap_or_default());
    }
}

/// Reads new tokens of several sessions of one engine in one batch, and leaves the logits of each
/// session's last token in it ([`Session::logits`]). Every session gets the bits that it would
/// get alone. On an error no session has changed.
pub(crate) fn advance(
    engine: &Inner,
    parts: &mut [(&mut Session, &[u32])],
    cancel: &Cancel,
) -> Result<(), SessionError> {
    if parts.len() > engine.outputs {
        return Err(SessionError::Outputs {
            available: engine.outputs,
            wanted: parts.len(),
        });
    }
    let (mut ids, mut outputs, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
    for (session, new) in parts.iter_mut() {
        session.room(new.len())?;
        session.reserve(new.len())?;
        if new.is_empty() {
            return Err(SessionError::Empty);
        }
        ids.extend_from_slice(new);
        outputs.push(ids.len() as u32 - 1);
        let start = session.tokens.len();
        seqs.push(Seq {
            cache: &mut session.cache,
            start,
            tokens: new.len(),
        });
    }
    let mut machine = engine.machine();
    let mut batch = Batch {
        seqs: &mut seqs,
        ids: &ids,
        outputs: &outputs,
    };
    let ran = machine.run(&mut batch, &cancel.0);
    // As in `run`.
    let mut done = engine
        .check_files()
        .and_then(|()| ran.map_err(SessionError::from));
    for (i, (session, new)) in parts.iter().enumerate() {
        done = done.and_then(|()| check(machine.logits(i), session.tokens.len() + new.len() - 1));
    }
    if let Err(e) = done {
        // What there is of the batch is not the sessions'.
        for (session, _) in parts.iter_mut() {
            session.cache.truncate(session.tokens.len());
        }
        machine.wipe();
        return Err(e);
    }
    for (i, (session, new)) in parts.iter_mut().enumerate() {
        session.accept(new, Some(machine.logits(i)));
    }
    Ok(())
}

/// NaN logits are an error of the token at `position`.
fn check(logits: &[f32], position: usize) -> Result<(), SessionError> {
    match crate::scan::any_nan(logits) {
        true => Err(SessionError::NotANumber(position)),
        false => Ok(()),
    }
}
