//! What happens to a piece of text before its words become tokens: normalizers, spaces for `▁`, a space
//! put before it, and the cuts. Text between special tokens comes in, words go out.

use std::borrow::Cow;

use super::{
    SPM_SPACE, TokenizerError,
    normalize::{self, Normalizer},
    split::Splitter,
};

/// The steps, in the order of their fields.
pub(super) struct Pipeline {
    pub(super) normalizers: Vec<Normalizer>,
    /// Whether the vocabulary writes `▁` for a space.
    pub(super) spm_spaces: bool,
    pub(super) prefix: Prefix,
    pub(super) splitter: Splitter,
    /// Whether each word gets a space before it, if it does not begin with one.
    pub(super) prefix_words: bool,
    /// Whether a decoder takes the first space of a text for one that was added here.
    pub(super) adds_space: bool,
}

/// Before which text a space is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Never,
    /// Text that starts or follows a special token.
    Always,
    /// The same, if it does not begin with a space.
    UnlessSpace,
    /// Only what starts the whole text, if it does not begin with a space.
    FirstUnlessSpace,
}

impl Pipeline {
    /// No steps: a text is one word.
    pub(super) fn new() -> Self {
        Self {
            normalizers: Vec::new(),
            spm_spaces: false,
            prefix: Prefix::Never,
            splitter: Splitter::whole(),
            prefix_words: false,
            adds_space: false,
        }
    }

    /// Sets which text gets a space before it; decoding takes it away.
    pub(super) fn set_prefix(&mut self, prefix: Prefix) {
        self.prefix = prefix;
        self.adds_space = prefix != Prefix::Never;
    }

    /// Calls `word` with each word of `text` and where it starts in the normalized text, in bytes.
    /// `is_first` says that `text` starts the whole text.
    pub(super) fn words(
        &self,
        text: &str,
        is_first: bool,
        mut word: impl FnMut(&str, usize) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let mut text = Cow::Borrowed(text);
        let longest = normalize::longest(text.len());
        for normalizer in &self.normalizers {
            text = normalizer.apply(text, longest)?;
        }
        if self.spm_spaces && text.contains(SPM_SPACE) {
            text = Cow::Owned(text.replace(SPM_SPACE, " "));
        }
        if text.is_empty() {
            return Ok(());
        }
        let wants_prefix = match self.prefix {
            Prefix::Never => false,
            Prefix::Always => true,
            Prefix::UnlessSpace => !text.starts_with(' '),
            Prefix::FirstUnlessSpace => is_first && !text.starts_with(' '),
        };
        if wants_prefix {
            text.to_mut().insert(0, ' ');
        }
        let mut ranges = Vec::new();
        self.splitter.split(&text, &mut ranges)?;
        for range in ranges {
            let start = range.start;
            let plain = text.get(range).unwrap_or_default();
            if self.prefix_words && !plain.starts_with(' ') {
                word(&format!(" {plain}"), start)?;
            } else {
                word(plain, start)?;
            }
        }
        Ok(())
    }
}
