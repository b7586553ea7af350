//! What is done to a text before it is cut into words: Unicode normal forms, lower case, accents
//! stripped, replacements. A file names the steps; text goes in and comes out, unchanged without a
//! copy. Only tokenizers that ask for a step have one: byte-level vocabularies mostly have none.

use std::borrow::Cow;

use regex_automata::Input;
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use super::TokenizerError;
use super::bounded::{Bounded, Effort};
use super::charsmap::Charsmap;

/// A step.
pub(super) enum Normalizer {
    /// Unicode normal form C.
    Nfc,
    /// Unicode normal form D.
    Nfd,
    /// Unicode normal form KC.
    Nfkc,
    /// Unicode normal form KD.
    Nfkd,
    /// Lower case, by Unicode's full mapping.
    Lowercase,
    /// Without combining marks.
    StripAccents,
    /// Without white space at the start, the end, or both.
    Strip { left: bool, right: bool },
    /// With a text before it, unless it is empty.
    Prepend(String),
    /// A pattern replaced wherever it matches.
    Replace(Box<Bounded>, String),
    /// BERT's.
    Bert(Bert),
    /// Hugging Face's use of SentencePiece's character map: grapheme by grapheme.
    Graphemes(Charsmap),
    /// SentencePiece's own normalizer.
    SentencePiece(SentencePiece),
    /// That of neural machine translation: no control characters, plain spaces.
    Nmt,
}

/// What BERT does to a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bert {
    /// No control characters, and a space for any white space.
    pub(super) clean: bool,
    /// Spaces around Chinese characters.
    pub(super) space_chinese: bool,
    pub(super) strip_accents: bool,
    pub(super) lowercase: bool,
}

/// What SentencePiece does to a text (`normalizer.cc`).
pub(super) struct SentencePiece {
    pub(super) charsmap: Option<Charsmap>,
    /// Whether the text begins with a space.
    pub(super) add_prefix: bool,
    /// Whether spaces at the ends are left out, and runs of others are one.
    pub(super) merge_spaces: bool,
}

/// The longest that a text of `len` bytes may become, in bytes. Normal form KD makes at most 11 times of a
/// text, a space or two at its ends included; files could ask for any growth, in step after step.
pub(super) fn longest(len: usize) -> usize {
    len.saturating_mul(32)
        .saturating_add(4096)
        .min(super::MAX_TEXT)
}

/// A text that grows no longer than it may.
struct Growing {
    text: String,
    longest: usize,
}

impl Growing {
    fn new(capacity: usize, longest: usize) -> Self {
        Self {
            text: String::with_capacity(capacity),
            longest,
        }
    }

    fn push_str(&mut self, text: &str) -> Result<(), TokenizerError> {
        if text.len() > self.longest - self.text.len().min(self.longest) {
            return Err(TokenizerError::Grows {
                limit: self.longest,
            });
        }
        self.text.push_str(text);
        Ok(())
    }
}

impl Normalizer {
    /// The text after this step, of at most `longest` bytes.
    ///
    /// # Errors
    /// It would be longer, or a pattern takes too long on it.
    pub(super) fn apply<'t>(
        &self,
        text: Cow<'t, str>,
        longest: usize,
    ) -> Result<Cow<'t, str>, TokenizerError> {
        let owned = |text: String| Cow::Owned(text);
        Ok(match self {
            Self::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => text,
            Self::Nfc => owned(text.chars().nfc().map(|(c, _)| c).collect()),
            Self::Nfd | Self::Nfkc | Self::Nfkd if text.is_ascii() => text,
            Self::Nfd => owned(text.chars().nfd().map(|(c, _)| c).collect()),
            Self::Nfkc => owned(text.chars().nfkc().map(|(c, _)| c).collect()),
            Self::Nfkd => owned(text.chars().nfkd().map(|(c, _)| c).collect()),
            Self::Lowercase => owned(lowercase(&text)),
            Self::StripAccents if text.is_ascii() => text,
            Self::StripAccents => owned(text.chars().filter(|&c| !is_mark(c)).collect()),
            Self::Strip { left, right } => {
                let mut rest: &str = &text;
                if *left {
                    rest = rest.trim_start();
                }
                if *right {
                    rest = rest.trim_end();
                }
                if rest.len() == text.len() {
                    text
                } else {
                    owned(rest.to_owned())
                }
            }
            Self::Prepend(_) if text.is_empty() => text,
            Self::Prepend(start) => {
                let mut out = Growing::new(0, longest);
                out.push_str(start)?;
                out.push_str(&text)?;
                owned(out.text)
            }
            Self::Replace(pattern, content) => owned(replace(&text, pattern, content, longest)?),
            Self::Bert(bert) => owned(bert.apply(&text)),
            Self::Graphemes(charsmap) => owned(by_graphemes(&text, charsmap, longest)?),
            Self::SentencePiece(rules) => owned(rules.apply(&text, longest)?),
            Self::Nmt => owned(nmt(&text)),
        })
    }
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Character by character: a final sigma is a sigma, as in the reference.
fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn replace(
    text: &str,
    pattern: &Bounded,
    content: &str,
    longest: usize,
) -> Result<String, TokenizerError> {
    let mut replaced = Growing::new(text.len(), longest);
    let mut effort = Effort::of(text.len());
    // What was copied or replaced, and where the search goes on: a character further after a match of
    // nothing, and no such match at the end of another.
    let (mut done, mut at) = (0, 0);
    let mut last = None;
    while at <= text.len() {
        let Some(found) = pattern.search(&Input::new(text).range(at..), &mut effort)? else {
            break;
        };
        if found.is_empty() {
            let next = text.get(found.end()..).and_then(|rest| rest.chars().next());
            at = found.end() + next.map_or(1, char::len_utf8);
            if last == Some(found.end()) {
                continue;
            }
        } else {
            at = found.end();
        }
        last = Some(found.end());
        replaced.push_str(text.get(done..found.start()).unwrap_or_default())?;
        replaced.push_str(content)?;
        done = found.end();
    }
    replaced.push_str(text.get(done..).unwrap_or_default())?;
    Ok(replaced.text)
}

impl Bert {
    fn apply(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            let is_removed = matches!(c, '\0' | '\u{fffd}') || is_control(c);
            if self.clean && is_removed {
                continue;
            }
            match c {
                _ if self.clean && c.is_whitespace() => out.push(' '),
                _ if self.space_chinese && is_chinese(c) => out.extend([' ', c, ' ']),
                _ => out.push(c),
            }
        }
        if self.strip_accents && !out.is_ascii() {
            let nonspacing = |c: char| c.general_category() == GeneralCategory::NonspacingMark;
            let decomposed = out.chars().nfd().map(|(c, _)| c);
            out = decomposed.filter(|&c| !nonspacing(c)).collect();
        }
        if self.lowercase {
            out = lowercase(&out);
        }
        out
    }
}

fn is_control(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r');
    }
    use GeneralCategory::{Control, Format, PrivateUse};
    matches!(c.general_category(), Control | Format | PrivateUse)
}

/// The blocks that BERT takes for Chinese (one of them begins 256 characters late in every
/// implementation but the first).
fn is_chinese(c: char) -> bool {
    matches!(u32::from(c),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f
        | 0x2b740..=0x2b81f | 0x2b920..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

impl SentencePiece {
    fn apply(&self, text: &str, longest: usize) -> Result<String, TokenizerError> {
        let mut out = Growing::new(text.len() + 16, longest);
        let mut was_prefixed = false;
        let mut in_word = false;
        let mut push = |c: char| {
            if c == ' ' {
                in_word = false;
                return match self.merge_spaces {
                    true => Ok(()),
                    false => out.push_str(" "),
                };
            }
            if !in_word && (self.merge_spaces || (self.add_prefix && !was_prefixed)) {
                out.push_str(" ")?;
                was_prefixed = true;
            }
            in_word = true;
            out.push_str(c.encode_utf8(&mut [0; 4]))
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let charsmap = self.charsmap.as_ref();
            let len = match charsmap.and_then(|map| map.longest(rest.as_bytes())) {
                // A map that ends in the middle of a character is damaged: it counts to its end.
                Some((len, replacement)) => {
                    String::from_utf8_lossy(replacement)
                        .chars()
                        .try_for_each(&mut push)?;
                    len
                }
                None => {
                    push(first)?;
                    first.len_utf8()
                }
            };
            rest = rest.get(rest.ceil_char_boundary(len)..).unwrap_or_default();
        }
        Ok(out.text)
    }
}

/// As Hugging Face's `Precompiled` has it: a grapheme of fewer than six bytes is replaced as a whole
/// by what its shortest replaced beginning becomes, else its characters are, one by one.
fn by_graphemes(text: &str, charsmap: &Charsmap, longest: usize) -> Result<String, TokenizerError> {
    let shortest = |part: &str| {
        let (_, replacement) = charsmap.of(part.as_bytes()).next()?;
        Some(String::from_utf8_lossy(replacement).into_owned())
    };
    let mut out = Growing::new(text.len(), longest);
    for grapheme in text.graphemes(true) {
        let whole = (grapheme.len() < 6).then(|| shortest(grapheme)).flatten();
        if let Some(replacement) = whole {
            out.push_str(&replacement)?;
            continue;
        }
        let mut buffer = [0; 4];
        for c in grapheme.chars() {
            let c = c.encode_utf8(&mut buffer);
            match shortest(c) {
                Some(replacement) => out.push_str(&replacement)?,
                None => out.push_str(c)?,
            }
        }
    }
    Ok(out.text)
}

fn nmt(text: &str) -> String {
    let kept = text.chars().filter(|&c| {
        !matches!(u32::from(c),
            0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0x8f | 0x9f)
    });
    kept.map(|c| match u32::from(c) {
        0x9
        | 0xa
        | 0xc
        | 0xd
        | 0x1680
        | 0x200b..=0x200f
        | 0x2028
        | 0x2029
        | 0x2581
        | 0xfeff
        | 0xfffd => ' ',
        _ => c,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(step: &Normalizer, text: &str) -> String {
        let longest = longest(text.len());
        step.apply(Cow::Borrowed(text), longest)
            .unwrap()
            .into_owned()
    }

    #[test]
    fn normal_forms_compose_and_decompose() {
        let text = "e\u{301} é \u{fb01}";
        assert_eq!(applied(&Normalizer::Nfc, text), "é é \u{fb01}");
        assert_eq!(
            applied(&Normalizer::Nfd, text),
            "e\u{301} e\u{301} \u{fb01}"
        );
        assert_eq!(applied(&Normalizer::Nfkc, text), "é é fi");
        assert_eq!(applied(&Normalizer::Nfkd, text), "e\u{301} e\u{301} fi");
        assert!(matches!(
            Normalizer::Nfc.apply("abc".into(), 9),
            Ok(Cow::Borrowed(_))
        ));
    }

    #[test]
    fn bert_cleans_spaces_and_strips() {
        let bert = |strip_accents, lowercase| {
            let bert = Bert {
                clean: true,
                space_chinese: true,
                strip_accents,
                lowercase,
            };
            applied(&Normalizer::Bert(bert), "É\u{0}x\tЙ漢\u{200d}字")
        };
        assert_eq!(bert(false, false), "Éx Й 漢  字 ");
        assert_eq!(bert(true, true), "ex и 漢  字 ");
        assert_eq!(bert(false, true), "éx й 漢  字 ");
    }

    #[test]
    fn sentencepiece_merges_spaces_or_keeps_them() {
        let with = |add_prefix, merge_spaces, text| {
            let rules = SentencePiece {
                charsmap: None,
                add_prefix,
                merge_spaces,
            };
            applied(&Normalizer::SentencePiece(rules), text)
        };
        assert_eq!(with(true, true, "  a  b "), " a b");
        assert_eq!(with(true, false, "  a b "), "   a b ");
        assert_eq!(with(false, false, " a"), " a");
        assert_eq!(with(true, true, "   "), "");
    }

    #[test]
    fn the_small_steps() {
        assert_eq!(applied(&Normalizer::Lowercase, "ÀΣ"), "àσ");
        assert_eq!(applied(&Normalizer::StripAccents, "e\u{301}é"), "eé");
        let strip = Normalizer::Strip {
            left: true,
            right: false,
        };
        assert_eq!(applied(&strip, " a "), "a ");
        assert_eq!(applied(&Normalizer::Prepend("x".into()), "a"), "xa");
        assert_eq!(applied(&Normalizer::Prepend("x".into()), ""), "");
        let replace = |pattern, by: &str| {
            Normalizer::Replace(
                Box::new(Bounded::new(&[pattern], "test").unwrap()),
                by.into(),
            )
        };
        assert_eq!(applied(&replace(" {2,}", "_"), "a  b c   "), "a_b c_");
        assert_eq!(applied(&replace("", "_"), "añ"), "_a_ñ_");
        assert_eq!(applied(&replace("b*", "_"), "abcb"), "_a_c_");
        assert_eq!(applied(&Normalizer::Nmt, "a\u{1}\tb\u{200b}"), "a b ");
    }
}
