//! What holds for every weight format: the scalar dot product is its definition, quantizing is
//! close, and no bytes or floats make it panic.

use hob_kernels::act::{ACT_ALIGN, ActFormat, ActRow, quantize_row};
use hob_kernels::format::{self, Format};
use hob_kernels::{Isa, ShapeError};
use proptest::prelude::*;

/// Where the f16 scale is in a block, and the f16 minimum if there is one. MXFP4's scale is a byte.
fn scale_at(f: Format) -> (usize, Option<usize>) {
    match f {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::Iq4Nl | Format::Iq4Xs => (0, None),
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => (0, Some(2)),
        Format::Q2K => (80, Some(82)),
        Format::Q3K => (108, None),
        Format::Q6K => (208, None),
        Format::Mxfp4 => (0, None),
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("{f} has no scale"),
    }
}

/// Sets scale and minimum of a block, each to 1 or 0.
fn set_scales(f: Format, block: &mut [u8], scale_is_one: bool, min_is_one: bool) {
    let half = |one: bool| if one { [0x00, 0x3c] } else { [0; 2] };
    let (d, m) = scale_at(f);
    if f == Format::Mxfp4 {
        assert!(scale_is_one, "2^-128 is as near to 0 as MXFP4 comes");
        block[d] = 128;
        return;
    }
    block[d..d + 2].copy_from_slice(&half(scale_is_one));
    if let Some(m) = m {
        block[m..m + 2].copy_from_slice(&half(min_is_one));
    }
}

fn with_scales() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|f| f.block_len() > 1)
}

/// An aligned row of activations, owned.
struct Acts {
    bytes: Vec<u8>,
    format: ActFormat,
    k: usize,
}

impl Acts {
    fn empty(format: ActFormat, k: usize) -> Acts {
        let bytes = vec![0; format.row_bytes(k) + ACT_ALIGN];
        Acts { bytes, format, k }
    }

    fn quantized(format: ActFormat, x: &[f32]) -> Acts {
        let mut acts = Acts::empty(format, x.len());
        quantize_row(Isa::Scalar, format, x, acts.part()).unwrap();
        acts
    }

    /// Quants as given, their sums, and scales of 1.
    fn whole(format: ActFormat, q: &[i8]) -> Acts {
        let mut acts = Acts::empty(format, q.len());
        let at = format.layout(q.len());
        let row = acts.part();
        for (b, q) in row.iter_mut().zip(q) {
            *b = *q as u8;
        }
        for (i, q) in q.chunks(format.sum_block()).enumerate() {
            let sum: i32 = q.iter().map(|&q| i32::from(q)).sum();
            row[at.sums + 4 * i..][..4].copy_from_slice(&sum.to_ne_bytes());
        }
        for i in 0..q.len() / format.block() {
            row[at.d + 4 * i..][..4].copy_from_slice(&1.0_f32.to_ne_bytes());
        }
        acts
    }

    fn part(&mut self) -> &mut [u8] {
        let at = self.bytes.as_ptr().align_offset(ACT_ALIGN);
        &mut self.bytes[at..][..self.format.row_bytes(self.k)]
    }

    fn row(&self) -> ActRow<'_> {
        let at = self.bytes.as_ptr().align_offset(ACT_ALIGN);
        let bytes = &self.bytes[at..][..self.format.row_bytes(self.k)];
        ActRow::new(self.format, self.k, bytes).unwrap()
    }

    fn quants(&self) -> (&[i8], &[f32]) {
        match self.row() {
            ActRow::Q8 { q, d, .. } => (q, d),
            ActRow::Floats(_) => unreachable!(),
        }
    }
}

fn dequantized(f: Format, blocks: &[u8]) -> Vec<f32> {
    let mut w = vec![0.0; blocks.len() / f.block_bytes() * f.block_len()];
    format::dequantize(f, blocks, &mut w).unwrap();
    w
}

fn quantized(f: Format, x: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0; f.row_bytes(x.len()).unwrap()];
    format::quantize(f, x, &mut blocks).unwrap();
    blocks
}

/// Floats as weights are: normal, with another magnitude for every 32.
fn weights(n: usize) -> impl Strategy<Value = Vec<f32>> {
    let unit = prop::collection::vec((1e-6_f32..1.0, 0.0_f32..1.0), n);
    let magnitudes = prop::collection::vec(0.01_f32..1.0, n.div_ceil(32));
    (unit, magnitudes).prop_map(|(unit, magnitudes)| {
        let normal =
            |(a, b): (f32, f32)| (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos();
        unit.into_iter()
            .enumerate()
            .map(|(i, u)| normal(u) * magnitudes[i / 32])
            .collect()
    })
}

fn any_floats(n: usize) -> impl Strategy<Value = Vec<f32>> {
    let finite = prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO;
    prop_oneof![
        prop::collection::vec(prop::num::f32::ANY, n),
        prop::collection::vec(finite, n),
        (prop::collection::vec(-1.0_f32..1.0, n), -45..39_i32)
            .prop_map(|(x, e)| x.into_iter().map(|v| v * 10.0_f32.powi(e)).collect()),
        (prop::num::f32::ANY, prop::num::f32::ANY)
            .prop_map(move |(a, b)| (0..n).map(|i| if i % 3 == 0 { a } else { b }).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With scales of 1 the weights are whole numbers, and the dot product is their exact sum,
    /// rounded once to f32.
    #[test]
    fn integer_sums_are_exact(bytes in prop::collection::vec(any::<u8>(), 256),
                              q in prop::collection::vec(-127_i8..=127, 256)) {
        for f in with_scales() {
            let mut block = bytes[..f.block_bytes()].to_vec();
            let acts = Acts::whole(f.activation(), &q[..f.block_len()]);
            for (scale, min) in [(true, false), (false, true)] {
                if min && scale_at(f).1.is_none() {
                    continue;
                }
                set_scales(f, &mut block, scale, min);
                let sum: i64 = dequantized(f, &block).iter().zip(&q)
                    .map(|(w, q)| { assert_eq!(w.fract(), 0.0); *w as i64 * i64::from(*q) }).sum();
                let dot = format::dot(f, &block, acts.row()).unwrap();
                prop_assert_eq!(dot, sum as f32, "{} scale {} min {}", f, scale, min);
            }
        }
    }

    /// Over several blocks: one chain of fused multiply-adds, ascending, from 0.
    #[test]
    fn blocks_are_one_ascending_chain(bytes in prop::collection::vec(any::<u8>(), 5 * 210),
                                      x in weights(5 * 256)) {
        for f in with_scales() {
            let (len, size) = (f.block_len(), f.block_bytes());
            let mut row = bytes[..5 * size].to_vec();
            for block in row.chunks_mut(size) {
                // Ordinary scales: any low byte, exponents around 1.
                let (d, m) = scale_at(f);
                for at in [Some(d), m].into_iter().flatten() {
                    let high = if f == Format::Mxfp4 { at } else { at + 1 };
                    block[high] = block[high] % 32 + if f == Format::Mxfp4 { 110 } else { 0x28 };
                }
            }
            let acts = Acts::quantized(f.activation(), &x[..5 * len]);
            let (q, d_a) = acts.quants();
            let mut acc = 0.0_f32;
            for (i, block) in row.chunks(size).enumerate() {
                let unit = Acts::whole(f.activation(), &q[i * len..][..len]);
                let sum_with = |scale: bool, min: bool| {
                    let mut block = block.to_vec();
                    set_scales(f, &mut block, scale, min);
                    format::dot(f, &block, unit.row()).unwrap()
                };
                let half = |at: usize| half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
                let (d, m) = scale_at(f);
                let d = if f == Format::Mxfp4 { 2.0_f32.powi(i32::from(block[d]) - 128) } else { half(d) };
                acc = (d * d_a[i]).mul_add(sum_with(true, false), acc);
                if let Some(m) = m {
                    // Minima of superblocks are subtracted: the sign is in the sum here.
                    acc = (half(m) * d_a[i]).mul_add(sum_with(false, true), acc);
                }
            }
            prop_assert_eq!(format::dot(f, &row, acts.row()).unwrap().to_bits(), acc.to_bits(), "{}", f);
        }
    }

    /// The dot product is that of the dequantized weights and activations.
    #[test]
    fn dot_is_near_the_dot_of_floats(w in weights(768), x in weights(768)) {
        for f in Format::ALL {
            let row = quantized(f, &w);
            let acts = Acts::quantized(f.activation(), &x);
            let mut a = vec![0.0; 768];
            acts.row().dequantize(&mut a).unwrap();
            let terms = dequantized(f, &row).into_iter().zip(a).map(|(w, a)| f64::from(w) * f64::from(a));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
            let dot = f64::from(format::dot(f, &row, acts.row()).unwrap());
            // Minima cancel: their size is not in the terms, so allow for 2^-20 of it, not 2^-24.
            prop_assert!((dot - sum).abs() <= 1e-6 * size + 1e-6, "{}: {} {}", f, dot, sum);
        }
    }

    #[test]
    fn quantizing_is_close(w in weights(512)) {
        for f in Format::ALL {
            let y = dequantized(f, &quantized(f, &w));
            let len = f.block_len().max(32);
            for (x, y) in w.chunks(len).zip(y.chunks(len)) {
                let power: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
                let error: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
                let relative = (error / power).sqrt();
                prop_assert!(relative <= worst_block(f), "{}: {} of the block's magnitude", f, relative);
            }
        }
    }

    /// Any bytes are blocks, any bytes are activations.
    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 1024),
                             acts in prop::collection::vec(any::<u8>(), 2048 + 64)) {
        for f in Format::ALL {
            let k = 256;
            let row = &bytes[..f.row_bytes(k).unwrap()];
            dequantized(f, row);
            let at = acts.as_ptr().align_offset(ACT_ALIGN);
            let act = ActRow::new(f.activation(), k, &acts[at..][..f.activation().row_bytes(k)]).unwrap();
            format::dot(f, row, act).unwrap();
        }
    }

    /// Any floats can be quantized; what is not finite does not become an ordinary weight.
    #[test]
    fn any_floats_can_be_quantized(x in any_floats(256)) {
        for f in Format::ALL {
            let y = dequantized(f, &quantized(f, &x));
            for (x, y) in x.chunks(f.block_len()).zip(y.chunks(f.block_len())) {
                if x.iter().any(|v| !v.is_finite()) {
                    prop_assert!(y.iter().all(|v| !v.is_finite()), "{}: {:?}", f, y);
                }
            }
        }
    }
}

/// The most that a block (of at least 32) of `weights` may lose, as a share of its own magnitude:
/// the worst of 2,000 rows of 512, and a quarter more.
fn worst_block(f: Format) -> f64 {
    let worst = match f {
        Format::F32 => 0.0,
        Format::F16 => 0.00033,
        Format::BF16 => 0.0028,
        Format::Q4_0 => 0.161,
        Format::Q4_1 => 0.140,
        Format::Q5_0 => 0.092,
        Format::Q5_1 => 0.061,
        Format::Q8_0 => 0.0105,
        Format::Q2K => 0.335,
        Format::Q3K => 0.215,
        Format::Q4K => 0.090,
        Format::Q5K => 0.045,
        Format::Q6K => 0.025,
        Format::Iq4Nl => 0.130,
        Format::Iq4Xs => 0.101,
        Format::Mxfp4 => 0.179,
    };
    1.25 * worst
}

/// The quantizers lose no more than llama.cpp's on the same weights. The figures are those of
/// `ggml_quantize_chunk` without importance matrix (libggml-base 0.25.3): the root of the mean
/// squared error, as a share of the root mean square of the weights.
#[test]
fn quantizing_is_as_good_as_llama_cpp() {
    // Nearly normal, by addition alone: the same on every machine.
    let mut state = 1_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let mut normal = || 0.05 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0);
    let x: Vec<f32> = (0..1 << 16).map(|_| normal()).collect();
    let power: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
    for (f, ggml) in [
        (Format::Q4_0, 0.08409),
        (Format::Q4_1, 0.07709),
        (Format::Q5_0, 0.04181),
        (Format::Q5_1, 0.03721),
        (Format::Q8_0, 0.00523),
        (Format::Q2K, 0.29240),
        (Format::Q3K, 0.14870),
        (Format::Q4K, 0.07011),
        (Format::Q5K, 0.03554),
        (Format::Q6K, 0.01739),
        (Format::Iq4Nl, 0.07503),
        (Format::Iq4Xs, 0.07560),
        (Format::Mxfp4, 0.11679),
    ] {
        let y = dequantized(f, &quantized(f, &x));
        let error: f64 = x
            .iter()
            .zip(&y)
            .map(|(x, y)| f64::from(x - y).powi(2))
            .sum();
        let relative = (error / power).sqrt();
        assert!(
            relative <= 1.015 * ggml,
            "{f}: {relative:.5}, llama.cpp {ggml}"
        );
    }
}

#[test]
fn zeros_stay_zeros() {
    for f in Format::ALL {
        let y = dequantized(f, &quantized(f, &[0.0; 256]));
        assert!(y.iter().all(|v| *v == 0.0), "{f}: {y:?}");
    }
}

#[test]
fn wrong_lengths_are_errors() {
    for f in Format::ALL {
        let bytes = f.row_bytes(512).unwrap();
        let (mut blocks, mut floats) = (vec![0; bytes + 1], vec![0.0; 513]);
        let is_len = |r: Result<(), ShapeError>| matches!(r, Err(ShapeError::Len { .. }));
        assert!(is_len(format::dequantize(
            f,
            &blocks[..bytes - 1],
            &mut floats[..512]
        )));
        assert!(is_len(format::dequantize(f, &blocks, &mut floats[..512])));
        assert!(is_len(format::quantize(f, &floats[..512], &mut blocks)));
        assert!(is_len(format::quantize(
            f,
            &floats[..512],
            &mut blocks[..bytes - 1]
        )));
        let acts = Acts::quantized(f.activation(), &floats[..512]);
        assert!(is_len(format::dot(f, &blocks, acts.row()).map(|_| ())));
        if f.block_len() > 1 {
            let cols = Err(ShapeError::Cols {
                format: f,
                cols: 513,
            });
            assert_eq!(format::dequantize(f, &blocks[..bytes], &mut floats), cols);
            assert_eq!(format::quantize(f, &floats, &mut blocks[..bytes]), cols);
        }
        let other = match f.activation() {
            ActFormat::F32 => ActFormat::Q8x32,
            _ => ActFormat::F32,
        };
        let acts = Acts::quantized(other, &floats[..512]);
        let error = format::dot(f, &blocks[..bytes], acts.row()).unwrap_err();
        assert!(
            matches!(error, ShapeError::ActivationFormat { .. }),
            "{error}"
        );
    }
}
