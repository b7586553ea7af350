//! Wheels for the mirrors of tests to serve.

use std::io::Write;
use std::sync::Arc;

/// A wheel (zip) with a small file before and after the entries given.
pub(crate) fn wheel(entries: &[(&str, &[u8])]) -> Arc<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    let ends = [
        ("package/__init__.py", b"#".as_slice()),
        ("p.dist-info/RECORD", b"x"),
    ];
    for (name, bytes) in ends[..1].iter().chain(entries).chain(&ends[1..]) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    Arc::new(zip.finish().unwrap().into_inner())
}
