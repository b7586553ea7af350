"""The comparisons themselves. Each yields figures; `run` prints them as a table and counts misses."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFReader

import oracle as numpy_oracle
import template_oracle
import tiny_models
import token_checks
from gguf_model import GgufModel

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
TINY_LIMIT = 1e-9
LOGITS_LIMIT = 1.1  # of llama.cpp's error
# The rows' mean error is noise along one direction of the last hidden state, and one token can be a
# fifth of its square: over 220 tokens it says little. (README.md has what was measured.)
WHOLE_LIMIT = 1.5
PERPLEXITY_LIMIT = 0.005
GAP_LIMIT = 3  # in RMS errors of llama.cpp's logits: below it, its two best tokens are a tie


@dataclass
class Paths:
    cache: Path
    hob: Path
    root: Path
    models: dict  # name -> file


@dataclass
class Figure:
    name: str
    value: str
    limit: str
    ok: bool


class HobError(Exception):
    """What hob said when it failed."""


def guarded(title, figures):
    """A case that fails is a miss, and the next one is tried."""
    try:
        yield from figures
    except HobError as e:
        yield Figure(title, "error", str(e), False)


def run(check, paths, oracles):
    """Runs a check, prints its table, returns how many figures missed their limit."""
    start, missed, count = time.monotonic(), 0, 0
    print(f"{check}", flush=True)
    makers = {"tiny": lambda: tiny(paths, oracles), "logits": lambda: logits(paths, oracles),
              "greedy": lambda: greedy(paths), "perplexity": lambda: perplexity(paths),
              "dequant": lambda: dequant(paths), "tokenizer": lambda: tokenizer(paths),
              "templates": lambda: templates(paths), "files": lambda: files(paths)}
    for f in makers[check]():
        count += 1
        missed += not f.ok
        print(f"  {'ok  ' if f.ok else 'FAIL'}  {f.name:44} {f.value:>22}  {f.limit}", flush=True)
    print(f"  {count - missed} of {count} within limits, {time.monotonic() - start:.1f} s\n", flush=True)
    return missed + (count == 0)


@dataclass
class Errors:
    nmse: float  # squared error over squared reference
    centred: float  # the same after each row's mean error is taken off, which no probability sees
    rms: float  # root of the mean squared error, also without the rows' means


def errors(reference, got):
    """Both [tokens, vocab]."""
    whole = centred = power = 0.0
    for a, b in zip(reference, got, strict=True):
        a, error = a.astype(np.float64), b.astype(np.float64) - a
        power += (a**2).sum()
        whole += (error**2).sum()
        centred += ((error - error.mean()) ** 2).sum()
    return Errors(whole / power, centred / power, (centred / got.size) ** 0.5)


def nmse(reference, got):
    return errors(reference, got).nmse


def hob(paths, *words):
    done = subprocess.run([paths.hob, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise HobError(f"hob {words[0]}: {done.stderr.strip()}")
    return done.stdout


def hob_logits(paths, model, tokens, *options):
    """[tokens, vocab] as hob computes them."""
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        out = Path(folder) / "logits.f32"
        hob(paths, "logits", model, "--tokens", ",".join(map(str, tokens)), "--out", out, *options)
        return np.fromfile(out, dtype="<f4").reshape(len(tokens), -1)


def oracle(name):
    if name == "numpy":
        return numpy_oracle.logits
    import transformers_oracle  # torch, only when asked for

    return transformers_oracle.logits


def bits(name, a, b):
    same = a.tobytes() == b.tobytes()
    return Figure(name, "equal" if same else "differ", "bits", same)


def tiny(paths, oracles):
    folder = paths.cache / "tiny"
    for name, spec, weights, tokens in tiny_models.make(folder):
        config = tiny_models.config(spec, old=False)
        expected = {o: oracle(o)(config, weights.__getitem__, tokens) for o in oracles}
        if len(expected) == 2:
            # float32 against double precision: the rounding of one.
            yield figure(f"{name}: transformers to numpy", nmse(*expected.values()), 1e-11)
        if "transformers" in expected:
            old = oracle("transformers")(tiny_models.config(spec, old=True), weights.__getitem__, tokens)
            yield bits(f"{name}: transformers, both configs", old, expected["transformers"])
        for form in "model.gguf", "hf5", "hf4":
            title = f"{name}: {form}"
            yield from guarded(title, tiny_form(paths, title, folder / name / form, tokens, expected))


def tiny_form(paths, title, model, tokens, expected):
    got = hob_logits(paths, model, tokens, "--kv", "f32")
    for o, reference in expected.items():
        yield figure(f"{title} to {o}", nmse(reference, got), TINY_LIMIT)
    for options in ["--chunk", "1"], ["--threads", "1"], ["--isa", "scalar"], ["--weights", "mapped"]:
        other = hob_logits(paths, model, tokens, "--kv", "f32", *options)
        yield bits(f"{title}, {' '.join(options)}", got, other)


def figure(name, value, limit):
    return Figure(name, f"{value:.3e}", f"< {limit:.3e}", bool(value < limit))


def data(name):
    return json.loads((DATA / f"{name}.json").read_text())


def expected_logits(paths, name, which, tokens):
    """The oracle's logits of a real model; they take a minute, so they are kept."""
    kept = paths.cache / f"{name}.{which}.npz"
    if kept.exists():
        with np.load(kept) as file:
            if file["tokens"].tolist() == tokens:
                return file["logits"]
    model = GgufModel(paths.models[name])
    made = oracle(which)(model.config, model.weight, tokens).astype(np.float32)
    np.savez(kept, tokens=tokens, logits=made)
    return made


def logits(paths, oracles):
    for name in paths.models:
        yield from guarded(name, logits_of(paths, name, oracles))


def logits_of(paths, name, oracles):
    known, model = data(name), paths.models[name]
    tokens = known["tokens"]
    got = hob_logits(paths, model, tokens)
    for which in oracles:
        e = errors(expected_logits(paths, name, which, tokens), got)
        yield figure(f"{name}: NMSE to {which}, centred", e.centred, LOGITS_LIMIT * known["centred"])
        yield figure(f"{name}: NMSE to {which}, whole", e.nmse, WHOLE_LIMIT * known["nmse"])
    yield bits(f"{name}, --chunk 1", got, hob_logits(paths, model, tokens, "--chunk", 1))


def greedy(paths):
    for name, model in paths.models.items():
        reference = data(name)
        for known in reference["greedy"]:
            title = f"{name}: {known['id']}"
            yield from guarded(title, greedy_answer(paths, title, model, known, reference["rms"]))


def greedy_answer(paths, title, model, known, rms):
    """Gives hob llama.cpp's own answer: as long as all choices agree, the inputs are those that hob
    would have given itself, so that the first other choice is the first difference."""
    prompt, answer = known["tokens"], known["answer"]
    rows = hob_logits(paths, model, prompt + answer[:-1])[len(prompt) - 1:]
    other = next((i for i, row in enumerate(rows) if int(row.argmax()) != answer[i]), None)
    if other is None:
        yield Figure(title, f"{len(answer)} tokens equal", "", True)
    else:
        gap, limit = known["gap"][other], GAP_LIMIT * rms
        yield Figure(title, f"differs at {other}, gap {gap:.3f}", f"gap < {limit:.3f}", gap < limit)


def perplexity(paths):
    for name, model in paths.models.items():
        yield from guarded(name, perplexity_of(paths, name, model))


def perplexity_of(paths, name, model):
    known = data(name)["perplexity"]
    out = json.loads(hob(paths, "perplexity", model, DATA / "text.txt", "--windows", known["windows"], "--json"))
    off = out["perplexity"] / known["value"] - 1
    ok = abs(off) <= PERPLEXITY_LIMIT and out["tokens"] == known["scored"]
    yield Figure(f"{name}: {out['tokens']} tokens", f"{out['perplexity']:.4f} ({off:+.2%})",
                 f"{known['value']:.4f} within {PERPLEXITY_LIMIT:.1%} over {known['scored']}", ok)


def cargo_test(paths, package, test, *options, **env):
    """Whether a Rust test passes; what it printed, if not, is shown."""
    test = [test] if test.startswith("--") else ["--test", test]
    command = ["cargo", "test", "-q", "--release", "-p", package, *test, "--", *options]
    done = subprocess.run(command, cwd=paths.root, env=os.environ | env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
    return done.returncode == 0


def dequant(paths):
    """The vectors are made by gguf-py here; the Rust test of hob-kernels reads them."""
    folder = paths.cache / "dequant"
    for seed in "2", "3":
        make = [sys.executable, HERE / "dequant_vectors.py", "--raw", folder, "--seed", seed, "--blocks", "400"]
        subprocess.run(make, check=True)
        ok = cargo_test(paths, "hob-kernels", "dequant_vectors", HOB_DEQUANT_VECTORS=str(folder))
        yield Figure(f"16 formats, 400 blocks each, seed {seed}", "equal" if ok else "differ", "bits", ok)


def tokenizer(paths):
    try:
        for title, equal, total in token_checks.all_checks(paths, cargo_test):
            yield Figure(title, f"{equal}/{total}", "equal", equal == total > 0)
    except RuntimeError as e:
        yield Figure("hob tokenize", "error", str(e), False)
    ok = cargo_test(paths, "hob-models", "tokenizer_vectors", HOB_VOCABS=str(paths.cache / "vocabularies"))
    yield Figure("published vectors, and their texts come back", "equal" if ok else "differ", "tokens", ok)
    texts = json.loads((DATA / "prompts.json").read_text())
    cases = []
    for name, model in paths.models.items():
        known = data(name)
        pairs = [(texts["text"], known["tokens"])]
        pairs += [(p["text"], k["tokens"]) for p, k in zip(texts["prompts"], known["greedy"], strict=True)]
        first = known["bos"] is not None  # the test's encoder adds none
        cases.append({"gguf": str(model), "cases": [[text, True, ids[first:]] for text, ids in pairs]})
    file = paths.cache / "tokenizer-cases.json"
    file.write_text(json.dumps(cases))
    ok = cargo_test(paths, "hob-models", "tokenizer_reference", HOB_TOKENIZER_CASES=str(file))
    yield Figure("our prompts", "equal" if ok else "differ", "tokens", ok)


def chat_templates(paths):
    """(name, source, what `hob template` is told to find it): files, and those inside vocabularies."""
    for file in sorted((paths.cache / "templates").glob("*.jinja")):
        yield file.stem, file.read_text(), [file]
    for file in sorted((paths.cache / "vocabularies").glob("*.gguf")):
        if b"tokenizer.chat_template" not in file.read_bytes():
            continue  # reading a vocabulary takes seconds
        for key, field in GGUFReader(file).fields.items():
            if key == "tokenizer.chat_template" or key.startswith("tokenizer.chat_template."):
                name = key.removeprefix("tokenizer.chat_template").removeprefix(".") or "default"
                yield f"{file.stem} {name}", field.contents(), [file, "--name", name]


def templates(paths):
    """Every template with every conversation: the same text, or both refuse."""
    given = dict(template_oracle.conversations())
    count = passed = rendered = in_files = marks = trusted = 0
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        files = []
        for number, conversation in enumerate(given.values()):
            files.append(Path(folder) / f"{number:03}.json")
            files[-1].write_text(json.dumps(template_oracle.tokens() | conversation))
        for title, source, words in chat_templates(paths):
            words = ["template", *words, "--json", "--now", template_oracle.NOW]
            done = subprocess.run([paths.hob, *map(str, words), *(f"--messages={f}" for f in files)],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
            reports = [json.loads(line) for line in done.stdout.split("\n") if line]
            found = [report.get("text") for report in reports]
            spans = [span for report in reports for span in report.get("spans", [])]
            marks += sum(template_oracle.MARK in span["text"] for span in spans)
            trusted += sum(span["trusted"] and template_oracle.MARK in span["text"] for span in spans)
            render = template_oracle.renderer(source)
            expected = [render(conversation) for conversation in given.values()]
            if len(found) != len(expected):
                yield Figure(title, "error", done.stderr.strip(), False)
                found = [None] * len(expected)
            wrong = [name for name, a, b in zip(given, expected, found, strict=True) if a != b]
            count += 1
            in_files += "--name" not in words
            passed += len(expected) - len(wrong)
            rendered += sum(text is not None for text in expected)
            for name in wrong:
                yield Figure(f"{title}: {name}", "differs", "text", False)
    total = count * len(given)
    yield Figure("templates in files", f"{in_files}", "70", in_files == 70)
    yield Figure("templates in vocabularies", f"{count - in_files}", "6 or more", count - in_files >= 6)
    yield Figure("as Python's Jinja, or refused by both", f"{passed}/{total}", f"{total}/{total}", passed == total)
    yield Figure("of these rendered", f"{rendered}", "3,000 or more", rendered >= 3000)
    yield Figure("spans with words of messages", f"{marks}", "500 or more", marks >= 500)
    yield Figure("of these trusted to hold control tokens", f"{trusted}", "0", trusted == 0)


def files(paths):
    """The tests of hob-models that need real files, and so are ignored where there are none."""
    folders = ":".join(str(paths.cache / f) for f in ("models", "vocabularies"))
    ok = cargo_test(paths, "hob-models", "real_files", "--ignored", HOB_TEST_MODELS=folders)
    yield Figure("real files open, pack and come back", "equal" if ok else "differ", "bits", ok)
