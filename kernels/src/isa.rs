//! Which instruction set the kernels use: what exists, what this CPU has, what the user asked for.
//!
//! In: CPU detection, an option, or the environment variable [`Isa::ENV`]. Out: an [`Isa`] that the
//! CPU really has. It knows nothing of formats or kernels. All sets give the same bits, so the
//! choice is one of speed only; choosing a lower one is for tests, comparisons and bug reports.

use std::fmt;

/// An instruction set that kernels are written for. Those of one architecture are ordered from
/// slowest to fastest; a later one need not include the one before it.
///
/// Every variant exists on every architecture, so that names and tables are portable; only those
/// in [`Isa::available`] may be passed to a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isa {
    /// Portable Rust: the definition of every kernel.
    Scalar,
    /// x86-64 with `avx2,fma,f16c,bmi1,bmi2`.
    Avx2,
    /// x86-64 with all of [`Isa::Avx2`] and `avxvnni`: `vpdpbusd` and `vpdpwssd` on 256 bits, in the
    /// VEX encoding, which most CPUs with AVX-512 lack.
    AvxVnni,
    /// x86-64 with all of [`Isa::Avx2`] and `avx512f,avx512bw,avx512vl,avx512dq,avx512vnni`.
    Avx512,
    /// ARM64 as every CPU has it: Armv8.0 with Advanced SIMD.
    Neon,
    /// ARM64 with `dotprod`.
    Dotprod,
    /// ARM64 with `dotprod` and `i8mm`.
    I8mm,
}

/// Why an instruction set cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// The name is none of those that hob knows.
    #[error(
        "unknown instruction set `{name}`: this CPU can run {}; leave the choice out to get the fastest",
        Names(.available)
    )]
    Unknown {
        /// The name as given.
        name: String,
        /// What could be asked for here.
        available: Vec<Isa>,
    },
    /// The CPU lacks it.
    #[error(
        "this CPU lacks the instruction set `{isa}`: it can run {}; leave the choice out to get the fastest",
        Names(.available)
    )]
    Unavailable {
        /// The set that was asked for.
        isa: Isa,
        /// What could be asked for here.
        available: Vec<Isa>,
    },
}

struct Names<'a>(&'a [Isa]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, isa) in self.0.iter().enumerate() {
            write!(f, "{}`{isa}`", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Isa {
    /// The environment variable that [`Isa::choose`] reads when no option is given.
    pub const ENV: &str = "HOB_ISA";

    /// All sets that hob knows, in their order, whether or not this CPU has them.
    pub const ALL: [Isa; 7] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Neon,
        Isa::Dotprod,
        Isa::I8mm,
    ];

    /// The name used in options, the environment and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// The set of that name, whether or not this CPU has it. Case does not matter.
    ///
    /// # Errors
    /// [`IsaError::Unknown`] for any other name.
    pub fn from_name(name: &str) -> Result<Isa, IsaError> {
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name().eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| IsaError::Unknown {
                name: name.into(),
                available: Isa::available(),
            })
    }

    /// Whether this CPU (and its operating system) can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        // The macro caches the CPUID answer and checks that the system saves the wide registers.
        let avx2 = || {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
        };
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => avx2(),
            Isa::AvxVnni => avx2() && is_x86_feature_detected!("avxvnni"),
            Isa::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Isa::Neon | Isa::Dotprod | Isa::I8mm => false,
        }
    }

    /// Whether this CPU (and its operating system) can run it.
    #[cfg(target_arch = "aarch64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_aarch64_feature_detected;
        match self {
            // Rust's ARM64 targets take Advanced SIMD for granted.
            Isa::Scalar | Isa::Neon => true,
            Isa::Dotprod => is_aarch64_feature_detected!("dotprod"),
            Isa::I8mm => {
                is_aarch64_feature_detected!("dotprod") && is_aarch64_feature_detected!("i8mm")
            }
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => false,
        }
    }

    /// Whether this CPU (and its operating system) can run it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_available(self) -> bool {
        self == Isa::Scalar
    }

    /// What this CPU can run, slowest first; [`Isa::Scalar`] is always there.
    pub fn available() -> Vec<Isa> {
        Isa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// The fastest that this CPU can run.
    pub fn best() -> Isa {
        Isa::ALL
            .into_iter()
            .rev()
            .find(|isa| isa.is_available())
            .unwrap_or(Isa::Scalar)
    }

    /// The set to use: that of `option`, else that of the environment, else the best.
    ///
    /// # Errors
    /// The name is unknown, or names a set that this CPU lacks. It never falls back in silence.
    pub fn choose(option: Option<&str>) -> Result<Isa, IsaError> {
        let from_env = || match std::env::var_os(Isa::ENV) {
            Some(v) if !v.is_empty() => Some(v.to_string_lossy().into_owned()),
            _ => None,
        };
        match option.map(str::to_owned).or_else(from_env) {
            None => Ok(Isa::best()),
            Some(name) => match Isa::from_name(&name)? {
                isa if isa.is_available() => Ok(isa),
                isa => Err(IsaError::Unavailable {
                    isa,
                    available: Isa::available(),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inverse_and_unknown_names_are_refused() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Ok(isa));
            assert_eq!(Isa::from_name(&isa.name().to_uppercase()), Ok(isa));
        }
        let error = Isa::from_name("sse9").unwrap_err().to_string();
        assert!(
            error.contains("sse9") && error.contains("scalar"),
            "{error}"
        );
    }

    #[test]
    fn the_option_wins_and_is_never_replaced_in_silence() {
        assert_eq!(Isa::choose(Some("scalar")), Ok(Isa::Scalar));
        for isa in Isa::ALL {
            match Isa::choose(Some(isa.name())) {
                Ok(chosen) => assert_eq!(chosen, isa),
                Err(IsaError::Unavailable { isa: named, .. }) => {
                    assert!(!isa.is_available());
                    assert_eq!(named, isa);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn scalar_is_first_and_best_is_last() {
        let available = Isa::available();
        assert_eq!(available.first(), Some(&Isa::Scalar));
        assert_eq!(available.last(), Some(&Isa::best()));
    }

    #[test]
    fn what_is_available_is_of_this_architecture() {
        for isa in Isa::available() {
            assert!(match isa {
                Isa::Scalar => true,
                Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 => cfg!(target_arch = "x86_64"),
                Isa::Neon | Isa::Dotprod | Isa::I8mm => cfg!(target_arch = "aarch64"),
            });
        }
        assert_eq!(Isa::Neon.is_available(), cfg!(target_arch = "aarch64"));
    }
}
