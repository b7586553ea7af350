"""Where the two file forms differ: tensor names, the order of rope rows, and norm weights.

Hugging Face ("HF") files keep the two halves of a rotated head apart, and Gemma's norm weights
less one. GGUF keeps the rows of arch `llama` interleaved, and norm weights whole. (As in
llama.cpp's convert_hf_to_gguf.py.)
"""

import gguf
import numpy as np

ARCH = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3": gguf.MODEL_ARCH.GEMMA3,
}


def interleave(w, heads):
    """HF's rope rows -> GGUF's. w: [heads * head_dim, ...]"""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def separate(w, heads):
    """GGUF's rope rows -> HF's."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def gguf_name(arch, layers, name):
    """HF's name of a tensor -> GGUF's."""
    new = gguf.get_tensor_name_map(ARCH[arch], layers).get_name(name, try_suffixes=(".weight", ".bias"))
    if new is None:
        raise KeyError(name)
    return new


def to_gguf(arch, name, w, heads, kv_heads):
    """HF's values -> GGUF's; `name` is HF's."""
    if arch == "llama" and ".q_proj." in name:
        return interleave(w, heads)
    if arch == "llama" and ".k_proj." in name:
        return interleave(w, kv_heads)
    if arch == "gemma3" and name.endswith("norm.weight"):
        return w + np.float32(1)
    return w


def from_gguf(arch, name, w, heads, kv_heads):
    """The inverse of to_gguf."""
    if arch == "llama" and ".q_proj." in name:
        return separate(w, heads)
    if arch == "llama" and ".k_proj." in name:
        return separate(w, kv_heads)
    if arch == "gemma3" and name.endswith("norm.weight"):
        return w - np.float32(1)
    return w
