//! What the writer writes, the reader reads: every value type, every format, any alignment; and accessors
//! say what they found when it is not what was asked for.

mod common;

use common::{TENSORS, gguf, metadata, noise, sample};
use hob_models::format::Format;
use hob_models::gguf::{Gguf, GgufError, GgufWriter, Owned, TensorType, ValueType, WriteError};
use hob_models::mapping::Bytes;
use proptest::prelude::*;

fn parse(bytes: Vec<u8>) -> Gguf {
    Gguf::parse(&Bytes::from(bytes)).unwrap()
}

#[test]
fn all_metadata_and_tensors_come_back() {
    let bytes = sample();
    let g = parse(bytes.clone());
    let read: Vec<(String, Owned)> = g
        .metadata()
        .map(|(k, v)| (k.to_owned(), v.into()))
        .collect();
    let wanted: Vec<(String, Owned)> = metadata()
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect();
    assert_eq!(read, wanted);
    assert_eq!(g.n_tensors(), TENSORS.len());
    for (i, ((name, format, dims), t)) in TENSORS.iter().zip(g.tensors()).enumerate() {
        assert_eq!((t.name, t.kind), (*name, TensorType::Run(*format)));
        assert_eq!(&t.dims[..t.n_dims as usize], *dims);
        let data = &bytes[t.data.start as usize..t.data.end as usize];
        assert_eq!(data, noise(data.len(), i as u64 + 1));
        assert_eq!(g.tensor(name).unwrap().data, t.data);
    }
    assert!(g.tensor("none").is_none());
}

#[test]
fn every_format_and_alignment_comes_back() {
    for alignment in [1u32, 8, 32, 64, 4096] {
        let names: Vec<String> = Format::ALL.iter().map(|f| format!("t.{f}")).collect();
        let tensors: Vec<(&str, Format, &[u64])> = names
            .iter()
            .zip(Format::ALL)
            .map(|(n, f)| (n.as_str(), f, &[256u64, 3][..]))
            .collect();
        let bytes = gguf(&[("general.alignment", alignment.into())], &tensors);
        let g = parse(bytes.clone());
        assert_eq!(g.alignment(), u64::from(alignment));
        for (i, t) in g.tensors().enumerate() {
            assert_eq!((t.data.start - g.data_start()) % u64::from(alignment), 0);
            let data = &bytes[t.data.start as usize..t.data.end as usize];
            assert_eq!(data, noise(data.len(), i as u64 + 1), "{}", t.name);
        }
    }
}

#[test]
fn accessors_take_any_integer_width_and_name_what_does_not_fit() {
    let g = parse(sample());
    assert_eq!(g.u32_("t.u8").unwrap(), 200);
    assert_eq!(g.u32_("t.u32").unwrap(), 4_000_000_000);
    assert_eq!(g.int::<i64>("t.i32").unwrap(), Some(-2_000_000_000));
    assert_eq!(g.int::<u64>("t.u64").unwrap(), Some(u64::MAX));
    assert_eq!(g.u32_or("none", 7).unwrap(), 7);
    assert_eq!(g.f32_("t.f64").unwrap(), 2.5);
    assert_eq!(g.bool_("t.bool").unwrap(), Some(true));
    assert_eq!(g.str_("general.architecture").unwrap(), "llama");
    assert_eq!(
        g.strs("a.strings").unwrap().unwrap().collect::<Vec<_>>(),
        ["hällo", "", "wörld"]
    );
    assert_eq!(
        g.f32s("a.f32").unwrap().unwrap().collect::<Vec<_>>(),
        [0.5, -0.25]
    );
    assert_eq!(
        g.ints::<i32>("a.i8").unwrap().unwrap().collect::<Vec<_>>(),
        [-1, 2, -3]
    );
    assert_eq!(g.per_layer::<u32>("t.u8", 3).unwrap(), Some(vec![200; 3]));
    assert_eq!(
        g.per_layer::<u32>("a.bools", 3).unwrap(),
        Some(vec![1, 0, 1])
    );

    let message = |e: GgufError| e.to_string();
    let text = message(g.u32_("t.u64").unwrap_err());
    assert!(
        text.contains("t.u64") && text.contains(&u64::MAX.to_string()) && text.contains("u32"),
        "{text}"
    );
    let text = message(g.u32_("general.architecture").unwrap_err());
    assert!(text.contains("string") && text.contains("u32"), "{text}");
    let text = message(g.str_("a.strings").unwrap_err());
    assert!(text.contains("array of 3 string"), "{text}");
    let text = message(g.str_("tokenizer.ggml.model").unwrap_err());
    assert!(
        text.contains("tokenizer.ggml.model") && text.contains("missing"),
        "{text}"
    );
    assert!(matches!(
        g.ints::<u32>("a.i8").err(),
        Some(GgufError::OutOfRange { .. })
    ));
    assert!(matches!(
        g.ints::<u32>("a.f32").err(),
        Some(GgufError::WrongType { .. })
    ));
    assert!(matches!(
        g.per_layer::<u32>("a.u64", 3),
        Err(GgufError::WrongLength {
            found: 2,
            wanted: 3,
            ..
        })
    ));
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut w = GgufWriter::new();
    assert!(matches!(w.metadata("", 1u32), Err(WriteError::Name { .. })));
    w.metadata("twice", 1u32).unwrap();
    assert!(matches!(
        w.metadata("twice", 1u32),
        Err(WriteError::Name { .. })
    ));
    assert!(matches!(
        w.metadata("general.alignment", 3u32),
        Err(WriteError::Name { .. })
    ));
    let mixed = Owned::Array(ValueType::U32, vec![1u32.into(), 1i32.into()]);
    assert!(matches!(
        w.metadata("mixed", mixed),
        Err(WriteError::Mixed { .. })
    ));
    let deep = (0..4).fold(Owned::from(vec![1u32]), |a, _| {
        Owned::Array(ValueType::Array, vec![a])
    });
    assert!(matches!(
        w.metadata("deep", deep),
        Err(WriteError::Name { .. })
    ));
    for dims in [&[][..], &[0], &[1, 2, 3, 4, 5], &[u64::MAX, 2]] {
        assert!(
            matches!(
                w.tensor("t", Format::F32, dims),
                Err(WriteError::Shape { .. })
            ),
            "{dims:?}"
        );
    }
    assert!(matches!(
        w.tensor("t", Format::Q4K, &[128]),
        Err(WriteError::Shape { .. })
    ));
    assert!(matches!(
        w.tensor(&"n".repeat(65), Format::F32, &[1]),
        Err(WriteError::Name { .. })
    ));
    w.tensor("t", Format::F32, &[2]).unwrap();
    let mut data = w.begin(Vec::new()).unwrap();
    assert!(matches!(
        data.tensor(&[0; 7]),
        Err(WriteError::Data {
            found: 7,
            wanted: 8,
            ..
        })
    ));

    let mut w = GgufWriter::new();
    w.tensor("t", Format::F32, &[2]).unwrap();
    assert!(matches!(
        w.begin(Vec::new()).unwrap().finish(),
        Err(WriteError::Data { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_strings_and_shapes_come_back(
        entries in proptest::collection::btree_map(".{1,20}", proptest::collection::vec(".{0,12}", 0..8), 0..8),
        shapes in proptest::collection::vec(proptest::collection::vec(1u64..40, 1..=4), 0..6),
        log_alignment in 0u32..10,
    ) {
        let mut w = GgufWriter::new();
        for (key, values) in &entries {
            w.metadata(&format!("k.{key}"), values.clone()).unwrap();
        }
        w.metadata("general.alignment", 1u32 << log_alignment).unwrap();
        let mut sizes = Vec::new();
        for (i, dims) in shapes.iter().enumerate() {
            sizes.push(w.tensor(&format!("t{i}"), Format::F16, dims).unwrap());
        }
        let mut data = w.begin(Vec::new()).unwrap();
        for (i, &size) in sizes.iter().enumerate() {
            data.tensor(&noise(size as usize, i as u64)).unwrap();
        }
        let (bytes, len) = data.finish().unwrap();
        prop_assert_eq!(bytes.len() as u64, len);
        let g = parse(bytes);
        for (key, values) in &entries {
            let key = format!("k.{key}");
            let read: Vec<String> = g.strs(&key).unwrap().unwrap().map(str::to_owned).collect();
            prop_assert_eq!(&read, values);
        }
        for (dims, t) in shapes.iter().zip(g.tensors()) {
            prop_assert_eq!(&t.dims[..t.n_dims as usize], &dims[..]);
        }
    }
}

#[test]
fn a_list_of_strings_is_the_strings_one_by_one() {
    let long = "é".repeat(100);
    let texts = ["a", "", "é", &long, "b", &long, &long, "🦙", ""];
    for list in [&texts[..], &texts[..1], &texts[3..4], &texts[..0]] {
        let strings = list.iter().map(|&text| Owned::Str(text.to_owned()));
        let strings = Owned::Array(ValueType::Str, strings.collect());
        let g = parse(gguf(&[("list", strings)], &[]));
        assert_eq!(g.str_list("list").unwrap().unwrap(), list);
        let one_by_one = g.strs("list").unwrap().unwrap();
        assert!(one_by_one.eq(list.iter().copied()));
    }
}
