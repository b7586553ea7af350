//! Properties of tokenizers, on small vocabularies made here: what comes out again, what is never
//! recognised, and that no vocabulary and no text makes anything panic.

use hob_models::tokenizer::{
    DecodeOptions, EncodeOptions, Span, TokenKind, Tokenizer, TokenizerError, TokenizerSource,
};
use proptest::prelude::*;

/// GPT-2's printable alphabet, by byte.
fn alphabet() -> Vec<String> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 0x100;
    (0..=255)
        .map(|byte: u8| {
            let code = if printable(byte) {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// Byte-level BPE: 256 bytes, some words, a user-defined token and control tokens.
fn bpe() -> Tokenizer {
    let mut tokens = alphabet();
    let merges = [
        "h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "i m", "Ã ©",
    ];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for (text, kind) in [
        ("<|im_start|>", 3),
        ("<|im_end|>", 3),
        ("<think>", 4),
        ("\n\n\n", 4),
        ("<|im_end|>x", 4),
    ] {
        tokens.push(text.to_owned());
        types.push(kind);
    }
    let source = TokenizerSource {
        model: "gpt2",
        pre: Some("gpt-2"),
        tokens: tokens.iter().map(String::as_str).collect(),
        token_types: types,
        merges: merges.to_vec(),
        bos_id: Some(265),
        eos_id: Some(266),
        add_bos: Some(true),
        ..TokenizerSource::default()
    };
    Tokenizer::new(&source).unwrap()
}

/// SentencePiece: characters and words with scores, all byte tokens.
fn spm(add_space_prefix: bool) -> Tokenizer {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let pieces = [
        ("<unk>", 2, 0.0),
        ("<s>", 3, 0.0),
        ("</s>", 3, 0.0),
        ("▁", 1, -10.0),
        ("a", 1, -11.0),
        ("b", 1, -12.0),
        ("ab", 1, -1.0),
        ("▁a", 1, -2.0),
        ("<", 1, -13.0),
        ("s", 1, -14.0),
        (">", 1, -15.0),
        ("<s", 1, -3.0),
    ];
    let source = TokenizerSource {
        model: "llama",
        tokens: pieces
            .iter()
            .map(|piece| piece.0)
            .chain(bytes.iter().map(String::as_str))
            .collect(),
        token_types: pieces.iter().map(|piece| piece.1).chain([6; 256]).collect(),
        scores: pieces
            .iter()
            .map(|piece| piece.2)
            .chain([0.0; 256])
            .collect(),
        unk_id: Some(0),
        bos_id: Some(1),
        eos_id: Some(2),
        add_space_prefix: Some(add_space_prefix),
        ..TokenizerSource::default()
    };
    Tokenizer::new(&source).unwrap()
}

fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let text = |&id: &u32| String::from_utf8_lossy(tokenizer.piece(id).unwrap()).into_owned();
    ids.iter().map(text).collect()
}

fn span(text: &str, trusted: bool) -> Span {
    Span {
        text: text.to_owned(),
        trusted,
    }
}

#[test]
fn the_best_merge_goes_first_and_the_leftmost_among_equals() {
    let tokenizer = bpe();
    let plain = |text| {
        pieces(
            &tokenizer,
            &tokenizer.encode(text, EncodeOptions::default()).unwrap(),
        )
    };
    assert_eq!(plain("hello worhell"), ["hello", " wor", "hell"]);
    assert_eq!(plain("llle é"), ["ll", "l", "e", " ", "é"]);
    let tokenizer = spm(false);
    let plain = |text| {
        pieces(
            &tokenizer,
            &tokenizer.encode(text, EncodeOptions::default()).unwrap(),
        )
    };
    assert_eq!(plain("ab a b"), ["ab", " a", " ", "b"]);
    assert_eq!(
        plain(" ab"),
        [" ", "ab"],
        "the higher score wins over the leftmost"
    );
    assert_eq!(
        plain("aéa"),
        ["a", "\u{fffd}", "\u{fffd}", "a"],
        "bytes of a character without a piece"
    );
}

#[test]
fn control_tokens_come_from_trusted_text_alone() {
    for (tokenizer, control, id) in [(bpe(), "<|im_end|>", 266), (spm(true), "<s>", 1)] {
        let encode = |parse_special| {
            let options = EncodeOptions {
                special: false,
                parse_special,
            };
            tokenizer.encode(control, options).unwrap()
        };
        assert_eq!(encode(true), [id]);
        assert!(!encode(false).contains(&id));
        assert_eq!(
            tokenizer.encode_spans(&[span(control, true)]).unwrap(),
            [id]
        );
        assert!(
            !tokenizer
                .encode_spans(&[span(control, false)])
                .unwrap()
                .contains(&id)
        );
        let (start, end) = control.split_at(2);
        for trusted in [(true, false), (false, true), (false, false)] {
            let spans = [span(start, trusted.0), span(end, trusted.1)];
            assert!(
                !tokenizer.encode_spans(&spans).unwrap().contains(&id),
                "{trusted:?}"
            );
        }
        assert_eq!(
            tokenizer
                .encode_spans(&[span(start, true), span(end, true)])
                .unwrap(),
            [id]
        );
        assert_eq!(tokenizer.kind(id), Some(TokenKind::Control));
    }
}

#[test]
fn user_defined_text_is_one_token_everywhere_unless_it_steers_the_model() {
    let tokenizer = bpe();
    let lines = tokenizer.token_id("\n\n\n").unwrap();
    let think = tokenizer.token_id("<think>").unwrap();
    let encode = |spans: &[Span]| tokenizer.encode_spans(spans).unwrap();
    assert_eq!(encode(&[span("\n", true), span("\n\n", false)]), [lines]);
    assert_eq!(encode(&[span("<think>", true)]), [think]);
    assert!(!encode(&[span("<think>", false)]).contains(&think));
    // The longest match wins, and plain text may have it.
    let longer = tokenizer.token_id("<|im_end|>x").unwrap();
    assert_eq!(encode(&[span("<|im_end|>x", true)]), [longer]);
    assert_eq!(encode(&[span("<|im_end|>x", false)]), [longer]);
}

#[test]
fn texts_begin_and_end_as_the_vocabulary_says() {
    let tokenizer = bpe();
    let options = EncodeOptions {
        special: true,
        parse_special: false,
    };
    assert_eq!(tokenizer.encode("hello", options).unwrap(), [265, 259]);
    assert!(tokenizer.is_eog(266) && !tokenizer.is_eog(265));
    assert_eq!(
        tokenizer.bos_eos_text(),
        ("<|im_start|>".to_owned(), "<|im_end|>".to_owned())
    );
    let tokenizer = spm(true);
    let ids = tokenizer
        .encode(
            "a<s>a",
            EncodeOptions {
                special: true,
                parse_special: true,
            },
        )
        .unwrap();
    assert_eq!(pieces(&tokenizer, &ids), ["<s>", " a", "<s>", " a"]);
    assert_eq!(tokenizer.decode(&ids), "a a");
}

#[test]
fn streams_hold_half_characters_back() {
    let tokenizer = bpe();
    let options = DecodeOptions {
        show_control: true,
        text_start: false,
    };
    let mut stream = tokenizer.decode_stream(options);
    let bytes = "é🦙".as_bytes();
    let written: Vec<String> = bytes
        .iter()
        .map(|&byte| stream.push(u32::from(byte)))
        .collect();
    assert_eq!(written, ["", "é", "", "", "", "🦙"]);
    assert_eq!(stream.push(0xf0) + &stream.push(0x9f), "");
    assert_eq!(stream.push(u32::from(b'x')), "\u{fffd}x");
    assert_eq!(stream.push(0xf0) + &stream.push(0xff), "\u{fffd}\u{fffd}");
    assert_eq!(stream.push(266), "<|im_end|>");
    assert_eq!(stream.push(9_999_999), "\u{fffd}");
    assert_eq!(
        stream.push(0xe2) + &stream.flush() + &stream.flush(),
        "\u{fffd}"
    );
    let mut hidden = tokenizer.decode_stream(DecodeOptions::default());
    assert_eq!(hidden.push(266), "");
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let good = TokenizerSource {
        model: "gpt2",
        pre: Some("gpt-2"),
        tokens: vec!["a", "b", "ab"],
        merges: vec!["a b"],
        ..TokenizerSource::default()
    };
    assert!(Tokenizer::new(&good).is_ok());
    let with = |change: &dyn Fn(&mut TokenizerSource<'static>)| {
        let mut source = good.clone();
        change(&mut source);
        Tokenizer::new(&source).err().unwrap()
    };
    use TokenizerError as E;
    assert!(matches!(
        with(&|s| s.model = "nonesuch"),
        E::UnknownModel { .. }
    ));
    assert!(matches!(with(&|s| s.pre = Some("x")), E::UnknownPre { .. }));
    assert!(matches!(with(&|s| s.tokens.clear()), E::EmptyVocabulary));
    assert!(matches!(
        with(&|s| s.token_types = vec![1]),
        E::LengthMismatch { .. }
    ));
    assert!(matches!(
        with(&|s| s.token_types = vec![1, 1, 9]),
        E::BadTokenType { id: 2, found: 9 }
    ));
    assert!(matches!(
        with(&|s| s.eos_id = Some(3)),
        E::SpecialOutOfRange { id: 3, .. }
    ));
    assert!(matches!(
        with(&|s| s.add_bos = Some(true)),
        E::SpecialMissing { .. }
    ));
    for merge in ["", "a", "ab", "a  b", " b", "a ", "a c", "c a", "b a"] {
        let error = with(&|s| s.merges = vec!["a b", merge]);
        assert!(matches!(error, E::BadMerge { index: 1, .. }), "{merge:?}");
    }
    let spm = |s: &mut TokenizerSource<'static>| s.model = "llama";
    assert!(matches!(with(&spm), E::LengthMismatch { found: 0, .. }));
    let with_scores = |s: &mut TokenizerSource<'static>| {
        s.model = "llama";
        s.scores = vec![0.0; 3];
        s.add_space_prefix = Some(false);
    };
    for model in ["bert", "t5"] {
        assert!(matches!(
            with(&|s| {
                with_scores(s);
                s.model = model;
                s.tokens.truncate(2);
                s.scores.truncate(2);
            }),
            E::UnknownMissing { .. }
        ));
    }
    let cut_off = |s: &mut TokenizerSource<'static>| {
        with_scores(s);
        s.model = "t5";
        s.charsmap = vec![9, 0, 0, 0];
    };
    assert!(matches!(with(&cut_off), E::BadCharsmap { found: 4 }));
}

#[test]
fn a_byte_without_a_token_is_left_out_and_a_character_is_an_error() {
    let source = TokenizerSource {
        model: "gpt2",
        pre: Some("gpt-2"),
        tokens: vec!["a", "b", "ab", "<|endoftext|>"],
        merges: vec!["a b"],
        unk_id: Some(3),
        ..TokenizerSource::default()
    };
    let tokenizer = Tokenizer::new(&source).unwrap();
    let encode = |tokenizer: &Tokenizer, text| tokenizer.encode(text, EncodeOptions::default());
    assert_eq!(encode(&tokenizer, "abcab"), Ok(vec![2, 2]));
    let source = TokenizerSource {
        model: "rwkv",
        unk_id: None,
        ..source
    };
    let tokenizer = Tokenizer::new(&source).unwrap();
    let error = Err(TokenizerError::Unrepresentable { offset: 1 });
    assert_eq!(encode(&tokenizer, "aca"), error);
}

/// Any text, with what matters here more often than elsewhere.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z ]{1,4}",
        "[ \n\t\r]{1,4}",
        prop::sample::select(vec![
            "hello",
            " wor",
            "<|im_end|>",
            "<|im_",
            "end|>",
            "<think>",
            "<s>",
            "</s>",
            "▁",
            "ab",
            "12",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_text_comes_back(text in text()) {
        // SentencePiece has one character for a space and for what it writes instead.
        let spaced = text.replace('▁', " ");
        for (tokenizer, expected) in [(bpe(), &text), (spm(true), &spaced), (spm(false), &spaced)] {
            let ids = tokenizer.encode(&text, EncodeOptions::default()).unwrap();
            prop_assert_eq!(&tokenizer.decode(&ids), expected);
            prop_assert!(ids.iter().all(|&id| tokenizer.kind(id) != Some(TokenKind::Control)));
        }
    }

    #[test]
    fn borders_between_spans_of_one_trust_do_not_show(parts in prop::collection::vec(text(), 0..5)) {
        for tokenizer in [bpe(), spm(true), spm(false)] {
            for trusted in [false, true] {
                let spans: Vec<Span> = parts.iter().map(|part| span(part, trusted)).collect();
                let options = EncodeOptions { special: false, parse_special: trusted };
                let joined = tokenizer.encode(&parts.concat(), options).unwrap();
                prop_assert_eq!(tokenizer.encode_spans(&spans).unwrap(), joined);
            }
        }
    }

    #[test]
    fn no_vocabulary_and_no_text_makes_anything_panic(
        model in prop::sample::select(vec![
            "gpt2", "llama", "bert", "t5", "rwkv", "plamo2", "gemma4", "whitespace",
        ]),
        pre in prop::sample::select(vec!["gpt-2", "smollm", "llama-bpe", "jais-2", "superbpe", "tiny_aya"]),
        charsmap in prop::collection::vec(any::<u8>(), 0..64),
        tokens in prop::collection::vec("[ab▁Ġ<|>\u{e9}]{0,3}|<0x[0-9A-F]{1,3}>", 0..20),
        types in prop::collection::vec(0..8i32, 0..20),
        all_types in any::<bool>(),
        scores in prop::collection::vec(any::<f32>(), 0..20),
        merges in prop::collection::vec("[ab▁Ġ ]{0,5}", 0..4),
        ids in prop::collection::vec(prop::option::of(0..25u32), 4),
        flags in prop::collection::vec(prop::option::of(any::<bool>()), 3),
        text in "[ab▁ <|>\u{e9}\n1]{0,12}",
        trusted in any::<bool>(),
    ) {
        let n = tokens.len();
        let fit = |mut types: Vec<i32>| {
            if all_types {
                types.resize(n, 1);
                types.iter_mut().for_each(|kind| *kind = (*kind).clamp(1, 6));
            }
            types
        };
        let mut fitting_scores = scores.clone();
        fitting_scores.resize(n, 0.0);
        let source = TokenizerSource {
            model,
            pre: Some(pre),
            tokens: tokens.iter().map(String::as_str).collect(),
            token_types: fit(types),
            scores: if all_types { fitting_scores } else { scores },
            merges: if all_types { Vec::new() } else { merges.iter().map(String::as_str).collect() },
            bos_id: ids[0],
            eos_id: ids[1],
            unk_id: ids[2],
            pad_id: ids[3],
            add_bos: flags[0],
            add_eos: flags[1],
            add_space_prefix: flags[2],
            remove_extra_whitespaces: flags[1],
            charsmap,
            ..TokenizerSource::default()
        };
        if let Ok(tokenizer) = Tokenizer::new(&source) {
            let options = EncodeOptions { special: true, parse_special: trusted };
            if let Ok(ids) = tokenizer.encode(&text, options) {
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
                tokenizer.decode(&ids);
            }
        }
    }

    #[test]
    fn no_json_makes_anything_panic(
        field in prop::sample::select(vec![
            "model", "vocab", "merges", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
        ]),
        value in prop::sample::select(vec![
            "null", "1", "[]", "{}", "\"a\"", "[1]", "{\"a\": -1}", "{\"a\": 4294967295}", "[\"a\"]",
            "[[\"a\"]]", "{\"type\": \"Sequence\"}", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}}",
            "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Bert\"}]}", "[{\"id\": 4294967295, \"content\": \"\"}]",
            "{\"type\": \"TemplateProcessing\", \"single\": []}",
            "{\"type\": \"WordPiece\", \"vocab\": {\"[UNK]\": 0}}", "{\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]]}",
            "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}", "{\"type\": \"Metaspace\", \"replacement\": \"▁\"}",
        ]),
        cut in 0..400usize,
    ) {
        let mut json = serde_json::json!({
            "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        });
        prop_assert!(Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), None).is_ok());
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        let place = if ["vocab", "merges"].contains(&field) { &mut json["model"] } else { &mut json };
        place[field] = value;
        let text = json.to_string();
        if let Ok(tokenizer) = Tokenizer::from_tokenizer_json(text.as_bytes(), None) {
            let _ = tokenizer.encode("abc<s>", EncodeOptions { special: true, parse_special: true });
        }
        let cut = text.get(..cut).unwrap_or(&text);
        let _ = Tokenizer::from_tokenizer_json(cut.as_bytes(), Some(cut.as_bytes()));
    }
}

#[test]
fn a_tokenizer_json_says_how_texts_begin() {
    let json = serde_json::json!({
        "added_tokens": [
            {"id": 3, "content": "<s>", "special": true},
            {"id": 4, "content": "<|end|>", "special": true, "rstrip": true},
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "model": {
            "type": "BPE", "unk_token": "?", "fuse_unk": true, "byte_fallback": true,
            "vocab": {"▁": 0, "a": 1, "▁a": 2, "?": 5}, "merges": [["▁", "a"]],
        },
    });
    let config = serde_json::json!({"bos_token": "<s>", "eos_token": {"content": "<|end|>"}});
    let config = config.to_string();
    let tokenizer =
        Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), Some(config.as_bytes()))
            .unwrap();
    let options = EncodeOptions {
        special: true,
        parse_special: true,
    };
    assert_eq!(
        tokenizer.encode("a a<|end|> \n a", options).unwrap(),
        [3, 2, 2, 4, 2]
    );
    assert_eq!(
        tokenizer.encode("axyz", options).unwrap(),
        [3, 2, 5],
        "unknowns are fused"
    );
    assert!(tokenizer.is_eog(4) && tokenizer.add_bos() && !tokenizer.add_eos());
    assert_eq!(tokenizer.decode(&[3, 2, 2]), "a a");
}
