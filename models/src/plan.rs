//! A forward pass as data: the `Plan`, and the `Model` that owns it.
//!
//! An architecture (see `arch/`) turns hyper-parameters and tensor declarations into a [`Model`];
//! an executor lowers its [`Plan`] to whatever its device wants. Everything is declared before a
//! weight is touched, so memory use is known before load. Nothing here knows a file, a device or
//! a thread; values are in static single assignment form (each [`Val`] is written by one op).
//!
//! Widths are counted in f32 elements a row: a value is `[rows, cols]`, where `rows` is symbolic.

use hob_kernels::rope::{RopeScaling, RopeStyle};

/// A value of the plan: index into [`Plan::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(pub u32);

/// A declared weight: index into [`Model::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// A declared sequence state (a layer's KV cache): index into [`Model::states`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u32);

/// A declared rotary embedding: index into [`Model::ropes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RopeId(pub u32);

/// How many rows a value has, as a symbol that a batch makes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One row for each token of the batch.
    Tokens,
    /// One row for each token whose logits are wanted.
    Outputs,
}

/// The shape of a value: `[rows, cols]` of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Symbolic row count.
    pub rows: Rows,
    /// Elements in a row.
    pub cols: u32,
}

/// What a weight is, which decides how it is held in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightKind {
    /// `[rows, cols]`, stays in its block format, mapped or packed.
    Matrix,
    /// `[cols]`, copied to f32 at load (norm weights, biases, rope factors).
    Vector {
        /// Added to every element at load (Gemma's Hugging Face files store norm weights less one).
        plus: f32,
    },
}

/// A weight that the plan reads.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecl {
    /// The tensor's name in the file at hand.
    pub name: String,
    /// What it is.
    pub kind: WeightKind,
    /// Output features (1 for a vector).
    pub rows: u32,
    /// Input features; contiguous in the file.
    pub cols: u32,
}

/// State that a sequence carries between batches.
#[derive(Clone, Debug, PartialEq)]
pub enum StateDecl {
    /// Keys and values of one attention layer.
    Kv {
        /// Key/value heads.
        heads: u32,
        /// Elements of a key head.
        dk: u32,
        /// Elements of a value head.
        dv: u32,
    },
}

/// A rotary position embedding: `dims` of each head are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeDecl {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Rotated dimensions of a head (even).
    pub dims: u32,
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    /// How positions are stretched beyond the trained context.
    pub scaling: RopeScaling,
    /// A `[dims/2]` vector of per-frequency divisors stored with the weights.
    pub factors: Option<WeightId>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All positions up to its own.
    Causal,
    /// The last `n` positions, its own included.
    Window(u32),
}

/// Elementwise functions of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `x * s`
    Scale(f32),
    /// `cap * tanh(x / cap)`
    Softcap(f32),
}

/// Elementwise functions of two values of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `silu(a) * b`
    SiluMul,
    /// `gelu(a) * b`, in the tanh approximation
    GeluTanhMul,
}

/// A semantic operation. Shapes are those of the values it names.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `out[t] = table[id[t]] * scale`
    Embed {
        /// `[vocab, hidden]`
        table: WeightId,
        /// Factor on the row (1.0 for none).
        scale: f32,
        /// `[tokens, hidden]`
        out: Val,
    },
    /// Root-mean-square norm over each of `groups` equal parts of a row (one part a head).
    RmsNorm {
        /// `[rows, groups * n]`
        x: Val,
        /// `[n]`
        weight: WeightId,
        /// Added to the mean square.
        eps: f32,
        /// Parts of a row, each normed by itself.
        groups: u32,
        /// As `x`.
        out: Val,
    },
    /// `out[t, r] = dot(weight[r], x[t]) + bias[r]`
    Linear {
        /// `[rows, in]`
        x: Val,
        /// `[out, in]`
        weight: WeightId,
        /// `[out]`
        bias: Option<WeightId>,
        /// `[rows, out]`
        out: Val,
    },
    /// Rotates each head of a row by its token's position.
    Rope {
        /// `[tokens, heads * head_dim]`
        x: Val,
        /// Heads in a row.
        heads: u32,
        /// The table of angles.
        rope: RopeId,
        /// As `x`.
        out: Val,
    },
    /// Appends keys and values at their tokens' positions.
    KvWrite {
        /// The layer's cache.
        state: StateId,
        /// `[tokens, kv_heads * dk]`
        k: Val,
        /// `[tokens, kv_heads * dv]`
        v: Val,
    },
    /// Softmax attention of each query head over its group's cached keys and values.
    Attend {
        /// The layer's cache.
        state: StateId,
        /// `[tokens, heads * dk]`
        q: Val,
        /// Query heads (a multiple of the state's heads).
        heads: u32,
        /// Factor on each score.
        scale: f32,
        /// Which keys a query sees.
        mask: Mask,
        /// `cap * tanh(score / cap)` on each scaled score.
        softcap: Option<f32>,
        /// `[tokens, heads * dv]`
        out: Val,
    },
    /// Elementwise, one input.
    Unary {
        /// The function.
        f: Unary,
        /// Input.
        x: Val,
        /// As `x`.
        out: Val,
    },
    /// Elementwise, two inputs of one shape.
    Binary {
        /// The function.
        f: Binary,
        /// First input.
        a: Val,
        /// Second input.
        b: Val,
        /// As `a` and `b`.
        out: Val,
    },
    /// Keeps the rows whose logits are wanted.
    SelectOutputs {
        /// `[tokens, n]`
        x: Val,
        /// `[outputs, n]`
        out: Val,
    },
}

impl Op {
    /// The value this op writes, if it writes one (`KvWrite` writes state).
    pub fn out(&self) -> Option<Val> {
        match *self {
            Op::Embed { out, .. }
            | Op::RmsNorm { out, .. }
            | Op::Linear { out, .. }
            | Op::Rope { out, .. }
            | Op::Attend { out, .. }
            | Op::Unary { out, .. }
            | Op::Binary { out, .. }
            | Op::SelectOutputs { out, .. } => Some(out),
            Op::KvWrite { .. } => None,
        }
    }

    /// The values this op reads.
    pub fn inputs(&self) -> impl Iterator<Item = Val> + use<> {
        let pair = match *self {
            Op::Embed { .. } => [None, None],
            Op::RmsNorm { x, .. }
            | Op::Linear { x, .. }
            | Op::Rope { x, .. }
            | Op::Unary { x, .. }
            | Op::SelectOutputs { x, .. } => [Some(x), None],
            Op::Attend { q, .. } => [Some(q), None],
            Op::KvWrite { k, v, .. } => [Some(k), Some(v)],
            Op::Binary { a, b, .. } => [Some(a), Some(b)],
        };
        pair.into_iter().flatten()
    }
}

/// One forward pass: values in single assignment form, ops in order, and the value that holds
/// the logits, `[outputs, vocab]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Shapes of all values.
    pub values: Vec<Value>,
    /// Operations in execution order.
    pub ops: Vec<Op>,
    /// `[outputs, vocab]`
    pub logits: Val,
}

impl Plan {
    /// The shape of a value of this plan.
    pub fn value(&self, v: Val) -> Value {
        // A `Val` is only made by the builder of its plan, which pushes the value first.
        self.values[v.0 as usize]
    }
}

/// A model: what it reads, what it remembers, and what it computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Architecture name as the file gives it.
    pub arch: String,
    /// Hyper-parameters that the caller may want to show.
    pub hparams: crate::arch::HParams,
    /// Weights by [`WeightId`].
    pub weights: Vec<WeightDecl>,
    /// Sequence states by [`StateId`].
    pub states: Vec<StateDecl>,
    /// Rotary tables by [`RopeId`].
    pub ropes: Vec<RopeDecl>,
    /// The text-to-logits pass.
    pub plan: Plan,
}

/// Appends operations, declaring values and weights as it goes. Architectures use it through
/// the shared blocks in `arch/blocks.rs`.
#[derive(Debug, Default)]
pub struct Builder {
    pub(crate) values: Vec<Value>,
    pub(crate) ops: Vec<Op>,
    pub(crate) weights: Vec<WeightDecl>,
    pub(crate) states: Vec<StateDecl>,
    pub(crate) ropes: Vec<RopeDecl>,
}

impl Builder {
    fn value(&mut self, rows: Rows, cols: u32) -> Val {
        self.values.push(Value { rows, cols });
        Val(self.values.len() as u32 - 1)
    }

    fn like(&mut self, v: Val) -> Val {
        let Value { rows, cols } = self.values[v.0 as usize];
        self.value(rows, cols)
    }

    fn cols(&self, v: Val) -> u32 {
        self.values[v.0 as usize].cols
    }

    /// Declares a weight; the same name declared again is the same weight (tied embeddings).
    pub fn weight(&mut self, decl: WeightDecl) -> WeightId {
        if let Some(i) = self.weights.iter().position(|w| w.name == decl.name) {
            return WeightId(i as u32);
        }
        self.weights.push(decl);
        WeightId(self.weights.len() as u32 - 1)
    }

    /// Declares a layer's KV cache.
    pub fn kv(&mut self, heads: u32, dk: u32, dv: u32) -> StateId {
        self.states.push(StateDecl::Kv { heads, dk, dv });
        StateId(self.states.len() as u32 - 1)
    }

    /// Declares a rotary table.
    pub fn rope_table(&mut self, decl: RopeDecl) -> RopeId {
        if let Some(i) = self.ropes.iter().position(|r| *r == decl) {
            return RopeId(i as u32);
        }
        self.ropes.push(decl);
        RopeId(self.ropes.len() as u32 - 1)
    }

    /// See [`Op::Embed`].
    pub fn embed(&mut self, table: WeightId, scale: f32) -> Val {
        let cols = self.weights[table.0 as usize].cols;
        let out = self.value(Rows::Tokens, cols);
        self.ops.push(Op::Embed { table, scale, out });
        out
    }

    /// See [`Op::RmsNorm`]; the number of groups follows from the weight's width.
    pub fn rms_norm(&mut self, x: Val, weight: WeightId, eps: f32) -> Val {
        let out = self.like(x);
        let groups = self.cols(x) / self.weights[weight.0 as usize].cols;
        self.ops.push(Op::RmsNorm {
            x,
            weight,
            eps,
            groups,
            out,
        });
        out
    }

    /// See [`Op::Linear`].
    pub fn linear(&mut self, x: Val, weight: WeightId, bias: Option<WeightId>) -> Val {
        let rows = self.values[x.0 as usize].rows;
        let out = self.value(rows, self.weights[weight.0 as usize].rows);
        self.ops.push(Op::Linear {
            x,
            weight,
            bias,
            out,
        });
        out
    }

    /// See [`Op::Rope`].
    pub fn rope(&mut self, x: Val, heads: u32, rope: RopeId) -> Val {
        let out = self.like(x);
        self.ops.push(Op::Rope {
            x,
            heads,
            rope,
            out,
        });
        out
    }

    /// See [`Op::KvWrite`].
    pub fn kv_write(&mut self, state: StateId, k: Val, v: Val) {
        self.ops.push(Op::KvWrite { state, k, v });
    }

    /// See [`Op::Attend`].
    pub fn attend(
        &mut self,
        state: StateId,
        q: Val,
        heads: u32,
        scale: f32,
        mask: Mask,
        softcap: Option<f32>,
    ) -> Val {
        let StateDecl::Kv { dv, .. } = self.states[state.0 as usize];
        let out = self.value(Rows::Tokens, heads * dv);
        self.ops.push(Op::Attend {
            state,
            q,
            heads,
            scale,
            mask,
            softcap,
            out,
        });
        out
    }

    /// See [`Op::Unary`].
    pub fn unary(&mut self, f: Unary, x: Val) -> Val {
        let out = self.like(x);
        self.ops.push(Op::Unary { f, x, out });
        out
    }

    /// See [`Op::Binary`].
    pub fn binary(&mut self, f: Binary, a: Val, b: Val) -> Val {
        let out = self.like(a);
        self.ops.push(Op::Binary { f, a, b, out });
        out
    }

    /// See [`Op::SelectOutputs`].
    pub fn select_outputs(&mut self, x: Val) -> Val {
        let cols = self.cols(x);
        let out = self.value(Rows::Outputs, cols);
        self.ops.push(Op::SelectOutputs { x, out });
        out
    }
}
