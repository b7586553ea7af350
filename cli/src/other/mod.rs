//! Models that other programs keep on this computer: Ollama, LM Studio, llama.cpp, and whatever uses the
//! Hugging Face cache. Their folders are looked through, and nothing in them is changed.
//!
//! The environment and the file system enter; a list of [`Offer`]s leaves. What is found there is
//! hostile input like any file: sizes are bounded, names are escaped where they are shown.

mod hub_cache;
mod llama_cpp;
mod lm_studio;
mod ollama;

use std::io::Read;
use std::path::{Path, PathBuf};

use hob_models::gguf::split::SplitName;

use crate::intake::Original;
use crate::store::ModelKind;

/// Deepest folder that is looked into.
const DEPTH: usize = 6;
/// Most models of one program.
const MOST: usize = 10_000;

/// A model that can be imported.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// What `hob import` takes: `ollama:llama3.2:1b`.
    pub(crate) name: String,
    /// Name for the store.
    pub(crate) short: String,
    pub(crate) kind: ModelKind,
    /// Those with weights first, in order.
    pub(crate) weights: Vec<Original>,
    /// The files that describe safetensors.
    pub(crate) side: Vec<Original>,
    /// Bytes of the weights.
    pub(crate) size: u64,
    /// If the program knows it.
    pub(crate) licence: Option<String>,
}

impl Offer {
    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        let first = self
            .weights
            .first()
            .map_or(Path::new(""), |file| &file.path);
        match self.kind {
            ModelKind::Gguf => first,
            ModelKind::Safetensors => first.parent().unwrap_or(first),
        }
    }
}

/// Looks for the models of one program.
type Find = fn() -> Vec<Offer>;

/// The programs, by the word before the colon.
const PROGRAMS: [(&str, Find); 4] = [
    ("ollama", ollama::find),
    ("lmstudio", lm_studio::find),
    ("llama.cpp", llama_cpp::find),
    ("hf-cache", hub_cache::find),
];

/// Whether this is the word for a program.
pub(crate) fn is_program(word: &str) -> bool {
    PROGRAMS.iter().any(|(program, _)| *program == word)
}

/// All that is found, by name.
pub(crate) fn find_all() -> Vec<Offer> {
    let mut found: Vec<_> = PROGRAMS.iter().flat_map(|(_, find)| find()).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The model of this name, or that lies at this path.
pub(crate) fn find(text: &str) -> Option<Offer> {
    let program = text.split_once(':').map(|(program, _)| program);
    let named = PROGRAMS.iter().find(|(word, _)| Some(*word) == program);
    if let Some((_, find)) = named {
        let latest = format!("{text}:latest");
        let is_it = |offer: &Offer| {
            offer.name.eq_ignore_ascii_case(text) || offer.name.eq_ignore_ascii_case(&latest)
        };
        return find().into_iter().find(is_it);
    }
    let path = std::fs::canonicalize(text).ok()?;
    let is_it = |offer: &Offer| {
        let files = offer.weights.iter().map(|file| file.path.as_path());
        let mut places = files.chain([offer.path()]);
        places.any(|place| std::fs::canonicalize(place).is_ok_and(|place| place == path))
    };
    find_all().into_iter().find(is_it)
}

/// A folder that an environment variable names.
fn set(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(PathBuf::from(value))
}

/// A folder below the user's own.
fn home(below: &str) -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(below))
}

/// Where the system keeps what can be made again.
fn cache_dir() -> Option<PathBuf> {
    match std::env::consts::OS {
        "windows" => set("LOCALAPPDATA"),
        "macos" => home("Library/Caches"),
        _ => set("XDG_CACHE_HOME").or_else(|| home(".cache")),
    }
}

/// The text of a small file.
fn read_small(path: &Path) -> Option<Vec<u8>> {
    const LIMIT: u64 = 1 << 20;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// All files below a folder, sorted; links to folders are not followed.
fn files_below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => found.extend(files_below(&path, depth - 1)),
            Ok(kind) if !kind.is_dir() && path.is_file() => found.push(path),
            _ => {}
        }
        if found.len() >= MOST {
            break;
        }
    }
    found.sort();
    found
}

/// The GGUF models below a folder, parts together; `name` makes a name of the path within it. Such as
/// are no models (projectors of images) are left out.
fn ggufs_below(dir: &Path, program: &str) -> Vec<Offer> {
    let files = files_below(dir, DEPTH);
    let ggufs = files
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    let offer = |path: &PathBuf| {
        let within = path.strip_prefix(dir).ok()?;
        let file = path.file_name()?.to_string_lossy();
        if file.contains("mmproj") {
            return None;
        }
        let name = within.to_string_lossy().replace('\\', "/");
        gguf(format!("{program}:{name}"), path)
    };
    ggufs.filter_map(offer).collect()
}

/// The offer of a GGUF file; for one of several parts only if it is the first and all are there.
fn gguf(name: String, path: &Path) -> Option<Offer> {
    let paths = match SplitName::of(path) {
        Some(split) if split.count > 1 => {
            if split.number != 1 {
                return None;
            }
            (1..=split.count).map(|number| split.part(number)).collect()
        }
        _ => vec![path.to_owned()],
    };
    let mut size = 0;
    let mut weights = Vec::new();
    for path in paths {
        size += std::fs::metadata(&path).ok()?.len();
        weights.push(Original {
            name: path.file_name()?.to_string_lossy().into_owned(),
            path,
            expect: None,
        });
    }
    Some(Offer {
        short: crate::commands::pull::name_of_file(&weights.first()?.name),
        name,
        kind: ModelKind::Gguf,
        weights,
        side: Vec::new(),
        size,
        licence: None,
    })
}
