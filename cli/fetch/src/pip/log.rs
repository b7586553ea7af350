//! What pip prints with `-vv`, as far as hob reads it: the line that names a wheel, and the line
//! that says what went wrong.
//!
//! ```text
//!   Found link https://HOST/PATH/pkg-1.0-py3-none-any.whl#sha256=HEX (from PAGE) (requires-python:>=3.9), version: 1.0
//! ```
//! The fragment is there when the index page is HTML; pip writes `****` in place of a password.

use std::path::PathBuf;

use super::Wheel;
use crate::Digest;
use crate::client::host_of;
use crate::remote::Place;

/// A wheel that pip has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) place: Place,
    pub(super) sha256: Option<Digest>,
    /// Address of the index page that lists it.
    pub(super) page: Option<String>,
}

/// The link of a line that names the wanted wheel at an address that hob can open.
pub(super) fn parse_link(line: &str, wheel: &Wheel) -> Option<Link> {
    let (link, version) = line
        .trim()
        .strip_prefix("Found link ")?
        .rsplit_once(", version: ")?;
    if version.trim() != wheel.version {
        return None;
    }
    let (url, rest) = link.split_once(' ').unwrap_or((link, ""));
    let page = rest
        .split_once("(from ")
        .and_then(|(_, rest)| Some(rest.split_once(')')?.0));
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let name = url.split('?').next()?.rsplit('/').next()?;
    // A hidden password: only pip can go there.
    if url.contains("****@") || !is_wheel_of(name, wheel) {
        return None;
    }
    let fields = fragment.split('&');
    let sha256 = fields
        .filter_map(|f| Digest::from_hex(f.strip_prefix("sha256=")?))
        .next();
    let place = match url.split_once("://")? {
        ("http" | "https", _) => Place::Http(url.to_owned()),
        ("file", path) => Place::Local(local_path(path)?),
        _ => return None,
    };
    let page = page
        .filter(|page| !page.contains("****@"))
        .map(str::to_owned);
    Some(Link {
        place,
        sha256,
        page,
    })
}

/// Whether a file name is that of a wheel of this package and version (PyPA's "binary distribution
/// format": `name-version-...whl`, with `_` for what separates words in the name).
pub(super) fn is_wheel_of(name: &str, wheel: &Wheel) -> bool {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let Some(name) = name.strip_suffix(".whl") else {
        return false;
    };
    let mut parts = name.split('-');
    let is_package = parts
        .next()
        .is_some_and(|part| plain(part) == plain(&wheel.package));
    is_package
        && parts
            .next()
            .is_some_and(|version| plain(version) == plain(&wheel.version))
}

/// `/a%20b/c.whl` (the part after `file://`) as a path.
fn local_path(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    // file:///C:/x on Windows.
    let is_drive = cfg!(windows) && path.starts_with('/') && path.as_bytes().get(2) == Some(&b':');
    Some(PathBuf::from(if is_drive {
        path.get(1..)?
    } else {
        path.as_str()
    }))
}

/// The last error line of what pip wrote to stderr, with addresses cut down to hosts.
pub(super) fn last_words(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .rfind(|line| line.starts_with("ERROR"))
        .or_else(|| lines().next_back());
    let words = line
        .unwrap_or("it failed without a word")
        .split_whitespace();
    let shown = words.map(|word| match word.split_once("://") {
        Some(_) => host_of(word),
        None => word.to_owned(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Place, Wheel, last_words, local_path, parse_link};

    fn wheel() -> Wheel {
        Wheel {
            package: "Some-Package".to_owned(),
            version: "1.2".to_owned(),
            file: None,
        }
    }

    #[test]
    fn address_hash_and_page_are_read() {
        let hex = "ab".repeat(32);
        let line = format!(
            "  Found link https://files.example/a/some_package-1.2-py3-none-any.whl#sha256={hex} \
             (from https://index.example/simple/some-package/) (requires-python:>=3.9), version: 1.2\n"
        );
        let link = parse_link(&line, &wheel()).unwrap();
        let url = "https://files.example/a/some_package-1.2-py3-none-any.whl";
        assert_eq!(link.place, Place::Http(url.to_owned()));
        assert_eq!(link.sha256.unwrap().to_string(), hex);
        assert_eq!(
            link.page.unwrap(),
            "https://index.example/simple/some-package/"
        );

        let line = line.replace(&format!("#sha256={hex}"), "");
        assert_eq!(parse_link(&line, &wheel()).unwrap().sha256, None);
        let local = "Found link file:///w%20x/some_package-1.2-py3-none-any.whl, version: 1.2";
        let place = parse_link(local, &wheel()).unwrap().place;
        assert_eq!(
            place,
            Place::Local("/w x/some_package-1.2-py3-none-any.whl".into())
        );
    }

    #[test]
    fn other_lines_name_no_wheel() {
        for line in [
            "Collecting some-package==1.2",
            "Found link https://x.example/some_package-1.3-py3-none-any.whl, version: 1.3",
            "Found link https://x.example/other-1.2-py3-none-any.whl, version: 1.2",
            "Found link https://x.example/some_package-1.2.tar.gz, version: 1.2",
            "Found link ftp://x.example/some_package-1.2-py3-none-any.whl, version: 1.2",
            "Found link https://u:****@x.example/some_package-1.2-py3-none-any.whl, version: 1.2",
            "Found link",
        ] {
            assert_eq!(parse_link(line, &wheel()), None, "{line}");
        }
    }

    #[test]
    fn local_addresses_are_decoded() {
        assert_eq!(local_path("/a%20b/c.whl"), Some("/a b/c.whl".into()));
        assert_eq!(local_path("/a%2"), None);
    }

    #[test]
    fn what_pip_said_is_shown_without_addresses() {
        let said = "WARNING: x\nERROR: no match at https://user:secret@index.example/simple\n\n";
        assert_eq!(last_words(said), "ERROR: no match at index.example");
    }
}
