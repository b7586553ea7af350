//! Functions of one row of f32: norms, sums, activations, soft caps, rotation.
//!
//! In: slices of equal length. Out: a slice of that length. Where lengths differ, the shortest
//! counts and the rest of the output is left as it was: nothing here fails or panics, and the
//! shapes are checked once, by whoever builds the program. Every function is one scalar
//! definition (DESIGN section 4) compiled per instruction set, so all sets give the same bits.

mod elementwise;
mod norm;
mod rotate;

pub use elementwise::{
    add, add_assign, gelu_erf, gelu_erf_mul, gelu_quick, gelu_tanh, gelu_tanh_mul, mul, mul_assign,
    relu, relu_squared, scale, scale_assign, sigmoid, silu, silu_mul, softcap, softcap_assign,
    swiglu_clamped, tanh,
};
pub use norm::{l2_norm, layer_norm, rms_norm, rms_norm_assign, softmax_assign};
pub use rotate::rope;

/// The lanes of a defined sum: element `i` belongs to lane `i mod 16`.
pub(crate) const LANES: usize = 16;

/// The sum of 16 lanes as a tree: 8, 4, 2, 1.
#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// A defined sum: each lane accumulates `step(lane, x[i])` in ascending `i`, then the tree.
#[inline(always)]
pub(crate) fn lane_sum(x: &[f32], step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, x);
    }
    tree(lanes)
}

#[cfg(test)]
mod tests;
