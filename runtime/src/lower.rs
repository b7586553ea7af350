//! Lowers a plan's semantic operations to the regions that the CPU machine runs.
//!
//! Lowering changes locality, never the definition of an operation: row-wise operations that
//! follow one another become one region; products of the same input share a region and one
//! quantized copy of it; the addition of a residual moves into the product that feeds it.

use crate::error::LoadError;
use hob_kernels::act::ActFormat;
use hob_kernels::kv::{KvElem, KvLayout};
use hob_kernels::program::{
    Attend, BufDecl, BufId, Dim, LinearJob, Map, Program, Region, RowStep, WeightMatrix, Zip,
};
use hob_kernels::rope::{RopeScaling, RopeTable};
use hob_models::plan::{Binary, Mask, Model, Op, Rows, StateDecl, Unary, Val, WeightId};
use std::collections::HashMap;
use std::sync::Arc;

/// A weight as the program holds it.
#[derive(Clone, Debug)]
pub(crate) enum Loaded {
    /// In its block format.
    Matrix(WeightMatrix),
    /// As f32.
    Vector(Arc<[f32]>),
}

/// Lowers a model's plan for the CPU, with a cache of the given element type.
pub(crate) fn lower(model: &Model, weights: &[Loaded], kv: KvElem) -> Result<Program, LoadError> {
    let states = kv_layouts(model, kv)?;
    let mut l = Lower {
        model,
        weights,
        bufs: Vec::new(),
        regions: Vec::new(),
        buf_of: HashMap::new(),
        region_of: HashMap::new(),
        quantized: HashMap::new(),
        uses: vec![0; model.plan.values.len()],
        angles: Vec::new(),
        biases: Vec::new(),
    };
    for op in &model.plan.ops {
        for v in op.inputs() {
            l.uses[v.0 as usize] += 1;
        }
    }
    l.rope_angles()?;
    for op in &model.plan.ops {
        l.op(op)?;
    }
    l.flush_biases();
    let logits = l.buf(model.plan.logits)?;
    Ok(Program {
        bufs: l.bufs,
        regions: l.regions,
        states,
        logits,
    })
}

/// The cache layouts of a model's states.
pub(crate) fn kv_layouts(model: &Model, kv: KvElem) -> Result<Vec<KvLayout>, LoadError> {
    model
        .states
        .iter()
        .map(|&StateDecl::Kv { heads, dk, dv }| {
            KvLayout::new(heads as usize, dk as usize, dv as usize, kv)
                .map_err(|e| LoadError::Cache(e.to_string()))
        })
        .collect()
}

struct Lower<'a> {
    model: &'a Model,
    weights: &'a [Loaded],
    bufs: Vec<BufDecl>,
    regions: Vec<Region>,
    buf_of: HashMap<Val, BufId>,
    /// The region that writes a value.
    region_of: HashMap<Val, usize>,
    quantized: HashMap<(Val, ActFormat), BufId>,
    uses: Vec<u32>,
    angles: Vec<BufId>,
    biases: Vec<(Val, Dim, RowStep)>,
}

fn broken(what: &str) -> LoadError {
    LoadError::Plan(what.to_owned())
}

impl Lower<'_> {
    fn dim(&self, v: Val) -> Dim {
        match self.model.plan.value(v).rows {
            Rows::Tokens => Dim::Tokens,
            Rows::Outputs => Dim::Outputs,
        }
    }

    fn new_buf(&mut self, dim: Dim, row_bytes: usize) -> BufId {
        self.bufs.push(BufDecl { dim, row_bytes });
        BufId(self.bufs.len() as u32 - 1)
    }

    fn buf(&self, v: Val) -> Result<BufId, LoadError> {
        self.buf_of
            .get(&v)
            .copied()
            .ok_or_else(|| broken("a value is read before it is written"))
    }

    /// A buffer for a value that the current last region writes.
    fn define(&mut self, v: Val) -> BufId {
        let buf = self.new_buf(self.dim(v), self.model.plan.value(v).cols as usize * 4);
        self.buf_of.insert(v, buf);
        buf
    }

    fn matrix(&self, id: WeightId) -> Result<WeightMatrix, LoadError> {
        match self.weights.get(id.0 as usize) {
            Some(Loaded::Matrix(m)) => Ok(m.clone()),
            _ => Err(broken("a matrix was declared as something else")),
        }
    }

    fn vector(&self, id: WeightId) -> Result<Arc<[f32]>, LoadError> {
        match self.weights.get(id.0 as usize) {
            Some(Loaded::Vector(v)) => Ok(v.clone()),
            _ => Err(broken("a vector was declared as something else")),
        }
    }

    /// Appends a row-wise step that writes `out`, to the last region if that is row-wise too.
    fn row_step(&mut self, out: Option<Val>, dim: Dim, step: RowStep) {
        match self.regions.last_mut() {
            // A step that stores to the cache stays with the steps before it, not after.
            Some(Region::Rows { dim: d, steps }) if *d == dim => steps.push(step),
            _ => self.regions.push(Region::Rows {
                dim,
                steps: vec![step],
            }),
        }
        if let Some(v) = out {
            self.region_of.insert(v, self.regions.len() - 1);
        }
    }

    /// The angle tables come first: every layer reads them.
    fn rope_angles(&mut self) -> Result<(), LoadError> {
        for decl in &self.model.ropes {
            let scaling = match decl.factors {
                Some(id) => RopeScaling::Factors {
                    factors: self.vector(id)?.to_vec(),
                    magnitude: 1.0,
                },
                None => decl.scaling.clone(),
            };
            let table = RopeTable::new(decl.theta, decl.dims as usize, &scaling)?;
            let out = self.new_buf(Dim::Tokens, decl.dims as usize * 4);
            self.angles.push(out);
            self.row_step(
                None,
                Dim::Tokens,
                RowStep::RopeAngles {
                    table: Arc::new(table),
                    out,
                },
            );
        }
        Ok(())
    }

    /// The activations that a product of `format` reads: the value itself for floats, else one
    /// quantized copy, made where the value is made or right after.
    fn activations(&mut self, x: Val, format: ActFormat) -> Result<BufId, LoadError> {
        let from = self.buf(x)?;
        let cols = self.model.plan.value(x).cols as usize;
        if format == ActFormat::F32 && format.row_bytes(cols) == cols * 4 {
            return Ok(from);
        }
        if let Some(&done) = self.quantized.get(&(x, format)) {
            return Ok(done);
        }
        let dim = self.dim(x);
        let out = self.new_buf(dim, format.row_bytes(cols));
        self.quantized.insert((x, format), out);
        let step = RowStep::Quantize {
            x: from,
            format,
            out,
        };
        let maker = self
            .region_of
            .get(&x)
            .and_then(|&i| self.regions.get_mut(i));
        match maker {
            Some(Region::Rows { dim: d, steps }) if *d == dim => steps.push(step),
            _ => self.row_step(None, dim, step),
        }
        Ok(out)
    }

    fn op(&mut self, op: &Op) -> Result<(), LoadError> {
        let waits = |x: Val| self.biases.iter().any(|(out, ..)| *out == x);
        if !matches!(*op, Op::Linear { x, .. } if !waits(x)) {
            self.flush_biases();
        }
        match *op {
            Op::Embed { table, scale, out } => {
                let table = self.matrix(table)?;
                let buf = self.define(out);
                self.row_step(
                    Some(out),
                    Dim::Tokens,
                    RowStep::Embed {
                        table,
                        scale,
                        out: buf,
                    },
                );
            }
            Op::RmsNorm {
                x,
                weight,
                eps,
                groups,
                out,
            } => {
                let (x, weight) = (self.buf(x)?, self.vector(weight)?);
                let buf = self.define(out);
                let step = RowStep::RmsNorm {
                    x,
                    weight,
                    eps,
                    groups: groups as usize,
                    out: buf,
                };
                self.row_step(Some(out), self.dim(out), step);
            }
            Op::Linear {
                x,
                weight,
                bias,
                out,
            } => self.linear(x, weight, bias, out)?,
            Op::Rope {
                x,
                heads,
                rope,
                out,
            } => {
                let style = self
                    .model
                    .ropes
                    .get(rope.0 as usize)
                    .ok_or_else(|| broken("an undeclared rope"))?
                    .style;
                let angles = self
                    .angles
                    .get(rope.0 as usize)
                    .copied()
                    .ok_or_else(|| broken("an undeclared rope"))?;
                let x = self.buf(x)?;
                let buf = self.define(out);
                let step = RowStep::Rope {
                    x,
                    heads: heads as usize,
                    style,
                    angles,
                    out: buf,
                };
                self.row_step(Some(out), Dim::Tokens, step);
            }
            Op::KvWrite { state, k, v } => {
                let step = RowStep::KvStore {
                    state: state.0 as usize,
                    k: self.buf(k)?,
                    v: self.buf(v)?,
                };
                self.row_step(None, Dim::Tokens, step);
            }
            Op::Attend {
                state,
                q,
                heads,
                scale,
                mask,
                softcap,
                out,
            } => {
                let window = match mask {
                    Mask::Causal => None,
                    Mask::Window(n) => Some(n as usize),
                };
                let (state, heads, q) = (state.0 as usize, heads as usize, self.buf(q)?);
                let buf = self.define(out);
                self.regions.push(Region::Attend(Attend {
                    state,
                    q,
                    heads,
                    scale,
                    window,
                    softcap,
                    out: buf,
                }));
                self.region_of.insert(out, self.regions.len() - 1);
            }
            Op::Unary { f, x, out } => {
                let f = match f {
                    Unary::Scale(s) => Map::Scale(s),
                    Unary::Softcap(c) => Map::Softcap(c),
                };
                let x = self.buf(x)?;
                let buf = self.define(out);
                self.row_step(Some(out), self.dim(out), RowStep::Map { f, x, out: buf });
            }
            Op::Binary { f, a, b, out } => {
                if f == Binary::Add && self.fold_residual(a, b, out) {
                    return Ok(());
                }
                let f = match f {
                    Binary::Add => Zip::Add,
                    Binary::SiluMul => Zip::SiluMul,
                    Binary::GeluTanhMul => Zip::GeluTanhMul,
                };
                let (a, b) = (self.buf(a)?, self.buf(b)?);
                let buf = self.define(out);
                self.row_step(Some(out), self.dim(out), RowStep::Zip { f, a, b, out: buf });
            }
            Op::SelectOutputs { x, out } => {
                let x = self.buf(x)?;
                let buf = self.define(out);
                self.row_step(Some(out), Dim::Outputs, RowStep::Select { x, out: buf });
            }
        }
        Ok(())
    }

    fn linear(
        &mut self,
        x: Val,
        weight: WeightId,
        bias: Option<WeightId>,
        out: Val,
    ) -> Result<(), LoadError> {
        let weight = self.matrix(weight)?;
        let acts = self.activations(x, weight.format().activation())?;
        let dim = self.dim(x);
        let product = match bias {
            None => self.define(out),
            Some(_) => self.new_buf(dim, weight.rows() * 4),
        };
        let job = LinearJob {
            weight,
            acts,
            base: None,
            out: product,
        };
        // Where this region will be, if it may join: the last one is linear, with the same rows,
        // and does not write what this job reads.
        let joins = match self.regions.last() {
            Some(Region::Linear { dim: d, jobs }) => {
                *d == dim && jobs.iter().all(|j| j.out != acts)
            }
            _ => false,
        };
        match self.regions.last_mut() {
            Some(Region::Linear { jobs, .. }) if joins => jobs.push(job),
            _ => self.regions.push(Region::Linear {
                dim,
                jobs: vec![job],
            }),
        }
        self.region_of.insert(out, self.regions.len() - 1);
        if let Some(bias) = bias {
            let v = self.vector(bias)?;
            let buf = self.define(out);
            self.biases.push((
                out,
                dim,
                RowStep::AddVector {
                    x: product,
                    v,
                    out: buf,
                },
            ));
        }
        Ok(())
    }

    /// Biases wait until the last product of their group has joined its region.
    fn flush_biases(&mut self) {
        for (out, dim, step) in std::mem::take(&mut self.biases) {
            self.row_step(Some(out), dim, step);
        }
    }

    /// `out = a + W x` in one region, if `b = W x` was just made and nobody else reads it.
    fn fold_residual(&mut self, a: Val, b: Val, out: Val) -> bool {
        let (Ok(base), Ok(product)) = (self.buf(a), self.buf(b)) else {
            return false;
        };
        if self.uses.get(b.0 as usize) != Some(&1) {
            return false;
        }
        let Some(Region::Linear { jobs, .. }) = self.regions.last_mut() else {
            return false;
        };
        if jobs.iter().any(|j| j.out == base) {
            return false;
        }
        let Some(job) = jobs
            .iter_mut()
            .find(|j| j.out == product && j.base.is_none())
        else {
            return false;
        };
        job.base = Some(base);
        self.buf_of.insert(out, product);
        self.region_of.insert(out, self.regions.len() - 1);
        true
    }
}
