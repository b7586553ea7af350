//! Each pre-tokenizer on texts that tell it from the others.

use super::*;

fn words<'t>(pre: &str, text: &'t str) -> Vec<&'t str> {
    let mut ranges = Vec::new();
    let splitter = Pre::named(pre).unwrap().splitter().unwrap();
    splitter.split(text, &mut ranges).unwrap();
    ranges.into_iter().map(|range| &text[range]).collect()
}

/// Asserts that all of `names` cut `text` at the bars in `expected`.
#[track_caller]
fn cut(names: &[&str], expected: &str) {
    let text = expected.replace('|', "");
    let expected: Vec<_> = expected.split('|').collect();
    for name in names {
        assert_eq!(words(name, &text), expected, "{name}");
    }
}

#[test]
fn spaces_leave_their_last_one_to_the_word_after() {
    cut(&["gpt-2"], "a|  | b");
    cut(&["gpt-2"], "a| \n|\t|b|  ");
    cut(&["llama-bpe"], "a| \n\n| | b");
    cut(&["llama-bpe"], "a|\tb| |\u{3000}c");
}

#[test]
fn gpt_2_and_its_heirs() {
    let names = [
        "gpt-2",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "trillion",
        "granite-docling",
        "exaone4",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "modern-bert",
        "jina-es",
        "jina-de",
        "jina-v1-en",
        "jina-v2-es",
        "jina-v2-de",
        "jina-v2-code",
        "roberta-bpe",
    ];
    cut(&names, "It|'s| 12345| '|S|?!|  | x|²½");
    let names = [
        "smollm",
        "starcoder",
        "refact",
        "command-r",
        "codeshell",
        "exaone",
        "minerva-7b",
        "mellum2",
    ];
    cut(&names, "It|'s| |1|2|3| '|S|?!|  | x|²|½");
}

#[test]
fn the_unnamed_one_and_falcon() {
    cut(&["default"], "a|+|b| |123|45| `|c|!!| | x");
    cut(&["falcon"], "a|+|b| |123|45| |`|c|!!|  | x");
    cut(&["default"], "It|'|s| |½");
    cut(&["falcon"], "1²| ٣٤٥٦");
}

#[test]
fn llama_3_and_its_heirs() {
    let names = [
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "dbrx",
        "smaug-bpe",
        "chatglm-bpe",
        "glm4",
        "glm5",
        "jais-2",
    ];
    cut(&names, "It|'S| |123|45|(x|).\n\n| |\tb| .|e|\u{301}");
    cut(&["jais-2"], "a|    |  | b");
    cut(&["llama-bpe"], "a|      | b");
    // Numbers were cut off before signs could take them.
    cut(&["minicpm5"], "It|'S| |123|45|(x|).\n");
}

#[test]
fn qwen_and_its_heirs() {
    let names = [
        "qwen2",
        "deepseek-r1-qwen",
        "kormo",
        "f2llmv2",
        "megrez",
        "stablelm2",
        "hunyuan",
        "solar-open",
        "grok-2",
    ];
    cut(&names, "It|'S| |1|2|(x|).| \n\n| | b");
    cut(&["qwen2"], "o|.\n| क|ि| x|\n\n|y");
    cut(&["laguna"], "a|.|\n|b| |\n\n|c");
    cut(&["qwen35"], "It|'S| |1|2| कि| e\u{301}|.\n");
    cut(&["ufakzeka"], "Ankara|'S|'te| |1|2|.\n");
    cut(&["seed-coder"], "It|'S| |1|2|.|\n\n| b");
    let names = ["bailingmoe", "bailingmoe2", "llada-moe"];
    cut(&names, "It|'S| |1|2|.\n\n| \n\n|b");
    cut(&["exaone-moe"], "It is so|'S| |1|.\n|\n|/b c");
}

#[test]
fn gpt_4o_and_its_heirs() {
    let names = [
        "gpt-4o",
        "llama4",
        "kanana2",
        "talkie",
        "minimax-m2",
        "granite-embed-multi-97m",
    ];
    cut(&names, "Hello|World's|HTML| It's| |123|45|./\n|  | कि漢字a");
    cut(
        &["tiny_aya", "cohere2moe"],
        "It's| |12|345| x|123|4|y| |6|789|.",
    );
    cut(&["tekken"], "Hello|World|'s| It|'s| |1|2|./\n| कि");
    cut(&["youtu"], "Hello|World's| |1|2|가나|，。|漢字|./\n");
    cut(&["kimi-k2"], "Hello|World's|漢字|a| |123|4|.\n|/| कि");
}

#[test]
fn deepseek_and_its_heirs() {
    cut(&["deepseek-llm"], "It|'|s| |123|漢字と| x|!?|\n|\n|  ");
    cut(&["deepseek-llm"], "a|  | b|  ");
    cut(&["deepseek-coder"], "It|'|s| |1|2|漢字| +|\n|\n| b");
    let names = ["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"];
    cut(&names, "It|'s| |123|4|漢字と|,x| +=\n\n| | e\u{301}");
    cut(
        &["spark2_5"],
        "It|'s| |1|2|3|4|漢字と|,x| +=|\n|\n|  | e\u{301}",
    );
    cut(&["afmoe"], "It|'s| |1|234|漢字เ|,x| +=\n\n| | e\u{301}");
}

#[test]
fn bloom_and_its_heirs() {
    cut(
        &["bloom", "poro-chat", "gpt3-finnish"],
        "It's| 12345|(|a|)。  | x+y",
    );
    cut(&["viking"], "It's| |1|2|3|(|a|)  | x+y");
}

#[test]
fn the_others() {
    cut(&["superbpe"], "It is |1|234|567½|.|3½| |²1|234");
    cut(
        &["chameleon"],
        "a|<|sentinel|:|1|2|>|IMGIMGABZ|    |  | b|1|2|,|c|\n",
    );
    cut(
        &["gemma4", "granite-embed-multi-311m", "sarvam-moe"],
        "It is 1.|\n\n| b",
    );
    assert_eq!(words("whitespace", " It is\t1.\n"), ["It", "is", "1."]);
}

#[test]
fn every_word_list_covers_its_text() {
    let text = "We've  got\r\n\r\n \u{85}3½ l\u{e9}mons, 日本語 \u{1f999}\u{200d}x __ 'Ll\u{17f}  ";
    for pre in PRES.iter().flat_map(|pre| pre.names) {
        if pre == &"whitespace" {
            continue; // leaves white space out
        }
        assert_eq!(words(pre, text).concat(), text, "{pre}");
        assert!(
            words(pre, text).iter().all(|word| !word.is_empty()),
            "{pre}"
        );
        assert!(words(pre, "").is_empty());
    }
}

#[test]
fn hostile_runs_take_linear_time() {
    // Quadratic time would be hours.
    for unit in [
        " ", "\u{3000}", "1", "A", "a", "Aa", "'", "\n", " \n", "\u{301}", "漢", " a", "1a",
    ] {
        let run = unit.repeat(30_000);
        for pre in PRES.iter().filter_map(|pre| pre.names.first()) {
            for text in [format!("{run}x"), format!("x{run}"), format!("{run}!")] {
                assert!(words(pre, &text).concat().len() <= text.len(), "{pre}");
            }
        }
    }
}

#[test]
fn no_name_stands_for_two() {
    let mut names: Vec<_> = PRES.iter().flat_map(|pre| pre.names).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn an_unknown_name_is_refused_by_name() {
    let error = Pre::named("nonesuch").unwrap_err();
    assert!(error.to_string().contains("\"nonesuch\""), "{error}");
}

/// `HOB_SPLIT_CASES` names a JSON file `[[name, text, words], ...]`, made by another engine
/// (`benches/conformance`).
#[test]
fn another_engine_agrees() {
    let Some(path) = std::env::var_os("HOB_SPLIT_CASES") else {
        return;
    };
    let cases: Vec<(String, String, Vec<String>)> =
        serde_json::from_reader(std::fs::File::open(path).unwrap()).unwrap();
    let mut splitters = std::collections::BTreeMap::new();
    let (mut differ, mut ranges) = (0, Vec::new());
    for (name, text, expected) in &cases {
        let splitter = splitters
            .entry(name)
            .or_insert_with(|| Pre::named(name).unwrap().splitter().unwrap());
        splitter.split(text, &mut ranges).unwrap();
        let found: Vec<_> = ranges.drain(..).map(|range| &text[range]).collect();
        if found != *expected {
            differ += 1;
            if differ <= 20 {
                println!("{name}: {text:?}\n  expected {expected:?}\n  found    {found:?}");
            }
        }
    }
    println!("{}/{} word lists equal", cases.len() - differ, cases.len());
    assert_eq!(differ, 0);
}

/// The bounds that hostile patterns run into are far from hob's own, whatever the text: the automata stay
/// small, and no text is looked at again and again.
#[test]
fn no_text_makes_a_known_pattern_take_long() {
    use crate::tokenizer::bounded::Effort;
    let all: String = (1..=0x10_ffff)
        .filter_map(char::from_u32)
        .step_by(3)
        .collect();
    let mut texts = vec![all];
    for unit in [
        "a", "A", " ", "\n", "  \n", "1", "12 ", "e\u{301}", "\u{301}", "字", "!", "a ", "A a",
        "\t ", "'", "'s", "<", "\u{200d}", "क्", "🇩🇪",
    ] {
        texts.push(unit.repeat(100_000 / unit.len()));
        texts.push(unit.repeat(1000 / unit.len()) + "x");
    }
    for pre in PRES {
        let splitter = pre.splitter().unwrap();
        for text in &texts {
            let mut ranges = Vec::new();
            let spent = splitter.effort_of(text, &mut ranges).unwrap();
            let start: String = text.chars().take(5).collect();
            assert!(
                spent <= 16 * text.len() + 10_000,
                "{}: {spent} for {} bytes of {start:?}",
                pre.names[0],
                text.len()
            );
            assert!(spent < Effort::of(text.len()).left());
        }
    }
}
