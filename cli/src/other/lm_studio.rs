//! LM Studio's models: `models/PUBLISHER/REPOSITORY/FILE.gguf` below its home folder.

use std::path::PathBuf;

use super::{Offer, ggufs_below, home, read_small};

pub(super) fn find() -> Vec<Offer> {
    // A file in the user's folder names LM Studio's; earlier versions had theirs in the cache.
    let pointer = home(".lmstudio-home-pointer").and_then(|path| read_small(&path));
    let pointed = pointer.map(|text| PathBuf::from(String::from_utf8_lossy(&text).trim()));
    let own = pointed.or_else(|| home(".lmstudio"));
    let folders = [
        own.map(|own| own.join("models")),
        home(".cache/lm-studio/models"),
    ];
    let folders = folders.iter().flatten();
    folders
        .flat_map(|folder| ggufs_below(folder, "lmstudio"))
        .collect()
}
