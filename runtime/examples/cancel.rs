//! Stopping from another thread: generation ends within about one token, and the session goes on
//! from where it was.
//!
//!     cargo run --release -p hob --example cancel -- MODEL

use hob::{Cancel, Engine, EngineOptions, Event, Request, SessionOptions};
use std::ops::ControlFlow;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("usage: cancel MODEL")?;
    let engine = Engine::load(model, &EngineOptions::default())?;
    let mut session = engine.session(SessionOptions::default());
    let prompt = session.encode("Once upon a time")?;
    session.prefill(&prompt, &Cancel::new(), |_, _| ())?;

    let cancel = Cancel::new();
    let from_elsewhere = cancel.clone();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        from_elsewhere.cancel();
    });
    let show = |event: Event<'_>| {
        if let Event::Text(text) = event {
            print!("{text}");
        }
        ControlFlow::Continue(())
    };
    let done = session.generate(
        &Request {
            ignore_end: true,
            ..Request::default()
        },
        &cancel,
        show,
    )?;
    println!("\n-- {:?} after {} tokens", done.finish, done.tokens);
    timer.join().map_err(|_| "the timer failed")?;

    // The same session continues.
    cancel.reset();
    let done = session.generate(
        &Request {
            max_tokens: 20,
            ..Request::default()
        },
        &cancel,
        show,
    )?;
    println!("\n-- {:?} after {} tokens", done.finish, done.tokens);
    Ok(())
}
