//! Reading as fast as the machine can: several readers, of which the best is the ceiling.

use super::figure::Figure;
use super::memory::Pages;
use crate::isa::Isa;

/// Where the bytes are that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// First-level cache.
    L1,
    /// Second-level cache.
    L2,
    /// Third-level cache.
    L3,
    /// Memory.
    Dram,
}

impl Level {
    /// All, nearest first.
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::Dram];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Level::L1 => "L1",
            Level::L2 => "L2",
            Level::L3 => "L3",
            Level::Dram => "DRAM",
        }
    }
}

/// A measured read bandwidth.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where the bytes were.
    pub level: Level,
    /// What pages they were asked for in.
    pub pages: Pages,
    /// The fraction of them that the system put into huge pages, if it tells.
    pub huge_share: Option<f64>,
    /// Bytes that each thread goes round in; for memory, all threads together.
    pub set_bytes: usize,
    /// How many threads read.
    pub threads: usize,
    /// The reader's instruction set.
    pub isa: Isa,
    /// How many places each thread reads from by turns.
    pub streams: usize,
    /// All threads together.
    pub gb_s: Figure,
}

/// Numbers of streams that readers have.
pub(crate) const STREAMS: [usize; 2] = [1, 4];

/// Reads every byte of as many whole kilobytes as there are, from `streams` places (1, else 4) by
/// turns, with the widest loads of `isa`, which must be available. Returns a mixture of what was
/// read, for the compiler to keep.
pub fn read(isa: Isa, streams: usize, bytes: &[u8]) -> u64 {
    debug_assert!(isa.is_available());
    match (isa, streams) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the set is available, by the caller and `proven`.
        (Isa::Avx512, 1) if isa.is_available() => unsafe { super::x86::read_512::<1, 8>(bytes) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Avx512, _) if isa.is_available() => unsafe { super::x86::read_512::<4, 2>(bytes) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Avx2 | Isa::AvxVnni, 1) if isa.is_available() => unsafe {
            super::x86::read_256::<1, 8>(bytes)
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Avx2 | Isa::AvxVnni, _) if isa.is_available() => unsafe {
            super::x86::read_256::<4, 2>(bytes)
        },
        // The compiler makes this as wide as the baseline of the target allows.
        (_, 1) => portable::<1, 8>(bytes),
        (_, _) => portable::<4, 2>(bytes),
    }
}

fn portable<const STREAMS: usize, const LOADS: usize>(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    let (lines, _) = words.as_chunks::<4>();
    let part = lines.len() / STREAMS / LOADS * LOADS;
    let mut sums = [[[0_u64; 4]; LOADS]; STREAMS];
    let mut streams: [_; STREAMS] = std::array::from_fn(|s| {
        let lines = lines.get(s * part..(s + 1) * part).unwrap_or_default();
        lines.as_chunks::<LOADS>().0.iter()
    });
    for _ in 0..part / LOADS {
        for (sums, stream) in sums.iter_mut().zip(&mut streams) {
            let Some(lines) = stream.next() else { break };
            for (sums, line) in sums.iter_mut().zip(lines) {
                for (sum, word) in sums.iter_mut().zip(line) {
                    *sum ^= u64::from_ne_bytes(*word);
                }
            }
        }
    }
    sums.iter().flatten().flatten().fold(0, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the instruction set and the streams, the same bytes are read: each exactly once.
    #[test]
    fn every_byte_is_read() {
        let mut bytes = vec![0_u8; 64 << 10];
        let mut seed = 1_u32;
        for b in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *b = (seed >> 24) as u8;
        }
        let expected = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .fold(0, |a, w| a ^ u64::from_ne_bytes(*w));
        for isa in Isa::available() {
            for streams in STREAMS {
                assert_eq!(read(isa, streams, &bytes), expected, "{isa} {streams}");
                for at in [0, 4097, 65_535] {
                    bytes[at] ^= 0x40;
                    assert_ne!(read(isa, streams, &bytes), expected, "{isa} {streams} {at}");
                    bytes[at] ^= 0x40;
                }
                assert_eq!(read(isa, streams, &[]), 0);
            }
        }
    }
}
