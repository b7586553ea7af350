#!/usr/bin/env python3
"""Vectors of what block formats mean, made with gguf-py, an implementation independent of hob.

Blocks are seeded random bytes. Their scales are set to chosen values first (one, the largest,
subnormal, zero of either sign, infinite, NaN), then to ordinary ones; blocks of all 0x00 and all
0xFF bytes follow. gguf-py dequantizes them. For formats that gguf-py quantizes the same way as
hob, rows of floats and the blocks that gguf-py makes of them are written too.

  dequant_vectors.py --text kernels/tests/data    the checked-in vectors: few, in hex
      <FORMAT>.dequantize.txt: per line the bytes of a block, a space, the floats that it reads as
      <FORMAT>.quantize.txt: per line 32 floats, a space, the bytes of the blocks made of them
      (floats are little-endian f32)
  dequant_vectors.py --raw DIR [--blocks 512]     many, the same in binary files
      <FORMAT>.blocks and <FORMAT>.f32; <FORMAT>.quantize.f32 and <FORMAT>.quantize.blocks
      read with HOB_DEQUANT_VECTORS=DIR cargo test -p hob-kernels --test dequant_vectors

Needs: pip install gguf numpy.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from gguf.quants import dequantize, quantize

# Format -> byte offsets of the f16 fields in its block.
HALVES = {
    Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.IQ4_NL: [0],
    Q.Q2_K: [80, 82], Q.Q3_K: [108], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208], Q.IQ4_XS: [0],
    Q.MXFP4: [], Q.F16: [0], Q.BF16: [],
}
# 1, infinity, NaN, the negative of the largest, a negative subnormal, -0; then the largest, the
# smallest subnormal, 0, the smallest normal.
HARD_HALVES = [0x3C00, 0x7C00, 0x7E01, 0xFBFF, 0x83FF, 0x8000, 0x7BFF, 0x0001, 0x0000, 0x0400]
HARD_BFLOATS = [0x3F80, 0x7F80, 0x7FC1, 0xFF7F, 0x807F, 0x8000, 0x7F7F, 0x0001, 0x0000, 0x0080]
HARD_EXPONENTS = [0, 1, 2, 64, 127, 128, 200, 252, 254, 255]
QUANTIZED = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.F16, Q.BF16]


def put(blocks, at, halves):
    blocks[: len(halves), at : at + 2] = np.asarray(halves, "<u2")[:, None].view(np.uint8)


def blocks_of(fmt, rng, n):
    """[n + 2, block bytes]"""
    size = GGML_QUANT_SIZES[fmt][1]
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if fmt == Q.MXFP4:
        blocks[:, 0] = rng.integers(110, 140, n)
        hard = HARD_EXPONENTS[: max(1, n // 2)]
        blocks[: len(hard), 0] = hard
    elif fmt == Q.BF16:
        put(blocks, 0, HARD_BFLOATS[:n])
    else:
        for i, at in enumerate(HALVES[fmt]):
            ordinary = rng.normal(0, 0.05, n).astype(np.float16).view(np.uint16)
            put(blocks, at, ordinary)
            # Not the same hard value in both fields, and some ordinary blocks left over.
            put(blocks, at, np.roll(HARD_HALVES, i)[: max(1, 2 * n // 3)])
    return np.concatenate([blocks, np.zeros((1, size), np.uint8), np.full((1, size), 255, np.uint8)])


def floats_of(rng, n):
    """[n, 32] finite floats as weights are, and hard ones: ties, zeros, tiny, huge, one-sided."""
    x = rng.normal(0, 0.05, (n, 32)).astype("<f4")
    x[0] = 0
    x[1] = np.arange(32) - 15.5
    x[2] = np.where(np.arange(32) % 2 == 0, 1, -1)
    x[3] = np.abs(x[3])
    x[4] = -np.abs(x[4])
    x[5] *= np.float32(1e-5)
    x[6] *= np.float32(1e5)
    x[7] = 0.25
    x[8] = rng.integers(-127, 128, 32).astype(np.float32) / 2
    # Scales of exactly 1 and levels half-way between two, in turn for Q4_0, Q5_0, Q4_1, Q5_1, Q8_0.
    halves = np.arange(32) / 2
    x[9], x[10], x[11], x[12] = halves - 8, halves - 16, halves, halves
    x[11, 31], x[12, 31] = 15, 31
    x[13] = np.where(np.arange(32) % 2 == 0, 1, -1) * (np.arange(32) + 0.5)
    x[13, 31] = -127
    return x


def read_blocks(fmt, blocks):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(dequantize(blocks, fmt).astype("<f4"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--text", type=Path, metavar="DIR")
    to.add_argument("--raw", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=512, help="per format, for --raw")
    args = parser.parse_args()
    out = args.text or args.raw
    out.mkdir(parents=True, exist_ok=True)
    source = f"# Made by benches/conformance/dequant_vectors.py with gguf {version('gguf')}, numpy {np.__version__}.\n"

    def text(name, left, right):
        lines = [f"{a.tobytes().hex()} {b.tobytes().hex()}\n" for a, b in zip(left, right)]
        (out / name).write_text(source + "".join(lines))

    for fmt in HALVES:
        rng = np.random.default_rng([args.seed, int(fmt)])
        elements = GGML_QUANT_SIZES[fmt][0]
        n = args.blocks if args.raw else {1: 62, 32: 16, 256: 10}[elements]
        blocks = blocks_of(fmt, rng, n)
        values = read_blocks(fmt, blocks)
        if args.text:
            text(f"{fmt.name}.dequantize.txt", blocks, values)
        else:
            (out / f"{fmt.name}.blocks").write_bytes(blocks.tobytes())
            (out / f"{fmt.name}.f32").write_bytes(values.tobytes())
        if fmt in QUANTIZED:
            x = floats_of(rng, args.blocks if args.raw else 16)
            with np.errstate(all="ignore"):
                made = np.ascontiguousarray(quantize(x, fmt)).view(np.uint8)
            if args.text:
                text(f"{fmt.name}.quantize.txt", x, made)
            else:
                (out / f"{fmt.name}.quantize.f32").write_bytes(x.tobytes())
                (out / f"{fmt.name}.quantize.blocks").write_bytes(made.tobytes())


if __name__ == "__main__":
    main()
