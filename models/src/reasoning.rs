//! Reasoning apart from answers: which markers a model writes around its thoughts, and a splitter that
//! takes the text of a generation in pieces of any size and gives back pieces of reasoning and of
//! answer, without the markers. Knows texts only; where they come from (a template's source, a
//! vocabulary) is the caller's business.

use hob_kernels::private::wipe_vec;

/// Which part of what a model writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What it thinks.
    Reasoning,
    /// What it says.
    Answer,
}

/// What follows a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Part(Part),
    /// The same part goes on: the marker is only left out.
    Same,
    /// A header that names a channel, until [`HEADER_END`].
    Header,
}

const REASONING: Then = Then::Part(Part::Reasoning);
const ANSWER: Then = Then::Part(Part::Answer);

/// Ends the header of a message in the Harmony format.
const HEADER_END: &str = "<|message|>";
/// Longest header, in bytes; a longer one is no header.
const MAX_HEADER_BYTES: usize = 512;

/// A way of marking reasoning.
struct Family {
    /// All of these occur in the template of a model that uses it (or are tokens of its vocabulary).
    signs: &'static [&'static str],
    markers: &'static [(&'static str, Then)],
}

/// The ways known in 2026, the more particular first. From the models' chat templates.
const FAMILIES: [Family; 13] = [
    // Harmony: gpt-oss.
    Family {
        signs: &["<|channel|>", "analysis", HEADER_END],
        markers: &[("<|start|>", Then::Header), ("<|channel|>", Then::Header)],
    },
    // Gemma 4.
    Family {
        signs: &["<|channel>", "<channel|>"],
        markers: &[("<|channel>thought", REASONING), ("<channel|>", ANSWER)],
    },
    // Solar Open.
    Family {
        signs: &["<|think|>", "<|begin|>assistant"],
        markers: &[
            ("<|think|>", REASONING),
            ("<|begin|>assistant<|think|>", REASONING),
            ("<|content|>", ANSWER),
            ("<|begin|>assistant<|content|>", ANSWER),
            ("<|begin|>assistant", ANSWER),
        ],
    },
    // Kimi K3.
    Family {
        signs: &["<|open|>", "<|close|>", "'think'"],
        markers: &[
            ("<|open|>think<|sep|>", REASONING),
            ("<|close|>think<|sep|>", ANSWER),
            ("<|open|>response<|sep|>", ANSWER),
            ("<|close|>response<|sep|>", Then::Same),
            ("<|close|>message<|sep|>", Then::Same),
        ],
    },
    // Command R7B and A.
    Family {
        signs: &["<|START_THINKING|>", "<|END_THINKING|>"],
        markers: &[
            ("<|START_THINKING|>", REASONING),
            ("<|END_THINKING|>", ANSWER),
        ],
    },
    // Apertus.
    Family {
        signs: &["<|inner_prefix|>", "<|inner_suffix|>"],
        markers: &[
            ("<|inner_prefix|>", REASONING),
            ("<|inner_suffix|>", ANSWER),
        ],
    },
    // Magistral, Ministral.
    Family {
        signs: &["[THINK]", "[/THINK]"],
        markers: &[("[THINK]", REASONING), ("[/THINK]", ANSWER)],
    },
    // Seed-OSS.
    Family {
        signs: &["<seed:think>", "</seed:think>"],
        markers: &[("<seed:think>", REASONING), ("</seed:think>", ANSWER)],
    },
    // MiniMax M3.
    Family {
        signs: &["<mm:think>", "</mm:think>"],
        markers: &[("<mm:think>", REASONING), ("</mm:think>", ANSWER)],
    },
    // Hunyuan 3: the template puts the marker together.
    Family {
        signs: &["<think{}>", "</think{}>", ":opensource"],
        markers: &[
            ("<think:opensource>", REASONING),
            ("</think:opensource>", ANSWER),
        ],
    },
    // Granite 3.3, which marks its answer, too.
    Family {
        signs: &["<think></think>", "<response></response>"],
        markers: &[
            ("<think>", REASONING),
            ("</think>", ANSWER),
            ("<response>", ANSWER),
            ("</response>", Then::Same),
        ],
    },
    // DeepSeek, Qwen and most others.
    Family {
        signs: &["</think>"],
        markers: &[("<think>", REASONING), ("</think>", ANSWER)],
    },
    // Apriel.
    Family {
        signs: &["[BEGIN FINAL RESPONSE]"],
        markers: &[
            ("Here are my reasoning steps:", REASONING),
            ("[BEGIN FINAL RESPONSE]", ANSWER),
            ("[END FINAL RESPONSE]", Then::Same),
        ],
    },
];

/// How a model marks its reasoning.
#[derive(Clone, Copy)]
pub struct ReasoningFormat(&'static Family);

impl ReasoningFormat {
    /// The format whose signs all satisfy `occurs`: whether a text occurs in the model's template, or
    /// is a token of its vocabulary. `None` if the model is not known to mark reasoning.
    pub fn find(occurs: impl Fn(&str) -> bool) -> Option<Self> {
        FAMILIES
            .iter()
            .find(|family| family.signs.iter().all(|sign| occurs(sign)))
            .map(Self)
    }

    /// The texts that stand around reasoning.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.0.markers.iter().map(|&(text, _)| text)
    }

    /// A splitter for what a model writes after a prompt that ends with `prompt_end`: the template's
    /// own text after the last message, which may have opened the reasoning already.
    pub fn splitter(&self, prompt_end: &str) -> ReasoningSplitter {
        let mut splitter = ReasoningSplitter {
            format: *self,
            part: Part::Answer,
            header: None,
            held: String::new(),
            hidden: Vec::new(),
            spaces: String::new(),
            is_fresh: false,
        };
        splitter.push(prompt_end, true, |_, _| ());
        // The prompt is over: nothing of it waits to become a marker.
        splitter.held.clear();
        splitter.hidden.clear();
        splitter
    }
}

/// Formats are equal if they have the same markers.
impl PartialEq for ReasoningFormat {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl std::fmt::Debug for ReasoningFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.markers()).finish()
    }
}

/// Splits a stream of text. Get one from [`ReasoningFormat::splitter`].
#[derive(Clone, PartialEq)]
pub struct ReasoningSplitter {
    format: ReasoningFormat,
    part: Part,
    /// The header that is being read.
    header: Option<String>,
    /// Text that may yet become a marker; for each byte, whether it is a control token's.
    held: String,
    hidden: Vec<bool>,
    /// White space at the end of reasoning, left out if a marker follows.
    spaces: String,
    /// Whether a marker has just been passed: white space after it is left out.
    is_fresh: bool,
}

/// Shows where it is, and no text.
impl std::fmt::Debug for ReasoningSplitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReasoningSplitter {{ {:?} }}", self.part)
    }
}

/// What was read last does not stay in memory.
impl Drop for ReasoningSplitter {
    fn drop(&mut self) {
        let texts = [
            self.header.take().unwrap_or_default(),
            std::mem::take(&mut self.held),
            std::mem::take(&mut self.spaces),
        ];
        for text in texts {
            wipe_vec(&mut text.into_bytes());
        }
    }
}

impl ReasoningSplitter {
    /// The part that the text is in.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Takes the next piece of text and hands out what is certain, in order. `is_control` says that
    /// the piece is a control token (`<|end|>`), which is only read as a marker and never handed out.
    pub fn push(&mut self, text: &str, is_control: bool, mut out: impl FnMut(Part, &str)) {
        self.held.push_str(text);
        self.hidden
            .extend(std::iter::repeat_n(is_control, text.len()));
        loop {
            if self.header.is_some() {
                if !self.read_header(&mut out) {
                    return;
                }
                continue;
            }
            match self.next_marker() {
                Next::Marker(at, text, then) => {
                    self.release(at, &mut out);
                    self.drop_held(text.len());
                    self.pass(then);
                }
                Next::Perhaps(at) => return self.release(at, &mut out),
            }
        }
    }

    /// Ends the text: hands out what was held back.
    pub fn finish(&mut self, mut out: impl FnMut(Part, &str)) {
        if let Some(header) = self.header.take() {
            out(Part::Answer, &header);
        }
        self.release(self.held.len(), &mut out);
        if self.part == Part::Answer && !self.spaces.is_empty() {
            out(self.part, &std::mem::take(&mut self.spaces));
        }
        self.spaces.clear();
    }

    /// The first marker in the held text, or from where on it may become one.
    fn next_marker(&self) -> Next {
        for (at, _) in self.held.char_indices() {
            let rest = self.held.get(at..).unwrap_or_default();
            let markers = self.format.0.markers.iter();
            // A longer marker that is not complete yet has precedence over a shorter one.
            if markers
                .clone()
                .any(|(text, _)| text.len() > rest.len() && text.starts_with(rest))
            {
                return Next::Perhaps(at);
            }
            let found = markers
                .filter(|(text, _)| rest.starts_with(text))
                .max_by_key(|(text, _)| text.len());
            if let Some(&(text, then)) = found {
                return Next::Marker(at, text, then);
            }
        }
        Next::Perhaps(self.held.len())
    }

    fn pass(&mut self, then: Then) {
        self.spaces.clear();
        self.is_fresh = true;
        match then {
            Then::Part(part) => self.part = part,
            Then::Same => {}
            Then::Header => self.header = Some(String::new()),
        }
    }

    /// Reads on in a header; whether it has ended.
    fn read_header(&mut self, out: &mut impl FnMut(Part, &str)) -> bool {
        let Some(header) = &mut self.header else {
            return true;
        };
        if let Some(end) = self.held.find(HEADER_END) {
            header.push_str(self.held.get(..end).unwrap_or_default());
            let part = if header.contains("analysis") {
                Part::Reasoning
            } else {
                Part::Answer
            };
            self.header = None;
            self.drop_held(end + HEADER_END.len());
            self.pass(Then::Part(part));
            return true;
        }
        let starts = self.held.char_indices().map(|(at, _)| at);
        let keep = starts
            .filter(|&at| {
                self.held
                    .get(at..)
                    .is_some_and(|rest| HEADER_END.starts_with(rest))
            })
            .min()
            .unwrap_or(self.held.len());
        header.push_str(self.held.get(..keep).unwrap_or_default());
        let is_header = header.len() <= MAX_HEADER_BYTES;
        if !is_header {
            out(Part::Answer, header);
            self.header = None;
        }
        self.drop_held(keep);
        !is_header
    }

    /// Hands out the held text before `end`, but for control tokens and white space at a marker.
    fn release(&mut self, end: usize, out: &mut impl FnMut(Part, &str)) {
        let text: String = self
            .held
            .char_indices()
            .take_while(|&(at, _)| at < end)
            .filter(|&(at, _)| self.hidden.get(at) == Some(&false))
            .map(|(_, c)| c)
            .collect();
        self.drop_held(end);
        let mut text = text.as_str();
        if self.is_fresh {
            text = text.trim_start();
            self.is_fresh = text.is_empty();
        }
        if text.is_empty() {
            return;
        }
        let mut ready = std::mem::take(&mut self.spaces);
        ready.push_str(text);
        if self.part == Part::Reasoning {
            self.spaces = ready.split_off(ready.trim_end().len());
        }
        if !ready.is_empty() {
            out(self.part, &ready);
        }
    }

    fn drop_held(&mut self, bytes: usize) {
        self.held = self.held.split_off(bytes.min(self.held.len()));
        self.hidden.drain(..bytes.min(self.hidden.len()));
    }
}

enum Next {
    Marker(usize, &'static str, Then),
    Perhaps(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(template: &str) -> ReasoningFormat {
        ReasoningFormat::find(|sign| template.contains(sign)).unwrap()
    }

    /// Reasoning and answer of a text that comes in pieces; a `true` piece is a control token.
    fn split(mut splitter: ReasoningSplitter, pieces: &[(&str, bool)]) -> (String, String) {
        let (mut reasoning, mut answer) = (String::new(), String::new());
        let mut out = |part, text: &str| match part {
            Part::Reasoning => reasoning.push_str(text),
            Part::Answer => answer.push_str(text),
        };
        for (text, is_control) in pieces {
            splitter.push(text, *is_control, &mut out);
        }
        splitter.finish(&mut out);
        (reasoning, answer)
    }

    fn whole(format: ReasoningFormat, prompt_end: &str, text: &str) -> (String, String) {
        split(format.splitter(prompt_end), &[(text, false)])
    }

    fn pair(reasoning: &str, answer: &str) -> (String, String) {
        (reasoning.to_owned(), answer.to_owned())
    }

    #[test]
    fn thoughts_are_told_from_answers() {
        let think = format("</think>");
        let text = "<think>\nhm <b>\n</think>\n\nYes. ";
        assert_eq!(
            whole(think, "<|im_start|>assistant\n", text),
            pair("hm <b>", "Yes. ")
        );
        let prompt_end = "<|im_start|>assistant\n<think>\n";
        assert_eq!(
            whole(think, prompt_end, "hm\n</think>\n\nYes."),
            pair("hm", "Yes.")
        );
        let prompt_end = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
        assert_eq!(whole(think, prompt_end, "Yes."), pair("", "Yes."));
        assert_eq!(
            whole(think, "", " no thoughts <th"),
            pair("", " no thoughts <th")
        );
        let response = format("<think></think> <response></response>");
        assert_eq!(
            whole(response, "", "<think>a</think><response>b</response>"),
            pair("a", "b")
        );
    }

    #[test]
    fn channels_are_read_from_headers() {
        let harmony = format("<|channel|>analysis<|message|>");
        let pieces = [
            ("<|channel|>", true),
            ("anal", false),
            ("ysis", false),
            ("<|message|>", true),
            ("hm", false),
            ("<|end|>", true),
            ("<|start|>", true),
            ("assistant", false),
            ("<|channel|>", true),
            ("final", false),
            ("<|message|>", true),
            ("Yes.", false),
        ];
        assert_eq!(
            split(harmony.splitter("<|start|>assistant"), &pieces),
            pair("hm", "Yes.")
        );
        // A model that does not keep to the format loses no text.
        assert_eq!(
            split(harmony.splitter("<|start|>assistant"), &[(" Yes.", false)]).1,
            "assistant Yes."
        );
        let long = "x".repeat(2000);
        let shown = split(
            harmony.splitter("<|start|>"),
            &[(&long, false), ("y", false)],
        );
        assert_eq!(shown, pair("", &format!("{long}y")));
    }

    #[test]
    fn control_tokens_are_markers_or_nothing() {
        let solar = format("<|begin|>assistant<|think|>");
        let pieces = [
            ("<|think|>", true),
            ("hm", false),
            ("<|end|>", true),
            ("<|begin|>", true),
            ("assistant", false),
            ("<|content|>", true),
            ("Yes", false),
            ("<|flush|>", true),
            (".", false),
        ];
        assert_eq!(
            split(solar.splitter("<|begin|>assistant"), &pieces),
            pair("hm", "Yes.")
        );
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "(<think>|</think>|<|t|/|[a-c \n]|é|nk>){0,24}",
            cuts in prop::collection::vec(0usize..8, 0..40),
        ) {
            let think = format("</think>");
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts {
                let at = rest.char_indices().nth(cut).map_or(rest.len(), |(at, _)| at);
                pieces.push((&rest[..at], false));
                rest = &rest[at..];
            }
            pieces.push((rest, false));
            prop_assert_eq!(split(think.splitter(""), &pieces), whole(think, "", &text));
        }

        #[test]
        fn text_without_markers_passes(text in "[a-z<>/ \n]{0,30}") {
            prop_assume!(!text.contains("<think>") && !text.contains("</think>"));
            prop_assert_eq!(whole(format("</think>"), "", &text), pair("", &text));
        }
    }
}
