//! Errors against f64, over every f32 of a stride, and the edges.

use super::*;

/// Distance in ulps of f32 between a result and the true value. Infinite and NaN must agree.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got.is_nan() || rounded.is_nan() {
        return if got.is_nan() && rounded.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if got.is_infinite() || rounded.is_infinite() {
        return if got == rounded { 0.0 } else { f64::INFINITY };
    }
    let exponent = rounded.abs().max(f32::MIN_POSITIVE).log2().floor() as i32;
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

/// Largest error over all bit patterns in steps of `stride`.
fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    let stride = if cfg!(debug_assertions) { 9_973 } else { 97 };
    for bits in (0..=u32::MAX).step_by(stride) {
        let x = f32::from_bits(bits);
        let e = ulps(f(x), want(f64::from(x)));
        if e > worst.0 {
            worst = (e, x);
        }
    }
    worst
}

/// Maclaurin series for small arguments, continued fraction of erfc for large ones.
fn erf64(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a > 6.0 {
        return if a.is_nan() { x } else { x.signum() };
    }
    let r = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-18 * sum.abs() && n < 200.0 {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for k in (1..120).rev() {
            f = f64::from(k) / 2.0 / (a + f);
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + f)
    };
    r.copysign(x)
}

#[test]
fn f32_functions_stay_within_their_ulps() {
    for (name, f, want, limit) in [
        (
            "exp",
            exp as fn(f32) -> f32,
            f64::exp as fn(f64) -> f64,
            1.0,
        ),
        ("ln", ln, f64::ln, 1.0),
        (
            "sigmoid",
            sigmoid,
            |x| {
                if x < 0.0 {
                    x.exp() / (1.0 + x.exp())
                } else {
                    1.0 / (1.0 + (-x).exp())
                }
            },
            2.0,
        ),
        ("tanh", tanh, f64::tanh, 2.0),
    ] {
        let (error, at) = worst(f, want);
        println!("{name}: {error:.3} ulp at {at:e}");
        assert!(error <= limit, "{name}: {error} ulp at {at:e}");
    }
}

#[test]
fn erf_and_the_gelus_stay_close() {
    let mut worst = [0.0f64; 4];
    for i in -120_000..=120_000 {
        let x = i as f32 * 1e-4;
        let d = f64::from(x);
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d * d * d);
        let pairs = [
            (erf(x), erf64(d)),
            (gelu_erf(x), 0.5 * d * (1.0 + erf64(d / 2f64.sqrt()))),
            (gelu_tanh(x), 0.5 * d * (1.0 + inner.tanh())),
            (silu(x), d / (1.0 + (-d).exp())),
        ];
        for (w, (got, want)) in worst.iter_mut().zip(pairs) {
            *w = w.max((f64::from(got) - want).abs() / want.abs().max(1.0));
        }
    }
    println!("erf, gelu_erf, gelu_tanh, silu: {worst:?}");
    assert!(worst.iter().all(|&w| w < 3e-7), "{worst:?}");
}

#[test]
fn edges() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(exp(89.0), f32::INFINITY);
    assert_eq!(exp(-104.0).to_bits(), 0);
    assert_eq!(exp(-103.0).to_bits(), 1);
    assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
    assert!(sigmoid(f32::NAN).is_nan() && erf(f32::NAN).is_nan() && silu(f32::NAN).is_nan());
    assert_eq!(ln(0.0), f32::NEG_INFINITY);
    assert_eq!(ln(-0.0), f32::NEG_INFINITY);
    assert_eq!(ln(1.0).to_bits(), 0);
    assert_eq!(ln(f32::INFINITY), f32::INFINITY);
    assert!(ln(-1.0).is_nan() && ln(f32::NEG_INFINITY).is_nan());
    assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
    assert_eq!(tanh(f32::INFINITY), 1.0);
    assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
    assert_eq!(sigmoid(0.0), 0.5);
    assert_eq!(sigmoid(f32::INFINITY), 1.0);
    assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
    assert_eq!(silu(-1e30), 0.0);
    assert_eq!(gelu_tanh(-1e20), 0.0);
    assert_eq!(erf(f32::NEG_INFINITY), -1.0);
}

/// FNV-1a over the bits of results, NaN payloads aside.
fn digest(results: impl Iterator<Item = u64>) -> u64 {
    results.fold(0xcbf2_9ce4_8422_2325, |h, x| {
        x.to_le_bytes()
            .iter()
            .fold(h, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    })
}

/// The definitions themselves: whoever changes one bit, on whatever machine, changes these.
#[test]
fn the_bits_are_these() {
    let f32s = |f: fn(f32) -> f32| {
        digest((0..=u32::MAX).step_by(99_991).map(|bits| {
            let y = f(f32::from_bits(bits));
            u64::from(if y.is_nan() {
                f32::NAN.to_bits()
            } else {
                y.to_bits()
            })
        }))
    };
    let f64s = |f: fn(f64) -> f64, from: f64, step: f64| {
        digest((0..20_000).map(|i| f(f64::from(i).mul_add(step, from)).to_bits()))
    };
    let found = [
        ("exp", f32s(exp)),
        ("ln", f32s(ln)),
        ("sigmoid", f32s(sigmoid)),
        ("tanh", f32s(tanh)),
        ("erf", f32s(erf)),
        ("silu", f32s(silu)),
        ("gelu_tanh", f32s(gelu_tanh)),
        ("gelu_erf", f32s(gelu_erf)),
        ("gelu_quick", f32s(gelu_quick)),
        ("double exp", f64s(double::exp, -745.0, 0.0727)),
        ("double ln", f64s(double::ln, 1e-3, 0.137)),
        ("double pow", f64s(|x| double::pow(x, -0.37), 1e-3, 0.137)),
        ("double sin", f64s(double::sin, -1e6, 101.3)),
        ("double cos", f64s(double::cos, -1e6, 101.3)),
    ];
    for (name, digest) in found {
        println!("(\"{name}\", {digest:#018x}),");
    }
    let defined: [(&str, u64); 14] = [
        ("exp", 0x063857c3a4c4bca6),
        ("ln", 0xf9125eb5ac16ad0a),
        ("sigmoid", 0x453f6901c08f6c42),
        ("tanh", 0x2644fce132adc2b0),
        ("erf", 0x45727602f4c90f19),
        ("silu", 0x579432969aa90d66),
        ("gelu_tanh", 0xa6883b8d769338ea),
        ("gelu_erf", 0xece33d94c84729e2),
        ("gelu_quick", 0x67cdb08faacf0365),
        ("double exp", 0x56f0807f672ca319),
        ("double ln", 0x2180a597472f2b26),
        ("double pow", 0xfb95242431f41a81),
        ("double sin", 0x59749918e7d95a69),
        ("double cos", 0x2671d611804677db),
    ];
    assert_eq!(found, defined);
}
