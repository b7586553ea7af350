//! Files that the tests read, made by hob's own writer or by hand.
#![allow(dead_code, unreachable_pub)] // each test file uses some

use std::path::Path;

use hob_models::format::Format;
use hob_models::gguf::{GgufWriter, Owned, ValueType};

/// Bytes that look like nothing in particular, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Every metadata type, nested and empty arrays among them.
pub fn metadata() -> Vec<(&'static str, Owned)> {
    let nested = Owned::Array(
        ValueType::Array,
        vec![vec![1u32, 2].into(), vec![String::from("inner")].into()],
    );
    vec![
        ("general.architecture", "llama".into()),
        ("t.u8", 200u8.into()),
        ("t.i8", (-100i8).into()),
        ("t.u16", 60_000u16.into()),
        ("t.i16", (-30_000i16).into()),
        ("t.u32", 4_000_000_000u32.into()),
        ("t.i32", (-2_000_000_000i32).into()),
        ("t.f32", 1.5f32.into()),
        ("t.bool", true.into()),
        ("t.u64", u64::MAX.into()),
        ("t.i64", i64::MIN.into()),
        ("t.f64", 2.5f64.into()),
        (
            "a.strings",
            vec![String::from("hällo"), String::new(), String::from("wörld")].into(),
        ),
        ("a.empty", Vec::<f32>::new().into()),
        ("a.bools", vec![true, false, true].into()),
        ("a.i8", vec![-1i8, 2, -3].into()),
        ("a.u64", vec![1u64, 1 << 40].into()),
        ("a.f32", vec![0.5f32, -0.25].into()),
        ("a.nested", nested),
    ]
}

/// Tensors of several formats and shapes, contiguous dimension first: matrices with and without a last
/// partial tile, experts, vectors, and matrices too small to be packed.
pub const TENSORS: [(&str, Format, &[u64]); 9] = [
    ("token_embd.weight", Format::Q6K, &[256, 37]),
    ("blk.0.attn_norm.weight", Format::F32, &[256]),
    ("blk.0.attn_q.weight", Format::Q4K, &[512, 48]),
    ("blk.0.ffn_up_exps.weight", Format::Q8_0, &[64, 18, 3]),
    ("blk.0.conv.weight", Format::F32, &[4, 64]),
    ("blk.0.attn_k.weight", Format::F16, &[40, 16]),
    ("blk.0.tiny.weight", Format::BF16, &[64, 3]),
    ("blk.0.four.weight", Format::F32, &[3, 5, 2, 2]),
    ("output.weight", Format::Iq4Xs, &[256, 33]),
];

/// A GGUF with these metadata and tensors; the tensors' bytes are noise seeded by their position.
pub fn gguf(metadata: &[(&str, Owned)], tensors: &[(&str, Format, &[u64])]) -> Vec<u8> {
    let mut w = GgufWriter::new();
    for (key, value) in metadata {
        w.metadata(key, value.clone()).unwrap();
    }
    let sizes: Vec<u64> = tensors
        .iter()
        .map(|(name, f, dims)| w.tensor(name, *f, dims).unwrap())
        .collect();
    let mut data = w.begin(Vec::new()).unwrap();
    for (i, size) in sizes.into_iter().enumerate() {
        data.tensor(&noise(size as usize, i as u64 + 1)).unwrap();
    }
    data.finish().unwrap().0
}

/// The file that most tests use.
pub fn sample() -> Vec<u8> {
    gguf(&metadata(), &TENSORS)
}

/// A safetensors file: name, type, shape (outermost first) and bytes of each tensor.
pub fn safetensors(tensors: &[(&str, &str, &[u64], &[u8])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let info = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] });
        header.insert((*name).to_owned(), info);
    }
    let mut text = serde_json::to_vec(&header).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    out.extend(data);
    out
}

/// Writes a file, and returns its path.
pub fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
