//! Which environment variables a process that talks to the network may see.
//!
//! `hob run` starts `hob pull`, and that starts pip, with only what they need: where programs and
//! the home folder are, the terminal and language, proxies, certificates, and the settings of pip,
//! of the Hub and of hob. Everything else that happens to stand in the environment stays behind.

use std::ffi::OsStr;
use std::process::Command;

/// Exact names that are kept (compared without case, since proxies come in both).
const NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "LANG",
    "LANGUAGE",
    // Proxies.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    // Certificates, netrc.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NETRC",
    // Where Python and its pip are.
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "LD_LIBRARY_PATH",
    // Windows: home, programs, and what its sockets need.
    "SYSTEMROOT",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
];

/// Beginnings of names that are kept.
const PREFIXES: &[&str] = &["LC_", "XDG_", "PIP_", "HOB_", "HF_"];

/// Whether a variable of this name is passed on.
#[must_use]
pub fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str().map(str::to_ascii_uppercase) else {
        return false;
    };
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Leaves a command only the variables that [`is_kept`] names.
pub fn clean_environment(command: &mut Command) -> &mut Command {
    let kept = std::env::vars_os().filter(|(name, _)| is_kept(name));
    command.env_clear().envs(kept)
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn secrets_of_other_programs_stay_behind() {
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "OPENAI_API_KEY",
            "SSH_AUTH_SOCK",
            "PROMPT",
            "PYTHONPATH",
        ] {
            assert!(!is_kept(name.as_ref()), "{name}");
        }
        for name in [
            "PATH",
            "https_proxy",
            "HTTPS_PROXY",
            "PIP_INDEX_URL",
            "LC_ALL",
            "HOB_HOME",
            "Path",
        ] {
            assert!(is_kept(name.as_ref()), "{name}");
        }
    }
}
