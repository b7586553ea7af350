//! A session outlives the program: the first run reads a text and saves the session's state, every later
//! one goes on from there without reading it again.
//!
//!     cargo run --release -p hob --example resume -- MODEL STATE "Some long text"
//!
//! The state contains the text: keep it as you would keep that.

use hob::{Cancel, Engine, EngineOptions, Event, Request, Sampling, SessionOptions, StateError};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: resume MODEL STATE TEXT";
    let (model, state) = (args.next().ok_or(usage)?, args.next().ok_or(usage)?);
    let text = args.next().ok_or(usage)?;
    let engine = Engine::load(model, &EngineOptions::default())?;
    // Else the first save or restore hashes the weights.
    engine.fingerprint();

    let start = Instant::now();
    let saved = match File::open(&state) {
        Ok(file) => engine.restore(file, SessionOptions::default()),
        Err(e) => Err(StateError::Io(e)),
    };
    let mut session = match saved {
        Ok(session) => session,
        Err(why) => {
            println!("{why}");
            engine.session(SessionOptions::default())
        }
    };
    let ids = session.engine().session(session.options()).encode(&text)?;
    let kept = session.resume(&ids, &Cancel::new(), |_, _| ())?;
    println!(
        "{kept} of {} tokens were there already; ready after {:.0} ms",
        ids.len(),
        start.elapsed().as_secs_f64() * 1e3
    );
    session.save(File::create(&state)?)?;

    let request = Request {
        sampling: Sampling::greedy(),
        max_tokens: 20,
        ..Request::default()
    };
    session.generate(&request, &Cancel::new(), |event| {
        if let Event::Text(text) = event {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
        ControlFlow::Continue(())
    })?;
    println!();
    Ok(())
}
