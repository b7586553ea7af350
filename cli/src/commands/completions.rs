//! `hob completions` and `hob man`: what shells and `man` read, from the command line's own definition.

use crate::args::Cli;
use anyhow::Context;
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell, generate};
use clap_complete_nushell::Nushell;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "\
Examples:
  hob completions bash > ~/.local/share/bash-completion/completions/hob
  hob completions zsh > ~/.zfunc/_hob          (with ~/.zfunc in $fpath, before compinit)
  hob completions fish > ~/.config/fish/completions/hob.fish
  hob completions nushell > ~/.config/nushell/autoload/hob.nu")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "nu")]
    Nushell,
    #[value(name = "powershell", alias = "pwsh")]
    PowerShell,
    Elvish,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  hob man --out ~/.local/share/man/man1        (then `man hob`, `man hob-run`)")]
pub(crate) struct ManArgs {
    /// Folder for the pages, one a command; made if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let script = script(args.shell);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}

fn script(shell: ShellName) -> Vec<u8> {
    fn of(generator: impl Generator) -> Vec<u8> {
        let mut out = Vec::new();
        generate(generator, &mut Cli::command(), "hob", &mut out);
        out
    }
    match shell {
        ShellName::Bash => of(Shell::Bash),
        ShellName::Zsh => of(Shell::Zsh),
        ShellName::Fish => of(Shell::Fish),
        ShellName::Nushell => of(Nushell),
        ShellName::PowerShell => of(Shell::PowerShell),
        ShellName::Elvish => of(Shell::Elvish),
    }
}

pub(crate) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let n = write_pages(&args.out)
        .with_context(|| format!("cannot write manual pages to {}", args.out.display()))?;
    let out = args.out.display().to_string();
    println!("{n} pages in {}", crate::terminal::PlainLine(&out));
    Ok(())
}

/// Gives the number of pages.
fn write_pages(dir: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    page_and_those_below(&command, dir)
}

fn page_and_those_below(command: &Command, dir: &Path) -> std::io::Result<usize> {
    let source = concat!("hob ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone())
        .source(source)
        .generate_to(dir)?;
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown
        .map(|c| page_and_those_below(c, dir))
        .try_fold(1, |n, more| Ok(n + more?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_every_script_and_has_a_page() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(|c| c.get_name()).collect();
        assert!(names.contains(&"run") && names.contains(&"doctor"));
        for shell in ShellName::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for name in &names {
                assert!(script.contains(name), "{name}");
            }
            assert!(script.contains("temperature"));
        }
        let dir = tempfile::tempdir().unwrap();
        let shown = || command.get_subcommands().filter(|c| !c.is_hide_set());
        let below: usize = shown().map(|c| c.get_subcommands().count()).sum();
        assert_eq!(
            write_pages(&dir.path().join("new")).unwrap(),
            1 + shown().count() + below
        );
        let dir = dir.path().join("new");
        for name in shown().map(Command::get_name) {
            let page = std::fs::read_to_string(dir.join(format!("hob-{name}.1"))).unwrap();
            assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{page}");
        }
        let page = std::fs::read_to_string(dir.join("hob.1")).unwrap();
        assert!(page.contains("Exit codes"), "{page}");
    }
}
