//! The vector operations that linear kernels are written in, once for all instruction sets.
//!
//! A [`Simd`] type names an instruction set. One 32-bit lane belongs to one of a tile's 16 rows, so
//! a set whose vectors are narrower than 16 lanes takes a tile in [`Simd::PARTS`] parts. Every
//! operation is exact (integers) or correctly rounded (floats), so all sets give the same bits.

use crate::pack::TILE_ROWS;

/// From how many tokens on a product is quicker in register tiles ([`super::gemm`]), where weights
/// are decoded once for all tokens, than in panels, where they are decoded once for 16 and stay in
/// registers. Not below [`crate::linear::TILED_TOKENS`].
pub(crate) struct TilesFrom {
    /// Blocks of 32 with 4 bits.
    pub(crate) four: usize,
    /// Blocks of 32 with 5 bits.
    pub(crate) five: usize,
    /// Blocks of 32 with 8 bits, or looked up.
    pub(crate) eight: usize,
    /// Superblocks.
    pub(crate) superblocks: usize,
}

/// An instruction set with vectors of [`Simd::LANES`] 32-bit lanes.
///
/// # Safety
/// All functions are unsafe for the same two reasons, and say nothing further: the CPU must have
/// the instruction set, and a pointer must be readable for as many bytes as the name says. They are
/// `#[inline(always)]` and lack `#[target_feature]` themselves, so they must be called from a
/// function that has it.
pub(crate) trait Simd: Copy {
    /// A vector of integers: bytes or 32-bit lanes.
    type I: Copy;
    /// A vector of f32.
    type F: Copy;
    /// An integer scale for each row, in the form that [`Simd::add_scaled_dot`] wants.
    type Scale: Copy;

    /// Rows a vector.
    const LANES: usize;
    /// Bytes a vector.
    const BYTES: usize = 4 * Self::LANES;
    /// Vectors that make up the 16 rows of a tile.
    const PARTS: usize = TILE_ROWS / Self::LANES;
    /// Tokens that the float kernels keep in registers.
    const WIDE_FLOATS: bool;
    /// From how many tokens on register tiles are quicker than panels.
    const TILES_FROM: TilesFrom;
    /// Tokens of a register tile (see [`super::gemm`]): 4, 8 or 12.
    const TILE_TOKENS: usize;
    /// What [`Simd::from_i8`] adds to an 8-bit quant: 128 where weights must be unsigned, or 0.
    const BIAS8: i32;
    /// In register tiles, the one bias that all formats with a bias have: their quants are raised to
    /// it, and it is subtracted by beginning each sum at that many times minus the activations' sum,
    /// which costs nothing. `None` where quants must stay as narrow as they are.
    const TILE_BIAS: Option<i32>;

    // Bytes.
    unsafe fn load(p: *const u8) -> Self::I;
    unsafe fn store(p: *mut u8, a: Self::I);
    /// The 16 bytes, repeated along the vector.
    unsafe fn load_table(table: &[u8; 16]) -> Self::I;
    unsafe fn splat_u8(x: u8) -> Self::I;
    unsafe fn and(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    /// `a + b` of bytes, wrapping.
    unsafe fn add_u8(a: Self::I, b: Self::I) -> Self::I;
    /// Shifts 32-bit lanes right, filling with zeros.
    unsafe fn shr(a: Self::I, n: usize) -> Self::I;
    /// Moves bit `from` of every byte to bit `to`; other bits are zero.
    unsafe fn move_bit(a: Self::I, from: usize, to: usize) -> Self::I;
    /// Moves bits `from` and `from + 1` of every byte to bits `to` and `to + 1`; others are zero.
    unsafe fn move_two_bits(a: Self::I, from: usize, to: usize) -> Self::I;
    /// `table[i]` for every byte `i` (below 16).
    unsafe fn look_up(table: Self::I, i: Self::I) -> Self::I;
    /// `value` in every byte whose bit is set in the 64-bit mask at `p`, else 0; of part `part`.
    unsafe fn bytes_from_bits(p: *const u8, part: usize, value: u8) -> Self::I;
    /// Signed bytes, as the dot products want 8-bit quants: plus [`Simd::BIAS8`].
    unsafe fn from_i8(a: Self::I) -> Self::I;

    // 32-bit integers.
    unsafe fn zero() -> Self::I;
    unsafe fn splat_i32(x: i32) -> Self::I;
    /// `a + b`, wrapping.
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    /// `a * by`, wrapping.
    unsafe fn mul_i32(a: Self::I, by: i32) -> Self::I;
    /// Row by row, i16 pairs `(first, second) * by` of the signed bytes at the two pointers.
    unsafe fn i16_pairs(first: *const u8, second: *const u8, by: i16) -> Self::I;
    /// `acc + a.0 * b.0 + a.1 * b.1` of i16 pairs; `b` is one pair for all rows.
    unsafe fn add_pair_dot(acc: Self::I, a: Self::I, b: u32) -> Self::I;
    /// The scales of the rows from signed bytes at `p`.
    unsafe fn load_scale(p: *const u8) -> Self::Scale;

    /// For each of C tokens, `acc += sum of q * a` over `4 * LEN` positions of K. `q[i]` holds
    /// positions `4i..4i + 4` of every row, unsigned below `2^BITS`, or of [`Simd::from_i8`] where
    /// `BITS` is 8. `a` points to the token's signed bytes. Exact.
    unsafe fn add_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [Self::I; C],
        q: &[Self::I; LEN],
        a: &[*const u8; C],
    );
    /// As [`Simd::add_dot`], with each row's sum multiplied by its scale.
    unsafe fn add_scaled_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [Self::I; C],
        q: &[Self::I; LEN],
        a: &[*const u8; C],
        scale: Self::Scale,
    );

    /// As [`Simd::add_dot`], with weights and activations in memory: vectors of weights 64 bytes
    /// apart at `w`, and the tokens' bytes interleaved, `[LEN][C][4]`, at `a`.
    unsafe fn add_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [Self::I; C],
        w: *const u8,
        a: *const u8,
    );
    /// As [`Simd::add_tile_dot`], with each row's sum multiplied by its scale. Sums begin at `start`,
    /// which is zero where there is no [`Simd::TILE_BIAS`].
    unsafe fn add_scaled_tile_dot<const BITS: u32, const LEN: usize, const C: usize>(
        acc: &mut [Self::I; C],
        start: [Self::I; C],
        w: *const u8,
        a: *const u8,
        scale: Self::Scale,
    );

    // Floats.
    unsafe fn to_f32(a: Self::I) -> Self::F;
    unsafe fn load_f32(p: *const u8) -> Self::F;
    unsafe fn load_f16(p: *const u8) -> Self::F;
    unsafe fn load_bf16(p: *const u8) -> Self::F;
    /// `2^(e - 128)` of bytes `e`: MXFP4's scale for its doubled table.
    unsafe fn load_e8m0_half(p: *const u8) -> Self::F;
    unsafe fn store_f32(p: *mut f32, a: Self::F);
    unsafe fn splat_f32(x: f32) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `-(a * b) + c`, rounded once.
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}
