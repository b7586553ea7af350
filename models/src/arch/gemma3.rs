//! Gemma 3 (text): embeddings scaled by the root of the hidden size, norms before and after
//! both halves of a layer, normed query and key heads, a GELU-gated MLP, and five local layers
//! with a sliding window (and a rotary base of their own) to each global one.
//! (Gemma Team 2025, arXiv 2503.19786.)

use super::Ctx;
use super::blocks::Attention;
use crate::plan::{Binary, Mask, Val};
use hob_kernels::rope::{RopeScaling, RopeStyle};

pub(crate) fn build(ctx: &mut Ctx<'_>) -> Val {
    let hp = ctx.hp;
    let table = ctx.token_embd();
    let mut x = ctx.b.embed(table, (hp.hidden as f32).sqrt());
    let global = ctx.rope_table(RopeStyle::Neox, hp.rope.theta, hp.rope.scaling.clone());
    let local = ctx.rope_table(RopeStyle::Neox, hp.rope_theta_local, RopeScaling::None);
    let scale = hp.attn_scale();
    for layer in 0..hp.n_layers {
        let (rope, mask) = match hp.sliding_window {
            Some(window) if !hp.is_global(layer) => (local, Mask::Window(window)),
            _ => (global, Mask::Causal),
        };
        let h = ctx.layer_norm(x, layer, "attn_norm");
        let mut o = ctx.attention(
            h,
            layer,
            &Attention {
                rope,
                mask,
                qk_norm: true,
                scale,
            },
        );
        if layer + 1 == hp.n_layers {
            o = ctx.b.select_outputs(o);
            x = ctx.b.select_outputs(x);
        }
        let o = ctx.attention_out(o, layer);
        let o = ctx.layer_norm(o, layer, "post_attention_norm");
        x = ctx.b.binary(Binary::Add, x, o);
        let h = ctx.layer_norm(x, layer, "ffn_norm");
        let y = ctx.gated_mlp(h, layer, Binary::GeluTanhMul);
        let y = ctx.layer_norm(y, layer, "post_ffw_norm");
        x = ctx.b.binary(Binary::Add, x, y);
    }
    ctx.head(x)
}
