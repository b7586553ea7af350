//! What can go wrong, as enums that name the thing and the remedy.

use crate::sampling::SamplingError;
use hob_kernels::program::{ProgramError, RunError};

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing, damaged, or of another kind.
    #[error(transparent)]
    Weights(#[from] hob_models::error::Error),
    /// The file's architecture or hyper-parameters.
    #[error(transparent)]
    Arch(#[from] hob_models::arch::ArchError),
    /// A tensor that the architecture needs is not in the file.
    #[error(
        "the model file lacks the tensor `{0}`; it may be damaged or made for another program version"
    )]
    MissingTensor(String),
    /// A tensor has another shape than the hyper-parameters say.
    #[error("tensor `{name}` is {found:?}, but the hyper-parameters make it {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// `[cols, rows]` in the file.
        found: [u64; 2],
        /// `[cols, rows]` by the hyper-parameters.
        wanted: [u64; 2],
    },
    /// The rotary embedding's parameters.
    #[error(transparent)]
    Rope(#[from] hob_kernels::rope::RopeError),
    /// The cache cannot hold this model's heads.
    #[error("{0}")]
    Cache(String),
    /// The machine has less memory than the model needs.
    #[error(
        "the model needs {needed} bytes of memory and {available} are available; \
         close other programs, or use a smaller model, a smaller context, or `--weights mapped`"
    )]
    Memory {
        /// Bytes that cannot be paged out: packed weights, working memory, one page of cache.
        needed: u64,
        /// Bytes that the system says it can give.
        available: u64,
    },
    /// The forced instruction set.
    #[error(transparent)]
    Isa(#[from] hob_kernels::isa::IsaError),
    /// The lowered program or its memory.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An inconsistency in hob's own plan (a defect of hob, reported instead of a panic).
    #[error("hob built an inconsistent plan for this model ({0}); please report this")]
    Plan(String),
    /// The model's tokenizer.
    #[error("the model's tokenizer: {0}")]
    Tokenizer(#[from] hob_models::tokenizer::TokenizerError),
}

/// Why a session could not go on. What it held before the call, it still holds.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The tokens do not fit the session's context.
    #[error(
        "the context is full: {len} of {context} positions are used and {wanted} more are needed; start with a larger context or shorten the conversation"
    )]
    ContextFull {
        /// Positions in use.
        len: usize,
        /// The session's limit.
        context: usize,
        /// Positions that were asked for.
        wanted: usize,
    },
    /// Generation needs at least one token to continue from.
    #[error("nothing to continue: give the session a prompt first")]
    Empty,
    /// More log-probability rows at a time than the engine was made for.
    #[error(
        "the engine was loaded for {available} rows of logits at a time; load it with `outputs` of at least {wanted}"
    )]
    Outputs {
        /// What the engine has.
        available: usize,
        /// What the call needs.
        wanted: usize,
    },
    /// The model computed a value that is not a number.
    #[error(
        "the model computed NaN logits at position {0}; the weights are damaged or the numbers overflowed (try `--kv f32`)"
    )]
    NotANumber(usize),
    /// The caller's [`crate::Cancel`] was raised.
    #[error("cancelled")]
    Cancelled,
    /// The sampling options, or what they leave to choose.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The model's file was cut short or written to while it was in use, so that what was computed since is
    /// worth nothing; no token of it was handed out. The engine stays unusable: load the model again.
    #[error(transparent)]
    Weights(#[from] hob_models::error::Error),
    /// The engine failed.
    #[error(transparent)]
    Run(RunError),
    /// Text could not be tokenized.
    #[error("tokenizing: {0}")]
    Tokenizer(#[from] hob_models::tokenizer::TokenizerError),
    /// A conversation could not be rendered.
    #[error("chat template: {0}")]
    Template(#[from] hob_models::template::TemplateError),
    /// The model has no tokenizer that hob knows; only token ids can be given.
    #[error("this model has no tokenizer in its file; give token ids, or use a file with one")]
    NoTokenizer,
    /// The model has no chat template.
    #[error("this model has no chat template (it may be a base model); use raw text (`--raw`)")]
    NoTemplate,
    /// The template cannot turn reasoning on or off.
    #[error(
        "the chat template has no switch for reasoning; leave `--think` and `--no-think` away (`--hide-thinking` hides it)"
    )]
    NoThinkingSwitch,
}

impl From<RunError> for SessionError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Cancelled => SessionError::Cancelled,
            other => SessionError::Run(other),
        }
    }
}
