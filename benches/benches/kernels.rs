//! Criterion benches of the kernels: `cargo bench -p hob-bench`. Matrices are larger than the
//! caches for decode, so that its figure is memory's; compare with a machine's read bandwidth.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hob_kernels::act::quantize_row;
use hob_kernels::format::{Format, quantize};
use hob_kernels::isa::Isa;
use hob_kernels::linear::{PackedMatrix, forward};
use hob_kernels::pack::pack_matrix;
use hob_kernels::program::AlignedBytes;
use std::hint::black_box;

/// Formats of the models that most people run.
const FORMATS: [Format; 5] = [
    Format::Q4_0,
    Format::Q4_1,
    Format::Q4K,
    Format::Q6K,
    Format::Q8_0,
];

/// A packed `[rows, cols]` matrix of one repeated row.
fn packed(format: Format, rows: usize, cols: usize) -> Vec<u8> {
    let x: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.37).sin() * 0.02).collect();
    let mut row = vec![0; format.row_bytes(cols).expect("whole blocks")];
    quantize(format, &x, &mut row).expect("whole blocks");
    let src = row.repeat(rows);
    let mut dst = vec![0; src.len()];
    pack_matrix(format, rows, cols, &src, &mut dst).expect("a whole matrix");
    dst
}

/// `tokens` rows of activations in the form that the format reads.
fn activations(isa: Isa, format: Format, tokens: usize, cols: usize) -> AlignedBytes {
    let act = format.activation();
    let n = act.row_bytes(cols);
    let mut acts = AlignedBytes::zeroed(n * tokens).expect("memory");
    let x: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.11).cos()).collect();
    for row in acts.as_mut_slice().chunks_exact_mut(n) {
        quantize_row(isa, act, &x, row).expect("whole blocks");
    }
    acts
}

fn linear(c: &mut Criterion, name: &str, rows: usize, cols: usize, tokens: usize) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    for format in FORMATS {
        let weights = packed(format, rows, cols);
        let matrix = PackedMatrix::new(format, rows, cols, &weights).expect("a whole matrix");
        let mut out = vec![0.0; rows * tokens];
        group.throughput(match tokens {
            1 => Throughput::Bytes(weights.len() as u64),
            _ => Throughput::Elements((rows * cols * tokens) as u64),
        });
        for isa in Isa::available().into_iter().filter(|&i| i != Isa::Scalar) {
            let acts = activations(isa, format, tokens, cols);
            group.bench_function(BenchmarkId::new(format.name(), isa.name()), |b| {
                b.iter(|| {
                    forward(
                        isa,
                        matrix.into(),
                        black_box(acts.as_slice()),
                        tokens,
                        &mut out,
                    )
                });
            });
        }
    }
    group.finish();
}

fn benches(c: &mut Criterion) {
    // 100 to 250 MB of weights, one token: bytes a second.
    linear(c, "decode", 49_152, 4096, 1);
    // Weights in the caches, many tokens: multiply-adds a second.
    linear(c, "prefill", 512, 2048, 64);
}

criterion_group!(kernels, benches);
criterion_main!(kernels);
