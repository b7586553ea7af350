//! Opening, apart from parsing: every file of a model is opened and mapped, and only first bytes and file
//! names are looked at. A path enters, [`ModelFiles`] leaves. So a program can open here, then confine
//! itself (no more opens), and only then parse with [`Weights::parse`](crate::weights::Weights::parse).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, Text};
use crate::gguf::split::SplitName;
use crate::mapping::{Bytes, FileId, Mapping, read_owned, read_owned_of};
use crate::packed;

/// What a file is, told from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GGUF.
    Gguf,
    /// A single safetensors file, or one shard of several.
    Safetensors,
    /// A packed file of hob's store, of either kind inside.
    Packed,
}

impl Kind {
    /// The kind of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        if bytes.starts_with(b"GGUF") {
            return Some(Kind::Gguf);
        }
        if bytes.starts_with(&packed::MAGIC) {
            return Some(Kind::Packed);
        }
        // safetensors: length of the header (u64), then its JSON object.
        let (len, rest) = bytes.split_first_chunk::<8>()?;
        let len = u64::from_le_bytes(*len);
        (len <= rest.len() as u64 && rest.first() == Some(&b'{')).then_some(Kind::Safetensors)
    }

    /// The kind's name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gguf => "GGUF",
            Kind::Safetensors => "safetensors",
            Kind::Packed => "a packed hob file",
        }
    }
}

/// Where the bytes of a model's files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In the page cache: a read-only map of each file.
    Mapped,
    /// In private memory: each file is read whole. No later change of a file is seen, and no SIGBUS comes.
    Owned,
}

/// One file that holds weights.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What its first bytes say.
    pub kind: Kind,
    /// The path that it was opened by.
    pub path: PathBuf,
    /// All its bytes.
    pub bytes: Bytes,
    /// Its map, unless its bytes are owned.
    mapping: Option<Arc<Mapping>>,
}

impl ModelFile {
    /// Opens the file at `path`.
    pub fn open(path: &Path, keep: Keep) -> Result<ModelFile> {
        match keep {
            Keep::Owned => ModelFile::from_bytes(path, read_owned(path)?),
            Keep::Mapped => ModelFile::mapped(path, Mapping::open(path)?),
        }
    }

    /// A file that is open for reading, mapped; `path` is its name in messages. For callers who open
    /// files in a way of their own, such as beneath a folder without following links.
    pub fn of_file(path: &Path, file: File) -> Result<ModelFile> {
        ModelFile::mapped(path, Mapping::of_file(file, path)?)
    }

    fn mapped(path: &Path, mapping: Arc<Mapping>) -> Result<ModelFile> {
        let file = ModelFile::from_bytes(path, Bytes::new(mapping.clone()));
        mapping.check_in_use()?;
        let file = file?;
        Ok(ModelFile {
            mapping: Some(mapping),
            ..file
        })
    }

    /// The same file read into private memory, if it is mapped: see [`Keep::Owned`].
    pub fn into_owned(self) -> Result<ModelFile> {
        match &self.mapping {
            Some(mapping) => ModelFile::from_bytes(&self.path, mapping.read_owned()?),
            None => Ok(self),
        }
    }

    /// Reads the pages of `range` in, if the file is mapped. A hint: it may do nothing.
    pub(crate) fn populate(&self, range: std::ops::Range<usize>) {
        if let Some(mapping) = &self.mapping {
            mapping.populate(range);
        }
    }

    /// A file whose bytes are in memory already; `path` is its name in messages.
    pub fn from_bytes(path: &Path, bytes: Bytes) -> Result<ModelFile> {
        let Some(kind) = Kind::of(&bytes) else {
            let first = bytes.get(..8).unwrap_or(&bytes).to_vec();
            return Err(Error::UnknownKind {
                path: path.to_owned(),
                first,
            });
        };
        Ok(ModelFile {
            kind,
            path: path.to_owned(),
            bytes,
            mapping: None,
        })
    }

    /// The file's identity when it was opened, if it is mapped.
    pub fn id(&self) -> Option<FileId> {
        self.mapping.as_ref().map(|m| m.id())
    }

    /// Whether its bytes are read from the disk as they are needed.
    pub fn is_mapped(&self) -> bool {
        self.mapping.is_some()
    }

    /// An error if the file is mapped and was cut short or written to since: [`Mapping::check_in_use`].
    pub fn check_in_use(&self) -> Result<()> {
        self.mapping.as_ref().map_or(Ok(()), |m| m.check_in_use())
    }

    /// An error if the file is mapped and was changed since: [`Mapping::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.mapping
            .as_ref()
            .map_or(Ok(()), |m| m.check_unchanged())
    }
}

/// The files beside safetensors that describe a model. Each is looked for by exactly this name.
pub const SIDE_FILES: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    INDEX,
];

/// The file that says which tensor is in which shard.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Side files are small; a larger one is not read. (The largest known tokenizer.json has 35 MB.)
const MAX_SIDE_BYTES: u64 = 256 << 20;

/// All files of a model, open, none parsed.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The files that hold weights, in the order of their parts.
    pub parts: Vec<ModelFile>,
    /// Those of [`SIDE_FILES`] that are there, by name. Empty for GGUF, which describes itself.
    pub side: BTreeMap<&'static str, Bytes>,
    /// The path that the user gave.
    pub path: PathBuf,
    /// The directory whose index (if it has one) says which shards belong to the model; none for a lone
    /// file.
    pub(crate) dir: Option<PathBuf>,
}

impl ModelFiles {
    /// Opens and maps the model at `path`: a GGUF, packed or safetensors file, any one of several parts, or
    /// a directory with safetensors.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFiles> {
        ModelFiles::open_as(path, Keep::Mapped)
    }

    /// [`open`](ModelFiles::open), with the choice between mapped and owned memory.
    pub fn open_as(path: impl AsRef<Path>, keep: Keep) -> Result<ModelFiles> {
        let path = path.as_ref();
        if path.is_dir() {
            return open_directory(path, keep);
        }
        let parts = match SplitName::of(path) {
            Some(split) if split.count > 1 => {
                let open = |number| ModelFile::open(&split.part(number), keep);
                (1..=split.count).map(open).collect::<Result<Vec<_>>>()?
            }
            _ => vec![ModelFile::open(path, keep)?],
        };
        let mut files = ModelFiles {
            parts,
            side: BTreeMap::new(),
            path: path.to_owned(),
            dir: None,
        };
        if files
            .parts
            .first()
            .is_some_and(|p| packed::original_kind(p) == Some(Kind::Safetensors))
        {
            let dir = path
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            files.side = open_side(dir)?;
            files.dir = (files.parts.len() > 1).then(|| dir.to_owned());
        }
        Ok(files)
    }

    /// A model whose one file is in memory already; `path` is its name in messages.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Bytes) -> Result<ModelFiles> {
        let path = path.as_ref();
        let parts = vec![ModelFile::from_bytes(path, bytes)?];
        Ok(ModelFiles {
            parts,
            side: BTreeMap::new(),
            path: path.to_owned(),
            dir: None,
        })
    }

    /// The same model with the files that are mapped read into private memory.
    pub fn into_owned(mut self) -> Result<ModelFiles> {
        let parts = self.parts.into_iter().map(ModelFile::into_owned);
        self.parts = parts.collect::<Result<_>>()?;
        Ok(self)
    }

    /// A model of GGUF parts (packed or not) that are open, in their order; `path` is the first one's.
    pub fn of_gguf_parts(path: &Path, parts: Vec<ModelFile>) -> ModelFiles {
        ModelFiles {
            parts,
            side: BTreeMap::new(),
            path: path.to_owned(),
            dir: None,
        }
    }

    /// A model whose files are all in memory: its parts, and what would lie beside them in `dir`.
    pub fn from_parts(
        dir: &Path,
        parts: Vec<ModelFile>,
        side: BTreeMap<&'static str, Bytes>,
    ) -> ModelFiles {
        ModelFiles {
            parts,
            side,
            path: dir.to_owned(),
            dir: Some(dir.to_owned()),
        }
    }

    /// What came of reading these files; or, if one of them was cut short or written to meanwhile, that
    /// error: another one would only be its consequence, and a result would be of no state of the file.
    pub fn checked<T, E: From<Error>>(
        &self,
        read: std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.parts.iter().try_for_each(ModelFile::check_in_use)?;
        read
    }
}

/// Opens every `*.safetensors` file of a directory, and what describes them. Which of them belong to the
/// model is known when the index is parsed.
fn open_directory(dir: &Path, keep: Keep) -> Result<ModelFiles> {
    let io = |e| Error::io(dir, "list", e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let problem = "has no .safetensors file; for a GGUF model, give the file itself";
        return Err(Error::malformed(dir, "directory", problem));
    }
    let open = |path: &PathBuf| {
        check_link(dir, path)?;
        ModelFile::open(path, keep)
    };
    let parts = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
    Ok(ModelFiles {
        parts,
        side: open_side(dir)?,
        path: dir.to_owned(),
        dir: Some(dir.to_owned()),
    })
}

/// Reads a file beside safetensors that is open; `path` is its name in messages. Owned, because it is
/// parsed as text and must not change between two looks.
///
/// # Errors
/// The system's; or the file is larger than such files are.
pub fn read_side(path: &Path, file: File) -> Result<Bytes> {
    let id = FileId::of_open(&file).map_err(|e| Error::io(path, "stat", e))?;
    check_side(path, id.size)?;
    read_owned_of(file, path)
}

fn check_side(path: &Path, bytes: u64) -> Result<()> {
    if bytes <= MAX_SIDE_BYTES {
        return Ok(());
    }
    let problem = format!("is {bytes} bytes, and at most {MAX_SIDE_BYTES} are read");
    Err(Error::malformed(path, "size", problem))
}

fn open_side(dir: &Path) -> Result<BTreeMap<&'static str, Bytes>> {
    let mut side = BTreeMap::new();
    for name in SIDE_FILES {
        let path = dir.join(name);
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(&path, "stat", e)),
        };
        check_link(dir, &path)?;
        check_side(&path, meta.len())?;
        // Owned: they are parsed as text, and must not change between two looks.
        side.insert(name, read_owned(&path)?);
    }
    Ok(side)
}

/// Refuses a symbolic link out of the model's directory: a downloaded directory must not make hob read
/// other files. The one exception is the cache of the Hugging Face Hub, in which every file of
/// `snapshots/REVISION/` is a link into `blobs/` beside `snapshots/`.
fn check_link(dir: &Path, path: &Path) -> Result<()> {
    let stat = |e| Error::io(path, "stat", e);
    if !std::fs::symlink_metadata(path).map_err(stat)?.is_symlink() {
        return Ok(());
    }
    let target = std::fs::canonicalize(path).map_err(stat)?;
    let dir = std::fs::canonicalize(dir).map_err(stat)?;
    let blobs = dir
        .ancestors()
        .nth(2)
        .map(|repository| repository.join("blobs"));
    let in_snapshots = dir.parent().is_some_and(|p| p.ends_with("snapshots"));
    let parent = target.parent();
    if parent == Some(&*dir) || in_snapshots && parent.is_some() && parent == blobs.as_deref() {
        return Ok(());
    }
    let target = target.to_string_lossy();
    let problem = format!(
        "leads to {:?}, outside of the model's directory; copy the file there",
        Text::str(&target)
    );
    Err(Error::malformed(path, "symbolic link", problem))
}
