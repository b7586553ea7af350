//! Where keys and values lie in memory: pages of 256 positions, one layer each.
//!
//! In: a layer's shape and element type, and rows of f32 to store. Out: byte offsets, and bytes
//! in a page. The element type is part of the definition of attention (DESIGN section 4): what a
//! page gives back is exactly what [`KvLayout::load_k`] and [`KvLayout::load_v`] say.
//!
//! A page holds, for each KV head in turn, every part a multiple of 64 bytes:
//! - keys `[tile][dk][16]`: 16 tiles of 16 positions, so that a vector is 16 keys of one dim;
//! - with q8_0, key scales `[tile][dk / 32][16]` of f16;
//! - values `[position][dv]`, so that a vector is 16 dims of one value;
//! - with q8_0, value scales `[position][dv / 32]` of f16.
//!
//! Pages should start at a multiple of 64 bytes; every access is correct at any address.

use crate::private::wipe;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;

/// Positions in a page: the span of attention.
pub const PAGE_POSITIONS: usize = 256;
/// Positions in a tile of keys.
pub(crate) const TILE: usize = 16;
/// Elements that share a scale in q8_0.
pub(crate) const BLOCK: usize = 32;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvElem {
    /// As they are.
    F32,
    /// Rounded to the nearest f16, ties to even; what lies beyond +-65504, infinities included,
    /// becomes +-65504; NaN stays NaN.
    F16,
    /// ggml's q8_0, blocks of 32 dims: `amax = max |x|`, `d = amax / 127` stored as
    /// [`KvElem::F16`] stores it, `q = rne(x * (127 / amax))`; zeros if `amax` is 0. Reads back as
    /// `f32(q) * f32(d)`. A block with a NaN or an infinity reads back as NaN.
    Q8_0,
}

impl KvElem {
    /// All of them.
    pub const ALL: [KvElem; 3] = [KvElem::F32, KvElem::F16, KvElem::Q8_0];

    /// The name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            KvElem::F32 => "f32",
            KvElem::F16 => "f16",
            KvElem::Q8_0 => "q8_0",
        }
    }

    /// The element type of that name.
    pub fn from_name(name: &str) -> Option<KvElem> {
        Self::ALL.into_iter().find(|e| e.name() == name)
    }

    const fn bytes(self) -> usize {
        match self {
            KvElem::F32 => 4,
            KvElem::F16 => 2,
            KvElem::Q8_0 => 1,
        }
    }
}

/// Why a layout was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// A dimension is 0 or beyond what any model has.
    #[error(
        "a KV cache of {heads} heads with {dk} key and {dv} value dims: each must be between 1 and 65536"
    )]
    Shape {
        /// KV heads.
        heads: usize,
        /// Key dims a head.
        dk: usize,
        /// Value dims a head.
        dv: usize,
    },
    /// q8_0 has blocks of 32.
    #[error(
        "head dims {dk} (keys) and {dv} (values) cannot be stored as q8_0, which needs multiples of 32; use f16"
    )]
    Blocks {
        /// Key dims a head.
        dk: usize,
        /// Value dims a head.
        dv: usize,
    },
}

/// The layout of one layer's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvLayout {
    heads: usize,
    dk: usize,
    dv: usize,
    elem: KvElem,
}

/// Where one head's parts start in a page, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct HeadParts {
    pub(crate) k: usize,
    pub(crate) k_scales: usize,
    pub(crate) v: usize,
    pub(crate) v_scales: usize,
}

impl KvLayout {
    /// A layer of `heads` KV heads, with `dk` key and `dv` value dims each.
    ///
    /// # Errors
    /// A dimension is 0 or above 65536, or is not a multiple of 32 with q8_0.
    pub fn new(heads: usize, dk: usize, dv: usize, elem: KvElem) -> Result<KvLayout, KvError> {
        if [heads, dk, dv].iter().any(|n| !(1..=65536).contains(n)) {
            return Err(KvError::Shape { heads, dk, dv });
        }
        if elem == KvElem::Q8_0 && !(dk.is_multiple_of(BLOCK) && dv.is_multiple_of(BLOCK)) {
            return Err(KvError::Blocks { dk, dv });
        }
        let layout = KvLayout {
            heads,
            dk,
            dv,
            elem,
        };
        // 2^16 heads of twice 2^16 dims, 256 positions and 4 bytes fit 64 bits, but not 32.
        match (heads as u64)
            .checked_mul(layout.head_bytes_wide())
            .map(usize::try_from)
        {
            Some(Ok(_)) => Ok(layout),
            _ => Err(KvError::Shape { heads, dk, dv }),
        }
    }

    /// KV heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Key dims a head.
    pub fn dk(&self) -> usize {
        self.dk
    }

    /// Value dims a head.
    pub fn dv(&self) -> usize {
        self.dv
    }

    /// Element type.
    pub fn elem(&self) -> KvElem {
        self.elem
    }

    /// Bytes of a page; a multiple of 64.
    pub fn page_bytes(&self) -> usize {
        self.heads * self.head_bytes()
    }

    /// Bytes that hold one position, of all heads.
    pub fn position_bytes(&self) -> usize {
        self.page_bytes() / PAGE_POSITIONS
    }

    /// Where the first `positions` positions lie in a page: byte ranges that hold all of them and nothing
    /// of later ones, always in the same order. A whole page is one range.
    pub fn held(self, positions: usize) -> impl Iterator<Item = Range<usize>> {
        let whole = positions >= PAGE_POSITIONS;
        let heads = if whole { 0 } else { self.heads };
        let page = whole.then(|| 0..self.page_bytes());
        let parts = (0..heads).flat_map(move |head| self.held_by(head, positions));
        page.into_iter().chain(parts)
    }

    /// The same of one head, for less than a page.
    fn held_by(self, head: usize, positions: usize) -> impl Iterator<Item = Range<usize>> {
        let HeadParts {
            k,
            k_scales,
            v,
            v_scales,
        } = self.parts(head);
        // Whole tiles lie together; of the last one, the first lanes of each of its rows are held.
        let (tiles, lanes) = (positions / TILE, positions % TILE);
        let tiled = move |at: usize, rows: usize, bytes: usize| {
            let last = at + tiles * rows * TILE * bytes;
            let row = move |row: usize| {
                let start = last + row * TILE * bytes;
                start..start + lanes * bytes
            };
            std::iter::once(at..last).chain((0..rows).map(row))
        };
        let flat = move |at: usize, bytes: usize| std::iter::once(at..at + positions * bytes);
        tiled(k, self.dk, self.elem.bytes())
            .chain(tiled(k_scales, self.scale_bytes(self.dk) / 2, 2))
            .chain(flat(v, self.dv * self.elem.bytes()))
            .chain(flat(v_scales, self.scale_bytes(self.dv)))
            .filter(|range| !range.is_empty())
    }

    /// Bytes of one head in a page; head `h` is at `h * head_bytes()`. A multiple of 64.
    pub fn head_bytes(&self) -> usize {
        // Checked to fit in `new`.
        self.head_bytes_wide() as usize
    }

    fn head_bytes_wide(&self) -> u64 {
        let per_position = |d: usize| (d * self.elem.bytes() + self.scale_bytes(d)) as u64;
        PAGE_POSITIONS as u64 * (per_position(self.dk) + per_position(self.dv))
    }

    /// Bytes of the scales of `d` dims of a position.
    fn scale_bytes(&self, d: usize) -> usize {
        if self.elem == KvElem::Q8_0 {
            d / BLOCK * 2
        } else {
            0
        }
    }

    pub(crate) fn parts(&self, head: usize) -> HeadParts {
        let k = head * self.head_bytes();
        let k_scales = k + PAGE_POSITIONS * self.dk * self.elem.bytes();
        let v = k_scales + PAGE_POSITIONS * self.scale_bytes(self.dk);
        let v_scales = v + PAGE_POSITIONS * self.dv * self.elem.bytes();
        HeadParts {
            k,
            k_scales,
            v,
            v_scales,
        }
    }

    /// Byte offset of key element `d` of a position.
    fn k_at(&self, head: usize, pos: usize, d: usize) -> usize {
        let (tile, lane) = (pos / TILE, pos % TILE);
        self.parts(head).k + ((tile * self.dk + d) * TILE + lane) * self.elem.bytes()
    }

    fn k_scale_at(&self, head: usize, pos: usize, block: usize) -> usize {
        let (tile, lane) = (pos / TILE, pos % TILE);
        self.parts(head).k_scales + ((tile * (self.dk / BLOCK) + block) * TILE + lane) * 2
    }

    fn v_at(&self, head: usize, pos: usize, d: usize) -> usize {
        self.parts(head).v + (pos * self.dv + d) * self.elem.bytes()
    }

    fn v_scale_at(&self, head: usize, pos: usize, block: usize) -> usize {
        self.parts(head).v_scales + (pos * (self.dv / BLOCK) + block) * 2
    }

    /// Whether a head, a position and a row belong to this layout.
    fn holds(&self, head: usize, pos: usize, row: usize, dims: usize) -> bool {
        head < self.heads && pos < PAGE_POSITIONS && row == dims
    }

    /// Stores the key `[dk]` of position `pos` of the page. Does nothing if the head, the
    /// position or the row's length is not of this layout.
    ///
    /// # Safety
    /// `page` is valid for writes of [`KvLayout::page_bytes`] bytes, and nobody else accesses the
    /// bytes of this head's key at this position meanwhile. Those of different heads, positions,
    /// and of keys and values are disjoint.
    pub unsafe fn store_k(&self, page: *mut u8, head: usize, pos: usize, key: &[f32]) {
        if !self.holds(head, pos, key.len(), self.dk) {
            return;
        }
        let stride = TILE * self.elem.bytes();
        // SAFETY: by `holds`, all offsets are inside the page, and they depend on head and
        // position in a way that keeps keys apart.
        unsafe {
            let to = page.add(self.k_at(head, pos, 0));
            let scale = |block| page.add(self.k_scale_at(head, pos, block));
            store(self.elem, key, to, stride, scale);
        }
    }

    /// Stores the value `[dv]` of position `pos` of the page. Does nothing if the head, the
    /// position or the row's length is not of this layout.
    ///
    /// # Safety
    /// As for [`KvLayout::store_k`], for this head's value at this position.
    pub unsafe fn store_v(&self, page: *mut u8, head: usize, pos: usize, value: &[f32]) {
        if !self.holds(head, pos, value.len(), self.dv) {
            return;
        }
        // SAFETY: as in `store_k`.
        unsafe {
            let to = page.add(self.v_at(head, pos, 0));
            let scale = |block| page.add(self.v_scale_at(head, pos, block));
            store(self.elem, value, to, self.elem.bytes(), scale);
        }
    }

    /// Reads a key back: the definition of what attention sees. `false`, and nothing written, if
    /// the page is too short or the head, the position or the length is not of this layout.
    pub fn load_k(&self, page: &[u8], head: usize, pos: usize, out: &mut [f32]) -> bool {
        if page.len() < self.page_bytes() || !self.holds(head, pos, out.len(), self.dk) {
            return false;
        }
        for (d, out) in out.iter_mut().enumerate() {
            *out = self.read(
                page,
                self.k_at(head, pos, d),
                self.k_scale_at(head, pos, d / BLOCK),
            );
        }
        true
    }

    /// Reads a value back; see [`KvLayout::load_k`].
    pub fn load_v(&self, page: &[u8], head: usize, pos: usize, out: &mut [f32]) -> bool {
        if page.len() < self.page_bytes() || !self.holds(head, pos, out.len(), self.dv) {
            return false;
        }
        for (d, out) in out.iter_mut().enumerate() {
            *out = self.read(
                page,
                self.v_at(head, pos, d),
                self.v_scale_at(head, pos, d / BLOCK),
            );
        }
        true
    }

    /// Zeroes the keys and values of positions `from..to` of a page, so that nothing of them is left in
    /// memory. What lies outside of the page or the bytes is left alone.
    pub fn forget(&self, page: &mut [u8], from: usize, to: usize) {
        let to = to.min(PAGE_POSITIONS);
        let mut zero = |from: usize, to: usize| {
            if let Some(bytes) = page.get_mut(from..to) {
                wipe(bytes);
            }
        };
        if from >= to {
            return;
        }
        for head in 0..self.heads {
            zero(self.v_at(head, from, 0), self.v_at(head, to, 0));
            if self.elem == KvElem::Q8_0 {
                zero(self.v_scale_at(head, from, 0), self.v_scale_at(head, to, 0));
            }
            // A tile of keys has the lanes of a position apart; whole tiles lie together.
            for tile in from / TILE..to.div_ceil(TILE) {
                let first = tile * TILE;
                let (lanes_from, lanes_to) = (from.max(first), to.min(first + TILE));
                if lanes_to - lanes_from == TILE {
                    zero(self.k_at(head, first, 0), self.k_at(head, first + TILE, 0));
                    if self.elem == KvElem::Q8_0 {
                        let scales = |pos| self.k_scale_at(head, pos, 0);
                        zero(scales(first), scales(first + TILE));
                    }
                    continue;
                }
                let bytes = (lanes_to - lanes_from) * self.elem.bytes();
                for d in 0..self.dk {
                    let at = self.k_at(head, lanes_from, d);
                    zero(at, at + bytes);
                }
                if self.elem == KvElem::Q8_0 {
                    for block in 0..self.dk / BLOCK {
                        let at = self.k_scale_at(head, lanes_from, block);
                        zero(at, at + (lanes_to - lanes_from) * 2);
                    }
                }
            }
        }
    }

    fn read(&self, page: &[u8], at: usize, scale_at: usize) -> f32 {
        fn bytes<const N: usize>(page: &[u8], at: usize) -> [u8; N] {
            page.get(at..)
                .and_then(|p| p.first_chunk())
                .copied()
                .unwrap_or([0; N])
        }
        match self.elem {
            KvElem::F32 => f32::from_le_bytes(bytes(page, at)),
            KvElem::F16 => f16::from_le_bytes(bytes(page, at)).to_f32(),
            KvElem::Q8_0 => {
                let [q] = bytes(page, at);
                f32::from(q as i8) * f16::from_le_bytes(bytes(page, scale_at)).to_f32()
            }
        }
    }
}

/// The nearest value that is finite in f16; NaN stays NaN.
fn saturated(x: f32) -> f32 {
    // Not f32::clamp, only to say that NaN passes both comparisons.
    let x = if x > 65504.0 { 65504.0 } else { x };
    if x < -65504.0 { -65504.0 } else { x }
}

/// Nearest f16, saturated; NaN stays NaN.
fn to_f16(x: f32) -> [u8; 2] {
    f16::from_f32(saturated(x)).to_le_bytes()
}

/// Writes elements from `to` on, `stride` bytes apart, and the scale of block `b` at `scale(b)`.
///
/// # Safety
/// All these addresses are valid for writes.
unsafe fn store(
    elem: KvElem,
    row: &[f32],
    to: *mut u8,
    stride: usize,
    scale: impl Fn(usize) -> *mut u8,
) {
    match elem {
        KvElem::F32 => {
            for (d, x) in row.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    to.add(d * stride)
                        .cast::<[u8; 4]>()
                        .write_unaligned(x.to_le_bytes())
                }
            }
        }
        KvElem::F16 => {
            // Converted many at a time: one by one it takes longer than rope.
            let (mut wide, mut narrow) = ([0.0; BLOCK], [f16::ZERO; BLOCK]);
            for (b, block) in row.chunks(BLOCK).enumerate() {
                for (wide, &x) in wide.iter_mut().zip(block) {
                    *wide = saturated(x);
                }
                narrow.convert_from_f32_slice(&wide);
                for (i, x) in narrow.iter().take(block.len()).enumerate() {
                    // SAFETY: the caller's.
                    unsafe {
                        to.add((b * BLOCK + i) * stride)
                            .cast::<[u8; 2]>()
                            .write_unaligned(x.to_le_bytes())
                    }
                }
            }
        }
        KvElem::Q8_0 => {
            for (b, block) in row.chunks(BLOCK).enumerate() {
                let finite = block.iter().all(|x| x.is_finite());
                let amax = block
                    .iter()
                    .fold(0.0f32, |m, x| if x.abs() > m { x.abs() } else { m });
                let (d, inverse) = match (finite, amax) {
                    (false, _) => (f32::NAN, 0.0),
                    (true, 0.0) => (0.0, 0.0),
                    _ => (amax / 127.0, 127.0 / amax),
                };
                // SAFETY: the caller's.
                unsafe { scale(b).cast::<[u8; 2]>().write_unaligned(to_f16(d)) }
                for (i, &x) in block.iter().enumerate() {
                    // The cast saturates (an amax below 4e-37 has an infinite inverse, and a
                    // scale of 0), and turns NaN into 0.
                    let q = (x * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                    // SAFETY: the caller's.
                    unsafe { to.add((b * BLOCK + i) * stride).write(q as u8) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 400.0 - 2.5)
            .collect()
    }

    fn rows(layout: &KvLayout, head: usize, pos: usize) -> (Vec<f32>, Vec<f32>) {
        (
            row(layout.dk(), head * 1000 + pos),
            row(layout.dv(), 7 + head * 1000 + pos * 3),
        )
    }

    fn full_page(layout: &KvLayout) -> Vec<u8> {
        let mut page = vec![0xAA; layout.page_bytes()];
        for head in 0..layout.heads() {
            for pos in 0..PAGE_POSITIONS {
                let (k, v) = rows(layout, head, pos);
                // SAFETY: the page has the layout's size.
                unsafe {
                    layout.store_k(page.as_mut_ptr(), head, pos, &k);
                    layout.store_v(page.as_mut_ptr(), head, pos, &v);
                }
            }
        }
        page
    }

    /// Forgotten positions are zeros in every byte that is theirs, and the others are untouched: a page
    /// that forgot some is the page that never had them.
    #[test]
    fn what_is_forgotten_is_gone_and_nothing_else() {
        for elem in KvElem::ALL {
            for (heads, dk, dv) in [(1, 64, 64), (3, 96, 32)] {
                let layout = KvLayout::new(heads, dk, dv, elem).unwrap();
                for (from, to) in [
                    (0, 256),
                    (0, 1),
                    (255, 256),
                    (5, 9),
                    (16, 48),
                    (13, 77),
                    (9, 9),
                ] {
                    let mut page = full_page(&layout);
                    layout.forget(&mut page, from, to);
                    let mut never = vec![0; layout.page_bytes()];
                    for head in 0..heads {
                        for pos in (0..PAGE_POSITIONS).filter(|pos| !(from..to).contains(pos)) {
                            let (k, v) = rows(&layout, head, pos);
                            // SAFETY: the page has the layout's size.
                            unsafe {
                                layout.store_k(never.as_mut_ptr(), head, pos, &k);
                                layout.store_v(never.as_mut_ptr(), head, pos, &v);
                            }
                        }
                    }
                    assert!(page == never, "{elem:?} {from}..{to}");
                }
            }
        }
    }

    /// Every byte has one owner: storing everything and reading it back loses nothing.
    #[test]
    fn rows_come_back_as_defined() {
        for (heads, dk, dv) in [(1, 64, 64), (3, 96, 32), (2, 32, 128), (2, 80, 7)] {
            for elem in KvElem::ALL {
                let Ok(layout) = KvLayout::new(heads, dk, dv, elem) else {
                    assert_eq!((elem, dv), (KvElem::Q8_0, 7));
                    continue;
                };
                assert_eq!(layout.page_bytes() % 64, 0);
                let page = full_page(&layout);
                let (mut k, mut v) = (vec![0.0; dk], vec![0.0; dv]);
                for head in 0..heads {
                    for pos in 0..PAGE_POSITIONS {
                        assert!(layout.load_k(&page, head, pos, &mut k));
                        assert!(layout.load_v(&page, head, pos, &mut v));
                        let (want_k, want_v) = rows(&layout, head, pos);
                        for (got, want) in [(&k, &want_k), (&v, &want_v)] {
                            check(elem, got, want);
                        }
                    }
                }
            }
        }
    }

    /// What [`KvLayout::held`] names is all that earlier positions need, and nothing that later ones
    /// write.
    #[test]
    fn positions_are_where_they_are_said_to_be() {
        for (heads, dk, dv) in [(1, 64, 64), (3, 96, 32), (2, 80, 7)] {
            for elem in KvElem::ALL {
                let Ok(layout) = KvLayout::new(heads, dk, dv, elem) else {
                    continue;
                };
                let page = full_page(&layout);
                for n in [0, 1, 15, 16, 17, 100, 240, 255, 256, 300] {
                    let n_here = n.min(PAGE_POSITIONS);
                    let mut part = vec![0x55; page.len()];
                    let mut bytes = 0;
                    for range in layout.held(n) {
                        part[range.clone()].copy_from_slice(&page[range.clone()]);
                        bytes += range.len();
                    }
                    assert_eq!(bytes, n_here * layout.position_bytes());
                    for (head, pos) in [0, heads - 1]
                        .map(|h| [h; 256])
                        .concat()
                        .into_iter()
                        .zip((0..256).cycle())
                    {
                        let (mut k, mut v) = (vec![0.0; dk], vec![0.0; dv]);
                        if pos < n_here {
                            let (mut want_k, mut want_v) = (k.clone(), v.clone());
                            layout.load_k(&page, head, pos, &mut want_k);
                            layout.load_v(&page, head, pos, &mut want_v);
                            layout.load_k(&part, head, pos, &mut k);
                            layout.load_v(&part, head, pos, &mut v);
                            assert_eq!((k, v), (want_k, want_v));
                        } else {
                            // SAFETY: the page has the layout's size.
                            unsafe {
                                layout.store_k(part.as_mut_ptr(), head, pos, &k);
                                layout.store_v(part.as_mut_ptr(), head, pos, &v);
                            }
                        }
                    }
                    assert!(layout.held(n).all(|r| part[r.clone()] == page[r]));
                }
            }
        }
    }

    fn check(elem: KvElem, got: &[f32], want: &[f32]) {
        for (got, want) in got.chunks(BLOCK).zip(want.chunks(BLOCK)) {
            let amax = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (&got, &want) in got.iter().zip(want) {
                match elem {
                    KvElem::F32 => assert_eq!(got.to_bits(), want.to_bits()),
                    KvElem::F16 => assert_eq!(got, f16::from_f32(want).to_f32()),
                    KvElem::Q8_0 => {
                        let d = f16::from_f32(amax / 127.0).to_f32();
                        assert_eq!(got, (want * (127.0 / amax)).round_ties_even() * d);
                        assert!((got - want).abs() <= amax / 200.0);
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_are_saturated_and_nan_stays() {
        let store_one = |elem, x: f32| {
            let layout = KvLayout::new(1, 32, 32, elem).unwrap();
            let mut page = vec![0u8; layout.page_bytes()];
            let mut out = vec![0.0; 32];
            let mut row = vec![0.5; 32];
            row[3] = x;
            // SAFETY: the page has the layout's size.
            unsafe { layout.store_k(page.as_mut_ptr(), 0, 17, &row) };
            assert!(layout.load_k(&page, 0, 17, &mut out));
            (out[3], out[4])
        };
        assert_eq!(store_one(KvElem::F16, 1e9), (65504.0, 0.5));
        assert_eq!(store_one(KvElem::F16, f32::NEG_INFINITY), (-65504.0, 0.5));
        assert_eq!(store_one(KvElem::F16, 65519.9).0, 65504.0);
        assert_eq!(store_one(KvElem::F16, 1e-7).0, 2f32.powi(-23));
        assert!(store_one(KvElem::F16, f32::NAN).0.is_nan());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (a, b) = store_one(KvElem::Q8_0, bad);
            assert!(a.is_nan() && b.is_nan());
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert!(matches!(
            KvLayout::new(0, 64, 64, KvElem::F16),
            Err(KvError::Shape { .. })
        ));
        assert!(matches!(
            KvLayout::new(8, 1 << 20, 64, KvElem::F16),
            Err(KvError::Shape { .. })
        ));
        assert!(matches!(
            KvLayout::new(8, 80, 64, KvElem::Q8_0),
            Err(KvError::Blocks { .. })
        ));
        let layout = KvLayout::new(2, 64, 64, KvElem::F16).unwrap();
        let page = vec![0; layout.page_bytes()];
        assert!(!layout.load_k(&page[1..], 0, 0, &mut [0.0; 64]));
        assert!(!layout.load_k(&page, 2, 0, &mut [0.0; 64]));
        assert!(!layout.load_v(&page, 0, 256, &mut [0.0; 64]));
        assert!(!layout.load_v(&page, 0, 0, &mut [0.0; 63]));
    }
}
