//! Where chat templates come from: GGUF metadata, `tokenizer_config.json` in both its forms, and
//! `chat_template.jinja`.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{put, safetensors};
use hob_models::template::{ChatTemplates, Message};
use hob_models::text;
use hob_models::weights::Weights;
use serde_json::json;

/// A model folder with a word-level vocabulary and these files about its templates.
fn folder(dir: &Path, config: serde_json::Value, own: Option<&str>) -> Option<ChatTemplates> {
    let vocab = json!({"<unk>": 0, "a": 1, "b": 2, "<s>": 3});
    let tokenizer = json!({
        "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    });
    put(
        dir,
        "model.safetensors",
        safetensors(&[("x", "F32", &[1], &[0; 4])]),
    );
    put(
        dir,
        "config.json",
        json!({"model_type": "llama"}).to_string(),
    );
    put(dir, "tokenizer.json", tokenizer.to_string());
    put(dir, "tokenizer_config.json", config.to_string());
    if let Some(own) = own {
        put(dir, "chat_template.jinja", own);
    }
    let weights = Weights::open(dir.join("model.safetensors")).unwrap();
    let tokenizer = text::tokenizer(&weights).unwrap().unwrap();
    text::templates(&weights, Some(&tokenizer))
}

fn rendered(templates: &ChatTemplates, name: Option<&str>, has_tools: bool) -> String {
    let template = templates.get(name, has_tools).unwrap();
    let spans = template
        .render(&[Message::new("user", "x")], false, &BTreeMap::new())
        .unwrap();
    spans.iter().map(|span| span.text.as_str()).collect()
}

#[test]
fn a_configuration_has_one_template_or_several() {
    let dir = tempfile::tempdir().unwrap();
    let one = json!({"bos_token": "<s>", "chat_template": "{{ bos_token }}one"});
    assert_eq!(
        rendered(&folder(dir.path(), one.clone(), None).unwrap(), None, true),
        "<s>one"
    );

    let several = json!({"chat_template": [
        {"name": "rag", "template": "rag"},
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "default"},
    ]});
    let templates = folder(dir.path(), several.clone(), None).unwrap();
    assert_eq!(
        templates.names().collect::<Vec<_>>(),
        ["default", "rag", "tool_use"]
    );
    assert_eq!(rendered(&templates, None, false), "default");
    assert_eq!(rendered(&templates, None, true), "tools");
    assert_eq!(rendered(&templates, Some("rag"), true), "rag");
    assert!(templates.get(Some("other"), false).is_err());

    assert!(folder(dir.path(), json!({}), None).is_none());
    assert!(folder(dir.path(), json!({"chat_template": 5}), None).is_none());

    // A file of its own stands for the default one.
    let templates = folder(dir.path(), one, Some("own")).unwrap();
    assert_eq!(rendered(&templates, None, false), "own");
    let templates = folder(dir.path(), several, Some("own")).unwrap();
    assert_eq!(rendered(&templates, None, false), "own");
    assert_eq!(rendered(&templates, Some("rag"), false), "rag");
}
