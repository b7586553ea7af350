//! What a person sees: text made harmless for terminals, and write errors told apart.

use crate::stdio::Output;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

/// Shows text without the characters that steer a terminal or reorder a line: C0 and C1 controls
/// but for newline and tab, and the bidirectional controls (Unicode UAX 9).
pub(crate) struct Plain<'a>(pub(crate) &'a str);

pub(crate) fn steers(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| steers(c)) {
            let (clean, tail) = rest.split_at(at);
            f.write_str(clean)?;
            f.write_str("\u{fffd}")?;
            rest = tail.strip_prefix(c).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

/// The same for what belongs on one line, a name, say: without line ends and tabs, too, so that it cannot
/// pose as a line of hob's.
pub(crate) struct PlainLine<'a>(pub(crate) &'a str);

impl fmt::Display for PlainLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.split(['\n', '\t']).enumerate() {
            f.write_str(if i == 0 { "" } else { "\u{fffd}" })?;
            Plain(part).fmt(f)?;
        }
        Ok(())
    }
}

/// Shows JSON without the characters that steer a terminal: as escapes, which mean the same. (JSON's own
/// rules escape C0 only.)
pub(crate) struct PlainJson<'a>(pub(crate) &'a serde_json::Value);

impl fmt::Display for PlainJson<'_> {
    /// With `#`, on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match f.alternate() {
            true => format!("{:#}", self.0),
            false => self.0.to_string(),
        };
        // They occur within strings only, and none of them is beyond the basic plane.
        for c in text.chars() {
            match steers(c) {
                true => write!(f, "\\u{:04x}", u32::from(c))?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Standard output for an answer: bytes as they are into pipes and files, harmless text onto a
/// terminal.
pub(crate) struct Answer {
    terminal: bool,
}

impl Answer {
    pub(crate) fn new() -> Answer {
        Answer {
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes a piece and shows it at once.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        match self.terminal {
            true => Output.write_all(Plain(text).to_string().as_bytes()),
            false => Output.write_all(text.as_bytes()),
        }
    }
}

/// An error with its causes, each said once: an outer message may hold its cause's already.
pub(crate) fn chain(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// Whether an error's root is a reader that went away.
pub(crate) fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .filter_map(|c| c.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// `n` bytes for people: three significant digits and a binary unit.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut x = n as f64;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if x < 1000.0 {
            break;
        }
        x /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{n} B"),
        _ if x >= 100.0 => format!("{x:.0} {unit}"),
        _ if x >= 10.0 => format!("{x:.1} {unit}"),
        _ => format!("{x:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow::anyhow!("the disk is full");
        assert_eq!(
            chain(&inner.context("cannot write x")),
            "cannot write x: the disk is full"
        );
        let repeated = anyhow::anyhow!("the disk is full").context("x: the disk is full");
        assert_eq!(chain(&repeated), "x: the disk is full");
    }

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        let hostile = "a\x1b]52;c;aGk=\x07b\u{9b}31m\u{202e}c\r\n\td\u{7f}";
        let shown = Plain(hostile).to_string();
        assert!(!shown.chars().any(steers));
        assert_eq!(
            shown
                .chars()
                .filter(|c| c.is_ascii_alphanumeric())
                .collect::<String>(),
            "a52caGkb31mcd"
        );
        assert!(shown.contains("\n\t"));
        assert_eq!(Plain("naïve 日本語 🙂").to_string(), "naïve 日本語 🙂");
        let line = PlainLine(hostile).to_string();
        assert!(!line.contains(['\n', '\t']) && !line.chars().any(steers));
        assert_eq!(line.replace('\u{fffd}', ""), "a]52;c;aGk=b31mcd");
        let value = serde_json::json!({ hostile: [hostile] });
        for json in [
            PlainJson(&value).to_string(),
            format!("{:#}", PlainJson(&value)),
        ] {
            assert!(!json.chars().any(steers), "{json}");
            let back: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(back, value);
        }
    }
}
