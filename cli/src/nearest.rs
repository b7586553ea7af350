//! The known name that a mistyped one comes nearest to.

use crate::catalogue;
use crate::store::Store;

/// Names less alike than this are no guess worth making (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.82;

/// The name of a model in the store or the catalogue that is most like `name`, if one is at all. Errors of
/// the store are no matter here.
pub(crate) fn model(name: &str) -> Option<String> {
    let stored = Store::open().and_then(|s| s.list()).unwrap_or_default();
    let stored = stored.into_iter().flatten().map(|m| m.manifest.name);
    let listed = catalogue::all().iter();
    let listed = listed.flat_map(|e| e.aliases.iter().copied().chain([e.name]));
    let names: Vec<String> = stored.chain(listed.map(str::to_owned)).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

/// `; did you mean NAME?` for the end of a message, or nothing.
pub(crate) fn did_you_mean(name: &str) -> String {
    model(name).map_or_else(String::new, |n| format!("; did you mean `{n}`?"))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace(['_', ':', ' '], "-");
    let name = plain(name);
    known
        .map(|k| (k, strsim::jaro_winkler(&name, &plain(k))))
        .filter(|&(_, alike)| alike >= ALIKE)
        // The first of equals: those of the store come first.
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(k, _)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_strangers_are_not() {
        let known = [
            "SmolLM2-135M-Instruct",
            "Qwen3-0.6B",
            "qwen3:4b",
            "Gemma-3-1B-it",
        ];
        for (typed, meant) in [
            ("smollm2-135m-instuct", Some("SmolLM2-135M-Instruct")),
            ("SmolLM-135M", Some("SmolLM2-135M-Instruct")),
            ("qwen3-0.6", Some("Qwen3-0.6B")),
            ("qwen-3-4b", Some("qwen3:4b")),
            ("gemma3-1b", Some("Gemma-3-1B-it")),
            ("mistral", None),
            ("", None),
            ("why is the sky blue", None),
        ] {
            assert_eq!(nearest(typed, known.into_iter()), meant, "{typed}");
        }
    }
}
