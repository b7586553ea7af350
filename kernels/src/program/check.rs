//! Checks a program once, so that running it needs no checks: shapes of every step, definition
//! before use, one writer a buffer.

use super::{BufId, Dim, Program, ProgramError, Region, RowStep};

fn shape(what: &str, found: usize, wanted: usize) -> Result<(), ProgramError> {
    if found == wanted {
        return Ok(());
    }
    Err(ProgramError::Shape(format!(
        "{what} is {found}, but must be {wanted}"
    )))
}

pub(super) fn check(p: &Program) -> Result<(), ProgramError> {
    let mut written = vec![false; p.bufs.len()];
    for region in &p.regions {
        let before = written.clone();
        for (reads, write) in region.accesses() {
            // Jobs of one linear region run in any order: they may only read earlier regions.
            let visible = if matches!(region, Region::Rows { .. }) {
                &written
            } else {
                &before
            };
            for r in reads {
                if !visible.get(r.0 as usize).copied().unwrap_or(false) {
                    return Err(ProgramError::Order(r.0, "read before it is written"));
                }
            }
            if let Some(w) = write {
                match written.get_mut(w.0 as usize) {
                    Some(done) if !*done => *done = true,
                    _ => return Err(ProgramError::Order(w.0, "written twice or not declared")),
                }
            }
        }
        match region {
            Region::Rows { dim, steps } => steps.iter().try_for_each(|s| row_step(p, *dim, s))?,
            Region::Linear { dim, jobs } => {
                for j in jobs {
                    let act = j.weight.format().activation();
                    row(
                        p,
                        j.acts,
                        *dim,
                        act.row_bytes(j.weight.cols()),
                        "linear input row",
                    )?;
                    row(p, j.out, *dim, j.weight.rows() * 4, "linear output row")?;
                    if let Some(base) = j.base {
                        row(p, base, *dim, j.weight.rows() * 4, "linear addend row")?;
                    }
                }
            }
            Region::Attend(a) => {
                let kv = state(p, a.state)?;
                if a.heads == 0 || a.heads % kv.heads() != 0 {
                    return Err(ProgramError::Shape(format!(
                        "{} query heads on {} key heads",
                        a.heads,
                        kv.heads()
                    )));
                }
                if a.window == Some(0) {
                    return Err(ProgramError::Shape("an attention window of 0".into()));
                }
                row(p, a.q, Dim::Tokens, a.heads * kv.dk() * 4, "query row")?;
                row(
                    p,
                    a.out,
                    Dim::Tokens,
                    a.heads * kv.dv() * 4,
                    "attention output row",
                )?;
            }
        }
    }
    if !written.get(p.logits.0 as usize).copied().unwrap_or(false) {
        return Err(ProgramError::Order(
            p.logits.0,
            "the logits, but never written",
        ));
    }
    if p.bufs
        .iter()
        .any(|b| b.row_bytes == 0 || b.row_bytes % 4 != 0 || b.row_bytes > 1 << 32)
    {
        return Err(ProgramError::Shape(
            "a buffer row of no bytes, no whole floats, or over 4 GiB".into(),
        ));
    }
    match decl(p, p.logits)?.dim {
        Dim::Outputs => Ok(()),
        Dim::Tokens => Err(ProgramError::Shape(
            "the logits have a row for every token, not for every output".into(),
        )),
    }
}

fn decl(p: &Program, b: BufId) -> Result<super::BufDecl, ProgramError> {
    p.bufs
        .get(b.0 as usize)
        .copied()
        .ok_or(ProgramError::Order(b.0, "not declared"))
}

fn state(p: &Program, i: usize) -> Result<&crate::kv::KvLayout, ProgramError> {
    p.states
        .get(i)
        .ok_or_else(|| ProgramError::Shape(format!("state {i} is not declared")))
}

fn row(p: &Program, b: BufId, dim: Dim, bytes: usize, what: &str) -> Result<(), ProgramError> {
    let d = decl(p, b)?;
    if d.dim != dim {
        return Err(ProgramError::Shape(format!(
            "{what}: buffer {} has rows of {:?}, not {dim:?}",
            b.0, d.dim
        )));
    }
    shape(what, d.row_bytes, bytes)
}

fn row_step(p: &Program, dim: Dim, step: &RowStep) -> Result<(), ProgramError> {
    let bytes = |b: BufId| decl(p, b).map(|d| d.row_bytes);
    match step {
        RowStep::RopeAngles { table, out } => {
            row(p, *out, Dim::Tokens, table.dims() * 4, "rope angles")?
        }
        RowStep::Embed { table, out, .. } => {
            row(p, *out, Dim::Tokens, table.cols() * 4, "embedding row")?
        }
        RowStep::RmsNorm {
            x,
            weight,
            groups,
            out,
            ..
        } => {
            row(p, *x, dim, groups * weight.len() * 4, "norm input row")?;
            row(p, *out, dim, groups * weight.len() * 4, "norm output row")?;
        }
        RowStep::Quantize { x, format, out } => {
            let cols = bytes(*x)? / 4;
            if cols % format.block() != 0 {
                return Err(ProgramError::Shape(format!(
                    "{cols} activations are no whole blocks of {}",
                    format.block()
                )));
            }
            row(p, *x, dim, cols * 4, "activations")?;
            row(
                p,
                *out,
                dim,
                format.row_bytes(cols),
                "quantized activations",
            )?;
        }
        RowStep::AddVector { x, v, out } => {
            row(p, *x, dim, v.len() * 4, "bias input row")?;
            row(p, *out, dim, v.len() * 4, "bias output row")?;
        }
        RowStep::Rope {
            x,
            heads,
            angles,
            out,
            ..
        } => {
            let n = bytes(*x)?;
            row(p, *x, Dim::Tokens, n, "rope input row")?;
            row(p, *out, Dim::Tokens, n, "rope output row")?;
            let dims = bytes(*angles)? / 4;
            row(p, *angles, Dim::Tokens, dims * 4, "rope angles")?;
            if *heads == 0 || (n / 4) % heads != 0 || dims > n / 4 / heads || dims % 2 != 0 {
                return Err(ProgramError::Shape(format!(
                    "rope of {dims} dims on {} elements in {heads} heads",
                    n / 4
                )));
            }
        }
        RowStep::KvStore { state: s, k, v } => {
            let kv = state(p, *s)?;
            row(p, *k, Dim::Tokens, kv.heads() * kv.dk() * 4, "key row")?;
            row(p, *v, Dim::Tokens, kv.heads() * kv.dv() * 4, "value row")?;
        }
        RowStep::Map { x, out, .. } => {
            row(p, *x, dim, bytes(*x)?, "input row")?;
            row(p, *out, dim, bytes(*x)?, "output row")?;
        }
        RowStep::Zip { a, b, out, .. } => {
            let n = bytes(*a)?;
            for (buf, what) in [
                (a, "first input row"),
                (b, "second input row"),
                (out, "output row"),
            ] {
                row(p, *buf, dim, n, what)?;
            }
        }
        RowStep::Select { x, out } => {
            let n = bytes(*x)?;
            row(p, *x, Dim::Tokens, n, "selected row")?;
            row(p, *out, Dim::Outputs, n, "selection")?;
        }
    }
    let token_step = matches!(
        step,
        RowStep::RopeAngles { .. }
            | RowStep::Embed { .. }
            | RowStep::Rope { .. }
            | RowStep::KvStore { .. }
    );
    let wanted = if matches!(step, RowStep::Select { .. }) {
        Dim::Outputs
    } else {
        Dim::Tokens
    };
    if (token_step || matches!(step, RowStep::Select { .. })) && dim != wanted {
        return Err(ProgramError::Shape(format!(
            "a step on {wanted:?} in a region of {dim:?}"
        )));
    }
    Ok(())
}
