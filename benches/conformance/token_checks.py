"""The checks of tokenizers: hob's tokens, one by one, against those of other programs.

- vectors: the texts and tokens that llama.cpp publishes beside its vocabularies
- strings: random strings, tokenized by llama.cpp (data/tokens.json, made by `run.py reference-tokens`), for
  the vocabularies without published vectors, and for kinds that it publishes none of (made_vocabularies.py)
- round trips: random strings come back from their tokens, byte for byte
- names: every pre-tokenizer that llama.cpp's source names is one that hob knows
- words: what pre-tokenizers cut, against the regular expressions of the models in Oniguruma
- files: tokenizer.json of five models against Hugging Face's `tokenizers`
- made: the same for kinds of tokenizer.json that those five do not have, made here of llama.cpp's vocabularies
"""

import hashlib
import json
import subprocess
import tempfile
import unicodedata
from pathlib import Path

import gguf
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors

import made_vocabularies
import pre_tokenizers as words_of
from token_texts import texts

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "tokens.json"
SEPARATOR = "\n__ggml_vocab_test__\n"
# Vocabularies without vectors of their own.
UNVERIFIED = ["aquila", "baichuan", "gpt-neox", "nomic-bert-moe"]
STRINGS, STRINGS_SEED = 1000, 1
BYTE_ORDER_MARK = "\ufeff"  # llama.cpp's PLaMo 2 loses one at the start of a text
# Vocabularies with tokens for every text; those of SentencePiece write `▁` for a space.
COMPLETE = ["aquila", "command-r", "deepseek-coder", "deepseek-llm", "gpt-2", "gpt-neox", "llama-bpe", "mpt", "qwen2", "qwen35"]
SENTENCEPIECE = ["baichuan", "gemma-4", "llama-spm", "phi-3"]
LINES, LINES_SEED = 10_000, 2
WORDS, WORDS_SEED = 400, 3
MADE, MADE_SEED = 3000, 4


def encode(paths, model, lines, *options):
    """The ids of each line; with --decode, its text."""
    given = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([paths.hob, "tokenize", model, "--lines", *options], input=given, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def vocabulary(paths, name):
    return paths.cache / "vocabularies" / f"ggml-vocab-{name}.gguf"


def hashes(lists):
    """16 bits for each list of ids: enough to tell lists apart, and small enough to keep."""
    return "".join(hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:4] for ids in lists)


def equal(title, found, expected):
    """(title, equal, total)"""
    return title, sum(a == b for a, b in zip(found, expected, strict=True)), len(expected)


def vectors(paths):
    for file in sorted((paths.cache / "vocabularies").glob("*.gguf.inp")):
        given = file.read_bytes().decode().split(SEPARATOR)
        ids = [[int(id) for id in line.split()] for line in file.with_suffix(".out").read_text().split("\n")]
        if given[-1].strip() == "" and not ids[-1]:
            given.pop()
        ids = ids[:len(given)]
        yield equal(f"{file.name.removeprefix('ggml-vocab-').removesuffix('.gguf.inp')}: published vectors",
                    encode(paths, file.with_suffix(""), given), ids)


def unverified(paths, folder):
    """The vocabularies without vectors, and those made here: name and file."""
    for name in UNVERIFIED:
        yield name, vocabulary(paths, name)
    for kind in made_vocabularies.KINDS:
        yield f"made here: {kind}", made_vocabularies.make(paths.cache / "vocabularies", Path(folder), kind)


def random_strings():
    """As many as were asked for, of more."""
    kept = [text for text in texts(STRINGS + STRINGS // 10, STRINGS_SEED) if not text.startswith(BYTE_ORDER_MARK)]
    return kept[:STRINGS]


def strings(paths):
    known = json.loads(DATA.read_text())
    given = random_strings()
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        for name, file in unverified(paths, folder):
            for what, options in ("parse_special off", []), ("parse_special on", ["--parse-special"]):
                digits = known["vocabularies"][name][what]
                found = hashes(encode(paths, file, given, *options))
                cut = [[h[i:i + 4] for i in range(0, len(h), 4)] for h in (found, digits)]
                yield equal(f"{name}: llama.cpp's ids, {what}", *cut)


def round_trips(paths):
    given = texts(STRINGS, STRINGS_SEED)
    for name in COMPLETE + SENTENCEPIECE:
        ids = encode(paths, vocabulary(paths, name), given)
        expected = [text.replace("▁", " ") for text in given] if name in SENTENCEPIECE else given
        yield equal(f"{name}: texts come back", encode(paths, vocabulary(paths, name), ids, "--decode"), expected)


def measure(paths):
    """Asks llama.cpp (which comes with `setup --references`) and writes data/tokens.json."""
    import ctypes

    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    given = random_strings()
    report = {"by": f"llama-cpp-python {llama_cpp.__version__}", "strings": STRINGS, "seed": STRINGS_SEED,
              "vocabularies": {}}
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        for name, file in unverified(paths, folder):
            model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
            report["vocabularies"][name] = {
                f"parse_special {'on' if special else 'off'}":
                    hashes([model.tokenize(text.encode(), add_bos=False, special=special) for text in given])
                for special in (False, True)}
            print(name, flush=True)
    DATA.write_text(json.dumps(report, indent=1) + "\n")


def names(paths):
    """A small file for each name, opened by hob."""
    known = (paths.cache / "vocabularies" / "pre_tokenizers.txt").read_text().split()
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        file = Path(folder) / "vocabulary.gguf"
        found = []
        for name in known:
            writer = gguf.GGUFWriter(file, "llama")
            writer.add_tokenizer_model("gpt2")
            writer.add_tokenizer_pre(name)
            writer.add_token_list(["a", "b", "ab", "<s>"])
            writer.add_token_merges(["a b"])
            writer.add_bos_token_id(3)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.close()
            try:
                encode(paths, file, ["ab"])
                found.append(name)
            except RuntimeError as error:
                found.append(str(error))
        yield equal("llama.cpp's names of pre-tokenizers", found, known)


def words(paths, cargo_test):
    cases = words_of.cases(WORDS, WORDS_SEED)
    file = paths.cache / "word-cases.json"
    file.write_text(json.dumps(cases))
    ok = cargo_test(paths, "hob-models", "--lib", "another_engine_agrees", HOB_SPLIT_CASES=str(file))
    yield f"words of {len(words_of.PATTERNS)} pre-tokenizers, as Oniguruma's", len(cases) if ok else 0, len(cases)


def against_hugging_face(paths, title, file, given):
    reference = tokenizers.Tokenizer.from_file(str(file))
    expected = [e.ids for e in reference.encode_batch(given, add_special_tokens=False)]
    return equal(title, encode(paths, file, given, "--parse-special"), expected)


def files(paths):
    given = texts(LINES, LINES_SEED)
    for folder in sorted((paths.cache / "npm").iterdir()):
        yield against_hugging_face(paths, f"{folder.name}: tokenizer.json", folder / "tokenizer.json", given)


def field(paths, name, key):
    return made_vocabularies.field(paths.cache / "vocabularies", name, key)


def made_of_bert(paths):
    vocab = {}
    for id, text in enumerate(field(paths, "bert-bge", "tokens")):
        special = text.startswith("[") and len(text) > 3
        vocab[text if special else text[1:] if text.startswith("▁") else "##" + text] = id
    for name, options in {"lower case": {}, "cased": {"lowercase": False}, "accents": {"strip_accents": False}}.items():
        made = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(**options)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
        made.add_special_tokens(["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"])
        yield f"WordPiece, {name}", made


def made_of_xlm_roberta(paths):
    pieces, scores, charsmap = (field(paths, "nomic-bert-moe", key) for key in ("tokens", "scores", "precompiled_charsmap"))
    # After it come rows of padding.
    n = pieces.index("<mask>") + 1
    vocab = list(zip(pieces[:n], map(float, scores[:n])))
    charsmap = normalizers.Precompiled(bytes(charsmap))
    spaces = pre_tokenizers.Metaspace
    kinds = {
        "XLM-RoBERTa": (charsmap, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces()])),
        "T5": (charsmap, spaces()),
        "first prefix": (normalizers.Sequence([charsmap, normalizers.Replace(Regex(" {2,}"), " ")]), spaces(prepend_scheme="first")),
        "whole": (normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), spaces(prepend_scheme="never", split=False)),
        "NMT": (normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.Strip(), normalizers.StripAccents()]),
                pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(), spaces()])),
    }
    for name, (normalizer, pre_tokenizer) in kinds.items():
        made = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=pieces.index("<unk>")))
        made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizer
        made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True), "<s>", "</s>", "<pad>", "<unk>"])
        yield f"Unigram, {name}", made


def made_of_gpt2(paths):
    vocab = {text: id for id, text in enumerate(field(paths, "gpt-2", "tokens"))}
    merges = [tuple(merge.split(" ")) for merge in field(paths, "gpt-2", "merges")]
    cl100k = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]"
              r"|\s+(?!\S)|\s+")
    split, level = pre_tokenizers.Split, pre_tokenizers.ByteLevel
    plain = level(add_prefix_space=False, use_regex=False)
    kinds = {
        "GPT-2": level(add_prefix_space=False),
        "RoBERTa": level(add_prefix_space=True),
        "cl100k": pre_tokenizers.Sequence([split(Regex(cl100k), "removed", invert=True), plain]),
        "splits": pre_tokenizers.Sequence([split(Regex(r"\s"), "merged_with_previous"), split(",", "merged_with_next"),
                                           pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.CharDelimiterSplit("e"), plain]),
    }
    for name, pre_tokenizer in kinds.items():
        made = tokenizers.Tokenizer(models.BPE(vocab, merges))
        made.pre_tokenizer = pre_tokenizer
        made.add_special_tokens(["<|endoftext|>"])
        yield f"BPE, {name}", made


def made(paths):
    # `tokenizers` knows the categories of Unicode 8 in places, hob today's: old characters alone have both.
    old = unicodedata.ucd_3_2_0.category
    given = [text for text in texts(MADE, MADE_SEED) if all(old(c) != "Cn" for c in text)]
    with tempfile.TemporaryDirectory(dir=paths.cache) as folder:
        file = Path(folder) / "tokenizer.json"
        for make in made_of_bert, made_of_xlm_roberta, made_of_gpt2:
            for title, tokenizer in make(paths):
                tokenizer.save(str(file))
                yield against_hugging_face(paths, f"made here: {title}", file, given)


def all_checks(paths, cargo_test):
    """Each as (title, equal, total)."""
    for check in vectors, strings, round_trips, names, files, made:
        yield from check(paths)
    yield from words(paths, cargo_test)
