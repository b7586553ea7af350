//! How a model's makers would have its tokens chosen, from whichever files it came in.
//!
//! In: `generation_config.json` beside safetensors (Hugging Face's GenerationConfig), or a GGUF's keys
//! `general.sampling.*` (llama.cpp pull request 17120). Out: pairs of hob's name for a parameter and its
//! value as text, in the order in which they apply. Values are not judged here; what is of an
//! unexpected type is as if it were not there.

use crate::gguf::{Gguf, Value};
use crate::weights::{Source, Weights};

/// The settings of the model's files; none if they say nothing.
pub fn settings(weights: &Weights) -> Vec<(&'static str, String)> {
    match weights.source() {
        Source::Gguf(gguf) => of_gguf(gguf),
        Source::Safetensors(files) => files
            .file("generation_config.json")
            .and_then(|b| serde_json::from_slice(b.as_ref()).ok())
            .map(|json| of_config(&json))
            .unwrap_or_default(),
    }
}

fn of_gguf(gguf: &Gguf) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let get = |key: &str| gguf.get(&format!("general.sampling.{key}"));
    for (key, name) in [
        ("temp", "temperature"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("xtc_probability", "xtc_probability"),
        ("xtc_threshold", "xtc_threshold"),
        ("penalty_repeat", "repetition_penalty"),
        ("mirostat_tau", "mirostat_tau"),
        ("mirostat_eta", "mirostat_eta"),
    ] {
        found.extend(get(key).and_then(number).map(|x| (name, x)));
    }
    let int = |key: &str| get(key).and_then(|v| v.as_int());
    // 0 and below: off.
    found.extend(int("top_k").map(|k| ("top_k", k.max(0).to_string())));
    // Below 0: all.
    let window = |n: i128| {
        if n < 0 {
            "all".to_owned()
        } else {
            n.to_string()
        }
    };
    found.extend(int("penalty_last_n").map(|n| ("penalty_window", window(n))));
    let switch = |n: i128| if n == 0 { "off" } else { "on" }.to_owned();
    found.extend(int("mirostat").map(|n| ("mirostat", switch(n))));
    if let Some(Value::Str(sequence)) = get("sequence") {
        // Penalties come first in any case, and are no part of hob's order.
        let steps: Vec<_> = sequence
            .split(';')
            .map(str::trim)
            .filter(|s| !matches!(*s, "" | "penalties" | "dry"))
            .collect();
        found.push(("order", steps.join(",")));
    }
    found
}

fn number(value: Value<'_>) -> Option<String> {
    match value {
        Value::F32(x) => Some(x.to_string()),
        Value::F64(x) => Some(x.to_string()),
        other => other.as_int().map(|x| x.to_string()),
    }
}

fn of_config(json: &serde_json::Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let number = |key: &str| {
        json.get(key)
            .filter(|v| v.is_number())
            .map(|v| v.to_string())
    };
    // The defaults of GenerationConfig, which a model that says only that it samples means.
    let samples = json.get("do_sample").and_then(|v| v.as_bool());
    let default = |value: &str| samples.unwrap_or(false).then(|| value.to_owned());
    if samples == Some(false) {
        // Greedy, whatever else it says.
        found.push(("temperature", "0".to_owned()));
    } else {
        let temperature = number("temperature").or_else(|| default("1"));
        found.extend(temperature.map(|x| ("temperature", x)));
    }
    found.extend(
        number("top_k")
            .or_else(|| default("50"))
            .map(|x| ("top_k", x)),
    );
    found.extend(
        number("top_p")
            .or_else(|| default("1"))
            .map(|x| ("top_p", x)),
    );
    found.extend(number("min_p").map(|x| ("min_p", x)));
    found.extend(number("typical_p").map(|x| ("typical_p", x)));
    if let Some(x) = number("repetition_penalty") {
        // There, it looks at the whole text.
        found.extend([
            ("repetition_penalty", x),
            ("penalty_window", "all".to_owned()),
        ]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Vec<(&'static str, String)> {
        of_config(&serde_json::from_str(text).unwrap())
    }

    fn pairs<const N: usize>(of: [(&'static str, &str); N]) -> Vec<(&'static str, String)> {
        of.map(|(name, value)| (name, value.to_owned())).into()
    }

    #[test]
    fn a_generation_config_means_what_transformers_makes_of_it() {
        assert_eq!(config("{}"), []);
        assert_eq!(
            config(r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}"#),
            pairs([("temperature", "0.6"), ("top_k", "20"), ("top_p", "0.95")])
        );
        assert_eq!(
            config(r#"{"do_sample": true, "top_k": 64, "top_p": 0.95}"#),
            pairs([("temperature", "1"), ("top_k", "64"), ("top_p", "0.95")])
        );
        assert_eq!(
            config(r#"{"do_sample": false, "temperature": 0.6}"#),
            pairs([("temperature", "0")])
        );
        assert_eq!(
            config(r#"{"repetition_penalty": 1.05, "temperature": "hot"}"#),
            pairs([("repetition_penalty", "1.05"), ("penalty_window", "all")])
        );
        assert_eq!(config("[1]"), []);
    }

    #[test]
    fn the_keys_of_a_gguf_mean_what_llama_cpp_makes_of_them() {
        let mut w = crate::gguf::GgufWriter::new();
        let key = |k: &str| format!("general.sampling.{k}");
        w.metadata(&key("temp"), 0.6f32).unwrap();
        w.metadata(&key("top_p"), 1u32).unwrap();
        w.metadata(&key("min_p"), "much").unwrap();
        w.metadata(&key("top_k"), -1i32).unwrap();
        w.metadata(&key("penalty_repeat"), 1.1f32).unwrap();
        w.metadata(&key("penalty_last_n"), -1i32).unwrap();
        w.metadata(&key("mirostat"), 2i32).unwrap();
        w.metadata(&key("sequence"), "penalties;dry;top_k;typ_p;temperature")
            .unwrap();
        let (bytes, _) = w.begin(Vec::new()).unwrap().finish().unwrap();
        let gguf = Gguf::parse(&crate::mapping::Bytes::from(bytes)).unwrap();
        assert_eq!(
            of_gguf(&gguf),
            pairs([
                ("temperature", "0.6"),
                ("top_p", "1"),
                ("repetition_penalty", "1.1"),
                ("top_k", "0"),
                ("penalty_window", "all"),
                ("mirostat", "on"),
                ("order", "top_k,typ_p,temperature"),
            ])
        );
    }
}
