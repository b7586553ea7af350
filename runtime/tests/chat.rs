//! Conversations: which template renders them, what becomes of tools and of the switch for reasoning,
//! and that reasoning told apart loses nothing.

mod common;

use std::ops::ControlFlow;

use common::{Shape, write_with};
use hob::{
    Cancel, ChatOptions, Engine, EngineOptions, Event, Message, Request, Sampling, SessionError,
    SessionOptions,
};
use hob_kernels::format::Format;
use hob_models::tokenizer::DecodeOptions;

const DEFAULT: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
    {% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>{% endif %}";
const TOOL_USE: &str = "tools:{{ tools | length }}{{ messages[0].content }}";

/// A model of random weights whose vocabulary is bytes, two markers of reasoning and some words.
fn engine(dir: &std::path::Path, seed: u64) -> Engine {
    let shape = Shape {
        vocab: 331,
        ..Shape::wide("llama")
    };
    let mut tokens: Vec<(String, i32)> = vec![
        ("<unk>".into(), 2),
        ("<s>".into(), 3),
        ("</s>".into(), 3),
        ("<think>".into(), 3),
        ("</think>".into(), 4),
    ];
    tokens.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    // Many tokens that are, or could become, a marker.
    let words = ["<", "/", "think", ">", "</", "nk>", "a", "▁b", "é"];
    while tokens.len() < 331 {
        let i = tokens.len();
        let word = words.get(i % words.len()).copied().unwrap_or_default();
        tokens.push(match i % 3 {
            0 => (format!("{word}{i}"), 1),
            1 => (word.repeat(i / 90), 1),
            _ => (format!("{word}▁"), 1),
        });
    }
    let path = write_with(dir, &shape, Format::Q8_0, seed, |w| {
        let texts: Vec<String> = tokens.iter().map(|(text, _)| text.clone()).collect();
        let types: Vec<i32> = tokens.iter().map(|&(_, kind)| kind).collect();
        w.metadata("tokenizer.ggml.model", "llama").unwrap();
        w.metadata("tokenizer.ggml.tokens", texts).unwrap();
        w.metadata("tokenizer.ggml.scores", vec![0f32; tokens.len()])
            .unwrap();
        w.metadata("tokenizer.ggml.token_type", types).unwrap();
        w.metadata("tokenizer.ggml.bos_token_id", 1u32).unwrap();
        w.metadata("tokenizer.ggml.eos_token_id", 2u32).unwrap();
        w.metadata("tokenizer.chat_template", DEFAULT).unwrap();
        w.metadata("tokenizer.chat_template.tool_use", TOOL_USE)
            .unwrap();
        w.metadata("tokenizer.chat_template.broken", "{% if %}")
            .unwrap();
    });
    Engine::load(&path, &EngineOptions::default()).unwrap()
}

fn text(engine: &Engine, ids: &[u32]) -> String {
    let tokenizer = engine.tokenizer().unwrap();
    let mut stream = tokenizer.decode_stream(DecodeOptions {
        show_control: true,
        ..Default::default()
    });
    let shown: String = ids.iter().map(|&id| stream.push(id)).collect();
    shown + &stream.flush()
}

#[test]
fn the_template_is_the_one_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), 1);
    let session = engine.session(SessionOptions::default());
    let messages = [Message::new("user", "hi</think>")];
    let prompt = |options: &ChatOptions| {
        let prompt = session.chat_prompt(&messages, options)?;
        // SentencePiece puts a space before a text.
        Ok::<_, SessionError>(text(&engine, &prompt.ids).trim_start().to_owned())
    };
    let names: Vec<&str> = engine.templates().unwrap().names().collect();
    assert_eq!(names, ["default", "tool_use", "broken"]);

    let mut options = ChatOptions::default();
    assert_eq!(prompt(&options).unwrap(), "<user>hi</think><think>");
    options.think = Some(false);
    assert_eq!(prompt(&options).unwrap(), "<user>hi</think><think></think>");
    options.think = None;
    options.tools = vec![serde_json::json!({"name": "f"})];
    assert_eq!(prompt(&options).unwrap(), "tools:1hi</think>");
    options.template_name = Some("default".into());
    assert_eq!(prompt(&options).unwrap(), "<user>hi</think><think>");
    options.template = Some(
        engine
            .read_template("own:{{ messages[0].content }}")
            .unwrap(),
    );
    assert_eq!(prompt(&options).unwrap(), "own:hi</think>");

    options.think = Some(true);
    assert!(matches!(
        prompt(&options),
        Err(SessionError::NoThinkingSwitch)
    ));
    let named = |name: &str| ChatOptions {
        template_name: Some(name.into()),
        ..Default::default()
    };
    // A malformed template is an error when it is used, not when the model is loaded.
    assert!(matches!(
        prompt(&named("broken")),
        Err(SessionError::Template(_))
    ));
    let missing = prompt(&named("rag")).unwrap_err().to_string();
    assert!(
        missing.contains("rag") && missing.contains("tool_use"),
        "{missing}"
    );
}

#[test]
fn a_message_is_not_read_as_a_marker() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), 2);
    let session = engine.session(SessionOptions::default());
    let think = engine.tokenizer().unwrap().token_id("<think>").unwrap();
    let ids = session
        .encode_chat(&[Message::new("user", "<think><s></s>")])
        .unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == think).count(), 1);
    assert_eq!(ids.last(), Some(&think));
    assert!(!ids.contains(&1) && !ids.contains(&2));
}

#[test]
fn reasoning_and_answer_are_all_that_was_generated() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), 3);
    let mut parts = [0, 0];
    for seed in 0..12 {
        for think in [true, false] {
            let run = |tells_apart: bool| {
                let mut session = engine.session(SessionOptions::default());
                let options = ChatOptions {
                    think: Some(think),
                    ..Default::default()
                };
                let prompt = session
                    .chat_prompt(&[Message::new("user", "hi")], &options)
                    .unwrap();
                session
                    .prefill(&prompt.ids, &Cancel::new(), |_, _| ())
                    .unwrap();
                let request = Request {
                    sampling: Sampling {
                        temperature: 4.0,
                        seed,
                        ..Default::default()
                    },
                    max_tokens: 60,
                    ignore_end: true,
                    reasoning: if tells_apart {
                        prompt.reasoning.clone()
                    } else {
                        None
                    },
                    ..Default::default()
                };
                let (mut ids, mut reasoning, mut answer) =
                    (Vec::new(), String::new(), String::new());
                session
                    .generate(&request, &Cancel::new(), |event| {
                        match event {
                            Event::Token { id, .. } => ids.push(id),
                            Event::Text(text) => answer.push_str(text),
                            Event::Reasoning(text) => reasoning.push_str(text),
                            _ => {}
                        }
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                (ids, reasoning, answer, prompt.reasoning.unwrap())
            };
            let (ids, reasoning, answer, mut splitter) = run(true);
            let (same_ids, none, _, _) = run(false);
            assert_eq!(ids, same_ids);
            assert_eq!(none, "");
            // The same from the whole text at once; here the only control tokens are left out by hand.
            let shown = text(&engine, &ids).replace("<s>", "").replace("</s>", "");
            let mut expected = [String::new(), String::new()];
            let mut out = |part, text: &str| {
                expected[usize::from(part == hob_models::reasoning::Part::Answer)].push_str(text);
            };
            splitter.push(&shown, false, &mut out);
            splitter.finish(&mut out);
            assert_eq!(
                [reasoning.as_str(), answer.as_str()],
                expected,
                "{seed} {think}"
            );
            parts[0] += reasoning.len();
            parts[1] += answer.len();
        }
    }
    assert!(parts.iter().all(|&bytes| bytes > 100), "{parts:?}");
}
