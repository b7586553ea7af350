//! `hob synth`: a model of a well-known shape with random weights, so that any shape can be
//! measured with no download. Speed does not depend on the values of weights.
//!
//! Each format's blocks come from a pool of properly quantized normal numbers, drawn in a random
//! order; tensors differ, and every block is one that a real file could hold.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use hob_models::format::{self, Format};
use hob_models::gguf::GgufWriter;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct SynthArgs {
    /// The shape
    #[arg(value_enum)]
    shape: ShapeName,
    /// A block format, or llama.cpp's mixture Q4_K_M
    #[arg(long, default_value = "Q4_K_M")]
    format: String,
    /// Where to write the GGUF file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Starts the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ShapeName {
    #[value(name = "smollm2-135m")]
    Smollm2_135m,
    #[value(name = "llama-3.2-1b")]
    Llama32_1b,
    #[value(name = "qwen3-0.6b")]
    Qwen3_06b,
    #[value(name = "qwen3-4b")]
    Qwen3_4b,
    #[value(name = "llama-3.1-8b")]
    Llama31_8b,
    #[value(name = "gemma-3-1b")]
    Gemma3_1b,
}

/// The published hyper-parameters of a model (each family's `config.json`).
struct Shape {
    name: &'static str,
    arch: &'static str,
    layers: u32,
    hidden: u32,
    ffn: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    context: u32,
    rope_theta: f32,
    eps: f32,
    tied: bool,
    window: Option<u32>,
}

impl ShapeName {
    #[rustfmt::skip]
    fn shape(self) -> Shape {
        match self {
            ShapeName::Smollm2_135m => Shape { name: "smollm2-135m", arch: "llama", layers: 30, hidden: 576, ffn: 1536, heads: 9, kv_heads: 3, head_dim: 64, vocab: 49_152, context: 8192, rope_theta: 100_000.0, eps: 1e-5, tied: true, window: None },
            ShapeName::Llama32_1b => Shape { name: "llama-3.2-1b", arch: "llama", layers: 16, hidden: 2048, ffn: 8192, heads: 32, kv_heads: 8, head_dim: 64, vocab: 128_256, context: 131_072, rope_theta: 500_000.0, eps: 1e-5, tied: true, window: None },
            ShapeName::Llama31_8b => Shape { name: "llama-3.1-8b", arch: "llama", layers: 32, hidden: 4096, ffn: 14_336, heads: 32, kv_heads: 8, head_dim: 128, vocab: 128_256, context: 131_072, rope_theta: 500_000.0, eps: 1e-5, tied: false, window: None },
            ShapeName::Qwen3_06b => Shape { name: "qwen3-0.6b", arch: "qwen3", layers: 28, hidden: 1024, ffn: 3072, heads: 16, kv_heads: 8, head_dim: 128, vocab: 151_936, context: 40_960, rope_theta: 1_000_000.0, eps: 1e-6, tied: true, window: None },
            ShapeName::Qwen3_4b => Shape { name: "qwen3-4b", arch: "qwen3", layers: 36, hidden: 2560, ffn: 9728, heads: 32, kv_heads: 8, head_dim: 128, vocab: 151_936, context: 40_960, rope_theta: 1_000_000.0, eps: 1e-6, tied: true, window: None },
            ShapeName::Gemma3_1b => Shape { name: "gemma-3-1b", arch: "gemma3", layers: 26, hidden: 1152, ffn: 6912, heads: 4, kv_heads: 1, head_dim: 256, vocab: 262_144, context: 32_768, rope_theta: 1_000_000.0, eps: 1e-6, tied: true, window: Some(512) },
        }
    }
}

/// Which format each tensor gets.
enum Mixture {
    Uniform(Format),
    /// llama.cpp's Q4_K_M: Q4_K, with Q6_K for the output matrix and for the value and
    /// down projections of the layers that `use_more_bits` picks.
    Q4KM,
}

impl Mixture {
    fn parse(name: &str) -> anyhow::Result<Mixture> {
        if name.eq_ignore_ascii_case("Q4_K_M") {
            return Ok(Mixture::Q4KM);
        }
        match Format::from_name(&name.to_ascii_uppercase()) {
            Some(f) => Ok(Mixture::Uniform(f)),
            None => {
                let known: Vec<_> = Format::ALL.iter().map(|f| f.name()).collect();
                bail!(
                    "no format `{name}`: use Q4_K_M or one of {}",
                    known.join(", ")
                )
            }
        }
    }

    fn of(&self, name: &str, layer: Option<(u32, u32)>, cols: u32, tied: bool) -> Format {
        let wanted = match self {
            Mixture::Uniform(f) => *f,
            Mixture::Q4KM => {
                let more_bits =
                    |(i, n): (u32, u32)| i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
                let output = name == "output.weight" || (tied && name == "token_embd.weight");
                let sensitive = name.contains("attn_v") || name.contains("ffn_down");
                if output || (sensitive && layer.is_some_and(more_bits)) {
                    Format::Q6K
                } else {
                    Format::Q4K
                }
            }
        };
        // Rows that are not whole superblocks get what llama.cpp falls back to.
        if (cols as usize).is_multiple_of(wanted.block_len()) {
            return wanted;
        }
        match wanted {
            Format::Q6K => Format::Q8_0,
            Format::Q5K => Format::Q5_1,
            Format::Q4K => Format::Q5_0,
            _ => Format::Iq4Nl,
        }
    }
}

/// Blocks in a pool: enough that repetition shows nowhere.
const POOL_BLOCKS: usize = 4096;

/// Quantized blocks of normal numbers of a standard deviation usual for weights.
fn pool(format: Format, rng: &mut ChaCha8Rng) -> anyhow::Result<Vec<u8>> {
    let n = POOL_BLOCKS * format.block_len();
    // Twelve uniform numbers sum to nearly a normal one of variance 1.
    let mut normal = || {
        (0..12)
            .map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX))
            .sum::<f64>()
            - 6.0
    };
    let x: Vec<f32> = (0..n).map(|_| (normal() * 0.02) as f32).collect();
    let mut blocks = vec![0; POOL_BLOCKS * format.block_bytes()];
    format::quantize(format, &x, &mut blocks)?;
    Ok(blocks)
}

struct Tensor {
    name: String,
    dims: Vec<u64>,
    format: Format,
}

fn tensors(s: &Shape, mix: &Mixture) -> Vec<Tensor> {
    let mut out = Vec::new();
    let mut matrix = |name: String, rows: u32, cols: u32, layer: Option<u32>| {
        let format = mix.of(&name, layer.map(|l| (l, s.layers)), cols, s.tied);
        out.push(Tensor {
            name,
            dims: vec![u64::from(cols), u64::from(rows)],
            format,
        });
    };
    matrix("token_embd.weight".into(), s.vocab, s.hidden, None);
    if !s.tied {
        matrix("output.weight".into(), s.vocab, s.hidden, None);
    }
    let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    for l in 0..s.layers {
        for (part, rows, cols) in [
            ("attn_q", q, s.hidden),
            ("attn_k", kv, s.hidden),
            ("attn_v", kv, s.hidden),
            ("attn_output", s.hidden, q),
            ("ffn_gate", s.ffn, s.hidden),
            ("ffn_up", s.ffn, s.hidden),
            ("ffn_down", s.hidden, s.ffn),
        ] {
            matrix(format!("blk.{l}.{part}.weight"), rows, cols, Some(l));
        }
    }
    let mut vector = |name: String, n: u32| {
        out.push(Tensor {
            name,
            dims: vec![u64::from(n)],
            format: Format::F32,
        })
    };
    vector("output_norm.weight".into(), s.hidden);
    for l in 0..s.layers {
        let mut norms = vec![("attn_norm", s.hidden), ("ffn_norm", s.hidden)];
        if matches!(s.arch, "qwen3" | "gemma3") {
            norms.extend([("attn_q_norm", s.head_dim), ("attn_k_norm", s.head_dim)]);
        }
        if s.arch == "gemma3" {
            norms.extend([
                ("post_attention_norm", s.hidden),
                ("post_ffw_norm", s.hidden),
            ]);
        }
        for (part, n) in norms {
            vector(format!("blk.{l}.{part}.weight"), n);
        }
    }
    out
}

fn metadata(s: &Shape, w: &mut GgufWriter) -> anyhow::Result<()> {
    let key = |k: &str| format!("{}.{k}", s.arch);
    w.metadata("general.architecture", s.arch)?;
    w.metadata("general.name", format!("{} shape, random weights", s.name))?;
    for (k, v) in [
        ("block_count", s.layers),
        ("context_length", s.context),
        ("embedding_length", s.hidden),
        ("feed_forward_length", s.ffn),
        ("attention.head_count", s.heads),
        ("attention.head_count_kv", s.kv_heads),
        ("attention.key_length", s.head_dim),
        ("attention.value_length", s.head_dim),
        ("rope.dimension_count", s.head_dim),
        ("vocab_size", s.vocab),
    ] {
        w.metadata(&key(k), v)?;
    }
    w.metadata(&key("attention.layer_norm_rms_epsilon"), s.eps)?;
    w.metadata(&key("rope.freq_base"), s.rope_theta)?;
    if let Some(n) = s.window {
        w.metadata(&key("attention.sliding_window"), n)?;
    }
    // No text goes in or out of random weights.
    w.metadata("tokenizer.ggml.model", "none")?;
    Ok(())
}

pub(crate) fn run(args: &SynthArgs) -> anyhow::Result<()> {
    let shape = args.shape.shape();
    let mix = Mixture::parse(&args.format)?;
    let tensors = tensors(&shape, &mix);
    let name = || format!("cannot write {}", args.out.display());
    let folder = args
        .out
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(".".as_ref());
    let mut writer = GgufWriter::new();
    metadata(&shape, &mut writer)?;
    let mut total = 0u64;
    for t in &tensors {
        writer.tensor(&t.name, t.format, &t.dims)?;
        let elements: u64 = t.dims.iter().product();
        total += elements / t.format.block_len() as u64 * t.format.block_bytes() as u64;
    }
    let free = rustix::fs::statvfs(folder)
        .map(|v| v.f_bavail * v.f_frsize)
        .unwrap_or(u64::MAX);
    if total > free {
        bail!(
            "{} needs {total} bytes and its disk has {free} free",
            args.out.display()
        );
    }
    let file = tempfile::NamedTempFile::new_in(folder).with_context(name)?;
    let mut body = writer
        .begin(BufWriter::with_capacity(1 << 20, file))
        .with_context(name)?;
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut pools: Vec<(Format, Vec<u8>)> = Vec::new();
    let mut data = Vec::new();
    for t in &tensors {
        data.clear();
        let elements: u64 = t.dims.iter().product();
        if t.dims.len() == 1 {
            // Norms near one, as trained ones are.
            for _ in 0..elements {
                let x = 1.0 + (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.2;
                data.extend_from_slice(&x.to_le_bytes());
            }
        } else {
            if !pools.iter().any(|(f, _)| *f == t.format) {
                let blocks = pool(t.format, &mut rng)?;
                pools.push((t.format, blocks));
            }
            let blocks = pools
                .iter()
                .find(|(f, _)| *f == t.format)
                .map(|(_, b)| b.as_slice())
                .unwrap_or_default();
            let size = t.format.block_bytes();
            data.reserve((elements as usize / t.format.block_len()) * size);
            for _ in 0..elements as usize / t.format.block_len() {
                let at = rng.next_u32() as usize % POOL_BLOCKS * size;
                data.extend_from_slice(blocks.get(at..at + size).unwrap_or_default());
            }
        }
        body.tensor(&data).with_context(name)?;
    }
    let (mut out, total) = body.finish().with_context(name)?;
    out.flush().with_context(name)?;
    let file = out
        .into_inner()
        .map_err(|e| e.into_error())
        .with_context(name)?;
    file.as_file().sync_all().with_context(name)?;
    file.persist(&args.out)
        .map_err(|e| e.error)
        .with_context(name)?;
    println!(
        "{}: {} tensors, {total} bytes",
        crate::terminal::PlainLine(&args.out.display().to_string()),
        tensors.len()
    );
    Ok(())
}
