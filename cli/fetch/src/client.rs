//! The HTTP client: one request in, status, validator and a stream of bytes out.
//!
//! Blocking ureq with rustls. Proxies come from the environment (`ALL_PROXY`, `HTTPS_PROXY`,
//! `HTTP_PROXY`, `NO_PROXY`); trust comes from the system's certificate store and from the bundles
//! that pip and curl are told to use. An address that begins with `https:` is never redirected to
//! plain `http:`, and a login is never sent to another host than the one it is for.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error, ResponseExt};

use crate::error::MirrorError;
use crate::request::Policy;

/// Environment variables that name further certificate bundles, as pip, requests and curl read them.
/// (`SSL_CERT_FILE` and `SSL_CERT_DIR` are read by the system store's crate.)
const BUNDLES: &[&str] = &["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Shared by the threads of one fetch; keeps connections open between requests.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
}

/// What to ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask<'a> {
    /// First byte wanted.
    pub(crate) from: u64,
    /// One past the last byte wanted, for probes.
    pub(crate) until: Option<u64>,
    /// Strong validator of the part that is here already.
    pub(crate) if_range: Option<&'a str>,
    /// `Authorization` header.
    pub(crate) login: Option<&'a str>,
    /// `Accept` header.
    pub(crate) accept: Option<&'a str>,
}

/// Reads a whole answer of at most `limit` bytes.
pub(crate) fn read_text(answer: &mut Answer, limit: u64) -> Result<Vec<u8>, MirrorError> {
    let mut text = Vec::new();
    let read = answer.body.by_ref().take(limit).read_to_end(&mut text);
    match read {
        Ok(n) if n as u64 >= limit => Err(MirrorError::BadAnswer {
            host: answer.host.clone(),
            why: format!("more than {limit} bytes where a short list is expected"),
        }),
        Ok(_) => Ok(text),
        Err(e) => Err(MirrorError::Unreachable {
            host: answer.host.clone(),
            why: io_reason(&e),
        }),
    }
}

/// The head of an answer that carries the wanted bytes, and their stream.
pub(crate) struct Answer {
    /// Offset of the first byte of `body` in the file: what was asked for, or 0 if the server
    /// ignored the range or has another version now.
    pub(crate) start: u64,
    /// Length of the whole file, if told.
    pub(crate) total: Option<u64>,
    /// Strong entity tag.
    pub(crate) etag: Option<String>,
    /// Host that answered, after redirects.
    pub(crate) host: String,
    pub(crate) body: Box<dyn Read + Send>,
}

impl Client {
    pub(crate) fn new() -> Self {
        let tls = TlsConfig::builder().root_certs(trusted_roots()).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("hob/", env!("CARGO_PKG_VERSION")))
            // Ranges and hashes are of the file itself, so no compression on the way.
            .accept_encoding("identity")
            .build()
            .new_agent();
        Self { agent }
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// [`MirrorError`]: no connection, a status that means no, or an answer that is not the wanted
    /// part.
    pub(crate) fn get(
        &self,
        url: &str,
        ask: Ask<'_>,
        policy: &Policy,
    ) -> Result<Answer, MirrorError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| MirrorError::BadAddress(host_of(url)))?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(MirrorError::BadAddress(format!(
                    "neither http nor https: {}",
                    host_of(url)
                )));
            }
        };
        let mut request = self
            .agent
            .get(uri)
            .config()
            .https_only(is_secure)
            .timeout_resolve(Some(policy.connect))
            .timeout_connect(Some(policy.connect))
            .timeout_recv_response(Some(policy.answer))
            .timeout_per_read(Some(policy.stall))
            .build();
        match ask.until {
            Some(until) => {
                let last = until.saturating_sub(1);
                request = request.header(header::RANGE, format!("bytes={}-{last}", ask.from));
            }
            None if ask.from > 0 => {
                request = request.header(header::RANGE, format!("bytes={}-", ask.from));
                if let Some(tag) = ask.if_range {
                    request = request.header(header::IF_RANGE, tag);
                }
            }
            None => {}
        }
        if let Some(accept) = ask.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(login) = ask.login {
            request = request.header(header::AUTHORIZATION, login);
        }
        let response = request.call().map_err(|e| from_ureq(&host_of(url), &e))?;
        let host = response.get_uri().host().unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let head = response.headers();
        let nonsense = |why: &str| MirrorError::BadAnswer {
            host: host.clone(),
            why: why.to_owned(),
        };
        let (start, total) = match status {
            206 => {
                let range = text(head, &header::CONTENT_RANGE).and_then(parse_content_range);
                let (start, total) =
                    range.ok_or_else(|| nonsense("a part without a usable Content-Range"))?;
                if start != ask.from {
                    return Err(nonsense("another part than the one asked for"));
                }
                (start, total)
            }
            200 => (
                0,
                text(head, &header::CONTENT_LENGTH).and_then(|v| v.trim().parse().ok()),
            ),
            _ => {
                let said = |name| head.get(name).and_then(|v| v.to_str().ok());
                let code = said("x-error-code").or_else(|| said("x-error-message"));
                let code = code.map(str::to_owned);
                return Err(MirrorError::Refused { host, status, code });
            }
        };
        if text(head, &header::CONTENT_ENCODING).is_some_and(|v| v != "identity") {
            return Err(nonsense("a compressed body, which was not asked for"));
        }
        let etag = text(head, &header::ETAG)
            .filter(|tag| tag.starts_with('"'))
            .map(str::to_owned);
        let body = Box::new(response.into_body().into_reader());
        Ok(Answer {
            start,
            total,
            etag,
            host,
            body,
        })
    }
}

fn text<'a>(head: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    head.get(name).and_then(|v| v.to_str().ok())
}

/// `bytes 5-99/100` gives `(5, Some(100))`; the total may be `*` (RFC 9110, 14.4).
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse::<u64>().ok()?),
    };
    let is_sound = first <= last && total.is_none_or(|total| last < total);
    is_sound.then_some((first, total))
}

/// The host of an address, for messages; never a user name, a password or a signed query.
pub(crate) fn host_of(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    let host = uri
        .as_ref()
        .and_then(Uri::host)
        .unwrap_or("an address without a host");
    host.to_owned()
}

/// Environment variables that name a proxy, in the order in which the first valid one counts.
const PROXIES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// The proxy that downloads will use, as `host:port`, if the environment names one; never its login.
#[must_use]
pub fn proxy_in_use() -> Option<String> {
    let proxy = ureq::Proxy::try_from_env()?;
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let but = match ["NO_PROXY", "no_proxy"].into_iter().any(is_set) {
        true => ", but for the hosts in NO_PROXY",
        false => "",
    };
    Some(format!("{}:{}{but}", proxy.host(), proxy.port()))
}

/// The environment variable that should name the proxy, where what it says is no address: the client
/// would take that for none, and connect past the proxy that its user wants.
#[must_use]
pub fn broken_proxy() -> Option<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match ureq::Proxy::try_from_env() {
        Some(_) => None,
        None => PROXIES.into_iter().find(is_set),
    }
}

fn from_ureq(host: &str, error: &Error) -> MirrorError {
    let host = host.to_owned();
    let why = match error {
        Error::HostNotFound => "its name is not known here".to_owned(),
        Error::Timeout(which) => format!("no answer in time: {which}"),
        Error::Io(e) => {
            return MirrorError::Unreachable {
                host,
                why: io_reason(e),
            };
        }
        Error::ConnectionFailed => "no connection".to_owned(),
        Error::Protocol(_) => {
            "the connection was cut in the middle of the answer's head".to_owned()
        }
        Error::InvalidProxyUrl => {
            "the proxy setting of the environment is not an address".to_owned()
        }
        Error::Rustls(e) => {
            format!("TLS: {e}; is a company's certificate missing? set SSL_CERT_FILE")
        }
        other => other.to_string(),
    };
    MirrorError::Unreachable { host, why }
}

/// An I/O error in words that cannot hold an address with credentials.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    error.to_string()
}

/// The system's certificates and those of [`BUNDLES`]; the built-in list only where there are none.
fn trusted_roots() -> RootCerts {
    // Certificates that do not parse are left out by the loader; a host signed by one of them is
    // then refused by name.
    let mut ders: BTreeSet<Vec<u8>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let paths: BTreeSet<_> = BUNDLES.iter().filter_map(std::env::var_os).collect();
    let system = std::env::var_os("SSL_CERT_FILE");
    for path in paths.iter().filter(|path| Some(*path) != system.as_ref()) {
        let Ok(pem) = std::fs::read(path) else {
            continue;
        };
        for item in parse_pem(&pem).flatten() {
            if let PemItem::Certificate(certificate) = item {
                ders.insert(certificate.der().to_vec());
            }
        }
    }
    if ders.is_empty() {
        return RootCerts::WebPki;
    }
    let certificates: Vec<_> = ders
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    RootCerts::Specific(Arc::new(certificates))
}

#[cfg(test)]
mod tests {
    use super::{host_of, parse_content_range};

    #[test]
    fn content_ranges_are_taken_only_when_sound() {
        assert_eq!(parse_content_range("bytes 5-99/100"), Some((5, Some(100))));
        assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, None)));
        for bad in [
            "bytes 5-100/100",
            "bytes 9-5/100",
            "bytes */100",
            "items 0-1/2",
            "",
            "bytes 1-/9",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_in_a_message_shows_no_login() {
        let shown = host_of("https://user:secret@mirror.example:444/a?signature=secret");
        assert_eq!(shown, "mirror.example");
    }
}
