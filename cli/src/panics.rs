//! What is said when hob fails by a defect of its own: where in hob that was, and nothing of what it was
//! working on. The words of a panic quote texts (`byte index 3 is not a char boundary of "..."`), and
//! standard error ends up in logs.

use std::io::Write;
use std::panic::{Location, PanicHookInfo};

/// For all threads, from now on.
pub(crate) fn say_places_only() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        // Nobody reads it? Then it is not said; a panic in here would end the process at once.
        let _ = writeln!(std::io::stderr(), "{}", place(panic.location()));
    }));
}

fn place(at: Option<&Location<'_>>) -> String {
    let place = at.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!(
        "error: a defect of hob at {place}; please report that place (what hob was working on is not shown: it may be your words)"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CANARY: &str = "kingfisher-é-4711";

    /// Not a test by itself: what the next one runs in a process of its own.
    #[test]
    #[ignore = "panics; run by the next test"]
    fn a_panic_that_quotes() {
        super::say_places_only();
        let text = std::hint::black_box(CANARY);
        // On another thread, too.
        let thread = std::thread::spawn(move || text[..12].len());
        assert!(thread.join().is_err());
        std::panic::resume_unwind(Box::new(text[..12].to_owned()));
    }

    #[test]
    fn a_panic_is_a_place_and_no_text() {
        let run = |hidden: &str| {
            let program = std::env::current_exe().unwrap();
            let mut command = Command::new(program);
            command.args([
                "--exact",
                hidden,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ]);
            command.env("RUST_BACKTRACE", "full").output().unwrap()
        };
        let ran = run("panics::tests::a_panic_that_quotes");
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(
            said.matches("a defect of hob at cli/src/panics.rs:")
                .count(),
            2,
            "{said}"
        );
        assert!(!said.contains("kingfisher"), "{said}");
    }
}
