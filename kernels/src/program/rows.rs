//! Row-wise steps: each treats one row of its inputs and writes one row of its output.

use super::machine::Shared;
use super::{BufId, Map, RowStep, Zip};
use crate::{act, format, pack, rowwise};

/// One row of the batch, as one worker sees it. Whoever makes one promises what [`step`] asks for;
/// in return its accessors are safe to call.
struct Row<'a> {
    s: &'a Shared<'a>,
    worker: usize,
    row: usize,
}

impl<'a> Row<'a> {
    fn floats(&self, b: BufId) -> &'a [f32] {
        self.floats_of(b, self.row)
    }

    fn floats_of(&self, b: BufId, row: usize) -> &'a [f32] {
        // SAFETY: `check` proved that the input was written before and has this row; the layout
        // keeps the buffers of a phase apart, so no step writes it meanwhile.
        unsafe { self.s.floats(b, self.worker, row) }
    }

    fn out(&self, b: BufId) -> &'a mut [f32] {
        // SAFETY: the row of the output is this worker's alone, and each step writes one output.
        unsafe { self.s.floats_mut(b, self.worker, self.row) }
    }

    fn out_bytes(&self, b: BufId) -> &'a mut [u8] {
        // SAFETY: as in `out`.
        unsafe { self.s.bytes_mut(b, self.worker, self.row) }
    }

    fn scratch(&self) -> &'a mut [u8] {
        // SAFETY: this worker's own, and one step at a time uses it.
        unsafe { self.s.scratch(self.worker) }
    }
}

/// Runs one step on one row.
///
/// # Safety
/// The program was checked, `row` is below the batch's count for the region's rows, and no other
/// worker touches this row of the step's output (in this worker's view of it) at the same time.
pub(super) unsafe fn step(s: &Shared<'_>, worker: usize, row: usize, step: &RowStep) {
    let isa = s.isa;
    let r = Row { s, worker, row };
    match step {
        RowStep::RopeAngles { table, out } => {
            let (cos, sin) = r.out(*out).split_at_mut(table.dims() / 2);
            table.fill(s.position(row), cos, sin);
        }
        RowStep::Embed { table, scale, out } => {
            let out = r.out(*out);
            embed(s, table, s.id(row), r.scratch(), out);
            if *scale != 1.0 {
                rowwise::scale_assign(isa, out, *scale);
            }
        }
        RowStep::RmsNorm {
            x,
            weight,
            eps,
            groups: _,
            out,
        } => {
            let n = weight.len();
            for (x, out) in r
                .floats(*x)
                .chunks_exact(n)
                .zip(r.out(*out).chunks_exact_mut(n))
            {
                rowwise::rms_norm(isa, x, Some(weight), *eps, out);
            }
        }
        RowStep::Quantize { x, format, out } => {
            // Cannot fail: `check` proved the lengths, and the arena is aligned.
            if act::quantize_row(isa, *format, r.floats(*x), r.out_bytes(*out)).is_err() {
                s.fault();
            }
        }
        RowStep::AddVector { x, v, out } => rowwise::add(isa, r.floats(*x), v, r.out(*out)),
        RowStep::Rope {
            x,
            heads,
            style,
            angles,
            out,
        } => {
            let out = r.out(*out);
            out.copy_from_slice(r.floats(*x));
            let angles = r.floats(*angles);
            let (cos, sin) = angles.split_at(angles.len() / 2);
            let head_dim = out.len() / heads;
            for head in out.chunks_exact_mut(head_dim) {
                rowwise::rope(isa, head, cos, sin, *style);
            }
        }
        RowStep::KvStore { state, k, v } => {
            // SAFETY: the row is this worker's, so its position's bytes are too.
            unsafe { s.kv_store(*state, row, r.floats(*k), r.floats(*v)) }
        }
        RowStep::Map { f, x, out } => match *f {
            Map::Scale(by) => rowwise::scale(isa, r.floats(*x), by, r.out(*out)),
            Map::Softcap(cap) => rowwise::softcap(isa, r.floats(*x), cap, r.out(*out)),
        },
        RowStep::Zip { f, a, b, out } => {
            let (a, b, out) = (r.floats(*a), r.floats(*b), r.out(*out));
            match f {
                Zip::Add => rowwise::add(isa, a, b, out),
                Zip::SiluMul => rowwise::silu_mul(isa, a, b, out),
                Zip::GeluTanhMul => rowwise::gelu_tanh_mul(isa, a, b, out),
            }
        }
        RowStep::Select { x, out } => r
            .out(*out)
            .copy_from_slice(r.floats_of(*x, s.output_row(row))),
    }
}

/// Dequantizes row `id` of the table; gathers it first if the table is packed.
fn embed(
    s: &Shared<'_>,
    table: &super::WeightMatrix,
    id: usize,
    scratch: &mut [u8],
    out: &mut [f32],
) {
    let bytes = table.blob.bytes();
    let n = table.format.row_bytes(table.cols).unwrap_or(0);
    let result = if table.packed {
        let row = scratch.get_mut(..n).unwrap_or_default();
        pack::unpack_row(table.format, table.cols, bytes, table.rows, id, row)
            .and_then(|()| format::dequantize(table.format, row, out))
    } else {
        format::dequantize(
            table.format,
            bytes.get(id * n..(id + 1) * n).unwrap_or_default(),
            out,
        )
    };
    if result.is_err() {
        // The shapes were checked, so only bytes that vanished under us lead here; NaN logits
        // turn it into an error for the caller.
        out.fill(f32::NAN);
        s.fault();
    }
}
