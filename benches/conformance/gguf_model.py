"""A GGUF file as the oracles want it: a config in transformers 5's form, and weights by HF name.

Weights are dequantized by gguf-py, so that nothing of hob's is in the reference. Rope scaling is
refused: the published models that are compared here have none.
"""

import gguf
import numpy as np
from gguf.quants import dequantize

from layout import from_gguf, gguf_name

KINDS = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}


class GgufModel:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.reader.get_field("general.architecture").contents()
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.config = self._config()

    def _get(self, key, default=None):
        field = self.reader.get_field(f"{self.arch}.{key}")
        return default if field is None else field.contents()

    def _config(self):
        get = self._get
        if get("rope.scaling.type", "none") != "none" or "rope_freqs.weight" in self.tensors:
            raise ValueError("rope scaling is not handled here")
        hidden, heads = get("embedding_length"), get("attention.head_count")
        head_dim, layers = get("attention.key_length", hidden // heads), get("block_count")
        rope = {"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)}
        config = {
            "model_type": KINDS[self.arch], "vocab_size": int(self.tensors["token_embd.weight"].shape[1]),
            "hidden_size": hidden, "intermediate_size": get("feed_forward_length"), "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": get("attention.head_count_kv", heads),
            "head_dim": head_dim, "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
            "max_position_embeddings": get("context_length"),
            "tie_word_embeddings": "output.weight" not in self.tensors, "rope_parameters": rope,
        }
        if self.arch == "gemma3":
            pattern = get("attention.sliding_window_pattern", 6)
            kinds = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]
            local = {"rope_type": "default", "rope_theta": get("rope.freq_base_swa", 10000.0)}
            config |= {"layer_types": kinds, "sliding_window": get("attention.sliding_window"),
                       "query_pre_attn_scalar": head_dim, "hidden_activation": "gelu_pytorch_tanh",
                       "rope_parameters": {"full_attention": rope, "sliding_attention": local}}
        return config

    def weight(self, name):
        t = self.tensors[gguf_name(self.arch, self.config["num_hidden_layers"], name)]
        shape = [int(d) for d in reversed(t.shape)]
        w = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32).reshape(shape)
        return from_gguf(self.arch, name, w, self.config["num_attention_heads"], self.config["num_key_value_heads"])
