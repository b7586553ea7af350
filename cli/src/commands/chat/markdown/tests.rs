//! What the wrapped text keeps, whatever the pieces it came in.

use super::super::page::columns;
use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Renders in pieces of `step` characters.
fn render(text: &str, width: Option<usize>, color: bool, step: usize) -> String {
    let mut markdown = Markdown::new(color, Look::Plain);
    let chars: Vec<char> = text.chars().collect();
    let mut out: String = chars
        .chunks(step)
        .map(|piece| markdown.push(&piece.iter().collect::<String>(), width))
        .collect();
    out.push_str(&markdown.finish(width));
    out
}

fn plain(text: &str, width: usize) -> String {
    render(text, Some(width), false, 1)
}

/// Text without select-graphic-rendition sequences.
fn without_looks(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (codes, rest) = part.split_once('m').unwrap();
        assert!(codes.chars().all(|c| c.is_ascii_digit() || c == ';'));
        out.push_str(rest);
    }
    out
}

const SAMPLE: &str = "# A heading that is longer than a line of this page\n\nSome **strong words** and \
`inline code` in a paragraph that goes on and on.\n\n- an item with many words in it, too many for one line\n\
- another\n  1. nested item with more words than fit\n\n```rust\nfn main() { println!(\"a line of code that is not wrapped\"); }\n```\n\
| a | table | that is not wrapped either | however long it is |\n|---|---|---|---|\n\n> quoted words, more than a line of them\n\n\
日本語の文章は単語の間に空白がありません。だから文字の間で折り返します。🙂👨‍👩‍👧‍👦🇫🇷 e\u{301}\n2. last";

#[test]
fn pieces_do_not_change_what_is_shown() {
    for width in [None, Some(7), Some(20), Some(33), Some(80)] {
        let whole = render(SAMPLE, width, false, usize::MAX);
        for step in [1, 2, 3, 5, 17] {
            assert_eq!(
                render(SAMPLE, width, false, step),
                whole,
                "{width:?} {step}"
            );
        }
        // Looks are switched off between pieces, so only the text is the same.
        for step in [1, 4, usize::MAX] {
            assert_eq!(without_looks(&render(SAMPLE, width, true, step)), whole);
        }
    }
}

#[test]
fn without_wrapping_the_text_is_the_model_s() {
    assert_eq!(render(SAMPLE, None, false, 3), format!("{SAMPLE}\n"));
    assert_eq!(
        render("ends with spaces  \n\n x", None, false, 1),
        "ends with spaces  \n\n x\n"
    );
}

#[test]
fn no_line_but_code_and_tables_is_too_long_and_no_character_is_lost() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let alphabet: Vec<&str> =
        "a b c word , . - `x` ** # 漢 字 、 。 🙂 👩‍🚀 é e\u{301} ไทย \n \t ( ) /"
            .split(' ')
            .chain([" ", " ", "\n"])
            .collect();
    for _ in 0..300 {
        let text: String = (0..120)
            .map(|_| alphabet[rng.next_u32() as usize % alphabet.len()])
            .collect();
        for width in [8, 13, 30] {
            let shown = plain(&text, width);
            let solid = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(solid(&shown), solid(&text));
            for line in shown
                .lines()
                .filter(|l| !l.contains(['|', '\t']) && !l.starts_with("    "))
            {
                assert!(columns(line) <= width, "{width}: {line:?} of {text:?}");
            }
        }
    }
}

#[test]
fn words_wrap_where_a_person_would() {
    assert_eq!(plain("one two three", 9), "one two\nthree\n");
    assert_eq!(plain("- one two three", 9), "- one two\n  three\n");
    assert_eq!(plain("12. one two three", 11), "12. one two\n    three\n");
    assert_eq!(plain("> one two three", 9), "> one two\n  three\n");
    assert_eq!(plain("abcdefghijkl", 5), "abcde\nfghij\nkl\n");
    // No closing punctuation at the beginning of a line.
    assert_eq!(plain("漢字漢。字", 6), "漢字\n漢。字\n");
    assert_eq!(plain("xx 👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 8), "xx\n👨‍👩‍👧‍👦\n👨‍👩‍👧‍👦\n");
    assert_eq!(
        plain("```\none two three\n```\nfour five", 6),
        "```\none two three\n```\nfour\nfive\n"
    );
    assert_eq!(plain("| one | two |\n", 5), "| one | two |\n");
}

#[test]
fn a_resize_is_respected_from_then_on() {
    let mut markdown = Markdown::new(false, Look::Plain);
    let mut out = markdown.push("one two three four ", Some(80));
    out.push_str(&markdown.push("five six seven ", Some(10)));
    out.push_str(&markdown.finish(Some(10)));
    // "four" was held back until it was known to end.
    assert_eq!(out, "one two three\nfour five\nsix seven \n");
}

#[test]
fn marks_are_coloured_and_end_with_their_line() {
    let (strong, code, off) = (Look::Strong.on(), Look::Code.on(), Look::Plain.on());
    let shown = |text: &str| render(text, Some(80), true, usize::MAX);
    assert_eq!(shown("a **b c** d"), format!("a {strong}**b c**{off} d\n"));
    assert_eq!(shown("a `b **c` d"), format!("a {code}`b **c`{off} d\n"));
    assert_eq!(shown("**日本**語"), format!("{strong}**日本**{off}語\n"));
    for none in ["2 ** 3 ** 4", "a__b__c", "\\**a\\**", "plain"] {
        assert_eq!(shown(none), format!("{none}\n"));
    }
    assert_eq!(shown("`open\nnext"), format!("{code}`open{off}\nnext\n"));
    let heading = shown("## a *b*\n");
    assert_eq!(heading, format!("{}## a *b*{off}\n", Look::Heading.on()));
}

#[test]
fn nothing_that_the_model_writes_steers_the_terminal() {
    let hostile =
        "a\x1b]0;title\x07 \x1b[2Jb `\u{9b}31m` \r **\x1b[0m** \n```\n\x1b[H\n```\n|\x1b[1A|";
    let shown = render(hostile, Some(40), false, 2);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
    let coloured = without_looks(&render(hostile, Some(40), true, 2));
    assert!(!coloured.contains('\x1b'));
}
