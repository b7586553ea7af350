//! hob: run language models inside your program, on this machine alone.
//!
//! ```no_run
//! use hob::{Cancel, Engine, EngineOptions, Event, Message, Request, SessionOptions};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::load("model.gguf", &EngineOptions::default())?;
//! let mut session = engine.session(SessionOptions::default());
//! let prompt = session.encode_chat(&[Message::new("user", "What is the capital of France?")])?;
//! session.prefill(&prompt, &Cancel::new(), |_, _| ())?;
//! session.generate(&Request::default(), &Cancel::new(), |event| {
//!     if let Event::Text(text) = event {
//!         print!("{text}");
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! How tokens are chosen is a [`Sampling`]: plain fields, each of which can be turned off, set by name
//! ([`Sampling::set`]) or taken from the model's makers ([`Engine::sampling_defaults`]).
//!
//! An [`Engine`] is a loaded model; a [`Session`] is one sequence of tokens on it. What a model
//! needs is known before it is loaded ([`Engine::memory_plan`]); anything long can be stopped
//! from another thread ([`Cancel`]); a full context is an error or a policy of your choice
//! ([`WhenFull`]), never silent; every failure is an enum, and nothing here panics or aborts the
//! host, whatever the file. The same prompt gives the same bits on any number of threads and any
//! instruction set. `runtime/examples/` shows each of these.

#![deny(unsafe_code)] // but in privacy/

mod chat;
mod engine;
mod error;
mod generate;
mod inspect;
mod load;
mod logprob;
mod lower;
mod memory;
pub mod privacy;
mod sampler;
mod sampling;
mod scan;
mod session;
mod state;

pub use chat::{ChatOptions, ChatPrompt, render_chat};
pub use engine::{Engine, EngineOptions, WeightsMode};
pub use error::{LoadError, SessionError};
pub use generate::{Completion, Event, Finish, Request};
pub use hob_kernels::isa::{Isa, IsaError};
pub use hob_kernels::kv::KvElem;
pub use hob_kernels::program::{Profile, RegionProfile};
pub use hob_models::files::ModelFiles;
pub use hob_models::mapping::guard_mappings;
pub use hob_models::reasoning::{ReasoningFormat, ReasoningSplitter};
pub use hob_models::template::{ChatTemplate, ChatTemplates, Json, Message, ThinkingSwitch};
pub use inspect::{FormatShare, Inspection};
pub use logprob::{LogProb, log_probs, log_sum_exp};
pub use memory::{MemoryPlan, available as available_memory};
pub use sampler::Sampler;
pub use sampling::{Parameter, Sampling, SamplingError, Step};
pub use scan::argmax;
pub use session::{Cancel, Session, SessionOptions, WhenFull};
pub use state::{Fingerprint, StateError};
