//! Comma-separated values (RFC 4180): quoted where a cell needs it, a line a record.

/// A record's line, with its end.
pub(crate) fn line<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let mut out = String::new();
    for (i, cell) in cells.into_iter().enumerate() {
        let cell = cell.as_ref();
        if i > 0 {
            out.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(cell);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_line_is_quoted() {
        assert_eq!(line(["a", "b c", ""]), "a,b c,\n");
        assert_eq!(line(["a,b", "say \"hi\""]), "\"a,b\",\"say \"\"hi\"\"\"\n");
    }
}
