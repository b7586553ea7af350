"""A turn of llama.cpp, in a process of its own as hob's is.

    llama_turn.py ENGINE FILE PROMPT GEN THREADS REPEAT    speeds, as `hob bench --json` names them
    llama_turn.py ENGINE FILE start THREADS TEXT           the first token of an answer

ENGINE is llama.cpp, with -norepack and -fa as engines.py describes them.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance"))
from llama_cpp_model import LlamaCpp  # noqa: E402

BATCH = 512  # llama.cpp's own choice, for the whole prompt and for what it computes at once


def model(engine, path, threads, n_ctx):
    return LlamaCpp(path, n_ctx=n_ctx, threads=threads, repack="-norepack" not in engine, flash="-fa" in engine)


def prefill(m, tokens):
    """Reads a prompt; the logits of its last token alone."""
    for at in range(0, len(tokens), BATCH):
        part = tokens[at:at + BATCH]
        last = at + len(part) == len(tokens)
        rows = m.decode(part, at, len(part) - last)
    return rows[0]


def bench(engine, path, prompt, gen, threads, repeat):
    began = time.perf_counter()
    m = model(engine, path, threads, prompt + gen)
    loaded = time.perf_counter() - began
    ids = [i * 7919 % m.n_vocab for i in range(prompt)]  # as `hob bench`
    speeds = {"prefill_tok_s": [], "decode_tok_s": []}
    for r in range(repeat + 1):
        m.clear()
        t0 = time.perf_counter()
        token = int(prefill(m, ids).argmax())
        t1 = time.perf_counter()
        for i in range(gen):
            token = int(m.decode([token], prompt + i, 0)[0].argmax())
        t2 = time.perf_counter()
        if r:
            speeds["prefill_tok_s"].append(prompt / (t1 - t0))
            speeds["decode_tok_s"].append(gen / (t2 - t1))
    print(json.dumps({"by": m.name, "load_s": loaded, **{k: statistics.median(v) for k, v in speeds.items()}}))


def start(engine, path, threads, text):
    """Standard output gets the token; standard error, when Python and its libraries were ready (on the
    clock of the machine) and how many tokens the prompt has."""
    ready = time.monotonic()
    m = model(engine, path, threads, 512)
    prompt = m.tokenize(text)
    token = int(prefill(m, prompt).argmax())
    os.write(1, m.piece(token) or b"?")
    print(json.dumps({"ready": ready, "prompt": len(prompt), "token": token}), file=sys.stderr, flush=True)
    sys.stdin.read()  # stays, so that its memory can be looked at


if __name__ == "__main__":
    engine, path, *rest = sys.argv[1:]
    if rest[0] == "start":
        start(engine, path, int(rest[1]), rest[2])
    else:
        bench(engine, path, *map(int, rest))
