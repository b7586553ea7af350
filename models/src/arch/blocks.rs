//! The building blocks that architectures share: weights by role, attention, gated MLP, head.

use super::Ctx;
use crate::plan::{
    Binary, Mask, RopeDecl, RopeId, StateId, Unary, Val, WeightDecl, WeightId, WeightKind,
};
use hob_kernels::rope::{RopeScaling, RopeStyle};

/// The projections of one attention layer that differ between architectures.
pub(crate) struct Attention {
    /// The layer's rotary table.
    pub(crate) rope: RopeId,
    /// Which keys a query sees.
    pub(crate) mask: Mask,
    /// RMS norm over each query and key head before the rotation.
    pub(crate) qk_norm: bool,
    /// Factor on the scores.
    pub(crate) scale: f32,
}

impl Ctx<'_> {
    /// A `[rows, cols]` matrix by canonical name.
    pub(crate) fn matrix(&mut self, name: &str, rows: u32, cols: u32) -> WeightId {
        self.b.weight(WeightDecl {
            name: self.names.of(name),
            kind: WeightKind::Matrix,
            rows,
            cols,
        })
    }

    /// A `[cols]` vector by canonical name.
    pub(crate) fn vector(&mut self, name: &str, cols: u32) -> WeightId {
        let kind = WeightKind::Vector { plus: 0.0 };
        self.b.weight(WeightDecl {
            name: self.names.of(name),
            kind,
            rows: 1,
            cols,
        })
    }

    /// The weight of an RMS norm: as [`Ctx::vector`], in the convention of the file at hand.
    pub(crate) fn norm_weight(&mut self, name: &str, cols: u32) -> WeightId {
        let kind = WeightKind::Vector {
            plus: self.names.norm_offset(),
        };
        self.b.weight(WeightDecl {
            name: self.names.of(name),
            kind,
            rows: 1,
            cols,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.shape(&self.names.of(name)).is_some()
    }

    /// `x · Wᵀ (+ b)` with the layer's weight and, where the file has one, its bias.
    pub(crate) fn projection(
        &mut self,
        x: Val,
        layer: u32,
        name: &str,
        rows: u32,
        cols: u32,
    ) -> Val {
        let w = self.matrix(&format!("blk.{layer}.{name}.weight"), rows, cols);
        let bias_name = format!("blk.{layer}.{name}.bias");
        let bias = self.has(&bias_name).then(|| self.vector(&bias_name, rows));
        self.b.linear(x, w, bias)
    }

    /// RMS norm with the layer's weight of that name.
    pub(crate) fn layer_norm(&mut self, x: Val, layer: u32, name: &str) -> Val {
        let w = self.norm_weight(&format!("blk.{layer}.{name}.weight"), self.hp.hidden);
        self.b.rms_norm(x, w, self.hp.rms_eps)
    }

    /// A rotary table of the model's rotated width; per-frequency divisors stored in the file
    /// take the place of a scaling rule.
    pub(crate) fn rope_table(
        &mut self,
        style: RopeStyle,
        theta: f64,
        scaling: RopeScaling,
    ) -> RopeId {
        let dims = self.hp.rope.dims;
        let factors = (self.names.has_rope_factors() && self.has("rope_freqs.weight"))
            .then(|| self.vector("rope_freqs.weight", dims / 2));
        self.b.rope_table(RopeDecl {
            style,
            dims,
            theta,
            scaling,
            factors,
        })
    }

    /// Self-attention over a normed input `h`: projections, optional norms of heads, rotation,
    /// cache, softmax attention. The output projection is left to the caller, who may first drop
    /// the rows that no logits are wanted for.
    pub(crate) fn attention(&mut self, h: Val, layer: u32, a: &Attention) -> Val {
        let hp = self.hp;
        let (nq, nkv) = (hp.n_heads, hp.n_kv_heads);
        let mut q = self.projection(h, layer, "attn_q", nq * hp.head_dim_k, hp.hidden);
        let mut k = self.projection(h, layer, "attn_k", nkv * hp.head_dim_k, hp.hidden);
        let v = self.projection(h, layer, "attn_v", nkv * hp.head_dim_v, hp.hidden);
        if a.qk_norm {
            let wq = self.norm_weight(&format!("blk.{layer}.attn_q_norm.weight"), hp.head_dim_k);
            let wk = self.norm_weight(&format!("blk.{layer}.attn_k_norm.weight"), hp.head_dim_k);
            q = self.b.rms_norm(q, wq, hp.rms_eps);
            k = self.b.rms_norm(k, wk, hp.rms_eps);
        }
        q = self.b.rope(q, nq, a.rope);
        k = self.b.rope(k, nkv, a.rope);
        let state: StateId = self.b.kv(nkv, hp.head_dim_k, hp.head_dim_v);
        self.b.kv_write(state, k, v);
        self.b
            .attend(state, q, nq, a.scale, a.mask, hp.attn_softcap)
    }

    /// The attention's output projection.
    pub(crate) fn attention_out(&mut self, o: Val, layer: u32) -> Val {
        let hp = self.hp;
        self.projection(
            o,
            layer,
            "attn_output",
            hp.hidden,
            hp.n_heads * hp.head_dim_v,
        )
    }

    /// `down(act(gate(h)) * up(h))`
    pub(crate) fn gated_mlp(&mut self, h: Val, layer: u32, act: Binary) -> Val {
        let (hidden, ffn) = (self.hp.hidden, self.hp.ffn);
        let gate = self.projection(h, layer, "ffn_gate", ffn, hidden);
        let up = self.projection(h, layer, "ffn_up", ffn, hidden);
        let x = self.b.binary(act, gate, up);
        self.projection(x, layer, "ffn_down", hidden, ffn)
    }

    /// The token embedding table.
    pub(crate) fn token_embd(&mut self) -> WeightId {
        self.matrix("token_embd.weight", self.hp.vocab, self.hp.hidden)
    }

    /// Final norm, output matrix (the embedding table where the file has no other), soft cap.
    pub(crate) fn head(&mut self, x: Val) -> Val {
        let norm = self.norm_weight("output_norm.weight", self.hp.hidden);
        let h = self.b.rms_norm(x, norm, self.hp.rms_eps);
        let output = if self.has("output.weight") && !self.hp.tied {
            self.matrix("output.weight", self.hp.vocab, self.hp.hidden)
        } else {
            self.token_embd()
        };
        let logits = self.b.linear(h, output, None);
        match self.hp.logit_softcap {
            Some(cap) => self.b.unary(Unary::Softcap(cap), logits),
            None => logits,
        }
    }

    /// The pre-norm residual layers of the llama lineage, from embedding to logits: the only
    /// differences are the rotary table and whether query and key heads are normed.
    pub(crate) fn pre_norm_decoder(&mut self, style: RopeStyle, qk_norm: bool) -> Val {
        let hp = self.hp;
        let table = self.token_embd();
        let mut x = self.b.embed(table, 1.0);
        let rope = self.rope_table(style, hp.rope.theta, hp.rope.scaling.clone());
        let mask = hp.sliding_window.map_or(Mask::Causal, Mask::Window);
        let scale = hp.attn_scale();
        for layer in 0..hp.n_layers {
            let h = self.layer_norm(x, layer, "attn_norm");
            let mut o = self.attention(
                h,
                layer,
                &Attention {
                    rope,
                    mask,
                    qk_norm,
                    scale,
                },
            );
            if layer + 1 == hp.n_layers {
                o = self.b.select_outputs(o);
                x = self.b.select_outputs(x);
            }
            let o = self.attention_out(o, layer);
            x = self.b.binary(Binary::Add, x, o);
            let h = self.layer_norm(x, layer, "ffn_norm");
            let y = self.gated_mlp(h, layer, Binary::SiluMul);
            x = self.b.binary(Binary::Add, x, y);
        }
        self.head(x)
    }
}
