//! Inference in a process of its own, which has given up files and the network: the way for a program that
//! has threads, files or sockets, which confinement would not reach or would break.
//!
//! The parent starts this program again as a worker, and asks it by pipes. The worker, single-threaded,
//! closes what it inherited, opens the model, confines itself, and only then reads a byte of the model or
//! of a question. If the model takes it over, it holds a question and two pipes, and no way to anybody
//! else.
//!
//!     cargo run --release -p hob --example worker -- MODEL "Question" "Another question"

use hob::privacy::{self, Confinement, Mode};
use hob::{Cancel, Engine, EngineOptions, Event, Message, Request, SessionOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The longest message that either side takes, in bytes.
const LONGEST: u32 = 16 << 20;

/// What a message is. On the pipe: this byte, the length (u32, little-endian), the text.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Question = b'q',
    /// A piece of an answer.
    Text = b't',
    /// The end of an answer.
    End = b'.',
    /// Instead of (the rest of) an answer.
    Error = b'!',
}

fn send(to: &mut impl Write, tag: Tag, text: &str) -> io::Result<()> {
    let len = u32::try_from(text.len()).ok().filter(|&n| n <= LONGEST);
    let len = len.ok_or_else(|| io::Error::other("the message is too long"))?;
    to.write_all(&[tag as u8])?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// The next message; none when the other side has gone. The parent does not trust the worker, which may
/// have been taken over: whatever comes is checked.
fn receive(from: &mut impl Read) -> io::Result<Option<(Tag, String)>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let [tag, len @ ..] = head;
    let tags = [Tag::Question, Tag::Text, Tag::End, Tag::Error];
    let tag = tags.into_iter().find(|&t| t as u8 == tag);
    let tag = tag.ok_or_else(|| bad("an unknown kind of message"))?;
    let len = u32::from_le_bytes(len);
    if len > LONGEST {
        return Err(bad("a message that is too long"));
    }
    let mut text = vec![0; len as usize];
    from.read_exact(&mut text)?;
    let text = String::from_utf8(text).map_err(|_| bad("a message that is not UTF-8"))?;
    Ok(Some((tag, text)))
}

/// The worker: call it first of all in `main`, before any thread is started.
pub fn work(model: &Path) -> Result<(), Failure> {
    privacy::shed()?;
    let options = EngineOptions::default();
    let files = Engine::open(model, &options)?;
    let report = Confinement::new(Mode::Run).enter()?;
    for (layer, why) in report.weaknesses() {
        // Standard error is the parent's; a program may as well refuse to go on.
        eprintln!("warning: {layer}: {why}");
    }
    let engine = Engine::load_files(files, &options)?;
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    while let Some((Tag::Question, question)) = receive(&mut questions)? {
        match answer(&engine, &question, &mut answers) {
            Ok(()) => send(&mut answers, Tag::End, "")?,
            // Errors never quote the question.
            Err(e) => send(&mut answers, Tag::Error, &e.to_string())?,
        }
    }
    Ok(())
}

fn answer(engine: &Engine, question: &str, to: &mut impl Write) -> Result<(), Failure> {
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
        // Nobody listens any more: no need to go on.
        match send(to, Tag::Text, text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}

/// The parent's side.
pub struct Worker {
    child: Child,
    questions: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Worker {
    /// Starts a worker: `command` is the program and arguments that end in [`work`]. Works in a program
    /// with any number of threads.
    pub fn start(command: &mut Command) -> Result<Worker, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A model needs nothing from the environment.
            .env_clear()
            .spawn()?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or("no pipe")?;
        Ok(Worker {
            child,
            questions,
            answers,
        })
    }

    /// Asks; `on` gets the answer piece by piece.
    pub fn ask(&mut self, question: &str, mut on: impl FnMut(&str)) -> Result<(), Failure> {
        let to = self.questions.as_mut().ok_or("the worker was ended")?;
        send(to, Tag::Question, question)?;
        loop {
            match receive(&mut self.answers)? {
                Some((Tag::Text, text)) => on(&text),
                Some((Tag::End, _)) => return Ok(()),
                Some((Tag::Error, why)) => return Err(why.into()),
                Some((Tag::Question, _)) => return Err("the worker asks".into()),
                None => return Err("the worker has ended".into()),
            }
        }
    }

    /// Ends it, and says how it ended.
    pub fn end(mut self) -> io::Result<std::process::ExitStatus> {
        drop(self.questions.take());
        self.child.wait()
    }
}

#[allow(dead_code)] // Where a test includes this file.
fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (model, questions) = match args.as_slice() {
        [word, model] if word == "--worker" => return work(Path::new(model)),
        [model, questions @ ..] if !questions.is_empty() => (model, questions),
        _ => return Err("usage: worker MODEL QUESTION...".into()),
    };
    // Any thread may ask: here, one that is not the first.
    let asker = std::thread::scope(|scope| {
        let asker = scope.spawn(|| -> Result<(), Failure> {
            let mut command = Command::new(std::env::current_exe()?);
            let mut worker = Worker::start(command.args(["--worker", model]))?;
            for question in questions {
                worker.ask(question, |text| {
                    print!("{text}");
                    // A reader that went away is noticed at the next line.
                    let _ = io::stdout().flush();
                })?;
                println!("\n");
            }
            worker.end()?;
            Ok(())
        });
        asker.join()
    });
    asker.map_err(|_| "the asking thread failed")?
}
