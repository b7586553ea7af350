//! The executor's machine: a forward pass lowered to regions over an arena, walked by all workers.
//!
//! A [`Program`] is data: buffers, and regions that read and write them. [`Machine::new`] checks
//! it once (shapes, order of definition, bounds) and lays its buffers out; from then on
//! [`Machine::run`] is safe to call with any batch. The engine builds programs by lowering a
//! plan; nothing here knows a file, a model name or a token's text.
//!
//! Every worker walks the same list. A region is one of three shapes of work:
//! - [`Region::Rows`]: steps that treat each row by itself (norms, rotation, activation);
//! - [`Region::Linear`]: matrix products over tiles of weights;
//! - [`Region::Attend`]: attention over the KV pages.
//!
//! Workers meet at a barrier after each region, except after a *replicated* one: when a batch
//! has few rows, a `Rows` region that touches no cache is cheaper to repeat on each worker (into
//! a private copy of its outputs) than to share and wait for. Both give the same bits.

mod attend;
mod cache;
mod ceiling;
mod check;
mod layout;
mod machine;
mod products;
mod profile;
mod rows;

pub use crate::aligned::AlignedBytes;
pub use cache::KvCache;
pub use machine::{Batch, Machine, RunError, Seq, decode_bytes, working_bytes};
pub use profile::{Profile, RegionProfile};

use crate::act::ActFormat;
use crate::format::Format;
use crate::kv::KvLayout;
use crate::linear::{Matrix, PackedMatrix, RowMatrix};
use crate::rope::{RopeStyle, RopeTable};
use std::ops::Range;
use std::sync::Arc;

/// Batches of at most this many tokens repeat small row-wise work on each worker.
pub const REPLICATED_ROWS: usize = 4;

/// Positions in a KV page, and in a span of attention.
pub const PAGE_POSITIONS: usize = crate::kv::PAGE_POSITIONS;

/// A buffer of a program: index into [`Program::bufs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// What the rows of a buffer stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Tokens of the batch.
    Tokens,
    /// Tokens whose logits are wanted.
    Outputs,
}

/// A buffer: `rows(dim) x row_bytes`, written by one step, read by later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufDecl {
    /// Rows.
    pub dim: Dim,
    /// Bytes of a row: four times the columns for f32, or [`ActFormat::row_bytes`].
    pub row_bytes: usize,
}

/// Bytes that outlive every program that reads them: a mapped file's or a buffer's.
#[derive(Clone)]
pub struct Blob {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Blob {
    /// A part of shared bytes; `None` if the range is not inside them.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Blob> {
        (*owner).as_ref().get(range.clone())?;
        Some(Blob { owner, range })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // The owner is immutable behind its `Arc`; an owner that shrank its bytes gives none.
        (*self.owner)
            .as_ref()
            .get(self.range.clone())
            .unwrap_or(&[])
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.range.len())
    }
}

/// A weight matrix `[rows, cols]` that a program holds on to.
#[derive(Clone, Debug)]
pub struct WeightMatrix {
    blob: Blob,
    format: Format,
    rows: usize,
    cols: usize,
    packed: bool,
    name: Option<Arc<str>>,
}

impl WeightMatrix {
    /// Checks that the bytes are exactly a matrix of that format and shape.
    pub fn new(
        blob: Blob,
        format: Format,
        rows: usize,
        cols: usize,
        packed: bool,
    ) -> Result<WeightMatrix, ProgramError> {
        let m = WeightMatrix {
            blob,
            format,
            rows,
            cols,
            packed,
            name: None,
        };
        m.view()?;
        Ok(m)
    }

    /// The same matrix with a name, which reports show.
    pub fn named(mut self, name: &str) -> WeightMatrix {
        self.name = Some(name.into());
        self
    }

    /// Its name; empty if it was given none.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The view that kernels take.
    pub fn view(&self) -> Result<Matrix<'_>, ProgramError> {
        let bytes = self.blob.bytes();
        let view = match self.packed {
            true => PackedMatrix::new(self.format, self.rows, self.cols, bytes).map(Matrix::Packed),
            false => RowMatrix::new(self.format, self.rows, self.cols, bytes).map(Matrix::Rows),
        };
        view.map_err(|e| ProgramError::Shape(e.to_string()))
    }

    /// Block format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Whether it is in tiles of 16 rows, and not row after row.
    pub fn packed(&self) -> bool {
        self.packed
    }

    /// Its bytes, in that order.
    pub fn data(&self) -> &[u8] {
        self.blob.bytes()
    }

    /// Bytes of the matrix.
    pub fn bytes(&self) -> usize {
        self.blob.range.len()
    }
}

/// Elementwise functions of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Map {
    /// `x * s`
    Scale(f32),
    /// `cap * tanh(x / cap)`
    Softcap(f32),
}

/// Elementwise functions of two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zip {
    /// `a + b`
    Add,
    /// `silu(a) * b`
    SiluMul,
    /// `gelu_tanh(a) * b`
    GeluTanhMul,
}

/// One step of a [`Region::Rows`], on one row.
#[derive(Clone, Debug)]
pub enum RowStep {
    /// `out = [cos; dims/2][sin; dims/2]` of the row's position.
    RopeAngles {
        /// Frequencies.
        table: Arc<RopeTable>,
        /// `[tokens, dims]`
        out: BufId,
    },
    /// `out = dequantized row id of table, times scale`
    Embed {
        /// `[vocab, cols]`
        table: WeightMatrix,
        /// Factor.
        scale: f32,
        /// `[tokens, cols]`
        out: BufId,
    },
    /// RMS norm of each of `groups` equal parts.
    RmsNorm {
        /// Input.
        x: BufId,
        /// One part's weights.
        weight: Arc<[f32]>,
        /// Added to the mean square.
        eps: f32,
        /// Parts in a row.
        groups: usize,
        /// Output.
        out: BufId,
    },
    /// The activations that a linear step of that format reads.
    Quantize {
        /// f32 input.
        x: BufId,
        /// Target form.
        format: ActFormat,
        /// Rows of [`ActFormat::row_bytes`].
        out: BufId,
    },
    /// `out = x + v`
    AddVector {
        /// Input.
        x: BufId,
        /// A row's worth of addends.
        v: Arc<[f32]>,
        /// Output.
        out: BufId,
    },
    /// Rotates the first `dims` elements of each head.
    Rope {
        /// `[tokens, heads * head_dim]`
        x: BufId,
        /// Heads in a row.
        heads: usize,
        /// Pairing.
        style: RopeStyle,
        /// From [`RowStep::RopeAngles`].
        angles: BufId,
        /// As `x`.
        out: BufId,
    },
    /// Writes the row's keys and values to its sequence's cache, at its position.
    KvStore {
        /// Index into [`Program::states`].
        state: usize,
        /// `[tokens, heads * dk]`
        k: BufId,
        /// `[tokens, heads * dv]`
        v: BufId,
    },
    /// Elementwise, one input.
    Map {
        /// Function.
        f: Map,
        /// Input.
        x: BufId,
        /// Output.
        out: BufId,
    },
    /// Elementwise, two inputs.
    Zip {
        /// Function.
        f: Zip,
        /// First input.
        a: BufId,
        /// Second input.
        b: BufId,
        /// Output.
        out: BufId,
    },
    /// Takes the token row of each output.
    Select {
        /// `[tokens, n]`
        x: BufId,
        /// `[outputs, n]`
        out: BufId,
    },
}

/// One matrix product of a [`Region::Linear`].
#[derive(Clone, Debug)]
pub struct LinearJob {
    /// `[out, in]`
    pub weight: WeightMatrix,
    /// Rows of the weight's [`Format::activation`] form.
    pub acts: BufId,
    /// Added to the product: `out = base + W x`.
    pub base: Option<BufId>,
    /// `[rows, out]`
    pub out: BufId,
}

/// Softmax attention of one layer.
#[derive(Clone, Debug)]
pub struct Attend {
    /// Index into [`Program::states`].
    pub state: usize,
    /// `[tokens, heads * dk]`
    pub q: BufId,
    /// Query heads.
    pub heads: usize,
    /// Factor on scores.
    pub scale: f32,
    /// Positions seen, the query's own included; `None` for all before it.
    pub window: Option<usize>,
    /// Soft cap on scores.
    pub softcap: Option<f32>,
    /// `[tokens, heads * dv]`
    pub out: BufId,
}

/// A stretch of work between two barriers.
#[derive(Clone, Debug)]
pub enum Region {
    /// Row by row, all steps on a row before the next row.
    Rows {
        /// Which rows.
        dim: Dim,
        /// In order.
        steps: Vec<RowStep>,
    },
    /// Independent matrix products.
    Linear {
        /// Which rows.
        dim: Dim,
        /// In any order.
        jobs: Vec<LinearJob>,
    },
    /// Attention of one layer.
    Attend(Attend),
}

impl Region {
    /// Whether workers may each repeat this region for a small batch: it writes no state.
    pub(crate) fn replicable(&self) -> bool {
        match self {
            Region::Rows { steps, .. } => {
                !steps.iter().any(|s| matches!(s, RowStep::KvStore { .. }))
            }
            Region::Linear { .. } | Region::Attend(_) => false,
        }
    }

    pub(crate) fn dim(&self) -> Dim {
        match self {
            Region::Rows { dim, .. } | Region::Linear { dim, .. } => *dim,
            Region::Attend(_) => Dim::Tokens,
        }
    }

    /// Buffers read, then buffers written, in step order.
    pub(crate) fn accesses(&self) -> Vec<(Vec<BufId>, Option<BufId>)> {
        match self {
            Region::Rows { steps, .. } => steps.iter().map(RowStep::accesses).collect(),
            Region::Linear { jobs, .. } => jobs
                .iter()
                .map(|j| (std::iter::once(j.acts).chain(j.base).collect(), Some(j.out)))
                .collect(),
            Region::Attend(a) => vec![(vec![a.q], Some(a.out))],
        }
    }
}

impl RowStep {
    /// The name that reports show.
    pub const fn name(&self) -> &'static str {
        match self {
            RowStep::RopeAngles { .. } => "rope_angles",
            RowStep::Embed { .. } => "embed",
            RowStep::RmsNorm { .. } => "rms_norm",
            RowStep::Quantize { .. } => "quantize",
            RowStep::AddVector { .. } => "add_bias",
            RowStep::Rope { .. } => "rope",
            RowStep::KvStore { .. } => "kv_store",
            RowStep::Map { f, .. } => match f {
                Map::Scale(_) => "scale",
                Map::Softcap(_) => "softcap",
            },
            RowStep::Zip { f, .. } => match f {
                Zip::Add => "add",
                Zip::SiluMul => "silu_mul",
                Zip::GeluTanhMul => "gelu_mul",
            },
            RowStep::Select { .. } => "select",
        }
    }

    pub(crate) fn accesses(&self) -> (Vec<BufId>, Option<BufId>) {
        match *self {
            RowStep::RopeAngles { out, .. } | RowStep::Embed { out, .. } => (vec![], Some(out)),
            RowStep::RmsNorm { x, out, .. }
            | RowStep::Quantize { x, out, .. }
            | RowStep::AddVector { x, out, .. }
            | RowStep::Map { x, out, .. }
            | RowStep::Select { x, out } => (vec![x], Some(out)),
            RowStep::Rope { x, angles, out, .. } => (vec![x, angles], Some(out)),
            RowStep::KvStore { k, v, .. } => (vec![k, v], None),
            RowStep::Zip { a, b, out, .. } => (vec![a, b], Some(out)),
        }
    }
}

/// A lowered forward pass.
#[derive(Clone, Debug)]
pub struct Program {
    /// Buffers by [`BufId`].
    pub bufs: Vec<BufDecl>,
    /// Work in order.
    pub regions: Vec<Region>,
    /// Layouts of the sequences' caches, one a layer.
    pub states: Vec<KvLayout>,
    /// `[outputs, vocab]` of f32.
    pub logits: BufId,
}

/// Why a program was refused.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ProgramError {
    /// Two shapes that must agree do not.
    #[error("{0}")]
    Shape(String),
    /// A buffer is read before it is written, or written twice.
    #[error("buffer {0} is {1}")]
    Order(u32, &'static str),
    /// The arena cannot be allocated.
    #[error(
        "cannot allocate {0} bytes of working memory; use a smaller batch or close other programs"
    )]
    Memory(usize),
    /// The thread pool cannot be started.
    #[error("cannot start the thread pool: {0}")]
    Threads(String),
}
