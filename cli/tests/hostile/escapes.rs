//! Model files whose every text would steer a terminal: names, metadata and their keys, templates, tokens,
//! tensors, file and folder; and files that are refused, with such texts in what is wrong with them. No
//! command lets them through: into pipes only what the user asked for as it is (answers, rendered prompts,
//! decoded tokens), onto a terminal nothing.

use crate::terminal::Terminal;
use crate::{Place, both, model};
use hob_models::gguf::{GgufWriter, Owned, ValueType};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Sets the clipboard and the title, clears the screen, begins colours and reorders the line; and a line
/// that poses as one of hob's.
const EVIL: &str = "\u{1b}]52;c;aGk=\u{7}\u{1b}]0;t\u{1b}\\\u{1b}[2J\u{9b}31m\u{90}q\u{9c}\u{202e}\u{2066}\
\u{200f}\u{61c}\u{8}\u{7f}\r\nFORGED";

/// The same for a file's name (which has no slash), ending as a model's does.
fn evil_name(end: &str) -> String {
    format!("m{EVIL}{end}")
}

/// What steers in a text from a program that writes into a pipe.
#[track_caller]
fn is_plain(text: &str, what: &str) {
    let steers = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
    };
    let found = text.chars().find(|&c| steers(c));
    assert_eq!(found, None, "{what}: {}", text.escape_debug());
    let forged = text.lines().any(|line| line.starts_with("FORGED"));
    assert!(!forged, "{what}: {text}");
}

/// What a terminal was sent: hob's own sequences set colours, move the cursor and switch pasting; nothing
/// of the file's.
#[track_caller]
fn is_tame(text: &str, what: &str) {
    let mut rest = text.to_owned();
    for own in [
        "\u{1b}[?2004h",
        "\u{1b}[?2004l",
        "\u{1b}[?2026h",
        "\u{1b}[?2026l",
        "\u{1b}[K",
        "\u{1b}[J",
        "\r",
    ] {
        rest = rest.replace(own, "");
    }
    // Colours and movements: digits between `ESC [` and one letter. (The file's are `ESC [ 2 J` and C1.)
    while let Some(start) = rest.find("\u{1b}[") {
        let tail = &rest[start + 2..];
        let end = tail.find(|c: char| !c.is_ascii_digit() && c != ';');
        let end = end.unwrap_or_else(|| panic!("{what}: {}", rest.escape_debug()));
        let sequence = &tail[..=end];
        assert!(
            sequence.ends_with(['m', 'A', 'B', 'C', 'D', 'H']) && sequence != "2J",
            "{what}: ESC [ {sequence} in {}",
            text.escape_debug()
        );
        rest.replace_range(start..start + 2 + sequence.len(), "");
    }
    is_plain(&rest.replace("\nFORGED", "\n"), what);
}

fn write_model(path: &Path) -> Vec<String> {
    model::write_as(path, EVIL, EVIL, |w: &mut GgufWriter| {
        for key in [
            "author",
            "license",
            "license.name",
            "description",
            "url",
            "organization",
        ] {
            w.metadata(&format!("general.{key}"), EVIL).unwrap();
        }
        for key in ["tags", "languages"] {
            let list = vec![Owned::Str(EVIL.to_owned()); 3];
            let list = Owned::Array(ValueType::Str, list);
            w.metadata(&format!("general.{key}"), list).unwrap();
        }
        w.metadata(&format!("general.{EVIL}"), EVIL).unwrap();
        w.metadata(EVIL, 1u32).unwrap();
        let refuses = format!("{{{{ raise_exception({}) }}}}", serde_json::json!(EVIL));
        for (name, source) in [
            ("bad", "{% bad \u{1b}]52;c;\u{7} %}".to_owned()),
            ("filter", format!("{{{{ 'x' | unknown('{EVIL}') }}}}")),
            ("refuses", refuses),
            ("own", format!("{EVIL}{{{{ messages[0].content }}}}")),
            (EVIL, EVIL.to_owned()),
        ] {
            w.metadata(&format!("tokenizer.chat_template.{name}"), source)
                .unwrap();
        }
        w.metadata("general.sampling.temp", -1.0f32).unwrap();
    })
}

/// Files that are refused, each for another text in it.
fn write_refused(folder: &Path) -> Vec<PathBuf> {
    let gguf = |name: &str, fill: &dyn Fn(&mut GgufWriter)| {
        let path = folder.join(format!("{name}.gguf"));
        let mut w = GgufWriter::new();
        fill(&mut w);
        let data = w.begin(fs::File::create(&path).unwrap()).unwrap();
        data.finish().unwrap();
        path
    };
    let text = |key: &'static str| {
        move |w: &mut GgufWriter| {
            if key != "general.architecture" {
                w.metadata("general.architecture", "llama").unwrap();
            }
            w.metadata(key, EVIL).unwrap();
        }
    };
    let mut all: Vec<PathBuf> = [
        "general.architecture",
        "llama.block_count",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "llama.rope.scaling.type",
    ]
    .iter()
    .map(|key| gguf(key, &text(key)))
    .collect();
    all.push(gguf("tokens", &|w| {
        w.metadata("general.architecture", "llama").unwrap();
        w.metadata("tokenizer.ggml.model", "gpt2").unwrap();
        w.metadata("tokenizer.ggml.pre", EVIL).unwrap();
        w.metadata("tokenizer.ggml.tokens", vec![EVIL.to_owned()])
            .unwrap();
    }));
    // Two metadata keys and two tensors of one name, and an end in the middle of one.
    let whole = gguf("whole", &|w| {
        w.metadata("general.architecture", "llama").unwrap();
        w.metadata(EVIL, EVIL).unwrap();
        w.metadata(&format!("{EVIL}2"), EVIL).unwrap();
    });
    let bytes = fs::read(&whole).unwrap();
    let twice = String::from_utf8_lossy(&bytes).is_empty();
    assert!(!twice);
    for (i, keep) in [bytes.len() - 9, bytes.len() / 2].into_iter().enumerate() {
        let path = folder.join(format!("end{i}.gguf"));
        fs::write(&path, &bytes[..keep]).unwrap();
        all.push(path);
    }
    let mut double = bytes;
    let second = format!("{EVIL}2").into_bytes();
    let at = double
        .windows(second.len())
        .position(|w| w == second)
        .unwrap();
    // The second key is the first, by its length and its text.
    double[at - 8..at].copy_from_slice(&(EVIL.len() as u64).to_le_bytes());
    double.remove(at + EVIL.len());
    let path = folder.join("double.gguf");
    fs::write(&path, double).unwrap();
    all.push(path);
    // One of unknown kind, of a hostile beginning and name.
    let path = folder.join(evil_name("2.gguf"));
    fs::write(&path, EVIL).unwrap();
    all.push(path);
    all
}

/// Folders of safetensors whose files say hostile things.
fn write_folders(folder: &Path) -> Vec<PathBuf> {
    let good = serde_json::json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 100,
        "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 32, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "_name_or_path": EVIL,
    });
    let tensors = |name: &str| {
        let header = serde_json::json!({
            "__metadata__": { EVIL: EVIL },
            name: { "dtype": "F32", "shape": [1], "data_offsets": [0, 4] },
        });
        let mut header = header.to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([0; 4]);
        bytes
    };
    let with = |key: &str, value: serde_json::Value| {
        let mut config = good.clone();
        config[key] = value;
        config
    };
    let cases = [
        (with("model_type", EVIL.into()), "{}".to_owned(), None),
        (with("hidden_size", EVIL.into()), "{}".to_owned(), None),
        (with("hidden_act", EVIL.into()), "{}".to_owned(), None),
        (
            with(
                "rope_scaling",
                serde_json::json!({ "type": EVIL, "factor": EVIL }),
            ),
            "{}".to_owned(),
            None,
        ),
        (
            good.clone(),
            format!("{{\"model\": {{\"type\": {}}}}}", serde_json::json!(EVIL)),
            None,
        ),
        (
            good.clone(),
            serde_json::json!({ "model": { "type": "BPE", "vocab": { EVIL: 0 }, "merges": [EVIL] },
                "normalizer": { "type": EVIL }, "pre_tokenizer": { "type": EVIL } })
            .to_string(),
            None,
        ),
        (
            good.clone(),
            "{}".to_owned(),
            Some(serde_json::json!({ "weight_map": { EVIL: evil_name(".safetensors") } })),
        ),
    ];
    let mut all = Vec::new();
    for (i, (config, tokenizer, index)) in cases.into_iter().enumerate() {
        let dir = folder.join(format!("f{i}{EVIL}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        fs::write(dir.join("tokenizer.json"), tokenizer).unwrap();
        let template =
            serde_json::json!({ "chat_template": format!("{{% {EVIL} %}}"), "bos_token": EVIL });
        fs::write(dir.join("tokenizer_config.json"), template.to_string()).unwrap();
        if let Some(index) = index {
            fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
        fs::write(dir.join("model.safetensors"), tensors(EVIL)).unwrap();
        all.push(dir);
    }
    all
}

/// `hob ARGS`, where `MODEL` is a path.
fn command(place: &Place, args: &[&str], path: &Path) -> Command {
    let mut command = place.hob();
    for arg in args {
        match *arg {
            "MODEL" => command.arg(path),
            other => command.arg(other),
        };
    }
    command
}

/// Commands that take a model and show what is said of it, never what the user asked for as it is.
const SHOWING: [&[&str]; 19] = [
    &["show", "MODEL"],
    &["show", "MODEL", "--plan"],
    &["show", "MODEL", "--json"],
    &["tokenize", "MODEL", "red green \u{1b}[2J"],
    &["tokenize", "MODEL", "red green", "--json"],
    &["tokenize", "MODEL", "--decode", "--json", "30,100,265,266"],
    &["template", "MODEL", "--names"],
    &["template", "MODEL", "Hi", "--json"],
    &["template", "MODEL", "Hi", "--name", "bad"],
    &["template", "MODEL", "Hi", "--name", "filter"],
    &["template", "MODEL", "Hi", "--name", "refuses"],
    &["template", "MODEL", "Hi", "--name", "missing"],
    &["template", "MODEL", "Hi", "--name", "refuses", "--json"],
    &["logits", "MODEL", "--tokens", "1,2,3", "--out", "logits"],
    &[
        "logits",
        "MODEL",
        "--tokens",
        "1,2,3",
        "--out",
        "none\u{1b}[2J/logits",
    ],
    &["perplexity", "MODEL", "text", "--window", "8"],
    &[
        "bench", "MODEL", "--prompt", "8", "--gen", "4", "--repeat", "1",
    ],
    &[
        "bench", "MODEL", "--prompt", "8", "--gen", "4", "--repeat", "1", "--json",
    ],
    &["import", "MODEL"],
];

/// Commands whose output a user asked for as it is: harmless on a terminal only.
const GIVING: [&[&str]; 6] = [
    &["run", "MODEL", "Hi", "--max-tokens", "60", "--verbose"],
    &[
        "run",
        "MODEL",
        "Hi \u{1b}[2J",
        "--raw",
        "--max-tokens",
        "20",
    ],
    &["template", "MODEL", "Hi\u{1b}]0;x\u{7}", "--name", "own"],
    &["template", "MODEL", "--source", "--name", "own"],
    &["tokenize", "MODEL", "--decode", "30,100,265,266,267"],
    &["chat", "MODEL", "--color", "always", "--max-tokens", "20"],
];

/// Flags with which the model writes words and the bytes of escapes, which are tokens of their own: ESC,
/// `[`, `2`, `J`, `]`, BEL, and the two of U+009B.
fn free(flags: &[String]) -> Vec<String> {
    let mut flags = flags.to_vec();
    let bias = flags.last_mut().unwrap();
    for byte in [0x1b, 0x5b, 0x32, 0x4a, 0x5d, 0x07, 0xc2, 0x9b] {
        let id = byte + 3;
        *bias = bias.replace(&format!(",{id}:-inf,"), &format!(",{id}:1,"));
    }
    flags
}

#[test]
fn no_text_of_a_model_file_steers_what_is_written_to_pipes() {
    let place = Place::new();
    fs::write(place.file("text"), "red green blue. ".repeat(20)).unwrap();
    let dir = place.file(&format!("d{EVIL}"));
    fs::create_dir(&dir).unwrap();
    let good = dir.join(evil_name(".gguf"));
    write_model(&good);
    let mut files = write_refused(&dir);
    files.extend(write_folders(&dir));
    // The one that works works, but for what asks for an error.
    for (i, args) in SHOWING.iter().enumerate() {
        let output = command(&place, args, &good).output().unwrap();
        let said = both(&output);
        is_plain(&said, &format!("{args:?}"));
        let fails = args.contains(&"--name") || args.last() == Some(&"none\u{1b}[2J/logits");
        assert_eq!(output.status.success(), !fails, "{i} {args:?}: {said}");
    }
    for file in &files {
        for args in [&SHOWING[..8], &SHOWING[13..14], &SHOWING[18..]].concat() {
            let output = command(&place, args, file).output().unwrap();
            is_plain(&both(&output), &format!("{args:?} {file:?}"));
        }
        let output = command(&place, &["run", "MODEL", "Hi", "--max-tokens", "3"], file).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{file:?}: {}", both(&output));
        is_plain(&both(&output), &format!("run {file:?}"));
    }
    // What is in the store now, and what the store says of it.
    let listed = both(&place.hob().args(["list", "--json"]).output().unwrap());
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let name = listed[0]["name"].as_str().unwrap();
    is_plain(name, "the name in the store");
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["list", "--other"],
        &["list", "--other", "--json"],
        &["show", name],
        &["show", name, "--json"],
        &["verify"],
        &["verify", "--json"],
        &["verify", EVIL],
        &["export", name, "exported.gguf"],
        &["bundle", "export", name, "--out", "bundle"],
        &[
            "bundle", "export", name, "--out", "bundle", "--force", "--json",
        ],
        &["bundle", "show", "bundle"],
        &["bundle", "show", "bundle", "--json"],
        &["bundle", "import", "bundle"],
        &["privacy", name, "--run", "--json", "--no-crash"],
        &["privacy", name, "--run", "--all", "--no-crash"],
        &["completions", "bash"],
        &["cp", name, "other"],
        &["path", name],
        &["path", EVIL],
        &["show", EVIL],
        &["doctor"],
        &["doctor", "--json"],
        &["rm", EVIL],
        &["rm", "other", "--yes"],
        &["run", EVIL, "Hi"],
        &[],
    ] {
        let output = place.hob().args(args).output().unwrap();
        is_plain(&both(&output), &format!("{args:?}"));
    }
    // Models of other programs, by name and folder.
    let other = place.file(&format!(".lmstudio/models/o{EVIL}/r{EVIL}"));
    fs::create_dir_all(&other).unwrap();
    fs::copy(&good, other.join(evil_name(".gguf"))).unwrap();
    for args in [&["list", "--other"][..], &["list", "--other", "--json"]] {
        let said = both(&place.hob().args(args).output().unwrap());
        assert!(said.contains(".gguf"), "{said}");
        is_plain(&said, &format!("{args:?}"));
    }
    // Notices and errors of a conversation, and what its commands show.
    let lines = "/info\n/params\nHi\n/load evil.json\n/system\n/undo\n/save saved.json\n/load none\u{1b}[2J\n";
    let said = serde_json::json!([{ "role": "system", "content": EVIL }, { "role": "user", "content": EVIL }]);
    fs::write(place.file("evil.json"), said.to_string()).unwrap();
    fs::write(place.file("lines"), lines).unwrap();
    let mut chat = command(
        &place,
        &["chat", "MODEL", "--max-tokens", "4", "--color", "always"],
        &good,
    );
    chat.stdin(Stdio::from(fs::File::open(place.file("lines")).unwrap()));
    let output = chat.output().unwrap();
    let said = both(&output);
    assert!(
        said.contains("seccomp") && said.contains("line 8"),
        "{said}"
    );
    is_tame(&said, "chat");
}

#[test]
fn nothing_of_a_model_steers_a_terminal() {
    let place = Place::new();
    let dir = place.file(&format!("d{EVIL}"));
    fs::create_dir(&dir).unwrap();
    let good = dir.join(evil_name(".gguf"));
    let flags = free(&write_model(&good));
    let answers = |args: &[&str]| matches!(args[0], "run" | "chat");
    for args in GIVING.iter().chain(&SHOWING[..13]) {
        let mut command = command(&place, args, &good);
        if answers(args) {
            command.args(&flags);
        }
        let mut terminal = Terminal::new(80, 24, &command);
        if args[0] == "chat" {
            terminal.prompt();
            for line in ["Hello", "/info", "/retry", "Again"] {
                terminal.say(line);
            }
            // Names of files are completed.
            fs::write(place.file(&format!("z{EVIL}")), "").unwrap();
            fs::write(place.file("zz"), "").unwrap();
            terminal.keys("/load z\t\t");
            terminal.last("/load zz");
            terminal.keys("\u{3}");
            terminal.prompt();
            terminal.keys("\u{4}");
        }
        terminal.exit_code();
        is_tame(&terminal.written(), &format!("{args:?}"));
    }
    // That the model does try: into a pipe its answer goes as it is.
    let mut run = command(&place, GIVING[0], &good);
    let answer = run.args(&flags).output().unwrap().stdout;
    assert!(
        answer.contains(&0x1b),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
