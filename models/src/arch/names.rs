//! Tensor names: GGUF's are canonical in hob; this file maps them to Hugging Face's.

/// The naming convention of the file at hand.
#[derive(Clone, Debug, PartialEq)]
pub enum Names {
    /// `blk.0.attn_q.weight`
    Gguf,
    /// `model.layers.0.self_attn.q_proj.weight`
    HuggingFace {
        /// Before `layers.` and `embed_tokens`: `model.`, or `language_model.model.` in files
        /// that hold a vision tower too.
        prefix: String,
        /// Whether the family calls the norm after attention what others call the norm before
        /// the MLP (Gemma has four norms a layer, llama two).
        four_norms: bool,
    },
}

impl Names {
    /// The file's name of a tensor given by its canonical name.
    pub fn of(&self, canonical: &str) -> String {
        let Names::HuggingFace { prefix, four_norms } = self else {
            return canonical.to_owned();
        };
        match canonical {
            "token_embd.weight" => return format!("{prefix}embed_tokens.weight"),
            "output_norm.weight" => return format!("{prefix}norm.weight"),
            "output.weight" => {
                let outer = prefix.strip_suffix("model.").unwrap_or(prefix);
                return format!("{outer}lm_head.weight");
            }
            _ => {}
        }
        let mapped = canonical.strip_prefix("blk.").and_then(|rest| {
            let (layer, rest) = rest.split_once('.')?;
            let (part, kind) = rest.rsplit_once('.')?;
            let part = match part {
                "attn_norm" => "input_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "attn_q_norm" => "self_attn.q_norm",
                "attn_k_norm" => "self_attn.k_norm",
                "post_attention_norm" => "post_attention_layernorm",
                "ffn_norm" if *four_norms => "pre_feedforward_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "post_ffw_norm" => "post_feedforward_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            Some(format!("{prefix}layers.{layer}.{part}.{kind}"))
        });
        mapped.unwrap_or_else(|| canonical.to_owned())
    }

    /// What the file leaves off its norm weights: Gemma's Hugging Face files store `w - 1`.
    pub(crate) fn norm_offset(&self) -> f32 {
        match self {
            Names::HuggingFace {
                four_norms: true, ..
            } => 1.0,
            _ => 0.0,
        }
    }

    /// Whether rope divisors may come as a tensor (`rope_freqs.weight`).
    pub(crate) fn has_rope_factors(&self) -> bool {
        matches!(self, Names::Gguf)
    }
}
