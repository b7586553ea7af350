//! Packed files: the original comes back bit for bit, every way of loading gives the same matrices, nothing
//! is left behind when packing fails, and a damaged packed file is an error that says what is wrong.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{put, safetensors, sample};
use hob_kernels::pack::unpack_matrix;
use hob_models::error::Error;
use hob_models::files::{Keep, Kind, ModelFile, ModelFiles};
use hob_models::format::Format;
use hob_models::gguf::{GgufWriter, Owned};
use hob_models::mapping::Bytes;
use hob_models::packed::{
    PREAMBLE_BYTES, PackOptions, Preamble, Watch, cache_lookup, cached, pack_file, unpack_to,
    verify,
};
use hob_models::weights::{Layout, Tensor, Weights};
use sha2::{Digest, Sha256};

const HASHED: PackOptions = PackOptions {
    hash: true,
    expect: None,
};

fn open(path: &Path) -> ModelFile {
    ModelFile::open(path, Keep::Mapped).unwrap()
}

/// The tensor's bytes, row after row.
fn rows(t: &Tensor) -> Vec<u8> {
    if t.layout == Layout::RowMajor {
        return t.bytes.to_vec();
    }
    let mut out = vec![0; t.bytes.len()];
    let each = out.len() / t.matrices();
    for (i, to) in out.chunks_mut(each).enumerate() {
        unpack_matrix(t.format, t.rows(), t.cols(), &t.matrix(i).unwrap(), to).unwrap();
    }
    out
}

/// Both have the same tensors with the same rows.
fn assert_same(a: &Weights, b: &Weights) {
    assert_eq!(a.tensors().len(), b.tensors().len());
    for t in a.tensors() {
        let other = b.tensor(&t.name).unwrap();
        assert_eq!(
            (t.format, t.n_dims, t.dims),
            (other.format, other.n_dims, other.dims)
        );
        assert_eq!(rows(t), rows(other), "{}", t.name);
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sample_safetensors() -> Vec<u8> {
    let a = common::noise(48 * 64 * 2, 1);
    let b = common::noise(64 * 4, 2);
    let c = common::noise(3 * 20 * 32 * 4, 3);
    safetensors(&[
        ("a", "BF16", &[48, 64], &a),
        ("b", "F32", &[64], &b),
        ("c", "F32", &[3, 20, 32], &c),
    ])
}

#[test]
fn the_original_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for (name, original) in [
        ("m.gguf", sample()),
        ("m.safetensors", sample_safetensors()),
    ] {
        let src = put(dir.path(), name, &original);
        let dst = dir.path().join(format!("{name}.hob"));
        let preamble = pack_file(&open(&src), &dst, HASHED, &()).unwrap();
        let sha: [u8; 32] = Sha256::digest(&original).into();
        assert_eq!(preamble.sha256, Some(sha));
        assert_eq!(
            std::fs::metadata(&dst).unwrap().len() as usize,
            original.len() + Preamble::len(preamble.shift)
        );
        assert!(std::fs::metadata(&dst).unwrap().permissions().readonly());

        let packed = open(&dst);
        assert_eq!(packed.kind, Kind::Packed);
        assert_ne!(
            &packed.bytes[Preamble::len(preamble.shift)..],
            &original[..],
            "nothing was packed"
        );
        let mut back = Vec::new();
        assert_eq!(unpack_to(&packed, &mut back, &()).unwrap(), sha);
        assert!(back == original);
        assert_eq!(verify(&packed, &()).unwrap(), sha);
    }
}

#[test]
fn every_way_of_loading_gives_the_same_matrices() {
    let dir = tempfile::tempdir().unwrap();
    for (name, original) in [
        ("m.gguf", sample()),
        ("m.safetensors", sample_safetensors()),
    ] {
        let src = put(dir.path(), name, &original);
        let mapped = Weights::open(&src).unwrap();
        assert!(
            mapped
                .tensors()
                .iter()
                .all(|t| t.layout == Layout::RowMajor)
        );

        let in_memory = Weights::open(&src).unwrap().packed_in_memory(&()).unwrap();
        assert!(
            in_memory
                .tensors()
                .iter()
                .any(|t| t.layout == Layout::Packed)
        );
        assert_same(&mapped, &in_memory);
        for t in in_memory
            .tensors()
            .iter()
            .filter(|t| t.layout == Layout::Packed)
        {
            assert_eq!(t.bytes.as_ptr() as usize % 64, 0, "{}", t.name);
        }

        let dst = dir.path().join(format!("{name}.hob"));
        pack_file(&open(&src), &dst, PackOptions::default(), &()).unwrap();
        let from_store = Weights::open(&dst).unwrap();
        assert_same(&mapped, &from_store);
        for (t, m) in from_store.tensors().iter().zip(in_memory.tensors()) {
            assert_eq!((&t.name, t.layout), (&m.name, m.layout));
            assert!(t.bytes[..] == m.bytes[..], "{}", t.name);
        }
        // Packing what is packed changes nothing.
        assert_same(&mapped, &from_store.packed_in_memory(&()).unwrap());
        let owned = Weights::parse(ModelFiles::open_as(&src, Keep::Owned).unwrap()).unwrap();
        assert_same(&mapped, &owned);
    }
}

#[test]
fn the_cache_is_filled_once_and_follows_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let src = put(dir.path(), "m.gguf", sample());
    let lookup = || cache_lookup(ModelFiles::open(&src).unwrap(), &cache).unwrap();
    assert_eq!(lookup().parts[0].kind, Kind::Gguf);

    let first = cached(ModelFiles::open(&src).unwrap(), &cache, &()).unwrap();
    assert_eq!(first.parts[0].kind, Kind::Packed);
    let names = entries(&cache);
    assert_eq!(
        names.iter().filter(|n| n.ends_with(".hob")).count(),
        1,
        "{names:?}"
    );
    assert_same(
        &Weights::open(&src).unwrap(),
        &Weights::parse(lookup()).unwrap(),
    );
    cached(ModelFiles::open(&src).unwrap(), &cache, &()).unwrap();
    assert_eq!(entries(&cache), names);

    // A changed file has another key; its old entry is not taken for it.
    let mut changed = sample();
    *changed.last_mut().unwrap() ^= 1;
    put(dir.path(), "m.gguf", &changed);
    assert_eq!(lookup().parts[0].kind, Kind::Gguf);

    // A damaged entry is made anew.
    let entry = cached(ModelFiles::open(&src).unwrap(), &cache, &())
        .unwrap()
        .parts[0]
        .bytes
        .to_vec();
    let name = cache_entry(&cache, &entry);
    std::fs::remove_file(cache.join(&name)).unwrap();
    put(&cache, &name, &entry[..entry.len() - 1]);
    let again = cached(ModelFiles::open(&src).unwrap(), &cache, &()).unwrap();
    assert!(again.parts[0].bytes[..] == entry[..]);
}

/// The name of the file in the cache that has this content.
fn cache_entry(cache: &Path, content: &[u8]) -> String {
    let is = |n: &String| std::fs::read(cache.join(n)).unwrap() == content;
    entries(cache).into_iter().find(is).unwrap()
}

#[test]
fn a_failure_leaves_nothing_behind() {
    struct Stop(AtomicU64);
    impl Watch for Stop {
        fn cancelled(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) > 2
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let src = put(dir.path(), "m.gguf", sample());
    let dst = dir.path().join("m.hob");
    let stopped = pack_file(&open(&src), &dst, HASHED, &Stop(AtomicU64::new(0)));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    let wrong = PackOptions {
        expect: Some([7; 32]),
        ..HASHED
    };
    assert!(matches!(
        pack_file(&open(&src), &dst, wrong, &()),
        Err(Error::Damaged {
            recorded: [7, ..],
            ..
        })
    ));
    assert_eq!(entries(dir.path()), [".hob.lock", "m.gguf"]);
    // What a killed process left is cleaned up by the next.
    put(dir.path(), ".m.hob.1-1.partial", b"left");
    pack_file(&open(&src), &dst, HASHED, &()).unwrap();
    assert_eq!(entries(dir.path()), [".hob.lock", "m.gguf", "m.hob"]);
    let twice = pack_file(&open(&dst), &dir.path().join("n.hob"), HASHED, &());
    assert!(matches!(twice, Err(Error::Malformed { .. })), "{twice:?}");
}

#[test]
fn progress_reaches_the_total() {
    struct Sum(AtomicU64, AtomicU64);
    impl Watch for Sum {
        fn progress(&self, done: u64, total: u64) {
            self.0.fetch_max(done, Ordering::Relaxed);
            self.1.store(total, Ordering::Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let src = put(dir.path(), "m.gguf", sample());
    let dst = dir.path().join("m.hob");
    let len = sample().len() as u64;
    let sum = Sum(AtomicU64::new(0), AtomicU64::new(0));
    pack_file(&open(&src), &dst, HASHED, &sum).unwrap();
    assert_eq!((sum.0.into_inner(), sum.1.into_inner()), (len, len));
    let sum = Sum(AtomicU64::new(0), AtomicU64::new(0));
    verify(&open(&dst), &sum).unwrap();
    assert_eq!((sum.0.into_inner(), sum.1.into_inner()), (len, len));
}

/// GGUF aligns tensors to 32 bytes, and a packed file most of their bytes to a line of 64.
#[test]
fn matrices_start_at_a_line() {
    let dir = tempfile::tempdir().unwrap();
    // Headers of all lengths mod 64, by a name that grows.
    let mut shifts = std::collections::BTreeSet::new();
    for extra in 0..8 {
        let name = Owned::from("x".repeat(8 * extra));
        let tensors: [(_, _, &[u64]); 2] = [
            ("a", Format::Q4_0, &[64, 48]),
            ("b", Format::Q4_0, &[64, 16]),
        ];
        let file = common::gguf(&[("general.name", name)], &tensors);
        let src = put(dir.path(), "m.gguf", file);
        let dst = dir.path().join("m.hob");
        let preamble = pack_file(&open(&src), &dst, HASHED, &()).unwrap();
        shifts.insert(preamble.shift);
        let weights = Weights::open(&dst).unwrap();
        for name in ["a", "b"] {
            let address = weights.tensor(name).unwrap().bytes.as_ptr().addr();
            assert_eq!(address % 64, 0, "{name} with {extra}");
        }
        std::fs::remove_file(&dst).unwrap();
    }
    assert_eq!(shifts.into_iter().collect::<Vec<_>>(), [0, 32]);
}

#[test]
fn damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let src = put(dir.path(), "m.gguf", sample());
    let dst = dir.path().join("m.hob");
    pack_file(&open(&src), &dst, HASHED, &()).unwrap();
    let good = std::fs::read(&dst).unwrap();
    let read = |bytes: Vec<u8>| {
        let files = ModelFiles::from_bytes("m.hob", Bytes::from(bytes))?;
        Weights::parse(files)
    };
    read(good.clone()).unwrap();

    // Every byte of the preamble counts.
    for at in 0..PREAMBLE_BYTES {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let error = read(bad)
            .expect_err(&format!("byte {at} was changed"))
            .to_string();
        let named = match at {
            0..8 => "begins with",
            8..12 => "version",
            12..16 => "layout version",
            16..96 => "checksum",
            _ => "padding",
        };
        assert!(error.contains(named), "byte {at}: {error}");
    }
    // So does every cut.
    for len in [
        1,
        8,
        100,
        PREAMBLE_BYTES - 1,
        PREAMBLE_BYTES,
        PREAMBLE_BYTES + 1,
        good.len() - 1,
    ] {
        assert!(read(good[..len].to_vec()).is_err(), "cut to {len}");
    }
    // A preamble with a right checksum and wrong content is still refused.
    let forged = |p: Preamble, rest: &[u8]| {
        read([p.to_bytes(), rest.to_vec()].concat())
            .unwrap_err()
            .to_string()
    };
    let inner = &good[Preamble::len(good[29])..];
    let p = Preamble {
        shift: 0,
        kind: Kind::Gguf,
        original_bytes: inner.len() as u64,
        sha256: None,
    };
    assert!(
        forged(
            Preamble {
                kind: Kind::Safetensors,
                ..p
            },
            inner
        )
        .contains("kind")
    );
    assert!(
        forged(
            Preamble {
                kind: Kind::Packed,
                ..p
            },
            inner
        )
        .contains("kind")
    );
    assert!(
        forged(
            Preamble {
                original_bytes: u64::MAX,
                ..p
            },
            inner
        )
        .contains("original length")
    );
    let shifted = |shift| Preamble { shift, ..p };
    assert!(forged(shifted(64), inner).contains("shift"));
    assert!(forged(shifted(63), &[]).contains("original length"));
    let mut dirty = shifted(32).to_bytes();
    *dirty.last_mut().unwrap() = 1;
    let dirty = read([&dirty, inner].concat()).unwrap_err().to_string();
    assert!(dirty.contains("byte 4127"), "{dirty}");
    // Packed in packed.
    assert!(
        forged(
            Preamble {
                original_bytes: good.len() as u64,
                ..p
            },
            &good
        )
        .contains("kind")
    );

    // Weights that changed are found by the hash alone.
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let bad = ModelFile::from_bytes("m.hob".as_ref(), Bytes::from(bad)).unwrap();
    assert!(matches!(verify(&bad, &()), Err(Error::Damaged { .. })));
    let unhashed = [p.to_bytes(), inner.to_vec()].concat();
    let unhashed = ModelFile::from_bytes("m.hob".as_ref(), Bytes::from(unhashed)).unwrap();
    assert!(
        verify(&unhashed, &())
            .unwrap_err()
            .to_string()
            .contains("SHA-256")
    );
}

#[test]
#[cfg(unix)]
fn a_disk_that_is_too_small_is_noticed_before_anything_is_written() {
    // A file with a hole: 4 TB that take no space.
    let mut w = GgufWriter::new();
    let bytes = w.tensor("hole", Format::F32, &[1 << 20, 1 << 20]).unwrap();
    let header = w.begin(Vec::new()).unwrap().abandon();
    let dir = tempfile::tempdir().unwrap();
    let src = put(dir.path(), "m.gguf", &header);
    let file = std::fs::OpenOptions::new().write(true).open(&src).unwrap();
    if file.set_len(header.len() as u64 + bytes).is_err() {
        eprintln!("this file system has no files of 4 TB: not tested");
        return;
    }
    let Ok(file) = ModelFile::open(&src, Keep::Mapped) else {
        eprintln!("no address space for 4 TB (valgrind?): not tested");
        return;
    };
    let refused = pack_file(&file, &dir.path().join("m.hob"), HASHED, &());
    assert!(
        matches!(refused, Err(Error::NoSpace { need, .. }) if need > bytes),
        "{refused:?}"
    );
    assert_eq!(entries(dir.path()), [".hob.lock", "m.gguf"]);
}

/// A source that is cut short while it is read is that error, whatever else seems wrong then, and nothing
/// is left.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_cut_short_is_neither_packed_nor_called_damaged() {
    hob_models::mapping::guard_mappings().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let whole = sample();
    let cut = |path: &Path, left: u64| {
        let mut permissions = std::fs::metadata(path).unwrap().permissions();
        #[allow(clippy::permissions_set_readonly_false)]
        // for a moment, in a folder of the test's own
        permissions.set_readonly(false);
        std::fs::set_permissions(path, permissions).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(left).unwrap();
    };
    let expect = Some(Sha256::digest(&whole).into());
    for left in [0, 10, 5000, whole.len() as u64 / 2, whole.len() as u64 - 1] {
        let src = put(dir.path(), "src.gguf", &whole);
        let dst = dir.path().join("packed.hob");
        let file = open(&src);
        cut(&src, left);
        let options = PackOptions { hash: true, expect };
        let failed = pack_file(&file, &dst, options, &()).unwrap_err();
        assert!(matches!(failed, Error::CutShort { .. }), "{left}: {failed}");
        assert!(!dst.exists());

        let src = put(dir.path(), "src.gguf", &whole);
        pack_file(&open(&src), &dst, HASHED, &()).unwrap();
        let packed = open(&dst);
        cut(&dst, left);
        for failed in [
            verify(&packed, &()).unwrap_err(),
            unpack_to(&packed, &mut Vec::new(), &()).unwrap_err(),
            Weights::parse(ModelFiles::from_parts(
                dir.path(),
                vec![packed],
                Default::default(),
            ))
            .map(|_| ())
            .unwrap_err(),
        ] {
            assert!(matches!(failed, Error::CutShort { .. }), "{left}: {failed}");
        }
        std::fs::remove_file(&dst).unwrap();
    }
}
