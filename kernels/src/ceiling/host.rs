//! What the machine says of itself: processor, caches, cores, memory.
//!
//! Linux tells in `/proc` and `/sys`; elsewhere, and where a file is missing, common sizes are
//! assumed and marked as such.

use std::fs;

/// A cache for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1, 2 or 3.
    pub level: u8,
    /// Size of one instance.
    pub bytes: usize,
    /// Hardware threads that share an instance.
    pub shared_by: usize,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The processor's name.
    pub cpu: String,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Caches, first level first.
    pub caches: Vec<Cache>,
    /// Whether the sizes of the caches are the system's word, not an assumption.
    pub caches_known: bool,
    /// Memory that can be used without swapping, if the system tells.
    pub available_bytes: Option<usize>,
}

impl Host {
    /// Asks the system.
    pub fn detect() -> Host {
        let known = caches();
        let caches_known = !known.is_empty();
        let assumed = [(1, 32 << 10, 1), (2, 1 << 20, 1), (3, 8 << 20, 4)];
        Host {
            cpu: cpu_name(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: crate::pool::cores(),
            caches: match caches_known {
                true => known,
                false => assumed
                    .map(|(level, bytes, shared_by)| Cache {
                        level,
                        bytes,
                        shared_by,
                    })
                    .to_vec(),
            },
            caches_known,
            available_bytes: fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| kib(field(&text, "MemAvailable")?)),
        }
    }

    /// The cache of a level.
    pub fn cache(&self, level: u8) -> Option<&Cache> {
        self.caches.iter().find(|c| c.level == level)
    }

    /// Bytes of the last level in all its instances.
    pub fn last_level_bytes(&self) -> usize {
        self.caches.last().map_or(0, |c| {
            c.bytes * self.cores.div_ceil(c.shared_by.max(1)).max(1)
        })
    }
}

/// The value behind `key` and a colon, in the manner of `/proc`.
pub(super) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (k, v) = line.split_once(':')?;
        (k.trim() == key).then(|| v.trim())
    })
}

/// "12 kB" in bytes.
pub(super) fn kib(text: &str) -> Option<usize> {
    let n: usize = text.split_whitespace().next()?.parse().ok()?;
    n.checked_mul(1024)
}

fn cpu_name(cpuinfo: &str) -> String {
    let named = ["model name", "Model", "cpu model", "Hardware"]
        .into_iter()
        .find_map(|key| field(cpuinfo, key))
        .filter(|name| !name.is_empty());
    match named {
        Some(name) => name.split_whitespace().collect::<Vec<_>>().join(" "),
        None => format!("{} processor", std::env::consts::ARCH),
    }
}

/// The data caches of the first core.
fn caches() -> Vec<Cache> {
    let mut caches: Vec<Cache> = (0..8)
        .filter_map(|i| {
            let read = |name: &str| {
                fs::read_to_string(format!(
                    "/sys/devices/system/cpu/cpu0/cache/index{i}/{name}"
                ))
                .ok()
            };
            let kind = read("type")?;
            (kind.trim() != "Instruction").then_some(())?;
            Some(Cache {
                level: read("level")?.trim().parse().ok()?,
                bytes: size(read("size")?.trim())?,
                shared_by: cpu_count(read("shared_cpu_list")?.trim()).max(1),
            })
        })
        .collect();
    caches.sort_by_key(|c| c.level);
    caches.retain(|c| c.bytes > 0);
    caches
}

/// "32K" or "8M" in bytes.
fn size(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..)? {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

/// How many numbers a list such as "0-3,8" has.
fn cpu_count(list: &str) -> usize {
    list.split(',')
        .filter_map(|part| {
            let (a, b) = part.split_once('-').unwrap_or((part, part));
            let (a, b): (usize, usize) = (a.trim().parse().ok()?, b.trim().parse().ok()?);
            b.checked_sub(a).map(|n| n + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        assert_eq!(size("32K"), Some(32 << 10));
        assert_eq!(size("8M"), Some(8 << 20));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("x"), None);
        assert_eq!(cpu_count("0-3,8"), 5);
        assert_eq!(cpu_count("5"), 1);
        assert_eq!(cpu_count(""), 0);
        assert_eq!(cpu_count("3-1"), 0);
        let text = "MemTotal:  10 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(field(text, "MemAvailable").and_then(kib), Some(2 << 20));
        assert_eq!(
            cpu_name("processor : 0\nmodel name\t: AMD  EPYC\n"),
            "AMD EPYC"
        );
        assert!(cpu_name("").contains("processor"));
    }

    #[test]
    fn there_is_always_a_machine() {
        let host = Host::detect();
        assert!(host.cores > 0 && !host.caches.is_empty() && host.last_level_bytes() > 0);
        assert!(host.caches.is_sorted_by_key(|c| c.level));
    }
}
