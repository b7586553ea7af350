//! Errors planted on purpose, so that tests can prove that they would be found.
//!
//! Compiled only with the feature `planted`, which only this crate's own tests enable. A fault
//! holds for the calling thread and one instruction set, until it is cleared.

use std::cell::Cell;

use crate::isa::Isa;

/// An error of the kind that a wrong kernel makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The last bit of one output of each tile is flipped.
    OneUlp,
    /// The second and third blocks along K are added in the wrong order. (That of the first two shows
    /// only where their products are not exact.)
    SwappedOrder,
    /// The last block along K is left out.
    DroppedTail,
    /// The first two rows of each tile are exchanged.
    SwappedRows,
    /// The last token of a group meets the first one's activations.
    WrongToken,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 5] = [
        Fault::OneUlp,
        Fault::SwappedOrder,
        Fault::DroppedTail,
        Fault::SwappedRows,
        Fault::WrongToken,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<(Isa, Fault)>> = const { Cell::new(None) };
}

/// Plants a fault in the kernels of `isa`, or clears it.
pub fn set(fault: Option<(Isa, Fault)>) {
    PLANTED.set(fault);
}

/// Whether `fault` is planted in the kernels of `isa`.
pub(crate) fn is(isa: Isa, fault: Fault) -> bool {
    PLANTED.get() == Some((isa, fault))
}

/// Plants the faults that concern a tile's finished results.
pub(crate) fn in_results(isa: Isa, y: &mut [f32; 16]) {
    if is(isa, Fault::OneUlp) {
        y[0] = f32::from_bits(y[0].to_bits() ^ 1);
    }
    if is(isa, Fault::SwappedRows) {
        y.swap(0, 1);
    }
}
