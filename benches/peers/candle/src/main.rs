//! Prefill and decode speed of a GGUF file in candle, in the words of `hob bench --json`.
//!
//! `hob-peer-candle FILE PROMPT GEN REPEAT`; threads are RAYON_NUM_THREADS. The models are those of
//! candle-transformers, unchanged; the tokens are `hob bench`'s. A file that candle cannot run is
//! an error in its words, on standard error, with status 1.

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Result, Tensor, bail};
use candle_transformers::models::{
    quantized_gemma3 as gemma3, quantized_llama as llama, quantized_qwen2 as qwen2,
    quantized_qwen3 as qwen3,
};
use std::time::Instant;

/// The models that hob runs too.
enum Model {
    Llama(llama::ModelWeights),
    Qwen2(qwen2::ModelWeights),
    Qwen3(qwen3::ModelWeights),
    Gemma3(gemma3::ModelWeights),
}

impl Model {
    fn load(path: &str) -> Result<Model> {
        let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
        let content = Content::read(&mut file)?;
        let arch = content.metadata.get("general.architecture");
        let arch = arch.map(Value::to_string).transpose()?.cloned();
        let cpu = &Device::Cpu;
        Ok(match arch.as_deref() {
            Some("llama") => Model::Llama(llama::ModelWeights::from_gguf(content, &mut file, cpu)?),
            Some("qwen2") => Model::Qwen2(qwen2::ModelWeights::from_gguf(content, &mut file, cpu)?),
            Some("qwen3") => Model::Qwen3(qwen3::ModelWeights::from_gguf(content, &mut file, cpu)?),
            Some("gemma3") => {
                Model::Gemma3(gemma3::ModelWeights::from_gguf(content, &mut file, cpu)?)
            }
            other => bail!("no quantized model of candle-transformers here for {other:?}"),
        })
    }

    /// The logits of the last token. At position 0 the keys and values of before are dropped.
    fn forward(&mut self, tokens: &[u32], pos: usize) -> Result<Tensor> {
        let x = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        match self {
            Model::Llama(m) => m.forward(&x, pos),
            Model::Qwen2(m) => m.forward(&x, pos),
            Model::Qwen3(m) => {
                if pos == 0 {
                    m.clear_kv_cache();
                }
                m.forward(&x, pos)
            }
            Model::Gemma3(m) => m.forward(&x, pos),
        }
    }
}

/// The most probable token.
fn greedy(logits: &Tensor) -> Result<u32> {
    logits.flatten_all()?.argmax(0)?.to_scalar()
}

/// The middle of a sample; the mean of the middle two of an even one.
fn median(mut xs: Vec<f64>) -> Option<f64> {
    xs.sort_by(f64::total_cmp);
    let n = xs.len();
    Some((xs.get(n / 2)? + xs.get(n.checked_sub(1)? / 2)?) / 2.0)
}

fn run(path: &str, prompt: usize, generate: usize, repeat: usize) -> Result<serde_json::Value> {
    let start = Instant::now();
    let mut model = Model::load(path)?;
    let load_s = start.elapsed().as_secs_f64();
    let vocab = model.forward(&[0], 0)?.elem_count() as u64;
    let ids: Vec<u32> = (0..prompt as u64)
        .map(|i| (i * 7919 % vocab) as u32)
        .collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    // One round more, first, that is not counted.
    for round in 0..=repeat {
        let start = Instant::now();
        let mut next = greedy(&model.forward(&ids, 0)?)?;
        let prefill_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for i in 0..generate {
            next = greedy(&model.forward(&[next], prompt + i)?)?;
        }
        let decode_s = start.elapsed().as_secs_f64();
        if round > 0 {
            prefill.push(prompt as f64 / prefill_s);
            decode.push(generate as f64 / decode_s);
        }
    }
    Ok(serde_json::json!({
        "prompt": prompt, "gen": generate, "repeat": repeat, "load_s": load_s,
        "threads": candle_core::utils::get_num_threads(),
        "prefill_tok_s": median(prefill), "decode_tok_s": median(decode),
    }))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Option<Vec<usize>> = args.iter().skip(1).map(|a| a.parse().ok()).collect();
    let (Some(path), Some([prompt, generate, repeat])) = (args.first(), numbers.as_deref()) else {
        eprintln!("usage: hob-peer-candle FILE PROMPT GEN REPEAT");
        std::process::exit(2);
    };
    let (prompt, generate, repeat) = (*prompt, *generate, *repeat);
    // In candle's own thread pool, as it advises for the passes of a model.
    match Device::Cpu.with_context(|| run(path, prompt, generate, repeat)) {
        Ok(report) => println!("{report}"),
        Err(e) => {
            eprintln!("candle: {e}");
            std::process::exit(1);
        }
    }
}
