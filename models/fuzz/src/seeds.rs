//! Writes small valid files into `corpus/TARGET/`, so that the fuzzer starts behind the first checks.

use std::path::Path;

use hob_kernels::format::Format;
use hob_models::gguf::{GgufWriter, Owned, ValueType};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let dir = Path::new("corpus").join(target);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(name), bytes)
    };
    let mut w = GgufWriter::new();
    w.metadata("general.architecture", "llama")?
        .metadata("general.alignment", 8u32)?;
    w.metadata("u", 7u8)?
        .metadata("i", -7i64)?
        .metadata("f", 0.5f64)?
        .metadata("b", true)?;
    w.metadata("s", vec![String::from("a"), String::from("bc")])?
        .metadata("l", vec![1i32, 2])?;
    w.metadata(
        "n",
        Owned::Array(ValueType::Array, vec![vec![1u16].into(), vec![true].into()]),
    )?;
    w.metadata("split.no", 0u16)?
        .metadata("split.count", 1u16)?;
    let shapes = [
        ("m", Format::Q8_0, &[32u64, 17][..]),
        ("v", Format::F32, &[5]),
        ("e", Format::F16, &[32, 16, 2]),
    ];
    let mut sizes = Vec::new();
    for (name, format, dims) in shapes {
        sizes.push(w.tensor(name, format, dims)? as usize);
    }
    let mut data = w.begin(Vec::new())?;
    for size in sizes {
        data.tensor(&vec![0x5a; size])?;
    }
    let (gguf, _) = data.finish()?;
    put("gguf", "small", &gguf)?;
    put("packed", "gguf", &gguf)?;
    for format in Format::ALL {
        let mut w = GgufWriter::new();
        let size = w.tensor("t", format, &[256, 16])? as usize;
        let mut data = w.begin(Vec::new())?;
        data.tensor(&vec![1; size])?;
        put("gguf", format.name(), &data.finish()?.0)?;
    }

    let header = br#"{"a":{"dtype":"F16","shape":[16,32],"data_offsets":[0,1024]},"b":{"dtype":"I8","shape":[8],"data_offsets":[1024,1032]}}"#;
    let mut shard = (header.len() as u64).to_le_bytes().to_vec();
    shard.extend(header);
    shard.extend([0; 1032]);
    let index = br#"{"weight_map":{"a":"a.safetensors","b":"a.safetensors"}}"#;
    put("packed", "safetensors", &shard)?;
    put(
        "safetensors",
        "indexed",
        &[&(index.len() as u16).to_le_bytes()[..], index, &shard].concat(),
    )?;
    put("safetensors", "alone", &[&[0, 0][..], &shard].concat())?;

    // Of each model, with parts of each kind, and a text after the zero byte.
    let ends = r#""added_tokens":[{"id":9,"content":"<s>","special":true,"lstrip":true},{"id":10,"content":"x<s>"}]"#;
    let bpe = r#""model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"<0x0A>":3,"<unk>":4,"Ġ":5},"merges":["a b"],"byte_fallback":true,"unk_token":"<unk>"}"#;
    let unigram = r#""model":{"type":"Unigram","vocab":[["<unk>",0.0],["a",-1.0],["▁a",-2.5],["ab",-1.5]],"unk_id":0}"#;
    let words = r###""model":{"type":"WordPiece","vocab":{"[UNK]":0,"a":1,"##b":2},"unk_token":"[UNK]","max_input_chars_per_word":5}"###;
    let split = |regex: &str| {
        format!(
            r#"{{"type":"Split","pattern":{{"Regex":"{regex}"}},"behavior":"MergedWithNext","invert":true}}"#
        )
    };
    let normalizers = r#""normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Replace","pattern":{"Regex":"a+|b"},"content":"bb"},{"type":"Prepend","prepend":"▁"},{"type":"BertNormalizer"}]}"#;
    let files = [
        format!("{{{ends},{bpe}}}"),
        format!("{{{ends},{bpe},{normalizers}}}"),
        format!(r#"{{{bpe},"pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":true}}}}"#),
        format!(
            r#"{{{bpe},"pre_tokenizer":{}}}"#,
            split(r"\p{L}+|.*x|\s+(?!\S)|\s+")
        ),
        format!(
            r#"{{{unigram},"pre_tokenizer":{{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}}}}"#
        ),
        format!(r#"{{{ends},{words},"pre_tokenizer":{{"type":"BertPreTokenizer"}}}}"#),
    ];
    for (i, file) in files.iter().enumerate() {
        let input = format!("{file}\0a <s> ab\u{301}  abb\nx<s>\u{200b}");
        put("tokenizer", &i.to_string(), input.as_bytes())?;
    }
    Ok(())
}
