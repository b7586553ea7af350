//! The threads of a forward pass: they run one job together and meet at barriers.
//!
//! In: a closure that every worker calls, each with its own [`Worker`]. Out: nothing, or the
//! panic of a worker as an error. The caller is worker 0, so one thread means no thread at all.
//! It knows nothing of what the job does; [`Chunks`] lets workers share a list of it.
//!
//! Waiting spins for some tens of microseconds and then sleeps: on an idle machine a barrier
//! costs a fraction of a microsecond, on a busy one nobody burns the core that the late worker
//! needs. The fast path takes no lock and allocates nothing.
//!
//! A worker whose job panics, or returns before the others, no longer counts at barriers, so the
//! others cannot wait for it in vain. After a panic the next barrier unwinds them out of the job:
//! none passes a barrier that a panicked worker should have reached.

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a waiting worker spins, at most: about as long as a futex sleep and wake takes (24 us,
/// notes/cpu-kernels.md), so that waiting costs at most twice the better choice.
const SPIN: Duration = Duration::from_micros(20);
/// How long it spins, at least, when the machine is busy.
const SPIN_BUSY: Duration = Duration::from_micros(1);
/// How often a worker offers its core to others before it sleeps, if threads outnumber cores.
const YIELDS: usize = 8;
/// Arrivals and departures share a word: this is one departure.
const LEFT: usize = 1 << 16;

/// Why a pool could not be made, or a job did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Not a number of threads.
    #[error("{0} threads: the number must be between 1 and {max}", max = Pool::MAX_THREADS)]
    Threads(usize),
    /// The system refused a thread.
    #[error("cannot start thread {index} of {threads}: {reason}; use fewer threads")]
    Spawn {
        /// Which.
        index: usize,
        /// Of how many.
        threads: usize,
        /// The system's words.
        reason: String,
    },
    /// The job panicked on a worker. The pool stays usable.
    #[error("worker {index} panicked: {message}; this is a bug, please report it")]
    Panicked {
        /// The first worker that did.
        index: usize,
        /// Its words.
        message: String,
    },
}

/// Keeps what it holds on cache lines of its own (two: lines are fetched in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

type Job<'a> = dyn Fn(Worker<'_>) + Sync + 'a;

/// Thrown through a job by a barrier when another worker has panicked.
struct Broken;

struct Shared {
    threads: usize,
    /// Nanoseconds that a waiting worker spins now, between [`SPIN_BUSY`] and [`SPIN`]: halved
    /// when a wait took so long that the late worker must have been off its core (then spinning
    /// keeps the core from it, or from whoever else has work), doubled when spinning was enough.
    spin: Line<AtomicUsize>,
    yields: usize,
    /// Number of the job; a change starts the workers.
    epoch: Line<AtomicUsize>,
    /// Number of the barrier; a change releases the workers that wait at it.
    phase: Line<AtomicUsize>,
    /// `LEFT * (workers done with the job) + (workers waiting at the barrier)`
    count: Line<AtomicUsize>,
    sleepers: Line<AtomicUsize>,
    /// Written by `run` while all workers wait for the next epoch.
    job: UnsafeCell<Option<*const Job<'static>>>,
    stop: AtomicBool,
    /// A worker has panicked in this job.
    broken: AtomicBool,
    panic: Mutex<Option<(usize, String)>>,
    bed: Mutex<()>,
    bell: Condvar,
}

// SAFETY: `job` is the only field that is not Sync by itself. `run` writes it before it changes
// `epoch` and workers read it after they saw that change, before they leave the job; `run`
// returns, and may write again, only after all have left.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only while the `run` that set it has not returned.
unsafe impl Send for Shared {}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Returns once `ready`, which another thread makes true with a SeqCst write before `notify`.
    #[inline]
    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..32 {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        self.wait_long(ready);
    }

    #[cold]
    fn wait_long(&self, ready: impl Fn() -> bool) {
        let start = Instant::now();
        let spin = Duration::from_nanos(self.spin.0.load(Relaxed) as u64);
        while start.elapsed() < spin {
            for _ in 0..16 {
                if ready() {
                    self.set_spin(spin, spin * 2);
                    return;
                }
                std::hint::spin_loop();
            }
        }
        for _ in 0..self.yields {
            std::thread::yield_now();
            if ready() {
                return;
            }
        }
        // Either `notify` sees this count, or `ready` sees what was written before `notify`.
        self.sleepers.0.fetch_add(1, SeqCst);
        let mut guard = locked(&self.bed);
        while !ready() {
            guard = self
                .bell
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.0.fetch_sub(1, SeqCst);
        let late = start.elapsed() > SPIN * 3 / 2;
        self.set_spin(spin, if late { spin / 2 } else { SPIN });
    }

    fn set_spin(&self, old: Duration, new: Duration) {
        let new = new.clamp(SPIN_BUSY, SPIN);
        // Zero if threads outnumber cores: then it stays.
        if new != old && !old.is_zero() {
            self.spin.0.store(new.as_nanos() as usize, Relaxed);
        }
    }

    /// Wakes sleepers to look again.
    #[inline]
    fn notify(&self) {
        if self.sleepers.0.load(SeqCst) != 0 {
            // A sleeper holds the lock from its last look until it sleeps.
            drop(locked(&self.bed));
            self.bell.notify_all();
        }
    }

    /// Releases the barrier if everyone who has not left the job waits at it. `count` is the new
    /// value of the word; at most one worker sees it complete, and no other changes it then.
    #[inline]
    fn release_if_complete(&self, count: usize) -> bool {
        let (left, arrived) = (count / LEFT, count % LEFT);
        let complete = left + arrived == self.threads && arrived != 0;
        if complete {
            self.count.0.store(left * LEFT, SeqCst);
            self.phase.0.fetch_add(1, SeqCst);
            self.notify();
        }
        complete
    }

    fn barrier(&self) {
        if self.threads > 1 {
            // The phase cannot change before this worker arrives.
            let phase = self.phase.0.load(SeqCst);
            let count = self.count.0.fetch_add(1, SeqCst) + 1;
            if !self.release_if_complete(count) {
                self.wait(|| self.phase.0.load(SeqCst) != phase);
            }
        }
        if self.broken.load(SeqCst) {
            resume_unwind(Box::new(Broken));
        }
    }

    /// Runs the job as worker `index` and leaves it, whatever happens.
    fn work(&self, index: usize, job: &Job<'_>) {
        let worker = Worker {
            index,
            threads: self.threads,
            shared: self,
            here: PhantomData,
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(worker))) {
            self.broken.store(true, SeqCst);
            if !payload.is::<Broken>() {
                locked(&self.panic).get_or_insert_with(|| (index, words(&*payload)));
            }
            // Dropping a payload may panic again; leaking it cannot.
            std::mem::forget(payload);
        }
        let count = self.count.0.fetch_add(LEFT, SeqCst) + LEFT;
        if count == LEFT * self.threads {
            self.notify();
        } else {
            self.release_if_complete(count);
        }
    }

    /// The life of worker `index >= 1`.
    fn live(&self, index: usize) {
        let mut epoch = 0;
        loop {
            self.wait(|| self.epoch.0.load(SeqCst) != epoch);
            epoch = self.epoch.0.load(SeqCst);
            if self.stop.load(SeqCst) {
                return;
            }
            // SAFETY: see `Sync for Shared`: the cell is not written until this worker has left.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: `run` keeps the closure alive until this worker has left the job.
                self.work(index, unsafe { &*job });
            }
        }
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(s), _) => (*s).to_owned(),
        (_, Some(s)) => s.clone(),
        _ => "no message".to_owned(),
    }
}

/// A worker's place in a job.
pub struct Worker<'a> {
    /// `0..threads`; 0 is the thread that called [`Pool::run`].
    pub index: usize,
    /// How many workers run this job.
    pub threads: usize,
    shared: &'a Shared,
    /// Not to be handed to other threads: barriers count one arrival a worker.
    here: PhantomData<*const ()>,
}

impl Worker<'_> {
    /// Returns when every worker that still runs the job has called it as often as this one;
    /// what any of them wrote before is then visible. Unwinds out of the job if one panicked.
    #[inline]
    pub fn barrier(&self) {
        self.shared.barrier();
    }
}

/// A fixed set of threads that run one job at a time.
pub struct Pool {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Most threads of a pool.
    pub const MAX_THREADS: usize = 1024;

    /// A pool of `threads` workers: the caller of [`Pool::run`] and `threads - 1` threads of its
    /// own. More than the machine has cores is allowed; they then yield instead of spinning.
    ///
    /// # Errors
    /// The number is 0 or too large, or the system refuses a thread.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        if threads == 0 || threads > Self::MAX_THREADS {
            return Err(PoolError::Threads(threads));
        }
        let cores = cores();
        let crowded = threads > cores;
        let shared = Arc::new(Shared {
            threads,
            spin: Line(AtomicUsize::new(if crowded {
                0
            } else {
                SPIN.as_nanos() as usize
            })),
            yields: if crowded { YIELDS } else { 0 },
            epoch: Line::default(),
            phase: Line::default(),
            count: Line::default(),
            sleepers: Line::default(),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            panic: Mutex::new(None),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        });
        let mut pool = Pool {
            shared,
            handles: Vec::with_capacity(threads - 1),
        };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let handle = std::thread::Builder::new()
                .name(format!("hob-{index}"))
                .spawn(move || shared.live(index))
                // Those already started stop when `pool` is dropped here.
                .map_err(|e| PoolError::Spawn {
                    index,
                    threads,
                    reason: e.to_string(),
                })?;
            pool.handles.push(handle);
        }
        Ok(pool)
    }

    /// Number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs the job once on every worker and returns when all have left it.
    ///
    /// # Errors
    /// [`PoolError::Panicked`] if a worker panicked; what the job wrote is then unfinished.
    pub fn run(&mut self, job: &(dyn Fn(Worker<'_>) + Sync)) -> Result<(), PoolError> {
        let shared = &*self.shared;
        shared.count.0.store(0, SeqCst);
        shared.broken.store(false, SeqCst);
        if shared.threads > 1 {
            let erased: *const Job<'_> = job;
            // SAFETY: only the lifetime is changed; the pointer is dead when this function
            // returns, because it waits for all workers below and cannot unwind before.
            let erased: *const Job<'static> = unsafe { std::mem::transmute(erased) };
            // SAFETY: `&mut self`, and no worker is inside a job: none reads the cell now.
            unsafe { *shared.job.get() = Some(erased) };
            shared.epoch.0.fetch_add(1, SeqCst);
            shared.notify();
        }
        shared.work(0, job);
        shared.wait(|| shared.count.0.load(SeqCst) == LEFT * shared.threads);
        if !shared.broken.load(SeqCst) {
            return Ok(());
        }
        let (index, message) = locked(&shared.panic).take().unwrap_or_default();
        Err(PoolError::Panicked { index, message })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.epoch.0.fetch_add(1, SeqCst);
        self.shared.notify();
        for handle in self.handles.drain(..) {
            // Workers catch what jobs throw, so there is nothing to report.
            let _ = handle.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

/// A list of work that workers claim from, in ascending order, each part once.
///
/// Claims order nothing but themselves; a barrier makes results visible. A counter may be reset
/// only while no worker claims from it: with two of them, region `r` of a job claims from
/// `r mod 2` and worker 0 resets the other one, for the region after.
#[derive(Debug, Default)]
pub struct Chunks(Line<AtomicUsize>);

impl Chunks {
    /// A list of which nothing is claimed.
    pub const fn new() -> Chunks {
        Chunks(Line(AtomicUsize::new(0)))
    }

    /// Puts everything back.
    pub fn reset(&self) {
        self.0.0.store(0, Relaxed);
    }

    /// The next `grain` items (the last part may be shorter) of `len`, or `None` if all are taken.
    #[inline]
    pub fn claim(&self, len: usize, grain: usize) -> Option<Range<usize>> {
        let start = self.0.0.fetch_add(grain.max(1), Relaxed);
        (start < len).then(|| start..len.min(start.saturating_add(grain.max(1))))
    }
}

/// Cores that the system lets this process use, asked for once: a process that confines itself cannot
/// ask again.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_runs_once_a_job() {
        for threads in [1, 2, 3, 5] {
            let mut pool = Pool::new(threads).unwrap();
            let runs: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                pool.run(&|w| {
                    assert_eq!(w.threads, threads);
                    runs[w.index].fetch_add(1, Relaxed);
                })
                .unwrap();
            }
            assert!(runs.iter().all(|r| r.load(Relaxed) == 200));
        }
    }

    /// Plain (unsynchronised) cells: a worker that passes a barrier early reads an old number.
    #[test]
    fn barriers_make_everything_before_them_visible() {
        struct Cells(Vec<UnsafeCell<usize>>);
        // SAFETY: between two barriers each cell has one writer and no reader, or only readers.
        unsafe impl Sync for Cells {}
        impl Cells {
            fn at(&self, i: usize) -> *mut usize {
                self.0[i].get()
            }
        }
        for threads in [2, 3, 4] {
            let mut pool = Pool::new(threads).unwrap();
            let cells = Cells((0..threads).map(|_| UnsafeCell::new(0)).collect());
            for _ in 0..5 {
                pool.run(&|w| {
                    for round in 1..=300 {
                        // SAFETY: as above.
                        unsafe { *cells.at(w.index) = round };
                        w.barrier();
                        for i in 0..w.threads {
                            // SAFETY: as above.
                            assert_eq!(unsafe { *cells.at(i) }, round);
                        }
                        w.barrier();
                    }
                })
                .unwrap();
            }
        }
    }

    #[test]
    fn chunks_are_claimed_once_over_many_regions() {
        let mut pool = Pool::new(3).unwrap();
        let lists = [Chunks::new(), Chunks::new()];
        let hits: Vec<AtomicUsize> = (0..1003).map(|_| AtomicUsize::new(0)).collect();
        pool.run(&|w| {
            for region in 0..20 {
                if w.index == 0 {
                    lists[(region + 1) % 2].reset();
                }
                while let Some(range) = lists[region % 2].claim(hits.len(), 10) {
                    hits[range].iter().for_each(|h| _ = h.fetch_add(1, Relaxed));
                }
                w.barrier();
            }
        })
        .unwrap();
        assert!(hits.iter().all(|h| h.load(Relaxed) == 20));
    }

    #[test]
    fn a_panic_is_an_error_and_nobody_waits_for_it() {
        for threads in [1, 2, 4] {
            let mut pool = Pool::new(threads).unwrap();
            for culprit in 0..threads {
                let passed = AtomicUsize::new(0);
                let error = pool
                    .run(&|w| {
                        w.barrier();
                        // Without the panic hook's words on stderr.
                        if w.index == culprit {
                            resume_unwind(Box::new("planted"));
                        }
                        w.barrier();
                        passed.fetch_add(1, Relaxed);
                    })
                    .unwrap_err();
                assert_eq!(
                    error,
                    PoolError::Panicked {
                        index: culprit,
                        message: "planted".into()
                    }
                );
                assert_eq!(
                    passed.load(Relaxed),
                    0,
                    "a worker passed the broken barrier"
                );
                pool.run(&|w| w.barrier()).unwrap();
            }
        }
    }

    #[test]
    fn a_worker_that_leaves_early_is_not_waited_for() {
        let mut pool = Pool::new(3).unwrap();
        let rounds = AtomicUsize::new(0);
        pool.run(&|w| {
            for _ in 0..w.index * 10 {
                w.barrier();
                rounds.fetch_add(1, Relaxed);
            }
        })
        .unwrap();
        assert_eq!(rounds.load(Relaxed), 30);
    }

    #[test]
    fn sleepers_wake() {
        let mut pool = Pool::new(2).unwrap();
        for late in [0, 1] {
            pool.run(&|w| {
                for _ in 0..20 {
                    if w.index == late {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    w.barrier();
                }
            })
            .unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn wrong_numbers_are_refused() {
        assert_eq!(Pool::new(0).unwrap_err(), PoolError::Threads(0));
        assert_eq!(Pool::new(4000).unwrap_err(), PoolError::Threads(4000));
    }
}
