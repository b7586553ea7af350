//! The contract of the linear kernels: bit-equal to the definition, on every instruction set that
//! this machine has, for every format, order of weights, number of tokens, shape and split.
//!
//! The test proves itself: it prints which kernel ran how often, fails if one never ran, and plants
//! errors in every instruction set that the very same comparison must find.

use std::collections::BTreeMap;

use hob_kernels::act::{ACT_ALIGN, ActRow, quantize_row};
use hob_kernels::format::{dequantize, dot, quantize};
use hob_kernels::linear::{
    Epilogue, Matrix, OutCols, PackedMatrix, RowMatrix, Scratch, forward, forward_tiles,
};
use hob_kernels::planted::{self, Fault};
use hob_kernels::{Format, Isa, counters, pack};

// Register tiles come in from 16 tokens on, at 64 at the latest; then groups of all sizes are left.
const TOKENS: [usize; 9] = [1, 2, 3, 5, 8, 13, 64, 66, 75];
const ROWS: [usize; 6] = [1, 15, 16, 17, 40, 48];
const MAX_TOKENS: usize = 75;
const MAX_ROWS: usize = 48;

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Roughly normal, deviation 1.
    fn normal(&mut self) -> f32 {
        (0..4)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5)
            .sum::<f32>()
            * 1.7
    }
}

/// What weights a case has.
#[derive(Clone, Copy, Debug)]
enum Weights {
    /// Quantized random numbers, as in a model.
    Natural,
    /// Any bytes whose values are finite: scales and quants that no quantizer writes.
    Wild,
    /// Bytes of few values, so that sums come to their largest and smallest.
    Extreme,
}

/// Row-major weights, quantized activations, and what the definition makes of them.
struct Case {
    format: Format,
    cols: usize,
    weights: Vec<u8>,
    acts: Vec<Line>,
    act_stride: usize,
    /// `[MAX_TOKENS, MAX_ROWS]`.
    expected: Vec<f32>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "read as bytes")]
struct Line([u8; ACT_ALIGN]);

impl Case {
    fn new(format: Format, cols: usize, kind: Weights, random: &mut Random) -> Case {
        let row_bytes = format.row_bytes(cols).unwrap();
        let mut weights = vec![0; MAX_ROWS * row_bytes];
        for row in weights.chunks_exact_mut(row_bytes) {
            match kind {
                Weights::Natural => {
                    let x: Vec<f32> = (0..cols).map(|_| random.normal() * 0.05).collect();
                    quantize(format, &x, row).unwrap();
                }
                Weights::Wild => fill_finite(format, row, || random.next() as u8),
                Weights::Extreme => fill_finite(format, row, || {
                    [0xff, 0xff, 0xff, 0, 0x80, 0x7f, 0x88, 0x01][random.next() as usize % 8]
                }),
            }
        }
        let act = format.activation();
        let act_stride = act.row_bytes(cols);
        let mut acts = vec![Line([0; ACT_ALIGN]); MAX_TOKENS * act_stride / ACT_ALIGN];
        for (t, row) in bytes_mut(&mut acts)
            .chunks_exact_mut(act_stride)
            .enumerate()
        {
            let x: Vec<f32> = (0..cols)
                .map(|k| match (kind, t % 3) {
                    // All quants 127, or alternating: the largest sums there are.
                    (Weights::Extreme, 0) => -3.0,
                    (Weights::Extreme, 1) => [3.0, -3.0][k % 2],
                    _ => random.normal(),
                })
                .collect();
            quantize_row(Isa::Scalar, act, &x, row).unwrap();
        }
        let mut case = Case {
            format,
            cols,
            weights,
            acts,
            act_stride,
            expected: Vec::new(),
        };
        for t in 0..MAX_TOKENS {
            let row = &bytes(&case.acts)[t * act_stride..][..act_stride];
            let act = ActRow::new(act, cols, row).unwrap();
            for w in case.weights.chunks_exact(row_bytes) {
                case.expected.push(dot(format, w, act).unwrap());
            }
        }
        case
    }

    fn rows(&self, rows: usize) -> &[u8] {
        &self.weights[..rows * self.format.row_bytes(self.cols).unwrap()]
    }

    fn packed(&self, rows: usize) -> Vec<u8> {
        let src = self.rows(rows);
        let mut dst = vec![0; src.len()];
        pack::pack_matrix(self.format, rows, self.cols, src, &mut dst).unwrap();
        dst
    }

    fn acts(&self, tokens: usize) -> &[u8] {
        &bytes(&self.acts)[..tokens * self.act_stride]
    }

    /// Outputs that differ from the definition in any bit; `y` is `[tokens, rows]`. Any NaN is NaN.
    fn differences(&self, rows: usize, y: &[f32]) -> usize {
        assert!(!y.is_empty() && y.len().is_multiple_of(rows));
        let expected = self
            .expected
            .chunks_exact(MAX_ROWS)
            .flat_map(|all| &all[..rows]);
        y.iter()
            .zip(expected)
            .filter(|(y, e)| y.to_bits() != e.to_bits() && !(y.is_nan() && e.is_nan()))
            .count()
    }
}

/// Fills whole blocks with bytes from `next`, again and again until all values are finite and sums
/// of them do not overflow.
fn fill_finite(format: Format, row: &mut [u8], mut next: impl FnMut() -> u8) {
    let mut values = vec![0.0; format.block_len()];
    for block in row.chunks_exact_mut(format.block_bytes()) {
        loop {
            block.fill_with(&mut next);
            dequantize(format, block, &mut values).unwrap();
            if values.iter().all(|v| v.abs() < 1e20) {
                break;
            }
        }
    }
}

fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are arrays of bytes, without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as in `bytes`, uniquely borrowed.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Several lengths of K for a format, from one block up.
fn lengths(format: Format) -> &'static [usize] {
    match format.block_len() {
        1 => &[1, 7, 64, 333],
        32 => &[32, 96, 320, 2080],
        _ => &[256, 768, 2304],
    }
}

#[test]
fn every_kernel_equals_the_definition_bit_for_bit() {
    let mut random = Random(1);
    for format in Format::ALL {
        for &cols in lengths(format) {
            for kind in [Weights::Natural, Weights::Wild, Weights::Extreme] {
                let case = Case::new(format, cols, kind, &mut random);
                assert!(
                    case.expected.iter().all(|e| e.is_finite()),
                    "{format} {cols} {kind:?}"
                );
                check(&case, kind);
            }
        }
    }
    print_and_check_counters();
}

fn check(case: &Case, kind: Weights) {
    let (format, cols) = (case.format, case.cols);
    for rows in ROWS {
        let packed = case.packed(rows);
        let orders = [
            Matrix::from(PackedMatrix::new(format, rows, cols, &packed).unwrap()),
            Matrix::from(RowMatrix::new(format, rows, cols, case.rows(rows)).unwrap()),
        ];
        for m in orders {
            for isa in Isa::available() {
                for tokens in TOKENS {
                    // The definition itself is slow; one look at each shape is enough for it.
                    if isa == Isa::Scalar && tokens > 3 {
                        continue;
                    }
                    let mut y = vec![f32::NAN; tokens * rows];
                    forward(isa, m, case.acts(tokens), tokens, &mut y).unwrap();
                    let wrong = case.differences(rows, &y);
                    assert_eq!(
                        wrong,
                        0,
                        "{format} {isa} {kind:?} {rows} x {cols}, {tokens} tokens, {m_name}",
                        m_name = name(&m)
                    );
                }
            }
        }
    }
}

fn name(m: &Matrix<'_>) -> &'static str {
    match m {
        Matrix::Packed(_) => "packed",
        Matrix::Rows(_) => "rows",
    }
}

/// Prints which kernel ran how often, and fails if one of this machine's never ran.
fn print_and_check_counters() {
    let mut table = BTreeMap::new();
    for run in counters::snapshot() {
        if let Some(format) = run.format {
            table.insert((run.kernel, format, run.isa), run.runs);
        }
    }
    let isas = Isa::available();
    let line = |kernel, format, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>10}")).collect();
        println!("{kernel:<14} {format:<8}{cells}");
    };
    let names = isas.iter().map(|isa| isa.name().to_owned()).collect();
    line("kernel", "format", names);
    for kernel in ["linear.packed", "linear.rows"] {
        for format in Format::ALL {
            let runs = |isa: &Isa| table.get(&(kernel, format, *isa)).copied().unwrap_or(0);
            let cells = isas.iter().map(|isa| runs(isa).to_string()).collect();
            line(kernel, format.name(), cells);
            for isa in &isas {
                assert!(runs(isa) > 0, "{kernel} never ran for {format} with {isa}");
            }
        }
    }
    // Which formats have tiles is for each set to say; superblocks do in all.
    for format in Format::ALL {
        let runs = |isa: &Isa| {
            table
                .get(&("linear.tiles", format, *isa))
                .copied()
                .unwrap_or(0)
        };
        let cells = isas.iter().map(|isa| runs(isa).to_string()).collect();
        line("linear.tiles", format.name(), cells);
        for isa in isas.iter().filter(|isa| **isa != Isa::Scalar) {
            assert!(
                format.block_len() < 256 || runs(isa) > 0,
                "no tiles of {format} with {isa}"
            );
        }
    }
}

#[test]
fn work_may_be_split_anywhere_and_added_to_a_residual() {
    let mut random = Random(2);
    let rows = 40;
    for (format, tokens) in Format::ALL.into_iter().flat_map(|f| [(f, 5), (f, 66)]) {
        let cols = lengths(format)[1];
        let case = Case::new(format, cols, Weights::Natural, &mut random);
        let packed = case.packed(rows);
        for m in [
            Matrix::from(PackedMatrix::new(format, rows, cols, &packed).unwrap()),
            Matrix::from(RowMatrix::new(format, rows, cols, case.rows(rows)).unwrap()),
        ] {
            for isa in Isa::available() {
                for split in 0..=3 {
                    let stride = rows + 3;
                    let residual: Vec<f32> = (0..tokens * rows).map(|_| random.normal()).collect();
                    let mut y = vec![f32::NAN; tokens * stride];
                    let mut z = residual.clone();
                    let bytes = Scratch::bytes(format.activation(), cols, tokens).unwrap();
                    let mut scratch = Scratch::new(bytes).unwrap();
                    for range in [split..3, 0..split, 3..9] {
                        // SAFETY: the buffers have the sizes of the shapes; isa is available; the
                        // residual is the output itself.
                        unsafe {
                            let acts = case.acts(tokens).as_ptr();
                            let out = OutCols::new(y.as_mut_ptr(), stride);
                            let epilogue = Epilogue::Store;
                            forward_tiles(
                                isa,
                                m,
                                range.clone(),
                                acts,
                                case.act_stride,
                                tokens,
                                out,
                                epilogue,
                                &mut scratch,
                            );
                            let z = z.as_mut_ptr();
                            let epilogue = Epilogue::Add {
                                residual: z,
                                stride: rows,
                            };
                            let out = OutCols::new(z, rows);
                            forward_tiles(
                                isa,
                                m,
                                range,
                                acts,
                                case.act_stride,
                                tokens,
                                out,
                                epilogue,
                                &mut scratch,
                            );
                        }
                    }
                    for (t, row) in y.chunks_exact(stride).enumerate() {
                        let e = &case.expected[t * MAX_ROWS..][..rows];
                        assert_eq!(row[..rows], *e, "{format} {isa} split at {split}");
                        // What lies between the rows is not touched.
                        assert!(row[rows..].iter().all(|v| v.is_nan()));
                        for (r, e) in e.iter().enumerate() {
                            let at = t * rows + r;
                            assert_eq!(z[at].to_bits(), (residual[at] + e).to_bits());
                        }
                    }
                }
            }
        }
    }
}

/// Rows whose panel does not fit the cache are taken in stretches, and the chains wait in between.
#[test]
fn long_rows_are_one_chain() {
    let mut random = Random(5);
    for format in Format::ALL {
        let cols = if format.block_len() == 1 {
            9001
        } else {
            16 << 10
        };
        let case = Case::new(format, cols, Weights::Natural, &mut random);
        let (rows, tokens) = (17, 66);
        let packed = case.packed(rows);
        let m = PackedMatrix::new(format, rows, cols, &packed).unwrap();
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; tokens * rows];
            forward(isa, m.into(), case.acts(tokens), tokens, &mut y).unwrap();
            assert_eq!(case.differences(rows, &y), 0, "{format} {isa}");
        }
    }
}

#[test]
fn planted_errors_are_found() {
    let mut random = Random(3);
    let rows = 40;
    for (format, tokens) in Format::ALL.into_iter().flat_map(|f| [(f, 5), (f, 66)]) {
        let cols = 3 * format.block_len().max(21);
        // The order of blocks shows only where sums are not exact: with large ones too.
        let cases = [Weights::Natural, Weights::Extreme]
            .map(|kind| Case::new(format, cols, kind, &mut random));
        for packed in [true, false] {
            for isa in Isa::available() {
                let wrong = |fault: Option<Fault>| -> usize {
                    let each = cases.iter().map(|case| {
                        let bytes = case.packed(rows);
                        let m = match packed {
                            true => PackedMatrix::new(format, rows, cols, &bytes)
                                .unwrap()
                                .into(),
                            false => RowMatrix::new(format, rows, cols, case.rows(rows))
                                .unwrap()
                                .into(),
                        };
                        planted::set(fault.map(|fault| (isa, fault)));
                        let mut y = vec![f32::NAN; tokens * rows];
                        forward(isa, m, case.acts(tokens), tokens, &mut y).unwrap();
                        planted::set(None);
                        case.differences(rows, &y)
                    });
                    each.sum()
                };
                assert_eq!(wrong(None), 0);
                for fault in Fault::ALL {
                    let in_results = matches!(fault, Fault::OneUlp | Fault::SwappedRows);
                    // The definition has no blocks or groups of its own to confuse.
                    if isa != Isa::Scalar || in_results {
                        assert!(
                            wrong(Some(fault)) > 0,
                            "{fault:?} in {format} {isa} was missed"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_none_and_never_leaks() {
    let mut random = Random(4);
    let (rows, tokens) = (17, 3);
    for format in Format::ALL {
        let cols = 2 * format.block_len();
        let mut case = Case::new(format, cols, Weights::Natural, &mut random);
        // Row 2 of token 1's weights and token 2's activations are spoilt.
        let row_bytes = format.row_bytes(cols).unwrap();
        let nan = vec![f32::NAN; cols];
        quantize(
            format,
            &nan,
            &mut case.weights[2 * row_bytes..3 * row_bytes],
        )
        .unwrap();
        let stride = case.act_stride;
        let row = &mut bytes_mut(&mut case.acts)[2 * stride..3 * stride];
        quantize_row(Isa::Scalar, format.activation(), &nan, row).unwrap();
        let packed = case.packed(rows);
        let m = PackedMatrix::new(format, rows, cols, &packed).unwrap();
        for isa in Isa::available() {
            let mut y = vec![0.0; tokens * rows];
            forward(isa, m.into(), case.acts(tokens), tokens, &mut y).unwrap();
            for (t, y) in y.chunks_exact(rows).enumerate() {
                for (r, y) in y.iter().enumerate() {
                    let expected = case.expected[t * MAX_ROWS + r];
                    if t == 2 {
                        assert!(y.is_nan(), "{format} {isa} token {t}, row {r}: {y}");
                    } else if r == 2 {
                        assert!(!y.is_finite(), "{format} {isa} token {t}, row {r}: {y}");
                    } else {
                        assert_eq!(y.to_bits(), expected.to_bits(), "{format} {isa}");
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let weights = [0; 16 * 18];
    let m = Matrix::from(PackedMatrix::new(Format::Q4_0, 16, 32, &weights).unwrap());
    assert!(PackedMatrix::new(Format::Q4_0, 17, 32, &weights).is_err());
    assert!(RowMatrix::new(Format::Q4_0, 16, 31, &weights).is_err());
    let acts = [Line([0; ACT_ALIGN]); 8];
    let stride = Format::Q4_0.activation().row_bytes(32);
    let mut y = [0.0; 32];
    for isa in Isa::available() {
        assert!(forward(isa, m, &bytes(&acts)[..2 * stride], 2, &mut y).is_ok());
        assert!(forward(isa, m, &bytes(&acts)[..2 * stride], 1, &mut y).is_err());
        assert!(forward(isa, m, &bytes(&acts)[..2 * stride], 2, &mut y[1..]).is_err());
        assert!(forward(isa, m, &bytes(&acts)[8..][..2 * stride], 2, &mut y).is_err());
        assert!(forward(isa, m, &[], usize::MAX, &mut y).is_err());
        assert!(forward(isa, m, &bytes(&acts)[..0], 0, &mut []).is_ok());
    }
}
