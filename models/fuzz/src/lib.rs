//! What must hold for whatever a parser accepted.

use hob_models::gguf::{Gguf, Value};
use hob_models::weights::Weights;

/// Every accessor of a parsed header answers, and no tensor leaves the file or shares bytes.
pub fn check_gguf(g: &Gguf, len: usize) {
    for (key, value) in g.metadata() {
        assert_eq!(g.get(key).map(|v| v.value_type()), Some(value.value_type()));
        let _ = (g.u32_(key), g.f32_(key), g.bool_(key), g.str_(key));
        let _ = g.per_layer::<u32>(key, 4);
        if let Value::Array(a) = value {
            assert_eq!(a.iter().count(), a.len());
            let _ = g.ints::<i32>(key).map(|ints| ints.map(Iterator::count));
        }
    }
    let mut spans: Vec<_> = g.tensors().map(|t| t.data).collect();
    assert_eq!(spans.len(), g.n_tensors());
    spans.sort_by_key(|s| s.start);
    assert!(spans.iter().all(|s| s.start < s.end && s.end <= len as u64));
    assert!(spans.windows(2).all(|w| w[0].end <= w[1].start));
    for t in g.tensors() {
        assert_eq!(g.tensor(t.name).map(|found| found.data), Some(t.data));
    }
}

/// Every tensor has the bytes that its shape needs, before and after packing.
pub fn check_weights(w: Weights) {
    let sizes = |w: &Weights| -> Vec<usize> { w.tensors().iter().map(|t| t.bytes.len()).collect() };
    for t in w.tensors() {
        let bytes = t
            .format
            .row_bytes(t.cols())
            .map(|row| row * t.rows() * t.matrices());
        assert_eq!(bytes, Some(t.bytes.len()));
        assert!(t.matrix(t.matrices() - 1).is_some() && t.matrix(t.matrices()).is_none());
    }
    let before = sizes(&w);
    let packed = w
        .packed_in_memory(&())
        .expect("the parser accepted these shapes");
    assert_eq!(before, sizes(&packed));
}

/// Makes the calling thread rayon's only worker.
pub fn one_thread() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread();
        pool.build_global().expect("nothing used rayon before");
    });
}
