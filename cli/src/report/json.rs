//! Measurements as JSON. Units are in the keys.

use hob_kernels::ceiling::{Ceiling, Figure, Steadiness};
use serde_json::{Value, json};

/// `{median, low, high, samples}`; a figure without samples has nulls.
pub(crate) fn figure(f: &Figure) -> Value {
    json!({ "median": f.median, "low": f.low, "high": f.high, "samples": f.samples })
}

/// Whether the machine held still.
pub(crate) fn steadiness(s: &Steadiness) -> Value {
    json!({
        "steady": s.is_steady(), "warning": s.warning(), "clock_ghz": figure(&s.clock_ghz),
        "drift": s.drift, "steal": s.steal, "others": s.others,
        "involuntary_switches": s.involuntary,
    })
}

/// Everything that was measured of a machine.
pub(crate) fn ceiling(c: &Ceiling) -> Value {
    let caches: Vec<Value> = c
        .host
        .caches
        .iter()
        .map(|c| json!({ "level": c.level, "bytes": c.bytes, "shared_by": c.shared_by }))
        .collect();
    let reads: Vec<Value> = c
        .reads
        .iter()
        .map(|r| {
            json!({
                "level": r.level.name(), "pages": r.pages.name(), "huge_share": r.huge_share,
                "set_bytes": r.set_bytes, "threads": r.threads, "isa": r.isa.name(),
                "streams": r.streams, "gb_s": figure(&r.gb_s),
            })
        })
        .collect();
    let peaks: Vec<Value> = c
        .peaks
        .iter()
        .map(|p| {
            json!({
                "elem": p.elem.name(), "isa": p.isa.name(), "threads": p.threads,
                "gmac_s": figure(&p.gmac_s),
            })
        })
        .collect();
    let syncs: Vec<Value> = c
        .syncs
        .iter()
        .map(|s| json!({ "what": s.kind.name(), "threads": s.threads, "us": figure(&s.us) }))
        .collect();
    json!({
        "cpu": c.host.cpu, "cores": c.host.cores, "caches": caches,
        "caches_known": c.host.caches_known, "threads": c.threads, "seconds": c.seconds,
        "reads": reads, "peaks": peaks, "syncs": syncs, "machine": steadiness(&c.steadiness),
    })
}
