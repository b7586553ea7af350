//! Small reads and writes, many at a time; large ones go through without a copy. As the standard library's
//! buffers, but the memory is wiped, because a conversation went through it; and no more is read than is
//! there to be read.

use hob_kernels::private::{wipe, wipe_vec};
use std::io::{self, Read, Write};

/// Bytes that are gathered; pages of keys and values are larger.
const BYTES: usize = 64 << 10;

/// Gathers what is written. What was not flushed is lost when it is dropped.
pub(super) struct Gather<W: Write> {
    to: W,
    held: Vec<u8>,
}

impl<W: Write> Gather<W> {
    pub(super) fn new(to: W) -> Gather<W> {
        Gather {
            to,
            held: Vec::with_capacity(BYTES),
        }
    }

    pub(super) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        if part.len() > BYTES - self.held.len() {
            self.write_held()?;
        }
        if part.len() >= BYTES {
            return self.to.write_all(part);
        }
        self.held.extend_from_slice(part);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.write_held()?;
        self.to.flush()
    }

    fn write_held(&mut self) -> io::Result<()> {
        self.to.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

impl<W: Write> Drop for Gather<W> {
    fn drop(&mut self) {
        wipe_vec(&mut self.held);
    }
}

/// Reads ahead, but not beyond an end that is known.
pub(super) struct Ahead<R: Read> {
    from: R,
    /// Bytes before the end that were not read yet.
    left: u64,
    memory: Vec<u8>,
    /// The part of the memory that was read and not taken.
    held: std::ops::Range<usize>,
}

impl<R: Read> Ahead<R> {
    pub(super) fn new(from: R, bytes: u64) -> Ahead<R> {
        Ahead {
            from,
            left: bytes,
            memory: vec![0; BYTES],
            held: 0..0,
        }
    }

    pub(super) fn read(&mut self, part: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = part.get_mut(done..).filter(|rest| !rest.is_empty()) {
            if self.held.is_empty() && rest.len() >= BYTES {
                self.left = left(self.left, rest.len())?;
                return self.from.read_exact(rest);
            }
            if self.held.is_empty() {
                let most = self.left.min(BYTES as u64) as usize;
                self.left = left(self.left, most.max(1))?;
                let memory = self.memory.get_mut(..most).unwrap_or_default(); // at most BYTES
                self.from.read_exact(memory)?;
                self.held = 0..most;
            }
            let mut held = self.memory.get(self.held.clone()).unwrap_or_default(); // within it
            let n = held.read(rest)?;
            (self.held.start, done) = (self.held.start + n, done + n);
        }
        Ok(())
    }
}

/// What is left after `n` bytes more; an error if they are too many.
fn left(left: u64, n: usize) -> io::Result<u64> {
    left.checked_sub(n as u64)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl<R: Read> Drop for Ahead<R> {
    fn drop(&mut self) {
        wipe(&mut self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever the pieces, the bytes are the same, and none is read that is not part of it.
        #[test]
        fn pieces_do_not_matter(
            written in prop::collection::vec(0usize..100_000, 0..8),
            read in prop::collection::vec(1usize..100_000, 1..8),
            few in any::<bool>(),
        ) {
            let size = |n: usize| if few { n % 300 } else { n };
            let total: usize = written.iter().map(|n| size(*n)).sum();
            let bytes: Vec<u8> = (0..total).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut out = Vec::new();
            let mut gather = Gather::new(&mut out);
            let mut rest = bytes.as_slice();
            for n in &written {
                let (part, more) = rest.split_at(size(*n));
                gather.write(part).unwrap();
                rest = more;
            }
            gather.flush().unwrap();
            drop(gather);
            prop_assert_eq!(&out, &bytes);

            out.extend([1, 2, 3]);
            let mut source = out.as_slice();
            let mut ahead = Ahead::new(&mut source, total as u64);
            let mut again = Vec::new();
            for n in read.iter().cycle().take(10_000) {
                let n = size(*n).max(1).min(total - again.len());
                let mut part = vec![0; n];
                ahead.read(&mut part).unwrap();
                again.extend(part);
                if n == 0 {
                    break;
                }
            }
            while again.len() < total {
                let mut part = vec![0; 1];
                ahead.read(&mut part).unwrap();
                again.extend(part);
            }
            prop_assert!(ahead.read(&mut [0]).is_err());
            drop(ahead);
            prop_assert_eq!(&again, &bytes);
            prop_assert_eq!(source, &[1, 2, 3]);
        }
    }
}
