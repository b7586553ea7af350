//! Chat templates of real models against Python's Jinja, which `transformers` renders them with:
//! `HOB_TEMPLATE_CASES` names a JSON file of `{name, conv, source, messages, extra,
//! add_generation_prompt, text | error}`, rendered with `<s>`, `</s>` and 2026-11-23 12:34:56.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use hob_models::template::{ChatTemplate, Message, TemplateError};
use hob_models::tokenizer::Span;
use serde_json::Value;

/// Templates that render otherwise here, and why.
const KNOWN: [(&str, &str); 2] = [
    (
        "meetkai-functionary-medium-v3.1.jinja",
        "Python escapes HTML next to what was marked `safe`",
    ),
    (
        "openbmb-MiniCPM5-1B.jinja",
        "looks for `<` in arguments, whose markup is opaque here",
    ),
];

fn message(value: &Value) -> Message {
    Message::from_fields(value.as_object().unwrap().clone())
}

fn render(case: &Value) -> Result<Vec<Span>, TemplateError> {
    let messages: Vec<Message> = case["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(message)
        .collect();
    let extra: BTreeMap<String, Value> = case["extra"]
        .as_object()
        .unwrap()
        .clone()
        .into_iter()
        .collect();
    ChatTemplate::new(case["source"].as_str().unwrap(), "<s>", "</s>")?
        .at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_437_296))
        .render(
            &messages,
            case["add_generation_prompt"].as_bool().unwrap(),
            &extra,
        )
}

#[test]
fn real_templates_render_as_in_python() {
    let Some(path) = std::env::var_os("HOB_TEMPLATE_CASES") else {
        eprintln!("HOB_TEMPLATE_CASES is not set: no reference to compare with");
        return;
    };
    let file: Value = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
    let cases = file.as_array().unwrap();
    assert!(!cases.is_empty());
    let (mut equal, mut both_refuse, mut lenient, mut known) = (0, 0, 0, 0);
    let mut shown = BTreeSet::new();
    for case in cases {
        let (name, conversation) = (
            case["name"].as_str().unwrap(),
            case["conv"].as_str().unwrap(),
        );
        let found = render(case);
        match (&found, case["text"].as_str()) {
            (Ok(spans), Some(expected)) => {
                let text: String = spans.iter().map(|span| span.text.as_str()).collect();
                if text == expected {
                    equal += 1;
                } else if KNOWN.iter().any(|(known, _)| *known == name) {
                    known += 1;
                } else if shown.insert(name) {
                    let same = text
                        .chars()
                        .zip(expected.chars())
                        .take_while(|(a, b)| a == b)
                        .count();
                    let part = |text: &str| -> String {
                        text.chars()
                            .skip(same.saturating_sub(40))
                            .take(120)
                            .collect()
                    };
                    println!(
                        "{name} ({conversation}): differs\n  expected {:?}\n  found    {:?}",
                        part(expected),
                        part(&text)
                    );
                }
            }
            (Err(_), None) => both_refuse += 1,
            (Err(error), Some(_)) => {
                if shown.insert(name) {
                    println!("{name} ({conversation}): {error}");
                }
            }
            // Errors of Python's types, such as iterating over None.
            (Ok(_), None) if case["error"].as_str().unwrap().starts_with("TypeError") => {
                lenient += 1
            }
            (Ok(_), None) => {
                if shown.insert(name) {
                    println!(
                        "{name} ({conversation}): Python refuses it: {}",
                        case["error"]
                    );
                }
            }
        }
    }
    println!(
        "{equal} of {} equal, {both_refuse} refused by both, {lenient} type errors in Python only, {known} known to differ",
        cases.len()
    );
    assert_eq!(equal + both_refuse + lenient + known, cases.len());
}
