//! Activation quantization: every instruction set writes the bytes of the definition, and the
//! definition is what it says.

use hob_kernels::act::{ACT_ALIGN, ActFormat, ActRow, quantize_row};
use hob_kernels::{Isa, ShapeError};
use proptest::prelude::*;

const QUANTIZED: [ActFormat; 2] = [ActFormat::Q8x32, ActFormat::Q8x256];

/// Bytes at the alignment of activation rows, filled with a pattern.
struct Row(Vec<u8>, usize);

impl Row {
    fn new(len: usize) -> Row {
        let bytes = vec![0xa5; len + ACT_ALIGN];
        let at = bytes.as_ptr().align_offset(ACT_ALIGN);
        Row(bytes, at)
    }

    fn get(&mut self) -> &mut [u8] {
        let end = self.0.len() - ACT_ALIGN + self.1;
        &mut self.0[self.1..end]
    }
}

fn quantized(isa: Isa, format: ActFormat, x: &[f32]) -> Row {
    let mut row = Row::new(format.row_bytes(x.len()));
    quantize_row(isa, format, x, row.get()).unwrap();
    row
}

/// Floats of all kinds: ordinary ones, equal magnitudes of both signs, and any bits at all.
fn floats() -> impl Strategy<Value = Vec<f32>> {
    let ordinary = prop::collection::vec(-4.0_f32..4.0, 768);
    let ties = prop::collection::vec(
        prop::sample::select(vec![-1.0_f32, 1.0, 0.5, -0.0, 0.0]),
        768,
    );
    let scaled = (prop::collection::vec(-1.0_f32..1.0, 768), -44..38_i32)
        .prop_map(|(x, e)| x.into_iter().map(|v| v * 10.0_f32.powi(e)).collect());
    let mostly_finite = prop::collection::vec(
        prop_oneof![
            400 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
            1 => prop::num::f32::ANY
        ],
        768,
    );
    prop_oneof![ordinary, ties, scaled, mostly_finite]
}

proptest! {
    #[test]
    fn every_instruction_set_writes_the_same_bytes(x in floats()) {
        for format in QUANTIZED {
            let mut expected = quantized(Isa::Scalar, format, &x);
            for isa in Isa::available() {
                let mut row = quantized(isa, format, &x);
                // Padding included: it is left alone.
                prop_assert_eq!(row.get(), expected.get(), "{} {:?}", isa, format);
            }
        }
    }

    #[test]
    fn the_row_is_what_the_definition_says(x in floats()) {
        for format in QUANTIZED {
            let mut row = quantized(Isa::best(), format, &x);
            let ActRow::Q8 { q, d, sums, .. } = ActRow::new(format, x.len(), row.get()).unwrap() else {
                unreachable!()
            };
            for (i, (x, q)) in x.chunks(format.block()).zip(q.chunks(format.block())).enumerate() {
                if x.iter().any(|v| !v.is_finite()) {
                    prop_assert!(d[i].is_nan() && q.iter().all(|q| *q == 0));
                    continue;
                }
                let amax = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let m = *x.iter().find(|v| v.abs() == amax).unwrap();
                let (inverse, scale) = match format {
                    ActFormat::Q8x32 => {
                        let d = amax / 127.0;
                        let rounded = half::f16::from_f32(d);
                        let exact = !rounded.is_normal() || !(6.103_515_6e-5..=65504.0).contains(&d);
                        (127.0 / amax, if exact { d } else { rounded.to_f32() })
                    }
                    _ => (-127.0 / m, 1.0 / (-127.0 / m)),
                };
                if !inverse.is_finite() {
                    prop_assert!(d[i] == 0.0 && q.iter().all(|q| *q == 0));
                    continue;
                }
                prop_assert_eq!(d[i].to_bits(), scale.to_bits());
                for (x, q) in x.iter().zip(q) {
                    prop_assert_eq!(f32::from(*q), (x * inverse).round_ties_even());
                    prop_assert!((-127..=127).contains(q));
                    let error = (f64::from(d[i]) * f64::from(*q) - f64::from(*x)).abs();
                    let bound = if format == ActFormat::Q8x32 { 0.565 } else { 0.500_02 };
                    prop_assert!(error <= f64::from(d[i].abs()) * bound, "{} {} {}", x, q, d[i]);
                }
            }
            for (sum, q) in sums.iter().zip(q.chunks(format.sum_block())) {
                prop_assert_eq!(i64::from(*sum), q.iter().map(|&q| i64::from(q)).sum::<i64>());
            }
        }
    }

    #[test]
    fn floats_are_copied(x in floats()) {
        let mut row = quantized(Isa::best(), ActFormat::F32, &x);
        let ActRow::Floats(copy) = ActRow::new(ActFormat::F32, x.len(), row.get()).unwrap() else {
            unreachable!()
        };
        prop_assert!(copy.iter().zip(&x).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

/// Every position of a single extreme, of either sign, among smaller ones: no lane is overlooked.
#[test]
fn the_extreme_is_found_wherever_it_is() {
    for at in 0..256 {
        for m in [3.0, -3.0] {
            let mut x = [0.25; 256];
            x[at] = m;
            x[255 - at] = if at < 128 { -m } else { m }; // at < 128: a tie that the first wins.
            for isa in Isa::available() {
                let mut row = quantized(isa, ActFormat::Q8x256, &x);
                let row = ActRow::new(ActFormat::Q8x256, 256, row.get()).unwrap();
                let ActRow::Q8 { q, .. } = row else {
                    unreachable!()
                };
                assert_eq!(q[at.min(255 - at)], -127, "{isa}, {m} at {at}");
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let mut row = Row::new(ActFormat::Q8x256.row_bytes(256) + 64);
    let row = row.get();
    let n = row.len() - 64;
    let scalar = Isa::Scalar;
    assert_eq!(
        quantize_row(scalar, ActFormat::Q8x256, &[0.0; 255], &mut row[..n]),
        Err(ShapeError::Activations {
            format: ActFormat::Q8x256,
            k: 255
        })
    );
    for len in [n - 1, n + 1] {
        let error = quantize_row(scalar, ActFormat::Q8x256, &[0.0; 256], &mut row[..len]);
        assert!(
            matches!(error, Err(ShapeError::Len { expected, found, .. }) if expected == n && found == len)
        );
    }
    let error = quantize_row(scalar, ActFormat::Q8x256, &[0.0; 256], &mut row[4..n + 4]);
    assert!(matches!(error, Err(ShapeError::Misaligned { .. })));
    let error = ActRow::new(ActFormat::Q8x32, 32, &row[4..196]);
    assert!(matches!(error, Err(ShapeError::Misaligned { .. })));
    assert!(ActRow::new(ActFormat::F32, usize::MAX, row).is_err());
}

#[test]
fn the_layout_is_the_documented_one() {
    let at = ActFormat::Q8x256.layout(512);
    assert_eq!((at.q, at.d, at.sums, at.bytes), (0, 512, 576, 704));
    let at = ActFormat::Q8x32.layout(32);
    assert_eq!((at.q, at.d, at.sums, at.bytes), (0, 64, 128, 192));
    assert_eq!(ActFormat::F32.row_bytes(17), 128);
    assert_eq!(ActFormat::Q8x32.row_bytes(0), 0);
}
