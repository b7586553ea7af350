//! What can go wrong between a path and its weights. Every variant names the file, the value that was
//! found and what to do; text that comes out of a file is escaped and shortened (a model file is hostile
//! input, and its names end up on terminals).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::gguf::GgufError;

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A model file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}{}", Shown(path), remedy(source))]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What was being done, as a verb ("open", "map").
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not a regular file: a directory, pipe, socket or device.
    #[error("{}: is {found}, not a regular file", Shown(path))]
    NotRegular {
        /// The path given.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A file without bytes.
    #[error(
        "{}: the file is empty; the download may have failed, fetch it again",
        Shown(path)
    )]
    Empty {
        /// The path given.
        path: PathBuf,
    },
    /// A file that begins like no format that hob reads.
    #[error(
        "{}: is no model file: it begins with {:?}, as neither GGUF, nor safetensors, nor hob's packed files do; give a model's file, or a name of `hob list`",
        Shown(path),
        Text::bytes(first)
    )]
    UnknownKind {
        /// The file concerned.
        path: PathBuf,
        /// Its first bytes, at most eight.
        first: Vec<u8>,
    },
    /// A malformed GGUF file.
    #[error("{}: {source}", Shown(path))]
    Gguf {
        /// The file concerned.
        path: PathBuf,
        /// The field, its position, and what is wrong with it.
        source: GgufError,
    },
    /// A malformed file of another kind, or a set of files that do not belong together.
    #[error("{}: {field}: {problem}", Shown(path))]
    Malformed {
        /// The file concerned.
        path: PathBuf,
        /// The field within it.
        field: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A tensor that the model needs and the file lacks.
    #[error(
        "tensor {:?} is missing; the file is incomplete or of another architecture",
        Text::str(name)
    )]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// A tensor that hob does not compute with.
    #[error(
        "tensor {:?} is {found}, which hob does not run; use a file in a supported type, such as Q4_K_M or Q8_0",
        Text::str(name)
    )]
    Unsupported {
        /// The tensor's name.
        name: String,
        /// What is unsupported: "of type IQ2_XXS".
        found: String,
    },
    /// The file was changed after it was opened.
    #[error(
        "{}: the file was changed while it was in use; load the model again when nothing writes to it",
        Shown(path)
    )]
    Changed {
        /// The file concerned.
        path: PathBuf,
    },
    /// The file has become shorter since it was opened, or the disk could not read part of it.
    #[error(
        "{}: the file was cut short while it was in use (or the disk failed); restore it, and load the model again",
        Shown(path)
    )]
    CutShort {
        /// The file concerned.
        path: PathBuf,
    },
    /// The memory asked for is not to be had.
    #[error(
        "cannot reserve {bytes} bytes of memory: {source}; close other programs or use `--weights mapped`"
    )]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file system without room for what is to be written.
    #[error(
        "{}: needs {need} bytes of free space and has {free}; free some or choose another directory",
        Shown(path)
    )]
    NoSpace {
        /// The directory written to.
        path: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// A packed file does not hold the bytes that it was made from.
    #[error(
        "{}: its content has SHA-256 {}, and {} was recorded; it is damaged, import the model again",
        Shown(path),
        hex(found),
        hex(recorded)
    )]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// The hash of what it holds, unpacked.
        found: [u8; 32],
        /// The hash that it should have.
        recorded: [u8; 32],
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str, source: std::io::Error) -> Error {
        Error::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    }

    pub(crate) fn malformed(
        path: &Path,
        field: impl Into<String>,
        problem: impl Into<String>,
    ) -> Error {
        Error::Malformed {
            path: path.to_owned(),
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A path in a message, with control characters escaped.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            match c {
                ' '..='~' => write!(f, "{c}")?,
                c if c.is_alphanumeric() => write!(f, "{c}")?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// Text out of a file, for a message: `{:?}` quotes it, escapes what a terminal would obey, and cuts it
/// after 80 characters.
pub(crate) struct Text<'a>(std::borrow::Cow<'a, str>);

impl<'a> Text<'a> {
    pub(crate) fn str(s: &'a str) -> Text<'a> {
        Text(s.into())
    }

    pub(crate) fn bytes(b: &'a [u8]) -> Text<'a> {
        // At most 80 characters are shown, of at most four bytes each.
        Text(String::from_utf8_lossy(b.get(..320).unwrap_or(b)))
    }
}

/// What can be done about an answer of the system, if that is known.
fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "; its owner can let others read it (`chmod a+r` on the file, `a+x` on its folders)"
        }
        _ => "",
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(80) {
            // escape_debug leaves bidirectional controls alone; a terminal does not.
            if c.is_ascii() || c.is_alphanumeric() {
                write!(f, "{}", c.escape_debug())?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        f.write_str(if chars.next().is_some() {
            "\"..."
        } else {
            "\""
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_file_cannot_steer_a_terminal_or_flood_it() {
        let hostile = format!("\x1b]52;c;\u{202e}{}", "x".repeat(1000));
        let shown = format!("{:?}", Text::str(&hostile));
        assert!(shown.is_ascii() && !shown.contains('\x1b'), "{shown}");
        assert!(shown.len() < 200 && shown.ends_with("..."), "{shown}");
        let path = Error::Empty {
            path: PathBuf::from("a\x1b[2Jb"),
        }
        .to_string();
        assert!(!path.contains('\x1b'), "{path}");
    }
}
