//! Compiling the kernels of [`super::vector`] for an instruction set: the same on every architecture.

/// Compiles the panel kernels of every format for the instruction set `$isa`, whose target features
/// are `$features`, and defines `panel_function`, which finds them.
macro_rules! panel_functions {
    ($isa:ty, $features:literal) => {
        use crate::format::Format;
        use crate::linear::vector::{
            Acts, Chains, PanelFn, block32, block256, floats, formats32, formats256,
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
            unsafe { floats::run::<$isa, F, PARTS>(panel, first, blocks, acts, tokens, chains) }
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
            unsafe { block32::run::<$isa, B, PARTS>(panel, first, blocks, acts, tokens, chains) }
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
            unsafe { block256::run::<$isa, B>(panel, first, blocks, acts, tokens, chains) }
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

pub(super) use panel_functions;
