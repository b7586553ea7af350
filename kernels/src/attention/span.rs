//! The kernel of one span: scores of up to eight queries at a time, their softmax, their values.
//!
//! Vectors run across 16 keys (scores) or 16 dims (values), so every score and every output is
//! one chain, however many queries and tiles are in flight.

// Registers are indexed in fixed loops over several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::elem::{Elem, F16, F32, Head, Q8};
use super::lanes::{Kernel, Lanes, Portable};
use super::{HEADER, KvElem, PAGE_POSITIONS, Query, Scoring, partial_len};
use crate::isa::Isa;
use crate::kv::TILE;
use crate::math;
use crate::rowwise::tree;
use std::marker::PhantomData;

/// Queries treated together, at most.
const GROUP: usize = 8;

/// Bytes by which values are asked for before they are needed: 32 positions of 64 dims in f16. On a
/// Zen 5, 1 KiB reads kv-f16 at 42 and kv-q8_0 at 25 GB/s, this at 45 and 29 (`hob kernels --tokens 1`).
const AHEAD_BYTES: usize = 4 << 10;

/// Scores, then probabilities, of a group.
#[repr(align(64))]
struct Scratch([[f32; PAGE_POSITIONS]; GROUP]);

/// Attends to one span on the given instruction set.
///
/// # Safety
/// The CPU has `isa`; `head` lies inside a page that is valid for reads; every query has `head.dk` elements and
/// `hi <= 256`; `partials` holds one partial of `head.dv` dims for each query.
pub(super) unsafe fn attend(
    isa: Isa,
    elem: KvElem,
    head: &Head,
    scoring: Scoring,
    queries: &[Query<'_>],
    partials: &mut [f32],
) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        match isa {
            Isa::Avx512 => {
                return over_elem::<super::lanes::Avx512>(elem, head, scoring, queries, partials);
            }
            Isa::Avx2 | Isa::AvxVnni => {
                return over_elem::<super::lanes::Avx2>(elem, head, scoring, queries, partials);
            }
            _ => {}
        }
        #[cfg(target_arch = "aarch64")]
        if matches!(isa, Isa::Neon | Isa::Dotprod | Isa::I8mm) {
            return over_elem::<super::lanes::Neon>(elem, head, scoring, queries, partials);
        }
        let _ = isa;
        over_elem::<Portable>(elem, head, scoring, queries, partials)
    }
}

unsafe fn over_elem<L: Lanes>(
    elem: KvElem,
    head: &Head,
    scoring: Scoring,
    queries: &[Query<'_>],
    partials: &mut [f32],
) {
    // SAFETY: the caller's, see `attend`.
    unsafe {
        match elem {
            KvElem::F32 => over_groups::<L, F32>(head, scoring, queries, partials),
            KvElem::F16 => over_groups::<L, F16>(head, scoring, queries, partials),
            KvElem::Q8_0 => over_groups::<L, Q8>(head, scoring, queries, partials),
        }
    }
}

/// Takes queries in groups as large as registers allow, so that keys and values are read and
/// converted rarely: four, three, two, then one, and eight first where the conversion is dear (q8_0 gains
/// 7% with AVX-512; f16 and f32 lose 8% and 0% to the extra broadcasts: attention_speed).
unsafe fn over_groups<L: Lanes, E: Elem>(
    head: &Head,
    scoring: Scoring,
    mut queries: &[Query<'_>],
    mut partials: &mut [f32],
) {
    let mut scratch = Scratch([[0.0; PAGE_POSITIONS]; GROUP]);
    let s = &mut scratch.0;
    let stride = partial_len(head.dv);
    while !queries.is_empty() {
        // SAFETY: the caller's, see `attend`.
        let n = unsafe {
            if const { L::ACCUMULATORS >= 16 && E::SCALED } && queries.len() >= 8 {
                group::<L, E, 8>(head, scoring, queries, s, partials)
            } else if const { L::ACCUMULATORS > 1 } && queries.len() >= 4 {
                group::<L, E, 4>(head, scoring, queries, s, partials)
            } else if const { L::ACCUMULATORS > 1 } && queries.len() == 3 {
                group::<L, E, 3>(head, scoring, queries, s, partials)
            } else if const { L::ACCUMULATORS > 1 } && queries.len() >= 2 {
                group::<L, E, 2>(head, scoring, queries, s, partials)
            } else {
                group::<L, E, 1>(head, scoring, queries, s, partials)
            }
        };
        queries = queries.get(n..).unwrap_or_default();
        partials = partials.get_mut(n * stride..).unwrap_or_default();
    }
}

/// Treats the first `N` queries; returns `N`.
unsafe fn group<L: Lanes, E: Elem, const N: usize>(
    head: &Head,
    scoring: Scoring,
    queries: &[Query<'_>],
    scratch: &mut [[f32; PAGE_POSITIONS]; GROUP],
    partials: &mut [f32],
) -> usize {
    let stride = partial_len(head.dv);
    let (Some(queries), Some(partials)) =
        (queries.first_chunk::<N>(), partials.get_mut(..N * stride))
    else {
        return N;
    };
    super::clear(partials);
    // What any of them sees. A query that sees nothing takes no part.
    let seeing = || queries.iter().filter(|q| q.lo < q.hi);
    let (Some(first), Some(last)) = (seeing().map(|q| q.lo).min(), seeing().map(|q| q.hi).max())
    else {
        return N;
    };
    let q: [*const f32; N] = std::array::from_fn(|i| queries[i].q.as_ptr());
    let s: [*mut f32; N] = std::array::from_fn(|i| scratch[i].as_mut_ptr());
    // SAFETY: tiles are below `256 / 16`, scratch rows have 256 elements, queries `dk`.
    unsafe {
        let tiles = (first / TILE, last.div_ceil(TILE));
        L::run(Scores::<L, E, N> {
            head,
            tiles,
            q,
            s,
            of: PhantomData,
        });
    }

    for (i, query) in queries.iter().enumerate() {
        if query.lo < query.hi {
            let s = &mut scratch[i];
            // SAFETY: the caller's: `hi <= 256`.
            let (m, l) = unsafe {
                L::run(Softmax::<L> {
                    scoring,
                    s,
                    lo: query.lo,
                    hi: query.hi,
                    of: PhantomData,
                })
            };
            partials[i * stride] = m;
            partials[i * stride + 1] = l;
        }
    }

    // Values. Positions that all queries see are treated together, those before and after query
    // by query: an absent position is skipped, because adding 0 * v could change a bit.
    let mut all = queries.iter().fold((0, PAGE_POSITIONS), |(lo, hi), q| {
        (q.lo.max(lo), q.hi.min(hi))
    });
    if all.0 >= all.1 {
        all = (PAGE_POSITIONS, PAGE_POSITIONS);
    }
    let p: [*const f32; N] = std::array::from_fn(|i| scratch[i].as_ptr());
    let base = partials.as_mut_ptr();
    let o: [*mut f32; N] = std::array::from_fn(|i| base.wrapping_add(i * stride + HEADER));
    // SAFETY: positions are below 256, and partials have `stride` elements.
    unsafe {
        let alone = |i: usize, lo: usize, hi: usize| {
            if lo < hi {
                L::run(Values::<L, E, 1> {
                    head,
                    lo,
                    hi,
                    p: [p[i]],
                    o: [o[i]],
                    of: PhantomData,
                });
            }
        };
        for (i, query) in queries.iter().enumerate() {
            alone(i, query.lo, query.hi.min(all.0));
        }
        if all.0 < all.1 {
            L::run(Values::<L, E, N> {
                head,
                lo: all.0,
                hi: all.1,
                p,
                o,
                of: PhantomData,
            });
        }
        for (i, query) in queries.iter().enumerate() {
            alone(i, query.lo.max(all.1), query.hi);
        }
    }
    N
}

/// `q . k` of `N` queries for tiles `tiles.0..tiles.1`.
struct Scores<'a, L, E, const N: usize> {
    head: &'a Head,
    tiles: (usize, usize),
    q: [*const f32; N],
    s: [*mut f32; N],
    of: PhantomData<(L, E)>,
}

impl<L: Lanes, E: Elem, const N: usize> Kernel for Scores<'_, L, E, N> {
    type Out = ();
    #[inline(always)]
    unsafe fn body(self) {
        let (mut tile, end) = self.tiles;
        // SAFETY: the caller's.
        unsafe {
            if const { L::ACCUMULATORS >= 4 * N } {
                while tile + 4 <= end {
                    self.tiles::<4>(tile);
                    tile += 4;
                }
            } else if const { L::ACCUMULATORS >= 2 * N } {
                while tile + 2 <= end {
                    self.tiles::<2>(tile);
                    tile += 2;
                }
            }
            while tile < end {
                self.tiles::<1>(tile);
                tile += 1;
            }
        }
    }
}

impl<L: Lanes, E: Elem, const N: usize> Scores<'_, L, E, N> {
    /// `T` tiles: `N * T` vectors of 16 chains.
    #[inline(always)]
    unsafe fn tiles<const T: usize>(&self, tile: usize) {
        let head = self.head;
        // SAFETY: the caller's.
        unsafe {
            let zero = L::splat(0.0);
            let mut acc = [[zero; T]; N];
            let mut d = 0;
            while d < head.dk {
                let mut scales = [zero; T];
                for t in 0..T {
                    scales[t] = E::k_scales::<L>(head, tile + t, d / E::BLOCK);
                }
                let end = head.dk.min(d.saturating_add(E::BLOCK));
                while d < end {
                    let mut k = [zero; T];
                    for t in 0..T {
                        k[t] = E::k::<L>(head, tile + t, d, scales[t]);
                    }
                    E::fetch_k(head, tile + T, d, T);
                    for i in 0..N {
                        let q = L::splat(*self.q[i].add(d));
                        for t in 0..T {
                            acc[i][t] = L::fma(q, k[t], acc[i][t]);
                        }
                    }
                    d += 1;
                }
            }
            for i in 0..N {
                for t in 0..T {
                    L::store(acc[i][t], self.s[i].add((tile + t) * TILE));
                }
            }
        }
    }
}

/// Turns the products of the visible positions into probabilities; returns `m` and `l`.
struct Softmax<'a, L> {
    scoring: Scoring,
    s: &'a mut [f32; PAGE_POSITIONS],
    lo: usize,
    hi: usize,
    of: PhantomData<L>,
}

impl<L: Lanes> Kernel for Softmax<'_, L> {
    type Out = (f32, f32);
    #[inline(always)]
    unsafe fn body(self) -> (f32, f32) {
        let (first, last) = (self.lo / TILE * TILE, self.hi.next_multiple_of(TILE));
        let (before, end) = (self.lo - first, self.hi - first);
        // `lo < hi <= 256`
        let s = &mut self.s[first..last];
        for s in s.iter_mut() {
            *s *= self.scoring.scale;
        }
        if let Some(cap) = self.scoring.softcap {
            for s in s.iter_mut() {
                *s = math::softcap(*s, cap);
            }
        }
        // Absent lanes of the outer tiles: no maximum, a probability of 0, nothing added to a sum.
        s[..before].fill(f32::NEG_INFINITY);
        s[end..].fill(f32::NEG_INFINITY);
        let mut lanes = [0.0f32; TILE];
        // SAFETY: each chunk has 16 elements.
        unsafe {
            let mut m = L::splat(f32::NEG_INFINITY);
            for s in s.chunks_exact(TILE) {
                m = L::max(L::load(s.as_ptr()), m);
            }
            L::store(m, lanes.as_mut_ptr());
        }
        let m = lanes
            .iter()
            .fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
        for s in s.iter_mut() {
            *s = math::exp(*s - m);
        }
        // SAFETY: each chunk has 16 elements.
        unsafe {
            // A product with 1 is exact: this adds.
            let one = L::splat(1.0);
            let mut sums = L::splat(0.0);
            for p in s.chunks_exact(TILE) {
                sums = L::fma(one, L::load(p.as_ptr()), sums);
            }
            L::store(sums, lanes.as_mut_ptr());
        }
        (m, tree(lanes))
    }
}

/// `o[i][..] = fma(p[i][pos], v[pos][..], o[i][..])` over ascending positions `lo..hi`.
struct Values<'a, L, E, const N: usize> {
    head: &'a Head,
    lo: usize,
    hi: usize,
    p: [*const f32; N],
    o: [*mut f32; N],
    of: PhantomData<(L, E)>,
}

impl<L: Lanes, E: Elem, const N: usize> Kernel for Values<'_, L, E, N> {
    type Out = ();
    #[inline(always)]
    unsafe fn body(self) {
        let dv = self.head.dv;
        let mut d = 0;
        // SAFETY: the caller's; `d + 16 * vectors <= dv`.
        unsafe {
            if const { L::ACCUMULATORS >= 8 * N } {
                while d + 8 * 16 <= dv {
                    self.columns::<8>(d);
                    d += 8 * 16;
                }
            }
            if const { L::ACCUMULATORS >= 4 * N } {
                while d + 4 * 16 <= dv {
                    self.columns::<4>(d);
                    d += 4 * 16;
                }
            } else if const { L::ACCUMULATORS >= 2 * N } {
                while d + 2 * 16 <= dv {
                    self.columns::<2>(d);
                    d += 2 * 16;
                }
            }
            while d + 16 <= dv {
                self.columns::<1>(d);
                d += 16;
            }
            while d < dv {
                for i in 0..N {
                    let o = self.o[i].add(d);
                    for pos in self.lo..self.hi {
                        *o = (*self.p[i].add(pos)).mul_add(E::v_one(self.head, pos, d), *o);
                    }
                }
                d += 1;
            }
        }
    }
}

impl<L: Lanes, E: Elem, const N: usize> Values<'_, L, E, N> {
    /// `C` vectors of dims, from dim `d` on: `N * C` vectors of 16 chains.
    #[inline(always)]
    unsafe fn columns<const C: usize>(&self, d: usize) {
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[L::splat(0.0); C]; N];
            for i in 0..N {
                for c in 0..C {
                    acc[i][c] = L::load(self.o[i].add(d + 16 * c));
                }
            }
            let ahead = AHEAD_BYTES / (self.head.dv * E::BYTES);
            for pos in self.lo..self.hi {
                let mut v = [L::splat(0.0); C];
                for c in 0..C {
                    v[c] = E::v::<L>(self.head, pos, d + 16 * c);
                }
                E::fetch_v(self.head, pos + ahead, d, 16 * C);
                for i in 0..N {
                    let p = L::splat(*self.p[i].add(pos));
                    for c in 0..C {
                        acc[i][c] = L::fma(p, v[c], acc[i][c]);
                    }
                }
            }
            for i in 0..N {
                for c in 0..C {
                    L::store(acc[i][c], self.o[i].add(d + 16 * c));
                }
            }
        }
    }
}
