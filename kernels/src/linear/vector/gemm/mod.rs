//! Products with many tokens: weights are decoded once into a panel that stays in the second cache,
//! and tiles of 16 rows by up to [`MAX_TOKENS`] tokens are accumulated in registers.
//!
//! - [`panel`]: decoding block columns of 16 rows into a panel, for blocks of 32 and superblocks;
//! - [`acts`]: activations of a group of tokens interleaved, so that a tile reads them in one stream;
//! - [`tile`]: the register-tiled kernels, which know a panel's layout and no format;
//! - [`sweep`]: leads panels and groups past each other, and stores what comes out.
//!
//! The chains are those of the panel kernels beside this module: the same operations in the same
//! order, and so the same bits.

pub(crate) mod acts;
pub(crate) mod panel;
pub(crate) mod sweep;
pub(crate) mod tile;

use super::Chains;

/// The most tokens of a register tile: 12 sums and 12 chains, a vector of weights and a few
/// temporaries fill the 32 registers of AVX-512.
pub(crate) const MAX_TOKENS: usize = 12;

/// Tokens come in groups of a multiple of this many; missing ones are zeros that nobody stores.
pub(crate) const STEP: usize = 4;

/// Decodes `blocks` blocks of 16 interleaved rows at `from` into the panel at `to`.
///
/// # Safety
/// The CPU has the instruction set; `from` is readable for the blocks, `to` writable for as many
/// blocks of the panel, 64-byte aligned.
pub(crate) type DecodeFn = unsafe fn(from: *const u8, blocks: usize, to: *mut u8);

/// Continues the chains of a tile, one [`Chains`] for each token of the group, through `blocks`
/// blocks of a panel and of interleaved activations; from zero, whatever they were, with `start`.
///
/// # Safety
/// The CPU has the instruction set; `panel` and `acts` are readable for the blocks and the number of
/// tokens that the function was made for; `chains` is valid for these.
pub(crate) type TileFn =
    unsafe fn(panel: *const u8, blocks: usize, acts: *const u8, chains: *mut Chains, start: bool);

/// How one format is multiplied on one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Gemm {
    pub(crate) decode: DecodeFn,
    /// Bytes of a block of 16 rows in a panel, a multiple of 64.
    pub(crate) panel_bytes: usize,
    /// The kernels for 4, 8 and 12 tokens; only those up to `tokens` are called.
    pub(crate) tiles: [TileFn; 3],
    /// Tokens of a full group.
    pub(crate) tokens: usize,
    /// What interleaved sums are multiplied by: see [`acts`].
    pub(crate) factor: i32,
    /// From how many tokens on this is the quicker way.
    pub(crate) from: usize,
}
