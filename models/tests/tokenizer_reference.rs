//! Tokenizers against another implementation's answers, in bulk: `HOB_TOKENIZER_CASES` names a JSON
//! file `[{"gguf" or "json": path, "cases": [[text, parse_special, ids], ...]}, ...]`. Not part of hob:
//! such a file is made with llama.cpp (for GGUF) or Hugging Face's `tokenizers` (for tokenizer.json).

use std::path::Path;

use hob_models::{
    files::{Keep, ModelFile},
    gguf::Gguf,
    tokenizer::{EncodeOptions, Tokenizer},
};
use serde_json::Value;

/// Differences shown for each vocabulary.
const SHOWN: usize = 8;

#[test]
fn another_implementation_agrees() {
    let Some(path) = std::env::var_os("HOB_TOKENIZER_CASES") else {
        eprintln!("HOB_TOKENIZER_CASES is not set: no reference to compare with");
        return;
    };
    let file: Value = serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
    let mut all_differ = 0;
    for model in file.as_array().unwrap() {
        let path = Path::new(
            model
                .get("gguf")
                .unwrap_or(&model["json"])
                .as_str()
                .unwrap(),
        );
        let start = std::time::Instant::now();
        let tokenizer = if model.get("gguf").is_some() {
            let gguf = Gguf::parse(&ModelFile::open(path, Keep::Mapped).unwrap().bytes).unwrap();
            Tokenizer::from_gguf(&gguf).unwrap()
        } else {
            Tokenizer::from_tokenizer_json(&std::fs::read(path).unwrap(), None).unwrap()
        };
        println!("{}: read in {:.1?}", path.display(), start.elapsed());
        let cases = model["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        let mut differ = 0;
        for case in cases {
            let text = case[0].as_str().unwrap();
            let parse_special = case[1].as_bool().unwrap();
            let expected: Vec<u32> = case[2]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_u64().unwrap() as u32)
                .collect();
            let options = EncodeOptions {
                special: false,
                parse_special,
            };
            let found = tokenizer.encode(text, options).unwrap();
            if found != expected {
                differ += 1;
                let from = found
                    .iter()
                    .zip(&expected)
                    .take_while(|(a, b)| a == b)
                    .count();
                let show = |ids: &[u32]| -> Vec<String> {
                    let ids = ids.iter().skip(from.saturating_sub(1)).take(6);
                    ids.map(|&id| {
                        let piece = tokenizer.piece(id).unwrap_or_default();
                        format!("{id}:{:?}", String::from_utf8_lossy(piece))
                    })
                    .collect()
                };
                if differ <= SHOWN {
                    println!(
                        "{}: special {parse_special} {:?}\n   expected {:?}\n   found    {:?}",
                        path.display(),
                        text.chars().take(60).collect::<String>(),
                        show(&expected),
                        show(&found)
                    );
                }
            }
        }
        println!(
            "{}: {}/{}",
            path.display(),
            cases.len() - differ,
            cases.len()
        );
        all_differ += differ;
    }
    assert_eq!(all_differ, 0, "texts are tokenized differently");
}
