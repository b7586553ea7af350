//! Standard input and output without the buffers that the standard library keeps for the life of the
//! process: what a person typed or read would stay in them.
//!
//! Bytes go in and out by the system's own calls. Lines that were read together with the one that was asked
//! for wait in memory that is given back, and so wiped, when they are taken.

use std::io::{self, Read, Write};

/// Standard input, unbuffered.
pub(crate) struct Input;

impl Read for Input {
    #[cfg(unix)]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), into)?)
    }

    #[cfg(not(unix))]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        io::stdin().lock().read(into)
    }
}

/// Standard output, unbuffered: what others printed before comes first.
pub(crate) struct Output;

impl Write for Output {
    #[cfg(unix)]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        out.flush()?;
        Ok(rustix::io::write(&out, bytes)?)
    }

    #[cfg(not(unix))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

/// Bytes read at once.
const PIECE: usize = 16 << 10;

/// Standard input, line by line.
#[derive(Default)]
pub(crate) struct Lines {
    /// Read, and not taken yet.
    waiting: Vec<u8>,
}

impl Lines {
    /// The next line with its end, or what there is of it at the end of the input or after `limit` bytes;
    /// nothing at the end.
    pub(crate) fn next(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        self.next_of(&mut Input, limit)
    }

    fn next_of(&mut self, input: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let rest = self.waiting.get(searched..).unwrap_or_default();
            let end = rest.iter().position(|&b| b == b'\n');
            if let Some(end) = end.map(|end| searched + end + 1).or_else(|| {
                let full = self.waiting.len() >= limit;
                full.then_some(limit)
            }) {
                return Ok(self.take(end.min(limit)));
            }
            searched = self.waiting.len();
            let mut piece = vec![0; PIECE];
            let n = match input.read(&mut piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if n == 0 {
                return Ok(std::mem::take(&mut self.waiting));
            }
            self.waiting
                .extend_from_slice(piece.get(..n).unwrap_or_default());
        }
    }

    /// The first `n` bytes that wait. The memory goes with them, so that none of them stays here.
    fn take(&mut self, n: usize) -> Vec<u8> {
        let rest = self.waiting.split_off(n.min(self.waiting.len()));
        std::mem::replace(&mut self.waiting, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a few.
    struct Drips<'a>(&'a [u8], usize);

    impl Read for Drips<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(into.len());
            let (now, later) = self.0.split_at(n);
            into[..n].copy_from_slice(now);
            self.0 = later;
            Ok(n)
        }
    }

    #[test]
    fn lines_are_the_same_in_pieces_of_any_size() {
        let text = b"one\n\ntwo\r\nlast without an end";
        for piece in [1, 2, 5, 100] {
            let (mut from, mut lines) = (Drips(text, piece), Lines::default());
            let mut next = |limit| lines.next_of(&mut from, limit).unwrap();
            assert_eq!(next(100), b"one\n");
            assert_eq!(next(100), b"\n");
            assert_eq!(next(3), b"two");
            assert_eq!(next(100), b"\r\n");
            assert_eq!(next(100), b"last without an end");
            assert_eq!(next(100), b"");
        }
    }
}
