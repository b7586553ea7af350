//! Qwen 3 (dense): as Qwen 2 without biases, with an RMS norm over each query and key head
//! before the rotation, and heads whose width is independent of the hidden size.
//! (Yang et al. 2025, arXiv 2505.09388.)

use super::Ctx;
use crate::plan::Val;
use hob_kernels::rope::RopeStyle;

pub(crate) fn build(ctx: &mut Ctx<'_>) -> Val {
    ctx.pre_norm_decoder(RopeStyle::Neox, true)
}
