//! Elementary functions with fixed bits: polynomials over `+ - * /`, fused multiply-add and bit
//! operations, never a platform's libm, whose results differ from one machine to the next.
//!
//! This file holds the f32 functions of activations and softmax: branch-free and always inlined,
//! so that a loop over them vectorizes on any instruction set with equal bits. [`double`] holds
//! the f64 functions of rope tables and sampling. The coefficients are Chebyshev fits (mpmath
//! `chebyfit`, 40 digits) of the functions named beside them, rounded to f32. The errors stated
//! are the largest that the tests of this file saw.

pub mod double;

/// Adding and subtracting it rounds a small f32 to the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
const LN2_HI: f32 = std::f32::consts::LN_2;
/// `ln 2 - LN2_HI`
const LN2_LO: f32 = -1.904_654_3e-9;

/// `2^k` for `-127 < k < 128`.
#[inline(always)]
fn pow2(k: i32) -> f32 {
    f32::from_bits((k.wrapping_add(127) << 23) as u32)
}

/// `e^x`, within 1 ulp, subnormal results included. `exp(-inf) = 0`, NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or rounds to zero; NaN passes both comparisons.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.5 { -104.5 } else { x };
    let z = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = z - ROUND;
    // Exact: n has 8 bits, and the difference is a multiple of 2^-25 below 0.36.
    let exact = n.mul_add(-LN2_HI, x);
    let r = n.mul_add(-LN2_LO, exact);
    // (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
    let mut q = 1.989_108e-4;
    q = r.mul_add(q, 1.393_373_1e-3);
    q = r.mul_add(q, 8.333_310_5e-3);
    q = r.mul_add(q, 4.166_646_3e-2);
    q = r.mul_add(q, 1.666_666_7e-1);
    q = r.mul_add(q, 0.5);
    // The rounding of r matters only in the linear term, so that is taken from its exact part.
    let p = (exact + (q * r).mul_add(r, n * -LN2_LO)) + 1.0;
    // In two steps: 2^128 and subnormal results are out of reach of one factor.
    let k = (z.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = k >> 1;
    p * pow2(half) * pow2(k.wrapping_sub(half))
}

/// Natural logarithm, within 1 ulp, subnormal arguments included. `ln(0) = -inf`, NaN below 0.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let y = if tiny { x * 8_388_608.0 } else { x };
    let bits = y.to_bits() as i32;
    // x = 2^e * m with m in [sqrt(1/2), sqrt(2))
    let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    let e = e as f32 - if tiny { 23.0 } else { 0.0 };
    let f = m - 1.0;
    let z = f * f;
    // (ln(1 + f) - f + f^2 / 2) / f^3
    let mut p = 6.971_612e-2;
    p = f.mul_add(p, -1.147_973_4e-1);
    p = f.mul_add(p, 1.168_542e-1);
    p = f.mul_add(p, -1.242_568_7e-1);
    p = f.mul_add(p, 1.424_905_8e-1);
    p = f.mul_add(p, -1.666_780_3e-1);
    p = f.mul_add(p, 2.000_071_6e-1);
    p = f.mul_add(p, -2.499_999_7e-1);
    p = f.mul_add(p, 3.333_333e-1);
    let t = e.mul_add(LN2_LO, (f * z) * p);
    let t = z.mul_add(-0.5, t);
    let y = e.mul_add(LN2_HI, f + t);
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if x >= 0.0 { y } else { f32::NAN };
    if x == f32::INFINITY { x } else { y }
}

/// `1 / (1 + e^-x)`, within 1.9 ulp, subnormal results included.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // e^-|x| never overflows, so no bits are lost on either side.
    let e = exp(-x.abs());
    let d = 1.0 + e;
    // Below 0 the quotient also inherits the error of e; the rounding error of d would be one
    // too many, so one step of division corrects for it.
    let d_low = e - (d - 1.0);
    let y = (if x < 0.0 { e } else { 1.0 }) / d;
    (-y * d_low).mul_add(1.0 / d, y)
}

/// Hyperbolic tangent, within 1.3 ulp; odd, -0 included.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    // (tanh(x) / x - 1) / x^2 on |x| <= 0.625
    let mut p = 2.292_744_8e-3;
    p = z.mul_add(p, -8.343_945e-3);
    p = z.mul_add(p, 2.176_891_8e-2);
    p = z.mul_add(p, -5.395_925_8e-2);
    p = z.mul_add(p, 1.333_330_4e-1);
    p = z.mul_add(p, -3.333_333_4e-1);
    let small = (x * z).mul_add(p, x);
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    // NaN fails the comparison and stays NaN; the sign is set last because -0 loses it above.
    (if a >= 0.625 { large } else { small }).copysign(x)
}

/// Error function, absolute error below 1.5e-7.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    // erf(x) / x on |x| <= 1
    let mut p = 7.875_875e-5;
    p = z.mul_add(p, -8.016_864_3e-4);
    p = z.mul_add(p, 5.189_087e-3);
    p = z.mul_add(p, -2.685_421_1e-2);
    p = z.mul_add(p, 1.128_359_4e-1);
    p = z.mul_add(p, -3.761_262_6e-1);
    p = z.mul_add(p, std::f32::consts::FRAC_2_SQRT_PI);
    let small = x * p;
    // ln(1 - erf(a)) on 0.98 <= a <= 4; beyond, erf rounds to 1
    let t = if a > 4.0 { 4.0 } else { a };
    let mut q = 1.639_938e-6;
    q = t.mul_add(q, -4.611_291_3e-5);
    q = t.mul_add(q, 5.972_644_5e-4);
    q = t.mul_add(q, -4.761_717e-3);
    q = t.mul_add(q, 2.642_704_4e-2);
    q = t.mul_add(q, -1.100_902e-1);
    q = t.mul_add(q, -6.318_157e-1);
    q = t.mul_add(q, -1.130_239_2);
    q = t.mul_add(q, 3.214_71e-4);
    let large = (1.0 - exp(q)).copysign(x);
    if a >= 1.0 { large } else { small }
}

/// `x * sigmoid(x)`, also called swish, as `x / (1 + e^-x)`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The tanh form of GELU, `x/2 * (1 + tanh(u))` with `u = sqrt(2/pi) * (x + 0.044715 x^3)`
/// (arXiv 1606.08415), computed as its equal `x / (1 + e^-2u)`, which does not cancel.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const C: f32 = -1.595_769_2; // -2 sqrt(2 / pi)
    let x3 = x * x * x;
    x / (1.0 + exp(C * x3.mul_add(0.044715, x)))
}

/// GELU in its exact form, `x/2 * (1 + erf(x / sqrt(2)))`.
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    (0.5 * x) * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The quick form of GELU, `x * sigmoid(1.702 x)`.
#[inline(always)]
pub fn gelu_quick(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// `cap * tanh(x / cap)`, the soft limit on logits of Gemma 2 (arXiv 2408.00118).
#[inline(always)]
pub fn softcap(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

#[cfg(test)]
mod tests;
