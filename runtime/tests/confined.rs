//! The examples of confined processes, as programs would use them: a worker that answers by pipes, and a
//! server. This test starts itself again as either, so it has a `main` of its own, without the harness.
//! Linux only.

mod common;

#[cfg(target_os = "linux")]
#[allow(unreachable_pub)] // An example is for programs.
#[path = "../examples/serve.rs"]
mod serve;
#[cfg(target_os = "linux")]
#[allow(unreachable_pub)]
#[path = "../examples/worker.rs"]
mod worker;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let role: Vec<&str> = args.iter().map(String::as_str).collect();
    match role.as_slice() {
        // For a trace of the system calls of a worker, in `.ci/run`.
        ["--model", folder] => println!("{}", linux::model(folder.as_ref()).display()),
        ["--worker", model] => worker::work(model.as_ref()).unwrap(),
        ["--server", folder] => linux::server(folder.as_ref()),
        ["--threads"] => linux::with_threads(),
        _ => linux::all(),
    }
}

#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    reason = "callers of a server, and attempts that must be refused"
)]
mod linux {
    use super::common::{Shape, write_with};
    use super::{serve, worker};
    use hob::privacy::{ConfineError, Confinement, Layer, Mode, State};
    use hob::{Cancel, Engine, EngineOptions, Event, Message, Request, SessionOptions};
    use hob_kernels::format::Format;
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::ops::ControlFlow;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    /// The tests.
    pub(crate) fn all() {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path());
        let expected = answer_of(&model, QUESTION);
        assert!(!expected.is_empty());
        a_worker_answers_what_an_engine_would(&model, &expected);
        a_server_answers_and_can_do_nothing_else(&model, &expected);
        a_process_with_threads_is_confined_wholly_or_not_at_all();
        println!("confined processes: worker, server and threads passed");
    }

    /// Whether a refused call ends the process: see the feature.
    const DIES: bool = cfg!(feature = "kill-on-refusal");

    const QUESTION: &str = "What is it?";

    /// A small model of random weights whose vocabulary is bytes.
    pub(crate) fn model(folder: &Path) -> PathBuf {
        let shape = Shape {
            vocab: 259,
            context: 512,
            ..Shape::wide("llama")
        };
        let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
        tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
        write_with(folder, &shape, Format::Q8_0, 7, |w| {
            let types: Vec<i32> = [2, 3, 3].into_iter().chain([6; 256]).collect();
            w.metadata("tokenizer.ggml.model", "llama").unwrap();
            w.metadata("tokenizer.ggml.tokens", tokens).unwrap();
            w.metadata("tokenizer.ggml.scores", vec![0f32; 259])
                .unwrap();
            w.metadata("tokenizer.ggml.token_type", types).unwrap();
            w.metadata("tokenizer.ggml.bos_token_id", 1u32).unwrap();
            w.metadata("tokenizer.ggml.eos_token_id", 2u32).unwrap();
            let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
            w.metadata("tokenizer.chat_template", template).unwrap();
        })
    }

    /// The answer in this process, unconfined. (The request's seed is fixed, so it is the answer of all.)
    fn answer_of(model: &Path, question: &str) -> String {
        let engine = Engine::load(model, &EngineOptions::default()).unwrap();
        let mut session = engine.session(SessionOptions::default());
        let prompt = session
            .encode_chat(&[Message::new("user", question)])
            .unwrap();
        session.prefill(&prompt, &Cancel::new(), |_, _| ()).unwrap();
        let mut answer = String::new();
        let request = Request {
            max_tokens: 200,
            ..Request::default()
        };
        session
            .generate(&request, &Cancel::new(), |event| {
                if let Event::Text(text) = event {
                    answer.push_str(text);
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        answer
    }

    fn myself(args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args);
        command
    }

    fn a_worker_answers_what_an_engine_would(model: &Path, expected: &str) {
        // A parent with threads, one of which asks.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let command = &mut myself(&["--worker", model.to_str().unwrap()]);
                let mut worker = worker::Worker::start(command).unwrap();
                for _ in 0..2 {
                    let mut answer = String::new();
                    worker.ask(QUESTION, |text| answer.push_str(text)).unwrap();
                    assert_eq!(answer, expected);
                }
                // More than its context: an error, and no end of the worker.
                let why = worker.ask(&"x".repeat(10_000), |_| ()).unwrap_err();
                assert!(!why.to_string().contains("xxx"), "{why}");
                let mut answer = String::new();
                worker.ask(QUESTION, |text| answer.push_str(text)).unwrap();
                assert_eq!(answer, expected);
                assert!(worker.end().unwrap().success());
            });
        });
        // One that cannot open its model says so by its end.
        let mut command = myself(&["--worker", "/nonexistent/model.gguf"]);
        let mut worker = worker::Worker::start(command.stderr(Stdio::null())).unwrap();
        assert!(worker.ask(QUESTION, |_| ()).is_err());
        assert!(!worker.end().unwrap().success());
    }

    /// The role: serves as the example does, and for callers that say `try` tries what it must not.
    pub(crate) fn server(folder: &Path) {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (listener, report) = serve::listen(local, folder).unwrap();
        let states: Vec<&str> = report
            .layers()
            .iter()
            .map(|(_, state)| match state {
                State::Holds(_) => "holds",
                _ => "lacks",
            })
            .collect();
        println!(
            "{} {}",
            listener.local_addr().unwrap().port(),
            states.join(",")
        );
        let models = serve::Models::new(folder);
        let folder = folder.to_owned();
        // The first caller is answered by an event loop.
        event_loop(&listener);
        serve::serve(&listener, |mut caller| {
            let mut first = [0; 4];
            if caller.peek(&mut first)? == 4 && first == *b"try " {
                let mut line = String::new();
                BufReader::new(caller.try_clone()?).read_line(&mut line)?;
                caller.write_all(attempts(&folder, &line).as_bytes())?;
                return Ok(());
            }
            models.answer(caller)
        });
    }

    fn event_loop(listener: &TcpListener) {
        use rustix::event::epoll;
        listener.set_nonblocking(true).unwrap();
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let data = epoll::EventData::new_u64(1);
        epoll::add(&queue, listener, data, epoll::EventFlags::IN).unwrap();
        let mut events = Vec::with_capacity(4);
        epoll::wait(&queue, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        let (mut caller, _) = listener.accept().unwrap();
        caller.set_nodelay(true).unwrap();
        caller
            .set_read_timeout(Some(std::time::Duration::from_secs(9)))
            .unwrap();
        caller.write_all(b"by an event loop\n").unwrap();
        caller.shutdown(Shutdown::Both).unwrap();
        listener.set_nonblocking(false).unwrap();
    }

    /// Each thing that a server must not do, by the standard library, and what came of it.
    fn attempts(folder: &Path, line: &str) -> String {
        let ports: Vec<u16> = line
            .split_whitespace()
            .skip(1)
            .map(|p| p.parse().unwrap())
            .collect();
        let (tcp, local) = (ports[0], Ipv4Addr::LOCALHOST);
        let tried = [
            ("connect", TcpStream::connect((local, tcp)).map(drop)),
            ("bind", TcpListener::bind((local, 0)).map(drop)),
            ("datagram", UdpSocket::bind((local, 0)).map(drop)),
            ("look up a name", ("localhost", tcp)).map_tried(),
            (
                "socket file",
                UnixStream::connect(folder.join("s")).map(drop),
            ),
            ("create", File::create(folder.join("new")).map(drop)),
            (
                "append",
                File::options()
                    .append(true)
                    .open(folder.join("present"))
                    .map(drop),
            ),
            ("open outside", File::open("/proc/self/status").map(drop)),
            (
                "open above",
                File::open(folder.join("../outside")).map(drop),
            ),
            ("list", std::fs::read_dir(folder).map(drop)),
            ("delete", std::fs::remove_file(folder.join("present"))),
            ("program", Command::new("/bin/true").status().map(drop)),
            ("read", File::open(folder.join("present")).map(drop)),
        ];
        tried
            .into_iter()
            .map(|(name, result)| {
                let errno = result.err().map(|e| e.raw_os_error().unwrap_or(-1));
                format!("{name}={}\n", errno.unwrap_or(0))
            })
            .collect()
    }

    /// Names are looked up with sockets: what a library makes of the refusal has no number.
    trait MapTried {
        fn map_tried(self) -> (&'static str, std::io::Result<()>);
    }

    impl MapTried for (&'static str, (&'static str, u16)) {
        fn map_tried(self) -> (&'static str, std::io::Result<()>) {
            let result = std::net::ToSocketAddrs::to_socket_addrs(&self.1).map(drop);
            (self.0, result)
        }
    }

    fn a_server_answers_and_can_do_nothing_else(model: &Path, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        std::fs::copy(model, models.join("model.gguf")).unwrap();
        std::fs::write(models.join("present"), "x").unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::fs::copy(model, folder.path().join("outside.gguf")).unwrap();
        // A link leads nowhere where reading is not allowed.
        std::os::unix::fs::symlink("../outside.gguf", models.join("link.gguf")).unwrap();
        let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut server = myself(&["--server", models.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let (port, layers) = said.trim().split_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        let layers: Vec<&str> = layers.split(',').collect();
        let ask = |text: &str| {
            let mut caller = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            caller.write_all(text.as_bytes()).unwrap();
            caller.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            // What the server did not read may end the connection early.
            let _ = caller.read_to_string(&mut answer);
            answer
        };
        assert_eq!(ask(""), "by an event loop\n");
        let question = format!("model.gguf\n{QUESTION}\n");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(ask(&question), expected));
            }
        });
        let landlock = layers[1] == "holds";
        // (`..` and links are Landlock's business, not the filter's: nothing dies.)
        for name in ["../outside.gguf", "link.gguf"] {
            let answer = ask(&format!("{name}\n{QUESTION}\n"));
            assert_eq!(answer.starts_with("error:"), landlock, "{name}: {answer}");
        }
        let tried = match DIES {
            true => String::new(),
            false => ask(&format!("try {}\n", sink.local_addr().unwrap().port())),
        };
        if DIES {
            println!("skipped: this build dies at a refusal");
        } else if layers[0] != "holds" {
            println!("skipped: this system has no filters of system calls");
        } else {
            for line in tried.lines() {
                let (name, errno) = line.split_once('=').unwrap();
                match name {
                    "read" => assert_eq!(errno, "0"),
                    "open outside" | "open above" if !landlock => assert_eq!(errno, "0"),
                    "open outside" | "open above" => assert_eq!(errno, "13", "{tried}"),
                    "look up a name" => assert_ne!(errno, "0", "{tried}"),
                    // The standard library may be refused early (EPERM), or late, by Landlock.
                    _ => assert!(errno == "1" || errno == "13", "{tried}"),
                }
            }
            assert_eq!(tried.lines().count(), 13, "{tried}");
        }
        sink.set_nonblocking(true).unwrap();
        assert!(sink.accept().is_err(), "somebody connected");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// The role: confines itself with a second thread there, and has that thread say what it may do.
    pub(crate) fn with_threads() {
        let (ask, asked) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for () in asked {
                tell.send(File::open("/proc/self/status").is_ok()).unwrap();
            }
        });
        let other_opens = || {
            ask.send(()).unwrap();
            told.recv().unwrap()
        };
        let own_opens = || File::open("/proc/self/status").is_ok();
        assert!(other_opens());
        match Confinement::new(Mode::Run).enter() {
            // As if it had not been called.
            Err(ConfineError::Threads { found: 2, .. }) => assert!(own_opens() && other_opens()),
            Err(e) => panic!("{e}"),
            Ok(_) if DIES => return,
            Ok(_) => assert!(!own_opens() && !other_opens()),
        }
        if DIES {
            return;
        }
        // One layer reaches them all on any system that has it.
        let report = Confinement::new(Mode::Run)
            .only(&[Layer::SystemCalls])
            .enter();
        if let Ok(report) = report
            && report
                .holding()
                .any(|name| name == Layer::SystemCalls.name())
        {
            assert!(!own_opens() && !other_opens());
        }
    }

    fn a_process_with_threads_is_confined_wholly_or_not_at_all() {
        assert!(myself(&["--threads"]).status().unwrap().success());
    }
}
