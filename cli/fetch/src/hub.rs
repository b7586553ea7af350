//! The Hugging Face Hub: a repository, a revision and a file name become an address that answers.
//!
//! hf-hub resolves (endpoint, path, and the user's token where one is needed); one byte is asked
//! for to see whether the Hub can be reached and offers a file of the right length.

use std::io::Read;
use std::path::PathBuf;

use hf_hub::{Cache, Repo, RepoType, api::sync::ApiBuilder};

use crate::client::{Ask, Client};
use crate::error::MirrorError;
use crate::remote::{Place, Remote};
use crate::request::{ModelRequest, Policy};

/// Resolves and probes.
pub(crate) fn resolve(
    (repo, revision, file): (&str, &str, &str),
    request: &ModelRequest,
    client: &Client,
    policy: &Policy,
) -> Result<Remote, MirrorError> {
    let mut api = ApiBuilder::from_cache(cache()).with_progress(false);
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
        api = api.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let api = api
        .build()
        .map_err(|e| MirrorError::BadAddress(e.to_string()))?;
    let repo = Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned());
    let mut remote = Remote {
        label: String::new(),
        place: Place::Http(api.repo(repo).url(file)),
        login: None,
        sha256: Some(request.sha256),
        size: Some(request.size),
        in_wheel: None,
    };
    match probe(&remote, request, client, policy) {
        // Public files need no login, and get none; the token goes out only where it is asked for.
        Err(MirrorError::Refused {
            status: 401 | 403,
            host,
        }) => {
            let Some(token) = token() else {
                return Err(MirrorError::Refused { status: 401, host });
            };
            remote.login = Some(format!("Bearer {token}"));
            probe(&remote, request, client, policy)?;
        }
        other => other?,
    }
    Ok(remote)
}

fn token() -> Option<String> {
    let set = std::env::var("HF_TOKEN")
        .ok()
        .filter(|token| !token.is_empty());
    set.or_else(|| cache().token())
}

/// Where the Hub's tools keep the token. Not the crate's own default, which panics for a user
/// without a home folder.
fn cache() -> Cache {
    let home = std::env::var_os("HF_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cache").join("huggingface")));
    Cache::new(home.unwrap_or_default().join("hub"))
}

/// Asks for the first byte, and compares the length.
fn probe(
    remote: &Remote,
    request: &ModelRequest,
    client: &Client,
    policy: &Policy,
) -> Result<(), MirrorError> {
    let Place::Http(url) = &remote.place else {
        return Ok(());
    };
    let login = remote.login.as_deref();
    let ask = Ask {
        until: Some(1),
        login,
        ..Ask::default()
    };
    let mut answer = client.get(url, ask, policy)?;
    if let Some(found) = answer.total
        && found != request.size
    {
        return Err(MirrorError::WrongSize {
            expected: request.size,
            found,
        });
    }
    // Read to the end, if that is one byte, so that the connection is used again.
    let _ = answer.body.by_ref().take(2).read_to_end(&mut Vec::new());
    Ok(())
}
