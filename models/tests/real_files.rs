//! Every model file in the directories of `HOB_TEST_MODELS` (separated by `:`) opens, and its directory
//! makes sense. Run with `HOB_TEST_MODELS=DIR cargo test -p hob-models --test real_files -- --ignored
//! --nocapture`.

use std::time::Instant;

use hob_models::gguf::Value;
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
