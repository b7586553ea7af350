"""The four architectures once more, in numpy and double precision, written from the papers and
transformers' documentation: an oracle that is small enough to read and cheap enough for CI.

In:  a config in transformers 5's form (a dictionary), and `weight(name)`, which gives a tensor by
     its HF name as an array of floats
Out: logits [tokens, vocab] as float64

It was checked against transformers in float32 (`run.py tiny --oracle both`, `run.py logits
--oracle transformers`); README.md has the figures.
"""

import math

import numpy as np


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def frequencies(rope, head_dim):
    """Rotation per position of each of the head_dim / 2 pairs, and what cos and sin are scaled by."""
    theta = rope["rope_theta"]
    freq = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return freq, 1.0
    factor = rope["factor"]
    if kind == "linear":
        return freq / factor, 1.0
    context = rope["original_max_position_embeddings"]
    if kind == "llama3":
        turns = context * freq / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return freq * (keep + (1 - keep) / factor), 1.0
    if kind == "yarn":
        # arXiv 2309.00071: pairs that turn more than 32 times in the original context stay, those
        # that turn less than once are stretched, with a ramp over the pairs between.
        def pair(turns):
            return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

        low, high = max(math.floor(pair(32)), 0), min(math.ceil(pair(1)), head_dim - 1)
        keep = 1 - np.clip((np.arange(head_dim // 2) - low) / (high - low), 0, 1)
        return freq * (keep + (1 - keep) / factor), 0.1 * math.log(factor) + 1
    raise ValueError(f"no rope of type {kind}")


def rotate(x, rope, head_dim):
    """x: [heads, tokens, head_dim], position = token index; the two of a pair are half a head apart."""
    freq, scale = frequencies(rope, head_dim)
    angle = np.arange(x.shape[1])[:, None] * freq
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x, config, weight, prefix, full):
    n, heads = len(x), config["num_attention_heads"]
    kv_heads = config["num_key_value_heads"]
    kind, dim = config["model_type"], config["head_dim"]

    def project(part, heads):
        y = x @ weight(f"{prefix}{part}_proj.weight").T
        if kind == "qwen2":
            y = y + weight(f"{prefix}{part}_proj.bias")
        return y.reshape(n, heads, dim).swapaxes(0, 1)

    q, k, v = project("q", heads), project("k", kv_heads), project("v", kv_heads)
    if kind in ("qwen3", "gemma3_text"):
        one = kind == "gemma3_text"
        q = rms_norm(q, weight(prefix + "q_norm.weight") + one, config["rms_norm_eps"])
        k = rms_norm(k, weight(prefix + "k_norm.weight") + one, config["rms_norm_eps"])
    rope = config["rope_parameters"]
    if kind == "gemma3_text":
        rope = rope["full_attention" if full else "sliding_attention"]
    q, k = rotate(q, rope, dim), rotate(k, rope, dim)
    k, v = np.repeat(k, heads // kv_heads, 0), np.repeat(v, heads // kv_heads, 0)
    behind = np.arange(n)[:, None] - np.arange(n)
    seen = behind >= 0
    if not full:
        seen &= behind < config["sliding_window"]
    scale = config.get("query_pre_attn_scalar", dim) ** -0.5
    out = softmax(np.where(seen, q @ k.swapaxes(1, 2) * scale, -np.inf)) @ v
    return out.swapaxes(0, 1).reshape(n, heads * dim) @ weight(prefix + "o_proj.weight").T


def logits(config, weight, tokens):
    def get(name):
        return weight(name).astype(np.float64)

    gemma = config["model_type"] == "gemma3_text"
    eps, act = config["rms_norm_eps"], gelu_tanh if gemma else silu

    def norm(x, name):
        return rms_norm(x, get(name + ".weight") + gemma, eps)

    embedding = weight("model.embed_tokens.weight")
    x = embedding[tokens].astype(np.float64)
    if gemma:
        x = x * math.sqrt(config["hidden_size"])
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        full = not gemma or config["layer_types"][layer] == "full_attention"
        y = attention(norm(x, at + "input_layernorm"), config, get, at + "self_attn.", full)
        x = x + (norm(y, at + "post_attention_layernorm") if gemma else y)
        y = norm(x, at + ("pre_feedforward_layernorm" if gemma else "post_attention_layernorm"))
        y = act(y @ get(at + "mlp.gate_proj.weight").T) * (y @ get(at + "mlp.up_proj.weight").T)
        y = y @ get(at + "mlp.down_proj.weight").T
        x = x + (norm(y, at + "post_feedforward_layernorm") if gemma else y)
    x = norm(x, "model.norm")
    head = embedding if config["tie_word_embeddings"] else weight("lm_head.weight")
    # A large vocabulary in slices: its matrix in double precision would take gigabytes.
    return np.concatenate([x @ rows.astype(np.float64).T for rows in np.array_split(head, 1 + len(head) // 32768)], 1)
