//! Qwen 2 and 2.5: as llama, with biases on query, key and value, and rotation of half-split
//! pairs. (Yang et al. 2024, arXiv 2407.10671.) The biases are picked up from the file.

use super::Ctx;
use crate::plan::Val;
use hob_kernels::rope::RopeStyle;

pub(crate) fn build(ctx: &mut Ctx<'_>) -> Val {
    ctx.pre_norm_decoder(RopeStyle::Neox, false)
}
