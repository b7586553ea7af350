//! Pieces of work, timed in turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::figure::Figure;
use super::steady::Watch;
use crate::pool::{Pool, PoolError};

/// Runs `work(worker)` at once on the first `threads` workers of the pool. Returns the seconds
/// from the first one's start to the last one's end.
pub(crate) fn together(
    pool: &mut Pool,
    threads: usize,
    work: &(dyn Fn(usize) + Sync),
) -> Result<f64, PoolError> {
    let origin = Instant::now();
    let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    let now = || origin.elapsed().as_nanos() as u64;
    pool.run(&|w| {
        if w.index >= threads {
            return;
        }
        // Whoever slept before the first barrier is awake at the second.
        w.barrier();
        w.barrier();
        first.fetch_min(now(), Relaxed);
        work(w.index);
        last.fetch_max(now(), Relaxed);
    })?;
    let nanos = last.into_inner().saturating_sub(first.into_inner());
    Ok(nanos.max(1) as f64 / 1e9)
}

/// One thing to measure: a short piece of work that returns its figure, whatever the unit.
pub(crate) type Probe<'a> = Box<dyn FnMut(&mut Pool) -> Result<f64, PoolError> + 'a>;

/// Rounds of one piece of each probe, until the time is up, but at least `least`. The first round
/// is not counted. `watch` looks at the clock several times a round.
pub(crate) fn rounds(
    pool: &mut Pool,
    probes: &mut [Probe<'_>],
    seconds: f64,
    least: usize,
    watch: &mut Watch,
) -> Result<Vec<Figure>, PoolError> {
    let mut samples = vec![Vec::new(); probes.len()];
    let start = Instant::now();
    let mut round = 0;
    while round <= least || start.elapsed().as_secs_f64() < seconds {
        for (i, (probe, samples)) in probes.iter_mut().zip(&mut samples).enumerate() {
            if i % 16 == 0 {
                watch.sample();
            }
            let x = probe(pool)?;
            if round > 0 {
                samples.push(x);
            }
        }
        round += 1;
    }
    watch.sample();
    Ok(samples.into_iter().map(Figure::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn only_the_first_workers_work_and_all_of_them() {
        let mut pool = Pool::new(3).unwrap();
        for threads in [1, 2, 3] {
            let ran: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
            let seconds = together(&mut pool, threads, &|w| {
                ran[w].fetch_add(1, Relaxed);
            })
            .unwrap();
            assert!(seconds > 0.0);
            for (i, ran) in ran.iter().enumerate() {
                assert_eq!(ran.load(Relaxed), usize::from(i < threads));
            }
        }
    }

    #[test]
    fn probes_take_turns() {
        let order = std::cell::RefCell::new(Vec::new());
        let mut pool = Pool::new(1).unwrap();
        let mut probes: Vec<Probe<'_>> = vec![
            Box::new(|_| {
                order.borrow_mut().push('a');
                Ok(1.0)
            }),
            Box::new(|_| {
                order.borrow_mut().push('b');
                Ok(2.0)
            }),
        ];
        let figures = rounds(&mut pool, &mut probes, 0.0, 3, &mut Watch::start()).unwrap();
        drop(probes);
        assert_eq!(order.into_inner().iter().collect::<String>(), "abababab");
        assert_eq!((figures[0].median, figures[1].median), (1.0, 2.0));
        assert_eq!(figures[0].samples, 3);
    }
}
