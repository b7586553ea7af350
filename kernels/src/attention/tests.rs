//! The kernels against the definition spelled out in scalars, and against f64; every instruction
//! set, element type and grouping must give the same bits.

use super::*;

/// Fixed numbers in about -2..2.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 17;
            s ^= s << 5;
            (f64::from(s) / f64::from(u32::MAX) * 4.0 - 2.0) as f32
        })
        .collect()
}

/// A page of which positions outside `written` hold bytes that would be NaN if they were read.
fn page(layout: &KvLayout, written: std::ops::Range<usize>, seed: u32) -> Vec<u8> {
    let mut page = vec![0xFF; layout.page_bytes()];
    for head in 0..layout.heads() {
        for pos in written.clone() {
            let seed = seed + (head * 1000 + pos) as u32;
            let (k, v) = (
                numbers(layout.dk(), seed),
                numbers(layout.dv(), seed + 500_000),
            );
            // SAFETY: the page has the layout's size.
            unsafe {
                layout.store_k(page.as_mut_ptr(), head, pos, &k);
                layout.store_v(page.as_mut_ptr(), head, pos, &v);
            }
        }
    }
    page
}

/// The definition, one step after the other.
fn defined(
    layout: &KvLayout,
    page: &[u8],
    head: usize,
    scoring: Scoring,
    query: &Query<'_>,
) -> Vec<f32> {
    let mut out = vec![0.0f32; partial_len(layout.dv())];
    if query.lo >= query.hi {
        return out;
    }
    let (mut k, mut v) = (vec![0.0; layout.dk()], vec![0.0; layout.dv()]);
    let mut s = Vec::new();
    for pos in query.lo..query.hi {
        assert!(layout.load_k(page, head, pos, &mut k));
        let mut x = 0.0f32;
        for (q, k) in query.q.iter().zip(&k) {
            x = q.mul_add(*k, x);
        }
        x *= scoring.scale;
        s.push(scoring.softcap.map_or(x, |cap| cap * math::tanh(x / cap)));
    }
    let m = s.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut lanes = [0.0f32; 16];
    for (pos, s) in (query.lo..).zip(&s) {
        let p = math::exp(s - m);
        lanes[pos % 16] += p;
        assert!(layout.load_v(page, head, pos, &mut v));
        for (o, v) in out[HEADER..].iter_mut().zip(&v) {
            *o = p.mul_add(*v, *o);
        }
    }
    out[0] = m;
    out[1] = crate::rowwise::tree(lanes);
    out
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

const SHAPES: [(usize, usize); 8] = [
    (64, 64),
    (80, 80),
    (96, 96),
    (128, 128),
    (32, 256),
    (192, 128),
    (20, 37),
    (3, 1),
];
const RANGES: [(usize, usize); 10] = [
    (0, 1),
    (0, 16),
    (0, 256),
    (5, 6),
    (15, 17),
    (100, 203),
    (0, 77),
    (31, 256),
    (250, 250),
    (255, 256),
];
const SCORINGS: [Scoring; 2] = [
    Scoring {
        scale: 0.125,
        softcap: None,
    },
    Scoring {
        scale: 0.25,
        softcap: Some(3.0),
    },
];

#[test]
fn every_kernel_gives_the_defined_bits() {
    let mut compared = 0;
    for (dk, dv) in SHAPES {
        for elem in KvElem::ALL {
            let Ok(layout) = KvLayout::new(2, dk, dv, elem) else {
                continue;
            };
            let full = page(&layout, 0..PAGE_POSITIONS, dk as u32);
            let q = numbers(dk, 42);
            for scoring in SCORINGS {
                for (lo, hi) in RANGES {
                    let query = Query { q: &q, lo, hi };
                    let want = defined(&layout, &full, 1, scoring, &query);
                    // Other positions' bytes are NaN: absent means never used.
                    let sparse = page(&layout, lo..hi, dk as u32);
                    for isa in Isa::available() {
                        for page in [&full, &sparse] {
                            let mut got = vec![9.0; partial_len(dv)];
                            attend_span(isa, &layout, page, 1, scoring, &[query], &mut got)
                                .unwrap();
                            let n = HEADER + dv;
                            assert_eq!(
                                bits(&got[..n]),
                                bits(&want[..n]),
                                "{isa} {dk}/{dv} {} {lo}..{hi} {scoring:?}",
                                elem.name()
                            );
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{compared} partials compared");
    let runs = crate::counters::snapshot();
    for elem in KvElem::ALL {
        for isa in Isa::available() {
            let name = format!("attend_span {}", elem.name());
            let ran = runs
                .iter()
                .find(|r| r.kernel == name && r.isa == isa)
                .map_or(0, |r| r.runs);
            println!("{name} on {isa}: {ran} runs");
            assert!(ran > 0);
        }
    }
}

#[test]
fn grouping_does_not_change_bits() {
    for (dk, dv) in [(64, 64), (80, 80), (128, 128), (20, 37)] {
        for elem in KvElem::ALL {
            let Ok(layout) = KvLayout::new(1, dk, dv, elem) else {
                continue;
            };
            let page = page(&layout, 0..PAGE_POSITIONS, 3);
            let q: Vec<Vec<f32>> = (0..13).map(|i| numbers(dk, 100 + i)).collect();
            for ragged in 0..3 {
                let queries: Vec<Query<'_>> = (0..)
                    .zip(&q)
                    .map(|(i, q)| match ragged {
                        0 => Query { q, lo: 0, hi: 200 },
                        1 => Query {
                            q,
                            lo: 3 * i,
                            hi: 60 + i,
                        },
                        _ => Query {
                            q,
                            lo: RANGES[i % 10].0,
                            hi: RANGES[i % 10].1,
                        },
                    })
                    .collect();
                let stride = partial_len(dv);
                for isa in Isa::available() {
                    let mut one = vec![0.0; stride * queries.len()];
                    for (query, part) in queries.iter().zip(one.chunks_mut(stride)) {
                        attend_span(isa, &layout, &page, 0, SCORINGS[0], &[*query], part).unwrap();
                    }
                    for size in [2, 3, 4, 5, 13] {
                        let mut many = vec![0.0; stride * queries.len()];
                        for (queries, parts) in
                            queries.chunks(size).zip(many.chunks_mut(size * stride))
                        {
                            attend_span(isa, &layout, &page, 0, SCORINGS[0], queries, parts)
                                .unwrap();
                        }
                        assert_eq!(
                            bits(&one),
                            bits(&many),
                            "{isa} {dk} {} by {size}",
                            elem.name()
                        );
                    }
                }
            }
        }
    }
}

/// Several spans, merged and finished, against softmax attention in f64 over the stored values.
#[test]
fn spans_merge_to_softmax_attention() {
    let (dk, dv, spans, last) = (64, 96, 4, 130);
    for elem in KvElem::ALL {
        for sink in [None, Some(1.5f32)] {
            let layout = KvLayout::new(1, dk, dv, elem).unwrap();
            let pages: Vec<_> = (0..spans)
                .map(|i| page(&layout, 0..PAGE_POSITIONS, 9000 * i))
                .collect();
            let q = numbers(dk, 5);
            let scoring = Scoring {
                scale: 0.3,
                softcap: None,
            };
            let hi = |i: u32| if i + 1 == spans { last } else { PAGE_POSITIONS };

            let (mut scores, mut values) = (Vec::new(), Vec::new());
            for (i, page) in (0..).zip(&pages) {
                for pos in 0..hi(i) {
                    let (mut k, mut v) = (vec![0.0; dk], vec![0.0; dv]);
                    assert!(
                        layout.load_k(page, 0, pos, &mut k) && layout.load_v(page, 0, pos, &mut v)
                    );
                    let s: f64 = q
                        .iter()
                        .zip(&k)
                        .map(|(q, k)| f64::from(*q) * f64::from(*k))
                        .sum();
                    scores.push(s * f64::from(scoring.scale));
                    values.push(v);
                }
            }
            let sinks = sink.map(f64::from);
            let m = scores.iter().copied().chain(sinks).fold(f64::MIN, f64::max);
            let l: f64 = scores
                .iter()
                .copied()
                .chain(sinks)
                .map(|s| (s - m).exp())
                .sum();

            let mut all: Vec<Vec<u32>> = Vec::new();
            for isa in Isa::available() {
                let (mut acc, mut part) = (vec![0.0; partial_len(dv)], vec![0.0; partial_len(dv)]);
                merge(isa, &mut acc, &part);
                assert!(is_empty(&acc));
                for (i, page) in (0..).zip(&pages) {
                    let query = Query {
                        q: &q,
                        lo: 0,
                        hi: hi(i),
                    };
                    attend_span(isa, &layout, page, 0, scoring, &[query], &mut part).unwrap();
                    merge(isa, &mut acc, &part);
                }
                if let Some(sink) = sink {
                    merge_sink(isa, &mut acc, sink);
                }
                let mut out = vec![0.0; dv];
                finish(isa, &acc, &mut out);
                for (d, out) in out.iter().enumerate() {
                    let want: f64 = scores
                        .iter()
                        .zip(&values)
                        .map(|(s, v)| (s - m).exp() / l * f64::from(v[d]))
                        .sum();
                    assert!(
                        (f64::from(*out) - want).abs() < 2e-6,
                        "{isa} {d}: {out} {want}"
                    );
                }
                all.push(bits(&out));
            }
            assert!(all.iter().all(|bits| *bits == all[0]));
        }
    }
}

/// The merge spelled out for two partials.
#[test]
fn merging_follows_the_formula() {
    let n = partial_len(37);
    for isa in Isa::available() {
        for (m, ms) in [(0.5f32, 2.0f32), (2.0, 0.5), (-3.0, -3.0)] {
            let (mut acc, mut part) = (numbers(n, 1), numbers(n, 2));
            (acc[0], acc[1], part[0], part[1]) = (m, 3.0, ms, 1.25);
            let top = m.max(ms);
            let (a, b) = (math::exp(m - top), math::exp(ms - top));
            let mut want: Vec<f32> = acc
                .iter()
                .zip(&part)
                .map(|(o, os)| o.mul_add(a, os * b))
                .collect();
            want[0] = top;
            want[1] = 3.0f32.mul_add(a, 1.25 * b);
            merge(isa, &mut acc, &part);
            assert_eq!(bits(&acc[..2]), bits(&want[..2]));
            assert_eq!(bits(&acc[HEADER..]), bits(&want[HEADER..]));
        }
    }
}

#[test]
fn nan_and_infinite_scores_become_nan_not_silence() {
    let layout = KvLayout::new(1, 32, 32, KvElem::F32).unwrap();
    let page = page(&layout, 0..PAGE_POSITIONS, 0);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut q = numbers(32, 1);
        q[7] = bad;
        for isa in Isa::available() {
            let mut part = vec![0.0; partial_len(32)];
            let query = Query {
                q: &q,
                lo: 3,
                hi: 90,
            };
            attend_span(isa, &layout, &page, 0, SCORINGS[0], &[query], &mut part).unwrap();
            assert!(!is_empty(&part));
            let mut out = vec![0.0; 32];
            finish(isa, &part, &mut out);
            assert!(out.iter().all(|x| x.is_nan()));
        }
    }
}

#[test]
fn nothing_visible_is_empty_and_finishes_as_zeros() {
    let layout = KvLayout::new(1, 32, 32, KvElem::F16).unwrap();
    let page = vec![0xFF; layout.page_bytes()];
    let q = numbers(32, 1);
    for isa in Isa::available() {
        let mut part = vec![7.0; 2 * partial_len(32)];
        let queries = [
            Query {
                q: &q,
                lo: 9,
                hi: 9,
            },
            Query {
                q: &q,
                lo: 256,
                hi: 0,
            },
        ];
        attend_span(isa, &layout, &page, 0, SCORINGS[0], &queries, &mut part).unwrap();
        assert!(part.chunks(partial_len(32)).all(is_empty));
        let mut out = vec![7.0; 32];
        finish(isa, &part[..partial_len(32)], &mut out);
        assert_eq!(out, [0.0; 32]);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let layout = KvLayout::new(2, 32, 32, KvElem::F16).unwrap();
    let page = vec![0; layout.page_bytes()];
    let q = numbers(32, 1);
    let query = |hi| Query { q: &q, lo: 0, hi };
    let mut part = vec![0.0; partial_len(32)];
    let mut go = |page: &[u8], head, query: Query<'_>, n: usize| {
        attend_span(
            Isa::best(),
            &layout,
            page,
            head,
            SCORINGS[0],
            &[query],
            &mut part[..n],
        )
    };
    let n = partial_len(32);
    assert!(go(&page, 1, query(256), n).is_ok());
    assert!(go(&page, 2, query(256), n).is_err());
    assert!(go(&page, 1, query(257), n).is_err());
    assert!(go(&page, 1, query(256), n - 1).is_err());
    assert!(go(&page[1..], 1, query(256), n).is_err());
    assert!(
        go(
            &page,
            1,
            Query {
                q: &q[1..],
                lo: 0,
                hi: 1
            },
            n
        )
        .is_err()
    );
}
