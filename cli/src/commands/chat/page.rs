//! Words onto lines of a terminal: where the cursor is, when a line is full, which look is on. Text goes
//! in without escapes; what is to be written comes out, with the looks' sequences if colours are on.

use crate::style::Look;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between tab stops.
const TAB: usize = 8;

/// The columns that a grapheme cluster may take. Terminals differ: some draw a joined emoji as one
/// picture, some as all its parts. The wider of both is assumed, so that no line runs over the edge.
fn cluster_columns(cluster: &str) -> usize {
    let parts: usize = cluster.chars().filter_map(UnicodeWidthChar::width).sum();
    cluster.width().max(parts)
}

/// The columns that a text without tabs and line ends may take.
pub(super) fn columns(text: &str) -> usize {
    match text.is_ascii() {
        true => text.len(),
        false => text.graphemes(true).map(cluster_columns).sum(),
    }
}

/// A page that grows line by line.
pub(super) struct Page {
    out: String,
    color: bool,
    /// Columns of the terminal; `None` if lines are not to be wrapped.
    pub(super) width: Option<usize>,
    /// The column to which wrapped lines are indented.
    pub(super) hang: usize,
    /// The look that the terminal is in.
    look: Look,
    /// The column of the cursor, from 0.
    col: usize,
    /// White space that is shown if something follows it on its line.
    gap: String,
}

impl Page {
    pub(super) fn new(color: bool) -> Page {
        Page {
            out: String::new(),
            color,
            width: None,
            hang: 0,
            look: Look::Plain,
            col: 0,
            gap: String::new(),
        }
    }

    /// Whether the cursor is where lines begin.
    pub(super) fn at_line_start(&self) -> bool {
        self.col == 0
    }

    /// A text that is left as it is, however long; it may hold tabs, but no line ends.
    pub(super) fn verbatim(&mut self, text: &str, look: Look) {
        self.keep_gap();
        for part in text.split_inclusive('\t') {
            let plain = part.strip_suffix('\t');
            self.put(plain.unwrap_or(part), look);
            if plain.is_some() {
                self.out.push('\t');
                self.col += TAB - self.col % TAB;
            }
        }
    }

    /// White space between two words.
    pub(super) fn space(&mut self, gap: &str) {
        self.gap.push_str(gap);
    }

    /// A word, in pieces of one look each. It goes to the next line if this one has no room for it, and is
    /// broken between characters only if no line has.
    pub(super) fn word(&mut self, pieces: &[(Look, String)]) {
        let Some(width) = self.width.map(|w| w.max(2)) else {
            self.keep_gap();
            pieces.iter().for_each(|(look, text)| self.put(text, *look));
            return;
        };
        let hang = if self.hang <= width / 2 { self.hang } else { 0 };
        let wanted: usize = pieces.iter().map(|(_, text)| columns(text)).sum();
        let after_gap = self.after_gap();
        let fits = after_gap + wanted <= width;
        let long = wanted > width - hang;
        if !fits && after_gap > hang && !(long && after_gap < width) {
            self.wrap(hang);
        } else {
            self.keep_gap();
        }
        if !long {
            pieces.iter().for_each(|(look, text)| self.put(text, *look));
            return;
        }
        for (look, text) in pieces {
            for cluster in text.graphemes(true) {
                if self.col + cluster_columns(cluster) > width && self.col > hang {
                    self.wrap(hang);
                }
                self.put(cluster, *look);
            }
        }
    }

    /// The end of a line.
    pub(super) fn line_end(&mut self) {
        if self.width.is_none_or(|w| self.after_gap() <= w) {
            self.keep_gap();
        }
        self.gap.clear();
        self.change(Look::Plain);
        self.out.push('\n');
        (self.col, self.hang) = (0, 0);
    }

    /// What is to be written now. It leaves the terminal in its plain look.
    pub(super) fn take(&mut self) -> String {
        self.change(Look::Plain);
        std::mem::take(&mut self.out)
    }

    fn wrap(&mut self, hang: usize) {
        self.gap.clear();
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', hang));
        self.col = hang;
    }

    /// The column behind the gap.
    fn after_gap(&self) -> usize {
        self.gap.chars().fold(self.col, |col, c| match c {
            '\t' => col + TAB - col % TAB,
            c => col + c.width().unwrap_or(0),
        })
    }

    fn keep_gap(&mut self) {
        self.col = self.after_gap();
        self.out.push_str(&self.gap);
        self.gap.clear();
    }

    fn put(&mut self, text: &str, look: Look) {
        if text.is_empty() {
            return;
        }
        self.change(look);
        self.out.push_str(text);
        self.col += columns(text);
    }

    fn change(&mut self, look: Look) {
        if self.color && look != self.look {
            self.out.push_str(look.on());
        }
        self.look = look;
    }
}
