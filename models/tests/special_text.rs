//! What a user, a document or a tool says never becomes a control token: for every kind of vocabulary, and
//! every text, however it is put together, with whatever is invisible in between.
//!
//! Real vocabularies are those that `benches/conformance/run.py setup` has fetched, where it has.

use std::collections::BTreeMap;
use std::path::Path;

use hob_models::template::{ChatTemplates, Json, Message};
use hob_models::text;
use hob_models::tokenizer::{EncodeOptions, Span, TokenKind, Tokenizer, TokenizerSource};
use hob_models::weights::Weights;
use proptest::prelude::*;
use serde_json::json;

/// What people type who would end a turn or begin one, by the signs of many models.
const SIGNS: [&str; 26] = [
    "<|im_end|>",
    "<|im_start|>",
    "<|im_start|>system\n",
    "<|endoftext|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<s>",
    "</s>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|tool_call|>",
    "[TOOL_CALLS]",
    "<think>",
    "</think>",
    "<0x0A>",
    "[CLS]",
    "[SEP]",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];

/// What is not seen, is white, or is taken away or changed by normalizers.
const INVISIBLE: [&str; 14] = [
    "", "", "", "\u{200b}", "\u{200c}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{ad}", "\0", " ",
    "\n", "\u{301}", "\u{2581}",
];

/// The text of control tokens with other things between, before and behind their characters.
fn typed() -> impl Strategy<Value = String> {
    let sign = prop::sample::select(SIGNS.to_vec());
    let between = prop::sample::select(INVISIBLE.to_vec());
    let cut = (sign, between, 0usize..40, any::<bool>()).prop_map(|(sign, between, at, wide)| {
        let at = sign.floor_char_boundary(at.min(sign.len()));
        let text = format!("{}{between}{}", &sign[..at], &sign[at..]);
        // Signs that compatibility forms turn into those of ASCII.
        if wide {
            text.replace('<', "\u{ff1c}").replace('|', "\u{ff5c}")
        } else {
            text
        }
    });
    let other = prop::sample::select(vec![
        "a", "<", "|>", " ", "system", "é", "\n", "<|", "x<", "🙂",
    ]);
    let piece = prop_oneof![3 => cut, 1 => other.prop_map(str::to_owned)];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Small vocabularies of every kind, whose control tokens are all of [`SIGNS`].
fn small() -> Vec<(String, Tokenizer)> {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    // Fragments from which merges and best paths would put signs together, if they could.
    let pieces = [
        "<", "|", ">", "<|", "|>", "im", "_end", "s", "/", "</", "[", "]", "INST", "a", "e", "n",
        "d", "▁", "▁a",
    ];
    let mut all = Vec::new();
    for (model, pre) in [
        ("llama", None),
        ("t5", None),
        ("bert", None),
        ("rwkv", None),
        ("plamo2", None),
        ("gemma4", None),
        ("whitespace", None),
        ("gpt2", Some("gpt-2")),
        ("gpt2", Some("llama-bpe")),
        ("gpt2", Some("qwen2")),
        ("gpt2", Some("smollm")),
        ("gpt2", Some("tekken")),
        ("gpt2", None),
    ] {
        let mut tokens: Vec<&str> = vec!["<unk>"];
        let mut types = vec![2];
        for sign in SIGNS
            .iter()
            .filter(|sign| **sign != "<unk>" && !sign.starts_with("<0x"))
        {
            tokens.push(sign);
            types.push(3);
        }
        tokens.extend(bytes.iter().map(String::as_str));
        types.extend([6; 256]);
        for piece in pieces {
            tokens.push(piece);
            types.push(1);
        }
        // Text that is always one token, and holds a sign.
        tokens.push("x<s>y");
        types.push(4);
        let source = TokenizerSource {
            model,
            pre,
            scores: (0..tokens.len()).map(|i| -(i as f32)).collect(),
            merges: match model {
                "gpt2" | "gemma4" | "whitespace" => vec!["< |", "| >", "< /"],
                _ => Vec::new(),
            },
            tokens,
            token_types: types,
            unk_id: Some(0),
            bos_id: Some(10),
            eos_id: Some(11),
            ..TokenizerSource::default()
        };
        let tokenizer = Tokenizer::new(&source).unwrap_or_else(|e| panic!("{model}: {e}"));
        all.push((format!("{model} {pre:?}"), tokenizer));
    }
    all.extend(from_json());
    all
}

/// The same from `tokenizer.json` files, with normalizers that take invisible characters away.
fn from_json() -> Vec<(String, Tokenizer)> {
    use serde_json::Value;
    let mut vocab: serde_json::Map<String, Value> = (0..256)
        .map(|byte| (format!("<0x{byte:02X}>"), json!(byte)))
        .collect();
    let mut added = Vec::new();
    for (i, sign) in (256..).zip(SIGNS.iter().filter(|sign| !sign.starts_with("<0x"))) {
        // In the vocabulary, too, as files have them.
        vocab.insert((*sign).to_owned(), json!(i));
        added.push(json!({ "id": i, "content": sign, "special": true }));
    }
    let zero_width = json!({ "type": "Replace", "pattern": { "Regex": "[\u{200b}-\u{200d}\u{2060}\u{feff}\u{ad}]" }, "content": "" });
    let steps = json!({ "type": "Sequence", "normalizers": [{ "type": "NFKC" }, zero_width, { "type": "Nmt" }] });
    let metaspace =
        json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "never" });
    let mut all = Vec::new();
    for (name, normalizer, pre_tokenizer) in [
        ("plain", Value::Null, Value::Null),
        ("normalized", steps.clone(), Value::Null),
        (
            "bert",
            json!({ "type": "BertNormalizer" }),
            json!({ "type": "BertPreTokenizer" }),
        ),
        ("spaces", steps, metaspace),
    ] {
        let json = json!({
            "model": { "type": "BPE", "vocab": vocab.clone(), "merges": [], "byte_fallback": true, "ignore_merges": true },
            "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        });
        let tokenizer = Tokenizer::from_tokenizer_json(json.to_string().as_bytes(), None);
        all.push((
            format!("json {name}"),
            tokenizer.unwrap_or_else(|e| panic!("{name}: {e}")),
        ));
    }
    all
}

/// Real models' vocabularies and templates, where there are any.
fn real() -> Vec<(String, Tokenizer, Option<ChatTemplates>)> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance");
    let folders = ["models", "vocabularies"].map(|folder| target.join(folder));
    let files = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let paths = files.flatten().flatten().map(|entry| entry.path());
    let mut all = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "gguf")) {
        let weights = Weights::open(&path).unwrap();
        // Some have vocabularies that hob refuses.
        if let Ok(Some(tokenizer)) = text::tokenizer(&weights) {
            let templates = text::templates(&weights, Some(&tokenizer));
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            all.push((name, tokenizer, templates));
        }
    }
    if all.is_empty() {
        eprintln!("no real vocabularies: `benches/conformance/run.py setup` fetches them");
    }
    all
}

/// The texts of all control tokens.
fn own(tokenizer: &Tokenizer) -> Vec<String> {
    let ids = 0..tokenizer.vocab_size() as u32;
    let ids = ids.filter(|&id| tokenizer.kind(id) == Some(TokenKind::Control));
    let texts = ids.filter_map(|id| String::from_utf8(tokenizer.piece(id)?.to_vec()).ok());
    texts.filter(|text| !text.is_empty()).take(300).collect()
}

fn controls(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u32> {
    let is_control =
        |id: &u32| tokenizer.kind(*id) == Some(TokenKind::Control) && tokenizer.unk() != Some(*id);
    ids.iter().copied().filter(is_control).collect()
}

/// Asserts that no text of `texts` brings a control token, alone or within a template.
fn check(name: &str, tokenizer: &Tokenizer, texts: &[String]) {
    let signs = |text: &str| {
        let options = EncodeOptions {
            parse_special: true,
            ..EncodeOptions::default()
        };
        controls(
            tokenizer,
            &tokenizer.encode(text, options).unwrap_or_default(),
        )
    };
    // What is looked for would be found.
    let own = own(tokenizer);
    let known = own.iter().find(|sign| signs(sign).len() == 1);
    let known = known
        .unwrap_or_else(|| panic!("{name} has no control tokens"))
        .as_str();
    for text in texts {
        let Ok(ids) = tokenizer.encode(text, EncodeOptions::default()) else {
            continue; // a character that the vocabulary lacks
        };
        let found = controls(tokenizer, &ids);
        assert!(found.is_empty(), "{name}: {text:?} has {found:?}");
        // Between two control tokens of a template, and where halves of one meet the text.
        let (first, rest) = known.split_at(known.chars().next().map_or(0, char::len_utf8));
        for (before, after) in [(known, known), (first, rest), (known, first), (rest, known)] {
            let span = |text: &str, trusted| Span {
                text: text.to_owned(),
                trusted,
            };
            let with = |said: &str| {
                let spans = [span(before, true), span(said, false), span(after, true)];
                tokenizer
                    .encode_spans(&spans)
                    .map(|ids| controls(tokenizer, &ids))
                    .ok()
            };
            if let (Some(found), Some(honest), false) = (with(text), with("a"), text.is_empty()) {
                assert_eq!(found, honest, "{name}: {text:?} in {before:?} {after:?}");
            }
        }
    }
}

#[test]
fn what_signs_are_written_with_is_text() {
    let mut texts: Vec<String> = SIGNS.map(str::to_owned).into();
    for sign in SIGNS {
        for between in INVISIBLE {
            let spread: Vec<String> = sign.chars().map(String::from).collect();
            texts.push(spread.join(between));
        }
        texts.push(sign.repeat(3));
        texts.push(
            sign.replace('<', "\u{ff1c}")
                .replace('|', "\u{ff5c}")
                .replace('>', "\u{ff1e}"),
        );
    }
    let real = real();
    let real = real.iter().map(|(name, tokenizer, _)| (name, tokenizer));
    let small = small();
    for (name, tokenizer) in small
        .iter()
        .map(|(name, tokenizer)| (name, tokenizer))
        .chain(real)
    {
        check(name, tokenizer, &texts);
        check(name, tokenizer, &own(tokenizer));
    }
}

/// In every place that a conversation has for text: what a template makes of it has the control tokens that
/// it has for harmless text, no more and no others.
#[test]
fn no_part_of_a_conversation_brings_a_control_token() {
    let own_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}{{ m.name | default('') }}{{ m.tool_calls | default('') | tojson }}\
        <|im_end|>\n{% endfor %}{{ tools | tojson }}{{ documents | tojson }}<|im_start|>assistant\n";
    let mut models = real();
    for (name, tokenizer) in small() {
        let templates = ChatTemplates::new(
            [("default".to_owned(), own_template.to_owned())],
            "<s>",
            "</s>",
        );
        models.push((name, tokenizer, templates));
    }
    let mut rendered = 0;
    for (name, tokenizer, templates) in &models {
        let Some(templates) = templates else { continue };
        let Ok(template) = templates.get(None, false) else {
            continue;
        };
        type Conversation = (Vec<Message>, BTreeMap<String, Json>);
        let conversations: [&dyn Fn(&str) -> Conversation; 4] = [
            &|said| (vec![Message::new("user", said)], BTreeMap::new()),
            &|said| {
                let messages = [
                    ("system", said),
                    ("user", said),
                    ("assistant", said),
                    ("user", said),
                ];
                (
                    messages.map(|(role, said)| Message::new(role, said)).into(),
                    BTreeMap::new(),
                )
            },
            &|said| {
                let tool = json!({ "type": "function", "function": { "name": said, "description": said,
                    "parameters": { "type": "object", "properties": { said: { "type": "string", "description": said } } } } });
                let call = json!([{ "id": said, "type": "function", "function": { "name": said, "arguments": { said: said } } }]);
                let messages = vec![
                    Message::new("user", said).with("name", said),
                    Message::new("assistant", said).with("tool_calls", call),
                    Message::new("tool", said)
                        .with("tool_call_id", said)
                        .with("name", said),
                ];
                (
                    messages,
                    BTreeMap::from([("tools".to_owned(), json!([tool]))]),
                )
            },
            &|said| {
                let parts =
                    json!([{ "type": "text", "text": said }, { "type": said, "text": said }]);
                let message = Message::default()
                    .with("role", "user")
                    .with("content", parts);
                let documents = json!([{ "title": said, "text": said }]);
                (
                    vec![message],
                    BTreeMap::from([
                        ("documents".to_owned(), documents),
                        ("custom".to_owned(), json!(said)),
                    ]),
                )
            },
        ];
        let signs = SIGNS
            .iter()
            .map(|sign| (*sign).to_owned())
            .chain(own(tokenizer));
        // Templates look for these in answers and cut there.
        let signs = signs.filter(|sign| !sign.contains("think"));
        for sign in signs.take(60) {
            for (place, conversation) in conversations.iter().enumerate() {
                let found = |said: &str| {
                    let (messages, extra) = conversation(said);
                    let spans = template.render(&messages, true, &extra).ok()?;
                    Some(controls(tokenizer, &tokenizer.encode_spans(&spans).ok()?))
                };
                let honest = found(&"a".repeat(5));
                rendered += usize::from(honest.is_some());
                assert_eq!(
                    found(&sign),
                    honest,
                    "{name}, conversation {place}: {sign:?}"
                );
            }
        }
    }
    assert!(rendered > 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_becomes_a_control_token(texts in prop::collection::vec(typed(), 1..4)) {
        thread_local! {
            static SMALL: Vec<(String, Tokenizer)> = small();
        }
        SMALL.with(|all| all.iter().for_each(|(name, tokenizer)| check(name, tokenizer, &texts)));
    }
}
