//! Compiling the kernels of [`super::vector`] for an instruction set: the same on every architecture.

/// The register-tiled kernels for 4, 8 and 12 tokens of one parametrization. Those beyond a full
/// group of the instruction set are never called: they repeat the first.
macro_rules! tiles {
    ($isa:ty, $function:ident $(, $parameter:ident)*) => {{
        const C8: usize = if <$isa as Simd>::TILE_TOKENS >= 8 { 8 } else { 4 };
        const C12: usize = if <$isa as Simd>::TILE_TOKENS >= 12 { 12 } else { 4 };
        [
            $function::<$($parameter,)* 4>,
            $function::<$($parameter,)* C8>,
            $function::<$($parameter,)* C12>,
        ]
    }};
}

/// How a format's panel is decoded, how large its blocks are, and the kernels that read it.
macro_rules! gemm_parts {
    ($isa:ty, block32 $f:ident) => {{
        type B = formats32::$f;
        const BITS: u32 = block32::bits::<B>();
        const BIAS: i32 = panel::tile_bias::<$isa>(block32::bias::<$isa, B>());
        const HAS_MIN: bool = <B as block32::Block32>::HAS_MIN;
        (
            decode32::<B>,
            panel::block32_bytes::<B>(),
            tiles!($isa, tile32, BITS, BIAS, HAS_MIN),
            match BITS {
                4 => <$isa as Simd>::TILES_FROM.four,
                5 => <$isa as Simd>::TILES_FROM.five,
                _ => <$isa as Simd>::TILES_FROM.eight,
            },
        )
    }};
    ($isa:ty, block256 $f:ident) => {{
        type B = formats256::$f;
        const BITS: u32 = block256::bits::<B>();
        const SUB: usize = <B as block256::Block256>::SUB;
        const HAS_MIN: bool = <B as block256::Block256>::DMIN.is_some();
        const HAS_BIAS: bool = !HAS_MIN && block256::bias::<$isa, B>() != 0;
        (
            decode256::<B>,
            panel::BLOCK256_BYTES,
            tiles!($isa, tile256, BITS, SUB, HAS_BIAS, HAS_MIN),
            <$isa as Simd>::TILES_FROM.superblocks,
        )
    }};
}

/// Compiles the kernels of every format for the instruction set `$isa`, whose target features
/// are `$features`, and defines `panel_function` and `gemm`, which find them.
macro_rules! panel_functions {
    ($isa:ty, $features:literal) => {
        use crate::linear::panels::{gemm_parts, tiles};
        use crate::format::Format;
        use crate::linear::vector::gemm::{DecodeFn, Gemm, TileFn, panel, tile};
        use crate::linear::vector::{
            Acts, Chains, PanelFn, block32, block256, floats, formats32, formats256, start,
        };

        /// # Safety
        /// As [`PanelFn`].
        #[target_feature(enable = $features)]
        unsafe fn floats<F: floats::Float>(
            panel: *const u8,
            first: usize,
            blocks: usize,
            acts: &Acts,
            tokens: usize,
            chains: *mut Chains,
        ) {
            const PARTS: usize = <$isa as Simd>::PARTS;
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe {
                start::<$isa>(first, tokens, chains);
                floats::run::<$isa, F, PARTS>(panel, first, blocks, acts, tokens, chains)
            }
        }

        /// # Safety
        /// As [`PanelFn`].
        #[target_feature(enable = $features)]
        unsafe fn block32<B: block32::Block32>(
            panel: *const u8,
            first: usize,
            blocks: usize,
            acts: &Acts,
            tokens: usize,
            chains: *mut Chains,
        ) {
            const PARTS: usize = <$isa as Simd>::PARTS;
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe {
                start::<$isa>(first, tokens, chains);
                block32::run::<$isa, B, PARTS>(panel, first, blocks, acts, tokens, chains)
            }
        }

        /// # Safety
        /// As [`PanelFn`].
        #[target_feature(enable = $features)]
        unsafe fn block256<B: block256::Block256>(
            panel: *const u8,
            first: usize,
            blocks: usize,
            acts: &Acts,
            tokens: usize,
            chains: *mut Chains,
        ) {
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe {
                start::<$isa>(first, tokens, chains);
                block256::run::<$isa, B>(panel, first, blocks, acts, tokens, chains)
            }
        }

        /// # Safety
        /// As [`DecodeFn`].
        #[target_feature(enable = $features)]
        unsafe fn decode32<B: block32::Block32>(from: *const u8, blocks: usize, to: *mut u8) {
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe { panel::block32::<$isa, B>(from, blocks, to) }
        }

        /// # Safety
        /// As [`DecodeFn`].
        #[target_feature(enable = $features)]
        unsafe fn decode256<B: block256::Block256>(from: *const u8, blocks: usize, to: *mut u8) {
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe { panel::block256::<$isa, B>(from, blocks, to) }
        }

        /// # Safety
        /// As [`TileFn`].
        #[target_feature(enable = $features)]
        unsafe fn tile32<const BITS: u32, const BIAS: i32, const HAS_MIN: bool, const C: usize>(
            panel: *const u8,
            blocks: usize,
            acts: *const u8,
            chains: *mut Chains,
            start: bool,
        ) {
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe { tile::block32::<$isa, BITS, BIAS, HAS_MIN, C>(panel, blocks, acts, chains, start) }
        }

        /// # Safety
        /// As [`TileFn`].
        #[target_feature(enable = $features)]
        unsafe fn tile256<
            const BITS: u32,
            const SUB: usize,
            const HAS_BIAS: bool,
            const HAS_MIN: bool,
            const C: usize,
        >(
            panel: *const u8,
            blocks: usize,
            acts: *const u8,
            chains: *mut Chains,
            start: bool,
        ) {
            // SAFETY: the caller's; the features are those of the instruction set.
            unsafe {
                tile::block256::<$isa, BITS, SUB, HAS_BIAS, HAS_MIN, C>(
                    panel, blocks, acts, chains, start,
                );
            }
        }

        /// How a format is multiplied in register tiles; floats are not.
        pub(in crate::linear) fn gemm(format: Format) -> Option<Gemm> {
            let (decode, panel_bytes, tiles, from): (DecodeFn, usize, [TileFn; 3], usize) = match format {
                Format::F32 | Format::F16 | Format::BF16 => return None,
                Format::Q4_0 => gemm_parts!($isa, block32 Q4_0),
                Format::Q4_1 => gemm_parts!($isa, block32 Q4_1),
                Format::Q5_0 => gemm_parts!($isa, block32 Q5_0),
                Format::Q5_1 => gemm_parts!($isa, block32 Q5_1),
                Format::Q8_0 => gemm_parts!($isa, block32 Q8_0),
                Format::Iq4Nl => gemm_parts!($isa, block32 Iq4Nl),
                Format::Mxfp4 => gemm_parts!($isa, block32 Mxfp4),
                Format::Q2K => gemm_parts!($isa, block256 Q2K),
                Format::Q3K => gemm_parts!($isa, block256 Q3K),
                Format::Q4K => gemm_parts!($isa, block256 Q4K),
                Format::Q5K => gemm_parts!($isa, block256 Q5K),
                Format::Q6K => gemm_parts!($isa, block256 Q6K),
                Format::Iq4Xs => gemm_parts!($isa, block256 Iq4Xs),
            };
            debug_assert!(from >= crate::linear::TILED_TOKENS);
            Some(Gemm {
                decode,
                panel_bytes,
                tiles,
                tokens: <$isa as Simd>::TILE_TOKENS,
                factor: match <$isa as Simd>::TILE_BIAS {
                    Some(bias) => -bias,
                    None => 1,
                },
                from,
            })
        }

        /// The panel kernel of a format.
        pub(in crate::linear) fn panel_function(format: Format) -> PanelFn {
            match format {
                Format::F32 => floats::<floats::F32>,
                Format::F16 => floats::<floats::F16>,
                Format::BF16 => floats::<floats::BF16>,
                Format::Q4_0 => block32::<formats32::Q4_0>,
                Format::Q4_1 => block32::<formats32::Q4_1>,
                Format::Q5_0 => block32::<formats32::Q5_0>,
                Format::Q5_1 => block32::<formats32::Q5_1>,
                Format::Q8_0 => block32::<formats32::Q8_0>,
                Format::Iq4Nl => block32::<formats32::Iq4Nl>,
                Format::Mxfp4 => block32::<formats32::Mxfp4>,
                Format::Q2K => block256::<formats256::Q2K>,
                Format::Q3K => block256::<formats256::Q3K>,
                Format::Q4K => block256::<formats256::Q4K>,
                Format::Q5K => block256::<formats256::Q5K>,
                Format::Q6K => block256::<formats256::Q6K>,
                Format::Iq4Xs => block256::<formats256::Iq4Xs>,
            }
        }
    };
}

pub(super) use {gemm_parts, panel_functions, tiles};
