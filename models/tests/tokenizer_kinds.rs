//! The kinds of tokenizers besides byte-level BPE and SentencePiece's, on small vocabularies made here:
//! what each cuts a text into, from GGUF's metadata and from `tokenizer.json`.

use hob_models::tokenizer::{DecodeOptions, EncodeOptions, TokenKind, Tokenizer, TokenizerSource};
use serde_json::{Value, json};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// The pieces that a text becomes, without the tokens around it.
fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
    let text = |&id: &u32| String::from_utf8_lossy(tokenizer.piece(id).unwrap()).into_owned();
    ids.iter().map(text).collect()
}

fn around(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let options = EncodeOptions {
        special: true,
        parse_special: true,
    };
    tokenizer.encode(text, options).unwrap()
}

fn source<'a>(model: &'a str, vocabulary: &[(&'a str, i32, f32)]) -> TokenizerSource<'a> {
    TokenizerSource {
        model,
        tokens: vocabulary.iter().map(|token| token.0).collect(),
        token_types: vocabulary.iter().map(|token| token.1).collect(),
        scores: vocabulary.iter().map(|token| token.2).collect(),
        ..TokenizerSource::default()
    }
}

fn from_json(json: Value) -> Tokenizer {
    Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), None).unwrap()
}

/// BERT's vocabulary as converters write it: `▁` begins a word.
fn bert() -> TokenizerSource<'static> {
    let mut source = source(
        "bert",
        &[
            ("[PAD]", CONTROL, 0.0),
            ("[UNK]", UNKNOWN, 0.0),
            ("[CLS]", CONTROL, 0.0),
            ("[SEP]", CONTROL, 0.0),
            ("▁un", NORMAL, 0.0),
            ("▁unaff", NORMAL, 0.0),
            ("aff", NORMAL, 0.0),
            ("able", NORMAL, 0.0),
            ("▁ä", NORMAL, 0.0),
            ("▁a", NORMAL, 0.0),
            ("▁.", NORMAL, 0.0),
            ("▁漢", NORMAL, 0.0),
            ("▁'", NORMAL, 0.0),
        ],
    );
    source.unk_id = Some(1);
    source.cls_id = Some(2);
    source.sep_id = Some(3);
    source
}

#[test]
fn wordpiece_takes_the_longest_piece_of_a_word_again_and_again() {
    let tokenizer = Tokenizer::new(&bert()).unwrap();
    assert_eq!(tokenizer.model_name(), "WordPiece");
    assert_eq!(pieces(&tokenizer, "Unaffable."), [" unaff", "able", " ."]);
    assert_eq!(
        pieces(&tokenizer, "UN  able a"),
        [" un", "[UNK]", " a"],
        "one unknown for a word"
    );
    assert_eq!(pieces(&tokenizer, "a漢\u{7}a"), [" a", " 漢", " a"]);
    assert_eq!(pieces(&tokenizer, "Ä"), [" a"], "accents go with capitals");
    let long = "un".repeat(51);
    assert_eq!(pieces(&tokenizer, &long), ["[UNK]"]);
    assert_eq!(around(&tokenizer, "a"), [2, 9, 3]);
    assert_eq!(around(&tokenizer, "[SEP]a"), [2, 3, 9, 3]);
    assert_eq!(tokenizer.decode(&[5, 7, 10, 9]), "unaffable. a");
}

#[test]
fn wordpiece_keeps_case_and_accents_where_the_file_says_so() {
    let mut source = bert();
    source.strip_accents = Some(false);
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert_eq!(pieces(&tokenizer, "Ä a"), [" ä", " a"]);
    source.lowercase = Some(false);
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert_eq!(pieces(&tokenizer, "Ä ä"), ["[UNK]", " ä"]);
}

/// T5's: scores, and spaces merged or not.
fn t5(merge_spaces: bool) -> TokenizerSource<'static> {
    let mut source = source(
        "t5",
        &[
            ("<pad>", CONTROL, 0.0),
            ("</s>", CONTROL, 0.0),
            ("<unk>", UNKNOWN, 0.0),
            ("▁", NORMAL, -3.0),
            ("a", NORMAL, -4.0),
            ("b", NORMAL, -4.0),
            ("ab", NORMAL, -5.0),
            ("abb", NORMAL, -9.5),
            ("▁a", NORMAL, -6.5),
            ("é", NORMAL, -9.0),
        ],
    );
    source.add_space_prefix = Some(true);
    source.remove_extra_whitespaces = Some(merge_spaces);
    source
}

#[test]
fn unigram_takes_the_pieces_with_the_highest_sum() {
    let tokenizer = Tokenizer::new(&t5(true)).unwrap();
    // -3 - 5 against -6.5 - 4.
    assert_eq!(pieces(&tokenizer, "ab"), [" ", "ab"]);
    // -3 - 9 against -3 - 9.5 and -6.5 - 8.
    assert_eq!(pieces(&tokenizer, "abb"), [" ", "ab", "b"]);
    assert_eq!(pieces(&tokenizer, "  a   a "), [" a", " a"]);
    assert_eq!(
        pieces(&tokenizer, "axyb"),
        [" a", "<unk>", "b"],
        "unknowns are one"
    );
    assert_eq!(pieces(&tokenizer, "▁a"), [" ", " a"]);
    assert_eq!(pieces(&tokenizer, " "), [""; 0]);
    assert_eq!(around(&tokenizer, "a"), [8, 1]);
    assert_eq!(tokenizer.decode(&[8, 8, 4]), "a aa");
    let tokenizer = Tokenizer::new(&t5(false)).unwrap();
    assert_eq!(pieces(&tokenizer, " a  b"), [" ", " a", " ", " ", "b"]);
}

#[test]
fn unigram_normalizes_by_the_character_map() {
    // A map that makes an `a` of an `A`: a trie of a root and one child with a value.
    let mut units = vec![0u32; 512];
    units[0] = 256 << 10;
    let child = 256 ^ usize::from(b'A');
    units[child] = u32::from(b'A') | 1 << 8 | ((child as u32) ^ 300) << 10;
    units[300] = 1 << 31;
    let mut charsmap = (units.len() as u32 * 4).to_le_bytes().to_vec();
    charsmap.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    charsmap.extend_from_slice(b"a\0");
    let mut source = t5(true);
    source.charsmap = charsmap;
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert_eq!(pieces(&tokenizer, "A Ab"), [" a", " ", "ab"]);
}

#[test]
fn rwkv_takes_the_longest_piece_of_bytes() {
    let mut vocabulary = vec![("<s>", CONTROL, 0.0)];
    let bytes: Vec<String> = (0..=255u8).map(|byte| format!("\\x{byte:02x}")).collect();
    vocabulary.extend(bytes.iter().map(|byte| (byte.as_str(), NORMAL, 0.0)));
    vocabulary.extend([
        ("ab", NORMAL, 0.0),
        ("abcd", NORMAL, 0.0),
        ("\\n\\n", NORMAL, 0.0),
        ("\\xe6\\xbc", NORMAL, 0.0),
    ]);
    let tokenizer = Tokenizer::new(&source("rwkv", &vocabulary)).unwrap();
    assert_eq!(
        pieces(&tokenizer, "abcabcd\n\n\n"),
        ["ab", "c", "abcd", "\n\n", "\n"]
    );
    let ids = tokenizer.encode("漢é\0", EncodeOptions::default()).unwrap();
    assert_eq!(ids.len(), 5, "part of a character is a piece");
    assert_eq!(tokenizer.decode(&ids), "漢é\0");
    let mut stream = tokenizer.decode_stream(DecodeOptions::default());
    let written: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(written, ["", "漢", "", "é", "\0"]);
}

#[test]
fn plamo_2_takes_the_best_pieces_and_bytes_for_the_rest() {
    let mut vocabulary = vec![
        ("<|plamo:unk|>", UNKNOWN, 0.0),
        ("<|plamo:bos|>", CONTROL, 0.0),
        ("<|plamo:eos|>", CONTROL, 0.0),
        ("a", NORMAL, -3.0),
        ("b", NORMAL, -3.0),
        ("ab", NORMAL, -6.0),
        (" ", NORMAL, -2.0),
        ("a b", NORMAL, -5.0),
    ];
    let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    vocabulary.extend(bytes.iter().map(|byte| (byte.as_str(), BYTE, 0.0)));
    let tokenizer = Tokenizer::new(&source("plamo2", &vocabulary)).unwrap();
    assert_eq!(pieces(&tokenizer, "ab"), ["ab"], "the longer of equals");
    assert_eq!(pieces(&tokenizer, "a ba b"), ["a b", "a b"]);
    let ids = tokenizer.encode("aéb", EncodeOptions::default()).unwrap();
    assert_eq!(ids, [3, 8 + 0xc3, 8 + 0xa9, 4]);
    assert_eq!(tokenizer.decode(&ids), "aéb");
    let control = tokenizer.encode("<|plamo:eos|>", EncodeOptions::default());
    assert!(
        control
            .unwrap()
            .iter()
            .all(|&id| tokenizer.kind(id) == Some(TokenKind::Byte) || id > 2)
    );
}

#[test]
fn gemma_4_merges_characters_and_whole_runs_of_line_breaks() {
    let mut vocabulary = vec![
        ("<pad>", CONTROL, 0.0),
        ("<eos>", CONTROL, 0.0),
        ("<bos>", CONTROL, 0.0),
        ("▁", NORMAL, 0.0),
        ("a", NORMAL, 0.0),
        ("b", NORMAL, 0.0),
        ("▁a", NORMAL, 0.0),
        ("▁▁", NORMAL, 0.0),
        ("\n", NORMAL, 0.0),
        ("\n\n\n", NORMAL, 0.0),
    ];
    let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    vocabulary.extend(bytes.iter().map(|byte| (byte.as_str(), BYTE, 0.0)));
    let mut source = source("gemma4", &vocabulary);
    source.merges = vec!["▁ a", "▁ ▁"];
    source.bos_id = Some(2);
    source.add_bos = Some(false);
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert_eq!(pieces(&tokenizer, "a  a b"), ["a", " ", " a", " ", "b"]);
    assert_eq!(
        pieces(&tokenizer, "a\n\n\nb\n\n"),
        ["a", "\n\n\n", "b", "\n", "\n"]
    );
    assert_eq!(
        around(&tokenizer, "aé"),
        [2, 4, 10 + 0xc3, 10 + 0xa9],
        "begins with <bos> whatever the file says"
    );
    assert_eq!(tokenizer.decode(&[3, 4, 8]), " a\n");
}

#[test]
fn the_whitespace_kind_drops_spaces() {
    let vocabulary = ["a", "b", "ab"].map(|text| (text, NORMAL, 0.0));
    let mut source = source("whitespace", &vocabulary);
    source.merges = vec!["a b"];
    source.lowercase = Some(true);
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert_eq!(pieces(&tokenizer, " aB\t\nb a"), ["ab", "b", "a"]);
}

#[test]
fn a_file_without_a_pre_tokenizer_says_so() {
    let vocabulary = ["a", "1", "a1", "11"].map(|text| (text, NORMAL, 0.0));
    let mut source = source("gpt2", &vocabulary);
    source.merges = vec!["a 1", "1 1"];
    let tokenizer = Tokenizer::new(&source).unwrap();
    assert!(tokenizer.caveat().unwrap().contains("tokenizer.ggml.pre"));
    assert_eq!(
        pieces(&tokenizer, "a1111"),
        ["a", "11", "1", "1"],
        "three digits at most"
    );
    source.pre = Some("gpt-2");
    assert_eq!(Tokenizer::new(&source).unwrap().caveat(), None);
}

#[test]
fn special_tokens_of_some_models_take_white_space_with_them() {
    let vocabulary = [
        ("<s>", CONTROL, 0.0),
        ("<|user|>", CONTROL, 0.0),
        ("</s>", 4, 0.0),
        ("▁", NORMAL, -1.0),
        ("a", NORMAL, -1.0),
    ];
    let mut source = source("llama", &vocabulary);
    source.bos_id = Some(0);
    source.eos_id = None;
    source.unk_id = Some(3);
    source.add_bos = Some(false);
    source.add_space_prefix = Some(false);
    let texts = |tokenizer: &Tokenizer, text: &str| around(tokenizer, text);
    let plain = Tokenizer::new(&source).unwrap();
    assert_eq!(texts(&plain, "<|user|> a<s> a"), [1, 3, 4, 0, 3, 4]);
    source.names = [Some("Phi-3 mini"), None];
    let phi = Tokenizer::new(&source).unwrap();
    assert_eq!(texts(&phi, "<|user|> a<s> a"), [1, 4, 0, 3, 4]);
    // `</s>` ends a text where `<s>` begins one, and then no user may write it.
    assert_eq!(phi.kind(2), Some(TokenKind::Control));
}

#[test]
fn a_tokenizer_json_may_hold_wordpiece() {
    let tokenizer = from_json(json!({
        "added_tokens": [
            {"id": 0, "content": "[CLS]", "special": true}, {"id": 1, "content": "[SEP]", "special": true},
            {"id": 2, "content": "[UNK]", "special": true},
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 6,
            "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "un": 3, "##able": 4, "!": 5, "##": 6, "#": 7}},
    }));
    assert_eq!(pieces(&tokenizer, "UNable!"), [" un", "able", " !"]);
    assert_eq!(pieces(&tokenizer, "unableable"), ["[UNK]"], "too long");
    assert_eq!(pieces(&tokenizer, "##"), [" #", " #"]);
    assert_eq!(around(&tokenizer, "un!"), [0, 3, 5, 1]);
    assert_eq!(tokenizer.decode(&[3, 4, 5]), "unable!");
}

fn unigram(normalizer: Value, pre_tokenizer: Value, byte_fallback: bool) -> Tokenizer {
    let mut vocab = vec![
        json!(["<unk>", 0.0]),
        json!(["▁", -2.0]),
        json!(["a", -3.0]),
        json!(["▁a", -4.0]),
        json!(["b", -3.0]),
    ];
    if byte_fallback {
        vocab.extend((0..256).map(|byte| json!([format!("<0x{byte:02X}>"), 0.0])));
    }
    from_json(json!({
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": byte_fallback},
    }))
}

#[test]
fn a_tokenizer_json_may_hold_unigram() {
    let metaspace = |scheme| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let tokenizer = unigram(json!({"type": "Lowercase"}), metaspace("always"), false);
    assert_eq!(pieces(&tokenizer, "A a"), [" a", " a"]);
    assert_eq!(pieces(&tokenizer, "axya"), [" a", "<unk>", "a"]);
    let tokenizer = unigram(Value::Null, metaspace("never"), true);
    let ids = tokenizer.encode("aé a", EncodeOptions::default()).unwrap();
    assert_eq!(ids, [2, 5 + 0xc3, 5 + 0xa9, 3]);
    assert_eq!(tokenizer.decode(&ids), "aé a");
    let words = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always")]});
    let replace = json!({"type": "Replace", "pattern": {"Regex": "[xy]+"}, "content": "b"});
    let tokenizer = unigram(replace, words, false);
    assert_eq!(pieces(&tokenizer, "a\n axyx\ta"), [" a", " a", "b", " a"]);
}

#[test]
fn parts_of_a_tokenizer_json_that_hob_does_not_have_are_refused_by_name() {
    let bpe = json!({"type": "BPE", "vocab": {"a": 0}, "merges": []});
    let level = json!({"type": "ByteLevel", "add_prefix_space": false});
    let cases = [
        (
            json!({"model": {"type": "WordLevel", "vocab": {}}}),
            "WordLevel",
        ),
        (
            json!({"model": bpe, "normalizer": {"type": "Magic"}}),
            "Magic",
        ),
        (
            json!({"model": bpe, "pre_tokenizer": {"type": "UnicodeScripts"}}),
            "UnicodeScripts",
        ),
        (
            json!({"model": bpe, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a(?=b)"}, "behavior": "Isolated"}}),
            "Split",
        ),
        // It would see the bytes of `é` as letters.
        (
            json!({"model": bpe, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [level, {"type": "Digits"}]}}),
            "Digits",
        ),
        (
            json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "</w>"}}),
            "end_of_word_suffix",
        ),
        (
            json!({"model": {"type": "WordPiece", "vocab": {"a": 0}}}),
            "unknown token",
        ),
    ];
    for (json, name) in cases {
        let error = Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), None);
        let error = error.err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
    }
}
