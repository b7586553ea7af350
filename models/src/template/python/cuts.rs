//! Taking shaded text apart: where to cut is found in what it means, what is cut is the shaded text.

use std::borrow::Cow;

/// What Python takes for white space in text.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Where Python ends lines.
fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// A text with what it means: as many characters, other bytes.
pub(super) struct Text<'t> {
    pub(super) shown: &'t str,
    pub(super) plain: Cow<'t, str>,
}

impl<'t> Text<'t> {
    /// Parts of the text, given as ranges of bytes of what it means, in ascending order.
    pub(super) fn parts(&self, ranges: &[(usize, usize)]) -> Vec<&'t str> {
        let cut = |start: usize, end: usize| self.shown.get(start..end).unwrap_or_default();
        if let Cow::Borrowed(_) = self.plain {
            return ranges.iter().map(|&(start, end)| cut(start, end)).collect();
        }
        let ends = |text: &str| {
            let ends = text.char_indices().map(|(at, _)| at);
            ends.chain([text.len()]).collect::<Vec<_>>()
        };
        let (plain, shown) = (ends(&self.plain), ends(self.shown));
        let place = |at: usize| {
            let index = plain.binary_search(&at).unwrap_or_else(|index| index);
            shown.get(index).copied().unwrap_or(self.shown.len())
        };
        let part = |&(start, end): &(usize, usize)| cut(place(start), place(end));
        ranges.iter().map(part).collect()
    }

    pub(super) fn part(&self, start: usize, end: usize) -> &'t str {
        self.parts(&[(start, end)]).pop().unwrap_or_default()
    }

    /// Strips the ends of what is in `set`, of white space if there is none.
    pub(super) fn strip(&self, set: Option<&str>, left: bool, right: bool) -> &'t str {
        let strips = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
        let plain = self.plain.as_ref();
        let end = if right {
            plain.trim_end_matches(strips).len()
        } else {
            plain.len()
        };
        let kept = plain.get(..end).unwrap_or_default();
        let start = if left {
            end - kept.trim_start_matches(strips).len()
        } else {
            0
        };
        self.part(start, end)
    }

    /// The pieces between separators; white space if there is none.
    pub(super) fn split(
        &self,
        separator: Option<&str>,
        most: Option<usize>,
        from_right: bool,
    ) -> Vec<&'t str> {
        let plain = self.plain.as_ref();
        let most = most.unwrap_or(usize::MAX);
        let mut ranges = Vec::new();
        match separator {
            Some(separator) => {
                let found: Vec<usize> = if from_right {
                    let mut found: Vec<usize> = plain
                        .rmatch_indices(separator)
                        .take(most)
                        .map(|(at, _)| at)
                        .collect();
                    found.reverse();
                    found
                } else {
                    plain
                        .match_indices(separator)
                        .take(most)
                        .map(|(at, _)| at)
                        .collect()
                };
                let mut start = 0;
                for at in found {
                    ranges.push((start, at));
                    start = at + separator.len();
                }
                ranges.push((start, plain.len()));
            }
            None if from_right => {
                let mut end = plain.trim_end_matches(is_space).len();
                while end > 0 {
                    let rest = plain.get(..end).unwrap_or_default();
                    let start = if ranges.len() < most {
                        rest.char_indices()
                            .rev()
                            .find(|&(_, c)| is_space(c))
                            .map_or(0, |(at, c)| at + c.len_utf8())
                    } else {
                        0
                    };
                    ranges.push((start, end));
                    end = plain
                        .get(..start)
                        .unwrap_or_default()
                        .trim_end_matches(is_space)
                        .len();
                }
                ranges.reverse();
            }
            None => {
                let skip = |at: usize| {
                    let rest = plain.get(at..).unwrap_or_default();
                    plain.len() - rest.trim_start_matches(is_space).len()
                };
                let mut start = skip(0);
                while start < plain.len() {
                    let rest = plain.get(start..).unwrap_or_default();
                    let end = if ranges.len() < most {
                        rest.find(is_space).map_or(plain.len(), |at| start + at)
                    } else {
                        plain.len()
                    };
                    ranges.push((start, end));
                    start = skip(end);
                }
            }
        }
        self.parts(&ranges)
    }

    pub(super) fn lines(&self, keep_ends: bool) -> Vec<&'t str> {
        let plain = self.plain.as_ref();
        let mut ranges = Vec::new();
        let (mut start, mut chars) = (0, plain.char_indices().peekable());
        while let Some((at, c)) = chars.next() {
            if !ends_line(c) {
                continue;
            }
            let mut end = at + c.len_utf8();
            if c == '\r' && chars.next_if(|&(_, next)| next == '\n').is_some() {
                end += 1;
            }
            ranges.push((start, if keep_ends { end } else { at }));
            start = end;
        }
        if start < plain.len() {
            ranges.push((start, plain.len()));
        }
        self.parts(&ranges)
    }
}
