//! Log-probabilities of each token and its alternatives, stop strings, and two continuations of
//! one past: a fork shares the pages of its parent.
//!
//!     cargo run --release -p hob --example choices -- MODEL

use hob::{Cancel, Engine, EngineOptions, Event, Request, Sampling, SessionOptions};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("usage: choices MODEL")?;
    let engine = Engine::load(model, &EngineOptions::default())?;
    let tokenizer = engine.tokenizer().ok_or("the model has no tokenizer")?;
    let show =
        |id: u32| String::from_utf8_lossy(tokenizer.piece(id).unwrap_or_default()).into_owned();

    let mut session = engine.session(SessionOptions::default());
    let prompt = session.encode("The three primary colours are red,")?;
    session.prefill(&prompt, &Cancel::new(), |_, _| ())?;
    let mut other = session.fork();

    let request = Request {
        sampling: Sampling::greedy(),
        max_tokens: 12,
        stop: vec![".".into()],
        log_probs: Some(3),
        ..Request::default()
    };
    let done = session.generate(&request, &Cancel::new(), |event| {
        if let Event::Token {
            id,
            logprob: Some(own),
            top,
        } = event
        {
            let others: Vec<String> = top
                .iter()
                .map(|t| format!("{:?} {:.2}", show(t.id), t.logprob))
                .collect();
            println!(
                "{:>12?} {:.2}   of {}",
                show(id),
                own.logprob,
                others.join(", ")
            );
        }
        ControlFlow::Continue(())
    })?;
    println!("{:?}", done.finish);

    // Warmer than the model's makers would have it, without what is improbable, and no loops.
    let warm = Request {
        sampling: Sampling {
            temperature: 1.0,
            min_p: 0.1,
            dry_multiplier: 0.8,
            seed: 7,
            ..engine.sampling_defaults().clone()
        },
        max_tokens: 12,
        ..Request::default()
    };
    other.generate(&warm, &Cancel::new(), |event| {
        if let Event::Text(text) = event {
            print!("{text}");
        }
        ControlFlow::Continue(())
    })?;
    println!();
    Ok(())
}
