//! Which files of a repository make the model that was asked for. The list of files and the user's word
//! (a file, a quantization, or nothing) enter; the files leave.

use std::collections::BTreeMap;
use std::path::Path;

use hob_fetch::HubFile;
use hob_models::files::SIDE_FILES;
use hob_models::gguf::split::SplitName;

use crate::terminal::bytes;

/// What is taken when nothing is asked for: the usual balance of size and quality.
const USUAL: &str = "Q4_K_M";
/// The word for the unquantized weights.
const SAFETENSORS: &str = "safetensors";

/// The files of one model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen<'a> {
    /// The parts in order; mostly one.
    Gguf(Vec<&'a HubFile>),
    Safetensors {
        weights: Vec<&'a HubFile>,
        side: Vec<&'a HubFile>,
    },
}

/// Why nothing was chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChooseError {
    #[error("{repo} has no model that hob reads (GGUF, or safetensors with config.json)")]
    NoModel { repo: String },
    #[error("{repo} has no `{what}`; it has{}", lines(.has))]
    NoSuch {
        repo: String,
        what: String,
        has: Vec<String>,
    },
    #[error("{repo} has several models; name one, as in hf:{repo}:NAME{}", lines(.has))]
    Several { repo: String, has: Vec<String> },
    #[error("{repo} has not all {count} parts of {file}")]
    Incomplete {
        repo: String,
        file: String,
        count: u32,
    },
}

fn lines(items: &[String]) -> String {
    const MOST: usize = 40;
    let mut text: String = items
        .iter()
        .take(MOST)
        .map(|item| format!("\n  {item}"))
        .collect();
    if items.len() > MOST {
        text.push_str(&format!("\n  and {} more", items.len() - MOST));
    }
    text
}

/// A GGUF model of a repository.
struct Model<'a> {
    parts: Vec<&'a HubFile>,
    /// The path without the number of a part and the end, in lower case.
    stem: String,
    /// What is said of the number of parts.
    count: u32,
}

impl Model<'_> {
    fn path(&self) -> &str {
        self.parts.first().map_or("", |file| &file.path)
    }

    /// Whether its name ends in this quantization, or one of its folders is called so.
    fn is_of(&self, quant: &str) -> bool {
        let quant = quant.to_ascii_lowercase();
        let (folders, name) = self.stem.rsplit_once('/').unwrap_or(("", &self.stem));
        if quant.is_empty() {
            return false;
        }
        let before = name.strip_suffix(&quant);
        folders.split('/').any(|folder| folder == quant)
            || before.is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.', '_']))
    }

    /// A line for people.
    fn line(&self) -> String {
        let size = self.parts.iter().map(|file| file.size).sum();
        let parts = match self.parts.len() {
            1 => String::new(),
            n => format!(", {n} parts"),
        };
        format!("{} ({}{parts})", self.path(), bytes(size))
    }
}

/// Chooses.
pub(super) fn choose<'a>(
    repo: &str,
    files: &'a [HubFile],
    what: Option<&str>,
) -> Result<Chosen<'a>, ChooseError> {
    let models = models(files);
    let all = || {
        models
            .iter()
            .filter(|model| !is_helper(model))
            .collect::<Vec<_>>()
    };
    let lines = |models: &[&Model<'_>]| models.iter().map(|model| model.line()).collect::<Vec<_>>();
    let repo = repo.to_owned();
    let wanted = match what {
        None => {
            let (all, usual) = (all(), all());
            let usual: Vec<_> = usual.into_iter().filter(|m| m.is_of(USUAL)).collect();
            match (all.len(), usual.len()) {
                (0, _) => {
                    let found = safetensors(files);
                    return found.ok_or(ChooseError::NoModel { repo });
                }
                (1, _) => all,
                (_, 1) => usual,
                _ => {
                    let has = lines(&all);
                    return Err(ChooseError::Several { repo, has });
                }
            }
        }
        Some(SAFETENSORS) => {
            let found = safetensors(files);
            return found.ok_or(ChooseError::NoModel { repo });
        }
        Some(what) => {
            // A file by its path, or by its name if that is enough.
            let is_named = |file: &&HubFile| {
                let name = file.path.rsplit('/').next();
                file.path == what || name == Some(what)
            };
            let by_path = models.iter().filter(|m| m.parts.iter().any(is_named));
            let named: Vec<_> = by_path.collect();
            match named.is_empty() {
                false => named,
                true => all()
                    .into_iter()
                    .filter(|model| model.is_of(what))
                    .collect(),
            }
        }
    };
    let model = match wanted.as_slice() {
        [model] => model,
        [] => {
            let (has, what) = (lines(&all()), what.unwrap_or_default());
            let what = what.escape_debug().to_string();
            return Err(ChooseError::NoSuch { repo, what, has });
        }
        several => {
            let has = lines(several);
            return Err(ChooseError::Several { repo, has });
        }
    };
    if model.parts.len() as u64 != u64::from(model.count) {
        return Err(ChooseError::Incomplete {
            repo,
            file: model.path().to_owned(),
            count: model.count,
        });
    }
    Ok(Chosen::Gguf(model.parts.clone()))
}

/// Projectors of images and matrices of importance lie beside models, and are none.
fn is_helper(model: &Model<'_>) -> bool {
    let name = model.stem.rsplit('/').next().unwrap_or_default();
    name.contains("mmproj") || name.contains("imatrix")
}

/// All GGUF models, parts together.
fn models(files: &[HubFile]) -> Vec<Model<'_>> {
    let mut found: BTreeMap<String, BTreeMap<u32, &HubFile>> = BTreeMap::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for file in files {
        let Some(stem) = file.path.strip_suffix(".gguf") else {
            continue;
        };
        let split = SplitName::of(Path::new(&file.path));
        let (number, count) = split.map_or((1, 1), |split| (split.number, split.count));
        // `-00001-of-00002` has 15 characters.
        let stem = match count {
            1 => stem,
            _ => stem.get(..stem.len().saturating_sub(15)).unwrap_or(stem),
        };
        let key = format!("{stem}\n{count}");
        found.entry(key.clone()).or_default().insert(number, file);
        counts.insert(key, count);
    }
    let models = found.into_iter().map(|(key, parts)| Model {
        parts: parts.into_values().collect(),
        count: counts.get(&key).copied().unwrap_or(1),
        stem: key
            .split('\n')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase(),
    });
    models.collect()
}

/// The unquantized model in the repository's own folder.
fn safetensors(files: &[HubFile]) -> Option<Chosen<'_>> {
    let top = || files.iter().filter(|file| !file.path.contains('/'));
    let side: Vec<_> = top()
        .filter(|file| SIDE_FILES.contains(&file.path.as_str()))
        .collect();
    side.iter().find(|file| file.path == "config.json")?;
    let mut weights: Vec<_> = top().filter(|f| f.path.ends_with(".safetensors")).collect();
    weights.sort_by(|a, b| a.path.cmp(&b.path));
    let shards: Vec<_> = weights
        .iter()
        .copied()
        .filter(|file| {
            file.path.starts_with("model-") && SplitName::of(Path::new(&file.path)).is_some()
        })
        .collect();
    let usual: Vec<_> = weights
        .iter()
        .copied()
        .filter(|f| f.path == "model.safetensors")
        .collect();
    let weights = [shards, usual, weights]
        .into_iter()
        .find(|set| !set.is_empty())?;
    Some(Chosen::Safetensors { weights, side })
}

#[cfg(test)]
mod tests {
    use super::{ChooseError, Chosen, choose};
    use hob_fetch::{HubFile, Pin};

    fn repo(paths: &[&str]) -> Vec<HubFile> {
        let file = |path: &&str| HubFile {
            path: (*path).to_owned(),
            size: 1 << 30,
            pin: Pin::GitBlob([0; 20]),
        };
        paths.iter().map(file).collect()
    }

    fn chosen(paths: &[&str], what: Option<&str>) -> Result<Vec<String>, ChooseError> {
        let files = repo(paths);
        Ok(match choose("o/r", &files, what)? {
            Chosen::Gguf(files) => files.into_iter().map(|f| f.path.clone()).collect(),
            Chosen::Safetensors { weights, side } => weights
                .into_iter()
                .chain(side)
                .map(|f| f.path.clone())
                .collect(),
        })
    }

    const USUAL: [&str; 7] = [
        "README.md",
        "mmproj-model-f16.gguf",
        "M-1B-IQ4_XS.gguf",
        "M-1B-Q4_K_M.gguf",
        "M-1B-Q4_K_S.gguf",
        "M-1B-Q8_0/M-1B-Q8_0-00001-of-00002.gguf",
        "M-1B-Q8_0/M-1B-Q8_0-00002-of-00002.gguf",
    ];

    #[test]
    fn a_quantization_is_found_by_its_name_in_any_case() {
        for (what, first, count) in [
            (None, "M-1B-Q4_K_M.gguf", 1),
            (Some("Q4_K_M"), "M-1B-Q4_K_M.gguf", 1),
            (Some("q4_k_s"), "M-1B-Q4_K_S.gguf", 1),
            (Some("iq4_xs"), "M-1B-IQ4_XS.gguf", 1),
            (Some("Q8_0"), "M-1B-Q8_0/M-1B-Q8_0-00001-of-00002.gguf", 2),
            (
                Some("M-1B-Q8_0-00002-of-00002.gguf"),
                "M-1B-Q8_0/M-1B-Q8_0-00001-of-00002.gguf",
                2,
            ),
            (Some("M-1B-Q4_K_S.gguf"), "M-1B-Q4_K_S.gguf", 1),
            (Some("mmproj-model-f16.gguf"), "mmproj-model-f16.gguf", 1),
        ] {
            let files = chosen(&USUAL, what).unwrap();
            assert_eq!((files[0].as_str(), files.len()), (first, count), "{what:?}");
        }
        // `Q4_K` is none of Q4_K_M and Q4_K_S, and `XS` none of IQ4_XS.
        for what in ["Q4_K", "Q4_XS", "f16", "Q2_K", ""] {
            let error = chosen(&USUAL, Some(what)).unwrap_err();
            assert!(
                matches!(&error, ChooseError::NoSuch { has, .. } if has.len() == 4),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_not_one_model_is_asked_about() {
        let two = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "b-Q8_0.gguf"];
        assert!(matches!(
            chosen(&two, None),
            Err(ChooseError::Several { .. })
        ));
        assert!(matches!(
            chosen(&two, Some("Q4_K_M")),
            Err(ChooseError::Several { .. })
        ));
        assert_eq!(chosen(&two, Some("Q8_0")).unwrap(), ["b-Q8_0.gguf"]);
        let half = ["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"];
        assert!(matches!(
            chosen(&half, None),
            Err(ChooseError::Incomplete { count: 3, .. })
        ));
        assert!(matches!(
            chosen(&["README.md"], None),
            Err(ChooseError::NoModel { .. })
        ));
    }

    #[test]
    fn safetensors_come_with_what_describes_them() {
        let files = [
            "config.json",
            "tokenizer.json",
            "README.md",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "onnx/model.safetensors",
        ];
        let expected = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
        ];
        assert_eq!(chosen(&files, None).unwrap(), expected);
        assert_eq!(chosen(&files, Some("safetensors")).unwrap(), expected);
        assert!(chosen(&["model.safetensors"], None).is_err());
    }
}
