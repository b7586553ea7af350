//! The checks of `hob doctor`: what the system says of itself in `/proc`, `/sys` and its own calls.
//!
//! What a system does not say is reported as unknown, never guessed.

use super::{Check, State};
use crate::store::Store;
use crate::terminal::bytes;
use hob::Isa;
use hob_kernels::ceiling::Host;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Free space of the store below which a remedy is told.
const LITTLE_SPACE: u64 = 2 << 30;
/// Open files that a model in many parts, and the program itself, may need.
const FEW_FILES: u64 = 256;

/// Bytes that may be locked below which a remedy is told: the least that Linux gives since 5.16.
const LITTLE_LOCKED: u64 = 8 << 20;

/// All checks that need no measuring.
pub(super) fn all(threads: usize) -> Vec<Check> {
    let host = Host::detect();
    let mut checks = vec![processor(&host), cores(&host, threads), memory()];
    checks.extend(swap());
    checks.extend(huge_pages());
    checks.extend(governor());
    checks.push(limits());
    checks.push(store());
    checks.extend(confinement());
    checks.push(pip());
    checks
}

/// A file's text without the end of its last line.
fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// Bytes of a line `KEY: N kB` of `/proc/meminfo`.
fn meminfo(key: &str) -> Option<u64> {
    let all = text("/proc/meminfo")?;
    let line = all
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn processor(host: &Host) -> Check {
    let (available, best) = (Isa::available(), Isa::best());
    let chosen = Isa::choose(None);
    let names: Vec<_> = available.iter().map(|i| i.name()).collect();
    let used = chosen.as_ref().map_or("none", |isa| isa.name());
    let found = format!("{}; has {}; uses {used}", host.cpu, names.join(", "));
    let check = Check::new(
        "processor",
        found,
        json!({ "name": host.cpu, "instruction_sets": names, "used": used }),
    );
    match chosen {
        Err(e) => check.but(State::Bad, format!("{}: {e}", Isa::ENV)),
        Ok(isa) if isa != best => check.but(
            State::Better,
            format!("{} forces {isa}; without it, hob uses {best}", Isa::ENV),
        ),
        Ok(Isa::Scalar) => check.but(
            State::Better,
            "it has none of the vector instructions that hob knows; another machine would be many times \
             faster",
        ),
        Ok(_) => check,
    }
}

/// How many CPUs a list such as `0-3,8` names.
fn listed(list: &str) -> Option<usize> {
    list.split(',').try_fold(0, |n, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(n + last.checked_sub(first)? + 1)
    })
}

fn cores(host: &Host, threads: usize) -> Check {
    let online = text("/sys/devices/system/cpu/online").and_then(|l| listed(&l));
    let load: Option<f64> =
        text("/proc/loadavg").and_then(|l| l.split_whitespace().next()?.parse().ok());
    let mut found = format!("{} for hob", host.cores);
    if let Some(online) = online.filter(|&n| n != host.cores) {
        found.push_str(&format!(" of {online} online"));
    }
    if let Some(load) = load {
        found.push_str(&format!("; load {load:.1} in the last minute"));
    }
    let fewer = online.is_some_and(|n| n > host.cores);
    let busy = load.is_some_and(|l| l > 0.5 * host.cores as f64);
    Check::new(
        "cores",
        found,
        json!({ "available": host.cores, "online": online, "threads": threads, "load_1min": load }),
    )
    .unless(
        State::Better,
        [
            (
                threads > host.cores,
                "more threads than cores wait for each other; leave --threads out",
            ),
            (
                busy,
                "other programs are busy, and decoding waits for the slowest core; close some, or give \
                 hob fewer --threads than cores",
            ),
            (
                fewer,
                "this process may use only some of the cores (taskset, a container's quota); allow more",
            ),
        ],
    )
}

fn memory() -> Check {
    let (total, available) = (meminfo("MemTotal"), hob::available_memory());
    let shown = |x: Option<u64>| x.map_or("unknown".to_owned(), bytes);
    let found = format!("{}, {} available", shown(total), shown(available));
    let little = available.is_some_and(|a| a < 512 << 20);
    Check::new(
        "memory",
        found,
        json!({ "total_bytes": total, "available_bytes": available }),
    )
    .unless(
        State::Better,
        [(
            little,
            "less than 512 MiB is available; close other programs, or weights are read from the disk \
             again and again",
        )],
    )
}

fn swap() -> Option<Check> {
    let (total, free) = (meminfo("SwapTotal")?, meminfo("SwapFree")?);
    let used = total.saturating_sub(free);
    let values = json!({ "total_bytes": total, "used_bytes": used });
    Some(match total {
        // What is in memory may be private: without swap it stays out of the disk.
        0 => Check::new("swap", "none", values),
        _ => Check::new("swap", format!("{} of {} used", bytes(used), bytes(total)), values).unless(
            State::Better,
            [(
                used > total / 4,
                "the machine swaps: a model that is swapped out is slow, and its contents lie on the disk; \
                 close other programs",
            )],
        ),
    })
}

/// The word in brackets of a line such as `always [madvise] never`.
fn chosen(line: &str) -> Option<&str> {
    line.split_once('[')?.1.split_once(']').map(|c| c.0)
}

fn huge_pages() -> Option<Check> {
    let file = "/sys/kernel/mm/transparent_hugepage/enabled";
    let line = text(file)?;
    let mode = chosen(&line)?;
    let found = format!("{mode} (hob asks for them where it packs weights into memory)");
    Some(
        Check::new("huge pages", found, json!({ "mode": mode })).unless(
            State::Better,
            [(
                mode == "never",
                "as root, `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` lets hob have them; \
                 `hob roofline` shows what they bring here",
            )],
        ),
    )
}

fn governor() -> Option<Check> {
    let of = |name: &str| {
        text(format!(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_{name}"
        ))
    };
    let (governor, driver) = (of("governor")?, of("driver").unwrap_or_default());
    // These drivers' `powersave` reaches the highest clock under load.
    let adapts = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate-epp");
    let found = format!("{governor}, by {driver}");
    Some(
        Check::new(
            "clock",
            found,
            json!({ "governor": governor, "driver": driver }),
        )
        .unless(
            State::Better,
            [(
                governor == "powersave" && !adapts,
                "the governor keeps the clock low; as root, `cpupower frequency-set -g schedutil`",
            )],
        ),
    )
}

#[cfg(unix)]
fn limits() -> Check {
    use rustix::process::{Resource, getrlimit};
    let (lock, files) = (getrlimit(Resource::Memlock), getrlimit(Resource::Nofile));
    let size = |x: Option<u64>| x.map_or("no limit".to_owned(), bytes);
    let count = |x: Option<u64>| x.map_or("no limit".to_owned(), |n| n.to_string());
    let found = format!(
        "{} of memory may be locked, so that it is never swapped out; {} files may be open",
        size(lock.current),
        count(files.current),
    );
    Check::new(
        "limits",
        found,
        json!({
            "memlock_bytes": lock.current, "memlock_max_bytes": lock.maximum,
            "open_files": files.current, "open_files_max": files.maximum,
        }),
    )
    .unless(
        State::Better,
        [(
            files.current.is_some_and(|n| n < FEW_FILES),
            "models in many parts need more open files: `ulimit -n 1024`",
        )],
    )
}

#[cfg(not(unix))]
fn limits() -> Check {
    Check::new("limits", "not known on this system", json!({})).told()
}

/// The folder itself, or the nearest above it that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|p| p.exists());
    found.unwrap_or(Path::new(".")).to_owned()
}

/// Whether a file can be made there: one without a name, which is gone at once.
fn writable(dir: &Path) -> bool {
    tempfile::tempfile_in(dir).is_ok()
}

fn store() -> Check {
    let store = match Store::open() {
        Ok(store) => store,
        Err(e) => {
            return Check::new("store", "none", json!({})).but(State::Bad, e.to_string());
        }
    };
    let root = store.root().to_owned();
    let dir = existing(&root);
    let (free, writable) = (hob_fetch::free_bytes(&dir), writable(&dir));
    let listed = store.list();
    let models = listed.as_deref().unwrap_or_default();
    let size: u64 = models
        .iter()
        .flatten()
        .map(|m| m.manifest.stored_size())
        .sum();
    let damaged = models.iter().filter(|m| m.is_err()).count();
    let count = models.len() - damaged;
    let found = format!(
        "{}: {count} model{}, {}; {} free{}",
        root.display(),
        if count == 1 { "" } else { "s" },
        bytes(size),
        bytes(free),
        if writable { "" } else { ", not writable" },
    );
    let check = Check::new(
        "store",
        found,
        json!({
            "path": root, "models": count, "damaged": damaged, "bytes": size, "free_bytes": free,
            "writable": writable,
        }),
    );
    if let Err(e) = listed {
        return check.but(State::Bad, e.to_string());
    }
    if !writable {
        let remedy = format!(
            "models cannot be written to {}: change its owner or mode, or set HOB_HOME to another folder",
            dir.display()
        );
        return check.but(State::Bad, remedy);
    }
    check.unless(
        State::Better,
        [
            (damaged > 0, "`hob list` names damaged models and what to do about each"),
            (
                free < LITTLE_SPACE,
                "little space is left for models: `hob rm` deletes some, HOB_HOME names another folder",
            ),
        ],
    )
}

/// What `hob privacy` proves, asked of that command: it confines processes of its own, which this one must
/// not be. (Without its crashes: a system may keep or report each.)
fn confinement() -> Vec<Check> {
    let asked = std::env::current_exe().ok().and_then(|program| {
        let mut command = std::process::Command::new(program);
        let asked = ["privacy", "--json", "--run", "--chat", "--no-crash"];
        let said = command.args(asked).output().ok()?;
        serde_json::from_slice(&said.stdout).ok()
    });
    proven(asked)
}

/// The checks that a report of `hob privacy --json` makes: one a mode.
fn proven(report: Option<Value>) -> Vec<Check> {
    let modes = report
        .as_ref()
        .and_then(|report| report["modes"].as_array());
    let Some(modes) = modes.filter(|modes| !modes.is_empty()) else {
        let found = "could not be tried; `hob privacy` says why";
        return vec![Check::new("confinement", found, json!({ "proven": null })).told()];
    };
    let locked = modes.first().and_then(|mode| locked(&mode["memory"]));
    modes.iter().map(proven_mode).chain(locked).collect()
}

/// Whether a confined process, which has no rights of root's any more, can lock memory.
fn locked(memory: &Value) -> Option<Check> {
    let (locked, unlocked) = (
        memory["locked_bytes"].as_u64()?,
        memory["unlocked_bytes"].as_u64()?,
    );
    let limit = memory["limit_bytes"].as_u64();
    let found = format!(
        "{} of a prompt's memory locked in a confined process, {} not; {} may be",
        bytes(locked),
        bytes(unlocked),
        limit.map_or("any amount".to_owned(), bytes),
    );
    let check = Check::new("locked memory", found, memory.clone());
    Some(check.unless(
        State::Better,
        [
            (
                locked == 0,
                "what you type may be written to swap: allow memory to be locked (`ulimit -l 65536`, or \
                 `memlock` in /etc/security/limits.conf), or turn swap off",
            ),
            (
                limit.is_some_and(|limit| limit < LITTLE_LOCKED),
                "little memory may be locked, and the rest may be written to swap: `ulimit -l 65536`, or \
                 `memlock` in /etc/security/limits.conf",
            ),
        ],
    ))
}

fn proven_mode(mode: &Value) -> Check {
    let (name, command) = match mode["mode"].as_str() {
        Some("chat") => ("confined chat", "hob chat"),
        _ => ("confined run", "hob run"),
    };
    let layers = mode["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let named = |layer: &Value| {
        let text = |key: &str| layer[key].as_str().unwrap_or_default().to_owned();
        let state = match (layer["holds"] == true, text("name").as_str()) {
            // Its version says how much it can hold.
            (true, "Landlock") => text("how").split(':').next().unwrap_or_default().to_owned(),
            (true, _) => "on".to_owned(),
            (false, _) => "OFF".to_owned(),
        };
        format!("{} {state}", text("name"))
    };
    let states: Vec<String> = layers.iter().map(named).collect();
    let lacking: Vec<String> = layers
        .iter()
        .filter(|layer| layer["holds"] != true)
        .filter_map(|layer| {
            Some(format!(
                "{}: {}",
                layer["name"].as_str()?,
                layer["how"].as_str()?
            ))
        })
        .collect();
    let proven = mode["proven"] == true;
    let found = format!(
        "{} just now for `{command}`: {}",
        if proven { "proven" } else { "NOT proven" },
        states.join(", "),
    );
    let lacks = format!(
        "{}; a newer kernel, or another container's settings, would allow it",
        lacking.join("; ")
    );
    Check::new(name, found, json!({ "proven": proven, "layers": layers })).unless(
        State::Better,
        [
            (!lacking.is_empty(), lacks.as_str()),
            (!proven, "`hob privacy` says what was not refused"),
        ],
    )
}

fn pip() -> Check {
    match hob_fetch::pip_version() {
        Some(version) => Check::new("pip", version.clone(), json!({ "version": version })),
        None => Check::new(
            "pip",
            "none found; `hob pull` has one mirror less for some models",
            json!({ "version": null }),
        )
        .told(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_lists_are_read() {
        assert_eq!(listed("0-3,8"), Some(5));
        assert_eq!(listed("0"), Some(1));
        assert_eq!(listed("3-1"), None);
        assert_eq!(listed(""), None);
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }

    #[test]
    fn the_nearest_folder_that_exists_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b/c")), dir.path());
        assert!(writable(dir.path()) && !writable(Path::new("/proc")));
    }

    #[test]
    fn a_report_says_which_layers_hold() {
        let report = |proven, landlock| {
            let how = if landlock {
                "ABI 7: no file"
            } else {
                "this kernel has none"
            };
            let memory = json!({ "locked_bytes": 1, "unlocked_bytes": 0, "limit_bytes": 8 << 20 });
            let mode = |name| {
                json!({ "mode": name, "proven": proven, "memory": memory, "layers": [
                    { "name": "seccomp", "holds": true, "how": "49 system calls are left" },
                    { "name": "Landlock", "holds": landlock, "how": how },
                ]})
            };
            super::proven(Some(json!({ "modes": [mode("run"), mode("chat")] })))
        };
        let [run, chat, locked] = report(true, true).try_into().unwrap();
        assert_eq!(locked.state, State::Good);
        assert_eq!((run.state, &run.remedy), (State::Good, &None));
        assert!(
            run.found.contains("`hob run`: seccomp on, Landlock ABI 7"),
            "{}",
            run.found
        );
        assert!(chat.found.contains("`hob chat`"), "{}", chat.found);
        let part = report(true, false).remove(0);
        assert_eq!(part.state, State::Better);
        assert!(part.found.contains("Landlock OFF"), "{}", part.found);
        assert!(
            part.remedy
                .unwrap()
                .starts_with("Landlock: this kernel has none")
        );
        assert_eq!(report(false, true)[0].state, State::Better);
        assert_eq!(super::proven(None)[0].state, State::Told);
    }
}
