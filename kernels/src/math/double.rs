//! f64 functions with fixed bits: `exp ln pow sin cos`, for rope tables and sampling.
//!
//! In and out: one number. Series over `+ - * /` and fused multiply-add; relative errors below
//! 1e-14 (measured against std in the tests: below 4e-16 for exp, ln, sin and cos near their
//! zeros included). Speed matters for `exp` alone, which samplers take of every logit.

/// Adding and subtracting it rounds to the nearest integer, ties to even, below 2^51.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
/// The upper 32 bits of `ln 2`, so that small multiples are exact, and the rest.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;

/// `1/13 .. 1/1`.
const INVERSES: [f64; 13] = {
    let mut inverses = [1.0; 13];
    let mut i = 0;
    while i < 13 {
        inverses[i] = 1.0 / (13 - i) as f64;
        i += 1;
    }
    inverses
};

/// `2^k` for `-1023 < k < 1024`.
#[inline(always)]
fn pow2(k: i64) -> f64 {
    f64::from_bits((k.wrapping_add(1023) << 52) as u64)
}

/// `e^x`. `exp(-inf) = 0`, NaN stays NaN. Without branches, so that loops over it become vectors.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // NaN passes both comparisons.
    let x = if x > 710.0 { 710.0 } else { x };
    let x = if x < -746.0 { -746.0 } else { x };
    let z = x.mul_add(std::f64::consts::LOG2_E, ROUND);
    let n = z - ROUND;
    let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
    // Maclaurin series: the first term left out is below 4e-18.
    let mut p = 1.0;
    for inverse in INVERSES {
        p = (r * p).mul_add(inverse, 1.0);
    }
    // Between these two, neighbouring numbers differ by 1. (Garbage if z is NaN, as p is then.)
    let k = (z.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64);
    // Half of k, rounded down: AVX2 shifts 64 bits without their sign only.
    let half = (k.wrapping_add(2048) as u64 >> 1) as i64 - 1024;
    p * pow2(half) * pow2(k.wrapping_sub(half))
}

/// `ln x` as an unevaluated sum of two f64, for finite `x > 0`.
fn ln_parts(x: f64) -> (f64, f64) {
    let tiny = x < f64::MIN_POSITIVE;
    let y = if tiny { x * 2f64.powi(54) } else { x };
    let bits = y.to_bits() as i64;
    // x = 2^e * m with m in [sqrt(1/2), sqrt(2))
    let e = (bits - 0x3fe6_a09e_667f_3bcd) >> 52;
    let m = f64::from_bits((bits - (e << 52)) as u64);
    let e = (e - if tiny { 54 } else { 0 }) as f64;
    // ln m = 2 atanh(s), s = f / (2 + f), with s in two parts
    let f = m - 1.0;
    let d = 2.0 + f;
    let d_low = f - (d - 2.0);
    let s = f / d;
    let s_low = (s.mul_add(-d, f) - s * d_low) / d;
    let z = s * s;
    let mut p = 0.0;
    for k in (1..=12).rev() {
        p = z * (p + 1.0 / f64::from(2 * k + 1));
    }
    let tail = 2.0 * (s * p + s_low);
    // e * LN2_HI is exact; the sum of the two large terms is kept with its rounding error.
    let (a, b) = (e * LN2_HI, 2.0 * s);
    let hi = a + b;
    let back = hi - a;
    let low = (a - (hi - back)) + (b - back) + e.mul_add(LN2_LO, tail);
    let sum = hi + low;
    (sum, low - (sum - hi))
}

/// Natural logarithm. `ln(0) = -inf`, NaN below 0.
pub fn ln(x: f64) -> f64 {
    match x {
        _ if x.is_nan() || x < 0.0 => f64::NAN,
        0.0 => f64::NEG_INFINITY,
        f64::INFINITY => x,
        _ => ln_parts(x).0,
    }
}

/// `x^y` for `x >= 0`; NaN for a negative base.
pub fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if x.is_nan() || y.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 || x.is_infinite() || y.is_infinite() {
        return if (x < 1.0) == (y > 0.0) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let (l, l_low) = ln_parts(x);
    let p = y * l;
    if p.abs() > 746.0 {
        return exp(p);
    }
    let p_low = y.mul_add(l, -p) + y * l_low;
    let e = exp(p);
    p_low.mul_add(e, e)
}

/// The nearest multiple of pi/2 (its count mod 4) and what is left, in two parts, for `|x|` up
/// to 1e7 without loss. Larger arguments lose accuracy, about one bit for each doubling past 2^31.
#[inline(always)]
fn reduce(x: f64) -> (i64, f64, f64) {
    // pi/2 in three parts; the first product cancels exactly under fused multiply-add.
    const P1: f64 = std::f64::consts::FRAC_PI_2;
    const P2: f64 = 6.123_233_995_736_766e-17;
    const P3: f64 = -1.497_384_905_065_873e-33;
    let n = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND) - ROUND;
    let a = n.mul_add(-P1, x);
    // a - n P2 with the errors of the product and of the difference
    let b = n * P2;
    let b_low = n.mul_add(P2, -b);
    let r = a - b;
    let back = r - a;
    let low = (a - (r - back)) - (b + back) - b_low;
    (n as i64 & 3, r, n.mul_add(-P3, low))
}

/// `sin(r + low)` for `|r| <= pi/4`.
#[inline(always)]
fn sin_small(r: f64, low: f64) -> f64 {
    let z = r * r;
    // Maclaurin: 1/3! .. 1/19!
    let mut p = 1.0;
    for k in (2..=9).rev() {
        p = (z * p).mul_add(-1.0 / f64::from(2 * k * (2 * k + 1)), 1.0);
    }
    r + (low - r * z * (p / 6.0))
}

/// `cos(r + low)` for `|r| <= pi/4`.
#[inline(always)]
fn cos_small(r: f64, low: f64) -> f64 {
    let z = r * r;
    let mut p = 1.0;
    for k in (2..=9).rev() {
        p = (z * p).mul_add(-1.0 / f64::from(2 * k * (2 * k - 1)), 1.0);
    }
    let half = 0.5 * z;
    let one = 1.0 - half;
    // cos = 1 - z/2 + z^2/24 ..., where p holds 1 - 2/4! z ... of the z/2 term
    one + (((1.0 - one) - half) + (half * (1.0 - p) - r * low))
}

/// Sine and cosine, for angles in radians up to 1e7 in size without loss.
#[inline(always)]
pub fn sin_cos(x: f64) -> (f64, f64) {
    let (quadrant, r, low) = reduce(x);
    let (s, c) = (sin_small(r, low), cos_small(r, low));
    match quadrant {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

/// Sine, for angles in radians up to 1e7 in size without loss.
pub fn sin(x: f64) -> f64 {
    sin_cos(x).0
}

/// Cosine, for angles in radians up to 1e7 in size without loss.
pub fn cos(x: f64) -> f64 {
    sin_cos(x).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of numbers in [0, 1).
    fn numbers() -> impl Iterator<Item = f64> {
        let mut s = 0x9e37_79b9_7f4a_7c15u64;
        std::iter::repeat_with(move || {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 11) as f64 / 2f64.powi(53)
        })
    }

    fn relative(got: f64, want: f64) -> f64 {
        if got == want {
            0.0
        } else {
            ((got - want) / want).abs()
        }
    }

    #[test]
    fn exp_ln_and_pow_agree_with_std() {
        let mut worst = [0.0f64; 4];
        for u in numbers().take(200_000) {
            let x = (u - 0.5) * 1400.0;
            worst[0] = worst[0].max(relative(exp(x), x.exp()));
            let y = (u * 1400.0 - 700.0).exp();
            worst[1] = worst[1].max(relative(ln(y), y.ln()));
            let near = 0.5 + u;
            worst[1] = worst[1].max(relative(ln(near), near.ln()));
            let base = 1.0 + u * 1e7;
            worst[2] = worst[2].max(relative(pow(base, -u), base.powf(-u)));
            worst[3] = worst[3].max(relative(
                pow(u * 100.0, 90.0 * u),
                (u * 100.0).powf(90.0 * u),
            ));
        }
        println!("exp, ln, pow (rope), pow (large): {worst:?}");
        assert!(worst.iter().all(|&w| w < 1e-15), "{worst:?}");
    }

    #[test]
    fn sin_and_cos_agree_with_std_to_1e7() {
        let mut worst = [0.0f64; 2];
        for (i, u) in numbers().take(300_000).enumerate() {
            // Every third angle lies next to a multiple of pi/2, where most bits cancel.
            let x = match i % 3 {
                0 => (u - 0.5) * 2e7,
                1 => (u - 0.5) * 20.0,
                _ => (u * 6e6).floor() * std::f64::consts::FRAC_PI_2,
            };
            worst[0] = worst[0].max(relative(sin(x), x.sin()));
            worst[1] = worst[1].max(relative(cos(x), x.cos()));
        }
        println!("sin, cos: {worst:?}");
        assert!(worst.iter().all(|&w| w < 1e-15), "{worst:?}");
    }

    #[test]
    fn edges() {
        assert_eq!(
            (exp(0.0), exp(f64::NEG_INFINITY), exp(f64::INFINITY)),
            (1.0, 0.0, f64::INFINITY)
        );
        assert!(exp(-745.0) > 0.0 && exp(-746.0) == 0.0 && exp(710.0) == f64::INFINITY);
        assert_eq!(
            (ln(0.0), ln(1.0), ln(f64::INFINITY)),
            (f64::NEG_INFINITY, 0.0, f64::INFINITY)
        );
        assert!(ln(-1.0).is_nan() && exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan());
        assert_eq!((sin(0.0), cos(0.0)), (0.0, 1.0));
        assert!(sin(f64::INFINITY).is_nan() && cos(f64::NAN).is_nan());
        assert_eq!(
            (pow(0.0, 2.0), pow(0.0, -2.0), pow(7.0, 0.0)),
            (0.0, f64::INFINITY, 1.0)
        );
        assert_eq!(
            (pow(2.0, f64::INFINITY), pow(0.5, f64::INFINITY)),
            (f64::INFINITY, 0.0)
        );
        assert_eq!(
            (pow(f64::INFINITY, -1.0), pow(f64::INFINITY, 2.0)),
            (0.0, f64::INFINITY)
        );
        assert!(pow(-2.0, 2.0).is_nan());
        assert_eq!(pow(10.0, 400.0), f64::INFINITY);
    }
}
