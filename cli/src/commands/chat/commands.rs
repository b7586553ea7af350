//! What a line of input means: a command with its arguments, or a message. The table of commands is the
//! one source of their names, of `/help` and of completion.

use super::input::{file_name, unquote};

/// A command of the conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Reset,
    /// Show the system prompt, or set it (to nothing: remove it).
    System(Option<String>),
    /// Write the conversation; without a path, to where it was saved or loaded last.
    Save {
        path: Option<String>,
        overwrite: bool,
    },
    Load(String),
    /// Show all parameters.
    Params,
    /// Set these, in order.
    Set(Vec<(String, String)>),
    /// Back to the parameters that the program was started with.
    ResetParams,
    Undo,
    Retry,
    Edit,
    Info,
    Stats,
    /// Show what is set for reasoning, or change it.
    Think(Option<Think>),
    Exit,
}

/// What `/think` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Think {
    /// Whether the model thinks; `None` leaves it to the template.
    Model(Option<bool>),
    /// Whether thoughts are shown.
    Shown(bool),
}

/// A line of `/help`.
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// Other names, of other programs and of habit.
    aliases: &'static [&'static str],
    arguments: &'static str,
    does: &'static str,
}

#[rustfmt::skip]
pub(super) static COMMANDS: [Entry; 13] = [
    Entry { name: "/help", aliases: &["/?"], arguments: "", does: "show this" },
    Entry { name: "/reset", aliases: &["/clear"], arguments: "", does: "forget the conversation; the system prompt stays" },
    Entry { name: "/system", aliases: &[], arguments: "[TEXT]", does: "show or set the system prompt (`/system clear` removes it)" },
    Entry { name: "/save", aliases: &[], arguments: "[-f] [FILE]", does: "write the conversation to a file, unencrypted (-f: replace one)" },
    Entry { name: "/load", aliases: &[], arguments: "FILE", does: "go on with a conversation from a file" },
    Entry { name: "/params", aliases: &["/set"], arguments: "[NAME VALUE]", does: "show or set parameters (`/params reset`: as at the start)" },
    Entry { name: "/undo", aliases: &[], arguments: "", does: "remove the last message and its answer" },
    Entry { name: "/retry", aliases: &["/regenerate"], arguments: "", does: "answer the last message again, with another seed" },
    Entry { name: "/edit", aliases: &[], arguments: "", does: "change the last message in your editor, and have it answered" },
    Entry { name: "/info", aliases: &["/show"], arguments: "", does: "the model, the context and memory in use, and what protects them" },
    Entry { name: "/stats", aliases: &["/verbose"], arguments: "", does: "show speed and context after each answer, or stop showing it" },
    Entry { name: "/think", aliases: &[], arguments: "[HOW]", does: "on, off, auto: whether the model thinks before it answers; show, hide: whether you see it" },
    Entry { name: "/exit", aliases: &["/quit", "/bye", "/q"], arguments: "", does: "leave (also Ctrl-D)" },
];

/// What `/help` shows: the commands with what they do, and what keys do.
pub(super) fn help() -> (Vec<(String, String)>, &'static str) {
    let row = |e: &Entry| {
        let call = format!("{} {}", e.name, e.arguments);
        (call.trim_end().to_owned(), e.does.to_owned())
    };
    (
        COMMANDS.iter().map(row).collect(),
        "\n\
        Messages of several lines: put \"\"\" before and after, or end a line with \\, or press Alt-Enter. \
        Pasted lines stay together.\n\n\
        Ctrl-C stops an answer; what there is of it stays. Arrow keys bring back what you typed.\n\n\
        Nothing of the conversation is written to disk unless you /save it, or started with --vault, which keeps \
        it encrypted.\n",
    )
}

/// The names of all commands, for completion.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|e| e.name)
}

/// The command on a line; `None` if the line is a message, an error with the remedy if it looks like a
/// command and is none.
pub(super) fn parse(line: &str) -> Option<Result<Command, String>> {
    let word = line
        .split_whitespace()
        .next()
        .filter(|_| line.starts_with('/'))?;
    let name = word.to_lowercase();
    let entry = COMMANDS
        .iter()
        .find(|e| e.name == name || e.aliases.contains(&name.as_str()));
    let Some(entry) = entry else {
        // A path, or a text of several lines, is something to talk about.
        if word.get(1..).is_some_and(|rest| rest.contains('/')) || line.contains('\n') {
            return None;
        }
        return Some(Err(unknown(word)));
    };
    let rest = line.get(word.len()..).unwrap_or_default().trim();
    Some(arguments(entry, rest))
}

fn arguments(entry: &Entry, rest: &str) -> Result<Command, String> {
    let some = (!rest.is_empty()).then_some(rest);
    let usage = || format!("usage: {} {} ({})", entry.name, entry.arguments, entry.does);
    let command = match entry.name {
        "/system" => {
            return Ok(Command::System(some.map(|text| match text {
                "clear" => String::new(),
                text => unquote(text).to_owned(),
            })));
        }
        "/save" => {
            let (overwrite, path) = match rest.strip_prefix("-f") {
                Some(path) if path.is_empty() || path.starts_with(' ') => (true, path.trim()),
                _ => (false, rest),
            };
            let path = (!path.is_empty()).then(|| file_name(path));
            return Ok(Command::Save { path, overwrite });
        }
        "/load" => return some.map(|s| Command::Load(file_name(s))).ok_or_else(usage),
        "/params" => return params(rest),
        "/think" => {
            let think = match rest {
                "" => None,
                "on" => Some(Think::Model(Some(true))),
                "off" => Some(Think::Model(Some(false))),
                "auto" => Some(Think::Model(None)),
                "show" => Some(Think::Shown(true)),
                "hide" => Some(Think::Shown(false)),
                _ => return Err(usage()),
            };
            return Ok(Command::Think(think));
        }
        "/help" => Command::Help,
        "/reset" => Command::Reset,
        "/undo" => Command::Undo,
        "/retry" => Command::Retry,
        "/edit" => Command::Edit,
        "/info" => Command::Info,
        "/stats" => Command::Stats,
        _ => Command::Exit,
    };
    match some {
        Some(_) => Err(format!("{} takes nothing after it", entry.name)),
        None => Ok(command),
    }
}

/// `NAME VALUE`, or any number of `NAME=VALUE`; a minus in a name is an underscore.
fn params(rest: &str) -> Result<Command, String> {
    let name = |name: &str| name.trim_start_matches('-').replace('-', "_");
    let words: Vec<&str> = rest.split_whitespace().collect();
    match words.as_slice() {
        [] => return Ok(Command::Params),
        ["reset"] => return Ok(Command::ResetParams),
        // Some other program's word for it.
        ["parameter", key, value @ ..] | [key, value @ ..]
            if !key.contains('=') && !value.is_empty() =>
        {
            return Ok(Command::Set(vec![(name(key), value.join(" "))]));
        }
        _ => {}
    }
    let pairs = words.iter().map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((name(key), value.to_owned()))
    });
    let pairs: Option<Vec<_>> = pairs.collect();
    pairs
        .map(Command::Set)
        .ok_or_else(|| "usage: /params NAME VALUE, as in `/params temperature 0.8`".to_owned())
}

fn unknown(word: &str) -> String {
    let known = COMMANDS
        .iter()
        .flat_map(|e| e.aliases.iter().chain([&e.name]));
    let near = known
        .map(|name| (strsim::damerau_levenshtein(name, word), name))
        .min()
        .filter(|&(d, _)| d <= 2);
    let near = near.map_or(String::new(), |(_, name)| {
        format!(" (did you mean {name}?)")
    });
    format!(
        "there is no command of that name{near}; /help shows all. A message that begins with / needs a space before it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for message in [
            "hello",
            " /help",
            "a /help",
            "/etc/passwd is what?",
            "/a\nb",
            "1/2",
        ] {
            assert_eq!(parse(message), None, "{message}");
        }
        assert_eq!(parse("/HELP "), Some(Ok(Command::Help)));
        assert_eq!(parse("/bye"), Some(Ok(Command::Exit)));
        assert!(parse("/help me").unwrap().is_err());
        let error = parse("/hlep").unwrap().unwrap_err();
        assert!(error.contains("/help?"), "{error}");
        let far = parse("/frobnicate").unwrap().unwrap_err();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn arguments_are_read() {
        let ok = |line| parse(line).unwrap().unwrap();
        assert_eq!(ok("/system"), Command::System(None));
        assert_eq!(
            ok("/system  Be brief. "),
            Command::System(Some("Be brief.".into()))
        );
        assert_eq!(
            ok("/system \"\"\"a\nb\"\"\""),
            Command::System(Some("a\nb".into()))
        );
        assert_eq!(ok("/system clear"), Command::System(Some(String::new())));
        let save = |path: Option<&str>, overwrite| Command::Save {
            path: path.map(str::to_owned),
            overwrite,
        };
        assert_eq!(ok("/save"), save(None, false));
        assert_eq!(ok("/save -f"), save(None, true));
        assert_eq!(ok("/save -f a b.json"), save(Some("a b.json"), true));
        assert_eq!(ok("/save -file"), save(Some("-file"), false));
        let set = |pairs: &[(&str, &str)]| {
            Command::Set(pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect())
        };
        assert_eq!(ok("/params top-k 3"), set(&[("top_k", "3")]));
        assert_eq!(
            ok("/params --top-k=3 seed=4"),
            set(&[("top_k", "3"), ("seed", "4")])
        );
        assert_eq!(ok("/set parameter seed 4"), set(&[("seed", "4")]));
        assert_eq!(ok("/params reset"), Command::ResetParams);
        assert!(parse("/params temperature").unwrap().is_err());
        assert!(parse("/load").unwrap().is_err());
        assert_eq!(ok("/think"), Command::Think(None));
        assert_eq!(
            ok("/think off"),
            Command::Think(Some(Think::Model(Some(false))))
        );
        assert!(parse("/think hard").unwrap().is_err());
    }

    #[test]
    fn every_name_means_one_command() {
        let mut all: Vec<_> = COMMANDS
            .iter()
            .flat_map(|e| e.aliases.iter().chain([&e.name]))
            .collect();
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n);
    }
}
