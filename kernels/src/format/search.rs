//! What quantizers share: extremes, ranges, rounding.
//!
//! Everything here is deterministic and the same on every machine: sums run in fixed lanes, no
//! operation is fused or reordered. All inputs are finite.

/// The element of largest magnitude, the first on ties; 0 for an empty slice.
#[inline(always)]
pub(super) fn signed_extreme(x: &[f32]) -> f32 {
    let amax = x
        .iter()
        .fold(0_u32, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    x.iter()
        .copied()
        .find(|v| v.to_bits() & 0x7fff_ffff == amax)
        .unwrap_or(0.0)
}

/// The smallest and the largest element.
#[inline(always)]
pub(super) fn range(x: &[f32]) -> (f32, f32) {
    x.iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| {
            (if v < lo { v } else { lo }, if v > hi { v } else { hi })
        })
}

/// `1 / d`, or 0 where that is no finite number, so that all levels become that of 0.
#[inline(always)]
pub(super) fn inverse(d: f32) -> f32 {
    let id = 1.0 / d;
    if id.is_finite() { id } else { 0.0 }
}

/// `v` rounded to the nearest integer, halves away from zero; |v| < 2^24.
#[inline(always)]
pub(super) fn round_away(v: f32) -> i32 {
    // Not `trunc(v + 0.5)`, which is wrong just below a half. `v - t` is exact.
    let t = v as i32;
    let rest = v - t as f32;
    t + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)
}

/// Sums run in this many lanes, added pairwise at the end: fast everywhere, and always the same.
const LANES: usize = 8;

/// The sum over i of what `term` adds to its lane.
#[inline(always)]
fn lane_sum<const N: usize>(mut term: impl FnMut(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for start in (0..N).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Round to nearest even, for |v| < 2^22.
#[inline(always)]
fn rne(v: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    (v + ROUND) - ROUND
}

#[inline(always)]
fn clamp(v: f32, low: f32, high: f32) -> f32 {
    // Comparisons, not f32::clamp: a NaN becomes `low`, and it vectorizes to two instructions.
    let v = if v > low { v } else { low };
    if v < high { v } else { high }
}

/// How a search for `x = scale * level - min` runs: level 0..=top; the trial inverse scales are
/// `(top + first + step * i) / range` for i in 0..=steps.
#[derive(Clone, Copy)]
pub(super) struct AffineSearch {
    pub(super) top: f32,
    /// The largest integer scale and minimum.
    pub(super) scale_top: f32,
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) steps: u8,
}

/// A superblock with scales and minima: `x = (d * scale) * level - dmin * min`.
pub(super) struct Affine<const S: usize> {
    pub(super) d: f32,
    pub(super) dmin: f32,
    pub(super) scales: [u8; S],
    pub(super) mins: [u8; S],
    pub(super) levels: [u8; 256],
}

/// Quantizes 256 weights in S sub-blocks of N: a least-squares scale and minimum for each, weighted
/// by magnitude, over a range of trial roundings; then integer scales, each tried with its
/// neighbours. The weights of the sum (root mean square + |x|) are those of ggml's K-quants.
#[inline(always)]
pub(super) fn affine_superblock<const N: usize, const S: usize>(
    x: &[f32; 256],
    search: AffineSearch,
) -> Affine<S> {
    const { assert!(N * S == 256 && N.is_multiple_of(LANES)) };
    let subs = x.as_chunks::<N>().0;
    let mut importance = [[0.0; N]; S];
    let mut fits = [(0.0, 0.0); S];
    for ((x, w), fit) in subs.iter().zip(&mut importance).zip(&mut fits) {
        let rms = (lane_sum::<N>(|i| x[i] * x[i]) / N as f32).sqrt();
        *w = x.map(|v| rms + v.abs());
        *fit = affine_fit(x, w, search);
    }
    let largest = fits.iter().fold((0.0_f32, 0.0_f32), |(s, m), fit| {
        (s.max(fit.0), m.max(fit.1))
    });
    let d = half::f16::from_f32(largest.0 / search.scale_top).to_f32();
    let dmin = half::f16::from_f32(largest.1 / search.scale_top).to_f32();
    let (id, idmin) = (inverse(d), inverse(dmin));

    let mut out = Affine {
        d,
        dmin,
        scales: [0; S],
        mins: [0; S],
        levels: [0; 256],
    };
    let levels = out.levels.as_chunks_mut::<N>().0.iter_mut();
    for (s, ((x, w), levels)) in subs.iter().zip(&importance).zip(levels).enumerate() {
        let near = |v: f32| {
            let v = clamp(rne(v), 0.0, search.scale_top);
            [v, v - 1.0, v + 1.0].map(|v| clamp(v, 0.0, search.scale_top))
        };
        let mut best = (f32::INFINITY, 0.0, 0.0);
        for scale in near(fits[s].0 * id) {
            for min in near(fits[s].1 * idmin) {
                let (step, offset) = (d * scale, dmin * min);
                let istep = inverse(step);
                let error = lane_sum::<N>(|i| {
                    let level = clamp(rne((x[i] + offset) * istep), 0.0, search.top);
                    let e = step * level - offset - x[i];
                    w[i] * e * e
                });
                if error < best.0 {
                    best = (error, scale, min);
                }
            }
        }
        let (_, scale, min) = best;
        out.scales[s] = scale as u8;
        out.mins[s] = min as u8;
        let (istep, offset) = (inverse(d * scale), dmin * min);
        for (level, v) in levels.iter_mut().zip(x) {
            *level = clamp(rne((v + offset) * istep), 0.0, search.top) as u8;
        }
    }
    out
}

/// The scale and minimum (both >= 0) of a sub-block.
#[inline(always)]
fn affine_fit<const N: usize>(x: &[f32; N], w: &[f32; N], search: AffineSearch) -> (f32, f32) {
    let (low, high) = range(x);
    // The minimum is stored unsigned, as something to subtract: a positive one becomes zero.
    let base = if low < 0.0 { low } else { 0.0 };
    let extent = high - base;
    let iextent = inverse(extent);
    if iextent == 0.0 {
        return (0.0, -base);
    }
    // Relative to the base, so that a large common offset does not cancel digits.
    let y = x.map(|v| v - base);
    let sum_w = lane_sum::<N>(|i| w[i]);
    let sum_y = lane_sum::<N>(|i| w[i] * y[i]);
    let mut best = (f32::INFINITY, extent / search.top, -base);
    for i in 0..=search.steps {
        let iscale = (search.top + search.first + search.step * f32::from(i)) * iextent;
        let (mut sum_l, mut sum_ll, mut sum_yl) =
            ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        for start in (0..N).step_by(LANES) {
            for lane in 0..LANES {
                let level = clamp(rne(y[start + lane] * iscale), 0.0, search.top);
                let wl = w[start + lane] * level;
                sum_l[lane] += wl;
                sum_ll[lane] += wl * level;
                sum_yl[lane] += wl * y[start + lane];
            }
        }
        let sum_l = lane_sum::<LANES>(|i| sum_l[i]);
        let sum_ll = lane_sum::<LANES>(|i| sum_ll[i]);
        let sum_yl = lane_sum::<LANES>(|i| sum_yl[i]);
        let det = sum_w * sum_ll - sum_l * sum_l;
        if det > 0.0 {
            let mut scale = (sum_w * sum_yl - sum_y * sum_l) / det;
            let mut offset = (sum_ll * sum_y - sum_l * sum_yl) / det;
            if base + offset > 0.0 {
                offset = -base;
                scale = (sum_yl + base * sum_l) / sum_ll;
            }
            // The weighted squared error, but for the constant sum of w * y * y.
            let error = scale * (scale * sum_ll + 2.0 * (offset * sum_l - sum_yl))
                + offset * (offset * sum_w - 2.0 * sum_y);
            if error < best.0 && scale > 0.0 {
                best = (error, scale, -(base + offset));
            }
        }
    }
    (best.1, best.2)
}

/// The levels of a format without minimum.
pub(super) trait Grid {
    /// The level nearest to `v`.
    fn nearest(v: f32) -> f32;
    /// The code stored for that level.
    fn code(v: f32) -> u8;
    /// Which levels the extreme element is tried on, as the scale is searched.
    const TRIALS: &'static [f32];
}

/// A superblock with signed scales: `x = (d * scale) * level`.
pub(super) struct Symmetric<const S: usize> {
    pub(super) d: f32,
    pub(super) scales: [i8; S],
    pub(super) codes: [u8; 256],
}

/// The scale that gives the least squared error, weighted by x^2, among the trials of the grid.
#[inline(always)]
pub(super) fn symmetric_fit<G: Grid, const N: usize>(x: &[f32; N]) -> f32 {
    let iextreme = inverse(signed_extreme(x));
    let mut best = (0.0, 0.0);
    for trial in G::TRIALS {
        let iscale = trial * iextreme;
        let (mut sum_xl, mut sum_ll) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for start in (0..N).step_by(LANES) {
            for lane in 0..LANES {
                // In units of the extreme, so that products neither overflow nor vanish.
                let v = x[start + lane] * iextreme;
                let level = G::nearest(x[start + lane] * iscale);
                let wl = v * v * level;
                sum_xl[lane] += wl * v;
                sum_ll[lane] += wl * level;
            }
        }
        let sum_xl = lane_sum::<LANES>(|i| sum_xl[i]);
        let sum_ll = lane_sum::<LANES>(|i| sum_ll[i]);
        // The least-squares scale is sum_xl / sum_ll; it removes sum_xl^2 / sum_ll of the error.
        let gain = sum_xl * sum_xl / sum_ll;
        if gain > best.0 {
            best = (gain, sum_xl / sum_ll);
        }
    }
    best.1 * signed_extreme(x)
}

/// Quantizes 256 weights in S sub-blocks of N with [`symmetric_fit`]; the largest scale becomes
/// `-scale_top`, every integer scale is tried with its neighbours.
#[inline(always)]
pub(super) fn symmetric_superblock<G: Grid, const N: usize, const S: usize>(
    x: &[f32; 256],
    scale_top: f32,
) -> Symmetric<S> {
    const { assert!(N * S == 256 && N.is_multiple_of(LANES)) };
    let subs = x.as_chunks::<N>().0;
    let mut fits = [0.0; S];
    for (x, fit) in subs.iter().zip(&mut fits) {
        *fit = symmetric_fit::<G, N>(x);
    }
    let d = half::f16::from_f32(signed_extreme(&fits) / -scale_top).to_f32();
    let id = inverse(d);
    let mut out = Symmetric {
        d,
        scales: [0; S],
        codes: [0; 256],
    };
    let codes = out.codes.as_chunks_mut::<N>().0.iter_mut();
    for (s, (x, codes)) in subs.iter().zip(codes).enumerate() {
        let near = clamp(rne(fits[s] * id), -scale_top, scale_top - 1.0);
        let mut best = (f32::INFINITY, near);
        for scale in [near, near - 1.0, near + 1.0].map(|v| clamp(v, -scale_top, scale_top - 1.0)) {
            let step = d * scale;
            let istep = inverse(step);
            let error = lane_sum::<N>(|i| {
                let e = step * G::nearest(x[i] * istep) - x[i];
                x[i] * x[i] * e * e
            });
            if error < best.0 {
                best = (error, scale);
            }
        }
        out.scales[s] = best.1 as i8;
        let istep = inverse(d * best.1);
        for (code, v) in codes.iter_mut().zip(x) {
            *code = G::code(v * istep);
        }
    }
    out
}

/// Whole levels from `-BIAS` to `BIAS - 1`, stored with the bias added.
pub(super) struct Whole<const BIAS: i8>;

impl<const BIAS: i8> Whole<BIAS> {
    const TOP: f32 = BIAS as f32;
}

/// The extreme goes to `-top`, or somewhat past it: [-(top - 0.9), ..., -(top + 0.9)].
const fn around(top: f32) -> [f32; 19] {
    let mut trials = [0.0; 19];
    let mut i = 0;
    while i < 19 {
        trials[i] = -(top + 0.1 * (i as f32 - 9.0));
        i += 1;
    }
    trials
}

impl<const BIAS: i8> Grid for Whole<BIAS> {
    const TRIALS: &'static [f32] = &around(Self::TOP);

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        clamp(rne(v), -Self::TOP, Self::TOP - 1.0)
    }

    #[inline(always)]
    fn code(v: f32) -> u8 {
        (Self::nearest(v) + Self::TOP) as u8
    }
}

/// The 16 levels of IQ4_NL and IQ4_XS. Source: `kvalues` of gguf-py's `IQ4_NL`.
pub(super) const IQ4_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// [`IQ4_LEVELS`], stored by their index.
pub(super) struct Iq4;

/// Half-way between level i and level i + 1.
const fn iq4_middle(i: usize) -> f32 {
    (IQ4_LEVELS[i] as f32 + IQ4_LEVELS[i + 1] as f32) / 2.0
}

impl Grid for Iq4 {
    /// On the outermost level of the longer side and around it, and on that of the shorter side.
    const TRIALS: &'static [f32] = &[
        -134.0, -132.0, -130.0, -128.0, -127.0, -125.0, -123.0, -121.0, -119.0, -117.0, -115.0,
        -113.0, -110.0, 119.0, 117.0, 115.0, 113.0, 111.0, 109.0,
    ];

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        // A running maximum of steps, not a table look-up: it vectorizes.
        let mut level = f32::from(IQ4_LEVELS[0]);
        for i in 0..15 {
            level = if v > iq4_middle(i) {
                f32::from(IQ4_LEVELS[i + 1])
            } else {
                level
            };
        }
        level
    }

    #[inline(always)]
    fn code(v: f32) -> u8 {
        (0..15).map(|i| u8::from(v > iq4_middle(i))).sum()
    }
}
