//! The program `hob` with a home of its own, and small models for it: as one GGUF, as parts, as a folder
//! of safetensors.

#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::unwrap_used)]

#[path = "../../fetch/tests/common/mod.rs"]
pub(crate) mod mirror;
#[path = "../../../runtime/tests/common/mod.rs"]
mod model;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hob_fetch::Digest;
use hob_models::format::Format;
use hob_models::gguf::{Gguf, GgufWriter, Owned, TensorType};
use hob_models::mapping::Bytes;
use mirror::Server;
use serde_json::{Value, json};

/// A user's home, with a store, that vanishes at the end.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    /// Variables of the environment beside those of every home.
    pub(crate) env: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        Home {
            dir,
            env: Vec::new(),
        }
    }

    /// A home whose Hub is this server.
    pub(crate) fn with_hub(server: &Server) -> Home {
        let mut home = Home::new();
        home.set(
            "HF_ENDPOINT",
            &format!("http://127.0.0.1:{}", server.port()),
        );
        home
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// The user's folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A folder of the store.
    pub(crate) fn store(&self, below: &str) -> PathBuf {
        self.dir.path().join("store").join(below)
    }

    /// `hob ARGS`, not started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hob"));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("HOB_HOME", self.store(""))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs what must succeed, and gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert!(ran.is_ok, "hob {args:?}: {}", ran.err);
        ran.out
    }

    /// Runs what must fail, and gives its standard error.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert!(!ran.is_ok, "hob {args:?} succeeded: {}{}", ran.out, ran.err);
        ran.err
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Names in the store, as `hob list` has them; a damaged model is a failure.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.json(&["list", "--json"]);
        let models = list.as_array().unwrap().iter();
        let models = models.filter(|model| model["unfinished_bytes"].is_null());
        let name = |model: &Value| {
            assert!(model["damaged"].is_null(), "{model}");
            model["name"].as_str().unwrap().to_owned()
        };
        models.map(name).collect()
    }

    /// The logits of a few tokens: the same bits for the same model, in whatever form it is.
    pub(crate) fn logits(&self, model: &str) -> Vec<u8> {
        self.logits_with(model, &[])
    }

    pub(crate) fn logits_with(&self, model: &str, more: &[&str]) -> Vec<u8> {
        let out = self.path().join("logits");
        let args = [
            "logits",
            model,
            "--tokens",
            "1,2,3",
            "--out",
            out.to_str().unwrap(),
        ];
        self.ok(&[&args, more].concat());
        std::fs::read(out).unwrap()
    }

    /// Files and folders below a folder of the store.
    pub(crate) fn count(&self, below: &str) -> usize {
        std::fs::read_dir(self.store(below)).map_or(0, Iterator::count)
    }
}

/// What a process said and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) is_ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        Ran {
            is_ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn ended(child: Child) -> Ran {
        Ran::of(child.wait_with_output().unwrap())
    }
}

/// A model that runs, about 2 MB; or the file that `HOB_TEST_MODEL` names, for long tests.
pub(crate) fn gguf() -> Arc<Vec<u8>> {
    if let Some(path) = std::env::var_os("HOB_TEST_MODEL") {
        return Arc::new(std::fs::read(path).unwrap());
    }
    tiny()
}

/// A model that runs, about 2 MB.
pub(crate) fn tiny() -> Arc<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = model::write(dir.path(), &model::Shape::wide("llama"), Format::Q8_0, 1);
    Arc::new(std::fs::read(path).unwrap())
}

/// Another model that runs, with other sizes.
pub(crate) fn another() -> Arc<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = model::write(dir.path(), &model::Shape::wide("llama"), Format::Q4_0, 2);
    Arc::new(std::fs::read(path).unwrap())
}

/// Pause of a mirror after each piece of 16 KiB, so that a download takes a while.
pub(crate) fn throttle() -> Duration {
    match std::env::var_os("HOB_TEST_MODEL") {
        Some(_) => Duration::from_micros(50),
        None => Duration::from_millis(1),
    }
}

/// How often a test that kills processes does so: `HOB_TEST_KILLS`, else a few times.
pub(crate) fn kills() -> usize {
    let set = std::env::var("HOB_TEST_KILLS").ok();
    set.map_or(12, |n| n.parse().unwrap())
}

/// The same model in `count` parts, named as llama.cpp's `gguf-split` does.
pub(crate) fn parts(whole: &[u8], stem: &str, count: usize) -> Vec<(String, Arc<Vec<u8>>)> {
    let bytes: Bytes = whole.to_vec().into();
    let gguf = Gguf::parse(&bytes).unwrap();
    let tensors: Vec<_> = gguf.tensors().collect();
    let part = |i: usize| {
        let mut writer = GgufWriter::new();
        for (key, value) in gguf.metadata().filter(|_| i == 0) {
            writer.metadata(key, Owned::from(value)).unwrap();
        }
        writer.metadata("split.no", i as u16).unwrap();
        writer.metadata("split.count", count as u16).unwrap();
        writer
            .metadata("split.tensors.count", tensors.len() as i32)
            .unwrap();
        let each = tensors.len().div_ceil(count);
        let mine = || tensors.iter().skip(i * each).take(each);
        for tensor in mine() {
            let TensorType::Run(format) = tensor.kind else {
                panic!("{:?}", tensor.kind);
            };
            let dims = &tensor.dims[..tensor.n_dims as usize];
            writer.tensor(tensor.name, format, dims).unwrap();
        }
        let mut data = writer.begin(Vec::new()).unwrap();
        for tensor in mine() {
            let range = tensor.data.start as usize..tensor.data.end as usize;
            data.tensor(&bytes[range]).unwrap();
        }
        let name = format!("{stem}-{:05}-of-{count:05}.gguf", i + 1);
        (name, Arc::new(data.finish().unwrap().0))
    };
    (0..count).map(part).collect()
}

/// A folder of safetensors in two shards, with their index and config: files by name.
pub(crate) fn folder() -> Vec<(String, Arc<Vec<u8>>)> {
    let (hidden, ffn, vocab, heads, head_dim) = (64, 96, 100, 2, 32);
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, hidden])];
    for layer in 0..2 {
        for (part, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![heads * head_dim, hidden]),
            ("self_attn.k_proj", vec![heads * head_dim, hidden]),
            ("self_attn.v_proj", vec![heads * head_dim, hidden]),
            ("self_attn.o_proj", vec![hidden, heads * head_dim]),
            ("mlp.gate_proj", vec![ffn, hidden]),
            ("mlp.up_proj", vec![ffn, hidden]),
            ("mlp.down_proj", vec![hidden, ffn]),
        ] {
            tensors.push((format!("model.layers.{layer}.{part}.weight"), shape));
        }
    }
    tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn, "vocab_size": vocab,
        "num_hidden_layers": 2, "num_attention_heads": heads, "head_dim": head_dim,
        "num_key_value_heads": heads, "max_position_embeddings": 512, "tie_word_embeddings": true,
        "hidden_act": "silu", "rms_norm_eps": 1e-5,
    });
    let mut random = mirror::Random(5);
    let mut map = serde_json::Map::new();
    let mut files = Vec::new();
    let half = tensors.len() / 2;
    for (i, shard) in [&tensors[..half], &tensors[half..]].into_iter().enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", i + 1);
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (tensor, shape) in shard {
            let start = data.len();
            for _ in 0..shape.iter().product::<usize>() {
                let x = random.below(2000) as f32 / 1000.0 - 1.0;
                data.extend((x / 8.0).to_le_bytes());
            }
            let entry =
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
            header.insert(tensor.clone(), entry);
            map.insert(tensor.clone(), json!(name));
        }
        let header = Value::from(header).to_string().into_bytes();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(data);
        files.push((name, Arc::new(bytes)));
    }
    let index = json!({ "metadata": {}, "weight_map": map });
    for (name, value) in [
        ("config.json", config),
        ("model.safetensors.index.json", index),
    ] {
        files.push((name.to_owned(), Arc::new(value.to_string().into_bytes())));
    }
    files
}

/// Writes files into a folder, and gives it.
pub(crate) fn put(dir: &Path, files: &[(String, Arc<Vec<u8>>)]) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join(name), &**bytes).unwrap();
    }
    dir.to_owned()
}

/// The commit of every repository of [`publish`].
pub(crate) const COMMIT: &str = "0123456789012345678901234567890123456789";

/// Makes a server a Hub with one model, `hf:owner/name`, which the store calls `M`.
pub(crate) fn publish_one(server: &Server, bytes: &Arc<Vec<u8>>) {
    let file = ("M.gguf".to_owned(), Arc::clone(bytes));
    publish(server, "owner/name", "mit", &[file]);
}

/// Makes a server a Hub that has these files in this repository: GGUF and safetensors with their
/// SHA-256, others with git's id.
pub(crate) fn publish(
    server: &Server,
    repo: &str,
    licence: &str,
    files: &[(String, Arc<Vec<u8>>)],
) {
    let siblings = files.iter().map(|(name, bytes)| {
        let size = bytes.len();
        let blob = git_id(bytes);
        match name.ends_with(".gguf") || name.ends_with(".safetensors") {
            true => json!({
                "rfilename": name, "size": size, "blobId": "0".repeat(40),
                "lfs": { "sha256": Digest::of(bytes).to_string(), "size": size, "pointerSize": 130 },
            }),
            false => json!({ "rfilename": name, "size": size, "blobId": blob }),
        }
    });
    let info = json!({
        "id": repo, "sha": COMMIT, "gated": false, "cardData": { "license": licence },
        "siblings": siblings.collect::<Vec<_>>(),
    });
    let info = Arc::new(info.to_string().into_bytes());
    for revision in ["main", COMMIT] {
        let path = format!("/api/models/{repo}/revision/{revision}");
        server.put(&path, Arc::clone(&info));
    }
    for (name, bytes) in files {
        server.put(
            &format!("/{repo}/resolve/{COMMIT}/{name}"),
            Arc::clone(bytes),
        );
    }
}

/// `git hash-object`.
fn git_id(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
