"""Vocabularies of kinds that llama.cpp publishes none of, made of the ones it does.

In:  the folder with llama.cpp's vocabularies, a folder to write to
Out: GGUF files, the same every time: "rwkv" with GPT-2's tokens as bytes, "plamo2" with pieces and scores of
     a Unigram vocabulary
"""

import gguf

KINDS = ["rwkv", "plamo2"]
PIECES = 12_000


def field(folder, name, key):
    return gguf.GGUFReader(folder / f"ggml-vocab-{name}.gguf").fields[f"tokenizer.ggml.{key}"].contents()


def write(file, kind, tokens, types, scores, merges=()):
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def byte_of_character():
    """GPT-2's printable alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def rwkv(folder, file):
    alphabet = byte_of_character()
    plain = {byte: chr(byte) for byte in range(33, 127) if chr(byte) not in "\\"} | {10: "\\n", 9: "\\t", 13: "\\r", 32: " "}
    # No text of ours has it: llama.cpp takes control tokens from any text here, hob from trusted text alone.
    tokens = ["<|rwkv_tokenizer_end_of_text|>"]
    for text in field(folder, "gpt-2", "tokens"):
        if text != "<|endoftext|>" and all(c in alphabet for c in text):
            tokens.append("".join(plain.get(alphabet[c], f"\\x{alphabet[c]:02x}") for c in text))
    write(file, "rwkv", tokens, [3] + [1] * (len(tokens) - 1), [0.0] * len(tokens))


def plamo2(folder, file):
    pieces, scores = (field(folder, "nomic-bert-moe", key)[5:5 + PIECES] for key in ("tokens", "scores"))
    special = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    known = {}
    for piece, score in zip(pieces, scores):
        known.setdefault(piece.replace("▁", " "), score)
    tokens = special + octets + list(known)
    write(file, "plamo2", tokens, [2, 3, 3, 3] + [6] * 256 + [1] * len(known), [0.0] * 260 + list(known.values()))


def make(folder, out, kind):
    file = out / f"{kind}.gguf"
    {"rwkv": rwkv, "plamo2": plamo2}[kind](folder, file)
    return file
