//! How fast attention runs from the cache: `cargo run --release -p hob-kernels --example
//! attention_speed -- [seconds per line]`. One thread; the best of many runs, because machines
//! are busy. For each instruction set, element type, head size and number of queries that share
//! a page, prints GFMA/s (a multiply and an add; both products count) and the GB/s of keys and
//! values read.

use hob_kernels::attention::{Query, Scoring, attend_span, partial_len};
use hob_kernels::isa::Isa;
use hob_kernels::kv::{KvElem, KvLayout, PAGE_POSITIONS};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(0.05), |s| s.parse())?;
    println!("isa     elem  head_dim  queries  GFMA/s   GB/s  us/page");
    for isa in Isa::available() {
        for elem in KvElem::ALL {
            for dim in [64, 80, 128, 256] {
                let Ok(layout) = KvLayout::new(1, dim, dim, elem) else {
                    continue;
                };
                for n in [1, 2, 4, 8, 32] {
                    let best = measure(isa, &layout, n, Duration::from_secs_f64(seconds))?;
                    let fma = (n * PAGE_POSITIONS * 2 * dim) as f64 / best / 1e9;
                    let bytes = layout.page_bytes() as f64 / best / 1e9;
                    let (isa, elem, us) = (isa.name(), elem.name(), best * 1e6);
                    println!("{isa:7} {elem:5} {dim:8}  {n:7}  {fma:6.1} {bytes:6.1}  {us:7.2}");
                }
            }
        }
    }
    Ok(())
}

/// Seconds of the fastest call with `n` queries that see a whole page.
fn measure(isa: Isa, layout: &KvLayout, n: usize, time: Duration) -> Result<f64, Box<dyn Error>> {
    let dim = layout.dk();
    let row = |seed: usize| -> Vec<f32> {
        (0..dim)
            .map(|i| ((i * 37 + seed * 101) % 61) as f32 / 30.0 - 1.0)
            .collect()
    };
    let mut page = vec![0u8; layout.page_bytes()];
    for pos in 0..PAGE_POSITIONS {
        // SAFETY: the page has the layout's size.
        unsafe {
            layout.store_k(page.as_mut_ptr(), 0, pos, &row(pos));
            layout.store_v(page.as_mut_ptr(), 0, pos, &row(pos + 999));
        }
    }
    let rows: Vec<Vec<f32>> = (0..n).map(row).collect();
    let queries: Vec<Query<'_>> = rows
        .iter()
        .map(|q| Query {
            q,
            lo: 0,
            hi: PAGE_POSITIONS,
        })
        .collect();
    let mut partials = vec![0.0; n * partial_len(dim)];
    let scoring = Scoring {
        scale: 1.0 / (dim as f32).sqrt(),
        softcap: None,
    };
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < time || best.is_infinite() {
        let call = Instant::now();
        attend_span(isa, layout, &page, 0, scoring, &queries, &mut partials)?;
        best = best.min(call.elapsed().as_secs_f64());
    }
    Ok(best)
}
