//! A model file that is cut short, written to, renamed or deleted while it is in use: an error that names
//! it and no token of what is not the model's, or the same tokens as ever. Never the end of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::{Shape, ids};
use hob::{
    Cancel, Engine, EngineOptions, Event, LoadError, Request, SessionError, SessionOptions,
    WeightsMode,
};
use hob_kernels::format::Format;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const TOKENS: usize = 24;

/// A model in a folder, older than a minute so that any change shows in its time.
struct Model {
    dir: tempfile::TempDir,
    path: PathBuf,
    len: u64,
}

impl Model {
    fn new() -> Model {
        hob::guard_mappings().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = common::write(dir.path(), &Shape::wide("llama"), Format::Q4K, 3);
        let minute_ago = SystemTime::now() - Duration::from_secs(60);
        open(&path).set_modified(minute_ago).unwrap();
        let len = path.metadata().unwrap().len();
        Model { dir, path, len }
    }

    fn cut(&self, left: u64) {
        open(&self.path).set_len(left).unwrap();
    }

    /// One byte in the middle is another.
    fn scribble(&self) {
        std::os::unix::fs::FileExt::write_all_at(&open(&self.path), b"!", self.len / 2).unwrap();
    }
}

fn open(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

fn options(weights: WeightsMode, threads: usize) -> EngineOptions {
    EngineOptions {
        threads: Some(threads),
        batch: 8,
        weights,
        ..EngineOptions::default()
    }
}

/// Reads a prompt and generates; `at` is called before each batch of the prompt and after each token, with
/// how many there were. Ids that were handed out, and how it ended.
fn run(engine: &Engine, mut at: impl FnMut(usize)) -> (Vec<u32>, Result<(), SessionError>) {
    let mut session = engine.session(SessionOptions::default());
    let mut given = Vec::new();
    let prompt = ids(40, 331);
    at(0);
    let read = session.prefill(&prompt, &Cancel::new(), |done, _| at(done / 8));
    if let Err(e) = read {
        assert!(session.tokens().len() < prompt.len());
        return (given, Err(e));
    }
    let request = Request {
        max_tokens: TOKENS,
        ignore_end: true,
        ..Request::default()
    };
    let done = session.generate(&request, &Cancel::new(), |event| {
        if let Event::Token { id, .. } = event {
            given.push(id);
            at(5 + given.len());
        }
        ControlFlow::Continue(())
    });
    (given, done.map(|_| ()))
}

#[test]
fn a_file_cut_short_or_changed_under_a_session_ends_it_with_an_error() {
    let honest = run(
        &Engine::load(&Model::new().path, &options(WeightsMode::Mapped, 2)).unwrap(),
        |_| (),
    );
    honest.1.unwrap();
    assert_eq!(honest.0.len(), TOKENS);
    for threads in [1, 2, 4] {
        // Before the prompt, in it, after it, at the first token and at a late one.
        for when in [0, 2, 5, 6, 20] {
            for (share, name) in [
                (Some(0), "cut short"),
                (Some(7), "cut short"),
                (None, "changed"),
            ] {
                let model = Model::new();
                let options = options(WeightsMode::Mapped, threads);
                let engine = Engine::load(&model.path, &options).unwrap();
                let (given, end) = run(&engine, |at| match share {
                    Some(eighths) if at == when => model.cut(model.len * eighths / 8),
                    None if at == when => model.scribble(),
                    _ => {}
                });
                let case = format!("{threads} threads, at {when}, {share:?}");
                let error = end.expect_err(&case);
                assert!(matches!(error, SessionError::Weights(_)), "{case}: {error}");
                let text = error.to_string();
                let file = model.path.file_name().unwrap().to_str().unwrap();
                assert!(text.contains(name) && text.contains(file), "{case}: {text}");
                // What was handed out before is the model's, and nothing was after.
                let clean = match when {
                    // The prompt had been read: its logits choose a token.
                    5 => 1,
                    _ => when.saturating_sub(5),
                };
                assert_eq!(given.len(), clean, "{case}");
                assert_eq!(given, honest.0[..given.len()], "{case}");
                // And so it stays.
                let (given, end) = run(&engine, |_| ());
                assert!(given.is_empty() && end.is_err(), "{case}");
            }
        }
    }
}

#[test]
fn a_file_cut_short_while_it_is_loaded_is_an_error() {
    for weights in [WeightsMode::Mapped, WeightsMode::Auto] {
        for left in [0, 1, 300, 5000, 1 << 17, u64::MAX] {
            let model = Model::new();
            let options = options(weights.clone(), 2);
            let files = Engine::open(&model.path, &options).unwrap();
            model.cut(left.min(model.len - 1));
            let error = Engine::load_files(files, &options).err().unwrap();
            assert!(matches!(error, LoadError::Weights(_)), "{left}: {error}");
            assert!(error.to_string().contains("cut short"), "{left}: {error}");
        }
    }
    // At any moment, from another thread.
    let mut failed = 0;
    for round in 0..40 {
        let model = Model::new();
        let options = options(WeightsMode::Auto, 2);
        let files = Engine::open(&model.path, &options).unwrap();
        let loaded = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(100 * round));
                model.cut(model.len * (round % 8) / 8);
            });
            Engine::load_files(files, &options)
        });
        if let Err(error) = loaded {
            assert!(error.to_string().contains("cut short"), "{error}");
            failed += 1;
        }
    }
    assert!(failed > 0);
}

#[test]
fn what_is_renamed_deleted_or_held_in_memory_stays_the_model() {
    let honest = run(
        &Engine::load(&Model::new().path, &options(WeightsMode::Mapped, 2)).unwrap(),
        |_| (),
    );
    let same = |weights: WeightsMode, disturb: &dyn Fn(&Model)| {
        let model = Model::new();
        let engine = Engine::load(&model.path, &options(weights, 2)).unwrap();
        let (given, end) = run(&engine, |at| {
            if at == 2 || at == 9 {
                disturb(&model);
            }
        });
        end.unwrap();
        assert_eq!(given, honest.0);
    };
    // A model of that name comes in, as programs replace files.
    same(WeightsMode::Mapped, &|model| {
        let other = model.dir.path().join("new");
        std::fs::write(&other, "another").unwrap();
        std::fs::rename(&other, &model.path).unwrap();
    });
    same(WeightsMode::Mapped, &|model| {
        let _ = std::fs::remove_file(&model.path);
    });
    // Packed weights are in memory: the file is read no more.
    same(WeightsMode::Auto, &|model| model.cut(0));
    same(WeightsMode::Owned, &|model| model.cut(0));

    // Read whole when it is opened.
    let model = Model::new();
    let options = options(WeightsMode::Owned, 2);
    let files = Engine::open(&model.path, &options).unwrap();
    model.cut(0);
    let engine = Engine::load_files(files, &options).unwrap();
    assert_eq!(run(&engine, |_| ()).0, honest.0);
}
