//! Properties of vaults as a whole.
