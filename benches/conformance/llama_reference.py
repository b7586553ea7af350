"""Measures llama.cpp and writes data/NAME.json, against which hob is compared where llama.cpp is
not at hand.

In:  data/prompts.json (prompts, and the text whose logits are compared), data/text.txt, the models
Out: per model: its file, llama.cpp's settings; "bos", put before every text, if any; "tokens" of the
     fixed text, and llama.cpp's errors against oracle.py over them (checks.Errors), with repacked
     weights, its default, and without; "greedy": per prompt its tokens, the 64 that follow, and the
     gap between the two largest logits at each; "perplexity" as llama.cpp's own tool defines it: windows of 512, each from an empty cache, its
     first token replaced by that of a beginning, the second half scored
"""

import json
import math

import numpy as np

from checks import DATA, errors, expected_logits
from llama_cpp_model import LlamaCpp

ANSWER = 64
WINDOW = 512


def short(x):
    return float(f"{x:.5g}")


def greedy(model, tokens):
    model.clear()
    row = model.decode(tokens, 0, len(tokens) - 1)[0]
    answer, gaps = [], []
    while True:
        best = int(row.argmax())
        answer.append(best)
        gaps.append(round(float(row[best] - np.partition(row, -2)[-2]), 4))
        if len(answer) == ANSWER:
            return answer, gaps
        row = model.decode([best], len(tokens) + len(answer) - 1, 0)[0]


def perplexity(model, text):
    tokens = model.tokenize(text)
    windows = len(tokens) // WINDOW
    half, loss = WINDOW // 2, []
    for w in range(windows):
        window = tokens[w * WINDOW:(w + 1) * WINDOW]
        model.clear()
        rows = model.decode([window[0] if model.bos is None else model.bos, *window[1:]], 0, half)
        for row, target in zip(rows, window[half + 1:]):
            top = float(row.max())
            loss.append(math.log(np.exp(row - np.float32(top)).sum(dtype=np.float64)) + top - float(row[target]))
    return {"windows": windows, "scored": len(loss), "value": round(math.exp(np.mean(loss)), 6)}


def measure(paths):
    given = json.loads((DATA / "prompts.json").read_text())
    text = (DATA / "text.txt").read_text()
    for name, path in paths.models.items():
        model = LlamaCpp(path)
        tokens = model.tokenize(given["text"])
        reference = expected_logits(paths, name, "numpy", tokens)
        model.clear()
        e = errors(reference, model.decode(tokens, 0, 0))
        report = {"model": path.name, "by": model.name, "bos": model.bos, "tokens": tokens,
                  "nmse": short(e.nmse), "centred": short(e.centred), "rms": short(e.rms), "greedy": []}
        for p in given["prompts"]:
            prompt = model.tokenize(p["text"])
            answer, gaps = greedy(model, prompt)
            report["greedy"].append({"id": p["id"], "tokens": prompt, "answer": answer, "gap": gaps})
        report["perplexity"] = perplexity(model, text)
        plain = LlamaCpp(path, repack=False)
        e = errors(reference, plain.decode(tokens, 0, 0))
        report["not_repacked"] = {"nmse": short(e.nmse), "centred": short(e.centred), "rms": short(e.rms)}
        lines = ",\n".join(f" {json.dumps(k)}: " + (json.dumps(v) if k != "greedy" else
                           "[\n  " + ",\n  ".join(map(json.dumps, v)) + "]") for k, v in report.items())
        (DATA / f"{name}.json").write_text("{\n" + lines + "\n}\n")
        print(f"{name}: {report['nmse']}, {report['centred']}, {report['perplexity']}", flush=True)
