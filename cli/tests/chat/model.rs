//! A model for tests of conversations: random weights, and a vocabulary of a few words beside the bytes, so
//! that it reads any text and answers with words. Its bits are the same on every machine.

use hob_models::format::{Format, quantize};
use hob_models::gguf::{GgufWriter, Owned, ValueType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::path::{Path, PathBuf};

const HIDDEN: u32 = 64;
const HEAD: u32 = 32;
const CONTEXT: u32 = 1 << 20;
const WORDS: &str = "red green blue wide narrow river mountain fox sings sleeps under over the a very old \
new moon, sun, star. never always";
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n\
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Tokens that are no words: three of SentencePiece's own, the bytes, the two of the template.
const OTHERS: usize = 3 + 256 + 2;

/// Writes the model and returns its path, and the sampling flags with which it answers in words.
pub(crate) fn write(folder: &Path) -> (PathBuf, Vec<String>) {
    let path = folder.join("tiny.gguf");
    // A name that would set the terminal's title.
    let flags = write_as(&path, "Tiny\u{1b}]0;OWNED\u{7} Words", "", |_| ());
    (path, flags)
}

/// The same under another name, with something behind each of its words, and with more metadata and
/// whatever else a file may have.
pub(crate) fn write_as(
    path: &Path,
    name: &str,
    behind: &str,
    more: impl FnOnce(&mut GgufWriter),
) -> Vec<String> {
    let words = WORDS.split(' ');
    let words: Vec<String> = words.map(|w| format!("\u{2581}{w}{behind}")).collect();
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    assert_eq!(tokens.len(), OTHERS);
    // GGUF's token types: 1 normal, 2 unknown, 3 control, 6 byte.
    let kinds = [
        vec![2, 3, 3],
        vec![6; 256],
        vec![3, 3],
        vec![1; words.len()],
    ]
    .concat();
    tokens.extend(words);
    let scores: Vec<Owned> = (0..tokens.len()).map(|i| Owned::F32(-(i as f32))).collect();
    let vocab = tokens.len() as u32;

    let mut w = GgufWriter::new();
    w.metadata("general.architecture", "llama").unwrap();
    w.metadata("general.name", name).unwrap();
    for (key, value) in [
        ("block_count", 1),
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", HIDDEN),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("attention.key_length", HEAD),
        ("attention.value_length", HEAD),
        ("rope.dimension_count", HEAD),
        ("vocab_size", vocab),
    ] {
        w.metadata(&format!("llama.{key}"), value).unwrap();
    }
    w.metadata("llama.attention.layer_norm_rms_epsilon", 1e-6f32)
        .unwrap();
    w.metadata("tokenizer.ggml.model", "llama").unwrap();
    let texts = tokens.iter().map(|t| Owned::Str(t.clone())).collect();
    w.metadata("tokenizer.ggml.tokens", Owned::Array(ValueType::Str, texts))
        .unwrap();
    w.metadata(
        "tokenizer.ggml.scores",
        Owned::Array(ValueType::F32, scores),
    )
    .unwrap();
    let kinds = kinds.into_iter().map(Owned::I32).collect();
    w.metadata(
        "tokenizer.ggml.token_type",
        Owned::Array(ValueType::I32, kinds),
    )
    .unwrap();
    for (key, id) in [
        ("unknown", 0u32),
        ("bos", 1),
        ("eos", 2),
        ("eot", OTHERS as u32 - 1),
    ] {
        w.metadata(&format!("tokenizer.ggml.{key}_token_id"), id)
            .unwrap();
    }
    w.metadata("tokenizer.chat_template", TEMPLATE).unwrap();
    more(&mut w);

    let mut tensors: Vec<(&str, Vec<u64>)> = Vec::new();
    for (name, rows, cols) in [
        ("token_embd.weight", vocab, HIDDEN),
        ("output.weight", vocab, HIDDEN),
        ("blk.0.attn_q.weight", 2 * HEAD, HIDDEN),
        ("blk.0.attn_k.weight", HEAD, HIDDEN),
        ("blk.0.attn_v.weight", HEAD, HIDDEN),
        ("blk.0.attn_output.weight", HIDDEN, 2 * HEAD),
        ("blk.0.ffn_gate.weight", HIDDEN, HIDDEN),
        ("blk.0.ffn_up.weight", HIDDEN, HIDDEN),
        ("blk.0.ffn_down.weight", HIDDEN, HIDDEN),
    ] {
        tensors.push((name, vec![cols.into(), rows.into()]));
    }
    for name in [
        "output_norm.weight",
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
    ] {
        tensors.push((name, vec![HIDDEN.into()]));
    }
    for (name, dims) in &tensors {
        w.tensor(name, Format::F32, dims).unwrap();
    }
    let mut data = w.begin(std::fs::File::create(path).unwrap()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for (_, dims) in &tensors {
        let n: u64 = dims.iter().product();
        let (mid, spread) = if dims.len() == 1 {
            (1.0, 0.2)
        } else {
            (0.0, 0.3)
        };
        let x: Vec<f32> = (0..n)
            .map(|_| mid + spread * (rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0))
            .collect();
        let mut bytes = vec![0; n as usize * 4];
        quantize(Format::F32, &x, &mut bytes).unwrap();
        data.tensor(&bytes).unwrap();
    }
    data.finish().unwrap();
    let never: Vec<String> = (0..OTHERS).map(|id| format!("{id}:-inf")).collect();
    let flags = [
        "--temperature",
        "1",
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--logit-bias",
    ];
    let flags = flags
        .map(str::to_owned)
        .into_iter()
        .chain([never.join(",")]);
    flags.collect()
}
