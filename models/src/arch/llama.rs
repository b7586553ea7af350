//! Llama 1 to 3, Mistral, SmolLM and their kin: pre-norm layers, rotary attention with grouped
//! queries, SiLU-gated MLP. (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288; Llama 3's
//! per-frequency rope divisors come as a tensor or as a scaling rule.)

use super::{Ctx, llama_rope_style};
use crate::plan::Val;

pub(crate) fn build(ctx: &mut Ctx<'_>) -> Val {
    let style = llama_rope_style(ctx.names);
    ctx.pre_norm_decoder(style, false)
}
