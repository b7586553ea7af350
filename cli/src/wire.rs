//! Messages between this program and copies of it that it starts: over pipes, each a length of four bytes,
//! little-endian, then JSON. Errors do not quote what was said.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// The longest message: a conversation of the longest kind that is read, as JSON.
const LIMIT: u32 = 512 << 20;

/// Writes a message.
pub(crate) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let len = u32::try_from(text.len()).ok().filter(|&len| len <= LIMIT);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the conversation is too long");
    to.write_all(&len.ok_or_else(too_long)?.to_le_bytes())?;
    to.write_all(&text)?;
    to.flush()
}

/// Reads a message; none at the end.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let len = u32::from_le_bytes(len);
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if len > LIMIT {
        return Err(wrong("a message is too long"));
    }
    let mut text = Vec::new();
    let read = from.take(len.into()).read_to_end(&mut text)?;
    if read < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&text);
    message
        .map(Some)
        .map_err(|_| wrong("a message is not of the expected form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_and_wrong_ones_are_refused() {
        let mut wire = Vec::new();
        send(&mut wire, &("a\u{1b}\n", 3)).unwrap();
        send(&mut wire, &Ok::<u8, String>(4)).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(
            receive::<(String, u32)>(&mut from).unwrap(),
            Some(("a\u{1b}\n".to_owned(), 3))
        );
        assert_eq!(
            receive::<Result<u8, String>>(&mut from).unwrap(),
            Some(Ok(4))
        );
        assert_eq!(receive::<u8>(&mut from).unwrap(), None);
        // Short of the first message's end; the second has 12 bytes.
        for len in 5..wire.len() - 12 {
            let cut = wire.get(..len).unwrap_or_default();
            assert!(receive::<(String, u32)>(&mut &*cut).is_err(), "{len}");
        }
        let too_long = [0xff; 8];
        assert!(receive::<u8>(&mut &too_long[..]).is_err());
        let error = receive::<u8>(&mut &b"\x08\0\0\0\"SECRET\""[..]).unwrap_err();
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}
