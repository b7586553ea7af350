//! The tile layout is an exact-size, invertible permutation, for any bytes and any shape.

use hob_kernels::pack::{self, TILE_ROWS};
use hob_kernels::{Format, ShapeError};
use proptest::prelude::*;

// Miri is some thousand times slower; it looks for undefined behaviour, not for rare shapes.
const MAX_ROWS: usize = if cfg!(miri) { 19 } else { 50 };
const MAX_BLOCKS: usize = if cfg!(miri) { 2 } else { 5 };

/// A matrix of arbitrary bytes: (format, rows, cols, row-major bytes).
fn matrices() -> impl Strategy<Value = (Format, usize, usize, Vec<u8>)> {
    (
        prop::sample::select(Format::ALL.to_vec()),
        0..MAX_ROWS,
        0..MAX_BLOCKS,
    )
        .prop_flat_map(|(f, rows, blocks)| {
            let cols = blocks * f.block_len();
            let bytes = rows * blocks * f.block_bytes();
            (
                Just(f),
                Just(rows),
                Just(cols),
                prop::collection::vec(any::<u8>(), bytes),
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 6 } else { 512 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn unpack_is_the_inverse_of_pack((f, rows, cols, bytes) in matrices()) {
        let mut packed = vec![0xA5; bytes.len()];
        pack::pack_matrix(f, rows, cols, &bytes, &mut packed).unwrap();
        let mut back = vec![0x5A; bytes.len()];
        pack::unpack_matrix(f, rows, cols, &packed, &mut back).unwrap();
        prop_assert_eq!(&back, &bytes);

        // And the other way round: any bytes are some matrix's tiles.
        pack::unpack_matrix(f, rows, cols, &bytes, &mut packed).unwrap();
        pack::pack_matrix(f, rows, cols, &packed, &mut back).unwrap();
        prop_assert_eq!(&back, &bytes);
    }

    #[test]
    fn every_row_is_gathered_as_it_was((f, rows, cols, bytes) in matrices()) {
        let mut packed = vec![0; bytes.len()];
        pack::pack_matrix(f, rows, cols, &bytes, &mut packed).unwrap();
        let row_bytes = f.row_bytes(cols).unwrap();
        let mut row = vec![0; row_bytes];
        for r in 0..rows {
            row.fill(0xEE);
            pack::unpack_row(f, cols, &packed, rows, r, &mut row).unwrap();
            prop_assert_eq!(&row[..], &bytes[r * row_bytes..][..row_bytes]);
        }
        prop_assert_eq!(
            pack::unpack_row(f, cols, &packed, rows, rows, &mut row),
            Err(ShapeError::Row { row: rows, rows })
        );
    }

    #[test]
    fn a_tile_lies_where_its_rows_lay((f, rows, cols, bytes) in matrices()) {
        let mut packed = vec![0; bytes.len()];
        pack::pack_matrix(f, rows, cols, &bytes, &mut packed).unwrap();
        let tile_bytes = TILE_ROWS * f.row_bytes(cols).unwrap();
        let mut tile = vec![0; tile_bytes];
        for t in 0..rows / TILE_ROWS {
            let at = t * tile_bytes..(t + 1) * tile_bytes;
            pack::pack_tile(f, cols, &bytes[at.clone()], &mut tile).unwrap();
            prop_assert_eq!(&tile[..], &packed[at.clone()]);
            pack::unpack_tile(f, cols, &packed[at.clone()], &mut tile).unwrap();
            prop_assert_eq!(&tile[..], &bytes[at]);
        }
        // The rows after the last full tile are untouched.
        let rest = rows / TILE_ROWS * tile_bytes;
        prop_assert_eq!(&packed[rest..], &bytes[rest..]);
    }
}

#[test]
fn wrong_sizes_are_errors() {
    let f = Format::Q4_0;
    let (mut a, b) = (vec![0; 16 * 18], vec![0; 16 * 18]);
    assert!(pack::pack_tile(f, 32, &b, &mut a).is_ok());
    assert!(pack::pack_tile(f, 33, &b, &mut a).is_err());
    assert!(pack::pack_tile(f, 32, &b[1..], &mut a).is_err());
    assert!(pack::pack_tile(f, 32, &b, &mut a[1..]).is_err());
    assert!(pack::pack_matrix(f, usize::MAX, 32, &b, &mut a).is_err());
    assert!(pack::pack_matrix(f, 16, usize::MAX - 31, &b, &mut a).is_err());
    assert!(pack::unpack_matrix(f, 15, 32, &b, &mut a).is_err());
    assert!(pack::unpack_row(f, 32, &b, 16, 0, &mut a).is_err());
}
