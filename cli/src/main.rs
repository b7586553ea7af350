//! The program `hob`: reads the command line, runs one command, reports its error.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage; 130 stopped with Ctrl-C; 141 the reader of the
//! output went away.

#![forbid(unsafe_code)]

mod args;
mod bundle;
mod catalogue;
mod commands;
mod confined;
mod facts;
mod intake;
mod model;
mod nearest;
mod other;
mod panics;
mod report;
mod sampling_args;
mod stdio;
mod store;
mod style;
mod terminal;
mod thinking;
mod vault;
mod view;
mod wire;
mod workshop;

use clap::Parser;
use std::process::ExitCode;

/// What is freed is wiped: prompts and answers pass through many hands.
#[global_allocator]
static ALLOCATOR: hob::privacy::memory::Wiping = hob::privacy::memory::Wiping;

fn main() -> ExitCode {
    // Where the system has no such thing, a model file that is cut short while in use ends the program.
    let _ = hob::guard_mappings();
    panics::say_places_only();
    let cli = args::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(e) if terminal::is_broken_pipe(&e) => ExitCode::from(141),
        Err(e) => {
            // Names and paths may come from a hostile file.
            eprintln!("error: {}", terminal::PlainLine(&terminal::chain(&e)));
            ExitCode::FAILURE
        }
    }
}
