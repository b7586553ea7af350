//! A `tokenizer.json` and a text, separated by a zero byte: neither breaks the tokenizer, no text takes
//! long, and none becomes a control token.
#![no_main]

use hob_models::tokenizer::{EncodeOptions, TokenKind, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    hob_models_fuzz::one_thread();
    let (json, text) = match data.iter().position(|&byte| byte == 0) {
        Some(at) => data.split_at(at),
        None => (data, &b""[..]),
    };
    let Ok(tokenizer) = Tokenizer::from_tokenizer_json(json, Some(br#"{"bos_token": "<s>"}"#))
    else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let Ok(ids) = tokenizer.encode(&text, EncodeOptions::default()) else {
        return;
    };
    let is_control = |id: &u32| tokenizer.kind(*id) == Some(TokenKind::Control);
    assert!(
        !ids.iter()
            .any(|id| is_control(id) && tokenizer.unk() != Some(*id))
    );
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    tokenizer.decode(&ids);
});
