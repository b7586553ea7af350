//! The cache of the Hugging Face Hub: `models--OWNER--NAME/snapshots/COMMIT/FILE` are links to
//! `blobs/ETAG`, and `refs/main` names the commit that was fetched last (huggingface_hub, "Understand
//! caching"). The ETag of a large file is its SHA-256.

use std::path::{Path, PathBuf};

use hob_fetch::Digest;
use hob_models::files::SIDE_FILES;
use hob_models::gguf::split::SplitName;

use super::{Offer, cache_dir, ggufs_below, read_small, set};
use crate::intake::Original;
use crate::store::{ModelKind, plain_name};

pub(super) fn find() -> Vec<Offer> {
    let own = || Some(set("HF_HOME")?.join("hub"));
    let folder = set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(own)
        .or_else(|| Some(cache_dir()?.join("huggingface/hub")));
    folder.map_or_else(Vec::new, |folder| in_folder(&folder))
}

/// The models of one cache.
pub(super) fn in_folder(folder: &Path) -> Vec<Offer> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(repo) = name.strip_prefix("models--") else {
            continue;
        };
        let repo = repo.replacen("--", "/", 1);
        if let Some(snapshot) = snapshot(&entry.path()) {
            let ggufs = ggufs_below(&snapshot, &format!("hf-cache:{repo}"));
            found.extend(ggufs.into_iter().map(with_hashes));
            found.extend(safetensors(&repo, &snapshot).map(with_hashes));
        }
    }
    found
}

/// The snapshot that `refs/main` names, else the only one.
fn snapshot(dir: &Path) -> Option<PathBuf> {
    let snapshots = dir.join("snapshots");
    let main = read_small(&dir.join("refs/main"));
    let main = main.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    if let Some(commit) = main.filter(|commit| commit.chars().all(|c| c.is_ascii_alphanumeric())) {
        let path = snapshots.join(&commit);
        if !commit.is_empty() && path.is_dir() {
            return Some(path);
        }
    }
    let mut all = std::fs::read_dir(&snapshots).ok()?.flatten();
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.path()),
        _ => None,
    }
}

/// The repository's unquantized model, if all of it is there.
fn safetensors(repo: &str, snapshot: &Path) -> Option<Offer> {
    let original = |path: PathBuf| {
        Some(Original {
            name: path.file_name()?.to_string_lossy().into_owned(),
            path,
            expect: None,
        })
    };
    let sides = SIDE_FILES.iter().map(|name| snapshot.join(name));
    let side: Vec<_> = sides
        .filter(|path| path.is_file())
        .filter_map(original)
        .collect();
    side.iter().find(|file| file.name == "config.json")?;
    let entries = std::fs::read_dir(snapshot)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors") && path.is_file())
        .collect();
    paths.sort();
    let first = paths.first()?;
    if let Some(split) = SplitName::of(first)
        && paths.len() < split.count as usize
    {
        return None;
    }
    let size = paths
        .iter()
        .filter_map(|path| Some(std::fs::metadata(path).ok()?.len()))
        .sum();
    Some(Offer {
        name: format!("hf-cache:{repo}"),
        short: plain_name(repo.rsplit('/').next().unwrap_or(repo)),
        kind: ModelKind::Safetensors,
        weights: paths.into_iter().filter_map(original).collect(),
        side,
        size,
        licence: None,
    })
}

/// The names of the blobs are the hashes.
fn with_hashes(mut offer: Offer) -> Offer {
    for file in offer.weights.iter_mut().chain(&mut offer.side) {
        let blob = std::fs::canonicalize(&file.path).ok();
        let name = blob.as_ref().and_then(|path| path.file_name()?.to_str());
        file.expect = name.and_then(Digest::from_hex);
    }
    offer
}
