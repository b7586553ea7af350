//! Small random models for tests: every architecture, any format, shapes that divide nothing.
#![allow(dead_code)]

use hob_kernels::format::{self, Format};
use hob_models::gguf::GgufWriter;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

/// The shape of a test model. Rows of matrices are deliberately not multiples of 16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) arch: &'static str,
    pub(crate) layers: u32,
    pub(crate) hidden: u32,
    pub(crate) ffn: u32,
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) vocab: u32,
    pub(crate) window: Option<u32>,
    pub(crate) tied: bool,
    pub(crate) context: u32,
}

pub(crate) const ARCHS: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

impl Shape {
    /// Rows of whole 256-blocks, so that every format fits.
    pub(crate) fn wide(arch: &'static str) -> Shape {
        Shape {
            arch,
            layers: if arch == "gemma3" { 6 } else { 2 },
            hidden: 256,
            ffn: 512,
            heads: 6,
            kv_heads: 2,
            head_dim: 32,
            vocab: 331,
            window: (arch == "gemma3").then_some(40),
            tied: arch != "llama",
            context: 131_072,
        }
    }
}

/// Writes the model with every matrix in `format` (vectors in F32) and returns its path.
pub(crate) fn write(dir: &Path, shape: &Shape, format: Format, seed: u64) -> PathBuf {
    write_with(dir, shape, format, seed, |w| {
        w.metadata("tokenizer.ggml.model", "none").unwrap();
    })
}

/// The same with metadata of a tokenizer and a template.
pub(crate) fn write_with(
    dir: &Path,
    shape: &Shape,
    format: Format,
    seed: u64,
    text: impl FnOnce(&mut GgufWriter),
) -> PathBuf {
    let s = *shape;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0;
    let mut tensors: Vec<(String, Vec<u64>, Format, f32, f32)> = Vec::new();
    let (q, kv) = (s.heads * s.head_dim, s.kv_heads * s.head_dim);
    let mut matrix = |name: String, rows: u32, cols: u32| {
        // Q projections of 6 heads x 32 have 192 columns: whole blocks of 32 but not of 256.
        let format = if (cols as usize).is_multiple_of(format.block_len()) {
            format
        } else {
            Format::Q8_0
        };
        let spread = 1.7 / (cols as f32).sqrt();
        tensors.push((name, vec![cols.into(), rows.into()], format, 0.0, spread));
    };
    matrix("token_embd.weight".into(), s.vocab, s.hidden);
    if !s.tied {
        matrix("output.weight".into(), s.vocab, s.hidden);
    }
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
            matrix(format!("blk.{l}.{part}.weight"), rows, cols);
        }
    }
    let mut vector = |name: String, n: u32, mid: f32| {
        tensors.push((name, vec![n.into()], Format::F32, mid, 0.3))
    };
    vector("output_norm.weight".into(), s.hidden, 1.0);
    for l in 0..s.layers {
        let mut all = vec![
            ("attn_norm.weight", s.hidden, 1.0),
            ("ffn_norm.weight", s.hidden, 1.0),
        ];
        if s.arch == "qwen2" {
            all.extend([
                ("attn_q.bias", q, 0.0),
                ("attn_k.bias", kv, 0.0),
                ("attn_v.bias", kv, 0.0),
            ]);
        }
        if matches!(s.arch, "qwen3" | "gemma3") {
            all.extend([
                ("attn_q_norm.weight", s.head_dim, 1.0),
                ("attn_k_norm.weight", s.head_dim, 1.0),
            ]);
        }
        if s.arch == "gemma3" {
            all.extend([
                ("post_attention_norm.weight", s.hidden, 1.0),
                ("post_ffw_norm.weight", s.hidden, 1.0),
            ]);
        }
        for (part, n, mid) in all {
            vector(format!("blk.{l}.{part}"), n, mid);
        }
    }
    let mut w = GgufWriter::new();
    let key = |k: &str| format!("{}.{k}", s.arch);
    w.metadata("general.architecture", s.arch).unwrap();
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
        w.metadata(&key(k), v).unwrap();
    }
    w.metadata(&key("attention.layer_norm_rms_epsilon"), 1e-6f32)
        .unwrap();
    if let Some(n) = s.window {
        w.metadata(&key("attention.sliding_window"), n).unwrap();
    }
    text(&mut w);
    for (name, dims, format, ..) in &tensors {
        w.tensor(name, *format, dims).unwrap();
    }
    let path = dir.join(format!("{}-{}-{seed}.gguf", s.arch, format.name()));
    let mut data = w.begin(std::fs::File::create(&path).unwrap()).unwrap();
    for (_, dims, format, mid, spread) in &tensors {
        let n: u64 = dims.iter().product();
        let x: Vec<f32> = (0..n).map(|_| mid + spread * uniform()).collect();
        let mut bytes = vec![0; n as usize / format.block_len() * format.block_bytes()];
        format::quantize(*format, &x, &mut bytes).unwrap();
        data.tensor(&bytes).unwrap();
    }
    data.finish().unwrap();
    path
}

/// Deterministic token ids.
pub(crate) fn ids(n: usize, vocab: u32) -> Vec<u32> {
    (0..n as u64)
        .map(|i| ((i * 7919 + i * i * 31) % u64::from(vocab)) as u32)
        .collect()
}
