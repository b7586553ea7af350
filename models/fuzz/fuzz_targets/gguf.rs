//! Any bytes as a GGUF file.
#![no_main]

use hob_models::files::ModelFiles;
use hob_models::gguf::Gguf;
use hob_models::mapping::Bytes;
use hob_models::weights::Weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    hob_models_fuzz::one_thread();
    let bytes = Bytes::from(data.to_vec());
    match Gguf::parse(&bytes) {
        Ok(g) => hob_models_fuzz::check_gguf(&g, data.len()),
        Err(e) => drop(e.to_string()),
    }
    if let Ok(w) = ModelFiles::from_bytes("f.gguf", bytes).and_then(Weights::parse) {
        hob_models_fuzz::check_weights(w);
    }
});
