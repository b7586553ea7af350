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
    /// 0 until asked, then 1 + the index of the best set.
    static BEST: AtomicU8 = AtomicU8::new(0);
    let best = match BEST.load(Relaxed) {
        0 => {
            let best = 1 + Isa::best() as u8;
            BEST.store(best, Relaxed);
            best
        }
        best => best,
    };
    // The sets are ordered, and each includes those below it.
    if (isa as u8) < best { isa } else { Isa::Scalar }
}

/// Declares functions that run on the instruction set given as their first argument.
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
                    // SAFETY: as above.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::isa::Isa::Scalar => {}
                }
            }
            let _ = isa;
            body($($arg),*)
        }
    )*};
}
pub(crate) use per_isa;
