//! Hostile tokenizers: patterns, normalizers and vocabularies of a `tokenizer.json` or a GGUF that are made
//! to take hours or gigabytes, on texts that are made to bring that out. Each is refused when it is read, is
//! an error of the text, or is done in time that grows with the text; and honest vocabularies are, on any
//! text. A test that hangs is a failure: no time is asserted.

use hob_models::tokenizer::{EncodeOptions, Tokenizer, TokenizerError, TokenizerSource};
use serde_json::{Value, json};

/// A tokenizer of bytes that cuts by these parts.
fn tokenizer(normalizer: Value, pre_tokenizer: Value) -> Result<Tokenizer, TokenizerError> {
    let vocab: serde_json::Map<String, Value> = (0..256)
        .map(|byte| (format!("<0x{byte:02X}>"), json!(byte)))
        .chain([
            ("<unk>".to_owned(), json!(256)),
            ("a".to_owned(), json!(257)),
        ])
        .collect();
    let json = json!({
        "model": { "type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true, "unk_token": "<unk>" },
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
    });
    Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), None)
}

fn split(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated" })
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content })
}

/// A long text.
fn mega(unit: &str) -> String {
    unit.repeat((1 << 18) / unit.len())
}

/// Patterns that are refused when the file is read.
fn refused() -> Vec<String> {
    let nest = |n: usize, open: &str, close: &str| open.repeat(n) + "a" + &close.repeat(n);
    let mut all: Vec<String> = [
        // Automata of gigabytes.
        r"\p{L}{1000}{1000}",
        r"(?:(?:a{1000}){1000}){1000}",
        r"((((a?){99}){99}){99}){99}",
        r"[^x]{100000}",
        r"(?i:\p{L}{3000})",
        r"(?:\pL\pM*){0,9999}x",
        r"(a|aa|aaa|\pL){9999}$",
        // What only an engine that backtracks has.
        r"(a+)+\1$",
        r"(?=(a+))\1b",
        r"(?<!a+)b",
        r"(?>a+)b",
        r"a++b",
        r"\Ga",
        // A word's border looks at its neighbours by Unicode's tables.
        r"\b\w+\b",
        // Malformed, or of no end.
        r"(((((((((((",
        r"[a-\x1b]]52;c;\x07[",
        r"a{99999999999999999999}",
    ]
    .map(str::to_owned)
    .into();
    all.extend([
        nest(20_000, "(", ")"),
        nest(20_000, "(?:", ")*"),
        "a|".repeat(100_000),
        "[a-z]".repeat(10_000),
        r"\p{Greek}".repeat(1_700),
        "(?i)".to_owned() + &"ſ".repeat(9_000),
    ]);
    all
}

/// Patterns that can be used, and read on and on for each match where the text is made for that.
const READING_ON: [(&str, &str, &str); 9] = [
    ("a+b|a", "a", ""),
    ("(?:a|b)+c|[ab]", "ab", ""),
    (".*x|.", "é ", ""),
    (r"(?s).+\z.|.", "\n", ""),
    (r"(a+)+$|a", "a", "!"),
    (r"(?:a?){50}a{50,}b|a", "a", ""),
    (r"(?:\s*\S\s*)+=|\s", " .", ""),
    (r"(?:a|a|aa)+?c|a", "a", ""),
    (r"(?i)(?:[a-z]+[0-9]*)+!|.", "a1", ""),
];

/// Patterns whose automaton explodes on such a text.
const EXPLODING: [&str; 3] = [
    r"[ab]*a[ab]{4000}c",
    r"(?:.*a.{900}|.*b.{1100})z",
    r"(?:[ab]*a[ab]{500}){3}c",
];

#[test]
fn patterns_that_would_take_gigabytes_are_refused() {
    assert!(refused().len() >= 20);
    for pattern in refused() {
        let short: String = pattern.chars().take(40).collect();
        for (normalizer, pre_tokenizer) in [
            (Value::Null, split(&pattern)),
            (replace(&pattern, "x"), Value::Null),
        ] {
            let error = tokenizer(normalizer, pre_tokenizer).expect_err(&short);
            let text = error.to_string();
            assert!(
                text.len() < 1000 && !text.contains(['\x1b', '\n']),
                "{text}"
            );
        }
    }
}

#[test]
fn patterns_that_read_on_and_on_are_an_error_of_the_text() {
    for (pattern, unit, end) in READING_ON {
        let cuts = tokenizer(Value::Null, split(pattern)).unwrap();
        let replaces = tokenizer(replace(pattern, ""), Value::Null).unwrap();
        for tokenizer in [cuts, replaces] {
            let encode = |text: &str| tokenizer.encode(text, EncodeOptions::default());
            // A short text is no matter.
            assert!(encode(&(unit.repeat(20) + end)).is_ok(), "{pattern}");
            let error = encode(&(mega(unit) + end)).expect_err(pattern);
            assert!(
                matches!(error, TokenizerError::Pattern { .. }),
                "{pattern}: {error}"
            );
            assert!(error.to_string().contains("shorten the text"), "{error}");
        }
    }
    // Of no order, so that every place of it is another state.
    let mut x = 1u32;
    let mut bit = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if x >> 31 == 1 { 'a' } else { 'b' }
    };
    let noise: String = (0..1 << 18).map(|_| bit()).collect();
    for pattern in EXPLODING {
        match tokenizer(Value::Null, split(pattern)) {
            Ok(tokenizer) => {
                let encoded = tokenizer.encode(&noise, EncodeOptions::default());
                assert!(encoded.is_err(), "{pattern}");
            }
            Err(error) => assert!(matches!(error, TokenizerError::Pattern { .. }), "{error}"),
        }
    }
}

#[test]
fn texts_do_not_grow_without_end() {
    let many = |step: Value, n: usize| json!({ "type": "Sequence", "normalizers": vec![step; n] });
    let doubling = replace("a", "aa");
    let long = "y".repeat(1 << 20);
    for normalizer in [
        many(doubling.clone(), 30),
        replace("a", &long),
        replace("", &long),
        json!({ "type": "Prepend", "prepend": long }),
        many(
            json!({ "type": "Prepend", "prepend": "z".repeat(5000) }),
            30,
        ),
        many(
            json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aaa" }),
            30,
        ),
    ] {
        let tokenizer = tokenizer(normalizer, Value::Null).unwrap();
        let error = tokenizer
            .encode(&"a".repeat(1000), EncodeOptions::default())
            .unwrap_err();
        assert!(matches!(error, TokenizerError::Grows { .. }), "{error}");
    }
    // Nor are there parts without end.
    for n in [33, 10_000] {
        assert!(tokenizer(many(doubling.clone(), n), Value::Null).is_err());
        let parts = json!({ "type": "Sequence", "pretokenizers": vec![split(r"\p{L}{9}"); n] });
        assert!(tokenizer(Value::Null, parts).is_err());
    }
    assert!(
        tokenizer(many(doubling, 2), Value::Null)
            .unwrap()
            .encode("aa", EncodeOptions::default())
            .is_ok()
    );
}

/// Long texts that have brought tokenizers down.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a",
        "A",
        " ",
        "\n",
        "\t ",
        "  \n",
        "1",
        "ab",
        "aab",
        "a ",
        "é",
        "e\u{301}",
        "\u{301}",
        "\u{301}\u{323}",
        "\u{1f1e9}\u{1f1ea}",
        "\u{1f468}\u{200d}",
        "\u{200d}",
        "\u{ac00}",
        "\u{1100}\u{1161}\u{11a8}",
        "\u{fdfa}",
        "字",
        "क्",
        "!",
        "'",
        "<",
        "<|",
        "\0",
        "\u{202e}",
        "<s>",
        "\u{2581}",
    ]
    .iter()
    .map(|unit| mega(unit))
    .collect();
    texts.push("a".to_owned() + &mega("\u{301}"));
    texts.push("x".repeat(1 << 17) + &" ".repeat(1 << 17) + "x");
    texts
}

#[test]
fn any_text_is_encoded_in_time_that_grows_with_it() {
    let doubled: Vec<String> = (0..=10).map(|n| "a".repeat(1 << n)).collect();
    let merges: Vec<String> = doubled
        .windows(2)
        .map(|two| format!("{0} {0}", two[0]))
        .collect();
    let stairs: Vec<String> = (1..=200).map(|n| "a".repeat(n)).collect();
    let stair_merges: Vec<String> = stairs[..199]
        .iter()
        .map(|stair| format!("{stair} a"))
        .collect();
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let vocabulary = |pieces: &[String]| {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
        let mut types = vec![2, 3, 3];
        types.extend(vec![6; 256]);
        types.extend(vec![1; pieces.len()]);
        tokens.extend(bytes.iter().cloned());
        tokens.extend_from_slice(pieces);
        (tokens, types)
    };
    for (pieces, merges) in [(&doubled, &merges), (&stairs, &stair_merges)] {
        let (tokens, types) = vocabulary(pieces);
        for (model, pre) in [
            ("llama", None),
            ("t5", None),
            ("rwkv", None),
            ("bert", None),
            ("plamo2", None),
            ("gpt2", Some("gpt-2")),
            ("gpt2", Some("llama-bpe")),
            ("gpt2", Some("deepseek-llm")),
        ] {
            let source = TokenizerSource {
                model,
                pre,
                tokens: tokens.iter().map(String::as_str).collect(),
                token_types: types.clone(),
                scores: (0..tokens.len()).map(|i| -(i as f32)).collect(),
                merges: if model == "gpt2" {
                    merges.iter().map(String::as_str).collect()
                } else {
                    Vec::new()
                },
                unk_id: Some(0),
                bos_id: Some(1),
                eos_id: Some(2),
                ..TokenizerSource::default()
            };
            let tokenizer = Tokenizer::new(&source).unwrap_or_else(|e| panic!("{model}: {e}"));
            for text in texts() {
                // Too long for nothing, at least not by hanging.
                let encoded = tokenizer.encode(&text, EncodeOptions::default());
                let start: String = text.chars().take(4).collect();
                assert!(
                    encoded.is_ok(),
                    "{model} {start:?}: {}",
                    encoded.unwrap_err()
                );
            }
        }
    }
    // Every normalizer that a file can ask for.
    for normalizer in [
        json!({ "type": "NFC" }),
        json!({ "type": "NFD" }),
        json!({ "type": "NFKC" }),
        json!({ "type": "NFKD" }),
        json!({ "type": "Nmt" }),
        json!({ "type": "Lowercase" }),
        json!({ "type": "StripAccents" }),
        json!({ "type": "Strip" }),
        json!({ "type": "BertNormalizer" }),
        replace(" {2,}", " "),
    ] {
        let name = normalizer["type"].to_string();
        let tokenizer = tokenizer(normalizer, Value::Null).unwrap();
        for text in texts() {
            let encoded = tokenizer.encode(&text, EncodeOptions::default());
            assert!(encoded.is_ok(), "{name}: {}", encoded.unwrap_err());
        }
    }
}

/// A double-array trie that leads back into itself for every byte: each place of a text would be read to
/// the text's end.
#[test]
fn a_character_map_that_never_ends_is_no_loop() {
    use base64::Engine;
    let mut units = vec![0u32; 256];
    for (byte, unit) in units.iter_mut().enumerate().skip(1) {
        // A label, a value, and an offset that stays among these units.
        *unit = byte as u32 | 1 << 8 | (byte as u32) << 10;
    }
    let mut map = (units.len() as u32 * 4).to_le_bytes().to_vec();
    map.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    map.extend(b"x\0");
    let encoded = base64::engine::general_purpose::STANDARD.encode(map);
    let tokenizer = tokenizer(
        json!({ "type": "Precompiled", "precompiled_charsmap": encoded }),
        Value::Null,
    )
    .unwrap();
    for text in texts() {
        let _ = tokenizer.encode(&text, EncodeOptions::default());
    }
}

#[test]
fn special_tokens_have_bounds() {
    let with = |texts: &[String]| {
        let tokens: Vec<&str> = texts.iter().map(String::as_str).collect();
        let source = TokenizerSource {
            model: "llama",
            token_types: vec![3; tokens.len()],
            scores: vec![0.0; tokens.len()],
            tokens,
            ..TokenizerSource::default()
        };
        Tokenizer::new(&source)
    };
    let long = ["a".to_owned(), "a".repeat(1 << 20) + "b"];
    let many: Vec<String> = (0..100_000).map(|i| format!("{i:>100}")).collect();
    for texts in [&long[..], &many] {
        assert!(matches!(with(texts), Err(TokenizerError::TooLarge { .. })));
    }
    // The longest that there may be, in text that is nearly that.
    let most = ["a".to_owned(), "a".repeat(1023) + "b"];
    let tokenizer = with(&most).unwrap();
    let options = EncodeOptions {
        parse_special: true,
        ..EncodeOptions::default()
    };
    assert_eq!(
        tokenizer.encode(&mega("a"), options).unwrap().len(),
        1 << 18
    );
}
