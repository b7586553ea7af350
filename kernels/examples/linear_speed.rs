//! How fast the linear kernels are: decode from DRAM in GB/s, prefill in GMAC/s, per format and
//! instruction set, on one thread or more.
//!
//! `cargo run --release -p hob-kernels --example linear_speed -- [threads=1] [isa=avx512]
//! [format=Q4_K] [tokens=64] [seconds=0.3]`
//!
//! Decode reads a packed matrix of 256 MB for one token, and is given as a share of a plain read of
//! the same bytes, measured in turn with it. Prefill multiplies 512 rows with `tokens` tokens. Best
//! of as many repetitions as fit the time: on a busy machine figures are lower bounds.

use std::time::Instant;

use hob_kernels::act::{ACT_ALIGN, quantize_row};
use hob_kernels::linear::{Epilogue, Matrix, OutCols, PackedMatrix, RowMatrix, forward_tiles};
use hob_kernels::{Format, Isa, format, pack};

const COLS: usize = 4096;
const BYTES: usize = 256 << 20;

struct Options {
    threads: usize,
    tokens: usize,
    seconds: f64,
    isas: Vec<Isa>,
    formats: Vec<Format>,
}

fn options() -> Result<Options, Box<dyn std::error::Error>> {
    let mut o = Options {
        threads: 1,
        tokens: 64,
        seconds: 0.3,
        isas: Isa::available()
            .into_iter()
            .filter(|isa| *isa != Isa::Scalar)
            .collect(),
        formats: Format::ALL.to_vec(),
    };
    for arg in std::env::args().skip(1) {
        match arg.split_once('=').ok_or("options are name=value")? {
            ("threads", n) => o.threads = n.parse()?,
            ("tokens", n) => o.tokens = n.parse()?,
            ("seconds", n) => o.seconds = n.parse()?,
            ("isa", name) => o.isas = vec![Isa::choose(Some(name))?],
            ("format", names) => {
                o.formats = names
                    .split(',')
                    .map(|name| Format::from_name(name).ok_or(format!("no format {name}")))
                    .collect::<Result<_, _>>()?;
            }
            (name, _) => return Err(format!("no option {name}").into()),
        }
    }
    Ok(o)
}

#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "read as bytes")]
struct Line([u8; ACT_ALIGN]);

fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are arrays of bytes, without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Runs `parts` of a job, one a thread, and returns the seconds.
fn timed(threads: usize, part: impl Fn(usize) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for i in 1..threads {
            let part = &part;
            scope.spawn(move || part(i));
        }
        part(0);
    });
    start.elapsed().as_secs_f64()
}

/// The least seconds of each of two jobs, run in turn.
fn best_of<const N: usize>(seconds: f64, jobs: [&dyn Fn() -> f64; N]) -> [f64; N] {
    let mut best = [f64::MAX; N];
    let start = Instant::now();
    let mut runs = 0;
    while runs < 3 || start.elapsed().as_secs_f64() < seconds {
        for (best, job) in best.iter_mut().zip(jobs) {
            *best = best.min(job());
        }
        runs += 1;
    }
    best
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let o = options()?;
    println!(
        "{} thread(s), {} tokens in prefill, K = {COLS}",
        o.threads, o.tokens
    );
    println!(
        "{:<8} {:<8} {:>12} {:>10} {:>8} {:>12} {:>16} {:>14}",
        "format",
        "isa",
        "decode GB/s",
        "read GB/s",
        "share",
        "rows GB/s",
        "prefill GMAC/s",
        "4 tokens, x 1"
    );
    let mut weights = vec![Line([0; 64]); BYTES / 64];
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for &f in &o.formats {
        let row_bytes = f.row_bytes(COLS).ok_or("K is not whole blocks")?;
        let tile_bytes = 16 * row_bytes;
        let tiles = BYTES / tile_bytes / o.threads * o.threads;
        let rows = 16 * tiles;
        let weights = &mut bytes_mut(&mut weights)[..tiles * tile_bytes];
        {
            let mut src = vec![0; tile_bytes];
            for row in src.chunks_exact_mut(row_bytes) {
                let x: Vec<f32> = (0..COLS).map(|_| random() * 0.1).collect();
                format::quantize(f, &x, row)?;
            }
            let mut tile = vec![0; tile_bytes];
            pack::pack_tile(f, COLS, &src, &mut tile)?;
            for to in weights.chunks_exact_mut(tile_bytes) {
                to.copy_from_slice(&tile);
            }
        }
        let weights = &*weights;
        let act = f.activation();
        let stride = act.row_bytes(COLS);
        let mut acts = vec![Line([0; 64]); o.tokens.max(4) * stride / 64];
        for row in bytes_mut(&mut acts).chunks_exact_mut(stride) {
            let x: Vec<f32> = (0..COLS).map(|_| random()).collect();
            quantize_row(Isa::Scalar, act, &x, row)?;
        }
        let acts = bytes_mut(&mut acts).as_ptr().addr();
        let mut y = vec![0.0_f32; (o.tokens * 512).max(4 * rows)];
        let y = y.as_mut_ptr().addr();
        for &isa in &o.isas {
            // `tiles` of a matrix of `rows`, for `tokens`, on all threads.
            let run = |m: Matrix<'_>, tokens: usize| {
                timed(o.threads, |i| {
                    let share = m.tiles().div_ceil(o.threads);
                    // SAFETY: buffers are as large as the shapes ask for, threads take different
                    // tiles, and all outlive the scope.
                    unsafe {
                        let out = OutCols::new(y as *mut f32, m.rows());
                        let range = i * share..(i + 1) * share;
                        let acts = acts as *const u8;
                        forward_tiles(isa, m, range, acts, stride, tokens, out, Epilogue::Store);
                    }
                })
            };
            let all = Matrix::from(PackedMatrix::new(f, rows, COLS, weights)?);
            let as_rows = RowMatrix::new(f, 2048, COLS, &weights[..2048 * row_bytes])?.into();
            let few = PackedMatrix::new(f, 512, COLS, &weights[..512 * row_bytes])?.into();
            let [decode, read, four] = best_of(
                o.seconds,
                [
                    &|| run(all, 1),
                    &|| {
                        timed(o.threads, |i| {
                            let share = weights.len() / o.threads;
                            read(&weights[i * share..(i + 1) * share]);
                        })
                    },
                    &|| run(all, 4),
                ],
            );
            let [mapped] = best_of(o.seconds / 4.0, [&|| run(as_rows, 1)]);
            let [prefill] = best_of(o.seconds, [&|| run(few, o.tokens)]);
            let gb = weights.len() as f64 / 1e9;
            println!(
                "{:<8} {:<8} {:>12.1} {:>10.1} {:>7.0}% {:>12.1} {:>16.1} {:>14.2}",
                f.name(),
                isa.name(),
                gb / decode,
                gb / read,
                100.0 * read / decode,
                (2048 * row_bytes) as f64 / 1e9 / mapped,
                (512 * COLS * o.tokens) as f64 / 1e9 / prefill,
                four / decode,
            );
        }
    }
    Ok(())
}

/// Reads every byte.
fn read(bytes: &[u8]) {
    let mut sums = [0_u64; 32];
    for line in bytes.as_chunks::<8>().0.as_chunks::<32>().0 {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum ^= u64::from_ne_bytes(*word);
        }
    }
    std::hint::black_box(sums);
}
