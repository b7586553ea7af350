"""The model files that are measured: the two public ones of ../conformance, and shapes of well-known models
with random weights, made once by `hob synth` and kept in the cache."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import gguf

from figures import Shape


def find(name, cache, hob, public):
    """The file of a model by name: one of `public` (name -> file name), SHAPE:FORMAT as `hob synth` knows them,
    or a path."""
    if name in public:
        path = cache / "models" / public[name]
    elif ":" in name and not Path(name).exists():
        path = cache / "peers" / f"{name.replace(':', '-')}.gguf"
        if not path.exists():
            shape, form = name.split(":")
            path.parent.mkdir(exist_ok=True)
            subprocess.run([hob, "synth", shape, "--format", form, "--out", path], check=True, stdout=sys.stderr)
    else:
        path = Path(name)
    if not path.exists():
        sys.exit(f"no file {path}: `run.py setup` fetches the public models")
    return path


def shape(path):
    """What of a GGUF file decides how much work a token is."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()

    def value(key, other=None):
        field = reader.fields.get(f"{arch}.{key}")
        return other if field is None else field.contents()

    heads, hidden = value("attention.head_count"), value("embedding_length")
    names = {t.name for t in reader.tensors}
    read = [t for t in reader.tensors if t.name != "token_embd.weight" or "output.weight" not in names]
    matrices = [t for t in reader.tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    return Shape(
        layers=value("block_count"), heads=heads, kv_heads=value("attention.head_count_kv", heads),
        head_dim=value("attention.key_length", hidden // heads), weights=sum(int(t.n_bytes) for t in read),
        matmul=sum(int(t.n_elements) for t in matrices), window=value("attention.sliding_window"),
        global_every=6 if arch == "gemma3" else 1)


def with_vocabulary(path, vocabulary, out):
    """The model of `path` with the tokenizer of another GGUF file, at `out`: random weights then take and give
    text, and a start reads as large a vocabulary as that of a real model. Made once."""
    if out.exists():
        return out
    model, words = gguf.GGUFReader(path), gguf.GGUFReader(vocabulary)
    raw = lambda field: b"".join(part.tobytes() for part in field.parts)
    pairs = [raw(f) for name, f in model.fields.items() if not name.startswith(("GGUF.", "tokenizer."))]
    pairs += [raw(f) for name, f in words.fields.items() if name.startswith("tokenizer.")]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(model.tensors), len(pairs)) + b"".join(pairs)
    head += b"".join(raw(t.field) for t in model.tensors)
    part = out.with_suffix(".part")
    with open(path, "rb") as source, open(part, "wb") as file:
        file.write(head + bytes(-len(head) % model.alignment))
        source.seek(model.data_offset)
        shutil.copyfileobj(source, file, 1 << 20)
    os.replace(part, out)
    return out
