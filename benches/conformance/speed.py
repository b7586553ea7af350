"""Prefill and decode speed of hob and llama.cpp, in turns, so that a busy minute hits both.

Both: 256 tokens of prompt in one batch, then 32 one by one; loading not counted. Medians of
per-turn medians; `spread` is from the slowest to the fastest turn.
"""

import json
import os
import statistics
import subprocess
import sys
import time

from checks import hob

PROMPT, GEN, TURNS, ROUNDS = 256, 32, 5, 3


def llama_cpp(path, threads, repack):
    """One turn; in a process of its own as hob is."""
    import numpy as np

    from llama_cpp_model import LlamaCpp

    model = LlamaCpp(path, threads=threads, repack=repack)
    rng = np.random.default_rng(1)
    prompt, follow = (rng.integers(100, model.n_vocab - 100, n).tolist() for n in (PROMPT, GEN))
    prefill, decode = [], []
    for r in range(ROUNDS + 1):
        model.clear()
        t0 = time.perf_counter()
        model.decode(prompt, 0, PROMPT - 1)
        t1 = time.perf_counter()
        for i, token in enumerate(follow):
            model.decode([token], PROMPT + i, 0)[0].argmax()
        t2 = time.perf_counter()
        if r:
            prefill.append(PROMPT / (t1 - t0))
            decode.append(GEN / (t2 - t1))
    print(json.dumps({"prefill_tok_s": statistics.median(prefill), "decode_tok_s": statistics.median(decode)}))


def compare(paths):
    threads = len(os.sched_getaffinity(0))

    def ours(path):
        return hob(paths, "bench", path, "--prompt", PROMPT, "--gen", GEN, "--repeat", ROUNDS,
                   "--threads", threads, "--json")

    def theirs(repack):
        return lambda path: subprocess.run([sys.executable, __file__, path, str(threads), str(int(repack))],
                                           check=True, capture_output=True, text=True).stdout

    engines = {"hob": ours, "llama.cpp": theirs(True), "llama.cpp, not repacked": theirs(False)}
    print(f"{threads} threads; tokens/s: median (slowest to fastest of {TURNS} turns)")
    for name, path in paths.models.items():
        figures = {engine: [] for engine in engines}
        for _ in range(TURNS):
            for engine, turn in engines.items():
                figures[engine].append(json.loads(turn(path)))
        for engine, turns in figures.items():
            row = f"{name:8} {engine:24}"
            for key in "prefill_tok_s", "decode_tok_s":
                all_ = [t[key] for t in turns]
                row += f"  {key[:7]} {statistics.median(all_):8.1f} ({min(all_):.1f} to {max(all_):.1f})"
            print(row, flush=True)


if __name__ == "__main__":
    llama_cpp(sys.argv[1], int(sys.argv[2]), bool(int(sys.argv[3])))
