//! A model seen without loading it: what `hob show` prints.

use crate::engine::EngineOptions;
use crate::error::LoadError;
use crate::load::{self, Prepared};
use crate::memory::MemoryPlan;
use hob_kernels::program::{Dim, Program, Region, RowStep};
use hob_models::files::ModelFiles;
use hob_models::plan::{Model, Op, Val};
use hob_models::template::ChatTemplates;
use std::fmt::Write;
use std::path::Path;

/// How much of a model is in one block format.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatShare {
    /// The format's GGUF name.
    pub name: &'static str,
    /// Tensors in it.
    pub tensors: usize,
    /// Bytes of those.
    pub bytes: u64,
}

/// What a model file says of itself, and what hob makes of it.
pub struct Inspection {
    /// The name in the file.
    pub name: Option<String>,
    /// Hyper-parameters and plan.
    pub model: Model,
    /// Exact memory figures for the options given.
    pub memory: MemoryPlan,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Formats, by falling share of bytes.
    pub formats: Vec<FormatShare>,
    /// The file is in hob's packed layout.
    pub packed_file: bool,
    /// The kind of tokenizer, or why there is none.
    pub tokenizer: String,
    /// The file's chat templates; `None` for a base model.
    pub templates: Option<ChatTemplates>,
    /// Worker threads that the figures assume.
    pub threads: usize,
    program: Program,
}

impl Inspection {
    /// Reads a model's header and plans it, without reading its weights.
    ///
    /// # Errors
    /// As [`crate::Engine::load`].
    pub fn open(path: impl AsRef<Path>, options: &EngineOptions) -> Result<Inspection, LoadError> {
        Inspection::of(load::open(path.as_ref(), &options.weights)?, options)
    }

    /// The second half of [`Inspection::open`], after [`crate::Engine::open`]: opens nothing.
    ///
    /// # Errors
    /// As [`crate::Engine::load`].
    pub fn of(files: ModelFiles, options: &EngineOptions) -> Result<Inspection, LoadError> {
        files.clone().checked(Inspection::read(files, options))
    }

    fn read(files: ModelFiles, options: &EngineOptions) -> Result<Inspection, LoadError> {
        let threads = crate::engine::threads(options);
        let prepared = Prepared::new(files)?;
        let memory = prepared.memory_plan(options, threads)?;
        let program = prepared.program(options.kv)?;
        let (parameters, formats) = prepared.formats();
        Ok(Inspection {
            name: prepared.name(),
            memory,
            parameters,
            formats,
            packed_file: prepared.packed_file(),
            tokenizer: prepared.tokenizer_kind(),
            templates: prepared.templates,
            threads,
            program,
            model: prepared.model,
        })
    }

    /// The plan as the architecture declares it, an operation a line.
    pub fn plan_text(&self) -> String {
        let mut out = String::new();
        for op in &self.model.plan.ops {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {}", self.op_text(op));
        }
        out
    }

    fn op_text(&self, op: &Op) -> String {
        let m = &self.model;
        let shape = |v: Val| {
            let value = m.plan.value(v);
            format!("%{}[{:?}, {}]", v.0, value.rows, value.cols).to_lowercase()
        };
        let weight = |w: hob_models::plan::WeightId| {
            m.weights.get(w.0 as usize).map_or("?", |w| w.name.as_str())
        };
        let kv = |s: hob_models::plan::StateId| format!("kv{}", s.0);
        match op {
            Op::Embed { table, scale, out } => {
                format!("{} = embed {} x {scale}", shape(*out), weight(*table))
            }
            Op::RmsNorm {
                x,
                weight: w,
                eps,
                groups,
                out,
            } => {
                format!(
                    "{} = rms_norm %{} {} eps {eps} groups {groups}",
                    shape(*out),
                    x.0,
                    weight(*w)
                )
            }
            Op::Linear {
                x,
                weight: w,
                bias,
                out,
            } => {
                let bias = bias.map_or(String::new(), |b| format!(" + {}", weight(b)));
                format!("{} = linear %{} {}{bias}", shape(*out), x.0, weight(*w))
            }
            Op::Rope {
                x,
                heads,
                rope,
                out,
            } => format!("{} = rope{} %{} heads {heads}", shape(*out), rope.0, x.0),
            Op::KvWrite { state, k, v } => format!("{} <- %{}, %{}", kv(*state), k.0, v.0),
            Op::Attend {
                state,
                q,
                heads,
                scale,
                mask,
                softcap,
                out,
            } => {
                let cap = softcap.map_or(String::new(), |c| format!(" softcap {c}"));
                format!(
                    "{} = attend %{} {} heads {heads} scale {scale} {mask:?}{cap}",
                    shape(*out),
                    q.0,
                    kv(*state)
                )
            }
            Op::Unary { f, x, out } => format!("{} = {f:?} %{}", shape(*out), x.0),
            Op::Binary { f, a, b, out } => format!("{} = {f:?} %{} %{}", shape(*out), a.0, b.0),
            Op::SelectOutputs { x, out } => format!("{} = select_outputs %{}", shape(*out), x.0),
        }
    }

    /// The plan as the CPU runs it: a region a line, its steps behind it.
    pub fn program_text(&self) -> String {
        let mut out = String::new();
        for (i, region) in self.program.regions.iter().enumerate() {
            let line = match region {
                Region::Rows { dim, steps } => {
                    let steps: Vec<&str> = steps.iter().map(RowStep::name).collect();
                    format!("rows/{}: {}", dim_name(*dim), steps.join(", "))
                }
                Region::Linear { dim, jobs } => {
                    let jobs: Vec<String> = jobs
                        .iter()
                        .map(|j| {
                            let add = if j.base.is_some() { " + residual" } else { "" };
                            format!(
                                "{}[{}, {}]{add}",
                                j.weight.format().name(),
                                j.weight.rows(),
                                j.weight.cols()
                            )
                        })
                        .collect();
                    format!("linear/{}: {}", dim_name(*dim), jobs.join(", "))
                }
                Region::Attend(a) => format!("attend: kv{} heads {}", a.state, a.heads),
            };
            let _ = writeln!(out, "  {i:>4} {line}");
        }
        out
    }
}

fn dim_name(dim: Dim) -> &'static str {
    match dim {
        Dim::Tokens => "tokens",
        Dim::Outputs => "outputs",
    }
}
