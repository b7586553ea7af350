//! Maps of one or two rows, element by element.

use crate::dispatch::per_isa;
use crate::math;

/// `out[i] = f(x[i])`
#[inline(always)]
fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `out[i] = f(a[i], b[i])`
#[inline(always)]
fn zip(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}

per_isa! {
    /// `out = a + b`
    pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
        zip(a, b, out, |a, b| a + b)
    }

    /// `a += b`
    pub fn add_assign(a: &mut [f32], b: &[f32]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }

    /// `out = a * b`
    pub fn mul(a: &[f32], b: &[f32], out: &mut [f32]) {
        zip(a, b, out, |a, b| a * b)
    }

    /// `a *= b`
    pub fn mul_assign(a: &mut [f32], b: &[f32]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a *= b;
        }
    }

    /// `out = x * s`
    pub fn scale(x: &[f32], s: f32, out: &mut [f32]) {
        map(x, out, |x| x * s)
    }

    /// `x *= s`
    pub fn scale_assign(x: &mut [f32], s: f32) {
        for x in x {
            *x *= s;
        }
    }

    /// `out = cap * tanh(x / cap)`
    pub fn softcap(x: &[f32], cap: f32, out: &mut [f32]) {
        map(x, out, |x| math::softcap(x, cap))
    }

    /// `x = cap * tanh(x / cap)`
    pub fn softcap_assign(x: &mut [f32], cap: f32) {
        for x in x {
            *x = math::softcap(*x, cap);
        }
    }

    /// `out = silu(x)`, see [`math::silu`].
    pub fn silu(x: &[f32], out: &mut [f32]) {
        map(x, out, math::silu)
    }

    /// `out = silu(gate) * up`
    pub fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        zip(gate, up, out, |g, u| math::silu(g) * u)
    }

    /// `out = gelu_tanh(x)`, see [`math::gelu_tanh`].
    pub fn gelu_tanh(x: &[f32], out: &mut [f32]) {
        map(x, out, math::gelu_tanh)
    }

    /// `out = gelu_tanh(gate) * up`
    pub fn gelu_tanh_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        zip(gate, up, out, |g, u| math::gelu_tanh(g) * u)
    }

    /// `out = gelu_erf(x)`, see [`math::gelu_erf`].
    pub fn gelu_erf(x: &[f32], out: &mut [f32]) {
        map(x, out, math::gelu_erf)
    }

    /// `out = gelu_erf(gate) * up`
    pub fn gelu_erf_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        zip(gate, up, out, |g, u| math::gelu_erf(g) * u)
    }

    /// `out = gelu_quick(x)`, see [`math::gelu_quick`].
    pub fn gelu_quick(x: &[f32], out: &mut [f32]) {
        map(x, out, math::gelu_quick)
    }

    /// The clamped gate of gpt-oss: `g = min(gate, limit)`, `u = clamp(up, -limit, limit)`,
    /// `out = (g / (1 + e^(-alpha g))) * (u + 1)`. NaN stays NaN.
    pub fn swiglu_clamped(gate: &[f32], up: &[f32], alpha: f32, limit: f32, out: &mut [f32]) {
        zip(gate, up, out, |g, u| {
            let g = if g > limit { limit } else { g };
            let u = if u > limit { limit } else { u };
            let u = if u < -limit { -limit } else { u };
            (g / (1.0 + math::exp(-alpha * g))) * (u + 1.0)
        })
    }

    /// `out = 1 / (1 + e^-x)`
    pub fn sigmoid(x: &[f32], out: &mut [f32]) {
        map(x, out, math::sigmoid)
    }

    /// `out = tanh(x)`
    pub fn tanh(x: &[f32], out: &mut [f32]) {
        map(x, out, math::tanh)
    }

    /// `out = max(x, 0)`; NaN stays NaN.
    pub fn relu(x: &[f32], out: &mut [f32]) {
        map(x, out, |x| if x < 0.0 { 0.0 } else { x })
    }

    /// `out = max(x, 0)^2`; NaN stays NaN.
    pub fn relu_squared(x: &[f32], out: &mut [f32]) {
        map(x, out, |x| if x < 0.0 { 0.0 } else { x * x })
    }
}
