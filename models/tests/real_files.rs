//! Every model file in the directories of `HOB_TEST_MODELS` (separated by `:`) opens, and its directory
//! makes sense. Run with `HOB_TEST_MODELS=DIR cargo test -p hob-models --test real_files -- --ignored
//! --nocapture`.

use std::time::Instant;

use hob_models::files::{Keep, ModelFile};
use hob_models::gguf::Value;
use hob_models::packed::{PackOptions, pack_file, verify};
use hob_models::weights::Weights;

#[test]
#[ignore = "needs model files: HOB_TEST_MODELS"]
fn real_files_open_and_their_tensors_are_where_they_say() {
    let dirs = std::env::var("HOB_TEST_MODELS").expect("HOB_TEST_MODELS names directories");
    let mut seen = 0;
    for entry in dirs.split(':').flat_map(|d| std::fs::read_dir(d).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gguf") {
            continue;
        }
        let start = Instant::now();
        let weights = Weights::open(&path).unwrap_or_else(|e| panic!("{e}"));
        let took = start.elapsed();
        let gguf = weights.gguf().unwrap();
        println!(
            "{}: v{} {} keys, {} tensors ({} unsupported), {} MB, {:.1} ms, arch {:?}",
            path.file_name().unwrap().display(),
            gguf.version(),
            gguf.metadata().count(),
            weights.tensors().len(),
            weights.unsupported().count(),
            weights.tensor_bytes() >> 20,
            took.as_secs_f64() * 1e3,
            gguf.str_("general.architecture").unwrap(),
        );
        for (key, value) in gguf.metadata() {
            assert_eq!(gguf.get(key), Some(value), "{key}");
            if let Value::Array(a) = value {
                assert_eq!(a.iter().count(), a.len(), "{key}");
            }
        }
        for t in weights.tensors() {
            assert_eq!(
                weights.tensor(&t.name).unwrap().bytes.start(),
                t.bytes.start()
            );
            assert_eq!(
                t.format.row_bytes(t.cols()).unwrap() * t.rows() * t.matrices(),
                t.bytes.len()
            );
        }
        seen += 1;
    }
    assert!(seen > 0, "no .gguf files in {dirs}");
}

#[test]
#[ignore = "needs model files: HOB_TEST_MODELS"]
fn real_files_pack_and_come_back_bit_for_bit() {
    let dirs = std::env::var("HOB_TEST_MODELS").expect("HOB_TEST_MODELS names directories");
    let out = tempfile::tempdir().unwrap();
    for entry in dirs.split(':').flat_map(|d| std::fs::read_dir(d).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gguf") {
            continue;
        }
        let file = ModelFile::open(&path, Keep::Mapped).unwrap();
        let rate = |start: Instant| file.bytes.len() as f64 / 1e9 / start.elapsed().as_secs_f64();

        let start = Instant::now();
        let weights = Weights::open(&path).unwrap().packed_in_memory(&()).unwrap();
        let in_memory = rate(start);
        let resident = resident_bytes();

        let dst = out.path().join("packed");
        let start = Instant::now();
        let hashed = PackOptions {
            hash: true,
            expect: None,
        };
        let sha = pack_file(&file, &dst, hashed, &()).unwrap().sha256.unwrap();
        let written = rate(start);
        let packed = ModelFile::open(&dst, Keep::Mapped).unwrap();
        let start = Instant::now();
        assert_eq!(verify(&packed, &()).unwrap(), sha);
        println!(
            "{}: {} MB, in memory {in_memory:.2} GB/s ({} MB resident), to a file {written:.2} GB/s, verified {:.2} GB/s",
            path.file_name().unwrap().display(),
            file.bytes.len() >> 20,
            resident >> 20,
            rate(start),
        );
        let from_store = Weights::open(&dst).unwrap();
        for t in weights.tensors() {
            let other = from_store.tensor(&t.name).unwrap();
            assert!(
                t.layout == other.layout && t.bytes[..] == other.bytes[..],
                "{}",
                t.name
            );
        }
    }
}

/// Bytes of this process that are in memory now; 0 where that is not known.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<usize>().ok())
        .unwrap_or(0)
        << 10
}
