//! The tokens that are still in the running, and the steps that leave some of them out.
//!
//! In: logits `[vocab]`. Out: a smaller set and its probability masses. A vocabulary has up to some
//! 262,000 tokens, so none of this sorts them: thresholds are scans, and sums in the order of
//! probability look at the 256 highest first. Masses are integers
//! ([`hob_kernels::mass`]), so their sums are exact in any order, and the set that a step leaves
//! depends on its definition alone.

use crate::scan::{self, Entry, by_rank, largest};
use hob_kernels::isa::Isa;
use hob_kernels::mass::masses;
use hob_kernels::math::double::ln;
use hob_kernels::private::wipe_vec;
use std::cmp::Ordering;

/// Largest sets that are kept by rank after top-p; larger ones stay by id.
const RANKED: usize = 4096;
/// How many of the highest are looked at before all are.
const FIRST: usize = 256;
/// Lanes of sums in f64: element `i` belongs to lane `i mod 16`; then the lanes in ascending order.
const LANES: usize = 16;

/// Memory that is used again for every token.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    kept: Vec<Entry>,
    masses: Vec<u64>,
    values: Vec<f32>,
    entries: Vec<Entry>,
    items: Vec<Item>,
}

/// What was probable tells what was said.
impl Drop for Buffers {
    fn drop(&mut self) {
        wipe_vec(&mut self.kept);
        wipe_vec(&mut self.masses);
        wipe_vec(&mut self.values);
        wipe_vec(&mut self.entries);
        wipe_vec(&mut self.items);
    }
}

/// A token by the order that a step takes them in (the highest key first), with its mass.
type Item = (f32, u32, u64);

fn by_key(a: &Item, b: &Item) -> Ordering {
    by_rank(&(a.0, a.1), &(b.0, b.1))
}

/// A set of tokens of one distribution.
pub(super) struct Pool<'a> {
    isa: Isa,
    /// Logits of the vocabulary.
    logits: &'a [f32],
    buffers: &'a mut Buffers,
    /// All tokens are in it, and `kept` means nothing.
    whole: bool,
    /// The highest logit in it, once asked for.
    highest: Option<f32>,
    /// The temperature that `masses` are of, and their sum; `None` if they are of another set.
    weighed: Option<(f64, u64)>,
    /// Standard deviation of all finite logits, once asked for.
    deviation: Option<f64>,
}

/// `ln` of the ratio of a token's mass to the top one's, at temperature 1.
fn below(logit: f32, top: f32) -> f64 {
    match logit == top {
        true => 0.0,
        false => f64::from(logit) - f64::from(top),
    }
}

/// An integer below 2^52 as f64, by its bits: loops over it become vectors on every machine.
fn small(n: u64) -> f64 {
    const ONE: f64 = 4_503_599_627_370_496.0; // 2^52
    f64::from_bits(n | ONE.to_bits()) - ONE
}

/// The sum of `f` over `items`, by lanes.
fn lane_sum<T>(items: impl ExactSizeIterator<Item = T>, f: impl Fn(T) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    for (i, item) in items.enumerate() {
        lanes[i % LANES] += f(item);
    }
    lanes.iter().sum()
}

impl<'a> Pool<'a> {
    /// The whole vocabulary.
    pub(super) fn new(isa: Isa, logits: &'a [f32], buffers: &'a mut Buffers) -> Pool<'a> {
        Pool {
            isa,
            logits,
            buffers,
            whole: true,
            highest: None,
            weighed: None,
            deviation: None,
        }
    }

    /// How many tokens are in it.
    pub(super) fn len(&self) -> usize {
        match self.whole {
            true => self.logits.len(),
            false => self.buffers.kept.len(),
        }
    }

    /// The highest logit in it.
    pub(super) fn top(&mut self) -> f32 {
        let kept = || self.buffers.kept.iter().map(|e| e.0);
        *self.highest.get_or_insert_with(|| match self.whole {
            true => scan::max(self.logits),
            false => kept().fold(f32::NEG_INFINITY, f32::max),
        })
    }

    /// The id of the highest logit in it, the lowest id on ties.
    pub(super) fn best(&self) -> Option<u32> {
        match self.whole {
            true => scan::argmax(self.logits),
            false => self
                .buffers
                .kept
                .iter()
                .min_by(|a, b| by_rank(a, b))
                .map(|e| e.1),
        }
    }

    /// The ids in it, in its order.
    #[cfg(test)]
    pub(super) fn ids(&self) -> Vec<u32> {
        match self.whole {
            true => (0..).zip(self.logits).map(|e| e.0).collect(),
            false => self.buffers.kept.iter().map(|e| e.1).collect(),
        }
    }

    fn narrowed(&mut self) {
        self.whole = false;
        self.highest = None;
        self.weighed = None;
    }

    /// The mass of the most probable token: as much as lets the sum of all fit 63 bits, 2^44 at most.
    pub(super) fn unit(&self) -> u64 {
        let bits = usize::BITS - self.logits.len().leading_zeros();
        1 << 63u32.saturating_sub(bits).min(44)
    }

    /// Masses of the set at that temperature (above 0); gives their sum.
    pub(super) fn weigh(&mut self, temperature: f64) -> u64 {
        if let Some((of, total)) = self.weighed
            && of == temperature
        {
            return total;
        }
        let (top, unit, n) = (self.top(), self.unit() as f64, self.len());
        let Buffers {
            kept,
            masses: out,
            values,
            ..
        } = &mut *self.buffers;
        let logits = if self.whole {
            self.logits
        } else {
            values.clear();
            values.extend(kept.iter().map(|e| e.0));
            values
        };
        out.resize(n, 0);
        masses(self.isa, logits, top, temperature, unit, out);
        let total = out.iter().sum();
        self.weighed = Some((temperature, total));
        total
    }

    /// Keeps the `n` of the highest rank.
    pub(super) fn top_k(&mut self, n: usize) {
        if n == 0 || n >= self.len() {
            return;
        }
        let Buffers { kept, entries, .. } = &mut *self.buffers;
        if self.whole {
            largest(self.logits, n, kept);
            kept.sort_unstable_by_key(|e| e.1);
        } else {
            entries.clone_from(kept);
            let (_, &mut last, _) = entries.select_nth_unstable_by(n - 1, by_rank);
            kept.retain(|e| by_rank(e, &last).is_le());
        }
        self.narrowed();
    }

    /// Keeps what has a logit of at least `least`.
    fn at_least(&mut self, least: f64) {
        match self.whole {
            true => scan::at_least(self.logits, least, &mut self.buffers.kept),
            false => self.buffers.kept.retain(|e| f64::from(e.0) >= least),
        }
        self.narrowed();
    }

    /// Keeps what has at least `share` of the most probable token's probability (Nguyen et al., "Min-p
    /// Sampling", arXiv 2407.01082): `p >= share * max p`, which is a threshold on logits.
    pub(super) fn min_p(&mut self, share: f64, temperature: f64) {
        let top = f64::from(self.top());
        self.at_least(top + temperature * ln(share.min(1.0)));
    }

    /// Keeps what lies within `n` standard deviations of the highest logit (Tang et al., "Top-nσ",
    /// arXiv 2411.07641); the deviation is that of the vocabulary's finite logits, whatever was left
    /// out before.
    pub(super) fn top_n_sigma(&mut self, n: f64) {
        let logits = self.logits;
        let deviation = *self.deviation.get_or_insert_with(|| deviation(logits));
        let top = f64::from(self.top());
        self.at_least(top - n * deviation);
    }

    /// Keeps the most probable tokens until they reach `share` of the set's mass, at least one
    /// (Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751).
    pub(super) fn top_p(&mut self, share: f64, temperature: f64) {
        self.keep_until(share, temperature, None);
        // The most probable are drawn first, where that costs little.
        if self.len() <= RANKED {
            self.buffers.kept.sort_unstable_by(by_rank);
            self.weighed = None;
        }
    }

    /// Keeps the tokens whose surprise `-ln p` is nearest to the expected one, until they reach `share`
    /// of the set's mass, at least one (Meister et al., "Locally Typical Sampling", arXiv 2202.00666).
    /// Distances are compared in f32.
    pub(super) fn typical(&mut self, share: f64, temperature: f64) {
        let (entropy, log_total) = self.entropy(temperature);
        let top = self.top();
        let distance = move |logit: f32| {
            let surprise = log_total - below(logit, top) / temperature;
            -(surprise - entropy).abs() as f32
        };
        self.keep_until(share, temperature, Some(&distance));
    }

    /// Entropy of the set in nats, and the logarithm of its mass, in units of the top one's.
    pub(super) fn entropy(&mut self, temperature: f64) -> (f64, f64) {
        let total = self.weigh(temperature) as f64;
        let (top, unit) = (self.top(), self.unit() as f64);
        let log_total = ln(total / unit);
        // ln p = ln(m / total), and ln m is known before the mass is rounded.
        let term = |(logit, &mass): (f32, &u64)| match mass {
            0 => 0.0,
            m => small(m) * below(logit, top),
        };
        let masses = self.buffers.masses.iter();
        let sum = match self.whole {
            true => lane_sum(self.logits.iter().copied().zip(masses), term),
            false => lane_sum(self.buffers.kept.iter().map(|e| e.0).zip(masses), term),
        };
        (log_total - sum / total / temperature, log_total)
    }

    /// Keeps tokens in falling order of `key` (None: of the logit) until they reach `share` of the mass;
    /// the set keeps its order.
    fn keep_until(&mut self, share: f64, temperature: f64, key: Option<&dyn Fn(f32) -> f32>) {
        // Distances are negative.
        let highest = if key.is_some() { 0.0 } else { self.top() };
        let total = self.weigh(temperature);
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let Buffers {
            kept,
            masses,
            values,
            entries,
            items,
        } = &mut *self.buffers;
        let of = |logit: f32| key.map_or(logit, |key| key(logit));
        let mass = |e: &Entry| masses.get(e.1 as usize).copied().unwrap_or(0);
        items.clear();
        if !self.whole {
            let entries = kept.iter().zip(masses.iter());
            items.extend(entries.map(|(e, &m)| (of(e.0), e.1, m)));
            if let Some(last) = reach(items, wanted) {
                kept.retain(|e| by_rank(&(of(e.0), e.1), &(last.0, last.1)).is_le());
            }
            self.narrowed();
            return;
        }
        let keys = match key {
            None => self.logits,
            Some(key) => {
                values.clear();
                values.extend(self.logits.iter().map(|&l| key(l)));
                values
            }
        };
        largest(keys, FIRST, entries);
        let last = if entries.iter().map(mass).sum::<u64>() >= wanted {
            items.extend(entries.iter().map(|e| (e.0, e.1, mass(e))));
            reach(items, wanted)
        } else {
            reach_whole(keys, highest, masses, wanted, items)
        };
        if let Some(last) = last {
            let last = (last.0, last.1);
            scan::at_least(keys, last.0.into(), kept);
            // Of several with the same key, the lower ids.
            kept.retain(|e| by_rank(e, &last).is_le());
            if key.is_some() {
                let logit = |id: u32| self.logits.get(id as usize).copied().unwrap_or(f32::NAN);
                kept.iter_mut().for_each(|e| e.0 = logit(e.1));
            }
            self.narrowed();
        }
    }

    /// XTC (P. E. Weidmann, "Exclude Top Choices", text-generation-webui pull request 6335): of the
    /// tokens of at least `threshold` of the set's mass, keeps the least probable one only.
    pub(super) fn exclude_top(&mut self, threshold: f64, temperature: f64) {
        // What cannot be drawn is no choice.
        let least = (self.weigh(temperature) as f64 * threshold).max(1.0);
        let Buffers { kept, masses, .. } = &mut *self.buffers;
        let mut above = 0usize;
        let mut last: Option<Entry> = None;
        let mut see = |e: Entry, m: u64| {
            if m as f64 >= least {
                above += 1;
                if last.is_none_or(|l| by_rank(&l, &e).is_lt()) {
                    last = Some(e);
                }
            }
        };
        match self.whole {
            true => (self.logits.iter().copied().zip(0..).zip(masses.iter()))
                .for_each(|(e, &m)| see(e, m)),
            false => kept
                .iter()
                .zip(masses.iter())
                .for_each(|(&e, &m)| see(e, m)),
        }
        let Some(last) = last.filter(|_| above > 1) else {
            return;
        };
        if self.whole {
            kept.clear();
            kept.extend(self.logits.iter().copied().zip(0..));
        }
        let mut each = masses.iter();
        kept.retain(|e| each.next().is_none_or(|&m| (m as f64) < least) || e.1 == last.1);
        self.narrowed();
    }

    /// The token at which the running sum of masses first exceeds `at` (a number in [0, 1)) of it; only
    /// masses of at least `least` count. Gives its id and mass. By id, or by rank after top-p.
    pub(super) fn draw(
        &mut self,
        at: Fraction,
        temperature: f64,
        least: u64,
    ) -> Option<(u32, u64)> {
        let total = self.weigh(temperature);
        let masses = &self.buffers.masses;
        let counts = |m: u64| if m >= least { m } else { 0 };
        let total = if least == 0 {
            total
        } else {
            masses.iter().map(|&m| counts(m)).sum()
        };
        let target = at.of(total);
        let mut sum = 0;
        let found = masses.iter().position(|&m| {
            sum += counts(m);
            sum > target
        })?;
        let id = match self.whole {
            true => u32::try_from(found).ok()?,
            false => self.buffers.kept.get(found)?.1,
        };
        Some((id, *masses.get(found)?))
    }
}

/// 53 random bits as a number in [0, 1).
#[derive(Clone, Copy)]
pub(super) struct Fraction(u64);

impl Fraction {
    /// Of 64 random bits.
    pub(super) fn new(bits: u64) -> Fraction {
        Fraction(bits >> 11)
    }

    /// That part of a whole, rounded down: less than the whole, if that is not 0.
    fn of(self, whole: u64) -> u64 {
        // Below 2^53 * 2^64 before the shift, and below the whole after it.
        ((u128::from(self.0) * u128::from(whole)) >> 53) as u64
    }

    pub(super) fn value(self) -> f64 {
        self.0 as f64 / (1u64 << 53) as f64
    }
}

/// The item at which the sum of masses, in the order of keys, reaches `wanted`; the last one if it
/// never does. Halves what is left until it is small: linear time. Reorders the items.
fn reach(mut items: &mut [Item], wanted: u64) -> Option<Item> {
    let mut sum = 0u64;
    while items.len() > 64 {
        let half = items.len() / 2;
        let (upper, _, _) = items.select_nth_unstable_by(half, by_key);
        let more: u64 = upper.iter().map(|i| i.2).sum();
        // What follows the upper half begins with the item at `half`.
        let (upper, lower) = items.split_at_mut(half);
        if sum.saturating_add(more) >= wanted {
            items = upper;
        } else {
            sum += more;
            items = lower;
        }
    }
    items.sort_unstable_by(by_key);
    let reached = items.iter().find(|i| {
        sum = sum.saturating_add(i.2);
        sum >= wanted
    });
    reached.or(items.last()).copied()
}

/// [`reach`] among all, of which `highest` is the highest key: masses are summed by intervals of keys
/// first, so that only the one interval where the sum gets there is looked into.
fn reach_whole(
    keys: &[f32],
    highest: f32,
    masses: &[u64],
    wanted: u64,
    items: &mut Vec<Item>,
) -> Option<Item> {
    /// Intervals of 1/32; the last has no end.
    const INTERVALS: usize = 1024;
    // As the key falls it never falls, whatever is rounded; NaN becomes 0.
    let interval = |key: f32| (((highest - key) * 32.0) as usize).min(INTERVALS - 1);
    let mut sums = [0u64; INTERVALS];
    for (&key, &m) in keys.iter().zip(masses) {
        if let Some(sum) = sums.get_mut(interval(key)) {
            *sum += m;
        }
    }
    let mut above = 0;
    let found = sums.iter().position(|&sum| {
        let here = above + sum >= wanted;
        above += if here { 0 } else { sum };
        here
    });
    let found = found.unwrap_or(INTERVALS - 1);
    let all = keys.iter().zip(0u32..).zip(masses);
    items.clear();
    items.extend(
        all.filter(|((key, _), _)| interval(**key) == found)
            .map(|((&key, id), &m)| (key, id, m)),
    );
    reach(items, wanted.saturating_sub(above).max(1))
}

/// The standard deviation of the finite ones: two passes, by lanes.
fn deviation(logits: &[f32]) -> f64 {
    let all = || logits.iter();
    let n = lane_sum(all(), |l| if l.is_finite() { 1.0 } else { 0.0 }).max(1.0);
    let sum = lane_sum(all(), |&l| if l.is_finite() { f64::from(l) } else { 0.0 });
    let mean = sum / n;
    let squares = lane_sum(all(), |&l| {
        let d = f64::from(l) - mean;
        if l.is_finite() { d * d } else { 0.0 }
    });
    (squares / n).sqrt()
}
