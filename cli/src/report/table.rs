//! Tables for a terminal: columns as wide as their widest cell, texts left, figures right.

use std::fmt;

/// A table that grows row by row.
pub(crate) struct Table {
    left: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head, of which the first `left` columns hold text.
    pub(crate) fn new<S: Into<String>>(left: usize, head: impl IntoIterator<Item = S>) -> Table {
        Table {
            left,
            rows: vec![head.into_iter().map(Into::into).collect()],
        }
    }

    /// Appends a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(c));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if c > 0 {
                    line.push_str("  ");
                }
                match c < self.left {
                    true => line.push_str(&format!("{cell:<width$}")),
                    false => line.push_str(&format!("{cell:>width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(1, ["format", "GB/s"]);
        t.row(["Q4_K".to_owned(), "1.5".to_owned()]);
        t.row(["F32".to_owned(), "123.0".to_owned()]);
        assert_eq!(
            t.to_string(),
            "format   GB/s\nQ4_K      1.5\nF32     123.0\n"
        );
    }
}
