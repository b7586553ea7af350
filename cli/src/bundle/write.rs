//! Writing a bundle: stored models enter, a stream of bytes leaves. Each file is hashed on its way, and one
//! that is not the pinned one is an error.

use std::io::{self, Write};

use anyhow::{Context, bail};
use hob_fetch::Digest;

use super::index::{BundledModel, Index};
use super::{END, INDEX, entry_bytes, entry_name, header, padding};
use crate::commands::export;
use crate::store::{Installed, StoredFile};
use crate::view::View;

/// What was written, or would be.
pub(crate) struct Written {
    /// Length of the bundle.
    pub(crate) bytes: u64,
    /// SHA-256 of its index.
    pub(crate) index: Digest,
    text: Vec<u8>,
    parsed: Index,
}

impl Written {
    /// What a bundle of these models is.
    pub(crate) fn of(models: &[Installed]) -> anyhow::Result<Self> {
        let parsed = Index::of(models)?;
        let text = parsed.to_text().context("cannot write the index")?;
        let mut bytes = END;
        let files = parsed.distinct()?;
        for size in files
            .iter()
            .map(|(_, file)| file.size)
            .chain([text.len() as u64])
        {
            let entry = entry_bytes(size).and_then(|entry| bytes.checked_add(entry));
            bytes = entry.context("the models are too large for one file")?;
        }
        Ok(Self {
            bytes,
            index: Digest::of(&text),
            text,
            parsed,
        })
    }
}

impl Written {
    /// The models of its index.
    pub(crate) fn models(&self) -> &[BundledModel] {
        &self.parsed.models
    }
}

/// Writes the bundle.
pub(crate) fn write(
    written: &Written,
    models: &[Installed],
    out: &mut (dyn Write + Send),
    view: &mut View,
) -> anyhow::Result<()> {
    let failed = "cannot write the bundle";
    let text = &written.text;
    let head = header(INDEX, text.len() as u64).context(failed)?;
    out.write_all(head.as_bytes()).context(failed)?;
    out.write_all(text).context(failed)?;
    zeros(out, padding(text.len() as u64)).context(failed)?;
    for (model, file) in written.parsed.distinct()? {
        let (stored_in, stored) = find(models, &file.sha256)?;
        let what = format!("exporting {} of {}", file.original, model.name);
        view.begin(&what, Some(file.size), 0);
        let head = header(&entry_name(&file.sha256), file.size).context(failed)?;
        out.write_all(head.as_bytes()).context(failed)?;
        let mut counted = Counted { out, bytes: 0 };
        export::write(stored_in, stored, &mut counted, &view.watch())?;
        if counted.bytes != file.size {
            bail!(
                "{} of {} has {} bytes, and its manifest says {}",
                file.original,
                model.name,
                counted.bytes,
                file.size
            );
        }
        zeros(out, padding(file.size)).context(failed)?;
        view.end();
    }
    zeros(out, END).context(failed)
}

/// The stored file whose original has this hash.
fn find<'a>(
    models: &'a [Installed],
    sha256: &str,
) -> anyhow::Result<(&'a Installed, &'a StoredFile)> {
    let mut files = models
        .iter()
        .flat_map(|model| model.manifest.files.iter().map(move |file| (model, file)));
    files
        .find(|(_, file)| file.sha256.eq_ignore_ascii_case(sha256))
        .context("a model changed meanwhile")
}

fn zeros(out: &mut dyn Write, n: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), n), out).map(drop)
}

/// Counts what goes through.
struct Counted<'a> {
    out: &'a mut (dyn Write + Send),
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
