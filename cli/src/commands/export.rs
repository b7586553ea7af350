//! `hob export`: the files of a stored model as they were at their source, byte for byte.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use hob_fetch::{Digest, FetchError, need_space, sync_dir, write_error};
use hob_models::error::Error;
use hob_models::packed::original_to;

use crate::store::{Installed, Store, StoredFile};
use crate::view::{BarWatch, View};

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Name from the store
    name: String,
    /// File to write, or a folder for a model of several files; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
}

/// Runs `hob export`.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let model = Store::open()?.need(&args.name)?;
    let mut view = View::new(args.quiet);
    let files = &model.manifest.files;
    if args.out == Path::new("-") {
        let [only] = files.as_slice() else {
            bail!(
                "{} has {} files, and standard output holds one: give a folder",
                model.manifest.name,
                files.len()
            );
        };
        view.begin("exporting", Some(only.size), 0);
        let mut out = BufWriter::new(std::io::stdout());
        write(&model, only, &mut out, &view.watch())?;
        out.flush().context("cannot write to standard output")?;
        view.end();
        return Ok(());
    }
    let is_folder = files.len() > 1 || args.out.is_dir();
    let target = |file: &StoredFile| match is_folder {
        true => Ok(args.out.join(plain(&file.original)?)),
        false => Ok(args.out.clone()),
    };
    let targets: Vec<_> = files.iter().map(target).collect::<anyhow::Result<_>>()?;
    if let Some(there) = targets.iter().find(|path| path.exists() && !args.force) {
        bail!("{} is there already; --force replaces it", there.display());
    }
    let folder = match is_folder {
        true => args.out.as_path(),
        false => args
            .out
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    };
    if is_folder {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    need_space(folder, model.manifest.size()).map_err(elsewhere)?;
    for (file, target) in files.iter().zip(&targets) {
        view.begin(&format!("exporting {}", file.original), Some(file.size), 0);
        // A temporary file beside it: nothing half done has the name, and nothing damaged.
        let failed = || format!("cannot write {}", target.display());
        let mut temp = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        write(&model, file, temp.as_file_mut(), &view.watch())?;
        temp.as_file().sync_all().with_context(failed)?;
        temp.persist(target).with_context(failed)?;
        view.end();
        view.say(&format!("{}: SHA-256 {}", target.display(), file.sha256));
    }
    sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))
}

/// The original's name, if it can be that of a file here. It came from elsewhere.
pub(super) fn plain(name: &str) -> anyhow::Result<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(part)), None) if part == name => Ok(name),
        _ => bail!(
            "the original's name `{}` cannot be a file's here",
            name.escape_debug()
        ),
    }
}

/// A full disk here is not the store's, so HOB_HOME is no remedy.
pub(super) fn elsewhere(error: FetchError) -> anyhow::Error {
    match error {
        FetchError::DiskFull { dir, needed, free } => anyhow::anyhow!(
            "the disk that holds {} is full: {} are needed and {} are free",
            dir.display(),
            crate::terminal::bytes(needed),
            crate::terminal::bytes(free)
        ),
        other => other.into(),
    }
}

/// Streams the original of a stored file, and errs at the end if its hash is not the recorded one.
pub(crate) fn write(
    model: &Installed,
    stored: &StoredFile,
    out: &mut (dyn Write + Send),
    watch: &BarWatch,
) -> anyhow::Result<()> {
    let found = match model.manifest.is_weights(stored) {
        true => match original_to(&model.open_part(stored)?, out, watch) {
            Ok(found) => Digest(found),
            // What a packed file says of itself is of no weight beside the manifest.
            Err(Error::Damaged { found, .. }) => Digest(found),
            Err(Error::Io { path, source, .. }) => {
                return Err(elsewhere(write_error(&path, 0, source)));
            }
            Err(other) => return Err(other.into()),
        },
        false => {
            let bytes = model.read_side(stored)?;
            out.write_all(&bytes)
                .map_err(|e| elsewhere(write_error(&model.file(stored), 0, e)))?;
            watch.at(bytes.len() as u64);
            Digest::of(&bytes)
        }
    };
    if found.to_string() != stored.sha256 {
        bail!(
            "{} in the store is damaged (SHA-256 {found}, and {} was recorded); nothing was exported",
            stored.file,
            stored.sha256
        );
    }
    Ok(())
}
