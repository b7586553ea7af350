//! Scans of logits: vocabularies have up to some 262,000 entries, and all of them are looked at for
//! every token. Blocks of them are reduced lane by lane, in loops that compilers vectorize.

/// A logit and its token.
pub(crate) type Entry = (f32, u32);

/// Lanes of a reduction.
const LANES: usize = 16;
/// Logits whose maximum is taken before any of them is looked at by itself.
const BLOCK: usize = 128;

/// Highest logit first; ties go to the lower id.
pub(crate) fn by_rank(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Whether any is NaN.
pub(crate) fn any_nan(logits: &[f32]) -> bool {
    let nan = |l: f32| u32::from(l.is_nan());
    // Blocks without an early end: such loops become vectors.
    logits
        .chunks(BLOCK)
        .any(|block| block.iter().fold(0, |any, &l| any | nan(l)) != 0)
}

/// The largest of them; negative infinity of none. NaN is passed over.
pub(crate) fn max(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for (lane, &l) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, l);
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().copied())
        .fold(f32::NEG_INFINITY, larger)
}

/// The id of the highest logit, the lowest id on ties.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    let top = max(logits);
    let first = logits.iter().position(|&l| l == top);
    // If all are NaN, as the first.
    let id = first.or((!logits.is_empty()).then_some(0))?;
    u32::try_from(id).ok()
}

/// Puts the `n` entries of the highest rank into `into`, in no particular order.
pub(crate) fn largest(logits: &[f32], n: usize, into: &mut Vec<Entry>) {
    into.clear();
    if n == 0 {
        return;
    }
    let keep = |kept: &mut Vec<Entry>| {
        kept.select_nth_unstable_by(n - 1, by_rank);
        kept.truncate(n);
        kept.last().map_or(f32::NEG_INFINITY, |last| last.0)
    };
    let room = n.saturating_mul(4).max(BLOCK);
    // Of n entries that are known, the least: what is below has no place among the n.
    let mut least = f32::NEG_INFINITY;
    for (block, first) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        if max(block) < least {
            continue;
        }
        let entries = block.iter().copied().zip(first..);
        into.extend(entries.filter(|&(l, _)| l >= least));
        if into.len() >= room {
            least = keep(into);
        }
    }
    if into.len() > n {
        keep(into);
    }
}

/// Puts the entries whose logit is at least `least` into `into`, by id.
pub(crate) fn at_least(logits: &[f32], least: f64, into: &mut Vec<Entry>) {
    into.clear();
    let enough = |l: f32| f64::from(l) >= least;
    for (block, first) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        if enough(max(block)) {
            let entries = block.iter().copied().zip(first..);
            into.extend(entries.filter(|&(l, _)| enough(l)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic logits, many of them equal.
    fn logits(n: usize, levels: u32, seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((x >> 8) % levels) as f32 / 16.0 - 3.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn the_largest_are_those_of_a_full_sort() {
        for (len, levels) in [
            (0, 5),
            (1, 5),
            (127, 3),
            (5000, 2),
            (5000, 9),
            (70_000, 1 << 20),
        ] {
            let mut logits = logits(len, levels, 7);
            if let Some(zero) = logits.first_mut() {
                *zero = -0.0;
            }
            let mut sorted: Vec<Entry> = logits.iter().copied().zip(0..).collect();
            sorted.sort_by(by_rank);
            assert_eq!(argmax(&logits), logits_argmax(&logits));
            for n in [0, 1, 2, 40, 127, 4999, 80_000] {
                let mut kept = vec![(9.0, 9)];
                largest(&logits, n, &mut kept);
                kept.sort_by(by_rank);
                assert_eq!(kept, sorted[..n.min(len)], "{n} of {len}, {levels} levels");
            }
            for least in [f64::NEG_INFINITY, -2.5, 1.0, 1e9] {
                let mut kept = vec![(9.0, 9)];
                at_least(&logits, least, &mut kept);
                let all = logits.iter().copied().zip(0..);
                let expected: Vec<Entry> = all.filter(|e| f64::from(e.0) >= least).collect();
                assert_eq!(kept, expected, "at least {least} of {len}");
            }
        }
    }

    fn logits_argmax(logits: &[f32]) -> Option<u32> {
        let mut best: Option<Entry> = None;
        for (&l, id) in logits.iter().zip(0..) {
            if best.is_none_or(|(b, _)| l > b) {
                best = Some((l, id));
            }
        }
        best.map(|b| b.1)
    }

    #[test]
    fn nan_is_found_wherever_it_is() {
        for at in [0, 1, 127, 128, 299] {
            let mut x = vec![f32::NEG_INFINITY; 300];
            assert!(!any_nan(&x));
            assert_eq!(argmax(&x), Some(0));
            x[at] = f32::NAN;
            assert!(any_nan(&x));
        }
        assert_eq!(argmax(&[f32::NAN; 3]), Some(0));
    }
}
