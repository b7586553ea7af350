//! Every function against its formula in f64, and every instruction set against the scalar bits.

use super::*;
use crate::isa::Isa;
use crate::rope::RopeStyle;

/// Fixed numbers of mixed sizes; every 19th is special.
fn row(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            (f64::from(s) / f64::from(u32::MAX) - 0.5) as f32
                * [0.01, 1.0, 20.0, 300.0][(s >> 8) as usize % 4]
        })
        .collect()
}

fn with_specials(mut x: Vec<f32>) -> Vec<f32> {
    let specials = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-45,
        -1e-40,
        3e38,
        -3e38,
        88.8,
        -88.0,
        -103.5,
    ];
    for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| i % 19 == 7) {
        *x = specials[i / 19 % specials.len()];
    }
    x
}

type Unary = fn(Isa, &[f32], &mut [f32]);
type Binary = fn(Isa, &[f32], &[f32], &mut [f32]);

const UNARY: &[(&str, Unary)] = &[
    ("rms_norm", |isa, x, out| rms_norm(isa, x, None, 1e-6, out)),
    ("layer_norm", |isa, x, out| {
        layer_norm(isa, x, None, None, 1e-5, out)
    }),
    ("l2_norm", |isa, x, out| l2_norm(isa, x, 1e-6, out)),
    ("softmax", |isa, x, out| {
        out.copy_from_slice(x);
        softmax_assign(isa, out)
    }),
    ("scale", |isa, x, out| scale(isa, x, 0.3, out)),
    ("softcap", |isa, x, out| softcap(isa, x, 30.0, out)),
    ("silu", silu),
    ("gelu_tanh", gelu_tanh),
    ("gelu_erf", gelu_erf),
    ("gelu_quick", gelu_quick),
    ("sigmoid", sigmoid),
    ("tanh", tanh),
    ("relu", relu),
    ("relu_squared", relu_squared),
];

const BINARY: &[(&str, Binary)] = &[
    ("rms_norm weighted", |isa, x, w, out| {
        rms_norm(isa, x, Some(w), 1e-6, out)
    }),
    ("rms_norm_assign", |isa, x, w, out| {
        out.copy_from_slice(x);
        rms_norm_assign(isa, out, Some(w), 1e-6)
    }),
    ("layer_norm weighted", |isa, x, w, out| {
        layer_norm(isa, x, Some(w), Some(x), 1e-6, out)
    }),
    ("add", add),
    ("mul", mul),
    ("silu_mul", silu_mul),
    ("gelu_tanh_mul", gelu_tanh_mul),
    ("gelu_erf_mul", gelu_erf_mul),
    ("swiglu_clamped", |isa, g, u, out| {
        swiglu_clamped(isa, g, u, 1.702, 7.0, out)
    }),
    ("rope normal", |isa, x, angles, out| {
        rotate(isa, x, angles, out, RopeStyle::Normal)
    }),
    ("rope neox", |isa, x, angles, out| {
        rotate(isa, x, angles, out, RopeStyle::Neox)
    }),
];

fn rotate(isa: Isa, x: &[f32], angles: &[f32], out: &mut [f32], style: RopeStyle) {
    out.copy_from_slice(x);
    let quarter = x.len() / 4;
    rope(
        isa,
        out,
        &angles[..quarter],
        &angles[quarter..2 * quarter],
        style,
    );
}

/// Bits, with every NaN alike: payloads are not part of the definition.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter()
        .map(|x| {
            if x.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.to_bits()
            }
        })
        .collect()
}

#[test]
fn all_instruction_sets_give_the_scalar_bits() {
    for n in [1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 100, 255, 1000, 4099] {
        for specials in [false, true] {
            let make = |seed| {
                if specials {
                    with_specials(row(n, seed))
                } else {
                    row(n, seed)
                }
            };
            let (a, b) = (make(n as u32), make(n as u32 + 77));
            for isa in Isa::available() {
                let (mut want, mut got) = (vec![0.0; n], vec![0.0; n]);
                for (name, f) in UNARY {
                    f(Isa::Scalar, &a, &mut want);
                    f(isa, &a, &mut got);
                    assert_eq!(bits(&want), bits(&got), "{name} {isa} n={n}");
                }
                for (name, f) in BINARY {
                    f(Isa::Scalar, &a, &b, &mut want);
                    f(isa, &a, &b, &mut got);
                    assert_eq!(bits(&want), bits(&got), "{name} {isa} n={n}");
                }
            }
        }
    }
}

/// The defined order, spelled out: one ulp or one swapped addend here changes bits.
#[test]
fn sums_are_by_lane_then_by_tree() {
    let mut other_order_differs = 0;
    for n in (1..200).chain([1027, 4096]) {
        let x = row(n, n as u32);
        let mut lanes = [0.0f32; 16];
        for (i, &x) in x.iter().enumerate() {
            lanes[i % 16] = x.mul_add(x, lanes[i % 16]);
        }
        let l8: Vec<f32> = (0..8).map(|i| lanes[i] + lanes[i + 8]).collect();
        let l4: Vec<f32> = (0..4).map(|i| l8[i] + l8[i + 4]).collect();
        let sum = (l4[0] + l4[2]) + (l4[1] + l4[3]);
        let got = lane_sum(&x, |lane, x| x.mul_add(x, lane));
        assert_eq!(got.to_bits(), sum.to_bits(), "n={n}");
        other_order_differs += u32::from(lanes.iter().sum::<f32>().to_bits() != sum.to_bits());

        let r = 1.0 / (sum / n as f32 + 1e-5).sqrt();
        let want: Vec<f32> = x.iter().map(|x| x * r).collect();
        for isa in Isa::available() {
            let mut out = vec![0.0; n];
            rms_norm(isa, &x, None, 1e-5, &mut out);
            assert_eq!(bits(&want), bits(&out), "{isa} n={n}");
        }
    }
    // The rows do tell orders apart.
    assert!(other_order_differs > 50, "{other_order_differs}");
}

#[test]
fn norms_and_softmax_are_those_of_f64() {
    let x = row(777, 3);
    let d: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let n = d.len() as f64;
    let (mean, square) = (
        d.iter().sum::<f64>() / n,
        d.iter().map(|x| x * x).sum::<f64>(),
    );
    let variance = d.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let max = d.iter().copied().fold(f64::MIN, f64::max);
    let sum = d.iter().map(|x| (x - max).exp()).sum::<f64>();
    for isa in Isa::available() {
        let mut out = vec![0.0; x.len()];
        let check = |name: &str, out: &[f32], want: &dyn Fn(f64) -> f64| {
            for (got, &x) in out.iter().zip(&d) {
                let error = (f64::from(*got) - want(x)).abs();
                assert!(
                    error < 2e-6 * want(x).abs().max(0.01),
                    "{name} at {x}: {got}"
                );
            }
        };
        rms_norm(isa, &x, None, 1e-6, &mut out);
        check("rms", &out, &|x| x / (square / n + 1e-6).sqrt());
        layer_norm(isa, &x, None, None, 1e-5, &mut out);
        check("layer", &out, &|x| (x - mean) / (variance + 1e-5).sqrt());
        l2_norm(isa, &x, 1e-6, &mut out);
        check("l2", &out, &|x| x / square.sqrt());
        out.copy_from_slice(&x);
        softmax_assign(isa, &mut out);
        check("softmax", &out, &|x| (x - max).exp() / sum);
    }
}

#[test]
fn rotation_turns_pairs_and_keeps_the_rest() {
    let x = row(20, 9);
    let angles = [0.3f32, 1.2, -2.0, 0.0];
    let (cos, sin) = (angles.map(f32::cos), angles.map(f32::sin));
    for (style, pair) in [
        (
            RopeStyle::Normal,
            (|i| (2 * i, 2 * i + 1)) as fn(usize) -> (usize, usize),
        ),
        (RopeStyle::Neox, |i| (i, i + 4)),
    ] {
        let mut y = x.clone();
        rope(Isa::best(), &mut y, &cos, &sin, style);
        for i in 0..4 {
            let (a, b) = pair(i);
            assert!(
                (y[a] - (x[a] * cos[i] - x[b] * sin[i])).abs() < 1e-4 * x[a].abs().max(x[b].abs())
            );
            assert!(
                (y[b] - (x[b] * cos[i] + x[a] * sin[i])).abs() < 1e-4 * x[a].abs().max(x[b].abs())
            );
        }
        assert_eq!(y[8..], x[8..]);
    }
}

#[test]
fn unequal_lengths_never_panic() {
    for isa in Isa::available() {
        let (long, short) = (row(40, 1), row(9, 2));
        let mut out = vec![5.0; 20];
        add(isa, &long, &short, &mut out);
        assert_eq!(out[9..], [5.0; 11]);
        rms_norm(isa, &[], Some(&short), 1e-6, &mut out);
        rope(isa, &mut out, &long, &long, RopeStyle::Neox);
        rope(isa, &mut [], &long, &short, RopeStyle::Normal);
        softmax_assign(isa, &mut []);
    }
}
