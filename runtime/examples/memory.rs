//! Knowing what a model needs before loading it.
//!
//!     cargo run --release -p hob --example memory -- MODEL

use hob::{Engine, EngineOptions, available_memory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("usage: memory MODEL")?;
    let plan = Engine::memory_plan(model, &EngineOptions::default())?;
    println!(
        "weights mapped {} B, packed in memory {} B",
        plan.mapped, plan.packed
    );
    println!(
        "vectors {} B, working memory {} B",
        plan.vectors, plan.working
    );
    for context in [512, 4096, 32_768, 131_072] {
        println!(
            "context {context:>6}: cache {:>12} B, in all {:>12} B",
            plan.kv(context),
            plan.total(context)
        );
    }
    match available_memory() {
        Some(bytes) => println!("this machine has {bytes} B available"),
        None => println!("this system does not say how much memory is available"),
    }
    Ok(())
}
