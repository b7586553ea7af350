//! Malformed GGUF: each field in turn is given a value that cannot be right, and the error must name the
//! field and what is wrong with it. Cut or mutated at any byte, a file is an error or a smaller truth, never
//! a panic.

mod common;

use common::sample;
use hob_models::gguf::{Gguf, GgufError, Problem};
use hob_models::mapping::Bytes;
use proptest::prelude::*;

/// A header whose every field can be set wrongly.
#[derive(Clone)]
struct Raw {
    magic: [u8; 4],
    version: u32,
    n_tensors: Option<u64>,
    n_entries: Option<u64>,
    entries: Vec<(Vec<u8>, u32, Vec<u8>)>,
    tensors: Vec<RawTensor>,
    data: usize,
}

#[derive(Clone)]
struct RawTensor {
    name_len: Option<u64>,
    name: Vec<u8>,
    n_dims: Option<u32>,
    dims: Vec<u64>,
    kind: u32,
    offset: u64,
}

fn string(s: &[u8]) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s].concat()
}

fn array(element: u32, count: u64, body: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), body].concat()
}

impl Raw {
    /// Two tensors of 64 bytes, a string, an integer, and an array.
    fn good() -> Raw {
        let tensor = |name: &str, offset| RawTensor {
            name_len: None,
            name: name.into(),
            n_dims: None,
            dims: vec![4, 4],
            kind: 0,
            offset,
        };
        Raw {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_entries: None,
            entries: vec![
                (b"general.architecture".to_vec(), 8, string(b"llama")),
                (
                    b"general.alignment".to_vec(),
                    4,
                    32u32.to_le_bytes().to_vec(),
                ),
                (
                    b"list".to_vec(),
                    9,
                    array(8, 2, &[string(b"a"), string(b"b")].concat()),
                ),
            ],
            tensors: vec![tensor("first", 0), tensor("second", 64)],
            data: 128,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(
            self.n_tensors
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        out.extend(
            self.n_entries
                .unwrap_or(self.entries.len() as u64)
                .to_le_bytes(),
        );
        for (key, kind, value) in &self.entries {
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for t in &self.tensors {
            out.extend(t.name_len.unwrap_or(t.name.len() as u64).to_le_bytes());
            out.extend(&t.name);
            out.extend(t.n_dims.unwrap_or(t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.kind.to_le_bytes());
            out.extend(t.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32) + self.data, 0xab);
        out
    }
}

fn parse(bytes: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::parse(&Bytes::from(bytes.to_vec()))
}

#[test]
fn every_wrong_field_is_named_with_what_was_found() {
    use Problem::*;
    parse(&Raw::good().bytes()).unwrap();
    type Case = (&'static str, fn(&mut Raw), fn(&Problem) -> bool);
    let cases: &[Case] = &[
        (
            "magic",
            |r| r.magic = *b"GGML",
            |p| matches!(p, Magic { found } if found == b"GGML"),
        ),
        (
            "version",
            |r| r.version = 1,
            |p| matches!(p, Version { found: 1 }),
        ),
        (
            "version",
            |r| r.version = 4,
            |p| matches!(p, Version { found: 4 }),
        ),
        (
            "version",
            |r| r.version = 0,
            |p| matches!(p, Version { found: 0 }),
        ),
        (
            "version",
            |r| r.version = 3u32.swap_bytes(),
            |p| matches!(p, BigEndian { found: 3 }),
        ),
        (
            "tensor_count",
            |r| r.n_tensors = Some(u64::MAX),
            |p| {
                matches!(
                    p,
                    Count {
                        count: u64::MAX,
                        ..
                    }
                )
            },
        ),
        (
            "tensor_count",
            |r| r.n_tensors = Some(13),
            |p| matches!(p, Count { count: 13, .. }),
        ),
        (
            "metadata_kv_count",
            |r| r.n_entries = Some(1 << 60),
            |p| matches!(p, Count { .. }),
        ),
        (
            "metadata_kv_count",
            |r| r.n_entries = Some(1000),
            |p| matches!(p, Count { count: 1000, .. }),
        ),
        // Keys.
        (
            "metadata key 0",
            |r| r.entries[0].0.clear(),
            |p| matches!(p, Length { found: 0, .. }),
        ),
        (
            "metadata key 0",
            |r| r.entries[0].0 = vec![b'k'; 65_536],
            |p| matches!(p, Length { found: 65_536, .. }),
        ),
        (
            "metadata key 2",
            |r| r.entries[2].0 = vec![b'k', 0xff],
            |p| matches!(p, Utf8 { valid: 1 }),
        ),
        (
            "metadata key \"general.architecture\"",
            |r| r.entries[2] = r.entries[0].clone(),
            |p| matches!(p, Duplicate { first: 32 }),
        ),
        // Value types and values.
        (
            "type of metadata \"list\"",
            |r| r.entries[2].1 = 13,
            |p| matches!(p, ValueType { found: 13 }),
        ),
        (
            "value of metadata \"general.architecture\"",
            |r| r.entries[0].2 = string(&[0xc3, 0x28]),
            |p| matches!(p, Utf8 { valid: 0 }),
        ),
        (
            "value of metadata \"general.architecture\"",
            |r| r.entries[0].2[..8].copy_from_slice(&u64::MAX.to_le_bytes()),
            |p| matches!(p, CutShort { need: u64::MAX, .. }),
        ),
        (
            "value of metadata \"list\"",
            |r| (r.entries[2].1, r.entries[2].2) = (7, vec![2]),
            |p| matches!(p, Bool { found: 2 }),
        ),
        // Arrays.
        (
            "element type of value of metadata \"list\"",
            |r| r.entries[2].2 = array(99, 0, &[]),
            |p| matches!(p, ValueType { found: 99 }),
        ),
        (
            "length of value of metadata \"list\"",
            |r| r.entries[2].2 = array(8, 1 << 61, &[]),
            |p| matches!(p, Count { .. }),
        ),
        (
            "length of value of metadata \"list\"",
            |r| r.entries[2].2 = array(10, 1000, &[]),
            |p| matches!(p, Count { count: 1000, .. }),
        ),
        (
            "element 1 of value of metadata \"list\"",
            |r| r.entries[2].2 = array(8, 2, &[string(b"a"), string(b"\xff")].concat()),
            |p| matches!(p, Utf8 { .. }),
        ),
        (
            "element 2 of value of metadata \"list\"",
            |r| r.entries[2].2 = array(7, 3, &[0, 1, 7]),
            |p| matches!(p, Bool { found: 7 }),
        ),
        (
            "element 0 of element 0 of element 0 of value of metadata \"list\"",
            |r| r.entries[2].2 = (0..100).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner)),
            |p| matches!(p, Depth { .. }),
        ),
        // Alignment.
        (
            "general.alignment",
            |r| r.entries[1].2 = vec![0; 4],
            |p| matches!(p, Alignment { found: 0, .. }),
        ),
        (
            "general.alignment",
            |r| r.entries[1].2 = vec![33, 0, 0, 0],
            |p| matches!(p, Alignment { found: 33, .. }),
        ),
        (
            "general.alignment",
            |r| r.entries[1].2 = vec![0, 0, 0, 0x80],
            |p| matches!(p, Alignment { .. }),
        ),
        // Tensors.
        (
            "name of tensor 0",
            |r| r.tensors[0].name.clear(),
            |p| matches!(p, Length { found: 0, .. }),
        ),
        (
            "name of tensor 0",
            |r| r.tensors[0].name = vec![b'n'; 65],
            |p| matches!(p, Length { found: 65, .. }),
        ),
        (
            "name of tensor 1",
            |r| r.tensors[1].name = vec![0x80],
            |p| matches!(p, Utf8 { .. }),
        ),
        (
            "name of tensor 1",
            |r| r.tensors[1].name_len = Some(u64::MAX),
            |p| matches!(p, Length { .. }),
        ),
        (
            "tensor name \"first\"",
            |r| r.tensors[1].name = b"first".to_vec(),
            |p| matches!(p, Duplicate { .. }),
        ),
        (
            "n_dimensions of tensor \"second\"",
            |r| r.tensors[1].n_dims = Some(0),
            |p| matches!(p, Dimensions { found: 0 }),
        ),
        (
            "n_dimensions of tensor \"second\"",
            |r| r.tensors[1].n_dims = Some(u32::MAX),
            |p| matches!(p, Dimensions { .. }),
        ),
        (
            "dimension 1 of tensor \"first\"",
            |r| r.tensors[0].dims[1] = 0,
            |p| matches!(p, ZeroDimension),
        ),
        (
            "dimension 0 of tensor \"first\"",
            |r| (r.tensors[0].kind, r.tensors[0].dims[0]) = (12, 128),
            |p| {
                matches!(
                    p,
                    PartialBlock {
                        found: 128,
                        block: 256,
                        name: "Q4_K"
                    }
                )
            },
        ),
        (
            "size of tensor \"first\"",
            |r| r.tensors[0].dims = vec![1 << 40; 2],
            |p| matches!(p, Overflow),
        ),
        (
            "size of tensor \"first\"",
            |r| r.tensors[0].dims = vec![1 << 16; 4],
            |p| matches!(p, Overflow),
        ),
        (
            "size of tensor \"first\"",
            |r| r.tensors[0].dims = vec![u64::MAX, 1],
            |p| matches!(p, Overflow),
        ),
        (
            "type of tensor \"second\"",
            |r| r.tensors[1].kind = 99,
            |p| matches!(p, TensorType { found: 99 }),
        ),
        (
            "type of tensor \"second\"",
            |r| r.tensors[1].kind = 31,
            |p| {
                matches!(
                    p,
                    RemovedType {
                        found: 31,
                        name: "Q4_0_4_4"
                    }
                )
            },
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = 65,
            |p| {
                matches!(
                    p,
                    Misaligned {
                        found: 65,
                        alignment: 32
                    }
                )
            },
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = 32,
            |p| matches!(p, Overlap { offset: 32, other } if other == "first"),
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = 0,
            |p| matches!(p, Overlap { .. }),
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = 96,
            |p| matches!(p, BeyondEnd { .. }),
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = u64::MAX - 31,
            |p| matches!(p, Overflow),
        ),
        (
            "offset of tensor \"second\"",
            |r| r.tensors[1].offset = 1 << 62,
            |p| matches!(p, BeyondEnd { .. }),
        ),
        (
            "offset of tensor \"second\"",
            |r| r.data = 127,
            |p| matches!(p, BeyondEnd { .. }),
        ),
        (
            "offset of tensor \"first\"",
            |r| r.data = 0,
            |p| matches!(p, BeyondEnd { .. }),
        ),
    ];
    for (field, corrupt, expected) in cases {
        let mut raw = Raw::good();
        corrupt(&mut raw);
        let bytes = raw.bytes();
        let error = parse(&bytes).expect_err(field);
        let GgufError::Malformed {
            field: found,
            at,
            problem,
        } = &error
        else {
            panic!("{field}: {error}")
        };
        assert_eq!(found, field, "{error}");
        assert!(expected(problem), "{field}: {problem:?}");
        assert!(*at <= bytes.len() as u64);
        let message = error.to_string();
        assert!(
            message.contains(field) && message.contains("at byte"),
            "{message}"
        );
    }
}

#[test]
fn the_position_of_an_error_is_that_of_the_field() {
    let mut raw = Raw::good();
    raw.tensors[1].offset = 65;
    let bytes = raw.bytes();
    let Err(GgufError::Malformed { at, .. }) = parse(&bytes) else {
        panic!("accepted")
    };
    assert_eq!(bytes[at as usize..][..8], 65u64.to_le_bytes());
    let mut raw = Raw::good();
    raw.entries[2].1 = 77;
    let bytes = raw.bytes();
    let Err(GgufError::Malformed { at, .. }) = parse(&bytes) else {
        panic!("accepted")
    };
    assert_eq!(bytes[at as usize..][..4], 77u32.to_le_bytes());
}

#[test]
fn an_alignment_of_another_type_is_refused() {
    let mut raw = Raw::good();
    (raw.entries[1].1, raw.entries[1].2) = (8, string(b"32"));
    let error = parse(&raw.bytes()).unwrap_err();
    assert!(matches!(error, GgufError::WrongType { .. }), "{error}");
}

#[test]
fn version_2_is_read_as_version_3() {
    let raw = Raw {
        version: 2,
        ..Raw::good()
    };
    let g = parse(&raw.bytes()).unwrap();
    assert_eq!((g.version(), g.n_tensors()), (2, 2));
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_that_names_a_field() {
    let bytes = Raw::good().bytes();
    for len in 0..bytes.len() {
        match parse(&bytes[..len]) {
            Err(GgufError::Malformed { field, .. }) => assert!(!field.is_empty()),
            other => panic!("cut to {len}: {other:?}"),
        }
    }
}

#[test]
fn the_richest_sample_cut_at_any_header_byte_is_an_error() {
    let bytes = sample();
    let header = parse(&bytes).unwrap().data_start() as usize;
    for len in 0..=header {
        assert!(
            matches!(parse(&bytes[..len]), Err(GgufError::Malformed { .. })),
            "cut to {len}"
        );
    }
}

/// Everything that a parsed file promises.
fn check(bytes: &[u8], g: &Gguf) {
    for (key, value) in g.metadata() {
        assert_eq!(g.get(key).map(|v| v.value_type()), Some(value.value_type()));
        if let hob_models::gguf::Value::Array(a) = value {
            assert_eq!(a.iter().count(), a.len());
        }
    }
    let mut ends: Vec<_> = g.tensors().map(|t| t.data).collect();
    ends.sort_by_key(|r| r.start);
    assert_eq!(ends.len(), g.n_tensors());
    for r in &ends {
        assert!(r.start < r.end && r.end <= bytes.len() as u64);
    }
    assert!(ends.windows(2).all(|w| w[0].end <= w[1].start));
}

#[test]
fn every_byte_of_the_header_changed_in_every_bit_is_an_error_or_still_sound() {
    let bytes = sample();
    let header = parse(&bytes).unwrap().data_start() as usize;
    for at in 0..header {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            if let Ok(g) = parse(&bad) {
                check(&bad, &g);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splices_of_extreme_numbers_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![
            0u64, 1, 2, 7, 8, 9, 31, 32, 63, 64, 65, 255, 256, 65_535, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 32,
            1 << 47, (1 << 63) - 1, 1 << 63, u64::MAX - 31, u64::MAX,
        ]), 1usize..=8), 1..4),
    ) {
        let mut bytes = sample();
        let header = parse(&bytes).unwrap().data_start() as usize;
        for (at, value, width) in edits {
            let at = at.index(header);
            let value = value.to_le_bytes();
            bytes[at..at + width].copy_from_slice(&value[..width]);
        }
        if let Ok(g) = parse(&bytes) {
            check(&bytes, &g);
        }
    }

    #[test]
    fn arbitrary_bytes_after_the_magic_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [&b"GGUF\x03\0\0\0"[..], &tail].concat();
        if let Ok(g) = parse(&bytes) {
            check(&bytes, &g);
        }
    }
}
