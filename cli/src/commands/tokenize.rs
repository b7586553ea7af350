//! `hob tokenize`: the tokens of a text, and the text of tokens, by a model's own vocabulary. Only the
//! model's metadata is read, never its weights.

use crate::confined::ConfinementArgs;
use crate::model::Model;
use crate::terminal::{Answer, PlainJson, PlainLine, bytes};
use anyhow::{Context, bail};
use clap::Args;
use hob_models::text;
use hob_models::tokenizer::{DecodeOptions, EncodeOptions, TokenKind, Tokenizer};
use hob_models::weights::Weights;
use serde_json::{Value, json};
use std::io::{BufRead, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// The longest text read from standard input, and the longest tokenizer.json.
const MAX_BYTES: u64 = 1 << 30;
const WRITING: &str = "cannot write to standard output";

#[derive(Args)]
#[command(after_help = "\
Without TEXT, or with `-`, the text is read from standard input, as it is: a line break at its end
is part of it. Text on the command line can be seen by other users of this computer (in the process
list); standard input cannot.

With --lines, each line of standard input is a text written as a JSON string, and each line of
output the JSON array of its ids; with --decode, the other way round. One process then does any
number of texts.

Examples:
  hob tokenize smollm2 \"Hello, world!\"
  hob tokenize ./model.gguf --count < book.txt
  hob tokenize ./tokenizer.json --decode 1,2,3")]
pub(crate) struct TokenizeArgs {
    /// Model file, tokenizer.json, or a name from the store
    model: PathBuf,
    /// The text; with --decode, ids separated by commas or spaces
    #[arg(allow_hyphen_values = true)]
    text: Option<String>,
    /// Add the tokens that the model wants before and after a text
    #[arg(long, short = 's', conflicts_with = "decode")]
    special: bool,
    /// Let control tokens written in the text (<|im_end|>) become tokens
    #[arg(long, short = 'p', conflicts_with = "decode")]
    parse_special: bool,
    /// From ids to text
    #[arg(long, short = 'd')]
    decode: bool,
    /// With --decode: leave control tokens out
    #[arg(long, requires = "decode")]
    skip_special: bool,
    /// Print the number of tokens alone
    #[arg(long, short = 'c', conflicts_with_all = ["decode", "json", "lines"])]
    count: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Many texts: a JSON string a line in, a JSON array of ids a line out
    #[arg(long, conflicts_with_all = ["text", "json"])]
    lines: bool,
    #[command(flatten)]
    confinement: ConfinementArgs,
}

pub(crate) fn run(args: &TokenizeArgs) -> anyhow::Result<()> {
    let model = Model::find(&args.model)?;
    let tokenizer = open(&model, args.confinement)?;
    if let Some(caveat) = tokenizer.caveat() {
        let path = model.path.display().to_string();
        eprintln!("hob: {}: {caveat}", PlainLine(&path));
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = if args.lines {
        lines(args, &tokenizer, &mut out)
    } else {
        one(args, &tokenizer, &mut out)
    };
    done?;
    out.flush().context(WRITING)
}

/// The tokenizer of a model, or of a lone `tokenizer.json`; the process is confined before it is parsed.
fn open(model: &Model, confinement: ConfinementArgs) -> anyhow::Result<Tokenizer> {
    let path = &model.path;
    let begun = confinement.begin()?;
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let read = |path: &Path| {
            let mut raw = Vec::new();
            let file = std::fs::File::open(path)?;
            file.take(MAX_BYTES).read_to_end(&mut raw)?;
            std::io::Result::Ok(raw)
        };
        let json = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = read(&path.with_file_name("tokenizer_config.json")).ok();
        begun.confine_reader()?;
        return Ok(Tokenizer::from_tokenizer_json(&json, config.as_deref())?);
    }
    let weights = Weights::parse(begun.read(model)?)?;
    let tokenizer = weights
        .files()
        .checked(text::tokenizer(&weights).map_err(anyhow::Error::new))?;
    tokenizer.with_context(|| format!("{} holds no tokenizer", path.display()))
}

fn options(args: &TokenizeArgs) -> EncodeOptions {
    EncodeOptions {
        special: args.special,
        parse_special: args.parse_special,
    }
}

/// One text, or one list of ids.
fn one(args: &TokenizeArgs, tokenizer: &Tokenizer, out: &mut impl Write) -> anyhow::Result<()> {
    let given = input(args)?;
    if args.decode {
        let text = decode(args, tokenizer, &ids(&given)?)?;
        if !args.json {
            out.flush().context(WRITING)?;
            let mut out = Answer::new();
            out.write(&text).context(WRITING)?;
            return out.write("\n").context(WRITING);
        }
        let report = json!({ "text": text });
        return writeln!(out, "{}", PlainJson(&report)).context(WRITING);
    }
    let ids = tokenizer.encode(&given, options(args))?;
    let characters = given.chars().count();
    if args.count {
        return writeln!(out, "{}", ids.len()).context(WRITING);
    }
    if args.json {
        let pieces: Vec<Value> = ids.iter().map(|&id| piece_json(tokenizer, id)).collect();
        let report = json!({
            "ids": ids, "pieces": pieces,
            "tokens": ids.len(), "characters": characters, "bytes": given.len(),
        });
        return writeln!(out, "{}", PlainJson(&report)).context(WRITING);
    }
    for &id in &ids {
        writeln!(
            out,
            "{id:>8}  {}",
            shown(tokenizer.piece(id).unwrap_or_default())
        )?;
    }
    let tokens = if ids.len() == 1 { "token" } else { "tokens" };
    let size = bytes(given.len() as u64);
    let count = ids.len();
    writeln!(out, "{count} {tokens}, {characters} characters, {size}").context(WRITING)
}

/// Many of them, a line each.
fn lines(args: &TokenizeArgs, tokenizer: &Tokenizer, out: &mut impl Write) -> anyhow::Result<()> {
    let stdin = std::io::stdin().lock();
    for (number, line) in (1..).zip(stdin.lines()) {
        let line = line.with_context(|| format!("cannot read line {number} of standard input"))?;
        // No error quotes the line.
        let wanted = if args.decode {
            "array of ids"
        } else {
            "string"
        };
        let malformed = || format!("line {number} of standard input is no JSON {wanted}");
        if args.decode {
            let ids: Vec<u32> =
                serde_json::from_str(&line).map_err(|_| anyhow::anyhow!(malformed()))?;
            let text = decode(args, tokenizer, &ids).with_context(|| format!("line {number}"))?;
            writeln!(out, "{}", PlainJson(&Value::from(text)))?;
        } else {
            let text: String =
                serde_json::from_str(&line).map_err(|_| anyhow::anyhow!(malformed()))?;
            let ids = tokenizer
                .encode(&text, options(args))
                .with_context(|| format!("line {number}"))?;
            writeln!(out, "{}", Value::from(ids))?;
        }
    }
    Ok(())
}

/// The text or the ids, from the command line or standard input.
fn input(args: &TokenizeArgs) -> anyhow::Result<String> {
    if let Some(text) = args.text.as_ref().filter(|&text| text != "-") {
        return Ok(text.clone());
    }
    let stdin = std::io::stdin();
    let (what, example) = match args.decode {
        true => ("ids", "1,2,3"),
        false => ("text", "\"...\""),
    };
    if args.text.is_none() && stdin.is_terminal() {
        bail!("no {what}: give it (`hob tokenize MODEL {example}`), or pipe it in");
    }
    let mut raw = Vec::new();
    stdin
        .lock()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut raw)
        .context("cannot read standard input")?;
    if raw.len() as u64 > MAX_BYTES {
        bail!("standard input is longer than {}", bytes(MAX_BYTES));
    }
    String::from_utf8(raw).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("standard input is not UTF-8 (byte {at})")
    })
}

fn ids(text: &str) -> anyhow::Result<Vec<u32>> {
    let separated = text.split(|c: char| c == ',' || c == '[' || c == ']' || c.is_whitespace());
    separated
        .filter(|id| !id.is_empty())
        .enumerate()
        .map(|(at, id)| {
            let message = || format!("id {} is not a number from 0 to {}", at + 1, u32::MAX);
            id.parse().with_context(message)
        })
        .collect()
}

fn decode(args: &TokenizeArgs, tokenizer: &Tokenizer, ids: &[u32]) -> anyhow::Result<String> {
    if let Some(id) = ids.iter().find(|&&id| tokenizer.kind(id).is_none()) {
        bail!(
            "there is no token {id}: the vocabulary has {} (0 to {})",
            tokenizer.vocab_size(),
            tokenizer.vocab_size().saturating_sub(1)
        );
    }
    let mut stream = tokenizer.decode_stream(DecodeOptions {
        show_control: !args.skip_special,
        text_start: true,
    });
    let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
    text.push_str(&stream.flush());
    Ok(text)
}

/// A piece between quotes, with escapes for what is no text or would not be seen.
fn shown(piece: &[u8]) -> String {
    let mut shown = String::from("\"");
    for chunk in piece.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' => shown.push(c),
                _ => shown.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown.push('"');
    shown
}

fn piece_json(tokenizer: &Tokenizer, id: u32) -> Value {
    let piece = tokenizer.piece(id).unwrap_or_default();
    let kind = match tokenizer.kind(id) {
        Some(TokenKind::Normal) | None => "normal",
        Some(TokenKind::Unknown) => "unknown",
        Some(TokenKind::Control) => "control",
        Some(TokenKind::UserDefined) => "user-defined",
        Some(TokenKind::Unused) => "unused",
        Some(TokenKind::Byte) => "byte",
    };
    match std::str::from_utf8(piece) {
        Ok(text) => json!({ "id": id, "text": text, "kind": kind }),
        // Part of a character.
        Err(_) => json!({ "id": id, "bytes": piece, "kind": kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_people_and_programs_write_them() {
        assert_eq!(ids("1, 2\n3").unwrap(), [1, 2, 3]);
        assert_eq!(ids("[4,5]").unwrap(), [4, 5]);
        assert_eq!(ids("").unwrap(), [0u32; 0]);
        assert!(ids("1 x").unwrap_err().to_string().contains("id 2"));
        assert!(ids("-1").is_err());
    }

    #[test]
    fn pieces_are_shown_without_steering_the_terminal() {
        assert_eq!(shown(b" don't"), "\" don't\"");
        assert_eq!(shown(b"a\x1b\n\"\xe2\x82"), r#""a\u{1b}\n\"\xe2\x82""#);
    }
}
