//! Models in several files: `NAME-00001-of-00003.gguf` and so on, as llama.cpp's `gguf-split` writes them.
//! File names and parsed headers enter; the paths of all parts, or an error that names the part that does
//! not belong, leave.
//!
//! Part 1 has the model's metadata; every part has `split.no` (from 0), `split.count` and
//! `split.tensors.count` (of all parts together).

use std::path::{Path, PathBuf};

use super::{Gguf, GgufError};
use crate::error::{Error, Result};

/// Where a file stands among the parts that its name speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitName {
    /// The part's number, from 1.
    pub number: u32,
    /// The number of parts.
    pub count: u32,
    directory: PathBuf,
    prefix: String,
    extension: String,
}

impl SplitName {
    /// Reads the name of `path`; `None` if it is not that of a part.
    pub fn of(path: &Path) -> Option<SplitName> {
        let name = path.file_name()?.to_str()?;
        let (stem, extension) = name.rsplit_once('.')?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |s: &str| {
            (s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then(|| SplitName {
            number,
            count,
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            prefix: prefix.to_owned(),
            extension: extension.to_owned(),
        })
    }

    /// The path of part `number`, from 1.
    pub fn part(&self, number: u32) -> PathBuf {
        self.directory.join(format!(
            "{}-{number:05}-of-{:05}.{}",
            self.prefix, self.count, self.extension
        ))
    }
}

/// Checks that `parts`, in the order of their names, are one model: each says the number that its name
/// says, and all say the same counts.
pub fn check(parts: &[(&Path, &Gguf)]) -> Result<()> {
    let wrong = |path: &Path, field: &str, found: u64, wanted: u64, remedy: &str| {
        Err(Error::malformed(
            path,
            field,
            format!("is {found}, but {wanted} is expected here; {remedy}"),
        ))
    };
    let count = parts.len() as u64;
    let mut n_tensors = 0;
    let mut declared = None;
    for (i, (path, gguf)) in parts.iter().enumerate() {
        let at = |source: GgufError| Error::Gguf {
            path: path.to_path_buf(),
            source,
        };
        let number = gguf.int::<u64>("split.no").map_err(at)?;
        let said = gguf.int::<u64>("split.count").map_err(at)?;
        let total = gguf.int::<u64>("split.tensors.count").map_err(at)?;
        if let (1, None | Some(0 | 1)) = (count, said) {
            return Ok(());
        }
        let Some(said) = said else {
            let problem = format!(
                "is missing, but the name says that this is part {} of {count}",
                i + 1
            );
            return Err(Error::malformed(path, "split.count", problem));
        };
        if said != count {
            let remedy = "give the parts the names that they were published with";
            return wrong(path, "split.count", said, count, remedy);
        }
        match number {
            Some(n) if n == i as u64 => {}
            Some(n) => {
                return wrong(
                    path,
                    "split.no",
                    n,
                    i as u64,
                    "two parts were mixed up, fetch them again",
                );
            }
            None => return Err(Error::malformed(path, "split.no", "is missing")),
        }
        let expected = *declared.get_or_insert(total);
        if total != expected {
            let problem = format!(
                "is {total:?}, and {expected:?} in part 1; the parts are of different models"
            );
            return Err(Error::malformed(path, "split.tensors.count", problem));
        }
        n_tensors += gguf.n_tensors() as u64;
    }
    match (declared.flatten(), parts.first()) {
        (Some(total), Some((path, _))) if total != n_tensors => wrong(
            path,
            "split.tensors.count",
            total,
            n_tensors,
            "the parts are of different models",
        ),
        _ => Ok(()),
    }
}
