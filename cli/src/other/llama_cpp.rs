//! Files that llama.cpp has downloaded: GGUFs in `$LLAMA_CACHE`, else in `llama.cpp` of the system's
//! cache folder.

use super::{Offer, cache_dir, ggufs_below, set};

pub(super) fn find() -> Vec<Offer> {
    let folder = set("LLAMA_CACHE").or_else(|| Some(cache_dir()?.join("llama.cpp")));
    folder.map_or_else(Vec::new, |folder| ggufs_below(&folder, "llama.cpp"))
}
