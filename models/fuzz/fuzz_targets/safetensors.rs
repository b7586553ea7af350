//! Any bytes as an index (length: the first two bytes) and one safetensors shard.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use hob_models::files::{ModelFile, ModelFiles};
use hob_models::mapping::Bytes;
use hob_models::weights::Weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    hob_models_fuzz::one_thread();
    let Some((&len, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (index, shard) = rest.split_at(usize::from(u16::from_le_bytes(len)).min(rest.len()));
    let Ok(shard) = ModelFile::from_bytes(Path::new("a.safetensors"), Bytes::from(shard.to_vec()))
    else {
        return;
    };
    let mut side = BTreeMap::new();
    if !index.is_empty() {
        side.insert("model.safetensors.index.json", Bytes::from(index.to_vec()));
        side.insert("config.json", Bytes::from(index.to_vec()));
    }
    match Weights::parse(ModelFiles::from_parts(Path::new("dir"), vec![shard], side)) {
        Ok(w) => hob_models_fuzz::check_weights(w),
        Err(e) => drop(e.to_string()),
    }
});
