//! The engine: a loaded model with its threads and working memory.
//!
//! An [`Engine`] is cheap to clone and safe to share; every [`Session`] holds one, so it lives as
//! long as any of them. Batches of different sessions take turns on the same threads.

use crate::error::{LoadError, SessionError};
use crate::load::{self, Prepared};
use crate::lower::Loaded;
use crate::memory::MemoryPlan;
use crate::sampling::{ModelSampling, Sampling, SamplingError};
use crate::session::{Cancel, Session, SessionOptions};
use crate::state::Fingerprint;
use hob_kernels::isa::Isa;
use hob_kernels::kv::{KvElem, KvLayout};
use hob_kernels::pool::cores;
use hob_kernels::program::{Machine, Profile};
use hob_models::files::{ModelFile, ModelFiles};
use hob_models::plan::Model;
use hob_models::template::ChatTemplates;
use hob_models::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// How weights reach the kernels. All give the same bits.
///
/// A mapped file that another program cuts short or writes to is an error of the next pass
/// ([`SessionError::Weights`]) once [`guard_mappings`](crate::guard_mappings) was called; until then, one
/// that is cut short ends the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WeightsMode {
    /// A packed file is used as it is; any other is packed into memory.
    #[default]
    Auto,
    /// Straight off the file, in its own order: no copy, slower.
    Mapped,
    /// As `Auto`, but the packed form of a foreign file is kept in this folder and mapped.
    Cached(PathBuf),
    /// As `Auto`, but files are read into private memory instead of mapped: no later change of a file
    /// matters, nothing of [`guard_mappings`](crate::guard_mappings) is needed, and no other process sees
    /// in the page cache which weights were read. A file that is not packed needs twice its size while
    /// it is packed.
    Owned,
}

impl WeightsMode {
    /// Whether foreign files are packed into memory.
    pub(crate) fn packs_in_memory(&self) -> bool {
        matches!(self, WeightsMode::Auto | WeightsMode::Owned)
    }
}

/// Choices made when a model is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Worker threads; `None` for one per available core.
    pub threads: Option<usize>,
    /// Forces an instruction set by name ("scalar", "avx2", "neon" and so on: [`Isa::ALL`]); `None`
    /// takes the environment's `HOB_ISA`, else the best.
    pub isa: Option<String>,
    /// How weights reach the kernels.
    pub weights: WeightsMode,
    /// Element type of keys and values; part of the numbers' definition.
    pub kv: KvElem,
    /// Most tokens in one batch of prefill.
    pub batch: usize,
    /// Most rows of logits kept from one batch; generation needs one.
    pub outputs: usize,
    /// Keep the table of token embeddings in memory of this process's own. Its rows are read one for each
    /// token: from a mapped file, which other processes can map as well, these could tell by the timing
    /// of the processor's caches which tokens are read (arXiv 2505.00817). All other weights are read whole,
    /// whatever was said (but for a mixture's experts). The copy costs the table's size in memory and, on a
    /// machine of two cores, 5 to 10 ms of loading SmolLM2 135M (30 MB), 20 to 70 ms where the table has
    /// some 200 MB (`hob bench --json` with and without `--shared-embeddings`: `load_s`).
    pub private_embeddings: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: None,
            isa: None,
            weights: WeightsMode::Auto,
            kv: KvElem::F16,
            batch: 256,
            outputs: 1,
            private_embeddings: true,
        }
    }
}

/// A loaded model.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    machine: Mutex<Machine>,
    pub(crate) layouts: Arc<[KvLayout]>,
    pub(crate) batch: usize,
    pub(crate) outputs: usize,
    /// Width of a row of logits.
    pub(crate) vocab: usize,
    /// A session gave up what may be in the working memory, while others were using it.
    stale: AtomicBool,
    pub(crate) tokenizer: Option<Tokenizer>,
    pub(crate) templates: Option<ChatTemplates>,
    name: Option<String>,
    pub(crate) model: Model,
    /// What the program reads; shared with it.
    pub(crate) weights: Vec<Loaded>,
    pub(crate) kv: KvElem,
    /// A digest of the model's files, if the caller gave one.
    pub(crate) identity: OnceLock<[u8; 32]>,
    pub(crate) fingerprint: OnceLock<Fingerprint>,
    memory: MemoryPlan,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    tokenizer_refusal: Option<String>,
    sampling: ModelSampling,
    /// The files that weights are read from as they are needed.
    mapped: Vec<ModelFile>,
}

impl Inner {
    /// An error if a mapped file was cut short or written to: what was computed may then be of zeros or
    /// of other weights.
    pub(crate) fn check_files(&self) -> Result<(), SessionError> {
        Ok(self.mapped.iter().try_for_each(ModelFile::check_in_use)?)
    }

    /// The threads and working memory, when it is this caller's turn. A poisoned lock means that
    /// a caller's callback panicked; the machine holds nothing that a new batch would read.
    pub(crate) fn machine(&self) -> Turn<'_> {
        Turn {
            machine: self.machine.lock().unwrap_or_else(PoisonError::into_inner),
            _after: AfterTurn(self),
        }
    }

    /// Wipes the working memory: now, or at the end of the turn that somebody else has.
    pub(crate) fn wipe(&self) {
        self.stale.store(true, SeqCst);
        self.wipe_stale();
    }

    fn wipe_stale(&self) {
        // Whoever has the machine looks again when its turn is over.
        while self.stale.load(SeqCst) {
            let mut machine = match self.machine.try_lock() {
                Ok(machine) => machine,
                Err(TryLockError::Poisoned(machine)) => machine.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.stale.store(false, SeqCst);
            machine.wipe();
        }
    }
}

/// The machine, for as long as it is somebody's turn.
pub(crate) struct Turn<'a> {
    machine: MutexGuard<'a, Machine>,
    /// Dropped after the machine is free again.
    _after: AfterTurn<'a>,
}

impl std::ops::Deref for Turn<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl std::ops::DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

struct AfterTurn<'a>(&'a Inner);

impl Drop for AfterTurn<'_> {
    fn drop(&mut self) {
        self.0.wipe_stale();
    }
}

impl Engine {
    /// Loads a model file (GGUF, hob's packed form, safetensors) or a folder of safetensors.
    ///
    /// # Errors
    /// [`LoadError`] names what is wrong with the file, or the memory that is missing.
    pub fn load(path: impl AsRef<Path>, options: &EngineOptions) -> Result<Engine, LoadError> {
        Engine::load_files(Engine::open(path, options)?, options)
    }

    /// The first half of [`Engine::load`]: opens and maps all files of a model and parses none of them
    /// (but to pack them into a folder, with [`WeightsMode::Cached`]). A program that confines itself
    /// ([`crate::privacy`]) does so between the two.
    ///
    /// # Errors
    /// [`LoadError`] if a file cannot be opened, or is of no kind that hob reads.
    pub fn open(path: impl AsRef<Path>, options: &EngineOptions) -> Result<ModelFiles, LoadError> {
        load::open(path.as_ref(), &options.weights)
    }

    /// [`Engine::open`] of files that the caller has opened: with [`WeightsMode::Cached`] they are
    /// exchanged for those of the cache, with [`WeightsMode::Owned`] read into memory, else they stay as
    /// they are.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_files(files: ModelFiles, options: &EngineOptions) -> Result<ModelFiles, LoadError> {
        load::from_cache(files, &options.weights)
    }

    /// The second half of [`Engine::load`]: opens nothing.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_files(files: ModelFiles, options: &EngineOptions) -> Result<Engine, LoadError> {
        let watched = files.clone();
        watched.checked(Engine::load_watched(files, options))
    }

    fn load_watched(files: ModelFiles, options: &EngineOptions) -> Result<Engine, LoadError> {
        let isa = Isa::choose(options.isa.as_deref())?;
        let threads = threads(options);
        let (prepared, memory) = on_threads(threads, || {
            let prepared = Prepared::planned(files)?;
            let memory = prepared.memory_plan(options, threads)?;
            memory.check_available(prepared.held_already(options))?;
            Ok::<_, LoadError>((prepared.finished(options)?, memory))
        })?;
        let name = prepared.name();
        let mapped = load::mapped_files(&prepared.model, &prepared.weights);
        let Prepared {
            model,
            weights,
            tokenizer,
            templates,
            tokenizer_refusal,
            sampling,
            ..
        } = prepared;
        let loaded = load::weights(&model, &weights)?;
        let program = crate::lower::lower(&model, &loaded, options.kv)?;
        let layouts = program.states.clone().into();
        let outputs = options.outputs.min(options.batch);
        let machine = Machine::new(program, isa, threads, options.batch, outputs)?;
        Ok(Engine {
            inner: Arc::new(Inner {
                vocab: machine.vocab(),
                stale: AtomicBool::new(false),
                machine: Mutex::new(machine),
                layouts,
                batch: options.batch,
                outputs,
                tokenizer,
                templates,
                name,
                model,
                weights: loaded,
                kv: options.kv,
                identity: OnceLock::new(),
                fingerprint: OnceLock::new(),
                memory,
                isa,
                threads,
                tokenizer_refusal,
                sampling,
                mapped,
            }),
        })
    }

    /// What loading a model would need, to the byte, without reading its weights.
    ///
    /// # Errors
    /// As [`Engine::load`], but never for lack of memory.
    pub fn memory_plan(
        path: impl AsRef<Path>,
        options: &EngineOptions,
    ) -> Result<MemoryPlan, LoadError> {
        let threads = threads(options);
        let files = Engine::open(path, options)?;
        let plan = |files| Prepared::planned(files)?.memory_plan(options, threads);
        files.clone().checked(plan(files))
    }

    /// A new, empty sequence.
    pub fn session(&self, options: SessionOptions) -> Session {
        Session::new(self.inner.clone(), options)
    }

    /// Reads new tokens of several sessions in one batch and leaves the logits of each session's
    /// last token in it ([`Session::logits`]). Every session gets the bits that it would get
    /// alone. Needs an engine with as many `outputs` as sessions, and a `batch` of all tokens.
    ///
    /// # Errors
    /// As [`Session::prefill`]; no session has changed then.
    pub fn advance(
        &self,
        parts: &mut [(&mut Session, &[u32])],
        cancel: &Cancel,
    ) -> Result<(), SessionError> {
        crate::session::advance(&self.inner, parts, cancel)
    }

    /// Begins to keep a profile of all sessions' batches, anew, or stops. It costs some 100 ns a
    /// region; when off, nothing.
    pub fn set_profiling(&self, on: bool) {
        self.inner.machine().set_profiling(on);
    }

    /// Where the time went since profiling began or the profile was last taken, region by region;
    /// `None` if it is off.
    pub fn take_profile(&self) -> Option<Profile> {
        self.inner.machine().take_profile()
    }

    /// How fast the engine's threads can read the weights that every token reads, in GB/s: the ceiling
    /// of decoding, on the same bytes. The best of several readers, each of which reads all of them once.
    ///
    /// # Errors
    /// A worker thread failed, or a mapped file changed.
    pub fn read_bandwidth(&self) -> Result<f64, SessionError> {
        let read = self.inner.machine().read_weights();
        self.inner.check_files()?;
        let (bytes, seconds) = read?;
        Ok(bytes as f64 / 1e9 / seconds)
    }

    /// The model's tokenizer, if its file has one that hob knows.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.inner.tokenizer.as_ref()
    }

    /// Why [`Engine::tokenizer`] is `None` although the file has a tokenizer.
    pub fn tokenizer_refusal(&self) -> Option<&str> {
        self.inner.tokenizer_refusal.as_deref()
    }

    /// The name that the model's file gives itself; untrusted text, as all in a file.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// How the model's makers would have tokens chosen: [`Sampling::default`] with what its files say
    /// (`generation_config.json`; `general.sampling.*` of a GGUF).
    pub fn sampling_defaults(&self) -> &Sampling {
        &self.inner.sampling.defaults
    }

    /// What the model's files say of sampling and hob does not take, because it is out of range.
    pub fn sampling_refusals(&self) -> &[SamplingError] {
        &self.inner.sampling.refusals
    }

    /// What the model is: hyper-parameters, declared weights, plan.
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// What the model occupies.
    pub fn memory(&self) -> &MemoryPlan {
        &self.inner.memory
    }

    /// The instruction set that the kernels run on.
    pub fn isa(&self) -> Isa {
        self.inner.isa
    }

    /// Worker threads.
    pub fn threads(&self) -> usize {
        self.inner.threads
    }
}

/// Does bulk work (packing, building tables) on that many threads of its own. Without memory for them,
/// on the threads that rayon keeps for the whole process.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

/// As many threads as asked for, else one per core that the system lets this process use.
pub(crate) fn threads(options: &EngineOptions) -> usize {
    options.threads.unwrap_or_else(cores).clamp(1, 256)
}
