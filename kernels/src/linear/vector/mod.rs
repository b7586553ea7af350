//! The linear kernels, written once over the vector operations of an instruction set.
//!
//! A *panel* is a stretch of a tile along the columns: whole block columns of 16 interleaved rows
//! (see [`crate::pack`]). A panel kernel continues the 16 chains of every token of a group through
//! the panel; the chains' values come in and leave in memory, so where panels are cut, and which
//! tokens go together, cannot change a bit. The tokens share every decoded group of weights.
//!
//! - [`simd`]: the operations;
//! - [`floats`], [`block32`], [`block256`]: the kernels of the three families of formats, each with
//!   a trait that says what a format must be able to read;
//! - [`formats32`], [`formats256`]: how each format is read;
//! - [`walk`]: leads tokens past the tiles of a matrix;
//! - [`gemm`]: the same products for many tokens.

// An index is an address in a tile as much as one in an array.
#![allow(clippy::needless_range_loop)]

pub(crate) mod block256;
pub(crate) mod block32;
pub(crate) mod floats;
pub(crate) mod formats256;
pub(crate) mod formats32;
pub(crate) mod gemm;
pub(crate) mod interleave;
pub(crate) mod simd;
pub(crate) mod walk;

pub(crate) use self::gemm::Gemm;
use self::interleave::Interleaver;
use crate::act::ActLayout;
use crate::pack::TILE_ROWS;

/// The most tokens that one call of a panel kernel takes. Decoding weights costs about as much as
/// multiplying them with two tokens, so with 16 it is a small part; and 16 tokens' activations of a
/// superblock, 4 KiB, stay in the first cache.
pub(crate) const GROUP: usize = 16;

/// Activations of a group of tokens, as pointers to the first token's parts.
#[derive(Clone, Copy)]
pub(crate) struct Acts {
    /// Quants, or floats.
    pub(crate) q: *const u8,
    /// Scales.
    pub(crate) d: *const f32,
    /// Sums of quants.
    pub(crate) sums: *const i32,
    /// Bytes from one token's parts to the next token's.
    pub(crate) stride: usize,
}

impl Acts {
    /// Rows that start at `row` and are `stride` bytes apart.
    pub(crate) fn of(at: ActLayout, row: *const u8, stride: usize) -> Acts {
        Acts {
            q: row.wrapping_add(at.q),
            d: row.wrapping_add(at.d).cast(),
            sums: row.wrapping_add(at.sums).cast(),
            stride,
        }
    }

    /// The activations of the `t`th token after the first.
    #[inline(always)]
    pub(crate) fn token(&self, t: usize) -> Acts {
        let offset = t * self.stride;
        Acts {
            q: self.q.wrapping_byte_add(offset),
            d: self.d.wrapping_byte_add(offset),
            sums: self.sums.wrapping_byte_add(offset),
            stride: self.stride,
        }
    }
}

/// One chain for each row of a tile.
pub(crate) type Chains = [f32; TILE_ROWS];

/// Continues `chains` (one [`Chains`] a token) through `blocks` blocks at `panel`, which meet the
/// activations from block `first` on; from zero, whatever they were, if that is 0.
///
/// # Safety
/// The CPU has the instruction set; `panel` is readable for `blocks` blocks of 16 rows; `acts` is
/// readable for `tokens` rows with at least `first + blocks` blocks, floats 4-byte aligned; `chains`
/// is valid for `tokens`, at most [`GROUP`].
pub(crate) type PanelFn = unsafe fn(
    panel: *const u8,
    first: usize,
    blocks: usize,
    acts: &Acts,
    tokens: usize,
    chains: *mut Chains,
);

/// Makes the chains of `tokens` tokens zero if they begin. Narrower stores than the loads that follow
/// would make those wait.
///
/// # Safety
/// As [`PanelFn`], for any blocks.
#[inline(always)]
pub(crate) unsafe fn start<S: simd::Simd>(first: usize, tokens: usize, chains: *mut Chains) {
    if first == 0 {
        for part in 0..tokens * S::PARTS {
            // SAFETY: the caller's; a part is LANES floats of a chain.
            unsafe { S::store_f32(chains.cast::<f32>().add(part * S::LANES), S::splat_f32(0.0)) }
        }
    }
}
