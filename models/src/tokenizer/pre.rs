//! The pre-tokenizers that `tokenizer.ggml.pre` can name: for each name the stages that cut a text
//! into words, and the rules that come with it. The names are llama.cpp's (`llama-vocab.cpp`, as of
//! llama-cpp-python 0.3.36); the patterns are those of the models' own `tokenizer.json`, which
//! llama.cpp approximates in places. A name that is not here is refused: cut in another way, a text
//! becomes other tokens.

use super::{
    TokenizerError,
    split::{
        Splitter,
        Stage::{
            self, Dropped, Only, SteppedSpaces, Thousands, ThousandsAtWordEnd, ThousandsBorders,
            WithSpaces,
        },
    },
};

/// Contractions, then words with one leading space, numbers, punctuation: OpenAI's GPT-2.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
/// Llama 3: words take any one leading sign, numbers have at most three digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Qwen 2 and 3: as Llama 3, but each digit is a word.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Qwen 3.5: marks belong to the letters before them.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Qwen 2 without contractions: suffixes after an apostrophe stay whole.
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// MiniCPM 5: as Llama 3; numbers were cut before.
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// Seed-Coder: signs do not take the line break after them.
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+";
/// Ling (Bailing): line breaks one at a time. Its file has `?+` and `++`, which change nothing here.
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]";
/// EXAONE's mixture of experts: several words may be one.
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]";
/// GPT-4o (o200k): words end where lower case is followed by upper case, and keep contractions.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
/// Youtu: as GPT-4o, but each digit is a word.
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
/// Mistral's Tekken: as GPT-4o without contractions, each digit a word.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+";
/// Kimi K2: as GPT-4o, with runs of Han characters apart.
const KIMI_K2: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
/// DeepSeek V3: numbers were cut before; a sign sticks to ASCII letters after it.
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"##;
/// iFlytek Spark 2.5: as DeepSeek V3, line breaks one at a time.
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]"##;
/// Runs of Chinese characters and of Japanese syllables.
const CJK: &str = r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+";
/// Runs of Chinese, of Samaritan to Chinese characters, and of Hangul syllables, as DeepSeek's
/// first models have them.
const CJK_DEEPSEEK: &str = r"[\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+";
/// Runs of scripts that are written without spaces, as AFMoE (Trinity) has them.
const CJK_AFMOE: &str = r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}\x{ff65}-\x{ff9f}\x{2f00}-\x{2fdf}\x{0e40}-\x{0e7f}\x{0e80}-\x{0eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+";
/// Hangul, Chinese punctuation, Bopomofo, and Chinese and Japanese characters, as Youtu has them.
const CJK_YOUTU: &str = r"[\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014}\x{ff1a}\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|[\x{3105}-\x{312f}]+|[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+";
/// Letters of scripts with case, as DeepSeek LLM lists them.
const CASED: &str = r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+";
/// ASCII, full-width and general punctuation, as DeepSeek LLM lists it.
const SIGNS_DEEPSEEK: &str =
    r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+";
/// BLOOM: anything but white space and the punctuation of several scripts.
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]+";
/// Punctuation and the symbols of ASCII.
const FALCON: &str = r"[\p{P}\$\+<=>\^~\|`]+";
/// The same without the grave accent, where no pre-tokenizer is named.
const UNNAMED: &str = r"[\p{P}\$\+<=>\^~\|]+";
/// Three ASCII digits.
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
/// What Chameleon cuts out before it cuts as GPT-2 does: sentinels, images, white space, digits and
/// punctuation.
const CHAMELEON: [Stage; 6] = [
    Only(r"<sentinel:[0-9]+>"),
    Only(r"IMGIMG[A-I]{1,4}Z"),
    Only(r"[\t\n]|    |  "),
    Only(r"\p{N}"),
    Only(r"[\p{P}!-/:-@\[-`{-~]"),
    WithSpaces(GPT2),
];

/// How the vocabulary of a pre-tokenizer writes its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Bytes, in GPT-2's printable alphabet.
    Bytes,
    /// Characters, with `▁` for a space.
    Characters,
    /// Characters, with a space for a space.
    Plain,
}

/// What a pre-tokenizer's name says.
#[derive(Debug)]
pub(super) struct Pre {
    names: &'static [&'static str],
    stages: &'static [Stage],
    /// Whether a word that is a token is that token, whatever the merges say.
    pub(super) whole_words: bool,
    /// The same for a run of line breaks.
    pub(super) whole_newlines: bool,
    /// What `add_bos_token` is where the file does not say; `None`: true, whatever the file says.
    pub(super) add_bos: Option<bool>,
    /// How the vocabulary writes its pieces.
    pub(super) alphabet: Alphabet,
}

const PLAIN: Pre = Pre {
    names: &[],
    stages: &[],
    whole_words: false,
    whole_newlines: false,
    add_bos: Some(false),
    alphabet: Alphabet::Bytes,
};

/// The name that stands for a file without one.
pub(super) const DEFAULT: &str = "default";

static PRES: &[Pre] = &[
    Pre {
        names: &[DEFAULT],
        stages: &[
            Only(UNNAMED),
            WithSpaces(GPT2),
            Only(r"\p{N}+"),
            Only(THREE_DIGITS),
        ],
        ..PLAIN
    },
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
        ],
        stages: &[WithSpaces(GPT2)],
        ..PLAIN
    },
    Pre {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        stages: &[Only(r"\p{N}"), WithSpaces(GPT2)],
        ..PLAIN
    },
    Pre {
        names: &["falcon"],
        stages: &[Only(FALCON), WithSpaces(GPT2), Only(THREE_DIGITS)],
        ..PLAIN
    },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: &[WithSpaces(LLAMA3)],
        whole_words: true,
        add_bos: Some(true),
        ..PLAIN
    },
    Pre {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        stages: &[WithSpaces(LLAMA3)],
        ..PLAIN
    },
    Pre {
        names: &["glm4", "glm5"],
        stages: &[WithSpaces(LLAMA3)],
        whole_words: true,
        ..PLAIN
    },
    Pre {
        names: &["jais-2"],
        stages: &[SteppedSpaces(LLAMA3)],
        ..PLAIN
    },
    Pre {
        names: &["minicpm5"],
        stages: &[Only(r"\p{N}{1,3}"), WithSpaces(MINICPM5)],
        whole_words: true,
        ..PLAIN
    },
    Pre {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        stages: &[WithSpaces(QWEN2)],
        ..PLAIN
    },
    Pre {
        names: &["qwen35"],
        stages: &[WithSpaces(QWEN35)],
        ..PLAIN
    },
    Pre {
        names: &["ufakzeka"],
        stages: &[WithSpaces(UFAKZEKA)],
        ..PLAIN
    },
    Pre {
        names: &["laguna"],
        stages: &[Only(r"\n+"), WithSpaces(QWEN2)],
        ..PLAIN
    },
    Pre {
        names: &["seed-coder"],
        stages: &[WithSpaces(SEED_CODER)],
        ..PLAIN
    },
    Pre {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        stages: &[WithSpaces(BAILING)],
        ..PLAIN
    },
    Pre {
        names: &["exaone-moe"],
        stages: &[WithSpaces(EXAONE_MOE)],
        ..PLAIN
    },
    Pre {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        stages: &[WithSpaces(GPT4O)],
        ..PLAIN
    },
    Pre {
        names: &["granite-embed-multi-97m"],
        stages: &[WithSpaces(GPT4O)],
        whole_words: true,
        ..PLAIN
    },
    Pre {
        names: &["tiny_aya", "cohere2moe"],
        stages: &[ThousandsAtWordEnd, WithSpaces(GPT4O)],
        ..PLAIN
    },
    Pre {
        names: &["youtu"],
        stages: &[Only(CJK_YOUTU), WithSpaces(YOUTU)],
        whole_words: true,
        ..PLAIN
    },
    Pre {
        names: &["tekken"],
        stages: &[WithSpaces(TEKKEN)],
        whole_words: true,
        add_bos: Some(true),
        ..PLAIN
    },
    Pre {
        names: &["kimi-k2"],
        stages: &[WithSpaces(KIMI_K2)],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-llm"],
        stages: &[
            Only(r"[\r\n]"),
            Only(CASED),
            Only(SIGNS_DEEPSEEK),
            Only(r"\s+$"),
            Only(CJK_DEEPSEEK),
            Only(r"\p{N}+"),
        ],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-coder"],
        stages: &[
            Only(r"[\r\n]"),
            Only(r"\s?\p{L}+"),
            Only(r"\s?\p{P}+"),
            Only(CJK_DEEPSEEK),
            Only(r"\p{N}"),
        ],
        ..PLAIN
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"],
        stages: &[Only(r"\p{N}{1,3}"), Only(CJK), WithSpaces(DEEPSEEK3)],
        ..PLAIN
    },
    Pre {
        names: &["spark2_5"],
        stages: &[
            Only(r"\p{N}{1,3}"),
            Only(CJK),
            WithSpaces(SPARK),
            Only(r"\p{N}"),
        ],
        ..PLAIN
    },
    Pre {
        names: &["afmoe"],
        stages: &[Thousands(r"\p{N}+"), Only(CJK_AFMOE), WithSpaces(DEEPSEEK3)],
        ..PLAIN
    },
    Pre {
        names: &["superbpe"],
        stages: &[Only(r"\p{N}+"), ThousandsBorders],
        ..PLAIN
    },
    Pre {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        stages: &[Only(BLOOM)],
        ..PLAIN
    },
    Pre {
        names: &["viking"],
        stages: &[Only(BLOOM), Only(r"\p{N}")],
        ..PLAIN
    },
    Pre {
        names: &["chameleon"],
        stages: &CHAMELEON,
        add_bos: Some(true),
        ..PLAIN
    },
    Pre {
        names: &["gemma4", "granite-embed-multi-311m"],
        stages: &[Only(r"\n+")],
        whole_newlines: true,
        add_bos: None,
        alphabet: Alphabet::Characters,
        ..PLAIN
    },
    Pre {
        names: &["sarvam-moe"],
        stages: &[Only(r"\n+")],
        alphabet: Alphabet::Characters,
        ..PLAIN
    },
    Pre {
        names: &["whitespace"],
        stages: &[Dropped(r"\s+")],
        alphabet: Alphabet::Plain,
        ..PLAIN
    },
];

impl Pre {
    /// The pre-tokenizer with this name in `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Result<&'static Self, TokenizerError> {
        PRES.iter()
            .find(|pre| pre.names.contains(&name))
            .ok_or_else(|| {
                let known: Vec<_> = PRES.iter().flat_map(|pre| pre.names).copied().collect();
                TokenizerError::UnknownPre {
                    name: name.to_owned(),
                    supported: known.join(", "),
                }
            })
    }

    /// What cuts a text into words.
    pub(super) fn splitter(&self) -> Result<Splitter, TokenizerError> {
        Splitter::new(self.stages)
    }
}

#[cfg(test)]
#[path = "pre_tests.rs"]
mod tests;
