//! One body, many instruction sets: the macro that compiles a safe function once per [`Isa`].
//!
//! In: a function in plain Rust. Out: the same function with an `isa` argument before the others.
//! rustc never reorders or contracts floating-point operations, so the compiled versions give the
//! same bits by construction; only their speed differs.

use crate::isa::Isa;

/// The set to run: `isa` itself, or the scalar definition (the same bits) if the CPU lacks it.
/// Callers choose their set with [`Isa::choose`], which refuses such a set by name; this check
/// only keeps a safe function sound whatever it is given.
#[inline]
pub(crate) fn proven(isa: Isa) -> Isa {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
    /// A bit for each available set; 0 until asked, as the first, scalar code, always is.
    static AVAILABLE: AtomicU8 = AtomicU8::new(0);
    const { assert!(Isa::ALL.len() <= 8) };
    let mut available = AVAILABLE.load(Relaxed);
    if available == 0 {
        available = Isa::available()
            .into_iter()
            .fold(0, |bits, isa| bits | 1 << isa as u8);
        AVAILABLE.store(available, Relaxed);
    }
    if available >> isa as u8 & 1 == 1 {
        isa
    } else {
        Isa::Scalar
    }
}

/// Declares functions that run on the instruction set given as their first argument.
///
/// On ARM64 one compilation serves all: its baseline has the vectors and the fused multiply-add that
/// these bodies want, and what later sets add (integer dot products) they have no use for.
macro_rules! per_isa {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    )*) => {$(
        $(#[$meta])*
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(
                    enable = "avx2,fma,f16c,bmi1,bmi2,avx512f,avx512bw,avx512vl,avx512dq"
                )]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                match $crate::dispatch::proven(isa) {
                    // SAFETY: `proven` returns only a set that this CPU has.
                    $crate::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // What VNNI adds, integer dot products, is of no use to these bodies.
                    $crate::isa::Isa::AvxVnni | $crate::isa::Isa::Avx2 => {
                        // SAFETY: as above; AvxVnni includes Avx2.
                        return unsafe { avx2($($arg),*) };
                    }
                    _ => {}
                }
            }
            let _ = isa;
            body($($arg),*)
        }
    )*};
}
pub(crate) use per_isa;
