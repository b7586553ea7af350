//! Where a user's words may be, and where not: a canary goes through every command that takes content, and
//! through the errors on the way; then it is looked for in all output but the answer, in every file, in
//! core files, in the arguments of every process, and in the memory of a conversation that forgot it.
//! Linux only. Reading the memory of an undumpable process takes root; without it the conversation runs
//! with `--no-sandbox`, and is read by its parent.
#![cfg(target_os = "linux")]

#[path = "../chat/model.rs"]
mod model;
mod outside;
#[path = "../chat/terminal.rs"]
#[allow(dead_code)] // A part of it is used.
mod terminal;

use outside::{Arguments, Memory};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use terminal::Terminal;

/// No file, program or machine is called so.
const CANARY: &str = "kingfisher4711";
/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test at a time: each looks at all processes that this one started.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A user's home with folders for all that a program might leave behind, and a model.
struct Place {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "home", "tmp", "cache", "config", "data", "state", "run", "work",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (_, flags) = model::write(&folder.path().join("work"));
        Place { folder, flags }
    }

    fn work(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.work(name), bytes).unwrap();
    }

    /// A program in this home.
    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.work(""));
        for (name, folder) in [
            ("HOME", "home"),
            ("HOB_HOME", "home/hob"),
            ("TMPDIR", "tmp"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(name, self.folder.path().join(folder));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("PATH", path).env("TERM", "xterm-256color");
        command
            .env("RUST_BACKTRACE", "full")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn hob(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_hob"));
        command.args(arguments);
        command
    }

    /// `hob run` and `hob chat` with the tiny model, which answers in a few words.
    fn with_model(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = self.hob(&[verb, "tiny.gguf", "--threads", "1"]);
        command.args(&self.flags).args(arguments);
        command
    }

    /// Fails if a file here has the canary in its name or content.
    #[track_caller]
    fn is_clean(&self, after: &str) {
        let found = files_with(self.folder.path(), CANARY);
        assert!(found.is_empty(), "after {after}, in files: {found:?}");
        let shared = files_with(Path::new("/dev/shm"), CANARY);
        assert!(shared.is_empty(), "after {after}, in files: {shared:?}");
    }
}

/// All files below a folder whose name or content has a text.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(text) {
            found.push(path.clone());
        }
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files_with(&path, text)),
            kind if kind.is_file() && holds(&fs::read(&path).unwrap_or_default(), text) => {
                found.push(path)
            }
            _ => {}
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let needle = text.as_bytes();
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn finish(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A program that ended at an error has closed its end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Whether the canary may be on standard output.
#[derive(Clone, Copy, PartialEq)]
enum Echo {
    Yes,
    No,
}

/// Runs commands and looks at what they say and leave.
struct Watched<'a> {
    place: &'a Place,
}

impl Watched<'_> {
    /// With the canary on standard input or in a file, so in no process's arguments.
    #[track_caller]
    fn hidden(&self, command: Command, input: &[u8], ends_well: bool, echo: Echo) -> Output {
        let watch = Arguments::watch(CANARY);
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let output = finish(command, input);
        let seen = watch.end();
        assert!(seen.is_empty(), "{what}: in arguments: {seen:?}");
        self.judge(&what, &output, ends_well, echo);
        output
    }

    /// With the canary as an argument of hob's own.
    #[track_caller]
    fn given(&self, command: Command, ends_well: bool, echo: Echo) -> Output {
        let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
        let output = finish(command, b"");
        self.judge(&what, &output, ends_well, echo);
        output
    }

    #[track_caller]
    fn judge(&self, what: &str, output: &Output, ends_well: bool, echo: Echo) {
        let (out, err) = (&output.stdout, &output.stderr);
        let said = String::from_utf8_lossy(err);
        assert_eq!(output.status.success(), ends_well, "{what}: {said}");
        assert!(!holds(err, CANARY), "{what}: {said}");
        assert!(
            ends_well || !err.is_empty() || !out.is_empty(),
            "{what}: fails and does not say so"
        );
        assert!(!said.contains("a defect of hob"), "{what}: {said}");
        if echo == Echo::No {
            let said = String::from_utf8_lossy(out);
            assert!(!holds(out, CANARY), "{what}: {said}");
        }
        self.place.is_clean(what);
    }
}

#[test]
fn answers_and_their_errors_say_nothing_of_the_prompt() {
    let _alone = alone();
    let place = Place::new();
    let on = Watched { place: &place };
    let run = |arguments: &[&str]| place.with_model("run", arguments);
    let prompt = format!("The {CANARY} sings.");
    let short = ["--max-tokens", "3"];
    let with = |more: &[&'static str]| run(&[&["-"], &short[..], more].concat());

    on.hidden(with(&["--verbose"]), prompt.as_bytes(), true, Echo::No);
    on.hidden(with(&["--raw"]), prompt.as_bytes(), true, Echo::No);
    on.hidden(
        with(&["--context", "8"]),
        prompt.as_bytes(),
        false,
        Echo::No,
    );
    let invalid = [prompt.as_bytes(), b"\xff"].concat();
    on.hidden(with(&[]), &invalid, false, Echo::No);
    on.given(run(&[&prompt, "--max-tokens", "3"]), true, Echo::No);
    let system = run(&["Hello", "--max-tokens", "3", "--system", &prompt]);
    on.given(system, true, Echo::No);
    let stop = run(&["Hello", "--max-tokens", "3", "--stop", &prompt]);
    on.given(stop, true, Echo::No);

    // Templates that fail over what they are given, each in its own way.
    for (i, template) in [
        "{{ raise_exception('no: ' ~ messages[0]['content']) }}",
        "{{ messages[0]['content'] | int + messages[0]['content'] }}",
        "{{ messages[0]['content'].nothing() }}",
        "{{ messages[messages[0]['content']] + 1 }}",
        "{% for m in messages[0]['content'] %}{{ m / 0 }}{% endfor %}",
        "{{ messages[0]['content'] | nothing }}",
        "{% include messages[0]['content'] %}",
        "{{ strftime_now(messages[0]['content']).x.y }}",
        "{% for i in range(10000000) %}{{ messages[0]['content'] }}{% endfor %}",
        "{{ {}[messages[0]['content']].x }}",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("failing{i}.jinja");
        place.write(&name, template);
        let failing = with_template(&place, &name, &["run"], &short);
        on.hidden(failing, prompt.as_bytes(), false, Echo::No);
        let shown = with_template(&place, &name, &["template"], &["--json"]);
        on.hidden(shown, prompt.as_bytes(), false, Echo::No);
    }

    // Models that are none, with the prompt given all the same.
    let whole = fs::read(place.work("tiny.gguf")).unwrap();
    place.write("cut.gguf", &whole[..whole.len() / 2]);
    place.write("none.gguf", "no model");
    for model in ["cut.gguf", "none.gguf", "missing.gguf"] {
        on.hidden(
            place.hob(&["run", model, "-"]),
            prompt.as_bytes(),
            false,
            Echo::No,
        );
        on.given(place.hob(&["run", model, &prompt]), false, Echo::No);
    }

    // Nobody takes the answer.
    let mut full = with(&[]);
    full.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    on.hidden(full, prompt.as_bytes(), false, Echo::No);
}

fn with_template(place: &Place, file: &str, verb: &[&str], more: &[&str]) -> Command {
    let arguments = [verb, &["tiny.gguf", "-", "--template", file], more].concat();
    place.hob(&arguments)
}

#[test]
fn other_commands_that_read_texts_show_them_on_standard_output_only() {
    let _alone = alone();
    let place = Place::new();
    let on = Watched { place: &place };
    let text = format!("The {CANARY} sings.");
    let invalid = [text.as_bytes(), b"\xff"].concat();
    for (arguments, input, ends_well, echo) in [
        (
            &["template", "tiny.gguf", "-"][..],
            text.as_bytes(),
            true,
            Echo::Yes,
        ),
        (&["template", "tiny.gguf", "-"], &invalid, false, Echo::No),
        (&["tokenize", "tiny.gguf"], text.as_bytes(), true, Echo::Yes),
        (&["tokenize", "tiny.gguf"], &invalid, false, Echo::No),
        (
            &["tokenize", "tiny.gguf", "--lines"],
            text.as_bytes(),
            false,
            Echo::No,
        ),
        (
            &["tokenize", "tiny.gguf", "--decode"],
            text.as_bytes(),
            false,
            Echo::No,
        ),
        (
            &["tokenize", "tiny.gguf", "--decode", "--lines"],
            text.as_bytes(),
            false,
            Echo::No,
        ),
        (
            &["tokenize", "missing.gguf"],
            text.as_bytes(),
            false,
            Echo::No,
        ),
    ] {
        on.hidden(place.hob(arguments), input, ends_well, echo);
    }
    // A text in a file, for as long as the commands run that read it.
    let quiet = |arguments: &[&str], ends_well: bool| {
        let output = finish(place.hob(arguments), b"");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.success(), ends_well, "{arguments:?}: {said}");
        assert!(!said.contains(CANARY), "{arguments:?}: {said}");
    };
    let perplexity = [
        "perplexity",
        "tiny.gguf",
        "text",
        "--window",
        "16",
        "--threads",
        "1",
    ];
    place.write("text", text.repeat(20));
    quiet(&perplexity, true);
    place.write("text", &text);
    quiet(&[&perplexity[..5], &["--window", "4096"]].concat(), false);
    place.write("text", &invalid);
    quiet(&perplexity, false);
    fs::remove_file(place.work("text")).unwrap();
    place.is_clean("perplexity");
}

#[test]
fn a_conversation_tells_nobody() {
    let _alone = alone();
    let place = Place::new();
    let on = Watched { place: &place };
    let chat = |more: &[&str]| place.with_model("chat", &[&["--max-tokens", "3"], more].concat());
    let message = format!("The {CANARY} sings.");
    // All commands that leave no file, and show no message.
    let lines = format!(
        "/help\n{message}\n/stats\n/retry\n/info\n/params\n/undo\n{message}\n/reset\n/system {message}\n{message}\n"
    );
    on.hidden(chat(&["--verbose"]), lines.as_bytes(), true, Echo::No);
    on.hidden(
        chat(&[]),
        format!("/system {message}\n/system\n").as_bytes(),
        true,
        Echo::Yes,
    );
    // The first error ends it: each in a conversation of its own, after a message.
    place.write("there.json", "{}");
    for wrong in [
        format!("/{CANARY}"),
        format!("/{CANARY} {message}"),
        format!("/edit {message}"),
        "/edit".to_owned(),
        format!("/think {message}"),
        "/save there.json".to_owned(),
        "/save missing/folder.json".to_owned(),
        "/save .".to_owned(),
        "/load missing.json".to_owned(),
        "/load tiny.gguf".to_owned(),
        format!("/params context 16\n{message} {message}"),
        format!("/params temperature {CANARY}\n").replace(CANARY, "hot"),
    ] {
        let lines = format!("{message}\n{wrong}\n");
        on.hidden(chat(&[]), lines.as_bytes(), false, Echo::No);
    }
    let invalid = [message.as_bytes(), b"\xff\n"].concat();
    on.hidden(chat(&[]), &invalid, false, Echo::No);

    // Files of conversations that are none; the canary is in them, so only outputs are searched.
    for broken in [
        format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{message}\""),
        format!("[\"{message}\"]"),
        format!("{{\"messages\": \"{message}\"}}"),
        format!("{{\"messages\": [{{\"role\": 3, \"content\": \"{message}\"}}]}}"),
        format!(
            "{{\"format\": \"hob conversation\", \"version\": 9, \"messages\": [\"{message}\"]}}"
        ),
        format!("{{\"{CANARY}\": 1}}"),
        message.clone(),
    ] {
        place.write("broken.json", &broken);
        let output = finish(chat(&[]), b"/load broken.json\n");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !output.status.success() && !said.contains(CANARY),
            "{broken}: {said}"
        );
    }
    fs::remove_file(place.work("broken.json")).unwrap();
    place.is_clean("/load");
}

/// Who stops hob, and how, leaves nothing either.
#[test]
fn nothing_is_left_when_hob_is_stopped_or_killed() {
    let _alone = alone();
    let place = Place::new();
    let message = format!("The {CANARY} sings.\n");
    for signal in ["INT", "TERM", "KILL", "SEGV", "ABRT"] {
        for verb in ["run", "chat"] {
            // `run` takes the prompt up to the end of its input, `chat` line by line.
            let endless = match verb {
                "run" => vec!["-", "--max-tokens", "1000000", "--context", "1000000"],
                _ => vec!["--max-tokens", "1000000"],
            };
            let mut command = dumping(&place, place.with_model(verb, &endless));
            let watch = Arguments::watch(CANARY);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take();
            stdin
                .as_mut()
                .unwrap()
                .write_all(message.as_bytes())
                .unwrap();
            if verb == "run" {
                stdin = None;
            }
            // It has begun to answer.
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_exact(&mut [0]).unwrap();
            // Somebody reads on: who waits to write is not stopped by Ctrl-C.
            let reads =
                std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            send(&child, signal);
            if signal == "SEGV" {
                // Rust's own handler takes the first for an overflow of the stack, and goes on if it is none.
                // Sent at once, two would be one.
                std::thread::sleep(Duration::from_millis(200));
                send(&child, signal);
            }
            let mut said = Vec::new();
            child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
            drop(stdin);
            reads.join().unwrap().unwrap();
            assert!(!child.wait().unwrap().success());
            let what = format!("{verb} and SIG{signal}");
            assert!(
                !holds(&said, CANARY),
                "{what}: {}",
                String::from_utf8_lossy(&said)
            );
            let seen = watch.end();
            assert!(seen.is_empty(), "{what}: in arguments: {seen:?}");
            place.is_clean(&what);
        }
    }
    let cores = |place: &Place| {
        let entries = fs::read_dir(place.work("")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.contains("core"))
            .collect::<Vec<_>>()
    };
    assert!(cores(&place).is_empty(), "{:?}", cores(&place));
    // The proof that a crash would have left a core file here, with such words in it.
    let mut control = place.program("sh");
    control.args(["-c", "kill -SEGV $$"]).env("SONG", CANARY);
    let status = dumping(&place, control).status().unwrap();
    assert!(!status.success());
    match cores(&place).first() {
        Some(name) => assert!(holds(&fs::read(place.work(name)).unwrap(), CANARY)),
        None => eprintln!("skipped: this system writes no core files into the current folder"),
    }
}

/// The same program with no limit on core files.
fn dumping(place: &Place, command: Command) -> Command {
    let mut shell = place.program("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status();
    assert!(sent.unwrap().success());
}

/// A conversation by pipes, to be looked into.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    fn start(mut command: Command) -> Talk {
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Talk {
            child,
            stdin,
            stdout,
        }
    }

    fn give(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Says something; the answer.
    fn say(&mut self, line: &str) -> String {
        self.give(line);
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.trim().is_empty(), "no answer");
        answer.trim().to_owned()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As root the conversation is confined; else its parent could not look into it.
fn visible() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &[],
        false => {
            eprintln!(
                "not root: the memory of a confined process cannot be read, so with --no-sandbox"
            );
            &["--no-sandbox"]
        }
    }
}

/// What a text is as the tiny model's token ids: bytes, from token 3 on.
fn ids(text: &str) -> Vec<u8> {
    let ids = text.bytes().map(|byte| u32::from(byte) + 3);
    ids.flat_map(u32::to_le_bytes).collect()
}

/// Looks into a process and its children until `wanted` of what is found there, or patience ends.
#[track_caller]
fn until(pid: u32, needles: &[(&str, Vec<u8>)], what: &str, wanted: impl Fn(&[String]) -> bool) {
    let began = Instant::now();
    loop {
        let found = Memory::of_family(pid).find(needles);
        if wanted(&found) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {found:#?}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_conversation_that_forgets_has_nothing_of_it_in_memory() {
    let _alone = alone();
    let place = Place::new();
    let chat = place.with_model("chat", &[&["--max-tokens", "12"], visible()].concat());
    let mut talk = Talk::start(chat);
    let pid = talk.child.id();
    for forget in ["/reset", "/undo"] {
        let answer = talk.say(&format!("The {CANARY} sings."));
        talk.give("/save there.json");
        let needles = [
            ("the message", CANARY.as_bytes().to_vec()),
            ("its token ids", ids(CANARY)),
            ("the answer", answer.as_bytes().to_vec()),
        ];
        // Before: it is all there, or the search would prove nothing.
        until(pid, &needles, "before", |found| {
            needles
                .iter()
                .all(|(name, _)| found.iter().any(|f| f.starts_with(name)))
        });
        talk.give("/load there.json");
        talk.give("/retry");
        let mut again = String::new();
        talk.stdout.read_line(&mut again).unwrap();
        talk.give(forget);
        until(pid, &needles, forget, <[String]>::is_empty);
        let again = [("the second answer", again.trim().as_bytes().to_vec())];
        until(pid, &again, forget, <[String]>::is_empty);
        fs::remove_file(place.work("there.json")).unwrap();
    }
    place.is_clean("/reset");
}

#[test]
fn what_was_typed_is_forgotten_too() {
    let _alone = alone();
    let place = Place::new();
    place.write("editor.sh", "#!/bin/sh\nsed -i 's/sings/dives/' \"$1\"\n");
    let allow = Command::new("chmod")
        .args(["+x".as_ref(), place.work("editor.sh").as_os_str()])
        .status();
    assert!(allow.unwrap().success());
    let mut chat = place.with_model("chat", &[&["--max-tokens", "4"], visible()].concat());
    chat.env("EDITOR", place.work("editor.sh"));
    let watch = Arguments::watch(CANARY);
    let mut terminal = Terminal::new(80, 24, &chat);
    terminal.prompt();
    let typed = format!("The {CANARY} sings.");
    terminal.say(&typed);
    terminal.keys("/edit\r");
    terminal.until("an answer to what was edited", |rows| {
        let rows: Vec<_> = rows.iter().filter(|row| !row.is_empty()).collect();
        let at = rows.iter().position(|row| row.contains("/edit"));
        at.is_some_and(|at| rows.len() > at + 2) && rows.last().is_some_and(|row| *row == ">>>")
    });
    // What arrow keys bring back; and what is cut.
    terminal.keys("\u{1b}[A\u{1b}[A");
    terminal.last(&typed);
    terminal.keys("\u{15}");
    terminal.prompt();
    let pid = outside::child_named(terminal.id(), "hob").expect("hob in the terminal");
    let needles = [
        ("the message", CANARY.as_bytes().to_vec()),
        ("its token ids", ids(CANARY)),
    ];
    until(pid, &needles, "before", |found| {
        ["the message", "its token ids"]
            .iter()
            .all(|name| found.iter().any(|f| f.starts_with(name)))
    });
    terminal.say("/reset");
    until(pid, &needles, "/reset", <[String]>::is_empty);
    // It goes on as before.
    terminal.say("Hello");
    terminal.keys("\u{4}");
    assert_eq!(terminal.exit_code(), Some(0));
    let seen = watch.end();
    assert!(seen.is_empty(), "in arguments: {seen:?}");
    place.is_clean("a conversation on a terminal");
}
