//! A project's page of a package index in JSON (PyPA's "simple repository API"): the hash and size
//! of one file. Only asked where pip's own line did not have the hash.

use serde::Deserialize;

use crate::Digest;
use crate::client::{Ask, Client, read_text};
use crate::error::MirrorError;
use crate::request::Policy;

/// Longest page that is read.
const PAGE_LIMIT: u64 = 32 << 20;

/// What the page says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) sha256: Option<Digest>,
    pub(super) size: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    size: Option<u64>,
}

/// Looks the file of address `url` up on `page`.
pub(super) fn look_up(
    page: &str,
    url: &str,
    client: &Client,
    policy: &Policy,
) -> Result<Listed, MirrorError> {
    let accept = Some("application/vnd.pypi.simple.v1+json");
    let mut answer = client.get(
        page,
        Ask {
            accept,
            ..Ask::default()
        },
        policy,
    )?;
    let text = read_text(&mut answer, PAGE_LIMIT)?;
    Ok(listed_in(&text, url).unwrap_or_default())
}

/// `None` for a page that is not JSON or does not list the file.
fn listed_in(text: &[u8], url: &str) -> Option<Listed> {
    let page: Page = serde_json::from_slice(text).ok()?;
    let name = url.split(['?', '#']).next()?.rsplit('/').next()?;
    let file = page.files.iter().find(|file| file.filename == name)?;
    let sha256 = file
        .hashes
        .get("sha256")
        .and_then(|hex| Digest::from_hex(hex));
    Some(Listed {
        sha256,
        size: file.size,
    })
}

#[cfg(test)]
mod tests {
    use super::listed_in;

    #[test]
    fn a_file_is_found_by_its_name() {
        let hex = "cd".repeat(32);
        let text = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"files":[{{"filename":"b.whl"}},
            {{"filename":"a.whl","url":"../a.whl","size":7,"hashes":{{"sha256":"{hex}"}}}}]}}"#
        );
        let listed = listed_in(text.as_bytes(), "https://x.example/p/a.whl#y").unwrap();
        assert_eq!(
            (listed.sha256.unwrap().to_string(), listed.size),
            (hex, Some(7))
        );
        assert_eq!(listed_in(text.as_bytes(), "https://x.example/c.whl"), None);
        assert_eq!(listed_in(b"<html>", "https://x.example/a.whl"), None);
    }
}
