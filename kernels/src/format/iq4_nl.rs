//! IQ4_NL: 32 weights, 4 bits into a table of 16 uneven levels, one scale; `w = d * level[q]`.
//!
//! | bytes  | field    | content                                                |
//! |--------|----------|--------------------------------------------------------|
//! | 0..2   | `d`      | f16                                                    |
//! | 2..18  | `qs[16]` | byte j: element j in the low nibble, j + 16 in the high |
//!
//! Source: ggml `block_iq4_nl`; gguf-py `IQ4_NL`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::search::{Grid, IQ4_LEVELS, Iq4, inverse, symmetric_fit};

/// Bytes of a block.
pub(super) const BYTES: usize = 18;
const D: usize = 0;
const QS: usize = 2;

pub(super) struct Iq4Nl;

impl Block32<BYTES> for Iq4Nl {
    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        let mut q = [0; 32];
        for j in 0..16 {
            q[j] = IQ4_LEVELS[usize::from(block[QS + j] & 15)];
            q[j + 16] = IQ4_LEVELS[usize::from(block[QS + j] >> 4)];
        }
        Weights32 {
            d: half_at(block, D),
            m: 0.0,
            q,
        }
    }

    /// The scale of the least squared error, weighted by magnitude.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let mut block = [0; BYTES];
        let id = inverse(put_half(&mut block, D, symmetric_fit::<Iq4, 32>(x)));
        for j in 0..16 {
            block[QS + j] = Iq4::code(x[j] * id) | (Iq4::code(x[j + 16] * id) << 4);
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
