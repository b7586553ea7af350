//! A text in the user's own editor, by way of a private file that is gone afterwards.
//!
//! The file lies in memory where the system has such a place (`$XDG_RUNTIME_DIR`, `/dev/shm`), in a
//! folder of its own that only this user can open, so that what the editor leaves beside it (backups,
//! swap files) goes with it. What an editor writes elsewhere is beyond hob's reach.

use anyhow::{Context, bail};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::{Builder, TempDir};

/// Opens the text; gives it as it was saved, without the last line end.
pub(super) fn edit(text: &str) -> anyhow::Result<String> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.trim().is_empty())
        .unwrap_or_else(|| "vi".to_owned());
    let folder = private_folder().context("cannot make a private folder for the editor's file")?;
    let path = folder.path().join("message.md");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    // As others do (git, for one): the variable may hold arguments, so a shell takes it apart.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg(&editor)
        .arg(&path)
        .stdin(terminal())
        .stdout(terminal())
        .status()
        .context("cannot start a shell for the editor")?;
    if !status.success() {
        let remedy = match status.code() {
            Some(126 | 127) => "set VISUAL or EDITOR to an editor that is installed",
            _ => "the message is left as it was",
        };
        bail!("the editor `{editor}` failed ({status}); {remedy}");
    }
    let edited = std::fs::read_to_string(&path)
        .context("the editor left no text that can be read; the message is left as it was")?;
    Ok(edited.trim_end_matches(['\n', '\r']).to_owned())
}

/// The user's terminal, for a program of this process, whose own standard streams are pipes.
fn terminal() -> Stdio {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let mut options = std::fs::File::options();
        if let Ok(file) = options.read(true).write(true).open("/dev/tty") {
            return file.into();
        }
        // A process without a controlling terminal may have one all the same.
        let error = std::io::stderr();
        if error.is_terminal()
            && let Ok(copy) = error.as_fd().try_clone_to_owned()
        {
            return copy.into();
        }
    }
    Stdio::null()
}

/// A new folder for this user alone, not on a disk if that can be had.
fn private_folder() -> std::io::Result<TempDir> {
    let make = |place: &Path| {
        let mut builder = Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        builder.prefix("hob-").tempdir_in(place)
    };
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .into_iter()
        .filter(|path| path.is_absolute())
        .chain([PathBuf::from("/dev/shm")])
        .find_map(|place| make(&place).ok())
        .map_or_else(|| make(&std::env::temp_dir()), Ok)
}

#[cfg(all(test, unix))]
mod tests {
    use super::private_folder;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_private_and_goes_away() {
        let folder = private_folder().unwrap();
        let path = folder.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        drop(folder);
        assert!(!path.exists());
    }
}
