//! A chat template and a message, separated by a zero byte: neither breaks the interpreter, and what the
//! message says is never trusted.
#![no_main]

use hob_models::template::{ChatTemplate, Message, TemplateError};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (source, content) = text.split_once('\0').unwrap_or((&text, ""));
    // A mark that the template cannot write itself.
    let content = format!("{content}\u{2603}");
    let messages = [Message::new("user", content.as_str())];
    let spans = ChatTemplate::new(source, "<s>", "</s>")
        .and_then(|template| template.render(&messages, true, &BTreeMap::new()));
    assert_ne!(spans.as_ref().err(), Some(&TemplateError::Defect));
    if !source.contains('\u{2603}') && !source.contains('\\') {
        let spans = spans.unwrap_or_default();
        assert!(
            spans
                .iter()
                .all(|s| !s.trusted || !s.text.contains('\u{2603}'))
        );
    }
});
