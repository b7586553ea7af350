#!/usr/bin/env python3
"""hob beside its peers on one machine: the same files, the same threads, in turns, raw data kept.

    run.py setup      llama.cpp and candle, built for this machine's processor, and two public models
    run.py compare    prefill and decode speed, and hob's ratio to each peer, round by round
    run.py busy       decode while other programs take one core, or all
    run.py start      from the start of the program to the first token, and memory
    run.py depth      decode and prefill with few and with thousands of tokens before, against bytes moved

The environment, the public models and the cache folder are those of ../conformance: --cache, else
$HOB_CONFORMANCE, else target/conformance. Raw data: CACHE/peers/raw-DATE.jsonl. Models: `smollm2`, `gemma3`,
SHAPE:FORMAT (`hob synth --help` lists shapes), or a file. Engines: hob, candle, and llama.cpp as it comes or
with -norepack, -fa (flash attention), -norepack-fa. README.md says how the comparison is kept fair.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFORMANCE = HERE.parent / "conformance"
sys.path.insert(0, str(CONFORMANCE))
import run as conformance  # noqa: E402

# Command -> models, engines.
DEFAULTS = {
    "compare": ("smollm2,gemma3,llama-3.2-1b:Q4_K_M,llama-3.2-1b:Q4_0,llama-3.2-1b:Q8_0",
                "hob,llama.cpp,llama.cpp-norepack,candle"),
    "busy": ("llama-3.2-1b:Q4_K_M", "hob,llama.cpp,llama.cpp-norepack"),
    "start": ("llama-3.2-1b:Q4_K_M", "hob,llama.cpp,llama.cpp-norepack"),
    "depth": ("llama-3.2-1b:Q4_K_M", "hob,llama.cpp,llama.cpp-fa,llama.cpp-norepack-fa"),
}


def setup(cache, python):
    conformance.setup(cache, python, ["requirements.txt", "requirements-llama-cpp.txt"])
    # candle chooses much of its SIMD when it is compiled.
    env = os.environ | {"RUSTFLAGS": "-C target-cpu=native", "CARGO_TARGET_DIR": str(cache / "peers" / "candle")}
    subprocess.run(["cargo", "build", "-q", "--release", "--locked", "--manifest-path", HERE / "candle" / "Cargo.toml"],
                   env=env, check=True)


def names(text):
    return [name for name in text.split(",") if name]


class Run:
    """What every measurement needs."""

    def __init__(self, args, cache):
        import engines
        import files

        self.cache, self.hob, self.json = cache, args.hob.resolve(), args.json
        if not self.hob.exists():
            sys.exit(f"no program {self.hob}: build it (`cargo build --release`) or name it (--hob)")
        models, engine_names = DEFAULTS[args.command]
        self.models, self.engine_names = args.models or names(models), args.engines or names(engine_names)
        if unknown := set(self.engine_names) - set(engines.ENGINES):
            sys.exit(f"no engine {', '.join(unknown)}: there are {', '.join(engines.ENGINES)}")
        self.prompt, self.gen, self.depth = args.prompt, args.gen, args.depth
        self.threads, self.rounds, self.repeat = args.threads, args.rounds, args.repeat
        public = {name: file for name, (file, *_) in conformance.MODELS.items()}
        self.file = lambda name: files.find(name, cache, self.hob, public)
        self.log = engines.Log(cache / "peers", self.hob)
        self.engines = engines.Engines(cache, self.hob, self.log)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("command", choices=["setup", *DEFAULTS])
    ap.add_argument("--models", type=names, metavar="A,B")
    ap.add_argument("--engines", type=names, metavar="A,B")
    ap.add_argument("--prompt", type=int, default=256, help="compare: tokens of prompt")
    ap.add_argument("--gen", type=int, default=32, help="tokens of decode")
    ap.add_argument("--depth", type=int, default=4096, help="depth: tokens before")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--rounds", type=int, default=5, help="in each, every engine has one turn (a process)")
    ap.add_argument("--repeat", type=int, default=3, help="in each turn, after one that does not count")
    ap.add_argument("--json", action="store_true", help="a line of JSON for each file, no table")
    ap.add_argument("--cache", type=Path, default=conformance.CACHE)
    ap.add_argument("--hob", type=Path, default=conformance.TARGET / "release" / "hob")
    args = ap.parse_args()
    cache = args.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    python = cache / "venv" / "bin" / "python"
    if args.command == "setup":
        return setup(cache, python)
    if not python.exists():
        sys.exit(f"{cache} has no environment: `{sys.argv[0]} setup` makes one")
    if Path(sys.executable) != python:
        os.execv(python, [python, *sys.argv])

    import measures

    run = Run(args, cache)
    getattr(measures, args.command)(run)
    print(run.log.summary(), file=sys.stderr)


if __name__ == "__main__":
    main()
