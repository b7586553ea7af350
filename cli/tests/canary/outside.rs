//! What can be seen of processes from outside: their arguments, and their memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// All processes whose arguments hold a text, as long as this looks.
pub(crate) struct Arguments {
    done: Arc<AtomicBool>,
    looks: JoinHandle<BTreeSet<String>>,
}

impl Arguments {
    pub(crate) fn watch(text: &'static str) -> Arguments {
        let done = Arc::new(AtomicBool::new(false));
        let end = done.clone();
        let own = std::process::id();
        let looks = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !end.load(Relaxed) {
                for pid in family(own) {
                    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
                    if arguments.contains(text) {
                        seen.insert(arguments);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Arguments { done, looks }
    }

    /// What was seen.
    pub(crate) fn end(self) -> BTreeSet<String> {
        self.done.store(true, Relaxed);
        self.looks.join().unwrap()
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// All descendants of a process.
fn family(pid: u32) -> Vec<u32> {
    let own = children(pid);
    let theirs: Vec<u32> = own.iter().flat_map(|&child| family(child)).collect();
    [own, theirs].concat()
}

/// The first process of that name among one and its descendants.
pub(crate) fn child_named(pid: u32, name: &str) -> Option<u32> {
    let mut all = vec![pid];
    all.extend(family(pid));
    all.into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

/// What some processes have in memory that they can write to: heaps, stacks and all else.
pub(crate) struct Memory {
    parts: Vec<(String, Vec<u8>)>,
}

const PIECE: usize = 1 << 20;

impl Memory {
    /// Of a process and its descendants.
    pub(crate) fn of_family(pid: u32) -> Memory {
        let mut parts = Vec::new();
        let mut all = vec![pid];
        all.extend(family(pid));
        for (i, pid) in all.into_iter().enumerate() {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            let memory = File::open(format!("/proc/{pid}/mem"));
            // A process that has just ended is no matter; the first one must be there.
            let memory = match (memory, i) {
                (Ok(memory), _) => memory,
                (Err(e), 0) => panic!("cannot look into the process: {e}"),
                (Err(_), _) => continue,
            };
            for line in maps.lines() {
                let Some((range, rest)) = line.split_once(' ') else {
                    continue;
                };
                let ends = range
                    .split_once('-')
                    .map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
                let Some((Ok(from), Ok(to))) = ends else {
                    continue;
                };
                if !rest.starts_with("rw") {
                    continue;
                }
                let mut bytes = Vec::new();
                let mut piece = vec![0; PIECE];
                for at in (from..to).step_by(PIECE) {
                    let n = PIECE.min((to - at) as usize);
                    match memory.read_at(&mut piece[..n], at) {
                        // Memory that was never touched is zero: no need to search it.
                        Ok(n) if piece[..n].iter().all(|&b| b == 0) => bytes.extend([0; 64]),
                        Ok(n) => bytes.extend(&piece[..n]),
                        Err(_) => bytes.extend([0; 64]),
                    }
                }
                parts.push((format!("process {i}, {line}"), bytes));
            }
        }
        Memory { parts }
    }

    /// Which of the needles are where.
    pub(crate) fn find(&self, needles: &[(&str, Vec<u8>)]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, needle) in needles {
            for (place, bytes) in &self.parts {
                let first = needle[0];
                let mut from = 0;
                while let Some(at) = bytes[from..].iter().position(|&b| b == first) {
                    let at = from + at;
                    if bytes[at..].starts_with(needle) {
                        let around = &bytes[at.saturating_sub(40)..(at + 80).min(bytes.len())];
                        let around = String::from_utf8_lossy(around).escape_debug().to_string();
                        found.push(format!("{name} in {place} at +{at:#x}: {around}"));
                        break;
                    }
                    from = at + 1;
                }
            }
        }
        found
    }
}
