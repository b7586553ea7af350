//! Types that hold a user's words show none of them, and cannot be written anywhere by accident.

mod common;

use common::{Shape, write};
use hob::{
    Cancel, ChatOptions, Completion, Engine, EngineOptions, Event, Finish, Json, Message, Request,
    SessionOptions, render_chat,
};
use hob_models::format::Format;
use std::fmt::Debug;

const CANARY: &str = "kingfisher";

/// Fails to compile if the type has the trait: then two functions would fit.
macro_rules! has_not {
    ($type:ty, $($trait:path),+) => {
        $(const _: fn() = || {
            trait Ambiguous<Marker> {
                fn fits() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct HasIt;
            impl<T: ?Sized + $trait> Ambiguous<HasIt> for T {}
            let _ = <$type as Ambiguous<_>>::fits;
        };)+
    };
}

has_not!(Message, std::fmt::Display, serde::Serialize);
has_not!(hob::ChatPrompt, std::fmt::Display, serde::Serialize);
has_not!(ChatOptions, std::fmt::Display, serde::Serialize);
has_not!(Request, std::fmt::Display, serde::Serialize);
has_not!(Event<'_>, std::fmt::Display, serde::Serialize);
has_not!(Finish, std::fmt::Display, serde::Serialize);
has_not!(Completion, std::fmt::Display, serde::Serialize);
has_not!(hob::Session, std::fmt::Display, serde::Serialize);
has_not!(hob::ReasoningSplitter, std::fmt::Display, serde::Serialize);
has_not!(
    hob_models::tokenizer::Span,
    std::fmt::Display,
    serde::Serialize
);
has_not!(
    hob::privacy::secret::SecretBytes,
    std::fmt::Display,
    serde::Serialize
);

#[track_caller]
fn shows_nothing(value: &dyn Debug) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!shown.contains(CANARY), "{shown}");
        // Nor as token ids.
        assert!(!shown.contains("107, 105, 110"), "{shown}");
        assert!(!shown.is_empty());
    }
}

#[test]
fn what_types_show_is_no_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &Shape::wide("llama"), Format::Q8_0, 1);
    let engine = Engine::load(&path, &EngineOptions::default()).unwrap();
    let mut session = engine.session(SessionOptions::default());
    session
        .prefill(&[107, 105, 110], &Cancel::new(), |_, _| ())
        .unwrap();
    shows_nothing(&session);

    let message = Message::new("user", CANARY).with(CANARY, CANARY);
    shows_nothing(&message);
    shows_nothing(&vec![Some(message.clone())]);
    let options = ChatOptions {
        tools: vec![Json::from(CANARY)],
        variables: [(CANARY.to_owned(), Json::from(CANARY))].into(),
        ..ChatOptions::default()
    };
    shows_nothing(&options);
    shows_nothing(&Request {
        stop: vec![CANARY.to_owned()],
        ..Request::default()
    });
    shows_nothing(&Event::Text(CANARY));
    shows_nothing(&Event::Reasoning(CANARY));
    shows_nothing(&Completion {
        tokens: 1,
        finish: Finish::Stop(CANARY.to_owned()),
    });
    shows_nothing(&hob::ChatPrompt {
        ids: vec![107, 105, 110],
        reasoning: None,
    });
    let template = hob::ChatTemplate::new("{{ messages[0]['content'] }}", "", "").unwrap();
    let spans = render_chat(&template, &[message], true, &ChatOptions::default()).unwrap();
    assert_eq!(spans[0].text, CANARY);
    shows_nothing(&spans);
    let mut secret = hob::privacy::secret::SecretBytes::zeroed(CANARY.len()).unwrap();
    secret.copy_from_slice(CANARY.as_bytes());
    shows_nothing(&secret);
}
