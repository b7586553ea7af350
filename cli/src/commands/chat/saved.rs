//! Conversations in files: JSON that other programs read, too. A file is written whole or not at all, for
//! this user's eyes only, and it is not encrypted; it says so itself.

use super::conversation::Conversation;
use crate::terminal::bytes;
use anyhow::{Context, bail};
use hob::Message;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The longest file that is read.
const LIMIT: u64 = 64 << 20;
const FORMAT: &str = "hob conversation";
const NOTE: &str = "Not encrypted: whoever can read this file can read the conversation.";

/// The file that a path means; a leading `~/` is the home folder.
pub(super) fn path(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// A conversation as the text of a file says it.
pub(super) fn document(conversation: &Conversation, model: &str) -> Value {
    let system = conversation.system().map(|s| Message::new("system", s));
    let messages: Vec<Value> = system
        .iter()
        .chain(conversation.messages())
        .map(|m| Value::Object(m.fields().clone()))
        .collect();
    json!({
        "format": FORMAT,
        "version": 1,
        "note": NOTE,
        "model": model,
        "messages": messages,
    })
}

/// Writes a conversation. An existing file is replaced only with `overwrite`.
pub(super) fn save(
    conversation: &Conversation,
    model: &str,
    path: &Path,
    overwrite: bool,
) -> anyhow::Result<()> {
    let again = format!("`/save -f {}`", path.display());
    save_json(&document(conversation, model), path, overwrite, &again)
}

/// Writes a document or several. An existing file is replaced only with `overwrite`; `again` is what its user
/// does to have it.
pub(crate) fn save_json(
    document: &Value,
    path: &Path,
    overwrite: bool,
    again: &str,
) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!(
            "{} is a folder; give the name of a file in it",
            path.display()
        );
    }
    // A link's target is replaced, not the link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.exists() && !target.is_file() {
        bail!("{} is no ordinary file; give another place", path.display());
    }
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!(
            "cannot save to {}: there is no folder {}; make it, or give another place",
            path.display(),
            folder.display()
        );
    }
    let name = || {
        format!(
            "cannot save to {}; give another place, such as ~/chat.json",
            path.display()
        )
    };
    // Of this user only (0600), under another name until it is whole.
    let mut temp = tempfile::NamedTempFile::new_in(folder)
        // Without the name that the file would have had.
        .map_err(|e| std::io::Error::from(e.kind()))
        .with_context(name)?;
    let mut text = serde_json::to_string_pretty(document).with_context(name)?;
    text.push('\n');
    temp.as_file_mut()
        .write_all(text.as_bytes())
        .with_context(name)?;
    temp.as_file().sync_all().with_context(name)?;
    if overwrite {
        temp.persist(&target)
            .map_err(|e| e.error)
            .with_context(name)?;
        return Ok(());
    }
    match temp.persist_noclobber(&target) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already; {again} replaces it", path.display())
        }
        Err(e) => Err(e.error).with_context(name),
    }
}

/// Reads a conversation: as [`save`] writes it, or any JSON object with `messages`, or a list of them.
pub(super) fn load(path: &Path) -> anyhow::Result<Conversation> {
    let name = path.display();
    if path.is_dir() {
        bail!("{name} is a folder; give the name of a file in it");
    }
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut text = String::new();
    file.take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => {
                anyhow::anyhow!("{name} is not text, so not a saved conversation")
            }
            _ => anyhow::Error::new(e).context(format!("cannot read {name}")),
        })?;
    if text.len() as u64 > LIMIT {
        bail!(
            "{name} is larger than {}; that is no saved conversation",
            bytes(LIMIT)
        );
    }
    // Errors say where, and do not quote what was said.
    let value: Value = serde_json::from_str(&text).map_err(|e| {
        anyhow::anyhow!(
            "{name} is not a saved conversation: no JSON from line {}, column {} on",
            e.line(),
            e.column()
        )
    })?;
    parse(value).map_err(|why| anyhow::anyhow!("{name} is not a saved conversation: {why}"))
}

/// The conversation that a document holds.
///
/// # Errors
/// What it lacks, without quoting it.
pub(super) fn parse(value: Value) -> Result<Conversation, String> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut fields) => {
            if let (Some(FORMAT), Some(version)) = (
                fields.get("format").and_then(Value::as_str),
                fields.get("version").and_then(Value::as_u64),
            ) && version > 1
            {
                return Err(format!(
                    "it is of version {version}; this hob reads version 1"
                ));
            }
            match fields.remove("messages") {
                Some(Value::Array(list)) => list,
                _ => return Err("it has no list `messages`".to_owned()),
            }
        }
        _ => return Err("it is neither an object nor a list".to_owned()),
    };
    let mut messages = Vec::new();
    let mut system: Option<String> = None;
    for (i, item) in list.into_iter().enumerate() {
        let message = message(item).map_err(|why| format!("message {}: {why}", i + 1))?;
        // Only the first one is the system prompt; some templates know later ones.
        if i == 0 && matches!(message.role(), "system" | "developer") {
            system = Some(message.content().to_owned());
        } else {
            messages.push(message);
        }
    }
    Ok(Conversation::new(system, messages))
}

fn message(item: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = item else {
        return Err("not an object".to_owned());
    };
    match fields.get("role").and_then(Value::as_str) {
        Some("system" | "developer" | "user" | "assistant" | "tool") => {}
        Some(_) => return Err("its role is none of system, user, assistant, tool".to_owned()),
        None => return Err("it has no role".to_owned()),
    }
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        // A list of parts, as of OpenAI's interface.
        Some(Value::Array(parts)) => {
            let text = |part: Value| match part {
                Value::Object(mut part) => match part.remove("text") {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                },
                _ => None,
            };
            let texts: Option<Vec<String>> = parts.into_iter().map(text).collect();
            texts
                .ok_or("a part of its content is not text; hob reads text only")?
                .concat()
        }
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err("its content is not text".to_owned()),
    };
    fields.insert("content".to_owned(), Value::String(content));
    Ok(Message::from_fields(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Conversation {
        let messages = vec![
            Message::new("user", "naïve \u{1b}[31m \"quotes\"\n日本語 🙂"),
            Message::new("assistant", "answer").with("reasoning_content", "thought"),
        ];
        Conversation::new(Some("be brief".into()), messages)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.json");
        save(&sample(), "model", &path, false).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.system(), Some("be brief"));
        let fields = |c: &Conversation| -> Vec<_> {
            c.messages().iter().map(|m| m.fields().clone()).collect()
        };
        assert_eq!(fields(&loaded), fields(&sample()));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Not encrypted"));
        // Again, only if told so; and nothing is left beside it.
        let error = save(&sample(), "model", &path, false).unwrap_err();
        assert!(error.to_string().contains("/save -f"), "{error}");
        save(&Conversation::default(), "model", &path, true).unwrap();
        assert!(load(&path).unwrap().messages().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn others_cannot_read_it_and_a_link_stays_one() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
        std::fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        save(&sample(), "model", &link, true).unwrap();
        assert!(link.is_symlink());
        let mode = std::fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!load(&real).unwrap().messages().is_empty());
    }

    #[test]
    fn other_programs_files_are_read_and_wrong_ones_refused() {
        let messages = |v: Value| parse(v).map(|c| c.messages().len());
        assert_eq!(messages(json!([{"role": "user", "content": "a"}])), Ok(1));
        let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]});
        assert_eq!(parse(parts).unwrap().last_question(), Some("ab"));
        for wrong in [
            json!(3),
            json!({"messages": 3}),
            json!([3]),
            json!([{"content": "a"}]),
            json!([{"role": "evil\u{1b}", "content": "a"}]),
            json!([{"role": "user", "content": 3}]),
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            json!({"format": FORMAT, "version": 2, "messages": []}),
        ] {
            let error = parse(wrong.clone()).map(|_| ()).unwrap_err();
            assert!(!error.contains("evil"), "{error}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "SECRET words").unwrap();
        let error = format!("{:#}", load(&path).map(|_| ()).unwrap_err());
        assert!(
            error.contains("line 1") && !error.contains("SECRET"),
            "{error}"
        );
        assert!(load(dir.path()).is_err());
        assert!(load(&dir.path().join("missing")).is_err());
        assert!(save(&sample(), "m", dir.path(), true).is_err());
        assert!(save(&sample(), "m", &dir.path().join("no/such/x"), true).is_err());
    }
}
