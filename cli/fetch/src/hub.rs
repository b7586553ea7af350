//! The Hugging Face Hub: a repository, a revision and a file name become an address that answers; and
//! a repository becomes the list of its files with their sizes and hashes.
//!
//! hf-hub knows the addresses (endpoint, paths, revisions) and where the user's token lies. Requests go
//! through this crate's own client, with the machine's proxies and certificates. The token goes out
//! only where the Hub asked for it, and never in the clear to another machine.

use std::io::Read;
use std::path::PathBuf;

use hf_hub::{Cache, Repo, RepoType, api::sync::ApiBuilder};
use serde::Deserialize;

use crate::Digest;
use crate::client::{Answer, Ask, Client, host_of, read_text};
use crate::error::MirrorError;
use crate::remote::{Content, Place, Remote};
use crate::request::{ModelRequest, Pin, Policy};

/// Longest list of files that is read.
const LIST_LIMIT: u64 = 64 << 20;

/// How often a list is asked for when the connection breaks.
const LIST_TRIES: u32 = 4;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Path in the repository.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// How its bytes are told: SHA-256 for large files, git's id for others.
    pub pin: Pin,
}

/// What the Hub says of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubListing {
    /// The commit that the revision means now.
    pub commit: String,
    /// The licence that the model's card names.
    pub licence: Option<String>,
    /// Its files, but for those of which the Hub tells no size or hash.
    pub files: Vec<HubFile>,
}

/// The answer of `/api/models/REPO/revision/REVISION?blobs=true`, as far as it is read (the Hub's
/// OpenAPI description).
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    license: Option<serde_json::Value>,
    #[serde(default)]
    license_name: Option<String>,
}

/// A repository at a revision.
struct Repository<'a> {
    repo: &'a str,
    revision: &'a str,
}

/// Lists a repository (`owner/name`) at a branch, tag or commit.
///
/// # Errors
/// [`MirrorError`]: the Hub cannot be reached, has no such repository or does not show it.
pub fn list(repo: &str, revision: &str) -> Result<HubListing, MirrorError> {
    list_with(repo, revision, &Policy::default())
}

/// [`list`] with other waiting times.
///
/// # Errors
/// As [`list`].
pub fn list_with(repo: &str, revision: &str, policy: &Policy) -> Result<HubListing, MirrorError> {
    let place = Repository { repo, revision };
    place.check()?;
    let url = format!("{}/api/{}?blobs=true", endpoint()?, place.of().api_url());
    let (client, patient) = (Client::new(), policy.patient());
    let mut tries = 0;
    let (host, text) = loop {
        tries += 1;
        let asked = place.ask(&client, &url, Ask::default(), &patient);
        match asked.and_then(|(mut answer, _)| {
            let text = read_text(&mut answer, LIST_LIMIT)?;
            Ok((answer.host, text))
        }) {
            Err(error) if error.is_transient() && tries < LIST_TRIES => {
                std::thread::sleep(policy.backoff * tries);
            }
            other => break other?,
        }
    };
    let info: Info = serde_json::from_slice(&text).map_err(|e| MirrorError::BadAnswer {
        host,
        why: format!("its list of files cannot be read (line {})", e.line()),
    })?;
    let licence = info.card.and_then(|card| {
        let said = match card.license? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Array(all) => all.first()?.as_str()?.to_owned(),
            _ => return None,
        };
        Some(
            card.license_name
                .filter(|_| said == "other")
                .unwrap_or(said),
        )
    });
    Ok(HubListing {
        commit: info.sha,
        licence,
        files: info.siblings.into_iter().filter_map(file).collect(),
    })
}

/// A file of the list whose hash is known.
fn file(sibling: Sibling) -> Option<HubFile> {
    let of_lfs = sibling.lfs.as_ref().and_then(|lfs| lfs.size);
    let size = sibling.size.or(of_lfs)?;
    let pin = match (&sibling.lfs, &sibling.blob_id) {
        (Some(lfs), _) => Pin::Sha256(Digest::from_hex(&lfs.sha256)?),
        (None, Some(id)) => Pin::GitBlob(git_id(id)?),
        (None, None) => return None,
    };
    let path = sibling.rfilename;
    Some(HubFile { path, size, pin })
}

/// 40 hexadecimal digits.
fn git_id(text: &str) -> Option<[u8; 20]> {
    // A digest's digits are checked in one place.
    let padded = Digest::from_hex(&format!("{text}{}", "0".repeat(24)))?;
    (text.len() == 40).then_some(*padded.0.first_chunk::<20>()?)
}

/// Resolves and probes.
pub(crate) fn resolve(
    (repo, revision, file): (&str, &str, &str),
    request: &ModelRequest,
    client: &Client,
    policy: &Policy,
) -> Result<Remote, MirrorError> {
    let place = Repository { repo, revision };
    place.check()?;
    let url = place.address(file)?;
    // One byte, to see whether the Hub can be reached and offers a file of the right length.
    let probe = Ask {
        until: Some(1),
        ..Ask::default()
    };
    let (mut answer, login) = place.ask(client, &url, probe, policy)?;
    if let (Some(found), Some(expected)) = (answer.total, request.size)
        && found != expected
    {
        return Err(MirrorError::WrongSize { expected, found });
    }
    // Read to the end, if that is one byte, so that the connection is used again.
    let _ = answer.body.by_ref().take(2).read_to_end(&mut Vec::new());
    Ok(Remote {
        label: String::new(),
        place: Place::Http(url),
        login,
        sha256: request.pin.sha256(),
        size: request.size,
        content: Content::File,
    })
}

impl Repository<'_> {
    /// Refuses names that would make another address.
    fn check(&self) -> Result<(), MirrorError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_part = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain)
        };
        let is_repo = self.repo.split('/').count() == 2 && self.repo.split('/').all(is_part);
        if is_repo && self.revision.split('/').all(is_part) {
            return Ok(());
        }
        Err(MirrorError::BadAddress(format!(
            "{}@{}: a repository is OWNER/NAME, a revision a branch, tag or commit",
            self.repo.escape_debug(),
            self.revision.escape_debug()
        )))
    }

    fn of(&self) -> Repo {
        let (repo, revision) = (self.repo.to_owned(), self.revision.to_owned());
        Repo::with_revision(repo, RepoType::Model, revision)
    }

    /// The address of a file.
    fn address(&self, file: &str) -> Result<String, MirrorError> {
        let file: String = file
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        Ok(api()?.repo(self.of()).url(&file))
    }

    /// Asks without the token first: public files need no login, and get none. Gives the login that
    /// was needed.
    fn ask(
        &self,
        client: &Client,
        url: &str,
        ask: Ask<'_>,
        policy: &Policy,
    ) -> Result<(Answer, Option<String>), MirrorError> {
        let refused = match client.get(url, ask, policy) {
            Err(refused @ MirrorError::Refused { status, .. }) => match status {
                401 | 403 => refused,
                _ => return Err(self.explained(refused, false)),
            },
            other => return Ok((other?, None)),
        };
        let Some(token) = token().filter(|_| may_have_token(url)) else {
            return Err(self.explained(refused, false));
        };
        let login = format!("Bearer {token}");
        let ask = Ask {
            login: Some(&login),
            ..ask
        };
        match client.get(url, ask, policy) {
            Err(refused) => Err(self.explained(refused, true)),
            Ok(answer) => Ok((answer, Some(login))),
        }
    }

    /// The Hub's refusal, with what to do.
    fn explained(&self, error: MirrorError, has_token: bool) -> MirrorError {
        let MirrorError::Refused { status, code, .. } = &error else {
            return error;
        };
        let repo = self.repo.to_owned();
        let code = code.as_deref().unwrap_or_default();
        match (code, status) {
            ("GatedRepo", _) => MirrorError::Gated { repo, has_token },
            ("RevisionNotFound", _) => MirrorError::NoRevision {
                repo,
                revision: self.revision.to_owned(),
            },
            (_, 401) if code.starts_with("Invalid") => MirrorError::BadToken,
            // The Hub does not tell strangers whether a repository is there.
            ("RepoNotFound", _) | (_, 401) => MirrorError::NoRepository { repo, has_token },
            _ => error,
        }
    }
}

fn api() -> Result<hf_hub::api::sync::Api, MirrorError> {
    let mut api = ApiBuilder::from_cache(cache()).with_progress(false);
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT")
        && !endpoint.is_empty()
    {
        api = api.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    api.build()
        .map_err(|e| MirrorError::BadAddress(e.to_string()))
}

/// Where the Hub is: hf-hub knows it, and tells it as part of a file's address.
fn endpoint() -> Result<String, MirrorError> {
    let url = api()?.repo(Repo::model("a/b".to_owned())).url("c");
    let endpoint = url.strip_suffix("/a/b/resolve/main/c");
    let unknown = || MirrorError::BadAddress("the Hub's".to_owned());
    Ok(endpoint.ok_or_else(unknown)?.to_owned())
}

/// Whether a login may go to this address: not in the clear to another machine.
fn may_have_token(url: &str) -> bool {
    let is_here = matches!(host_of(url).as_str(), "127.0.0.1" | "[::1]" | "localhost");
    url.starts_with("https://") || is_here
}

fn token() -> Option<String> {
    let is_set = |token: &String| !token.is_empty();
    let set = std::env::var("HF_TOKEN").ok();
    let set = set.map(|token| token.trim().to_owned()).filter(is_set);
    let file = || {
        let path = std::env::var_os("HF_TOKEN_PATH").filter(|path| !path.is_empty())?;
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(is_set)
    };
    set.or_else(file).or_else(|| cache().token())
}

/// Where the Hub's tools keep the token. Not the crate's own default, which panics for a user
/// without a home folder.
fn cache() -> Cache {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let home = set("HF_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache").join("huggingface")));
    Cache::new(home.unwrap_or_default().join("hub"))
}

#[cfg(test)]
mod tests {
    use super::{Repository, git_id, may_have_token};

    #[test]
    fn a_login_goes_out_sealed_or_not_at_all() {
        for (url, may) in [
            ("https://hub.example/x", true),
            ("http://127.0.0.1:99/x", true),
            ("http://hub.example/x", false),
            ("http://127.0.0.1.hub.example/x", false),
        ] {
            assert_eq!(may_have_token(url), may, "{url}");
        }
    }

    #[test]
    fn names_cannot_make_another_address() {
        let check = |repo, revision| Repository { repo, revision }.check();
        assert!(check("owner/Name-1.5_x", "refs/pr/3").is_ok());
        for (repo, revision) in [
            ("owner", "main"),
            ("a/b/c", "main"),
            ("../b", "main"),
            ("a/..", "main"),
            ("a/b?c", "main"),
            ("a/b", "../../x"),
            ("a/b", "main#"),
            ("", ""),
        ] {
            assert!(check(repo, revision).is_err(), "{repo}@{revision}");
        }
    }

    #[test]
    fn git_ids_are_forty_digits() {
        assert_eq!(git_id(&"0a".repeat(20)), Some([10; 20]));
        assert_eq!(git_id(&"0a".repeat(19)), None);
        assert_eq!(git_id(&"0a".repeat(21)), None);
        assert_eq!(git_id(&"0g".repeat(20)), None);
    }
}
