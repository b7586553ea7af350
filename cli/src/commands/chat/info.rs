//! `/info`: what is running, what it uses, and what protects it; what is not built yet is called so.

use super::Chat;
use crate::terminal::bytes;
use hob::privacy::{State, memory};

impl Chat {
    /// The rows of `/info`. Texts from files are not made harmless here.
    pub(super) fn info(&self) -> Vec<(String, String)> {
        let hparams = &self.engine.model().hparams;
        let memory = self.engine.memory();
        let mut rows = Vec::new();
        let mut row = |key: &str, value: String| rows.push((key.to_owned(), value));
        row("model", format!("{}, {}", self.model_name(), hparams.arch));
        row("file", self.model.path.display().to_string());
        match &self.model.installed {
            Some(installed) => {
                let m = &installed.manifest;
                let (stored, fetched) = (bytes(m.stored_size()), bytes(m.size()));
                row("size", format!("{stored} ({fetched} as fetched)"));
                for file in &m.files {
                    let what = &file.original;
                    row(
                        "sha256",
                        format!("{} ({what}, as fetched; pinned)", file.sha256),
                    );
                }
                if let Some(verified) = self.model.verified.get() {
                    let words = verified.words();
                    row(
                        "verified",
                        format!("every byte hashed {words}; unchanged since"),
                    );
                }
                row("source", format!("{}, licence {}", m.source, m.licence));
            }
            None => {
                let open = self.model.bytes.get().copied().unwrap_or_default();
                row("size", bytes(open));
                row(
                    "sha256",
                    "not known: the file is not in the store".to_owned(),
                );
            }
        }
        let (held, context) = (self.session.tokens().len(), self.settings.context);
        let of_all = 100.0 * held as f64 / context as f64;
        row(
            "context",
            format!(
                "{held} of {context} tokens ({of_all:.0}%); trained for {}",
                hparams.context
            ),
        );
        let forgotten = match self.conversation.forgotten() {
            0 => String::new(),
            n => format!(", the oldest {n} no longer shown to the model"),
        };
        let messages = self.conversation.messages().len();
        let system = self.conversation.system().map_or("none", |_| "set");
        row(
            "messages",
            format!("{messages}{forgotten}; system prompt {system}"),
        );
        row(
            "memory",
            format!(
                "{} keys and values; weights {} mapped, {} packed; {} working",
                bytes(self.session.kv_bytes() as u64),
                bytes(memory.mapped),
                bytes(memory.packed),
                bytes(memory.vectors + memory.working),
            ),
        );
        row("threads", self.engine.threads().to_string());
        row("instructions", self.engine.isa().name().to_owned());
        match &self.confinement {
            None => row("confinement", "none, as asked".to_owned()),
            Some(report) => {
                for (layer, state) in report.layers() {
                    let how = match state {
                        State::Holds(how) => how.clone(),
                        State::Partly(why) => format!("in part: {why}"),
                        State::Missing(why) => format!("MISSING: {why}"),
                        _ => continue,
                    };
                    row(layer.name(), how);
                }
            }
        }
        let apart = match &self.confinement {
            Some(_) => {
                "for /save, /load and /edit, by a process beside this one that has no network"
            }
            None => "for /save, /load and /edit, by a process beside this one",
        };
        row("files", apart.to_owned());
        if let Some(kept) = &self.kept {
            row("vault", format!("{}, encrypted", kept.place()));
            if let Some(n) = kept.snapshot_tokens() {
                row(
                    "snapshot",
                    format!("keys and values of {n} tokens, encrypted"),
                );
            }
        }
        let saved = match &self.place {
            Some(place) => format!("saved in or loaded from {}, not encrypted", place.display()),
            None if self.kept.is_some() => "kept in the vault".to_owned(),
            None => "in memory only, never written unless you /save it".to_owned(),
        };
        row("conversation", saved);
        row("kept from swap", memory::figures().to_string());
        rows
    }
}
