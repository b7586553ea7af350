"""Words as Oniguruma cuts them (the engine of Hugging Face's `tokenizers`), for the pre-tokenizers of hob.

In:  names of pre-tokenizers, texts
Out: for each name and text the words, from the patterns below: those of the models' tokenizer.json files
     with their look-ahead, where hob has patterns and rules without
"""

import random

from tokenizers import Regex, pre_tokenizers

ENDS = r"|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+" + ENDS
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(suffix, numbers, after, upper=UPPER, lower=LOWER):
    """Words that end where lower case is followed by upper case: o200k and its heirs."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (f"{lead}{upper}*{lower}+{suffix}|{lead}{upper}+{lower}*{suffix}|{numbers}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+{after}*|\s*[\r\n]+" + ENDS)


O200K = cased(CONTRACTIONS + "?", r"\p{N}{1,3}", r"[\r\n/]")
DEEPSEEK3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+" + ENDS)
SPARK = DEEPSEEK3.replace(r"]+[\r\n]*|\s*[\r\n]+", r"]+|[\r\n]")
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
CJK_DEEPSEEK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
DIGIT, THREE = r"\p{N}", "[0-9][0-9][0-9]"
STEPS = "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"

PATTERNS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", THREE],
    "gpt-2": [GPT2],
    "smollm": [DIGIT, GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, THREE],
    "llama-bpe": [LLAMA3 + ENDS],
    "dbrx": [LLAMA3 + ENDS],
    "glm4": [LLAMA3 + ENDS],
    "jais-2": [LLAMA3 + STEPS],
    "minicpm5": [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+") + ENDS],
    "qwen2": [QWEN2],
    "qwen35": [QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")],
    "ufakzeka": [QWEN2.removeprefix(CONTRACTIONS + "|")],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "seed-coder": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+" + ENDS],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]" + ENDS],
    "exaone-moe": [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                   r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]" + ENDS],
    "gpt-4o": [O200K],
    "granite-embed-multi-97m": [O200K],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", O200K],
    "youtu": ["[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
              "\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + CJK, cased(CONTRACTIONS + "?", DIGIT, r"[\r\n/]")],
    "tekken": [cased("", DIGIT, r"[\r\n/]")],
    "kimi-k2": [r"[\p{Han}]+|" + cased(CONTRACTIONS + "?", r"\p{N}{1,3}", r"[\r\n]", UPPER[:-1] + r"&&[^\p{Han}]]",
                                       LOWER[:-1] + r"&&[^\p{Han}]]")],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_DEEPSEEK, DIGIT],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, DEEPSEEK3],
    "spark2_5": [r"\p{N}{1,3}", CJK, SPARK, DIGIT],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "bloom": [BLOOM],
    "viking": [BLOOM, DIGIT],
    "chameleon": ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", DIGIT,
                  r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "gemma4": [r"[^\n]+|[\n]+"],
    "sarvam-moe": [r"[^\n]+|[\n]+"],
}

ALPHABETS = ["abcdefgh", "ABCDEFG", "stmdrevl'", "'STMDREVL", " ", "  \t", "\n\r", "0123456789", ".,!?;:-/()[]{}",
             "$+<=>^~|`_#@&*%\"\\", "éÀßñÅǅʰªÞ", "жЖёЯ", "αΩσ", "漢字一龥", "かなカナ", "한글ㄱ", "ㄅㄆ", "हिन्दी", "ไทยเ", "עברית",
             "عربي٣٤", "\u0301\u0308\u20dd", "²½Ⅷ", "！…“”：，。、", "\u200d\u200b\ufeff", "\u00a0\u3000\u2003\u0085", "🦙😀🇩🇪",
             "\x00\x07\x1b", "ſK"]


def texts(n, seed):
    """Random texts of many kinds of characters, in runs."""
    rng = random.Random(seed)
    for _ in range(n):
        kinds = rng.sample(ALPHABETS, rng.randint(1, 6))
        yield "".join(rng.choice(rng.choice(kinds)) if rng.random() < 0.5 else
                      "".join(rng.choices(rng.choice(kinds), k=rng.randint(1, 7))) for _ in range(rng.randint(1, 12)))


def words(name, text):
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PATTERNS[name]]
    return [word for word, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)] if text else []


def cases(n, seed):
    """[[name, text, words], ...]"""
    return [[name, text, words(name, text)] for name in PATTERNS for text in texts(n, seed)]
