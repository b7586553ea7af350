//! Q8_0: 32 weights, 8 bits and one scale; `w = d * q`.
//!
//! | bytes  | field    | content      |
//! |--------|----------|--------------|
//! | 0..2   | `d`      | f16          |
//! | 2..34  | `qs[32]` | i8, in order |
//!
//! Source: ggml `block_q8_0`; gguf-py `Q8_0`.

use super::block::{Block32, Weights32, half_at, nan_scale, put_half};
use super::search::{inverse, round_away, signed_extreme};

/// Bytes of a block.
pub(super) const BYTES: usize = 34;
const D: usize = 0;
const QS: usize = 2;

pub(super) struct Q8_0;

impl Block32<BYTES> for Q8_0 {
    fn unpack(block: &[u8; BYTES]) -> Weights32 {
        let mut q = [0; 32];
        for j in 0..32 {
            q[j] = block[QS + j] as i8;
        }
        Weights32 {
            d: half_at(block, D),
            m: 0.0,
            q,
        }
    }

    /// The largest magnitude becomes 127; halves round away from zero, as in ggml.
    fn quantize(x: &[f32; 32]) -> [u8; BYTES] {
        let d = signed_extreme(x).abs() / 127.0;
        let id = inverse(d);
        let mut block = [0; BYTES];
        put_half(&mut block, D, d);
        for (b, v) in block[QS..].iter_mut().zip(x) {
            *b = round_away(v * id) as i8 as u8;
        }
        block
    }

    fn poison() -> [u8; BYTES] {
        nan_scale(D)
    }
}
