//! What changes single logits before anything is chosen: bias, penalties on tokens that occurred, and
//! DRY's on tokens that would lengthen a repetition.
//!
//! In: logits `[vocab]` and the tokens so far. Out: changed logits. Each change is computed in f64 and
//! rounded to f32 once.

use crate::sampling::{Sampling, SamplingError};
use hob_kernels::math::double::pow;

/// The tokens so far, and the bytes that each stands for.
pub(crate) struct Past<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) piece: &'a dyn Fn(u32) -> Option<&'a [u8]>,
}

/// The largest penalty: a logit less this is still finite.
const MOST: f64 = 1e30;

/// Puts the changed logits into `into`; `false` if nothing changes them, and `into` is as it was.
///
/// # Errors
/// [`SamplingError::NoSuchToken`].
pub(super) fn adjust(
    options: &Sampling,
    logits: &[f32],
    past: &Past<'_>,
    into: &mut Vec<f32>,
) -> Result<bool, SamplingError> {
    let penalized = options.penalty_window > 0
        && (
            options.repetition_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        ) != (1.0, 0.0, 0.0);
    let dry = options.dry_multiplier > 0.0 && options.dry_window > 0;
    if options.logit_bias.is_empty() && !penalized && !dry {
        return Ok(false);
    }
    into.clear();
    into.extend_from_slice(logits);
    for &(id, bias) in &options.logit_bias {
        let vocab = into.len();
        let logit = into
            .get_mut(id as usize)
            .ok_or(SamplingError::NoSuchToken { id, vocab })?;
        *logit = (f64::from(*logit) + f64::from(bias)) as f32;
    }
    if penalized {
        penalize(options, last(past.tokens, options.penalty_window), into);
    }
    if dry {
        let window = last(past.tokens, options.dry_window);
        for (id, length) in repetitions(window, options, past.piece) {
            let beyond = (length - options.dry_allowed_length) as f64;
            let penalty = f64::from(options.dry_multiplier) * pow(options.dry_base.into(), beyond);
            lower(into, id, penalty.min(MOST));
        }
    }
    Ok(true)
}

/// The last `n` of them.
fn last(tokens: &[u32], n: usize) -> &[u32] {
    tokens
        .get(tokens.len().saturating_sub(n)..)
        .unwrap_or_default()
}

fn lower(logits: &mut [f32], id: u32, by: f64) {
    // A token that the model does not know cannot be chosen either.
    if let Some(logit) = logits.get_mut(id as usize) {
        *logit = (f64::from(*logit) - by) as f32;
    }
}

/// The repetition penalty of Keskar et al., "CTRL" (arXiv 1909.05858, section 4.1), with negative
/// logits multiplied instead, as all programs have it since; then the frequency and presence penalties
/// of OpenAI's API reference: `logit - count * frequency - (count > 0) * presence`.
fn penalize(options: &Sampling, window: &[u32], logits: &mut [f32]) {
    let mut window = window.to_vec();
    window.sort_unstable();
    let repetition = f64::from(options.repetition_penalty);
    for same in window.chunk_by(|a, b| a == b) {
        let Some((&id, logit)) = same
            .first()
            .and_then(|id| Some((id, logits.get_mut(*id as usize)?)))
        else {
            continue;
        };
        let l = f64::from(*logit);
        let scaled = if l > 0.0 {
            l / repetition
        } else {
            l * repetition
        };
        *logit = scaled as f32;
        let count = same.len() as f64;
        let penalty =
            count * f64::from(options.frequency_penalty) + f64::from(options.presence_penalty);
        lower(logits, id, penalty);
    }
}

/// DRY (P. E. Weidmann, "DRY: A modern repetition penalty that reliably prevents looping",
/// text-generation-webui pull request 5677): for each token that followed an earlier occurrence of what
/// the tokens end with, the longest such occurrence, if it is at least as long as is penalised. Neither
/// occurrence reaches back over a text that breaks sequences.
fn repetitions<'a>(
    window: &[u32],
    options: &Sampling,
    piece: &dyn Fn(u32) -> Option<&'a [u8]>,
) -> Vec<(u32, usize)> {
    let reversed: Vec<u32> = window.iter().rev().copied().collect();
    let matches = prefixes(&reversed);
    let longest = matches.iter().skip(1).max().copied().unwrap_or(0);
    if longest < options.dry_allowed_length {
        return Vec::new();
    }
    let limit = unbroken(window, longest, &options.dry_breakers, piece);
    // What ends at i, counted from the end, was followed by what is at i - 1.
    let mut found: Vec<(u32, usize)> = (matches.iter().skip(1).zip(&reversed))
        .map(|(&length, &next)| (next, length.min(limit)))
        .filter(|&(_, length)| length >= options.dry_allowed_length)
        .collect();
    // The longest of each token.
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    found.dedup_by_key(|f| f.0);
    found
}

/// For each position, how many tokens from there on are those that `t` starts with (the Z-function:
/// D. Gusfield, "Algorithms on Strings, Trees and Sequences", section 1.3). Linear time.
fn prefixes(t: &[u32]) -> Vec<usize> {
    let mut z = vec![0; t.len()];
    // Of the matches so far, that which ends last: t[left..right] == t[..right - left].
    let (mut left, mut right) = (0, 0);
    for i in 1..t.len() {
        let known = match right > i {
            true => z.get(i - left).map_or(0, |&n: &usize| n.min(right - i)),
            false => 0,
        };
        let (ahead, start) = (t.get(i + known..), t.get(known..));
        let more = ahead.into_iter().flatten().zip(start.into_iter().flatten());
        let length = known + more.take_while(|(a, b)| a == b).count();
        if i + length > right {
            (left, right) = (i, i + length);
        }
        if let Some(z) = z.get_mut(i) {
            *z = length;
        }
    }
    z
}

/// How many of the last `longest` tokens come after the last breaker's end.
fn unbroken<'a>(
    window: &[u32],
    longest: usize,
    breakers: &[String],
    piece: &dyn Fn(u32) -> Option<&'a [u8]>,
) -> usize {
    // A breaker may begin in tokens before these.
    let reach = breakers.iter().map(String::len).max().unwrap_or(0);
    let (mut text, mut starts) = (Vec::<u8>::new(), Vec::new());
    for &id in window.iter().rev() {
        if starts.len() >= longest && text.len() >= starts_end(&starts, longest) + reach {
            break;
        }
        // Backwards, as the tokens are.
        text.extend(piece(id).unwrap_or_default().iter().rev());
        starts.push(text.len());
    }
    text.reverse();
    let end = breakers
        .iter()
        .filter(|b| !b.is_empty())
        .filter_map(|b| {
            let at = text.windows(b.len()).rposition(|w| w == b.as_bytes())?;
            Some(at + b.len())
        })
        .max();
    let Some(end) = end else {
        return longest;
    };
    // A token's start, from the end of the text; a token counts if it starts after the breaker.
    let after = text.len() - end;
    starts
        .iter()
        .take(longest)
        .take_while(|&&s| s <= after)
        .count()
}

/// How many bytes, from the end, the last `n` tokens have.
fn starts_end(starts: &[usize], n: usize) -> usize {
    n.checked_sub(1)
        .and_then(|i| starts.get(i))
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: &[u8] = b"";

    fn adjusted(options: &Sampling, logits: &[f32], tokens: &[u32]) -> Vec<f32> {
        let mut out = Vec::new();
        let past = Past {
            tokens,
            piece: &|_| Some(NONE),
        };
        match adjust(options, logits, &past, &mut out).unwrap() {
            true => out,
            false => logits.to_vec(),
        }
    }

    #[test]
    fn bias_is_added_and_unknown_tokens_are_named() {
        let mut options = Sampling {
            logit_bias: vec![(0, 1.5), (2, f32::NEG_INFINITY), (0, 0.25)],
            ..Sampling::default()
        };
        let logits = [1.0, 2.0, 3.0];
        assert_eq!(
            adjusted(&options, &logits, &[]),
            [2.75, 2.0, f32::NEG_INFINITY]
        );
        options.logit_bias.push((3, 1.0));
        let past = Past {
            tokens: &[],
            piece: &|_| None,
        };
        assert_eq!(
            adjust(&options, &logits, &past, &mut Vec::new()),
            Err(SamplingError::NoSuchToken { id: 3, vocab: 3 })
        );
    }

    #[test]
    fn penalties_follow_their_formulas_within_the_window() {
        let logits = [2.0, -2.0, 2.0, 0.0, 5.0];
        let tokens = [4, 0, 1, 1, 3, 1, 999];
        let with = |repetition_penalty, frequency_penalty, presence_penalty, penalty_window| {
            let options = Sampling {
                repetition_penalty,
                frequency_penalty,
                presence_penalty,
                penalty_window,
                ..Sampling::default()
            };
            adjusted(&options, &logits, &tokens)
        };
        assert_eq!(with(2.0, 0.0, 0.0, 6), [1.0, -4.0, 2.0, 0.0, 5.0]);
        assert_eq!(with(2.0, 0.0, 0.0, usize::MAX), [1.0, -4.0, 2.0, 0.0, 2.5]);
        assert_eq!(with(1.0, 0.5, 0.0, 6), [1.5, -3.5, 2.0, -0.5, 5.0]);
        assert_eq!(with(1.0, 0.0, 0.25, 6), [1.75, -2.25, 2.0, -0.25, 5.0]);
        assert_eq!(with(2.0, 0.5, 0.25, 3), [2.0, -4.75, 2.0, -0.75, 5.0]);
        assert_eq!(with(2.0, 0.5, 0.25, 0), logits);
        assert_eq!(with(1.0, -0.5, 0.0, 6), [2.5, -0.5, 2.0, 0.5, 5.0]);
    }

    fn dry(allowed: usize, breakers: &[&str]) -> Sampling {
        Sampling {
            dry_multiplier: 0.5,
            dry_base: 2.0,
            dry_allowed_length: allowed,
            dry_breakers: breakers.iter().map(|&b| b.to_owned()).collect(),
            ..Sampling::default()
        }
    }

    #[test]
    fn dry_grows_with_the_repetition() {
        // Ends with 1 2 3, which was followed by 4 (as 1 2 3), by 5 (as 2 3), by 6 (as 3).
        let tokens = [1, 2, 3, 4, 9, 2, 3, 5, 8, 3, 6, 1, 2, 3];
        let expected = |p4: f32, p5: f32, p6: f32| {
            let mut logits = vec![0.0; 10];
            (logits[4], logits[5], logits[6]) = (-p4, -p5, -p6);
            logits
        };
        let logits = vec![0.0; 10];
        // multiplier * base^(length - allowed)
        let found = adjusted(&dry(2, &[]), &logits, &tokens);
        assert_eq!(found, expected(1.0, 0.5, 0.0));
        let found = adjusted(&dry(1, &[]), &logits, &tokens);
        assert_eq!(found, expected(2.0, 1.0, 0.5));
        assert_eq!(adjusted(&dry(4, &[]), &logits, &tokens), logits);
        let short = Sampling {
            dry_window: 9,
            ..dry(2, &[])
        };
        assert_eq!(adjusted(&short, &logits, &tokens), expected(0.0, 0.5, 0.0));
    }

    /// The definition, by trying all lengths; breakers as flags of tokens.
    fn naive(tokens: &[u32], allowed: usize, breaks: &dyn Fn(u32) -> bool) -> Vec<(u32, usize)> {
        let n = tokens.len();
        let mut found = std::collections::BTreeMap::new();
        for end in 1..n {
            let longest = (0..=end)
                .take_while(|&k| {
                    tokens[end - k..end] == tokens[n - k..]
                        && !tokens[n - k..].iter().any(|&t| breaks(t))
                })
                .last()
                .unwrap_or(0);
            if longest >= allowed {
                let best = found.entry(tokens[end]).or_insert(0);
                *best = longest.max(*best);
            }
        }
        found.into_iter().collect()
    }

    proptest! {
        #[test]
        fn dry_finds_what_trying_all_lengths_finds(
            tokens in prop::collection::vec(0u32..4, 0..40),
            allowed in 1usize..5,
        ) {
            let pieces: [&[u8]; 4] = [b"a", b"b:", b"", b"\n"];
            let piece = |id: u32| pieces.get(id as usize).copied();
            let none = repetitions(&tokens, &dry(allowed, &[]), &piece);
            prop_assert_eq!(none, naive(&tokens, allowed, &|_| false));
            let colon = repetitions(&tokens, &dry(allowed, &[":", "\n"]), &piece);
            prop_assert_eq!(colon, naive(&tokens, allowed, &|t| t == 1 || t == 3));
        }
    }

    #[test]
    fn a_breaker_may_span_tokens() {
        let pieces: [&[u8]; 4] = [b"x", b"#", b"y", b"z"];
        let piece = |id: u32| pieces.get(id as usize).copied();
        // x # # y z x ## y: a repetition of 4 tokens, of which only y comes after "##".
        let tokens = [0, 1, 1, 2, 3, 0, 1, 1, 2];
        let found = |breaker: &str| repetitions(&tokens, &dry(1, &[breaker]), &piece);
        assert_eq!(found("##"), [(3, 1)]);
        assert_eq!(found("###"), [(3, 4)]);
        // Two of the tokens come after the x that this one begins with.
        assert_eq!(found("x#"), [(3, 2)]);
    }
}
