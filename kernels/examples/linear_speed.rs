//! How fast the linear kernels are: decode from DRAM in GB/s, prefill in GMAC/s, per format and
//! instruction set, on one thread or more.
//!
//! `cargo run --release -p hob-kernels --example linear_speed -- [threads=1] [isa=avx512]
//! [format=Q4_K] [tokens=64] [seconds=0.3]`
//!
//! Decode reads a packed matrix of 256 MB for one token, and four, and is compared with a plain read
//! of the same bytes. Prefill multiplies 512 rows with `tokens` tokens. All is timed in pieces of some
//! 100 us, jobs in turn, and the quickest quarter of pieces tells (their slowest is reported): a busy
//! machine interrupts the others. What it takes of the memory's bandwidth meanwhile, it takes.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

use hob_kernels::act::{ACT_ALIGN, quantize_row};
use hob_kernels::linear::{
    Epilogue, Matrix, OutCols, PackedMatrix, RowMatrix, Scratch, forward_tiles,
};
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

/// Seconds of a piece of each job: of the quickest quarter of its runs, the slowest. Threads run the
/// jobs at once, each its own pieces; `job(thread, piece)`.
fn time<const N: usize>(
    o: &Options,
    pieces: usize,
    jobs: [&(dyn Fn(usize, usize) + Sync); N],
) -> [f64; N] {
    let all = Mutex::new([const { Vec::new() }; N]);
    std::thread::scope(|scope| {
        for thread in 0..o.threads {
            let all = &all;
            scope.spawn(move || {
                let mut times = [const { Vec::new() }; N];
                let start = Instant::now();
                let mut piece = 0;
                while piece < 8 || start.elapsed().as_secs_f64() < o.seconds * N as f64 {
                    for (n, (times, job)) in times.iter_mut().zip(jobs).enumerate() {
                        // Jobs take turns, far from each other, so that none finds in the cache
                        // what another has read.
                        let piece = (piece + n * pieces / N) % pieces;
                        let start = Instant::now();
                        job(thread, piece);
                        times.push(start.elapsed().as_secs_f64());
                    }
                    piece += 1;
                }
                let mut all = all.lock().unwrap();
                for (all, times) in all.iter_mut().zip(times) {
                    all.extend(times);
                }
            });
        }
    });
    all.into_inner().unwrap().map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 4]
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let o = options()?;
    println!(
        "{} thread(s), {} tokens in prefill, K = {COLS}",
        o.threads, o.tokens
    );
    println!(
        "{:<8} {:<8} {:>12} {:>10} {:>8} {:>12} {:>12} {:>16} {:>14}",
        "format",
        "isa",
        "decode GB/s",
        "read GB/s",
        "share",
        "rows GB/s",
        "pack GB/s",
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
        let piece_tiles = ((1 << 21) / tile_bytes).max(1);
        let pieces = BYTES / tile_bytes / o.threads / piece_tiles;
        let tiles = o.threads * pieces * piece_tiles;
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
            // Some tiles of a matrix, for `tokens`.
            let scratches: Vec<_> = (0..o.threads)
                .map(|_| {
                    let bytes = Scratch::bytes(act, COLS, o.tokens).unwrap();
                    Mutex::new(Scratch::new(bytes).unwrap())
                })
                .collect();
            let run = |m: Matrix<'_>, range: Range<usize>, tokens: usize, thread: usize| {
                let mut scratch = scratches[thread].lock().unwrap();
                // SAFETY: buffers are as large as the shapes ask for, threads take different tiles,
                // and all outlive the scope. (Prefill's threads write the same values.)
                unsafe {
                    let out = OutCols::new(y as *mut f32, m.rows());
                    let acts = acts as *const u8;
                    let s = &mut *scratch;
                    forward_tiles(isa, m, range, acts, stride, tokens, out, Epilogue::Store, s);
                }
            };
            let all = Matrix::from(PackedMatrix::new(f, rows, COLS, weights)?);
            let mapped = Matrix::from(RowMatrix::new(f, rows, COLS, weights)?);
            let few = PackedMatrix::new(f, 512, COLS, &weights[..512 * row_bytes])?.into();
            let of = |thread: usize, piece: usize| {
                let first = (thread * pieces + piece) * piece_tiles;
                first..first + piece_tiles
            };
            let packed: Vec<_> = (0..o.threads)
                .map(|_| Mutex::new(vec![0; piece_tiles * tile_bytes]))
                .collect();
            let [read, decode, four, rows, packing] = time(
                &o,
                pieces,
                [
                    &|thread, piece| {
                        let tiles = of(thread, piece);
                        read(&weights[tiles.start * tile_bytes..tiles.end * tile_bytes]);
                    },
                    &|thread, piece| run(all, of(thread, piece), 1, thread),
                    &|thread, piece| run(all, of(thread, piece), 4, thread),
                    &|thread, piece| run(mapped, of(thread, piece), 1, thread),
                    &|thread, piece| {
                        let mut to = packed[thread].lock().unwrap();
                        for (i, to) in of(thread, piece).zip(to.chunks_exact_mut(tile_bytes)) {
                            let from = &weights[i * tile_bytes..][..tile_bytes];
                            pack::pack_tile(f, COLS, from, to).unwrap();
                        }
                    },
                ],
            );
            let prefill =
                |thread: usize, piece: usize| run(few, few_tile(thread, piece), o.tokens, thread);
            let [prefill] = time(&o, 16, [&prefill]);
            let gb = (o.threads * piece_tiles * tile_bytes) as f64 / 1e9;
            println!(
                "{:<8} {:<8} {:>12.1} {:>10.1} {:>7.0}% {:>12.1} {:>12.1} {:>16.1} {:>14.2}",
                f.name(),
                isa.name(),
                gb / decode,
                gb / read,
                100.0 * read / decode,
                gb / rows,
                gb / packing,
                (o.threads * 2 * 16 * COLS * o.tokens) as f64 / 1e9 / prefill,
                four / decode,
            );
        }
    }
    Ok(())
}

/// Two tiles of 32.
fn few_tile(thread: usize, piece: usize) -> Range<usize> {
    let first = 2 * ((piece + 8 * thread) % 16);
    first..first + 2
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
