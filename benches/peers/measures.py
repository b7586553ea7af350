"""The measurements. Each prints a table for people, or with --json its rows for scripts, and keeps every turn
in the log."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import files
import figures
from engines import HERE, Bench, Failed, last_words
from figures import median, ratios, spread

SPEEDS = {"prefill_tok_s": "prefill tok/s", "decode_tok_s": "decode tok/s"}
PROMPT = "Once upon a time"  # five tokens of Llama 3, with the one that begins a text


class Series:
    """Figures by case (an engine, or an engine in a state) and name, one for each round. A case that failed is
    not tried again."""

    def __init__(self):
        self.values, self.errors = {}, {}

    def turn(self, case, work):
        if case in self.errors:
            return
        try:
            for name, value in work().items():
                self.values.setdefault(case, {}).setdefault(name, []).append(value)
        except Failed as e:
            self.errors[case] = str(e)

    def get(self, case, name):
        return self.values.get(case, {}).get(name, [])


def show(run, measure, path, title, rows, report):
    """One table, or one line of JSON."""
    if run.json:
        about = {"measure": measure, "file": path.name, "threads": run.threads, "rounds": run.rounds}
        print(json.dumps(about | report), flush=True)
    else:
        print(f"{path.name}, {path.stat().st_size / 1e6:.0f} MB: {title}; {run.threads} threads, {run.rounds} rounds\n"
              f"{figures.table(rows)}\n", flush=True)


def failed(engine, error):
    return [engine, f"cannot: {error[:100]}"]


def compare(run):
    """Prefill and decode of every engine on every file."""
    for name in run.models:
        path = run.file(name)
        series = Series()
        for r, order in enumerate(figures.turns(run.engine_names, run.rounds)):
            for engine in order:
                b = Bench(run.prompt, run.gen, run.threads, run.repeat)
                series.turn(engine, lambda: run.engines.bench(engine, path, b, measure="compare", round=r))
        rows, report = comparison(series, run.engine_names)
        show(run, "compare", path, f"{run.prompt} tokens of prompt, then {run.gen}", rows,
             {"prompt": run.prompt, "gen": run.gen} | report)


def comparison(series, engines):
    """The table and the report: medians, and ratios of hob to each engine round by round."""
    rows = [["", *(c for label in SPEEDS.values() for c in (label, "hob/it"))]]
    report = {"rows": [], "errors": series.errors}
    for engine in engines:
        if engine in series.errors:
            rows.append(failed(engine, series.errors[engine]))
            continue
        row, entry = [engine], {"engine": engine}
        for key in SPEEDS:
            own = series.get(engine, key)
            each = ratios(series.get("hob", key), own) if engine != "hob" else []
            row += [spread(own), spread(each, 2) if each else ""]
            entry[key] = own
            entry[key.replace("tok_s", "hob_ratio")] = median(each) if each else None
        rows.append(row)
        report["rows"].append(entry)
    modes = [e for e in engines if e.startswith("llama.cpp") and e not in series.errors]
    if "hob" not in series.errors and "hob" in engines and len(modes) > 1:
        row = ["llama.cpp's better"]
        for key in SPEEDS:
            mode = figures.better({e: series.get(e, key) for e in modes})
            each = ratios(series.get("hob", key), series.get(mode, key))
            row += [mode, spread(each, 2)]
            key = key.replace("tok_s", "hob_ratio_to_better")
            report[key] = {"engine": mode, "median": median(each), "rounds": each}
        rows.append(row)
    return rows, report


@contextlib.contextmanager
def spinners(cores):
    """A process on each of these cores that does nothing but compute."""
    code = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"
    started = []
    try:
        for core in cores:
            started.append(subprocess.Popen([sys.executable, "-c", code, str(core)], stdout=subprocess.PIPE))
        for process in started:
            process.stdout.readline()
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def busy(run):
    """Decode while other programs compute: on no core, on one, on all that the engine uses."""
    cores = sorted(os.sched_getaffinity(0))[:run.threads]
    states = {"idle": [], "one core taken": cores[:1], "all cores taken": cores}
    for name in run.models:
        path = run.file(name)
        series = Series()
        for r, order in enumerate(figures.turns(run.engine_names, run.rounds)):
            for state, taken in states.items():
                for engine in order:
                    b = Bench(16, run.gen, run.threads, run.repeat)
                    with spinners(taken) as pids:
                        series.turn((engine, state), lambda: run.engines.bench(
                            engine, path, b, pids, measure="busy", round=r, taken=taken))
        rows = [["decode tok/s", *(c for s in states for c in ([s, "keeps"] if s != "idle" else [s]))]]
        report = {"rows": [], "errors": {" ".join(c): e for c, e in series.errors.items()}}
        for engine in run.engine_names:
            idle = series.get((engine, "idle"), "decode_tok_s")
            if not idle:
                rows.append(failed(engine, series.errors[engine, "idle"]))
                continue
            row, entry = [engine, spread(idle)], {"engine": engine, "idle": idle}
            for state in list(states)[1:]:
                speeds = series.get((engine, state), "decode_tok_s")
                kept = ratios(speeds, idle)
                row += [spread(speeds), f"{median(kept):.0%}" if kept else "-"]
                entry |= {state: speeds, f"{state}, kept": median(kept) if kept else None}
            rows.append(row)
            report["rows"].append(entry)
        show(run, "busy", path, f"decode of {run.gen} tokens, other programs on none, one and all of cores {cores}",
             rows, report)


def status(pid):
    """Memory of a running process in MB: its own (`anon`) and pages of mapped files (`file`)."""
    found = {}
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(("RssAnon:", "RssFile:")):
                found[line[3:7].lower()] = int(line.split()[1]) / 1e3
    return found


def first_token(run, engine, path, packed, **labels):
    """Starts a program; seconds until its first byte on standard output, and its memory."""
    if engine == "hob":
        command = [run.hob, "run", path, PROMPT, "--raw", "--temperature", "0", "-n", "8", "--threads", run.threads,
                   "--cache", packed, "--verbose"]
    else:
        command = [sys.executable, HERE / "llama_turn.py", engine, path, "start", run.threads, PROMPT]
    labels |= {"measure": "start", "engine": engine, "file": path.name, "threads": run.threads}
    with run.log.watch(labels) as record:
        began = time.monotonic()
        process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        byte = os.read(process.stdout.fileno(), 1)
        seconds = time.monotonic() - began
        memory = status(process.pid)
        process.stdin.close()
        process.stdout.read()
        said = process.stderr.read().decode()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode or not byte:
            raise Failed(last_words(said) or f"status {process.returncode}, no text")
        report = {"first_token_s": seconds, "peak_mb": usage.ru_maxrss / 1e3}
        report |= {f"{kind}_mb": mb for kind, mb in memory.items()}
        if engine != "hob":
            ready = json.loads(said.splitlines()[-1])["ready"]
            report["without_python_s"] = began + seconds - ready
        record |= {"report": report, "said": said.strip()}
    return report


def start(run):
    """From the start of a program to the first token of an answer to five tokens, when the file was used before."""
    vocabulary = run.cache / "vocabularies" / "ggml-vocab-llama-bpe.gguf"
    packed = run.cache / "peers" / "packed"
    for name in run.models:
        path = run.file(name)
        if ":" in name:  # a synthetic shape: without a tokenizer
            path = files.with_vocabulary(path, vocabulary, path.with_name(f"{path.stem}-text.gguf"))
        shutil.rmtree(packed, ignore_errors=True)  # else hob's first start would not be one
        series = Series()
        for engine in run.engine_names:
            series.turn((engine, "first"), lambda: first_token(run, engine, path, packed, round=-1))
        for r, order in enumerate(figures.turns(run.engine_names, run.rounds)):
            for engine in order:
                series.turn((engine, "again"), lambda: first_token(run, engine, path, packed, round=r))
        rows = [["", "first start s", "later starts s", "of these without Python", "peak MB", "own MB", "mapped MB"]]
        report = {"rows": [], "errors": {" ".join(c): e for c, e in series.errors.items()}}
        for engine in run.engine_names:
            if error := series.errors.get((engine, "again")):
                rows.append(failed(engine, error))
                continue
            get = lambda name: series.get((engine, "again"), name)
            rows.append([engine, spread(series.get((engine, "first"), "first_token_s"), 3),
                         spread(get("first_token_s"), 3), spread(get("without_python_s"), 3),
                         *(f"{median(get(k)):.0f}" if get(k) else "-" for k in ("peak_mb", "anon_mb", "file_mb"))])
            report["rows"].append({"engine": engine, "first": series.values.get((engine, "first")),
                                   "later": series.values.get((engine, "again"))})
        show(run, "start", path, "from exec to the first token after five", rows, report)


def depth(run):
    """Decode with few and with many tokens before it, against the bytes that it then reads; prefill of a short
    and of a long prompt, against the multiplications that it then takes."""
    near, short, far = 1, 256, run.depth
    for name in run.models:
        path = run.file(name)
        shape = files.shape(path)
        series = Series()
        for r, order in enumerate(figures.turns(run.engine_names, run.rounds)):
            for engine in order:
                for tokens in near, short, far:
                    b = Bench(tokens, run.gen, run.threads, 1 if tokens == far else run.repeat)
                    series.turn((engine, tokens), lambda: run.engines.bench(engine, path, b, measure="depth", round=r))
        mean = run.gen / 2  # depth that decode adds, on average
        slower = figures.slowdown(shape, near + mean, far + mean)
        heavier = shape.prefill_macs(far) / shape.prefill_macs(short)
        rows = [["", f"decode at {near}", "GB/s", f"at {far}", "GB/s", "takes", "of that expected",
                 f"prefill {short}", f"prefill {far}", "takes", "of that expected"]]
        report = {"rows": [], "errors": {f"{e} {t}": m for (e, t), m in series.errors.items()}, "shape": vars(shape),
                  "expected_decode": slower, "expected_prefill": heavier}
        for engine in run.engine_names:
            if error := next((m for (e, _), m in series.errors.items() if e == engine), None):
                rows.append(failed(engine, error))
                continue
            decode = {t: series.get((engine, t), "decode_tok_s") for t in (near, far)}
            prefill = {t: series.get((engine, t), "prefill_tok_s") for t in (short, far)}
            gbs = {t: median(decode[t]) * shape.decode_bytes(t + mean) / 1e9 for t in decode}
            d, p = median(ratios(decode[near], decode[far])), median(ratios(prefill[short], prefill[far]))
            rows.append([engine, spread(decode[near]), f"{gbs[near]:.1f}", spread(decode[far]), f"{gbs[far]:.1f}",
                         f"{d:.2f}x", f"{d / slower:.2f}", spread(prefill[short]), spread(prefill[far]), f"{p:.2f}x",
                         f"{p / heavier:.2f}"])
            report["rows"].append({"engine": engine, "decode": decode, "prefill": prefill, "decode_gb_s": gbs,
                                   "decode_takes": d, "prefill_takes": p})
        show(run, "depth", path, f"{near} and {far} tokens before (keys and values {shape.kv_bytes(far) / 1e6:.0f} MB, "
             f"weights {shape.weights / 1e6:.0f} MB);\nexpected: decode takes {slower:.2f}x by bytes read, prefill "
             f"{heavier:.2f}x by multiplications", rows, report)
