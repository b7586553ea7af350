//! Asking for weights ahead of their use, where the processor does not do that well enough itself.
//!
//! A product with one token reads every weight once, so memory is its limit. Processors notice
//! ascending reads, but some lose the thread where a kernel reads a block in several places. One
//! thread of a Zen 5, AVX-512, 300 MiB of weights with 2048 columns, without and with asking: Q4_K
//! 18.5 and 38.8 GB/s, Q5_K 14.4 and 40.0, Q6_K 17.3 and 40.5, Q4_0 29.6 and 33.2, F16 25.0 and 30.3.
//! A Zen 4 reads them at the bandwidth of its memory by itself, and an early kernel lost up to a third
//! when asking: it is left alone. Other processors were not at hand; a hint costs little.

use std::sync::OnceLock;

/// How far ahead: of 4, 8 and 16 KiB the best, or close to it, for every format.
const BYTES: usize = 8 << 10;

/// How far ahead to ask, if at all.
#[derive(Clone, Copy)]
pub(crate) struct Ahead(Option<usize>);

impl Ahead {
    /// Not at all.
    pub(crate) const NOT: Ahead = Ahead(None);

    /// What suits this processor.
    #[inline]
    pub(crate) fn of_this_cpu() -> Ahead {
        static PAYS: OnceLock<bool> = OnceLock::new();
        Ahead(PAYS.get_or_init(|| !reads_ahead_itself()).then_some(BYTES))
    }

    /// Asks for what lies ahead of the `part`th of `parts` equal parts of `bytes` bytes at `p`.
    #[inline(always)]
    pub(crate) fn fetch(self, p: *const u8, bytes: usize, part: usize, parts: usize) {
        if let Some(ahead) = self.0 {
            let each = bytes / parts;
            let from = p.wrapping_add(ahead + part * each);
            for line in 0..each.div_ceil(LINE) {
                fetch(from.wrapping_add(line * LINE));
            }
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the line of memory that `p` is in, which need not exist.
#[inline(always)]
pub(crate) fn fetch(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it faults at no address, and changes nothing.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Whether asking is known to do harm: on AMD's family 19h, Zen 3 and Zen 4.
#[cfg(target_arch = "x86_64")]
fn reads_ahead_itself() -> bool {
    use core::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    // "AuthenticAMD", four letters a register; the family as AMD's manual of CPUID defines it.
    let is_amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes)
        == [*b"Auth", *b"enti", *b"cAMD"];
    let version = __cpuid(1).eax;
    let (base, extended) = (version >> 8 & 0xf, version >> 20 & 0xff);
    is_amd && base == 0xf && base + extended == 0x19
}

/// There is no such instruction in use here.
#[cfg(not(target_arch = "x86_64"))]
fn reads_ahead_itself() -> bool {
    true
}
