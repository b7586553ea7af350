//! Where each buffer lies: first-fit over lifetimes, so that the arena is as small as the widest
//! moment of the pass, and known before anything is allocated.
//!
//! Lifetimes are counted in *phases*: a phase ends at each region that is never replicated,
//! because only there do all workers surely meet. Buffers that a phase touches never overlap, so
//! a worker that runs ahead inside a phase cannot overwrite what another still reads.

use super::{BufId, Dim, Program, REPLICATED_ROWS};

/// Offsets of all buffers, in bytes from the arena's start (multiples of 64).
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// In the shared arena.
    pub(super) shared: Vec<usize>,
    /// In each worker's private arena, for buffers that a replicable region writes.
    pub(super) private: Vec<Option<usize>>,
    /// Size of the shared arena.
    pub(super) shared_bytes: usize,
    /// Size of one worker's private arena.
    pub(super) private_bytes: usize,
}

struct Life {
    buf: BufId,
    first: usize,
    last: usize,
    private: bool,
}

pub(super) fn layout(p: &Program, max_tokens: usize, max_outputs: usize) -> Option<Layout> {
    let lives = lives(p);
    let rows = |dim| {
        if dim == Dim::Tokens {
            max_tokens
        } else {
            max_outputs
        }
    };
    let size = |buf: BufId, cap: usize| {
        let d = p.bufs.get(buf.0 as usize)?;
        d.row_bytes
            .checked_mul(rows(d.dim).min(cap))?
            .checked_next_multiple_of(64)
    };
    let mut out = Layout {
        shared: vec![0; p.bufs.len()],
        private: vec![None; p.bufs.len()],
        shared_bytes: 0,
        private_bytes: 0,
    };
    let shared: Vec<&Life> = lives.iter().collect();
    for (life, at) in place(&shared, |b| size(b, usize::MAX))? {
        *out.shared.get_mut(life.buf.0 as usize)? = at;
        out.shared_bytes = out
            .shared_bytes
            .max(at.checked_add(size(life.buf, usize::MAX)?)?);
    }
    let private: Vec<&Life> = lives.iter().filter(|l| l.private).collect();
    for (life, at) in place(&private, |b| size(b, REPLICATED_ROWS))? {
        *out.private.get_mut(life.buf.0 as usize)? = Some(at);
        out.private_bytes = out
            .private_bytes
            .max(at.checked_add(size(life.buf, REPLICATED_ROWS)?)?);
    }
    Some(out)
}

fn lives(p: &Program) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut index = vec![usize::MAX; p.bufs.len()];
    let mut phase = 0;
    for region in &p.regions {
        for (reads, write) in region.accesses() {
            for r in reads {
                if let Some(life) = index.get(r.0 as usize).and_then(|&i| lives.get_mut(i)) {
                    life.last = phase;
                }
            }
            if let Some(w) = write {
                if let Some(slot) = index.get_mut(w.0 as usize) {
                    *slot = lives.len();
                }
                lives.push(Life {
                    buf: w,
                    first: phase,
                    last: phase,
                    private: region.replicable(),
                });
            }
        }
        if !region.replicable() {
            phase += 1;
        }
    }
    // The caller reads the logits after the last phase.
    if let Some(life) = index
        .get(p.logits.0 as usize)
        .and_then(|&i| lives.get_mut(i))
    {
        life.last = phase + 1;
    }
    lives
}

/// First fit, in order of definition.
fn place<'a>(
    lives: &[&'a Life],
    size: impl Fn(BufId) -> Option<usize>,
) -> Option<Vec<(&'a Life, usize)>> {
    let mut placed: Vec<(&Life, usize, usize)> = Vec::new();
    for life in lives {
        let bytes = size(life.buf)?;
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(other, ..)| other.first <= life.last && life.first <= other.last)
            .map(|&(_, at, n)| (at, n))
            .collect();
        taken.sort_unstable();
        let mut at = 0usize;
        for (start, n) in taken {
            if at.checked_add(bytes)? <= start {
                break;
            }
            at = at.max(start.checked_add(n)?);
        }
        placed.push((life, at, bytes));
    }
    Some(placed.into_iter().map(|(life, at, _)| (life, at)).collect())
}
