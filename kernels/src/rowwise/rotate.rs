//! Rotary position embedding of one head, given the angles' cosines and sines.

use crate::dispatch::per_isa;
use crate::rope::RopeStyle;

/// `(a, b)` turned by an angle.
#[inline(always)]
fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a.mul_add(cos, -(b * sin)), b.mul_add(cos, a * sin))
}

per_isa! {
    /// Rotates the first `2 * cos.len()` elements of a head, in place: pair `i` turns by the angle
    /// of `cos[i], sin[i]`, `x0' = fma(x0, c, -(x1 * s))`, `x1' = fma(x1, c, x0 * s)`. Pairs past
    /// the head's end are left out.
    pub fn rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle) {
        let half = cos.len().min(sin.len()).min(head.len() / 2);
        match style {
            RopeStyle::Normal => {
                let (pairs, _) = head.as_chunks_mut::<2>();
                for (([a, b], &c), &s) in pairs.iter_mut().zip(cos).zip(sin) {
                    (*a, *b) = turn(*a, *b, c, s);
                }
            }
            RopeStyle::Neox => {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), &c), &s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = turn(*a, *b, c, s);
                }
            }
        }
    }
}
