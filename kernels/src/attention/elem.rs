//! Reading keys and values of one head from a page, as vectors of f32, for each element type.

use super::lanes::{Lanes, f16_to_f32};
use crate::ahead::fetch;
use crate::kv::{BLOCK, HeadParts, TILE};

/// Where one head lies in a page, and its dims.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) page: *const u8,
    pub(super) parts: HeadParts,
    pub(super) dk: usize,
    pub(super) dv: usize,
}

/// An element type.
///
/// # Safety
/// All methods: the CPU has `L`'s instruction set; tiles, positions and dims (16 of them from a
/// vector's first) lie inside the head, and the head inside its page.
#[allow(clippy::missing_safety_doc)] // said once, above
pub(super) trait Elem {
    /// Dims that share a scale; a multiple of 16.
    const BLOCK: usize;
    /// Whether there are scales.
    const SCALED: bool = Self::BLOCK != usize::MAX;
    /// The scales of a tile's 16 keys for one block of dims.
    unsafe fn k_scales<L: Lanes>(head: &Head, tile: usize, block: usize) -> L::V;
    /// Dim `d` of a tile's 16 keys.
    unsafe fn k<L: Lanes>(head: &Head, tile: usize, d: usize, scales: L::V) -> L::V;
    /// Asks for the `d`th part of `tiles` tiles of keys from `tile` on, which may be past the last.
    #[inline(always)]
    fn fetch_k(head: &Head, tile: usize, d: usize, tiles: usize) {
        let from = head.page.wrapping_add(head.parts.k);
        let bytes = TILE * Self::BYTES;
        let from = from.wrapping_add((tile * head.dk + d * tiles) * bytes);
        for line in (0..tiles * bytes).step_by(64) {
            fetch(from.wrapping_add(line));
        }
    }
    /// Asks for dims `d..d + n` of a value, which may be past the last.
    #[inline(always)]
    fn fetch_v(head: &Head, pos: usize, d: usize, n: usize) {
        let from = head.page.wrapping_add(head.parts.v);
        let from = from.wrapping_add((pos * head.dv + d) * Self::BYTES);
        for line in (0..n * Self::BYTES).step_by(64) {
            fetch(from.wrapping_add(line));
        }
    }
    /// Bytes of an element.
    const BYTES: usize;
    /// Dims `d..d + 16` of a value, `d` a multiple of 16.
    unsafe fn v<L: Lanes>(head: &Head, pos: usize, d: usize) -> L::V;
    /// Dim `d` of a value.
    unsafe fn v_one(head: &Head, pos: usize, d: usize) -> f32;
}

impl Head {
    /// Index of dim `d` of a tile's first key.
    #[inline(always)]
    fn k_index(&self, tile: usize, d: usize) -> usize {
        (tile * self.dk + d) * TILE
    }

    #[inline(always)]
    unsafe fn k_ptr<T>(&self, tile: usize, d: usize) -> *const T {
        // SAFETY: `Elem`'s.
        unsafe {
            self.page
                .add(self.parts.k)
                .cast::<T>()
                .add(self.k_index(tile, d))
        }
    }

    #[inline(always)]
    unsafe fn v_ptr<T>(&self, pos: usize, d: usize) -> *const T {
        // SAFETY: `Elem`'s.
        unsafe {
            self.page
                .add(self.parts.v)
                .cast::<T>()
                .add(pos * self.dv + d)
        }
    }
}

pub(super) struct F32;

// SAFETY of every block below: the trait's.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Elem for F32 {
    const BYTES: usize = 4;
    const BLOCK: usize = usize::MAX;
    #[inline(always)]
    unsafe fn k_scales<L: Lanes>(_: &Head, _: usize, _: usize) -> L::V {
        unsafe { L::splat(1.0) }
    }
    #[inline(always)]
    unsafe fn k<L: Lanes>(head: &Head, tile: usize, d: usize, _: L::V) -> L::V {
        unsafe { L::load(head.k_ptr(tile, d)) }
    }
    #[inline(always)]
    unsafe fn v<L: Lanes>(head: &Head, pos: usize, d: usize) -> L::V {
        unsafe { L::load(head.v_ptr(pos, d)) }
    }
    #[inline(always)]
    unsafe fn v_one(head: &Head, pos: usize, d: usize) -> f32 {
        unsafe { head.v_ptr::<f32>(pos, d).read_unaligned() }
    }
}

pub(super) struct F16;

// SAFETY of every block below: the trait's.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Elem for F16 {
    const BYTES: usize = 2;
    const BLOCK: usize = usize::MAX;
    #[inline(always)]
    unsafe fn k_scales<L: Lanes>(_: &Head, _: usize, _: usize) -> L::V {
        unsafe { L::splat(1.0) }
    }
    #[inline(always)]
    unsafe fn k<L: Lanes>(head: &Head, tile: usize, d: usize, _: L::V) -> L::V {
        unsafe { L::load_f16(head.k_ptr(tile, d)) }
    }
    #[inline(always)]
    unsafe fn v<L: Lanes>(head: &Head, pos: usize, d: usize) -> L::V {
        unsafe { L::load_f16(head.v_ptr(pos, d)) }
    }
    #[inline(always)]
    unsafe fn v_one(head: &Head, pos: usize, d: usize) -> f32 {
        f16_to_f32(unsafe { head.v_ptr::<u16>(pos, d).read_unaligned() })
    }
}

pub(super) struct Q8;

// SAFETY of every block below: the trait's.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Elem for Q8 {
    const BYTES: usize = 1;
    const BLOCK: usize = BLOCK;
    #[inline(always)]
    unsafe fn k_scales<L: Lanes>(head: &Head, tile: usize, block: usize) -> L::V {
        unsafe {
            let scales = head.page.add(head.parts.k_scales).cast::<u16>();
            L::load_f16(scales.add((tile * (head.dk / BLOCK) + block) * TILE))
        }
    }
    #[inline(always)]
    unsafe fn k<L: Lanes>(head: &Head, tile: usize, d: usize, scales: L::V) -> L::V {
        unsafe { L::mul(L::load_i8(head.k_ptr(tile, d)), scales) }
    }
    #[inline(always)]
    unsafe fn v<L: Lanes>(head: &Head, pos: usize, d: usize) -> L::V {
        unsafe {
            L::mul(
                L::load_i8(head.v_ptr(pos, d)),
                L::splat_f16(v_scale(head, pos, d)),
            )
        }
    }
    #[inline(always)]
    unsafe fn v_one(head: &Head, pos: usize, d: usize) -> f32 {
        unsafe {
            let scale = f16_to_f32(v_scale(head, pos, d).read_unaligned());
            f32::from(head.v_ptr::<i8>(pos, d).read()) * scale
        }
    }
}

/// Where the q8_0 scale of dim `d` of a value is.
#[inline(always)]
unsafe fn v_scale(head: &Head, pos: usize, d: usize) -> *const u16 {
    // SAFETY: `Elem`'s.
    unsafe {
        let scales = head.page.add(head.parts.v_scales).cast::<u16>();
        scales.add(pos * (head.dv / BLOCK) + d / BLOCK)
    }
}
