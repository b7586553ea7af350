"""llama.cpp through the low-level interface of llama-cpp-python: one context, one sequence, on the
CPU, keys and values in f16; with flash attention or not, quantized weights repacked or not."""

import ctypes
from importlib.metadata import version

import llama_cpp as lc
import numpy as np

_silent = lc.llama_log_callback(lambda level, text, data: None)  # kept: C holds the pointer


class LlamaCpp:
    def __init__(self, path, n_ctx=512, threads=2, repack=True, flash=False):
        lc.llama_log_set(_silent, ctypes.c_void_p(0))
        lc.llama_backend_init()
        mp = lc.llama_model_default_params()
        mp.n_gpu_layers = 0
        mp.use_extra_bufts = repack
        self.model = lc.llama_model_load_from_file(str(path).encode(), mp)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        cp = lc.llama_context_default_params()
        cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_seq_max = n_ctx, 512, 512, 1
        cp.n_threads = cp.n_threads_batch = threads
        cp.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
        cp.type_k = cp.type_v = lc.GGML_TYPE_F16
        cp.offload_kqv, cp.op_offload, cp.no_perf = False, False, True
        self.ctx = lc.llama_init_from_model(self.model, cp)
        if not self.ctx:
            raise RuntimeError(f"llama.cpp has no context for {path}")
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.n_vocab = lc.llama_vocab_n_tokens(self.vocab)
        self.bos = lc.llama_vocab_bos(self.vocab) if lc.llama_vocab_get_add_bos(self.vocab) else None
        self.batch = lc.llama_batch_init(512, 0, 1)
        self.name = (f"llama-cpp-python {version('llama-cpp-python')}, {'' if repack else 'not '}repacked, "
                     f"{threads} threads{', flash attention' if flash else ''}; {lc.llama_print_system_info().decode().strip(' |')}")

    def tokenize(self, text):
        """Tokens of a text, with the one of its beginning where the vocabulary wants it."""
        raw = text.encode()
        out = (lc.llama_token * (len(raw) + 16))()
        n = lc.llama_tokenize(self.vocab, raw, len(raw), out, len(out), True, True)
        return list(out[:n])

    def piece(self, token):
        """The bytes of a token."""
        out = ctypes.create_string_buffer(256)
        return out.raw[:max(lc.llama_token_to_piece(self.vocab, token, out, len(out), 0, True), 0)]

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.ctx), True)

    def decode(self, tokens, pos, first):
        """Runs up to 512 tokens from position `pos`. Logits of tokens[first:], a view that the next
        call overwrites."""
        n, b = len(tokens), self.batch
        b.n_tokens = n
        for i, t in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = t, pos + i, 1, 0, i >= first
        if code := lc.llama_decode(self.ctx, b):
            raise RuntimeError(f"llama_decode: {code}")
        if first == n:
            return np.empty((0, self.n_vocab), np.float32)
        rows = np.ctypeslib.as_array(lc.llama_get_logits(self.ctx), shape=((n - first) * self.n_vocab,))
        return rows.reshape(n - first, self.n_vocab)
