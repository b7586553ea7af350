//! Tokenizers against published vectors: llama.cpp's `models/ggml-vocab-*.gguf` with their `.inp`
//! (texts) and `.out` (token ids, made by the models' own tokenizers). The files are not part of
//! hob; the variable `HOB_VOCABS` names the directory that holds them.

use std::{fs, path::Path, time::Instant};

use hob_models::{
    files::{Keep, ModelFile},
    gguf::Gguf,
    tokenizer::{EncodeOptions, Tokenizer, TokenizerError, TokenizerSource},
};

/// Vocabularies that must be there and supported.
const REQUIRED: [&str; 7] = [
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "phi-3",
    "qwen2",
    "command-r",
    "starcoder",
];

#[test]
fn published_vectors_are_met() {
    let Some(directory) = std::env::var_os("HOB_VOCABS") else {
        eprintln!("HOB_VOCABS is not set: published vectors are not checked");
        return;
    };
    let mut names: Vec<String> = fs::read_dir(&directory)
        .expect("HOB_VOCABS is a directory")
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| {
            Some(
                name.strip_prefix("ggml-vocab-")?
                    .strip_suffix(".gguf.inp")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    let mut failures = Vec::new();
    let mut checked = Vec::new();
    for name in names {
        let path = Path::new(&directory).join(format!("ggml-vocab-{name}.gguf"));
        let file = ModelFile::open(&path, Keep::Mapped).unwrap();
        let gguf = Gguf::parse(&file.bytes).unwrap();
        let start = Instant::now();
        let source = TokenizerSource::from_gguf(&gguf).unwrap();
        let read = start.elapsed();
        let tokenizer = match Tokenizer::new(&source) {
            Ok(tokenizer) => tokenizer,
            Err(
                error @ (TokenizerError::UnknownModel { .. } | TokenizerError::UnknownPre { .. }),
            ) => {
                println!(
                    "{name:16} refused: {}",
                    error.to_string().split(" (").next().unwrap()
                );
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let built = start.elapsed();
        let input = fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
        let output = fs::read_to_string(path.with_extension("gguf.out")).unwrap();
        let texts = input.split("\n__ggml_vocab_test__\n");
        let (mut total, mut passed) = (0, 0);
        for (text, expected) in texts.zip(output.lines()) {
            let expected: Vec<u32> = expected
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect();
            let found = tokenizer.encode(text, EncodeOptions::default()).unwrap();
            total += 1;
            if found == expected {
                passed += 1;
            } else {
                failures.push(format!(
                    "{name}: {text:?}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
            // BERT's tokenizer keeps neither case nor white space.
            if name != "bert-bge" {
                assert_eq!(
                    tokenizer.decode(&found),
                    text,
                    "{name}: the text comes back"
                );
            }
        }
        println!(
            "{name:16} {passed}/{total} vectors, {} tokens, read {read:.1?}, built in {:.1?}",
            tokenizer.vocab_size(),
            built - read,
        );
        checked.push(name);
    }
    for name in REQUIRED {
        assert!(
            checked.iter().any(|checked| checked == name),
            "{name} was not checked"
        );
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
