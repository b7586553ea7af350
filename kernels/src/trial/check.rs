//! Equality with the definitions, bit for bit.
//!
//! Weights are ordinary ones, any finite bytes, and bytes that drive sums to their extremes; rows do
//! not fill their last tile, and tokens do not fill their groups. Any NaN equals any NaN.

use super::attend::page;
use super::{Random, Subject, TrialError};
use crate::act::{ActRow, quantize_row};
use crate::attention::{Query, Scoring, attend_span, partial_len};
use crate::error::ShapeError;
use crate::format::{Format, dequantize, dot, quantize};
use crate::isa::Isa;
use crate::kv::{KvElem, KvLayout, PAGE_POSITIONS};
use crate::linear::{Matrix, PackedMatrix, RowMatrix, forward};
use crate::pack;
use crate::program::AlignedBytes;

/// The first bit that a kernel got wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "the {subject} kernel of `{isa}` is wrong: {case}, output {at} is {found:e} ({found_bits:#010x}) \
     and must be {expected:e} ({expected_bits:#010x}), and {wrong} of {outputs} outputs differ; \
     choose another set with --isa, and please report this with the name of your processor",
    subject = .subject.name(),
    found_bits = .found.to_bits(),
    expected_bits = .expected.to_bits(),
)]
pub struct Mismatch {
    /// What is wrong.
    pub subject: Subject,
    /// On which instruction set.
    pub isa: Isa,
    /// On which input.
    pub case: String,
    /// Index of the first output that differs.
    pub at: usize,
    /// What it should be.
    pub expected: f32,
    /// What it was.
    pub found: f32,
    /// How many differ.
    pub wrong: usize,
    /// Of how many.
    pub outputs: usize,
}

/// Compares the kernels of these instruction sets, each of which must be available, with the
/// definition. Returns how many outputs were compared, each equal.
///
/// # Errors
/// [`TrialError::Mismatch`] at the first case that differs.
pub fn check(subject: Subject, isas: &[Isa]) -> Result<u64, TrialError> {
    match subject {
        Subject::Linear(f) => linear(f, isas),
        Subject::Attend(elem) => attention(elem, isas),
    }
}

/// Compares one case.
fn compare(
    (subject, isa): (Subject, Isa),
    case: impl FnOnce() -> String,
    found: &[f32],
    expected: &[f32],
) -> Result<u64, TrialError> {
    let differs = |(f, e): &(&f32, &f32)| f.to_bits() != e.to_bits() && !(f.is_nan() && e.is_nan());
    let mut wrong = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, pair)| differs(pair));
    match wrong.next() {
        None => Ok(expected.len() as u64),
        Some((at, (&found, &right))) => Err(Mismatch {
            subject,
            isa,
            case: case(),
            at,
            expected: right,
            found,
            wrong: 1 + wrong.count(),
            outputs: expected.len(),
        }
        .into()),
    }
}

const ROWS: usize = 40;
const TOKENS: [usize; 6] = [1, 2, 5, 8, 13, 75];
const MOST: usize = 75;

/// What weights a case has.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// As in a model.
    Ordinary,
    /// Any bytes whose values are finite.
    Wild,
    /// Bytes of few values, against activations of one size.
    Extreme,
}

fn linear(f: Format, isas: &[Isa]) -> Result<u64, TrialError> {
    let mut random = Random(f as u64);
    let mut compared = 0;
    let lengths = match f.block_len() {
        1 => [7, 64, 1333],
        n => [n, 3 * n, 2304 / n * n + n],
    };
    for cols in lengths {
        for kind in [Kind::Ordinary, Kind::Wild, Kind::Extreme] {
            let rows = weights(f, cols, kind, &mut random)?;
            let act = f.activation();
            let stride = act.row_bytes(cols);
            let mut acts = AlignedBytes::zeroed(MOST * stride)
                .ok_or(ShapeError::TooLarge { rows: MOST, cols })?;
            for (t, row) in acts.as_mut_slice().chunks_exact_mut(stride).enumerate() {
                let x: Vec<f32> = (0..cols)
                    .map(|k| match (kind, t % 3) {
                        (Kind::Extreme, 0) => -3.0,
                        (Kind::Extreme, 1) if k % 2 == 0 => 3.0,
                        (Kind::Extreme, 1) => -3.0,
                        _ => random.normal(),
                    })
                    .collect();
                quantize_row(Isa::Scalar, act, &x, row)?;
            }
            let acts = acts.as_slice();
            let mut expected = Vec::with_capacity(MOST * ROWS);
            for act_row in acts.chunks_exact(stride) {
                let act_row = ActRow::new(act, cols, act_row)?;
                for row in rows.chunks_exact(f.checked_row_bytes(cols)?) {
                    expected.push(dot(f, row, act_row)?);
                }
            }
            let mut packed = vec![0; rows.len()];
            pack::pack_matrix(f, ROWS, cols, &rows, &mut packed)?;
            let orders: [(&str, Matrix<'_>); 2] = [
                ("packed", PackedMatrix::new(f, ROWS, cols, &packed)?.into()),
                ("row-major", RowMatrix::new(f, ROWS, cols, &rows)?.into()),
            ];
            let mut y = vec![0.0; MOST * ROWS];
            for &isa in isas {
                for (order, m) in orders {
                    for t in TOKENS {
                        let y = y.get_mut(..t * ROWS).unwrap_or_default();
                        y.fill(f32::NAN);
                        let acts = acts.get(..t * stride).unwrap_or_default();
                        forward(isa, m, acts, t, y)?;
                        let case = || {
                            let kind = format!("{kind:?}").to_lowercase();
                            format!("{kind} {order} weights [{ROWS}, {cols}], {t} tokens")
                        };
                        let expected = expected.get(..y.len()).unwrap_or_default();
                        compared += compare((Subject::Linear(f), isa), case, y, expected)?;
                    }
                }
            }
        }
    }
    Ok(compared)
}

fn weights(f: Format, cols: usize, kind: Kind, random: &mut Random) -> Result<Vec<u8>, ShapeError> {
    const FEW: [u8; 8] = [0xff, 0xff, 0xff, 0, 0x80, 0x7f, 0x88, 0x01];
    let row_bytes = f.checked_row_bytes(cols)?;
    let mut rows = vec![0; ROWS * row_bytes];
    let mut values = vec![0.0; f.block_len()];
    match kind {
        Kind::Ordinary => {
            for row in rows.chunks_exact_mut(row_bytes) {
                let x: Vec<f32> = (0..cols).map(|_| 0.05 * random.normal()).collect();
                quantize(f, &x, row)?;
            }
        }
        Kind::Wild | Kind::Extreme => {
            for block in rows.chunks_exact_mut(f.block_bytes()) {
                // Most bytes make finite blocks: this ends.
                loop {
                    for byte in block.iter_mut() {
                        let any = random.next();
                        *byte = match kind {
                            Kind::Extreme => FEW.get(any as usize % 8).copied().unwrap_or(0),
                            _ => any as u8,
                        };
                    }
                    dequantize(f, block, &mut values)?;
                    if values.iter().all(|v| v.abs() < 1e20) {
                        break;
                    }
                }
            }
        }
    }
    Ok(rows)
}

fn attention(elem: KvElem, isas: &[Isa]) -> Result<u64, TrialError> {
    let mut random = Random(elem as u64);
    let mut compared = 0;
    for (dk, dv) in [(64, 64), (128, 128), (96, 160)] {
        let layout = KvLayout::new(2, dk, dv, elem)?;
        let page = page(&layout, &mut random);
        for (queries, softcap) in [(1, None), (4, Some(30.0)), (13, None)] {
            let numbers = random.normals(queries * dk);
            let ranges = [(0, PAGE_POSITIONS), (0, 1), (100, 201), (17, 16)];
            let queries: Vec<Query<'_>> = numbers
                .chunks_exact(dk)
                .enumerate()
                .map(|(i, q)| {
                    let (lo, hi) = ranges.get(i % 4).copied().unwrap_or_default();
                    Query { q, lo, hi }
                })
                .collect();
            let scoring = Scoring {
                scale: 0.125,
                softcap,
            };
            let floats = queries.len() * partial_len(dv);
            let run = |isa| -> Result<Vec<f32>, ShapeError> {
                let mut partials = vec![0.0; floats];
                attend_span(isa, &layout, &page, 1, scoring, &queries, &mut partials)?;
                Ok(partials)
            };
            let expected = run(Isa::Scalar)?;
            for &isa in isas {
                let case = || format!("{} queries, heads of {dk} and {dv}", queries.len());
                compared += compare((Subject::Attend(elem), isa), case, &run(isa)?, &expected)?;
            }
        }
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_passes() {
        let isas = Isa::available();
        for subject in Subject::all() {
            assert!(check(subject, &isas).unwrap() > 0);
        }
    }

    /// The trial proves itself: it finds each kind of error, on each instruction set.
    #[cfg(feature = "planted")]
    #[test]
    fn planted_errors_are_found() {
        use crate::planted::{self, Fault};
        let subject = Subject::Linear(Format::Q4K);
        for isa in Isa::available() {
            for fault in Fault::ALL {
                // The definition has no blocks to exchange or drop.
                let in_results = matches!(fault, Fault::OneUlp | Fault::SwappedRows);
                if isa == Isa::Scalar && !in_results {
                    continue;
                }
                planted::set(Some((isa, fault)));
                let found = check(subject, &Isa::available());
                planted::set(None);
                match found {
                    Err(TrialError::Mismatch(m)) => {
                        assert_eq!((m.subject, m.isa), (subject, isa));
                        let text = m.to_string();
                        assert!(text.contains("Q4_K") && text.contains("--isa"), "{text}");
                    }
                    other => panic!("{fault:?} on {isa} was not found: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_nan_is_a_nan_and_a_bit_is_a_bit() {
        let who = (Subject::Linear(Format::F32), Isa::Scalar);
        let nan = f32::from_bits(0x7fc0_0001);
        let same = compare(who, String::new, &[nan, 1.0], &[f32::NAN, 1.0]);
        assert_eq!(same.unwrap(), 2);
        let zero = compare(who, String::new, &[0.0], &[-0.0]);
        assert!(matches!(zero, Err(TrialError::Mismatch(m)) if m.wrong == 1 && m.at == 0));
    }
}
