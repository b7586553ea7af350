//! How long waking the pool and meeting at barriers take: `cargo run --release -p hob-kernels
//! --example barrier_speed -- [threads]`. Prints the best and the median of many runs.

use hob_kernels::pool::Pool;
use std::time::{Duration, Instant};

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(2);
    let mut pool = match Pool::new(threads) {
        Ok(pool) => pool,
        Err(e) => return eprintln!("{e}"),
    };
    for (name, barriers, pause) in [
        ("empty job, workers awake", 0, Duration::ZERO),
        ("empty job, workers asleep", 0, Duration::from_millis(1)),
        ("180 barriers", 180, Duration::ZERO),
    ] {
        let mut times: Vec<Duration> = (0..500)
            .map(|_| {
                std::thread::sleep(pause);
                let start = Instant::now();
                let ran = pool.run(&|w| (0..barriers).for_each(|_| w.barrier()));
                assert!(ran.is_ok());
                start.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "{threads} threads, {name}: best {:?}, median {:?}",
            times[0], times[250]
        );
    }
}
