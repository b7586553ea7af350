//! The kernels of AVX-VNNI in the encoding of AVX-512, against the definition.
//!
//! On a CPU that has AVX-VNNI itself, `tests/contract.rs` runs the kernels proper; on one that has
//! neither, nothing is run, and the test says so.

use super::*;
use crate::act::{ACT_ALIGN, quantize_row};
use crate::format::quantize;
use crate::isa::Isa;
use crate::linear::vector::gemm::sweep;
use crate::linear::vector::walk;
use crate::linear::{Matrix, PackedMatrix, RowMatrix, Scratch, forward};
use crate::pack;
use crate::planted::{self, Fault};
use std::cell::RefCell;

/// The encoding of AVX-512.
#[derive(Clone, Copy)]
struct Evex;

impl Encoding for Evex {
    #[inline(always)]
    unsafe fn dpbusd(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_epi32(acc, unsigned, signed) }
    }
    #[inline(always)]
    unsafe fn dpwssd(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpwssd_epi32(acc, a, b) }
    }
}

mod evex {
    use super::{Evex, Simd, Vnni};
    use crate::linear::panels::panel_functions;
    type Twin = Vnni<Evex>;
    panel_functions!(Twin, "avx2,fma,f16c,bmi1,bmi2,avx512f,avx512vl,avx512vnni");
}

#[derive(Clone, Copy)]
#[repr(align(64))]
#[expect(dead_code, reason = "read as bytes")]
struct Line([u8; ACT_ALIGN]);

const ROWS: usize = 40;
const TOKENS: usize = 21;

/// `[tokens, ROWS]` of the twin.
fn twin(m: Matrix<'_>, acts: &[u8], stride: usize, tokens: usize) -> Vec<f32> {
    let y = RefCell::new(vec![f32::NAN; tokens * ROWS]);
    let kernel = evex::panel_function(m.format());
    let store = |first: usize, n: usize, token: usize, values: &Chains| {
        y.borrow_mut()[token * ROWS + first..][..n].copy_from_slice(&values[..n]);
    };
    let isa = Isa::AvxVnni;
    let all = 0..m.tiles();
    // SAFETY: the CPU has the features (see the test); acts are `tokens` rows.
    unsafe {
        // Whatever is quicker: all have tiles but floats.
        if let Some(gemm) = evex::gemm(m.format()).filter(|_| tokens > 4) {
            // Not what `Scratch::bytes` says of so few tokens.
            let bytes = Scratch::bytes(m.format().activation(), m.cols(), 16 + tokens).unwrap();
            let mut scratch = Scratch::new(bytes).unwrap();
            assert!(sweep::run(
                isa,
                &gemm,
                &m,
                all,
                acts.as_ptr(),
                stride,
                tokens,
                &mut scratch,
                store
            ));
        } else {
            let layout = m.format().activation().layout(m.cols());
            let acts = Acts::of(layout, acts.as_ptr(), stride);
            walk::run(isa, kernel, m, all, acts, tokens, store);
        }
    }
    y.into_inner()
}

#[test]
fn the_twin_of_avxvnni_equals_the_definition_bit_for_bit() {
    if !(Isa::Avx512.is_available()) {
        println!("not run: this CPU lacks avx512vnni and avx512vl");
        return;
    }
    let mut state = 5_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as u32
    };
    for format in Format::ALL {
        let cols = 3 * format.block_len().max(21);
        let (row_bytes, act) = (format.row_bytes(cols).unwrap(), format.activation());
        let stride = act.row_bytes(cols);
        let mut acts = vec![Line([0; ACT_ALIGN]); TOKENS * stride / ACT_ALIGN];
        // SAFETY: lines are arrays of bytes, without padding.
        let acts = unsafe {
            std::slice::from_raw_parts_mut(acts.as_mut_ptr().cast::<u8>(), TOKENS * stride)
        };
        for (t, row) in acts.chunks_exact_mut(stride).enumerate() {
            // Every third row has the largest quants only.
            let x: Vec<f32> = (0..cols)
                .map(|_| {
                    if t % 3 == 0 {
                        -3.0
                    } else {
                        random() as f32 - 8e6
                    }
                })
                .collect();
            quantize_row(Isa::Scalar, act, &x, row).unwrap();
        }
        for wild in [false, true] {
            let mut rows = vec![0; ROWS * row_bytes];
            if wild {
                rows.fill_with(|| [random() as u8, 0xff, 0, 0x80][random() as usize % 4]);
            } else {
                for row in rows.chunks_exact_mut(row_bytes) {
                    let x: Vec<f32> = (0..cols).map(|_| random() as f32 * 1e-8 - 0.08).collect();
                    quantize(format, &x, row).unwrap();
                }
            }
            let mut packed = vec![0; rows.len()];
            pack::pack_matrix(format, ROWS, cols, &rows, &mut packed).unwrap();
            for m in [
                Matrix::from(PackedMatrix::new(format, ROWS, cols, &packed).unwrap()),
                Matrix::from(RowMatrix::new(format, ROWS, cols, &rows).unwrap()),
            ] {
                let mut expected = vec![f32::NAN; TOKENS * ROWS];
                forward(Isa::Scalar, m, acts, TOKENS, &mut expected).unwrap();
                assert!(wild || expected.iter().all(|e| e.is_finite()));
                assert!(wild || expected.iter().any(|e| *e != 0.0));
                let differences = |tokens: usize, fault: Option<Fault>| {
                    planted::set(fault.map(|fault| (Isa::AvxVnni, fault)));
                    let y = twin(m, acts, stride, tokens);
                    planted::set(None);
                    y.iter()
                        .zip(&expected)
                        .filter(|(y, e)| y.to_bits() != e.to_bits() && !(y.is_nan() && e.is_nan()))
                        .count()
                };
                for tokens in [1, 2, 3, 4, 5, 16, TOKENS] {
                    assert_eq!(differences(tokens, None), 0, "{format}, {tokens} tokens");
                }
                for fault in Fault::ALL {
                    let found = wild || differences(TOKENS, Some(fault)) > 0;
                    assert!(found, "{fault:?} in {format} was missed");
                }
            }
        }
    }
}
