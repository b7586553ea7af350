//! A child of `hob privacy`: confines itself with the layers that it is told, tries everything, and
//! writes what happened to standard output.

use super::sinks::{PRESENT, UNIX};
use anyhow::{Context, bail};
use hob::privacy::attempts::{self, Sinks};
use hob::privacy::{self, Layer, Mode, State};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;

/// What came of one try: 0 if it happened, else the error number.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome(pub(super) i32);

impl Outcome {
    pub(super) const NOT_TRIED: Outcome = Outcome(-1);

    pub(super) fn happened(self) -> bool {
        self.0 == 0
    }

    fn of(result: io::Result<()>) -> Outcome {
        match result {
            Ok(()) => Outcome(0),
            Err(e) => Outcome(e.raw_os_error().unwrap_or(-1)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("it happened"),
            -1 => f.write_str("not tried"),
            e => write!(f, "{}", io::Error::from_raw_os_error(e)),
        }
    }
}

/// An attempt on the first thread, and on one that was started after confinement.
#[derive(Serialize, Deserialize)]
pub(super) struct Tried {
    pub(super) name: Cow<'static, str>,
    pub(super) first: Outcome,
    pub(super) later: Outcome,
}

/// A layer of the report.
#[derive(Serialize, Deserialize)]
pub(super) struct LayerState {
    pub(super) name: Cow<'static, str>,
    pub(super) holds: bool,
    pub(super) how: String,
}

/// Does the work of the child.
pub(super) fn run(
    mode: Mode,
    layers: &str,
    places: &[String],
    permit: Option<&str>,
) -> anyhow::Result<()> {
    let [tcp, udp, name, folder] = places else {
        bail!("a probe needs its sinks");
    };
    let folder = PathBuf::from(folder);
    #[expect(
        clippy::disallowed_methods,
        reason = "a sink on this machine, before confinement"
    )]
    let connection = TcpStream::connect(tcp).context("cannot reach the sink")?;
    let sinks = Sinks {
        tcp: tcp.parse()?,
        udp: udp.parse()?,
        unix: folder.join(UNIX),
        unix_abstract: name.clone(),
        folder,
        inherited: connection.into_raw_fd(),
    };
    debug_assert!(sinks.folder.join(PRESENT).exists());
    let wanted: Vec<Layer> = Layer::ALL
        .into_iter()
        .filter(|layer| layers.split(',').any(|name| name == layer.name()))
        .collect();
    let mut states = Vec::new();
    if !wanted.is_empty() {
        // As `hob run` does; a lone layer is tried without, to see what it refuses by itself.
        if wanted.len() > 1 {
            privacy::shed()?;
        }
        let report = privacy::confine_partly(mode, &wanted, permit)?;
        for (layer, state) in report.layers() {
            let (holds, how) = match state {
                State::Holds(how) => (true, how),
                State::Partly(how) | State::Missing(how) => (false, how),
                _ => continue,
            };
            states.push(LayerState {
                name: layer.name().into(),
                holds,
                how: how.clone(),
            });
        }
    }
    let try_all = |sinks: &Sinks| -> Vec<Outcome> {
        attempts::ALL
            .iter()
            .map(|attempt| Outcome::of(attempt.run(sinks)))
            .collect()
    };
    let first = try_all(&sinks);
    let later = std::thread::spawn(move || try_all(&sinks)).join();
    let later = later.map_err(|_| anyhow::anyhow!("the later thread failed"))?;
    let tried: Vec<Tried> = attempts::ALL
        .iter()
        .zip(first.into_iter().zip(later))
        .map(|(attempt, (first, later))| Tried {
            name: attempt.name.into(),
            first,
            later,
        })
        .collect();
    println!("{}", serde_json::to_string(&(tried, states))?);
    Ok(())
}

/// Reads what a child wrote.
pub(super) fn read(output: &[u8]) -> anyhow::Result<(Vec<Tried>, Vec<LayerState>)> {
    serde_json::from_slice(output).context("the probe's answer cannot be read")
}
