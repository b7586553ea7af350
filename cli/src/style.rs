//! Whether output is coloured, and with what. The user's word comes first (`--color`), then the
//! environment's (`NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, `TERM=dumb`), then whether a person looks on.

use clap::ValueEnum;
use std::ffi::OsString;

/// `--color`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal, unless the environment says otherwise
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorArg {
    /// Whether a stream is coloured; `terminal` says whether it is one.
    pub(crate) fn enabled(self, terminal: bool) -> bool {
        self.decide(terminal, |name| std::env::var_os(name))
    }

    /// The conventions of no-color.org and bixense.com/clicolors.
    fn decide(self, terminal: bool, env: impl Fn(&str) -> Option<OsString>) -> bool {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        match self {
            ColorArg::Always => true,
            ColorArg::Never => false,
            ColorArg::Auto if set("NO_COLOR").is_some() => false,
            ColorArg::Auto if set("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
            ColorArg::Auto => {
                terminal
                    && set("CLICOLOR").is_none_or(|v| v != "0")
                    && set("TERM").is_some_and(|v| v != "dumb")
            }
        }
    }
}

/// The looks that hob uses: the parameters of "select graphic rendition" (ECMA-48, 8.3.117).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    #[default]
    Plain,
    /// Asides: marks, notices, thoughts.
    Dim,
    Strong,
    Heading,
    Code,
    /// The mark of a list's item, and the prompt.
    Mark,
    Error,
}

impl Look {
    /// The sequence that changes from any look to this one.
    pub(crate) fn on(self) -> &'static str {
        match self {
            Look::Plain => "\x1b[0m",
            Look::Dim => "\x1b[0;2m",
            Look::Strong => "\x1b[0;1m",
            Look::Heading => "\x1b[0;1;35m",
            Look::Code => "\x1b[0;36m",
            Look::Mark => "\x1b[0;35m",
            Look::Error => "\x1b[0;31m",
        }
    }

    /// A text in this look, if colours are on.
    pub(crate) fn paint(self, text: &str, color: bool) -> String {
        match color && self != Look::Plain {
            true => format!("{}{text}{}", self.on(), Look::Plain.on()),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_decides_before_the_environment_and_that_before_the_stream() {
        let of = |arg: ColorArg, terminal, set: &[(&str, &str)]| {
            arg.decide(terminal, |name| {
                let found = set.iter().find(|(key, _)| *key == name)?;
                Some(found.1.into())
            })
        };
        let xterm = ("TERM", "xterm-256color");
        let auto = ColorArg::Auto;
        assert!(of(auto, true, &[xterm]));
        assert!(!of(auto, false, &[xterm]));
        assert!(!of(auto, true, &[]));
        assert!(!of(auto, true, &[("TERM", "dumb")]));
        assert!(!of(auto, true, &[xterm, ("NO_COLOR", "1")]));
        assert!(of(auto, true, &[xterm, ("NO_COLOR", "")]));
        assert!(!of(auto, true, &[xterm, ("CLICOLOR", "0")]));
        assert!(of(auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!of(auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!of(
            auto,
            true,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
        ));
        assert!(of(ColorArg::Always, false, &[("NO_COLOR", "1")]));
        assert!(!of(
            ColorArg::Never,
            true,
            &[xterm, ("CLICOLOR_FORCE", "1")]
        ));
    }
}
