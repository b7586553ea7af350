//! Any bytes as a packed file: as they are, and behind a preamble that is right for them (a fuzzer does not
//! guess a SHA-256).
#![no_main]

use std::path::Path;

use hob_models::files::{Kind, ModelFile, ModelFiles};
use hob_models::mapping::Bytes;
use hob_models::packed::{Preamble, unpack_to};
use hob_models::weights::Weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    hob_models_fuzz::one_thread();
    open(data.to_vec());
    let Some(kind) = Kind::of(data).filter(|k| *k != Kind::Packed) else {
        return;
    };
    for shift in [0, 32] {
        let preamble = Preamble {
            kind,
            original_bytes: data.len() as u64,
            sha256: None,
            shift,
        };
        open([&preamble.to_bytes()[..], data].concat());
    }
});

fn open(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let Ok(file) = ModelFile::from_bytes(Path::new("f.hob"), bytes.clone()) else {
        return;
    };
    let mut original = Vec::new();
    let unpacked = unpack_to(&file, &mut original, &());
    let weights = ModelFiles::from_bytes("f.hob", bytes).and_then(Weights::parse);
    if file.kind == Kind::Packed {
        // What runs can be had back. Not the reverse: one part of a split model unpacks, but is no model.
        assert!(unpacked.is_ok() || weights.is_err());
    }
    match weights {
        Ok(w) => hob_models_fuzz::check_weights(w),
        Err(e) => drop(e.to_string()),
    }
}
