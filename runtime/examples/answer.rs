//! The least that gets an answer: load, render the conversation, read it, stream.
//!
//!     cargo run --release -p hob --example answer -- MODEL "What is the capital of France?"

use hob::{Cancel, Engine, EngineOptions, Event, Message, Request, SessionOptions};
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(question)) = (args.next(), args.next()) else {
        return Err("usage: answer MODEL QUESTION".into());
    };
    let engine = Engine::load(model, &EngineOptions::default())?;
    let mut session = engine.session(SessionOptions::default());
    let prompt = session.encode_chat(&[Message::new("user", &question)])?;
    session.prefill(&prompt, &Cancel::new(), |_, _| ())?;
    let mut out = std::io::stdout();
    let done = session.generate(&Request::default(), &Cancel::new(), |event| {
        if let Event::Text(text) = event {
            // A reader that went away ends the answer.
            if out
                .write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .is_err()
            {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    println!("\n({} tokens, {:?})", done.tokens, done.finish);
    Ok(())
}
