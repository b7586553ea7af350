//! An answer on a terminal, while it arrives: lines wrapped between words, the marks of Markdown in
//! light colours. No character is taken away and none is added but line ends and indentation, so what is
//! copied from the screen is what the model wrote. Code blocks and tables keep their lines.
//!
//! Text goes in piece by piece and comes out as soon as its place on the line is certain: a word when
//! its end is known. Characters that steer a terminal are replaced first ([`Plain`]). Block and inline
//! marks are CommonMark's (0.31.2), read leniently: a mark that is never closed ends with its line.

use super::page::Page;
use crate::style::Look;
use crate::terminal::Plain;
use unicode_linebreak::linebreaks;
use unicode_segmentation::UnicodeSegmentation;

/// A word without an end is shown after so many bytes.
const LONGEST_WORD: usize = 256;

/// What the current line is.
enum Line {
    /// Not known yet: this much of it has arrived.
    Undecided(String),
    /// Words to be wrapped.
    Text,
    /// To be left as it is.
    Verbatim,
}

/// What the beginning of a line says of it.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// The line opens or closes a code block.
    Fence { opens: bool },
    /// A line of a code block or of a table.
    Verbatim,
    /// Words after `indent` columns of space and a `mark` of this many bytes.
    Text {
        indent: usize,
        mark: usize,
        kind: Kind,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Paragraph,
    Heading,
    Item,
    Quote,
}

/// The state of one answer.
pub(super) struct Markdown {
    page: Page,
    line: Line,
    /// The character and the length of the fence of the code block that is open.
    fence: Option<(char, usize)>,
    /// The last lines belong to a list, where indentation is not code.
    in_list: bool,
    /// A word whose end has not arrived.
    word: String,
    /// The look of what has no mark.
    base: Look,
    heading: bool,
    /// The length of the run of backticks that opened a code span; 0 outside.
    code: usize,
    strong: Option<char>,
    /// The character before the word.
    before: char,
}

impl Markdown {
    /// `base` is the look of text without marks.
    pub(super) fn new(color: bool, base: Look) -> Markdown {
        Markdown {
            page: Page::new(color),
            line: Line::Undecided(String::new()),
            fence: None,
            in_list: false,
            word: String::new(),
            base,
            heading: false,
            code: 0,
            strong: None,
            before: '\n',
        }
    }

    /// Takes more of the answer, gives what to write. Lines are wrapped at `width` columns, if given.
    pub(super) fn push(&mut self, text: &str, width: Option<usize>) -> String {
        self.page.width = width;
        for c in Plain(text).to_string().chars() {
            self.feed(c);
        }
        self.page.take()
    }

    /// The end of the answer: what was held back, and a line end if the last line lacks it.
    pub(super) fn finish(&mut self, width: Option<usize>) -> String {
        self.page.width = width;
        self.settle(true);
        self.flush_word();
        if !self.page.at_line_start() {
            self.page.line_end();
        }
        self.page.take()
    }

    fn feed(&mut self, c: char) {
        match (&mut self.line, c) {
            (Line::Undecided(_), '\n') => {
                self.settle(true);
                self.line_end();
            }
            (_, '\n') => self.line_end(),
            (Line::Undecided(head), c) => {
                head.push(c);
                self.settle(false);
            }
            (Line::Verbatim, c) => self.page.verbatim(c.encode_utf8(&mut [0; 4]), self.base),
            (Line::Text, c) => {
                self.word.push(c);
                self.place_words();
            }
        }
    }

    fn line_end(&mut self) {
        self.flush_word();
        self.page.line_end();
        self.line = Line::Undecided(String::new());
        (self.heading, self.code, self.strong, self.before) = (false, 0, None, '\n');
    }

    /// Decides what the line is as soon as its beginning says so; `complete`: there is no more of it.
    fn settle(&mut self, complete: bool) {
        let Line::Undecided(head) = &mut self.line else {
            return;
        };
        let Some(start) = start(head, self.fence, self.in_list, complete) else {
            return;
        };
        let head = std::mem::take(head);
        match start {
            Start::Fence { opens } => {
                let marks = head.trim_start();
                let fence = marks.chars().next().unwrap_or('`');
                let length = marks.chars().take_while(|&c| c == fence).count();
                self.fence = opens.then_some((fence, length));
                self.line = Line::Verbatim;
                self.page.verbatim(&head, Look::Dim);
            }
            Start::Verbatim => {
                self.line = Line::Verbatim;
                self.page.verbatim(&head, self.base);
            }
            Start::Text { indent, mark, kind } => {
                self.line = Line::Text;
                let space = head.len() - head.trim_start().len();
                let (space, rest) = head.split_at(space);
                let (marks, rest) = rest.split_at_checked(mark).unwrap_or((rest, ""));
                self.page.verbatim(space, self.base);
                let look = match kind {
                    Kind::Paragraph => self.base,
                    Kind::Heading => Look::Heading,
                    Kind::Item => Look::Mark,
                    Kind::Quote => Look::Dim,
                };
                self.heading = kind == Kind::Heading;
                if kind == Kind::Item {
                    self.in_list = true;
                } else if indent == 0 && !rest.is_empty() {
                    self.in_list = false;
                }
                self.page.verbatim(marks, look);
                self.page.hang = match kind {
                    // Some models begin their answers with a space.
                    Kind::Paragraph if !self.in_list => 0,
                    Kind::Paragraph => indent,
                    _ => indent + mark + 1,
                };
                for c in rest.chars() {
                    self.word.push(c);
                    self.place_words();
                }
            }
        }
    }

    /// Shows all words whose ends are known: those before the last place where the line may break
    /// (Unicode UAX 14; but not after a slash or a hyphen: paths, addresses and options stay whole where
    /// a line has room)
    fn place_words(&mut self) {
        let word = std::mem::take(&mut self.word);
        let mut from = 0;
        let may_break = |at: usize| {
            at < word.len()
                && !word
                    .get(..at)
                    .is_some_and(|before| before.ends_with(['/', '-']))
        };
        for (at, _) in linebreaks(&word).filter(|&(at, _)| may_break(at)) {
            self.segment(
                word.get(from..at).unwrap_or_default(),
                word.get(at..).unwrap_or_default(),
            );
            from = at;
        }
        let rest = word.get(from..).unwrap_or_default();
        if rest.len() > LONGEST_WORD {
            // Without its last character, which may not be whole.
            let last = rest
                .grapheme_indices(true)
                .next_back()
                .map_or(0, |(at, _)| at);
            let (shown, kept) = rest.split_at(last);
            self.segment(shown, kept);
            self.word = kept.to_owned();
        } else {
            self.word = rest.to_owned();
        }
    }

    fn flush_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        self.segment(&word, "");
    }

    /// Shows a word and the white space behind it; `next` is what follows.
    fn segment(&mut self, text: &str, next: &str) {
        let word = text.trim_end();
        let (_, gap) = text.split_at(word.len());
        let after = gap.chars().chain(next.chars()).next().unwrap_or(' ');
        let pieces = self.inline(word, after);
        if !pieces.is_empty() {
            self.page.word(&pieces);
        }
        self.page.space(gap);
        self.before = text.chars().next_back().unwrap_or(self.before);
    }

    /// The pieces of a word by their looks: code spans and strong emphasis.
    fn inline(&mut self, word: &str, after: char) -> Vec<(Look, String)> {
        let mut pieces: Vec<(Look, String)> = Vec::new();
        let mut add = |look: Look, text: &str| match pieces.last_mut() {
            Some((last, all)) if *last == look => all.push_str(text),
            _ => pieces.push((look, text.to_owned())),
        };
        let mut before = self.before;
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            let run = match c {
                '`' | '*' | '_' => rest.chars().take_while(|&x| x == c).count(),
                // An escaped mark is none.
                '\\' if self.code == 0 && rest.chars().nth(1).is_some_and(is_mark) => 2,
                _ => 1,
            };
            let len: usize = rest.chars().take(run).map(char::len_utf8).sum();
            let (text, tail) = rest.split_at(len);
            let follows = tail.chars().next().unwrap_or(after);
            let was = self.look();
            match c {
                '`' if self.code == 0 => self.code = run,
                '`' if self.code == run => self.code = 0,
                '*' | '_' if self.code == 0 && run >= 2 => match self.strong {
                    Some(mark) if mark == c && !before.is_whitespace() => self.strong = None,
                    None if !follows.is_whitespace() && (c == '*' || !before.is_alphanumeric()) => {
                        self.strong = Some(c);
                    }
                    _ => {}
                },
                _ => {}
            }
            // A mark looks as what it encloses.
            let look = if was == self.base { self.look() } else { was };
            add(look, text);
            before = text.chars().next_back().unwrap_or(c);
            rest = tail;
        }
        pieces
    }

    fn look(&self) -> Look {
        match (self.heading, self.code, self.strong) {
            (true, ..) => Look::Heading,
            (_, 1.., _) => Look::Code,
            (_, _, Some(_)) => Look::Strong,
            _ => self.base,
        }
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '`' | '*' | '_' | '\\')
}

/// What a line is, from its beginning; `None` if more of it is needed, which `complete` rules out.
fn start(head: &str, fence: Option<(char, usize)>, in_list: bool, complete: bool) -> Option<Start> {
    let rest = head.trim_start();
    let indent: usize = head
        .chars()
        .take_while(|c| c.is_whitespace())
        .map(|c| if c == '\t' { 4 } else { 1 })
        .sum();
    let text = |mark, kind| Some(Start::Text { indent, mark, kind });
    let words = text(0, Kind::Paragraph);
    let Some(first) = rest.chars().next() else {
        return if complete { words } else { None };
    };
    let run = rest.chars().take_while(|&c| c == first).count();
    let behind = rest.get(run * first.len_utf8()..).unwrap_or_default();
    if let Some((mark, length)) = fence {
        // Only a line of nothing but marks closes a code block.
        let may_close = first == mark && behind.trim().is_empty();
        return match complete {
            false if may_close => None,
            true if may_close && run >= length => Some(Start::Fence { opens: false }),
            _ => Some(Start::Verbatim),
        };
    }
    if indent >= 4 && !in_list {
        return Some(Start::Verbatim);
    }
    let next = behind.chars().next();
    match first {
        '`' | '~' if run >= 3 => match complete {
            // A code span of three backticks may begin a line, too.
            true if first == '`' && behind.contains('`') => words,
            true => Some(Start::Fence { opens: true }),
            false => None,
        },
        '`' | '~' if next.is_none() && !complete => None,
        '|' => Some(Start::Verbatim),
        '>' => text(1, Kind::Quote),
        '#' if run <= 6 => match next {
            Some(' ' | '\t') => text(run, Kind::Heading),
            None if !complete => None,
            _ => words,
        },
        '-' | '*' | '+' if run == 1 => match next {
            Some(' ' | '\t') => text(1, Kind::Item),
            None if !complete => None,
            _ => words,
        },
        '0'..='9' => {
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            let mut behind = rest.get(digits..).unwrap_or_default().chars();
            match (behind.next(), behind.next()) {
                _ if digits > 9 => words,
                (Some('.' | ')'), Some(' ' | '\t')) => text(digits + 1, Kind::Item),
                (None, _) | (Some('.' | ')'), None) if !complete => None,
                _ => words,
            }
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests;
