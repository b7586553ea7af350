//! `hob show`: what a model is, what it needs, and the plan of its forward pass.

use crate::args::EngineArgs;
use crate::confined::ConfinementArgs;
use crate::model::Model;
use crate::terminal::{Plain, PlainJson, PlainLine, bytes};
use clap::Args;
use hob::{ChatTemplates, Inspection};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Model file, or a name from the store
    model: PathBuf,
    /// Print the plan: the operations as the architecture declares them, and as the CPU runs them
    #[arg(long)]
    plan: bool,
    /// Context sizes to give exact memory figures for
    #[arg(long, value_delimiter = ',', default_values_t = [512, 4096, 32768])]
    context: Vec<u32>,
    /// Print a JSON object
    #[arg(long, conflicts_with = "plan")]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let model = Model::find(&args.model)?;
    let stored = &model.installed;
    let options = args.engine.options(1);
    let begun = args.confinement.begin()?;
    let opened = model.open(args.engine.verify)?;
    let files = begun.packed(opened.files().clone(), &options)?;
    begun.confine_reader()?;
    model.settle(opened)?;
    let seen = Inspection::of(files, &options)?;
    let (hp, memory) = (&seen.model.hparams, &seen.memory);
    if args.json {
        let formats: serde_json::Map<_, _> = seen
            .formats
            .iter()
            .map(|f| {
                (
                    f.name.to_owned(),
                    serde_json::json!({ "tensors": f.tensors, "bytes": f.bytes }),
                )
            })
            .collect();
        let at: Vec<_> = args
            .context
            .iter()
            .map(|&n| serde_json::json!({ "context": n, "kv_bytes": memory.kv(n as usize), "total_bytes": memory.total(n as usize) }))
            .collect();
        let stored = stored.as_ref().map(super::list::report);
        let report = serde_json::json!({
            "store": stored, "name": seen.name, "architecture": hp.arch, "parameters": seen.parameters,
            "layers": hp.n_layers, "hidden": hp.hidden, "ffn": hp.ffn,
            "heads": hp.n_heads, "kv_heads": hp.n_kv_heads, "head_dim": hp.head_dim_k,
            "vocab": hp.vocab, "context": hp.context, "rope_theta": hp.rope.theta,
            "sliding_window": hp.sliding_window, "formats": formats, "packed_file": seen.packed_file,
            "tokenizer": seen.tokenizer, "chat_template": seen.templates.is_some(), "chat_templates": seen.templates.iter().flat_map(ChatTemplates::names).collect::<Vec<_>>(),
            "memory": { "mapped": memory.mapped, "packed": memory.packed, "vectors": memory.vectors, "working": memory.working, "at": at },
        });
        println!("{}", PlainJson(&report));
        return Ok(());
    }
    let row = |key: &str, value: String| println!("{key:<16}{}", PlainLine(&value));
    row(
        "name",
        seen.name.clone().unwrap_or_else(|| "(none given)".into()),
    );
    row("architecture", hp.arch.clone());
    row(
        "parameters",
        format!("{:.1} million", seen.parameters as f64 / 1e6),
    );
    row(
        "layers",
        format!("{}, hidden {}, MLP {}", hp.n_layers, hp.hidden, hp.ffn),
    );
    row(
        "attention",
        format!(
            "{} heads, {} key/value heads, width {}",
            hp.n_heads, hp.n_kv_heads, hp.head_dim_k
        ),
    );
    if let Some(w) = hp.sliding_window {
        let local = hp.global_layers.iter().filter(|&&g| !g).count();
        let which = if hp.global_layers.is_empty() {
            "all".to_owned()
        } else {
            format!("{local}")
        };
        row("", format!("window of {w} positions in {which} layers"));
    }
    row(
        "rope",
        format!(
            "{} dimensions, base {}, scaling {:?}",
            hp.rope.dims, hp.rope.theta, hp.rope.scaling
        ),
    );
    row("vocabulary", format!("{} tokens", hp.vocab));
    row("tokenizer", seen.tokenizer.clone());
    row(
        "chat template",
        seen.templates
            .as_ref()
            .map_or("none (a base model)".to_owned(), templates),
    );
    row("context", format!("{} positions", hp.context));
    for f in &seen.formats {
        row(
            "format",
            format!(
                "{:<6} {:>4} tensors {:>10}",
                f.name,
                f.tensors,
                bytes(f.bytes)
            ),
        );
    }
    row(
        "layout",
        if seen.packed_file {
            "packed (16-row tiles)"
        } else {
            "row-major"
        }
        .to_owned(),
    );
    if let Some(model) = stored {
        show_stored(model, &row);
    }
    println!();
    println!(
        "Memory in bytes ({} threads, batch {}, {:?} cache)",
        seen.threads, options.batch, options.kv
    );
    row("weights mapped", memory.mapped.to_string());
    row("weights packed", memory.packed.to_string());
    row("vectors", memory.vectors.to_string());
    row("working", memory.working.to_string());
    for &n in &args.context {
        let n = n as usize;
        row(
            &format!("at {n}"),
            format!(
                "{} of cache, {} in all ({})",
                memory.kv(n),
                memory.total(n),
                bytes(memory.total(n))
            ),
        );
    }
    if args.plan {
        println!("\nPlan\n{}", Plain(&seen.plan_text()));
        println!("Lowered for the CPU\n{}", Plain(&seen.program_text()));
    }
    Ok(())
}

/// What the store's manifest says.
fn show_stored(model: &crate::store::Installed, row: &dyn Fn(&str, String)) {
    let m = &model.manifest;
    println!("\nStore");
    row("stored as", m.name.clone());
    row("path", model.path.display().to_string());
    row("source", m.source.clone());
    row("licence", m.licence.clone());
    if !m.quant.is_empty() {
        row("quantization", m.quant.clone());
    }
    for file in &m.files {
        row(
            "original",
            format!("{}, {} bytes", file.original, file.size),
        );
        row("SHA-256", file.sha256.clone());
        if let Some(place) = &file.shared_with {
            row("shared with", place.clone());
        }
    }
}

/// The templates in words: whether there are several, and what the default says of reasoning.
fn templates(all: &ChatTemplates) -> String {
    let template = match all.get(None, false) {
        Ok(template) => template,
        Err(e) => return format!("one that hob cannot use: {e}"),
    };
    let mut text = match all.names().skip(1).collect::<Vec<_>>() {
        others if others.is_empty() => "yes".to_owned(),
        others => format!("yes, and {}", others.join(", ")),
    };
    if template.reasoning().is_some() {
        text.push_str("; reasoning");
        if let Some(switch) = template.thinking_switch() {
            text.push_str(&format!(
                ", switched by `{}` (--think, --no-think)",
                switch.variable
            ));
        }
    }
    text
}
