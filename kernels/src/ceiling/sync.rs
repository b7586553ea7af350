//! What it costs to meet: at the pool's barrier, through its dispatch, and through sleep.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use super::figure::Figure;
use crate::pool::{Pool, PoolError};

/// A way to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    /// A barrier inside a job: once a region.
    Barrier,
    /// Starting a job that does nothing and seeing it end: once a batch.
    Dispatch,
    /// Waking a sleeping thread and being woken by it: a round trip through the kernel.
    SleepWake,
}

impl SyncKind {
    /// All.
    pub const ALL: [SyncKind; 3] = [SyncKind::Barrier, SyncKind::Dispatch, SyncKind::SleepWake];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            SyncKind::Barrier => "barrier",
            SyncKind::Dispatch => "dispatch",
            SyncKind::SleepWake => "sleep and wake",
        }
    }
}

/// A measured cost.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Of what.
    pub kind: SyncKind,
    /// Among how many threads.
    pub threads: usize,
    /// Microseconds each time.
    pub us: Figure,
}

/// Microseconds of one meeting of all the pool's threads; for [`SyncKind::SleepWake`], of two.
pub(super) fn once(pool: &mut Pool, kind: SyncKind) -> Result<f64, PoolError> {
    let micros = |start: Instant, n: usize| start.elapsed().as_secs_f64() * 1e6 / n as f64;
    match kind {
        SyncKind::Barrier => {
            const N: usize = 100;
            let nanos = AtomicUsize::new(0);
            pool.run(&|w| {
                // The first two wake everybody.
                w.barrier();
                w.barrier();
                let start = Instant::now();
                for _ in 0..N {
                    w.barrier();
                }
                if w.index == 0 {
                    nanos.store(start.elapsed().as_nanos() as usize, SeqCst);
                }
            })?;
            Ok(nanos.into_inner() as f64 / 1e3 / N as f64)
        }
        SyncKind::Dispatch => {
            const N: usize = 20;
            pool.run(&|_| ())?;
            let start = Instant::now();
            for _ in 0..N {
                pool.run(&|_| ())?;
            }
            Ok(micros(start, N))
        }
        SyncKind::SleepWake => Ok(ping_pong()),
    }
}

fn ping_pong() -> f64 {
    const N: usize = 10;
    let turn = AtomicUsize::new(0);
    let here = std::thread::current();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for i in 0..=N {
                while turn.load(SeqCst) != 2 * i + 1 {
                    std::thread::park();
                }
                turn.store(2 * i + 2, SeqCst);
                here.unpark();
            }
        });
        let mut start = Instant::now();
        for i in 0..=N {
            turn.store(2 * i + 1, SeqCst);
            other.thread().unpark();
            while turn.load(SeqCst) != 2 * i + 2 {
                std::thread::park();
            }
            if i == 0 {
                // The first round waited for the thread to start.
                start = Instant::now();
            }
        }
        start.elapsed().as_secs_f64() * 1e6 / N as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meetings_end() {
        for threads in [1, 2] {
            let mut pool = Pool::new(threads).unwrap();
            for kind in SyncKind::ALL {
                let us = once(&mut pool, kind).unwrap();
                assert!(us.is_finite() && us >= 0.0, "{kind:?}");
            }
        }
    }
}
