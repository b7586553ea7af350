//! A server in a process that has given up everything but answering its callers and reading models: it
//! makes no connection and no socket, opens files only for reading and only beneath one folder, and starts
//! no program.
//!
//! The listener is made first, then the process confines itself, then threads serve. A caller sends two
//! lines, the name of a model's file and a question, and gets the answer as text. (hob itself has no
//! command that serves; this is for programs that use the library.)
//!
//!     cargo run --release -p hob --example serve -- FOLDER 127.0.0.1:8080
//!     printf 'model.gguf\nWhat is the capital of France?\n' | nc 127.0.0.1 8080

use hob::privacy::{self, Confinement, Mode, Report};
use hob::{Cancel, Engine, EngineOptions, Event, Message, Request, SessionOptions};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Most bytes of what a caller sends.
const LONGEST: u64 = 1 << 20;
/// Threads that serve: so many callers at a time, the others wait.
const THREADS: usize = 4;

/// Listens, then confines the process: single-threaded, and before anybody is answered.
#[expect(clippy::disallowed_methods, reason = "a server makes one socket")]
pub fn listen(address: SocketAddr, models: &Path) -> Result<(TcpListener, Report), Failure> {
    privacy::shed()?;
    let listener = TcpListener::bind(address)?;
    let report = Confinement::new(Mode::Serve).readable(models).enter()?;
    Ok((listener, report))
}

/// Answers callers on several threads, until the process ends.
pub fn serve(listener: &TcpListener, answer: impl Fn(TcpStream) -> Result<(), Failure> + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // A caller that fails, or sends nonsense, is no reason to stop.
                for caller in listener.incoming().flatten() {
                    if let Err(e) = answer(caller) {
                        eprintln!("a caller was not answered: {e}");
                    }
                }
            });
        }
    });
}

/// Models that were asked for, loaded at the first time.
pub struct Models {
    folder: PathBuf,
    loaded: Mutex<HashMap<String, Engine>>,
}

impl Models {
    /// Of the files in a folder.
    pub fn new(folder: &Path) -> Models {
        Models {
            folder: folder.to_owned(),
            loaded: Mutex::new(HashMap::new()),
        }
    }

    /// Opens it now, if it is not loaded: a file beneath the folder, whatever its name says, for nothing
    /// else can be opened.
    fn get(&self, name: &str) -> Result<Engine, Failure> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = loaded.get(name) {
            return Ok(engine.clone());
        }
        let engine = Engine::load(self.folder.join(name), &EngineOptions::default())?;
        loaded.insert(name.to_owned(), engine.clone());
        Ok(engine)
    }

    /// Reads what a caller asks, and answers.
    pub fn answer(&self, mut caller: TcpStream) -> Result<(), Failure> {
        let mut lines = BufReader::new(caller.try_clone()?.take(LONGEST)).lines();
        let mut line = || lines.next().unwrap_or(Ok(String::new()));
        let (name, question) = (line()?, line()?);
        if let Err(e) = self.write_answer(&name, &question, &mut caller) {
            writeln!(caller, "error: {e}")?;
        }
        Ok(())
    }

    fn write_answer(&self, name: &str, question: &str, to: &mut impl Write) -> Result<(), Failure> {
        let engine = self.get(name)?;
        let mut session = engine.session(SessionOptions::default());
        let prompt = session.encode_chat(&[Message::new("user", question)])?;
        session.prefill(&prompt, &Cancel::new(), |_, _| ())?;
        let request = Request {
            max_tokens: 200,
            ..Request::default()
        };
        session.generate(&request, &Cancel::new(), |event| {
            let Event::Text(text) = event else {
                return ControlFlow::Continue(());
            };
            // A caller that hung up needs no more.
            match to.write_all(text.as_bytes()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        Ok(())
    }
}

#[allow(dead_code)] // Where a test includes this file.
fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (args.next(), args.next()) else {
        return Err("usage: serve FOLDER ADDRESS:PORT".into());
    };
    let folder = PathBuf::from(folder);
    let (listener, report) = listen(address.parse()?, &folder)?;
    for (layer, why) in report.weaknesses() {
        writeln!(io::stderr(), "warning: {layer}: {why}")?;
    }
    let models = Models::new(&folder);
    serve(&listener, |caller| models.answer(caller));
    Ok(())
}
