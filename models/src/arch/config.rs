//! Hyper-parameters: read from GGUF metadata or from a Hugging Face `config.json`, checked once.

use super::{ArchError, Names};
use hob_kernels::rope::RopeScaling;
use serde_json::Value;

/// Upper bound on any one dimension: far above every published model, and small enough that
/// products of two dimensions cannot overflow 64 bits.
const MAX_DIM: u32 = 1 << 24;
/// Upper bound on the number of layers.
const MAX_LAYERS: u32 = 1 << 12;

/// What a family of architectures needs to know of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct HParams {
    /// Architecture, by GGUF's name.
    pub arch: String,
    /// Number of layers.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Width of the MLP.
    pub ffn: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Elements of a query or key head.
    pub head_dim_k: u32,
    /// Elements of a value head.
    pub head_dim_v: u32,
    /// Rows of the embedding table.
    pub vocab: u32,
    /// Positions that the model was trained for (or scaled to).
    pub context: u32,
    /// Epsilon of the RMS norms.
    pub rms_eps: f32,
    /// Rotary embedding of the (global) attention layers.
    pub rope: RopeParams,
    /// Rotary base of the local layers, where the architecture has such.
    pub rope_theta_local: f64,
    /// Positions that a local layer sees.
    pub sliding_window: Option<u32>,
    /// For architectures that mix local and global layers: which are global.
    pub global_layers: Vec<bool>,
    /// Score factor where it is not `head_dim_k^-1/2`.
    pub score_scale: Option<f32>,
    /// Soft cap on attention scores.
    pub attn_softcap: Option<f32>,
    /// Soft cap on the logits.
    pub logit_softcap: Option<f32>,
    /// The output matrix is the embedding table, whatever else the file holds.
    pub tied: bool,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParams {
    /// Rotated dimensions of a head.
    pub dims: u32,
    /// Base of the wavelengths.
    pub theta: f64,
    /// Stretching beyond the trained context.
    pub scaling: RopeScaling,
}

/// Typed look-ups in a file's metadata. `Ok(None)` means absent; a wrong type is an error.
pub trait Metadata {
    /// A non-negative integer of any width.
    fn int(&self, key: &str) -> Result<Option<u64>, ArchError>;
    /// A number.
    fn float(&self, key: &str) -> Result<Option<f64>, ArchError>;
    /// A string.
    fn text(&self, key: &str) -> Result<Option<&str>, ArchError>;
    /// Elements of an array of integers or booleans, at most `limit` of them.
    fn ints(&self, key: &str, limit: usize) -> Result<Option<Vec<u64>>, ArchError>;
}

impl HParams {
    /// Reads the metadata of a GGUF file; `vocab` comes from the embedding tensor's shape.
    pub fn from_gguf(meta: &dyn Metadata, vocab: u32) -> Result<HParams, ArchError> {
        let arch = meta
            .text("general.architecture")?
            .ok_or_else(|| ArchError::Missing("general.architecture".into()))?
            .to_owned();
        if !super::KNOWN.contains(&arch.as_str()) {
            return Err(ArchError::Unknown(arch));
        }
        let g = Gguf { meta, arch: &arch };
        let n_layers = g.need("block_count")?;
        let hidden = g.need("embedding_length")?;
        let n_heads = g
            .uniform("attention.head_count", n_layers)?
            .ok_or_else(|| g.missing("attention.head_count"))?;
        let n_kv_heads = g
            .uniform("attention.head_count_kv", n_layers)?
            .unwrap_or(n_heads);
        let head_dim = hidden.checked_div(n_heads).unwrap_or(0);
        let head_dim_k = g.int("attention.key_length")?.unwrap_or(head_dim);
        let head_dim_v = g.int("attention.value_length")?.unwrap_or(head_dim);
        let (theta, dims) = (g.float("rope.freq_base")?, g.int("rope.dimension_count")?);
        let gemma = arch == "gemma3";
        let global_layers = match gemma {
            true => g.global_layers(n_layers, 6)?,
            false => Vec::new(),
        };
        Ok(HParams {
            n_layers,
            hidden,
            ffn: g
                .uniform("feed_forward_length", n_layers)?
                .ok_or_else(|| g.missing("feed_forward_length"))?,
            n_heads,
            n_kv_heads,
            head_dim_k,
            head_dim_v,
            vocab,
            context: g.need("context_length")?,
            rms_eps: g
                .float("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| g.missing("attention.layer_norm_rms_epsilon"))?
                as f32,
            rope: RopeParams {
                dims: dims.unwrap_or(head_dim_k),
                theta: theta.unwrap_or(if gemma { 1_000_000.0 } else { 10_000.0 }),
                scaling: g.rope_scaling()?,
            },
            rope_theta_local: g.float("rope.freq_base_swa")?.unwrap_or(10_000.0),
            sliding_window: g.int("attention.sliding_window")?.filter(|&w| w > 0),
            global_layers,
            // Gemma 3 27B, known by its 62 layers, scales by the hidden size's share of a head.
            score_scale: (gemma && n_layers == 62).then(|| 1.0 / (head_dim as f32).sqrt()),
            attn_softcap: g.float("attn_logit_softcapping")?.map(|x| x as f32),
            logit_softcap: g.float("final_logit_softcapping")?.map(|x| x as f32),
            tied: false,
            arch,
        })
    }

    /// Reads a Hugging Face `config.json`; also tells how its tensors are named.
    pub fn from_hugging_face(config: &Value) -> Result<(HParams, Names), ArchError> {
        let outer = config;
        let config = config.get("text_config").unwrap_or(config);
        let c = Json(config);
        let model_type = c
            .text("model_type")
            .or_else(|| Json(outer).text("model_type"))
            .unwrap_or("");
        let arch = match model_type {
            "llama" | "mistral" => "llama",
            "qwen2" => "qwen2",
            "qwen3" => "qwen3",
            "gemma3_text" | "gemma3" => "gemma3",
            other => return Err(ArchError::Unknown(other.to_owned())),
        };
        let gemma = arch == "gemma3";
        let n_layers = c.need("num_hidden_layers")?;
        let hidden = c.need("hidden_size")?;
        let n_heads = c.need("num_attention_heads")?;
        let head_dim = match c.int("head_dim")? {
            Some(d) => d,
            None if gemma => 256,
            None => hidden.checked_div(n_heads).unwrap_or(0),
        };
        let act = c
            .text("hidden_activation")
            .or(c.text("hidden_act"))
            .unwrap_or("");
        if act != if gemma { "gelu_pytorch_tanh" } else { "silu" } && !act.is_empty() {
            return Err(ArchError::Unsupported(format!("the activation `{act}`")));
        }
        for flag in ["use_bidirectional_attention", "use_sliding_window"] {
            if c.flag(flag) == Some(true) {
                return Err(ArchError::Unsupported(format!("`{flag}`")));
            }
        }
        let params = c.0.get("rope_parameters").filter(|v| v.is_object());
        // One set of rope parameters, or one for each kind of layer.
        let full = params.map(|p| p.get("full_attention").unwrap_or(p));
        let local = params.and_then(|p| p.get("sliding_attention"));
        let theta_of =
            |v: Option<&Value>| v.and_then(|v| v.get("rope_theta")).and_then(Value::as_f64);
        let theta = theta_of(full).or(c.float("rope_theta"));
        let scaling = full
            .or_else(|| c.0.get("rope_scaling"))
            .filter(|v| v.is_object());
        let context = c.need("max_position_embeddings")?;
        let share = c.float("partial_rotary_factor").unwrap_or(1.0);
        let theta = theta.unwrap_or(if gemma { 1_000_000.0 } else { 10_000.0 });
        let dims = (f64::from(head_dim) * share) as u32;
        let hp = HParams {
            arch: arch.to_owned(),
            n_layers,
            hidden,
            ffn: c.need("intermediate_size")?,
            n_heads,
            n_kv_heads: c.int("num_key_value_heads")?.unwrap_or(n_heads),
            head_dim_k: head_dim,
            head_dim_v: head_dim,
            vocab: c.need("vocab_size")?,
            context,
            rms_eps: c.float("rms_norm_eps").unwrap_or(1e-6) as f32,
            rope: RopeParams {
                dims,
                theta,
                scaling: hugging_face_scaling(scaling, theta, dims, context)?,
            },
            rope_theta_local: theta_of(local)
                .or(c.float("rope_local_base_freq"))
                .unwrap_or(10_000.0),
            sliding_window: match model_type {
                "mistral" => c.int("sliding_window")?,
                _ if gemma => Some(c.int("sliding_window")?.unwrap_or(4096)),
                _ => None,
            },
            global_layers: if gemma {
                c.global_layers(n_layers)?
            } else {
                Vec::new()
            },
            score_scale: gemma
                .then(|| c.float("query_pre_attn_scalar").unwrap_or(256.0).powf(-0.5) as f32),
            attn_softcap: c.float("attn_logit_softcapping").map(|x| x as f32),
            logit_softcap: c.float("final_logit_softcapping").map(|x| x as f32),
            tied: c
                .flag("tie_word_embeddings")
                .or(Json(outer).flag("tie_word_embeddings"))
                .unwrap_or(gemma),
        };
        let nested = outer.get("text_config").is_some();
        let prefix = if nested {
            "language_model.model."
        } else {
            "model."
        };
        Ok((
            hp,
            Names::HuggingFace {
                prefix: prefix.to_owned(),
                four_norms: gemma,
            },
        ))
    }

    /// The factor on attention scores.
    pub fn attn_scale(&self) -> f32 {
        self.score_scale
            .unwrap_or_else(|| 1.0 / (self.head_dim_k as f32).sqrt())
    }

    /// Whether a layer of a local/global architecture sees the whole context.
    pub fn is_global(&self, layer: u32) -> bool {
        self.global_layers
            .get(layer as usize)
            .copied()
            .unwrap_or(true)
    }

    /// Refuses sizes that no model has and combinations that have no meaning.
    pub(crate) fn check(&self) -> Result<(), ArchError> {
        let invalid = |key: &str, found: String, wanted| {
            Err(ArchError::Invalid {
                key: key.into(),
                found,
                wanted,
            })
        };
        let dims = [
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.ffn),
            ("attention.head_count", self.n_heads),
            ("attention.head_count_kv", self.n_kv_heads),
            ("attention.key_length", self.head_dim_k),
            ("attention.value_length", self.head_dim_v),
            ("vocab_size", self.vocab),
        ];
        for (key, n) in dims {
            if n == 0 || n > MAX_DIM {
                return invalid(key, n.to_string(), "between 1 and 16777216");
            }
        }
        if self.n_layers == 0 || self.n_layers > MAX_LAYERS {
            return invalid(
                "block_count",
                self.n_layers.to_string(),
                "between 1 and 4096",
            );
        }
        if self.context == 0 {
            return invalid("context_length", "0".into(), "at least 1");
        }
        let heads = [self.n_heads, self.n_kv_heads]
            .map(|n| u64::from(n) * u64::from(self.head_dim_k.max(self.head_dim_v)));
        if heads.iter().any(|&n| n > u64::from(MAX_DIM)) {
            return invalid(
                "attention.head_count",
                self.n_heads.to_string(),
                "heads times head width at most 16777216",
            );
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return invalid(
                "attention.head_count_kv",
                self.n_kv_heads.to_string(),
                "a divisor of the head count",
            );
        }
        if self.rope.dims == 0
            || !self.rope.dims.is_multiple_of(2)
            || self.rope.dims > self.head_dim_k
        {
            return invalid(
                "rope.dimension_count",
                self.rope.dims.to_string(),
                "even and at most the head width",
            );
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.rope.theta) || !positive(self.rope_theta_local) {
            return invalid(
                "rope.freq_base",
                self.rope.theta.to_string(),
                "a positive number",
            );
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return invalid(
                "attention.layer_norm_rms_epsilon",
                self.rms_eps.to_string(),
                "a small positive number",
            );
        }
        for (key, cap) in [
            ("attn_logit_softcapping", self.attn_softcap),
            ("final_logit_softcapping", self.logit_softcap),
        ] {
            if cap.is_some_and(|c| !positive(f64::from(c))) {
                return invalid(key, format!("{cap:?}"), "a positive number");
            }
        }
        Ok(())
    }
}

/// Look-ups below the architecture's prefix.
struct Gguf<'a> {
    meta: &'a dyn Metadata,
    arch: &'a str,
}

impl Gguf<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn missing(&self, name: &str) -> ArchError {
        ArchError::Missing(self.key(name))
    }

    fn narrow(&self, name: &str, x: u64) -> Result<u32, ArchError> {
        u32::try_from(x).map_err(|_| ArchError::Invalid {
            key: self.key(name),
            found: x.to_string(),
            wanted: "below 2^32",
        })
    }

    fn int(&self, name: &str) -> Result<Option<u32>, ArchError> {
        self.meta
            .int(&self.key(name))?
            .map(|x| self.narrow(name, x))
            .transpose()
    }

    fn need(&self, name: &str) -> Result<u32, ArchError> {
        self.int(name)?.ok_or_else(|| self.missing(name))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, ArchError> {
        self.meta.float(&self.key(name))
    }

    /// A number that may also be given once for each layer, if all layers agree.
    fn uniform(&self, name: &str, n_layers: u32) -> Result<Option<u32>, ArchError> {
        if let Ok(one) = self.int(name) {
            return Ok(one);
        }
        let all = self
            .meta
            .ints(&self.key(name), n_layers as usize)?
            .unwrap_or_default();
        match all.first() {
            Some(&first) if all.iter().all(|&x| x == first) => self.narrow(name, first).map(Some),
            _ => Err(ArchError::Unsupported(format!(
                "a `{}` that differs between layers",
                self.key(name)
            ))),
        }
    }

    /// Every `period`-th layer is global, unless the file says which are local.
    fn global_layers(&self, n_layers: u32, period: u32) -> Result<Vec<bool>, ArchError> {
        let name = "attention.sliding_window_pattern";
        let n = n_layers.min(MAX_LAYERS);
        let period = match self.int(name) {
            Ok(given) => given.unwrap_or(period),
            Err(_) => {
                let local = self
                    .meta
                    .ints(&self.key(name), n as usize)?
                    .unwrap_or_default();
                return Ok(local.iter().map(|&x| x == 0).collect());
            }
        };
        Ok((0..n)
            .map(|i| period == 0 || (i + 1) % period == 0)
            .collect())
    }

    fn rope_scaling(&self) -> Result<RopeScaling, ArchError> {
        let key = self.key("rope.scaling.type");
        let factor = self.float("rope.scaling.factor")?;
        match self.meta.text(&key)? {
            None => match self.float("rope.scale_linear")? {
                Some(f) if f != 1.0 => linear(f, &key),
                _ => Ok(RopeScaling::None),
            },
            Some("none") => Ok(RopeScaling::None),
            Some("linear") => linear(factor.unwrap_or(1.0), &key),
            Some("yarn") => yarn(
                factor.unwrap_or(1.0),
                match self.int("rope.scaling.original_context_length")? {
                    Some(n) => f64::from(n),
                    None => f64::from(self.need("context_length")?),
                },
                self.float("rope.scaling.yarn_beta_fast")?,
                self.float("rope.scaling.yarn_beta_slow")?,
                None,
                self.float("rope.scaling.attn_factor")?,
                true,
            ),
            Some(other) => Err(ArchError::Unsupported(format!("rope scaling `{other}`"))),
        }
    }
}

fn factor_in_range(factor: f64, key: &str) -> Result<f64, ArchError> {
    let ok = factor.is_finite() && (1e-3..=1e6).contains(&factor);
    ok.then_some(factor).ok_or_else(|| ArchError::Invalid {
        key: key.to_owned(),
        found: factor.to_string(),
        wanted: "a factor between 0.001 and 1000000",
    })
}

fn linear(factor: f64, key: &str) -> Result<RopeScaling, ArchError> {
    Ok(RopeScaling::Linear {
        factor: factor_in_range(factor, key)?,
    })
}

/// `magnitude` is the factor on cosine and sine where the file gives it; else it is YaRN's
/// `0.1 ln(factor) + 1`, times `attn_factor`.
fn yarn(
    factor: f64,
    original_context: f64,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    magnitude: Option<f64>,
    attn_factor: Option<f64>,
    truncate: bool,
) -> Result<RopeScaling, ArchError> {
    let factor = factor_in_range(factor, "rope.scaling.factor")?;
    let stated = magnitude.map_or(1.0, |m| m / yarn_magnitude(factor, 1.0));
    Ok(RopeScaling::Yarn {
        factor,
        orig_ctx: original_context,
        beta_fast: beta_fast.unwrap_or(32.0),
        beta_slow: beta_slow.unwrap_or(1.0),
        ext_factor: 1.0,
        attn_factor: stated * attn_factor.unwrap_or(1.0),
        truncate,
    })
}

/// `0.1 m ln(s) + 1` (arXiv 2309.00071, section 3.4).
fn yarn_magnitude(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * m * hob_kernels::math::double::ln(factor) + 1.0
    }
}

fn hugging_face_scaling(
    v: Option<&Value>,
    theta: f64,
    dims: u32,
    context: u32,
) -> Result<RopeScaling, ArchError> {
    let Some(v) = v else {
        return Ok(RopeScaling::None);
    };
    let c = Json(v);
    let kind = c.text("rope_type").or(c.text("type")).unwrap_or("default");
    let need = |key: &str| {
        c.float(key)
            .ok_or_else(|| ArchError::Missing(format!("rope_scaling.{key}")))
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => linear(need("factor")?, "rope_scaling.factor"),
        "yarn" => {
            let factor = need("factor")?;
            let magnitude = c.float("attention_factor").or_else(|| {
                let (m, all) = (c.float("mscale")?, c.float("mscale_all_dim")?);
                Some(yarn_magnitude(factor, m) / yarn_magnitude(factor, all))
            });
            let original = c
                .float("original_max_position_embeddings")
                .unwrap_or(f64::from(context));
            let truncate = c.flag("truncate").unwrap_or(true);
            yarn(
                factor,
                original,
                c.float("beta_fast"),
                c.float("beta_slow"),
                magnitude,
                None,
                truncate,
            )
        }
        "llama3" => {
            let factor = factor_in_range(need("factor")?, "rope_scaling.factor")?;
            let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
            let original = need("original_max_position_embeddings")?;
            let factors = llama3_factors(dims, theta, factor, low, high, original);
            Ok(RopeScaling::Factors {
                factors,
                magnitude: 1.0,
            })
        }
        other => Err(ArchError::Unsupported(format!("rope scaling `{other}`"))),
    }
}

/// Llama 3.1's rule as per-frequency divisors, `[dims/2]`: long wavelengths are divided by the
/// factor, short ones kept, those between blended linearly in frequency. (Meta's llama-models
/// reference, `apply_scaling`.)
fn llama3_factors(
    dims: u32,
    theta: f64,
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
) -> Vec<f32> {
    use hob_kernels::math::double::pow;
    (0..dims / 2)
        .map(|i| {
            let wavelength = std::f64::consts::TAU * pow(theta, f64::from(2 * i) / f64::from(dims));
            let divisor = if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            };
            divisor as f32
        })
        .collect()
}

/// Look-ups in a JSON object; `null` counts as absent.
struct Json<'a>(&'a Value);

impl<'a> Json<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn int(&self, key: &str) -> Result<Option<u32>, ArchError> {
        let Some(v) = self.get(key) else {
            return Ok(None);
        };
        let n = v.as_u64().and_then(|n| u32::try_from(n).ok());
        n.map(Some).ok_or_else(|| ArchError::Invalid {
            key: key.to_owned(),
            found: v.to_string().chars().take(40).collect(),
            wanted: "a whole number below 2^32",
        })
    }

    fn need(&self, key: &str) -> Result<u32, ArchError> {
        self.int(key)?
            .ok_or_else(|| ArchError::Missing(key.to_owned()))
    }

    fn float(&self, key: &str) -> Option<f64> {
        self.get(key).and_then(Value::as_f64)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// From `layer_types`, else every n-th layer (`sliding_window_pattern`, 6 by default).
    fn global_layers(&self, n_layers: u32) -> Result<Vec<bool>, ArchError> {
        let n = n_layers.min(MAX_LAYERS);
        if let Some(types) = self.get("layer_types").and_then(Value::as_array) {
            if types.len() != n as usize {
                return Err(ArchError::Invalid {
                    key: "layer_types".into(),
                    found: format!("{} entries", types.len()),
                    wanted: "one entry a layer",
                });
            }
            return Ok(types
                .iter()
                .map(|t| t.as_str() == Some("full_attention"))
                .collect());
        }
        let period = self
            .int("sliding_window_pattern")?
            .or(self.int("_sliding_window_pattern")?)
            .unwrap_or(6);
        Ok((0..n)
            .map(|i| period == 0 || (i + 1) % period == 0)
            .collect())
    }
}
