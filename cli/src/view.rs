//! What a person sees of a download, of packing and of other work on large files: a bar with size, speed and time left on a terminal, a line now
//! and then elsewhere. Everything goes to standard error.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hob_fetch::{Event, Progress, proxy_in_use};
use hob_models::packed::Watch;
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::{PlainLine, bytes};

/// Least time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows events; remembers where the bytes came from.
pub(crate) struct View {
    is_quiet: bool,
    is_terminal: bool,
    bar: Option<ProgressBar>,
    step: Step,
    /// The file of several that is under way.
    file: Option<String>,
    /// The mirror that was asked last.
    asked: String,
    /// Whether the proxy was named.
    has_named_proxy: bool,
}

/// What is being counted.
struct Step {
    name: String,
    total: Option<u64>,
    /// Bytes that were here when the clock started.
    first: u64,
    start: Instant,
    told: Instant,
}

impl Step {
    fn new(name: String, total: Option<u64>, first: u64) -> Self {
        let now = Instant::now();
        Self {
            name,
            total,
            first,
            start: now,
            told: now,
        }
    }

    /// `37%  34.5 MiB of 93.8 MiB, 5.2 MiB/s, 11 s left`.
    fn line(&self, done: u64) -> String {
        let speed =
            done.saturating_sub(self.first) as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
        let speed_text = bytes(speed as u64);
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return format!("{}, {speed_text}/s", bytes(done));
        };
        let percent = done.saturating_mul(100) / total;
        let left = total.saturating_sub(done) as f64 / speed.max(1.0);
        format!(
            "{percent:3}%  {} of {}, {speed_text}/s, {left:.0} s left",
            bytes(done),
            bytes(total)
        )
    }
}

impl View {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self {
            is_quiet,
            is_terminal,
            bar: None,
            step: Step::new(String::new(), None, 0),
            file: None,
            asked: String::new(),
            has_named_proxy: false,
        }
    }

    /// Names the file that the next steps are about, where there are several.
    pub(crate) fn set_file(&mut self, file: Option<String>) {
        self.file = file;
    }

    /// Names the proxy that what follows goes through, if there is one; once.
    pub(crate) fn say_proxy(&mut self) {
        if let Some(proxy) = proxy_in_use().filter(|_| !self.has_named_proxy) {
            self.say(&format!("through the proxy {proxy}"));
        }
        self.has_named_proxy = true;
    }

    /// The file that steps are about, and whether nothing is shown: for another view of the same.
    pub(crate) fn shows(&self) -> (Option<String>, bool) {
        (self.file.clone(), self.is_quiet)
    }

    /// What a step is called.
    fn step_name(&self, step: &str) -> String {
        match &self.file {
            Some(file) => format!("{file}: {step}"),
            None => step.to_owned(),
        }
    }

    /// A line of text, above the bar if there is one.
    pub(crate) fn say(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{}", PlainLine(text))),
            None => eprintln!("{}", PlainLine(text)),
        }
    }

    /// Begins to count `total` bytes, of which `done` are here; goes on with a bar that counts the
    /// same.
    pub(crate) fn begin(&mut self, step: &str, total: Option<u64>, done: u64) {
        let name = &self.step_name(step);
        if let Some(bar) = &self.bar
            && self.step.name == *name
            && self.step.total == total
        {
            bar.set_position(done);
            bar.reset_eta();
            return;
        }
        self.end();
        self.step = Step::new(name.to_owned(), total, done);
        if self.is_quiet {
            return;
        }
        if !self.is_terminal {
            let size = total.map_or_else(String::new, |total| format!(", {}", bytes(total)));
            let here = if done > 0 {
                format!(", {} here already", bytes(done))
            } else {
                String::new()
            };
            self.say(&format!("{name}{size}{here}"));
            return;
        }
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} {bar:24} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
            ),
        };
        // The template is a constant; the default style is the answer to a mistake in it.
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(PlainLine(name).to_string());
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    /// A watcher of work that moves the bar.
    pub(crate) fn watch(&self) -> BarWatch {
        BarWatch {
            bar: self.bar.clone(),
            sum: Arc::default(),
            mine: AtomicU64::new(0),
            stop: Arc::default(),
        }
    }

    /// Ends the counting without a word, because of an error.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Bytes that are here now.
    fn advance(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if !self.is_terminal && self.step.told.elapsed() >= LINE_EVERY => {
                self.step.told = Instant::now();
                self.say(&self.step.line(done));
            }
            None => {}
        }
    }

    /// Ends the counting and leaves a line that says what it took.
    pub(crate) fn end(&mut self) {
        let Some(bar) = self.bar.take() else { return };
        let (done, took) = (bar.position(), self.step.start.elapsed().as_secs_f64());
        bar.finish_and_clear();
        let speed = done.saturating_sub(self.step.first) as f64 / took.max(1e-3);
        self.say(&format!(
            "{} {} in {took:.1} s ({}/s)",
            self.step.name,
            bytes(done),
            bytes(speed as u64)
        ));
    }
}

/// An error leaves no bar behind.
impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Passes progress on that comes from many threads, and from several works that count together.
pub(crate) struct BarWatch {
    bar: Option<ProgressBar>,
    sum: Arc<AtomicU64>,
    /// What this work has added to the sum.
    mine: AtomicU64,
    /// Raised to stop it.
    stop: Arc<AtomicBool>,
}

impl BarWatch {
    /// For another work that the same bar counts.
    pub(crate) fn another(&self) -> Self {
        Self {
            bar: self.bar.clone(),
            sum: Arc::clone(&self.sum),
            mine: AtomicU64::new(0),
            stop: Arc::clone(&self.stop),
        }
    }

    /// What stops this work, and all that count with it.
    pub(crate) fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// `done` bytes of this work are done.
    pub(crate) fn at(&self, done: u64) {
        let before = self.mine.fetch_max(done, Ordering::Relaxed);
        let new = done.saturating_sub(before);
        let sum = self.sum.fetch_add(new, Ordering::Relaxed) + new;
        if let Some(bar) = &self.bar {
            bar.set_position(sum);
        }
    }
}

impl Watch for BarWatch {
    fn progress(&self, done: u64, _: u64) {
        self.at(done);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Progress for View {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Waiting => self.say("another hob is at work on it; waiting"),
            // Once, and not for each file of a repository.
            Event::Trying { mirror } if self.asked != mirror => {
                mirror.clone_into(&mut self.asked);
                self.say(&format!("asking {mirror}"));
            }
            Event::LeavingToPip { mirror } => {
                self.say(&format!("leaving {mirror} to pip, which shows no progress"));
            }
            Event::Failed { mirror, error } => {
                self.end();
                self.say(&format!("{mirror}: {error}"));
            }
            Event::Start {
                host, total, done, ..
            } => self.begin(&format!("downloading from {host}"), total, done),
            Event::Bytes { done } => self.advance(done),
            // The bar stays, for the transfer that goes on.
            Event::Retry { wait, why, .. } => {
                let pause = wait.as_secs_f64();
                self.say(&format!(
                    "the connection broke ({why}); going on in {pause:.1} s"
                ));
            }
            Event::Unpacking { total } => self.begin("unpacking", Some(total), 0),
            Event::Verified => {
                self.end();
                if self.file.is_none() {
                    self.say("size and hash are right");
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
