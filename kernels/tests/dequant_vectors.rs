//! Dequantization equals gguf-py's bit for bit, on random and extreme blocks.
//!
//! Vectors: the checked-in ones under `tests/data/` always; with `HOB_DEQUANT_VECTORS=dir` also
//! those that `benches/conformance/dequant_vectors.py --raw dir` wrote there.

use hob_kernels::format::{self, Format};
use std::path::Path;

/// Floats from little-endian bytes.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "{} bytes are no whole f32s", bytes.len());
    chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn assert_dequantizes(f: Format, blocks: &[u8], expected: &[f32]) {
    let elements = blocks.len() / f.block_bytes() * f.block_len();
    assert_eq!(
        elements,
        expected.len(),
        "{f}: blocks and floats differ in number"
    );
    let mut out = vec![0.0; elements];
    format::dequantize(f, blocks, &mut out).unwrap();
    for (i, (a, b)) in out.iter().zip(expected).enumerate() {
        assert!(
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            "{f}, block {}, element {}: {a:e} ({:08x}), gguf-py has {b:e} ({:08x})",
            i / f.block_len(),
            i % f.block_len(),
            a.to_bits(),
            b.to_bits()
        );
    }
}

#[test]
fn equals_the_vectors_in_the_directory_named_by_the_environment() {
    let Some(dir) = std::env::var_os("HOB_DEQUANT_VECTORS") else {
        return;
    };
    let read = |name: String| {
        let path = Path::new(&dir).join(name);
        std::fs::read(&path)
            .unwrap_or_else(|e| panic!("HOB_DEQUANT_VECTORS: {}: {e}", path.display()))
    };
    for f in Format::ALL.into_iter().filter(|f| *f != Format::F32) {
        assert_dequantizes(
            f,
            &read(format!("{f}.blocks")),
            &floats(&read(format!("{f}.f32"))),
        );
    }
}
