//! Anonymous memory to read from, in small pages or huge ones.

use std::ops::Range;

use super::host;

/// What kind of pages memory is asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pages {
    /// The processor's smallest, usually 4 KiB.
    Small,
    /// Huge where the system grants them: it decides ([`Memory::huge_bytes`]).
    Huge,
}

impl Pages {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Pages::Small => "small",
            Pages::Huge => "huge",
        }
    }
}

/// A huge page's size, and the alignment of all memory here.
const HUGE: usize = 2 << 20;

/// Bytes of this process alone, written once, 2 MiB aligned.
#[derive(Debug)]
pub struct Memory {
    map: memmap2::MmapMut,
    range: Range<usize>,
}

impl Memory {
    /// `len` bytes, not written yet.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn new(len: usize, pages: Pages) -> std::io::Result<Memory> {
        let map = memmap2::MmapMut::map_anon(len.max(1).saturating_add(HUGE))?;
        #[cfg(target_os = "linux")]
        {
            let advice = match pages {
                Pages::Small => memmap2::Advice::NoHugePage,
                Pages::Huge => memmap2::Advice::HugePage,
            };
            // A kernel without huge pages refuses: then all pages are small, and reported so.
            let _ = map.advise(advice);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pages;
        let start = map.as_ptr().align_offset(HUGE).min(HUGE);
        Ok(Memory {
            map,
            range: start..start + len,
        })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }

    /// All bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.get_mut(self.range.clone()).unwrap_or_default()
    }

    /// How many of the bytes lie in huge pages, as the system counts them; `None` if it does not
    /// tell. The neighbouring mappings that it lists together with this one count too.
    pub fn huge_bytes(&self) -> Option<usize> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let at = self.bytes().as_ptr().addr();
        huge_bytes_at(&smaps, at).map(|n| n.min(self.range.len()))
    }
}

/// `AnonHugePages` of the mapping that holds an address.
fn huge_bytes_at(smaps: &str, at: usize) -> Option<usize> {
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((from, to)) = line.split(' ').next().and_then(|r| r.split_once('-'))
            && let (Ok(from), Ok(to)) = (
                usize::from_str_radix(from, 16),
                usize::from_str_radix(to, 16),
            )
        {
            inside = (from..to).contains(&at);
        } else if inside && let Some(n) = host::field(line, "AnonHugePages") {
            return host::kib(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_writable() {
        for pages in [Pages::Small, Pages::Huge] {
            let mut m = Memory::new(5000, pages).unwrap();
            m.bytes_mut().fill(7);
            assert_eq!(m.bytes(), [7; 5000]);
            assert!(m.bytes().as_ptr().addr().is_multiple_of(HUGE));
        }
    }

    #[test]
    fn huge_pages_are_counted_where_the_address_lies() {
        let smaps = "1000-2000 rw-p 0 00:00 0\nSize: 4 kB\nAnonHugePages: 2048 kB\n\
            2000-3000 rw-p 0 00:00 0 [heap]\nAnonHugePages:      4096 kB\n";
        assert_eq!(huge_bytes_at(smaps, 0x1800), Some(2 << 20));
        assert_eq!(huge_bytes_at(smaps, 0x2000), Some(4 << 20));
        assert_eq!(huge_bytes_at(smaps, 0x3000), None);
    }
}
