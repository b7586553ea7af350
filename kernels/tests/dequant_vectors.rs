//! Dequantizing equals gguf-py's bit for bit, and so does quantizing where gguf-py can.
//!
//! The vectors are gguf-py's own output (`benches/conformance/dequant_vectors.py`): a few checked in
//! under `tests/data/`, which every test run reads; and many, from the directory that
//! `HOB_DEQUANT_VECTORS` names or, if it is not set and `python3` has gguf-py, made on the spot.

use std::path::Path;
use std::process::Command;

use hob_kernels::format::{self, Format};

/// The formats that gguf-py quantizes by the same definition.
const QUANTIZED: [Format; 7] = [
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::F16,
    Format::BF16,
];

/// All but F32, which has no vectors: its blocks are the floats.
fn with_vectors() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|f| *f != Format::F32)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "{} bytes are no whole f32s", bytes.len());
    chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The two columns of a checked-in file, each as one run of bytes.
fn columns(name: &str) -> (Vec<u8>, Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let hex = |s: &str| -> Vec<u8> {
        assert!(s.len().is_multiple_of(2), "{name}: half a byte");
        (0..s.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap())
            .collect()
    };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (a, b) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("{name}: no two columns"));
        left.extend(hex(a));
        right.extend(hex(b));
    }
    assert!(!left.is_empty(), "{name} holds no vectors");
    (left, right)
}

fn assert_dequantizes(f: Format, blocks: &[u8], expected: &[f32]) {
    let elements = blocks.len() / f.block_bytes() * f.block_len();
    assert!(
        elements > 0 && elements == expected.len(),
        "{f}: {elements} and {}",
        expected.len()
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

fn assert_quantizes(f: Format, x: &[f32], expected: &[u8]) {
    let mut blocks = vec![0; f.row_bytes(x.len()).unwrap()];
    format::quantize(f, x, &mut blocks).unwrap();
    assert_eq!(blocks.len(), expected.len(), "{f}");
    let (len, bytes) = (f.block_len(), f.block_bytes());
    for (i, (a, b)) in blocks.chunks(bytes).zip(expected.chunks(bytes)).enumerate() {
        assert_eq!(a, b, "{f}, block {i}: {:?}", &x[i * len..(i + 1) * len]);
    }
}

fn assert_directory(dir: &Path) {
    let read = |name: String| {
        let path = dir.join(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("test vectors: {}: {e}", path.display()))
    };
    for f in with_vectors() {
        assert_dequantizes(
            f,
            &read(format!("{f}.blocks")),
            &floats(&read(format!("{f}.f32"))),
        );
    }
    // A directory of another maker may have none to quantize; with one, all must be there.
    let has = |f: &Format| dir.join(format!("{f}.quantize.f32")).exists();
    if !QUANTIZED.iter().any(has) {
        eprintln!("{} holds no vectors for quantizing", dir.display());
        return;
    }
    for f in QUANTIZED {
        let x = floats(&read(format!("{f}.quantize.f32")));
        assert_quantizes(f, &x, &read(format!("{f}.quantize.blocks")));
    }
}

#[test]
fn dequantizing_equals_gguf_py() {
    for f in with_vectors() {
        let (blocks, expected) = columns(&format!("{f}.dequantize.txt"));
        assert_dequantizes(f, &blocks, &floats(&expected));
    }
}

#[test]
fn quantizing_equals_gguf_py() {
    for f in QUANTIZED {
        let (x, expected) = columns(&format!("{f}.quantize.txt"));
        assert_quantizes(f, &floats(&x), &expected);
    }
}

/// More blocks than are worth checking in, with another seed. CI's conformance stage brings
/// gguf-py; without it, the two tests above are all there is, and this one says so.
#[test]
fn many_more_equal_gguf_py() {
    if let Some(dir) = std::env::var_os("HOB_DEQUANT_VECTORS") {
        return assert_directory(Path::new(&dir));
    }
    let has_gguf = Command::new("python3").args(["-c", "import gguf"]).output();
    if !has_gguf.is_ok_and(|o| o.status.success()) {
        eprintln!("no gguf-py: only the checked-in vectors are tested");
        return;
    }
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/conformance/dequant_vectors.py");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dequant_vectors");
    let made = Command::new("python3")
        .arg(script)
        .arg("--raw")
        .arg(&dir)
        .args(["--seed", "2", "--blocks", "400"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    assert_directory(&dir);
}
