"""Tiny random models of every architecture and rope variant, in every form that hob reads.

Weights are seeded, and wide enough that logits and attention vary; norms are near one, biases are
not zero. `make(folder)` writes, per model:

    NAME/model.gguf       all F32, vocabulary "none"
    NAME/hf5/, NAME/hf4/  config.json as transformers 5 and as transformers 4 wrote it (most published
                          models have the older form), with model.safetensors or, where the spec says
                          so, shards and model.safetensors.index.json
    NAME/tokens.json      48 token ids

Weights of models in bf16 or f16 are rounded to that type before anything is written, so that all
three forms hold the same numbers.
"""

import json
import math
import os

import gguf
import numpy as np
from safetensors import TensorSpec, serialize_file

from layout import gguf_name, to_gguf

TOKENS = 48
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 4.0}
CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
           "qwen3": "Qwen3ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def spec(kind, hidden, ffn, layers, heads, kv, head_dim, *, tied=False, theta=10000.0, scaling=None, eps=1e-5,
         dtype="f32", shard=1 << 30, vocab=320, context=4096, window=None, pattern=None):
    return dict(kind=kind, hidden=hidden, ffn=ffn, layers=layers, heads=heads, kv=kv, head_dim=head_dim, tied=tied,
                theta=theta, scaling=scaling, eps=eps, dtype=dtype, shard=shard, vocab=vocab, context=context,
                window=window, pattern=pattern)


MODELS = {
    "llama": spec("llama", 128, 352, 3, 4, 2, 32),
    "llama_llama3_tied": spec("llama", 64, 160, 2, 4, 1, 16, tied=True, theta=500000.0, scaling=LLAMA3, dtype="bf16"),
    "llama_linear": spec("llama", 96, 256, 2, 3, 3, 32, scaling=LINEAR, eps=1e-6, shard=200_000),
    "llama_yarn": spec("llama", 128, 256, 3, 4, 2, 32, scaling=YARN),
    "mistral": spec("mistral", 96, 256, 3, 4, 2, 32, theta=1000000.0, dtype="f16", shard=100_000),
    "qwen2": spec("qwen2", 128, 320, 3, 4, 2, 32, theta=1000000.0, eps=1e-6),
    "qwen2_tied": spec("qwen2", 64, 192, 4, 4, 1, 16, tied=True, theta=1000000.0, eps=1e-6, dtype="bf16"),
    "qwen2_yarn": spec("qwen2", 128, 256, 2, 4, 4, 32, theta=1000000.0, eps=1e-6, scaling=YARN),
    "qwen3": spec("qwen3", 96, 256, 3, 6, 2, 32, theta=1000000.0, eps=1e-6, dtype="bf16", shard=150_000),
    "qwen3_tied": spec("qwen3", 64, 128, 2, 4, 4, 32, tied=True, theta=1000000.0, eps=1e-6),
    "gemma3": spec("gemma3_text", 128, 256, 7, 4, 1, 32, tied=True, theta=1000000.0, eps=1e-6, shard=400_000,
                   window=8, pattern=6),
    "gemma3_linear": spec("gemma3_text", 64, 192, 4, 2, 2, 16, tied=True, theta=1000000.0, eps=1e-6, dtype="bf16",
                          window=5, pattern=3, scaling={"rope_type": "linear", "factor": 8.0}),
}


def config(s, old):
    """config.json as transformers 5 (old=False) or as transformers 4 wrote it."""
    c = {"architectures": [CLASSES[s["kind"]]], "dtype": DTYPES[s["dtype"]], "model_type": s["kind"],
         "vocab_size": s["vocab"], "hidden_size": s["hidden"], "intermediate_size": s["ffn"],
         "num_hidden_layers": s["layers"], "num_attention_heads": s["heads"], "num_key_value_heads": s["kv"],
         "head_dim": s["head_dim"], "rms_norm_eps": s["eps"], "max_position_embeddings": s["context"],
         "tie_word_embeddings": s["tied"], "bos_token_id": 1, "eos_token_id": 2}
    if old:
        c["torch_dtype"] = c.pop("dtype")
        if s["kind"] in ("llama", "qwen2") and s["head_dim"] * s["heads"] == s["hidden"]:
            del c["head_dim"]
    scaling = s["scaling"]
    full = (scaling or {"rope_type": "default"}) | {"rope_theta": s["theta"]}
    if s["kind"] == "gemma3_text":
        c |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": s["head_dim"],
              "sliding_window": s["window"]}
        if old:
            del c["tie_word_embeddings"]  # true by default there
            return c | {"rope_theta": s["theta"], "rope_local_base_freq": 10000.0, "rope_scaling": scaling,
                        "sliding_window_pattern": s["pattern"]}
        kinds = ["sliding_attention" if (i + 1) % s["pattern"] else "full_attention" for i in range(s["layers"])]
        local = {"rope_type": "default", "rope_theta": 10000.0}
        return c | {"layer_types": kinds, "rope_parameters": {"full_attention": full, "sliding_attention": local}}
    c["hidden_act"] = "silu"
    if s["kind"] == "mistral":
        c["sliding_window"] = None
    if s["kind"].startswith("qwen"):
        c["use_sliding_window"] = False
    if not old:
        return c | {"rope_parameters": full}
    if s["kind"] == "qwen2" and scaling:  # Qwen's own files say "type"
        scaling = {"type" if k == "rope_type" else k: v for k, v in scaling.items()}
    return c | {"rope_theta": s["theta"], "rope_scaling": scaling}


def shapes(s):
    """HF's name of each tensor -> its shape."""
    hidden, q, kv = s["hidden"], s["heads"] * s["head_dim"], s["kv"] * s["head_dim"]
    out = {"model.embed_tokens.weight": (s["vocab"], hidden), "model.norm.weight": (hidden,)}
    if not s["tied"]:
        out["lm_head.weight"] = (s["vocab"], hidden)
    for i in range(s["layers"]):
        at = f"model.layers.{i}."
        norms = ["input_layernorm", "post_attention_layernorm"]
        if s["kind"] == "gemma3_text":
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        out |= {f"{at}{n}.weight": (hidden,) for n in norms}
        out |= {f"{at}mlp.gate_proj.weight": (s["ffn"], hidden), f"{at}mlp.up_proj.weight": (s["ffn"], hidden),
                f"{at}mlp.down_proj.weight": (hidden, s["ffn"])}
        for part, rows in ("q", q), ("k", kv), ("v", kv):
            out[f"{at}self_attn.{part}_proj.weight"] = (rows, hidden)
            if s["kind"] == "qwen2":
                out[f"{at}self_attn.{part}_proj.bias"] = (rows,)
        out[f"{at}self_attn.o_proj.weight"] = (hidden, q)
        if s["kind"] in ("qwen3", "gemma3_text"):
            out |= {f"{at}self_attn.{part}_norm.weight": (s["head_dim"],) for part in "qk"}
    return out


def stored(x, dtype):
    """f32 -> (the array stored, its values as f32)"""
    if dtype == "f16":
        half = x.astype("<f2")
        return half, half.astype(np.float32)
    if dtype == "bf16":
        bits = x.astype("<f4").view("<u4")
        high = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return high.astype("<u2"), (high << 16).astype("<u4").view("<f4")
    return x.astype("<f4"), x.astype("<f4")


def draw(name, shape, s, rng):
    noise = rng.standard_normal(shape)
    gemma = s["kind"] == "gemma3_text"
    root = math.sqrt(shape[-1])
    if name.endswith("norm.weight"):
        return 0.3 * noise + (not gemma) + (0.2 if "q_norm" in name or "k_norm" in name else 0)
    if name.endswith(".bias"):
        return 0.5 * noise
    if "embed_tokens" in name:
        return noise * ((1 if gemma else 2) / root if s["tied"] else 1)
    if "lm_head" in name:
        return noise * 2 / root
    return noise * (1.3 if "q_proj" in name or "k_proj" in name else 1) / root


def write_safetensors(folders, tensors, s):
    """The same shards in every folder. tensors: name -> (array stored, values)"""
    shards, size = [{}], 0
    for name, (raw, _) in tensors.items():
        if size + raw.nbytes > s["shard"] and shards[-1]:
            shards, size = [*shards, {}], 0
        shards[-1][name] = TensorSpec(
            dtype=DTYPES[s["dtype"]], shape=raw.shape, data_ptr=raw.ctypes.data, data_len=raw.nbytes)
        size += raw.nbytes
    n = len(shards)
    names = ["model.safetensors"] if n == 1 else [f"model-{i + 1:05}-of-{n:05}.safetensors" for i in range(n)]
    for folder in folders:
        for file, shard in zip(names, shards):
            serialize_file(shard, folder / file, {"format": "pt"})
        if n > 1:
            where = {name: file for file, shard in zip(names, shards) for name in shard}
            total = sum(raw.nbytes for raw, _ in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": where}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def llama3_factors(s):
    """rope_freqs.weight: what each frequency is divided by."""
    r, out = s["scaling"], []
    low, high, factor = r["low_freq_factor"], r["high_freq_factor"], r["factor"]
    context = r["original_max_position_embeddings"]
    for i in range(0, s["head_dim"], 2):
        length = 2 * math.pi * s["theta"] ** (i / s["head_dim"])
        if length < context / high:
            out.append(1.0)
        elif length > context / low:
            out.append(factor)
        else:
            smooth = (context / length - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, dtype=np.float32)


def write_gguf(path, name, s, weights):
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(s["kind"], s["kind"])
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny {name}")
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_context_length(s["context"])
    w.add_embedding_length(s["hidden"])
    w.add_block_count(s["layers"])
    w.add_feed_forward_length(s["ffn"])
    w.add_head_count(s["heads"])
    w.add_head_count_kv(s["kv"])
    w.add_layer_norm_rms_eps(s["eps"])
    w.add_rope_freq_base(s["theta"])
    w.add_vocab_size(s["vocab"])
    if arch == "llama":
        w.add_rope_dimension_count(s["head_dim"])
    if s["head_dim"] != s["hidden"] // s["heads"] or arch in ("qwen3", "gemma3"):
        w.add_key_length(s["head_dim"])
        w.add_value_length(s["head_dim"])
    scaling = s["scaling"] or {"rope_type": "default"}
    if scaling["rope_type"] in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
        w.add_rope_scaling_factor(scaling["factor"])
        if scaling["rope_type"] == "yarn":
            w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if arch == "gemma3":
        w.add_sliding_window(s["window"])
        if s["pattern"] != 6:  # as published: absent means every sixth layer is full, local theta 10000
            w.add_sliding_window_pattern(s["pattern"])
            w.add_rope_freq_base_swa(10000.0)
    w.add_tokenizer_model("none")
    if scaling["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(s))
    for key, value in weights.items():
        value = to_gguf(arch, key, value, s["heads"], s["kv"])
        w.add_tensor(gguf_name(arch, s["layers"], key), np.ascontiguousarray(value))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(folder, seed=1):
    """Writes all models below `folder`. Yields (name, spec, weights by HF name, tokens) for each."""
    for i, (name, s) in enumerate(MODELS.items()):
        rng = np.random.default_rng([seed, i])
        out = folder / name
        forms = [out / "hf5", out / "hf4"]
        tensors = {}
        for key, shape in sorted(shapes(s).items()):
            tensors[key] = stored(draw(key, shape, s, rng).astype(np.float32), s["dtype"])
        tokens = rng.integers(3, s["vocab"], TOKENS).tolist()
        weights = {key: values for key, (_, values) in tensors.items()}
        for form in forms:
            os.makedirs(form, exist_ok=True)
            (form / "config.json").write_text(json.dumps(config(s, form.name == "hf4"), indent=2) + "\n")
        write_safetensors(forms, tensors, s)
        write_gguf(out / "model.gguf", name, s, weights)
        (out / "tokens.json").write_text(json.dumps(tokens) + "\n")
        yield name, s, weights, tokens
