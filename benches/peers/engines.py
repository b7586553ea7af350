"""One turn of one engine on one file, in a process of its own, and what the machine did meanwhile.

Engines: `hob`; `llama.cpp`, as it comes (weights repacked where it has a layout), and with the suffixes
`-norepack` (the file's own order, for which it has other kernels) and `-fa` (flash attention);
`candle`. All of them read the same bytes of the same file.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
LLAMA_CPP = [f"llama.cpp{r}{f}" for f in ("", "-fa") for r in ("", "-norepack")]
ENGINES = ["hob", *LLAMA_CPP, "candle"]


class Failed(Exception):
    """What an engine said when it could not."""


@dataclass
class Bench:
    """A turn: tokens of prompt in one go, then tokens one by one; rounds within the process, after one
    that does not count."""

    prompt: int
    gen: int
    threads: int
    repeat: int


class Engines:
    def __init__(self, cache, hob, log):
        self.cache, self.hob, self.log = cache, hob, log
        self.candle = cache / "peers" / "candle" / "release" / "hob-peer-candle"

    def command(self, engine, path, b):
        if engine == "hob":
            return [self.hob, "bench", path, "--prompt", b.prompt, "--gen", b.gen, "--repeat", b.repeat,
                    "--threads", b.threads, "--json"]
        if engine == "candle":
            if not self.candle.exists():
                raise Failed("not built: `run.py setup` builds it")
            return [self.candle, path, b.prompt, b.gen, b.repeat]
        return [sys.executable, HERE / "llama_turn.py", engine, path, b.prompt, b.gen, b.threads, b.repeat]

    def bench(self, engine, path, b, beside=(), **labels):
        """A turn's report: prefill_tok_s, decode_tok_s and more. All of it goes to the log, failures too. `beside`
        are processes that are meant to compute meanwhile."""
        labels |= {"engine": engine, "file": path.name, **vars(b)}
        # candle's threads; and errors without backtraces.
        env = os.environ | {"RAYON_NUM_THREADS": str(b.threads), "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"}
        with self.log.watch(labels, beside) as record:
            command = [str(c) for c in self.command(engine, path, b)]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                raise Failed(last_words(done.stderr) or f"status {done.returncode}")
            record["report"] = json.loads(done.stdout)
        return record["report"]


def last_words(stderr):
    """What a failed process said, on one line: the last one, or a panic's message (Rust's hint how to
    see more comes after it)."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "RUST_BACKTRACE" not in line]
    return lines[-1] if lines else ""


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def ticks():
    """(all, stolen, busy) seconds of all cores since the start."""
    with open("/proc/stat") as file:
        user, nice, system, idle, wait, irq, soft, steal = (int(x) for x in file.readline().split()[1:9])
    hz = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + soft
    return (busy + idle + wait + steal) / hz, steal / hz, busy / hz


def computed(running=()):
    """Seconds that children computed: those that ended, and these that still run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = usage.ru_utime + usage.ru_stime
    for pid in running:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


class Log:
    """The raw data of one run: a line of JSON for the machine and the versions, then one for each turn."""

    def __init__(self, folder, hob):
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc)
        self.path = folder / f"raw-{now:%Y-%m-%dT%H%M%SZ}.jsonl"
        self.turns = self.disturbed = 0
        lock = tomllib.loads((HERE / "candle" / "Cargo.lock").read_text())
        run = lambda *c: subprocess.run(c, capture_output=True, text=True).stdout.strip()
        self.machine = {
            "date": now.isoformat(timespec="seconds"), "arguments": sys.argv[1:], "processor": processor(),
            "cores": sorted(os.sched_getaffinity(0)), "kernel": platform.release(), "python": platform.python_version(),
            "hob": run(hob, "--version"), "repository": run("git", "-C", HERE, "describe", "--always", "--dirty"),
            "llama-cpp-python": version("llama-cpp-python"),
            "candle": next(p["version"] for p in lock["package"] if p["name"] == "candle-core"),
        }
        self.write(self.machine)

    def write(self, record):
        with open(self.path, "a") as file:
            file.write(json.dumps(record) + "\n")

    def watch(self, labels, beside=()):
        return Watch(self, labels, beside)

    def summary(self):
        return (f"raw data: {self.path}; in {self.disturbed} of {self.turns} turns other work took over 5 % of the "
                "cores, or the host over 2 %")


class Watch:
    """A turn with what else the cores did: `steal`, the share that the host took, and `others`, the share of
    processes that the measurement did not start."""

    def __init__(self, log, labels, beside):
        self.log, self.record, self.beside = log, dict(labels), beside

    def __enter__(self):
        self.record["load_average"] = os.getloadavg()[0]
        self.began, self.before, self.own = time.monotonic(), ticks(), computed(self.beside)
        return self.record

    def __exit__(self, kind, error, trace):
        all_, steal, busy = (b - a for a, b in zip(self.before, ticks()))
        share = lambda seconds: round(max(seconds, 0) / all_, 4) if all_ else 0
        self.record |= {"seconds": round(time.monotonic() - self.began, 3), "steal": share(steal),
                        "others": share(busy - (computed(self.beside) - self.own))}
        if error:
            self.record["error"] = str(error)
        self.log.turns += 1
        self.log.disturbed += self.record["others"] > 0.05 or self.record["steal"] > 0.02
        self.log.write(self.record)
        return False
