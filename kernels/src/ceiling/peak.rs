//! Multiply-add peaks: as many as an instruction set can do in registers.

use std::hint::black_box;

use super::figure::Figure;
use crate::isa::Isa;

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Elem {
    /// 8-bit integers into 32-bit sums: quantized weights.
    Int8,
    /// bfloat16 into f32 sums.
    Bf16,
    /// f32, fused: float weights and attention.
    F32,
}

impl Elem {
    /// All.
    pub const ALL: [Elem; 3] = [Elem::Int8, Elem::Bf16, Elem::F32];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Elem::Int8 => "int8",
            Elem::Bf16 => "bf16",
            Elem::F32 => "f32",
        }
    }
}

/// A measured multiply-add peak.
#[derive(Clone, Debug)]
pub struct Peak {
    /// What is multiplied.
    pub elem: Elem,
    /// With which instruction set.
    pub isa: Isa,
    /// On how many threads at once.
    pub threads: usize,
    /// All threads together.
    pub gmac_s: Figure,
}

/// A loop of multiply-adds.
#[derive(Clone, Copy)]
pub(super) struct Loop {
    /// Needs what [`Loop::new`] looked for.
    run: unsafe fn(usize),
    /// Multiply-adds of an iteration.
    pub(super) macs: usize,
}

impl Loop {
    /// Runs so many iterations.
    #[inline]
    pub(super) fn run(&self, iterations: usize) {
        // SAFETY: `new` has seen that the CPU has the instructions.
        unsafe { (self.run)(iterations) }
    }

    /// The loop of an instruction set that this CPU has; `None` if the set has no such
    /// instruction, so that kernels of it do not use the type either.
    pub(super) fn new(isa: Isa, elem: Elem) -> Option<Loop> {
        if !isa.is_available() {
            return None;
        }
        if let Some(special) = Loop::special(isa, elem) {
            return Some(special);
        }
        match elem {
            // The compiler's best for the target's baseline.
            Elem::Int8 => Some(Loop {
                run: int8,
                macs: INT8,
            }),
            Elem::F32 => Some(Loop {
                run: f32,
                macs: F32,
            }),
            Elem::Bf16 => None,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn special(isa: Isa, elem: Elem) -> Option<Loop> {
        use super::x86;
        let (run, macs): (unsafe fn(usize), _) = match (isa, elem) {
            (Isa::Avx512, Elem::Int8) => (x86::int8_512, x86::INT8_512),
            (Isa::Avx512, Elem::Bf16) if is_x86_feature_detected!("avx512bf16") => {
                (x86::bf16_512, x86::BF16_512)
            }
            (Isa::Avx512, Elem::F32) => (x86::f32_512, x86::F32_512),
            (Isa::AvxVnni, Elem::Int8) => (x86::int8_vnni, x86::INT8_VNNI),
            (Isa::Avx2, Elem::Int8) => (x86::int8_256, x86::INT8_256),
            (Isa::Avx2 | Isa::AvxVnni, Elem::F32) => (x86::f32_256, x86::F32_256),
            _ => return None,
        };
        Some(Loop { run, macs })
    }

    #[cfg(target_arch = "aarch64")]
    fn special(isa: Isa, elem: Elem) -> Option<Loop> {
        use super::aarch64 as arm;
        let (run, macs): (unsafe fn(usize), _) = match (isa, elem) {
            (Isa::I8mm, Elem::Int8) => (arm::int8_i8mm, arm::INT8_I8MM),
            (Isa::Dotprod, Elem::Int8) => (arm::int8_dotprod, arm::INT8_DOTPROD),
            (Isa::Neon, Elem::Int8) => (arm::int8_neon, arm::INT8_NEON),
            (Isa::Neon | Isa::Dotprod | Isa::I8mm, Elem::F32) => (arm::f32_neon, arm::F32_NEON),
            _ => return None,
        };
        Some(Loop { run, macs })
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn special(_: Isa, _: Elem) -> Option<Loop> {
        None
    }
}

const INT8: usize = 32;

/// 32 sums of products of bytes, as portable code writes them.
fn int8(iterations: usize) {
    let (mut a, b) = (black_box([3_i8; INT8]), black_box([-5_i8; INT8]));
    let mut sums = [0_i32; INT8];
    for _ in 0..iterations {
        black_box(&mut a);
        for ((sum, &a), &b) in sums.iter_mut().zip(&a).zip(&b) {
            *sum = sum.wrapping_add(i32::from(a) * i32::from(b));
        }
    }
    black_box(sums);
}

const F32: usize = 32;

/// 32 chains of fused multiply-adds, as the definitions of the kernels write them: a call of the
/// system's function each, where the target's baseline has no such instruction.
fn f32(iterations: usize) {
    let mut a = black_box([0.5_f32; F32]);
    let mut sums = black_box([0.0_f32; F32]);
    for _ in 0..iterations {
        black_box(&mut a);
        for (sum, &a) in sums.iter_mut().zip(&a) {
            *sum = a.mul_add(a, *sum);
        }
    }
    black_box(sums);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_has_peaks() {
        for isa in Isa::available() {
            for elem in [Elem::Int8, Elem::F32] {
                let l = Loop::new(isa, elem).unwrap();
                assert!(l.macs > 0);
                l.run(10);
            }
            if let Some(l) = Loop::new(isa, Elem::Bf16) {
                l.run(10);
            }
        }
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
            assert!(Loop::new(isa, Elem::Int8).is_none());
        }
    }
}
