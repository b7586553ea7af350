//! Ollama's models: `manifests/HOST/NAMESPACE/MODEL/TAG` are JSON and name layers, which are files
//! `blobs/sha256-HEX` (Ollama's source, `manifest` and `server` packages). The layer of the media type
//! `application/vnd.ollama.image.model` is a GGUF.

use std::path::{Path, PathBuf};

use hob_fetch::Digest;
use serde::Deserialize;

use super::{Offer, files_below, home, read_small, set};
use crate::intake::Original;
use crate::store::{ModelKind, plain_name};

/// What Ollama leaves out of names.
const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
}

pub(super) fn find() -> Vec<Offer> {
    // The user's, and those of the service that its installer makes on Linux.
    let folders = match set("OLLAMA_MODELS") {
        Some(folder) => vec![folder],
        None => [
            home(".ollama/models"),
            Some(PathBuf::from("/usr/share/ollama/.ollama/models")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    folders
        .iter()
        .flat_map(|folder| in_folder(folder))
        .collect()
}

/// The models of one folder.
pub(super) fn in_folder(folder: &Path) -> Vec<Offer> {
    let manifests = folder.join("manifests");
    let files = files_below(&manifests, 4);
    let offers = files.iter().filter_map(|file| {
        let within = file.strip_prefix(&manifests).ok()?;
        let parts: Vec<_> = within
            .iter()
            .map(|part| part.to_str())
            .collect::<Option<_>>()?;
        let [host, namespace, model, tag] = parts[..] else {
            return None;
        };
        let short = match (host, namespace) {
            (HOST, NAMESPACE) => format!("{model}:{tag}"),
            (HOST, _) => format!("{namespace}/{model}:{tag}"),
            _ => format!("{host}/{namespace}/{model}:{tag}"),
        };
        offer(folder, file, &short)
    });
    offers.collect()
}

fn offer(folder: &Path, manifest: &Path, short: &str) -> Option<Offer> {
    let manifest: Manifest = serde_json::from_slice(&read_small(manifest)?).ok()?;
    let is = |layer: &&Layer, kind: &str| {
        layer
            .media_type
            .strip_prefix("application/vnd.ollama.image.")
            == Some(kind)
    };
    let mut models = manifest.layers.iter().filter(|layer| is(layer, "model"));
    // Of several (parts of safetensors, tensor by tensor) nothing can be made here.
    let (model, None) = (models.next()?, models.next()) else {
        return None;
    };
    let (digest, path) = blob(folder, &model.digest)?;
    (std::fs::metadata(&path).ok()?.len() == model.size).then_some(())?;
    let licence = manifest.layers.iter().find(|layer| is(layer, "license"));
    let licence = licence.and_then(|layer| title(&blob(folder, &layer.digest)?.1));
    let latest = short.strip_suffix(":latest").unwrap_or(short);
    Some(Offer {
        name: format!("ollama:{short}"),
        short: plain_name(latest),
        kind: ModelKind::Gguf,
        weights: vec![Original {
            path,
            name: format!("{}.gguf", plain_name(short)),
            expect: Some(digest),
        }],
        side: Vec::new(),
        size: model.size,
        licence,
    })
}

/// The file of a digest.
fn blob(folder: &Path, digest: &str) -> Option<(Digest, PathBuf)> {
    let hex = digest.strip_prefix("sha256:")?;
    let path = folder.join("blobs").join(format!("sha256-{hex}"));
    Some((Digest::from_hex(hex)?, path))
}

/// The first line of a licence's text.
fn title(path: &Path) -> Option<String> {
    let text = read_small(path)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(80).collect())
}
