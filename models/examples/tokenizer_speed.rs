//! How long a tokenizer takes to load from a GGUF file, and how fast it encodes and decodes a text:
//! `cargo run --release -p hob-models --example tokenizer_speed -- model.gguf text.txt`

use std::time::{Duration, Instant};

use hob_models::{
    files::{Keep, ModelFile},
    gguf::Gguf,
    tokenizer::{EncodeOptions, Tokenizer, TokenizerSource},
};

/// The processor time of this thread (Linux), which a busy machine does not stretch as it does wall
/// time.
fn processor_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = schedstat
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tokenizer_speed model.gguf text.txt".into());
    };
    let text = std::fs::read_to_string(text)?;
    let file = ModelFile::open(model.as_ref(), Keep::Mapped)?;
    for run in 0..3 {
        let (start, processor) = (Instant::now(), processor_time());
        let gguf = Gguf::parse(&file.bytes)?;
        let parsed = start.elapsed();
        let source = TokenizerSource::from_gguf(&gguf)?;
        let listed = start.elapsed();
        let tokenizer = Tokenizer::new(&source)?;
        let built = start.elapsed();
        let processor = processor_time() - processor;
        let ids = tokenizer.encode(&text, EncodeOptions::default())?;
        let first = start.elapsed();
        println!(
            "load {run}: {} tokens in {built:.1?} ({processor:.1?} of processor time; header {parsed:.1?}, lists {:.1?}, tokenizer {:.1?}); first text of {} bytes, {} tokens: {:.1?}",
            tokenizer.vocab_size(),
            listed - parsed,
            built - listed,
            text.len(),
            ids.len(),
            first - built,
        );
        if run == 2 {
            let repeats = 1 + 20_000_000 / text.len().max(1);
            let start = processor_time();
            for _ in 0..repeats {
                std::hint::black_box(tokenizer.encode(&text, EncodeOptions::default())?);
            }
            let seconds = (processor_time() - start).as_secs_f64() / repeats as f64;
            println!("encode: {:.2} MB/s", text.len() as f64 / 1e6 / seconds);
            let start = processor_time();
            for _ in 0..10_000 {
                std::hint::black_box(
                    tokenizer.encode("Hello, world! How are you?", EncodeOptions::default())?,
                );
            }
            println!(
                "encode 26 bytes: {:.2?}",
                (processor_time() - start) / 10_000
            );
            let start = processor_time();
            for _ in 0..repeats {
                std::hint::black_box(tokenizer.decode(&ids));
            }
            let seconds = (processor_time() - start).as_secs_f64() / repeats as f64;
            println!("decode: {:.2} M tokens/s", ids.len() as f64 / 1e6 / seconds);
        }
    }
    Ok(())
}
