//! Reductions over a row, and the maps that follow them: norms and softmax.

use super::{LANES, lane_sum};
use crate::dispatch::per_isa;
use crate::math;

/// The largest element, exactly; NaN is passed over. By lanes, because one chain is slow.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let pick = |max: f32, x: f32| if x > max { x } else { max };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = pick(*lane, x);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |max, &x| pick(max, x))
}

/// `1 / sqrt(mean of squares + eps)`
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let squares = lane_sum(x, |lane, x| x.mul_add(x, lane));
    1.0 / (squares / x.len() as f32 + eps).sqrt()
}

/// `out = (x - shift) * factor`, times `weight`, plus `bias`, each product and sum rounded.
#[inline(always)]
fn affine(
    x: &[f32],
    shift: f32,
    factor: f32,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    match weight {
        Some(w) => {
            for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
                *out = ((x - shift) * factor) * w;
            }
        }
        None => {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = (x - shift) * factor;
            }
        }
    }
    if let Some(bias) = bias {
        for (out, &b) in out.iter_mut().zip(bias) {
            *out += b;
        }
    }
}

per_isa! {
    /// Root-mean-square norm (arXiv 1910.07467): `out = (x * r) * weight`, `r = 1 / sqrt(sum(x^2) / n + eps)`.
    pub fn rms_norm(x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
        let r = inverse_rms(x, eps);
        match weight {
            Some(w) => {
                for ((out, &x), &w) in out.iter_mut().zip(x).zip(w) {
                    *out = (x * r) * w;
                }
            }
            None => {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = x * r;
                }
            }
        }
    }

    /// [`rms_norm`] in place.
    pub fn rms_norm_assign(x: &mut [f32], weight: Option<&[f32]>, eps: f32) {
        let r = inverse_rms(x, eps);
        match weight {
            Some(w) => {
                for (x, &w) in x.iter_mut().zip(w) {
                    *x = (*x * r) * w;
                }
            }
            None => {
                for x in x {
                    *x *= r;
                }
            }
        }
    }

    /// Layer norm (arXiv 1607.06450): `out = ((x - mean) * r) * weight + bias`,
    /// `r = 1 / sqrt(sum((x - mean)^2) / n + eps)`.
    pub fn layer_norm(x: &[f32], weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
        let n = x.len() as f32;
        let mean = lane_sum(x, |lane, x| lane + x) / n;
        let squares = lane_sum(x, |lane, x| {
            let d = x - mean;
            d.mul_add(d, lane)
        });
        let r = 1.0 / (squares / n + eps).sqrt();
        affine(x, mean, r, weight, bias, out);
    }

    /// `out = x * r`, `r = 1 / max(sqrt(sum(x^2)), eps)`.
    pub fn l2_norm(x: &[f32], eps: f32, out: &mut [f32]) {
        let norm = lane_sum(x, |lane, x| x.mul_add(x, lane)).sqrt();
        // A NaN norm stays: only a smaller one is replaced.
        let r = 1.0 / if norm < eps { eps } else { norm };
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x * r;
        }
    }

    /// Softmax in place: `exp(x - max) / sum`, the sum by lanes. A row with NaN becomes all NaN.
    pub fn softmax_assign(x: &mut [f32]) {
        let max = largest(x);
        for x in x.iter_mut() {
            *x = math::exp(*x - max);
        }
        let sum = lane_sum(x, |lane, x| lane + x);
        for x in x {
            *x /= sum;
        }
    }
}
