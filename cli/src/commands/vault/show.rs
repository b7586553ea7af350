//! `hob vault show` and `hob vault search`: what a vault has, on the terminal or as JSON.

use super::VaultRef;
use super::dates::day_and_time;
use crate::terminal::{Plain, PlainJson};
use crate::vault::{Access, ConversationId, History, Talk, VaultError, text};
use anyhow::bail;
use clap::Args;
use hob::privacy::Mode;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};

#[derive(Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    vault: VaultRef,
    /// The number of a conversation, to show what was said
    id: Option<ConversationId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    vault: VaultRef,
    /// What to find, in upper or lower case [default: a line from standard input, which other users of this
    /// machine cannot see]
    #[arg(value_name = "TEXT")]
    sought: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let (opened, history) = args.vault.read(Access::Read, Mode::Run)?;
    let mut out = std::io::stdout().lock();
    let Some(id) = args.id else {
        if args.json {
            let conversations: Vec<_> = history.talks().map(|(id, talk)| facts(id, talk)).collect();
            let vault = json!({
                "vault": opened.vault.name().as_str(), "written": opened.time, "records": opened.records,
                "conversations": conversations,
            });
            writeln!(out, "{:#}", PlainJson(&vault))?;
            return Ok(());
        }
        return Ok(list(&mut out, &history)?);
    };
    let talk = history.get(id).ok_or(VaultError::NoConversation(id))?;
    if args.json {
        let mut whole = facts(id, talk);
        let messages = talk
            .messages
            .iter()
            .map(|said| json!({ "time": said.time, "message": said.message }));
        if let Value::Object(fields) = &mut whole {
            fields.insert("system".to_owned(), json!(talk.system));
            fields.insert("said".to_owned(), messages.collect());
        }
        writeln!(out, "{:#}", PlainJson(&whole))?;
        return Ok(());
    }
    if let Some(system) = &talk.system {
        writeln!(out, "system:\n{}\n", Plain(system))?;
    }
    for said in &talk.messages {
        let role = text(&said.message, "role");
        let content = text(&said.message, "content");
        writeln!(out, "{} ({}):", Plain(role), day_and_time(Some(said.time)))?;
        writeln!(out, "{}\n", Plain(content))?;
    }
    Ok(())
}

/// A conversation as JSON, without what was said but for its title.
fn facts(id: ConversationId, talk: &Talk) -> Value {
    let (begun, last) = talk.times();
    json!({
        "id": id, "title": talk.title(), "model": talk.model(), "begun": begun, "last": last,
        "messages": talk.messages.len(), "forgotten": talk.forgotten,
    })
}

fn list(out: &mut impl Write, history: &History) -> std::io::Result<()> {
    if history.talks().next().is_none() {
        return writeln!(out, "no conversations yet");
    }
    for (id, talk) in history.talks() {
        let (_, last) = talk.times();
        let (n, title) = (talk.messages.len(), talk.title());
        let s = if n == 1 { " " } else { "s" };
        let title = if title.is_empty() { "-" } else { &title };
        let line = format!("{id:4}  {}  {n:4} message{s}  {title}", day_and_time(last));
        writeln!(out, "{}", Plain(&line))?;
    }
    Ok(())
}

/// What to find, from standard input.
fn line() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprint!("Find: ");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    match line.trim() {
        "" => bail!("there is nothing to find: give a text"),
        text => Ok(text.to_owned()),
    }
}

/// Characters that are shown around what was found.
const AROUND: usize = 40;

pub(super) fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let (_opened, history) = args.vault.read(Access::Read, Mode::Run)?;
    let sought = match &args.sought {
        Some(text) => text.clone(),
        None => line()?,
    };
    let mut found = Vec::new();
    for (id, talk) in history.talks() {
        let said = talk
            .messages
            .iter()
            .map(|said| (text(&said.message, "role"), text(&said.message, "content")));
        let system = talk.system.iter().map(|text| ("system", text.as_str()));
        for (n, (role, content)) in system.chain(said).enumerate() {
            if let Some(excerpt) = excerpt(content, &sought) {
                // Messages count from 1; the system prompt is number 0.
                let n = if talk.system.is_some() { n } else { n + 1 };
                found.push((id, n, role, excerpt));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = found.iter().map(|(id, n, role, excerpt)| {
            json!({ "conversation": id, "message": n, "role": role, "excerpt": excerpt })
        });
        writeln!(out, "{:#}", PlainJson(&all.collect()))?;
        return Ok(());
    }
    if found.is_empty() {
        eprintln!("hob: not found");
    }
    for (id, n, role, excerpt) in found {
        let line = format!("{id:4}  message {n}, {role}: {excerpt}");
        writeln!(out, "{}", Plain(&line))?;
    }
    Ok(())
}

/// The first place of a text where something is found, in upper or lower case, with what is around it, on
/// one line.
fn excerpt(content: &str, sought: &str) -> Option<String> {
    let fold = |text: &str| -> Vec<char> { text.chars().flat_map(char::to_lowercase).collect() };
    let sought = fold(sought);
    // A folded character with the one that it came from.
    let folded = content
        .chars()
        .enumerate()
        .flat_map(|(i, c)| c.to_lowercase().map(move |c| (i, c)));
    let (places, folded): (Vec<usize>, Vec<char>) = folded.unzip();
    let at = match sought.len() {
        0 => return None,
        n => folded.windows(n).position(|window| window == sought)?,
    };
    let first = *places.get(at)?;
    let last = *places.get(at + sought.len() - 1)?;
    let from = first.saturating_sub(AROUND);
    let part: String = content
        .chars()
        .skip(from)
        .take(last + 1 + AROUND - from)
        .collect();
    let line = part.split_whitespace().collect::<Vec<_>>().join(" ");
    let before = if from > 0 { "\u{2026}" } else { "" };
    let after = match content.chars().nth(last + 1 + AROUND) {
        Some(_) => "\u{2026}",
        None => "",
    };
    Some(format!("{before}{line}{after}"))
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn a_text_is_found_in_any_case_with_what_is_around_it() {
        assert_eq!(
            excerpt("In the Garden.", "the garden").unwrap(),
            "In the Garden."
        );
        assert_eq!(excerpt("In the Garden.", "x"), None);
        assert_eq!(excerpt("In the Garden.", ""), None);
        assert_eq!(excerpt("", "x"), None);
        // A letter that becomes two when it is made small.
        assert_eq!(
            excerpt("İSTANBUL\n\nlies", "STANBUL").unwrap(),
            "İSTANBUL lies"
        );
        let long = format!("{}needle{}", "a".repeat(500), "日".repeat(500));
        let found = excerpt(&long, "NEEDLE").unwrap();
        assert_eq!(found.chars().count(), 6 + 2 * 40 + 2);
        assert!(found.starts_with('…') && found.ends_with('…') && found.contains("needle日"));
    }
}
